//! Whether two configurations say the same.
//!
//! Positions do not count, nor the grammar, nor what actions and tables are called that have no
//! name in the file. Every type is taken apart field by field here, so that a new field is not
//! forgotten. Both configurations are of one machine.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use crate::action::{Action, Aliases, Delivery, Local, Method, Relay, RelayTls, Route, Userbase};
use crate::config::{Ca, Config, Family, LimitSet, Mta, MtaLimits, Pki, Wrapper};
use crate::filter::{Filter, FilterAction, FilterCondition, FilterKind, Processor};
use crate::listen::{Auth, Listen, Senders, SocketListen, StrayNewline, Tls};
use crate::rules::{For, From, Match, Test, Verdict};
use crate::table::{Backend, Operand, Shape, Table, TableId};
use crate::tls::{Ciphers, Groups, Protocols};
use crate::url::{RelayUrl, Scheme};

/// The first thing that two configurations do not agree in, in a few words; `None` when they mean
/// the same. What actions are called is not looked at.
#[must_use]
pub fn difference(one: &Config, other: &Config) -> Option<String> {
    let pairs = [
        (globals(one) == globals(other), "the directives of the server"),
        (limits(one) == limits(other), "limits"),
        (certificates(one) == certificates(other), "certificates"),
        (tables(one) == tables(other), "tables"),
        (filters(one) == filters(other), "filters"),
        (socket(one) == socket(other), "listen on socket"),
    ];
    if let Some((_, what)) = pairs.into_iter().find(|(same, _)| !same) {
        return Some(what.to_owned());
    }
    let of = |what, position| format!("the {what} at {position}");
    pairwise(&one.listeners, &other.listeners, |a, b| listen(one, a) == listen(other, b))
        .map(|at| at.map_or("the number of listeners".to_owned(), |a| of("listener", &a.position)))
        .or_else(|| {
            pairwise(&one.actions, &other.actions, |a, b| action(one, a) == action(other, b)).map(
                |at| at.map_or("the number of actions".to_owned(), |a| of("action", &a.position)),
            )
        })
        .or_else(|| {
            pairwise(&one.matches, &other.matches, |a, b| rule(one, a) == rule(other, b))
                .map(|at| at.map_or("the number of rules".to_owned(), |a| of("rule", &a.position)))
        })
}

/// The first of `one` that is not the `same` as its neighbour of the `other`; nothing in it when
/// there are more or fewer.
fn pairwise<'a, T>(
    one: &'a [T],
    other: &[T],
    same: impl Fn(&T, &T) -> bool,
) -> Option<Option<&'a T>> {
    let different = one.iter().zip(other).find(|(a, b)| !same(a, b)).map(|(a, _)| Some(a));
    different.or((one.len() != other.len()).then_some(None))
}

/// A table as it is used.
#[derive(PartialEq)]
enum Content<'c> {
    /// It has a name, and is compared once with that of the same name.
    Named(&'c str),
    /// It is written where it is used.
    Written(Shape, Vec<(&'c str, &'c str)>),
}

fn content(config: &Config, id: TableId) -> Content<'_> {
    let table = config.tables.get(id);
    match table.is_anonymous() {
        false => Content::Named(&table.name),
        true => Content::Written(table.shape, elements(table)),
    }
}

fn elements(table: &Table) -> Vec<(&str, &str)> {
    table.entries.sorted().into_iter().map(|(key, entry)| (key, &*entry.value)).collect()
}

fn operand(config: &Config, operand: Operand) -> (bool, Content<'_>) {
    let Operand { table, regex } = operand;
    (regex, content(config, table))
}

fn globals(config: &Config) -> impl PartialEq {
    let Config {
        dialect: _,
        host: _,
        listeners: _,
        socket: _,
        tables: _,
        matches: _,
        pki: _,
        ca: _,
        processors: _,
        filters: _,
        wrappers: _,
        queue,
        smtp,
        mta: _,
        mda: _,
        scheduler: _,
        srs,
        bounce_warn,
        admd,
        control_socket,
        daemon_user,
        resolvers,
        places: _,
        actions: _,
        action_names: _,
        inactive: _,
    } = config;
    (
        queue.clone(),
        smtp.clone(),
        srs.clone(),
        bounce_warn.clone(),
        (admd.clone(), control_socket.clone(), daemon_user.clone(), resolvers.clone()),
    )
}

fn numbers(set: &LimitSet) -> Vec<(&'static str, Option<u32>)> {
    set.words().map(|word| (word, set.get(word))).collect()
}

type Numbers = Vec<(&'static str, Option<u32>)>;

fn limits(config: &Config) -> impl PartialEq + '_ {
    fn mta(limits: &MtaLimits) -> (Option<Family>, Numbers) {
        let MtaLimits { family, limits } = limits;
        (*family, numbers(limits))
    }
    let Mta { max_deferred, preconnect, limits, domains } = &config.mta;
    let domains: BTreeMap<&str, _> =
        domains.iter().map(|(domain, limits)| (domain.as_str(), mta(limits))).collect();
    let (mda, scheduler) = (numbers(&config.mda), numbers(&config.scheduler));
    (mda, scheduler, (*max_deferred, *preconnect), mta(limits), domains)
}

type Paths<'c> = BTreeMap<&'c str, (Option<&'c Path>, Option<&'c Path>)>;

fn certificates(config: &Config) -> (Paths<'_>, Paths<'_>) {
    let pki = config.pki.iter().map(|(name, pki)| {
        let Pki { position: _, cert, key } = pki;
        (name.as_str(), (cert.as_deref(), key.as_deref()))
    });
    let ca = config.ca.iter().map(|(name, ca)| {
        let Ca { position: _, file } = ca;
        (name.as_str(), (Some(file.as_path()), None))
    });
    (pki.collect(), ca.collect())
}

type TableContent<'c> = (&'c Backend, Shape, Vec<(&'c str, &'c str)>);

fn tables(config: &Config) -> BTreeMap<&str, TableContent<'_>> {
    let declared =
        config.tables.iter().filter(|table| !table.is_anonymous() && table.position.is_some());
    declared
        .map(|table| {
            let Table { name, position: _, backend, shape, entries: _ } = table;
            (&**name, (backend, *shape, elements(table)))
        })
        .collect()
}

#[derive(PartialEq)]
enum FilterMeaning<'c> {
    Processor(&'c str),
    Chain(&'c [String]),
    Builtin(&'c str, bool, (&'static str, Option<(bool, Content<'c>)>), &'c FilterAction),
}

fn filter<'c>(config: &'c Config, kind: &'c FilterKind) -> FilterMeaning<'c> {
    match kind {
        FilterKind::Processor(name) => FilterMeaning::Processor(name),
        FilterKind::Chain(names) => FilterMeaning::Chain(names),
        FilterKind::Builtin { phase, not, condition, action } => {
            let (word, table) = match condition {
                FilterCondition::Fcrdns => ("fcrdns", None),
                FilterCondition::Rdns(table) => ("rdns", *table),
                FilterCondition::Src(table) => ("src", Some(*table)),
                FilterCondition::Helo(table) => ("helo", Some(*table)),
                FilterCondition::Auth(table) => ("auth", *table),
                FilterCondition::MailFrom(table) => ("mail-from", Some(*table)),
                FilterCondition::RcptTo(table) => ("rcpt-to", Some(*table)),
            };
            let condition = (word, table.map(|table| operand(config, table)));
            FilterMeaning::Builtin(phase, *not, condition, action)
        }
    }
}

fn filters(config: &Config) -> impl PartialEq + '_ {
    let mut named = HashMap::new();
    for (name, declared) in &config.filters {
        let Filter { position: _, kind } = declared;
        if !crate::filter::is_anonymous(name) {
            named.insert(name, filter(config, kind));
        }
    }
    let mut processors = HashMap::new();
    for (name, processor) in &config.processors {
        let Processor { position: _, command, user, group, chroot } = processor;
        processors.insert(name, (command, user, group, chroot));
    }
    let mut wrappers = HashMap::new();
    for (name, wrapper) in &config.wrappers {
        let Wrapper { position: _, command } = wrapper;
        wrappers.insert(name, command);
    }
    (named, processors, wrappers)
}

#[derive(PartialEq)]
enum FilterUse<'c> {
    Named(&'c str),
    Chain(&'c [String]),
}

fn used_filter<'c>(config: &'c Config, name: &'c Option<String>) -> Option<FilterUse<'c>> {
    let name = name.as_deref()?;
    Some(match config.filters.get(name).map(|filter| &filter.kind) {
        Some(FilterKind::Chain(names)) if crate::filter::is_anonymous(name) => {
            FilterUse::Chain(names)
        }
        _ => FilterUse::Named(name),
    })
}

fn socket(config: &Config) -> impl PartialEq + '_ {
    let SocketListen { position: _, filter, tag, mask_src, no_dsn } = &config.socket;
    (used_filter(config, filter), tag, *mask_src, *no_dsn)
}

/// What TLS may agree on.
type Lists<'c> = (&'c Option<Ciphers>, &'c Option<Protocols>, &'c Option<Groups>);

#[derive(PartialEq)]
struct ListenMeaning<'c> {
    at: (&'c str, Option<Family>, u16),
    tls: (Tls, &'c [String], &'c Option<String>),
    lists: Lists<'c>,
    auth: (u8, Option<Content<'c>>),
    filter: Option<FilterUse<'c>>,
    names: (&'c Option<String>, Option<Content<'c>>, &'c Option<String>),
    flags: [bool; 4],
    senders: Option<(Content<'c>, bool)>,
    stray_newline: StrayNewline,
}

fn listen<'c>(config: &'c Config, listen: &'c Listen) -> ListenMeaning<'c> {
    let Listen {
        position: _,
        places: _,
        on,
        family,
        port,
        tls,
        pki,
        ca,
        ciphers,
        protocols,
        groups,
        auth,
        filter,
        hostname,
        hostnames,
        tag,
        mask_src,
        received_auth,
        no_dsn,
        proxy_v2,
        senders,
        stray_newline,
    } = listen;
    let table = |id: TableId| content(config, id);
    ListenMeaning {
        at: (on, *family, *port),
        // Without TLS nobody asks for a certificate; files of before 2018 may name one.
        tls: (*tls, if *tls == Tls::Never { &[] } else { pki }, ca),
        lists: (ciphers, protocols, groups),
        auth: match *auth {
            Auth::Never => (0, None),
            Auth::Optional(credentials) => (1, credentials.map(table)),
            Auth::Require(credentials) => (2, credentials.map(table)),
        },
        filter: used_filter(config, filter),
        names: (hostname, hostnames.map(table), tag),
        flags: [*mask_src, *received_auth, *no_dsn, *proxy_v2],
        senders: senders.map(|Senders { table: id, masquerade }| (table(id), masquerade)),
        stray_newline: *stray_newline,
    }
}

#[derive(PartialEq)]
enum Life {
    OfTheQueue,
    Own(Duration),
    Fixed(Duration),
}

#[derive(PartialEq)]
enum MethodMeaning<'c> {
    Local {
        delivery: &'c Delivery,
        user: &'c Option<String>,
        aliases: (u8, Option<Content<'c>>),
        userbase: (u8, Option<Content<'c>>),
        wrapper: &'c Option<String>,
    },
    Relay {
        route: (u8, Option<&'c str>, Option<Content<'c>>),
        tls: RelayTls,
        tables: [Option<Content<'c>>; 3],
        texts: [&'c Option<String>; 4],
        lists: Lists<'c>,
        filter: Option<FilterUse<'c>>,
        srs: bool,
        chunking: bool,
        balance: bool,
    },
}

fn action<'c>(config: &'c Config, action: &'c Action) -> (MethodMeaning<'c>, Life) {
    let Action { name: _, position: _, places: _, method, ttl, ttl_at_submission } = action;
    let life = match (ttl_at_submission, ttl) {
        (true, _) => Life::Fixed(config.ttl(action)),
        (false, Some(ttl)) => Life::Own(*ttl),
        (false, None) => Life::OfTheQueue,
    };
    let method = match method {
        Method::Local(method) => local(config, method),
        Method::Relay(method) => relay(config, method),
    };
    (method, life)
}

fn local<'c>(config: &'c Config, local: &'c Local) -> MethodMeaning<'c> {
    let Local { delivery, user, aliases, userbase, wrapper } = local;
    let table = |id: TableId| Some(content(config, id));
    MethodMeaning::Local {
        delivery,
        user,
        aliases: match *aliases {
            Aliases::None => (0, None),
            Aliases::Alias(id) => (1, table(id)),
            Aliases::Virtual(id) => (2, table(id)),
        },
        userbase: match *userbase {
            Userbase::System => (0, None),
            Userbase::Table(id) => (1, table(id)),
            Userbase::Any => (2, None),
        },
        wrapper,
    }
}

fn relay<'c>(config: &'c Config, relay: &'c Relay) -> MethodMeaning<'c> {
    let Relay {
        route,
        balance,
        tls,
        auth,
        helo,
        helo_src,
        src,
        mail_from,
        pki,
        ca,
        ciphers,
        protocols,
        groups,
        filter,
        srs,
        chunking,
    } = relay;
    let table = |id: TableId| content(config, id);
    MethodMeaning::Relay {
        route: match route {
            Route::Mx => (0, None, None),
            Route::Backup(mx) => (1, mx.as_deref(), None),
            Route::Hosts(id) => (2, None, Some(table(*id))),
            Route::Domains(id) => (3, None, Some(table(*id))),
        },
        tls: match tls {
            RelayTls::Opportunistic if urls_need_tls(config, route) => RelayTls::Require,
            tls => *tls,
        },
        tables: [auth.map(table), helo_src.map(table), src.map(table)],
        texts: [helo, mail_from, pki, ca],
        lists: (ciphers, protocols, groups),
        filter: used_filter(config, filter),
        srs: *srs,
        chunking: *chunking,
        balance: *balance,
    }
}

/// Where every URL asks for TLS, `tls` says nothing more.
fn urls_need_tls(config: &Config, route: &Route) -> bool {
    let Route::Hosts(id) = route else { return false };
    let table = config.tables.get(*id);
    let needs = |(url, _): (&str, _)| {
        RelayUrl::parse(url).is_ok_and(|url| matches!(url.scheme, Scheme::SmtpTls | Scheme::Smtps))
    };
    table.backend == Backend::Inline && table.entries.sorted().into_iter().all(needs)
}

/// A condition on something that is looked up, or not.
type Pattern<'c> = Option<(bool, Option<(bool, Content<'c>)>)>;

#[derive(PartialEq)]
struct RuleMeaning<'c> {
    from: (bool, u8, Option<(bool, Content<'c>)>),
    to: (bool, u8, Option<(bool, Content<'c>)>),
    patterns: [Pattern<'c>; 5],
    tls: Option<Test<()>>,
    verdict: Verdict,
}

fn rule<'c>(config: &'c Config, rule: &'c Match) -> RuleMeaning<'c> {
    let Match {
        position: _,
        places: _,
        tag,
        from,
        to,
        helo,
        auth,
        tls,
        mail_from,
        rcpt_to,
        verdict,
    } = rule;
    let table = |id: Operand| Some(operand(config, id));
    let pattern = |test: &Option<Test<Operand>>| test.map(|test| (test.not, table(test.what)));
    let (from_kind, from_table) = match from.what {
        From::Local => (0, None),
        From::Socket => (1, None),
        From::Any => (2, None),
        From::Src(id) => (3, table(id)),
        From::Rdns(id) => (4, id.and_then(table)),
    };
    let (to_kind, to_table) = match to.what {
        For::Local => (0, None),
        For::Any => (1, None),
        For::Domain(id) => (2, table(id)),
    };
    RuleMeaning {
        from: (from.not, from_kind, from_table),
        to: (to.not, to_kind, to_table),
        patterns: [
            pattern(tag),
            pattern(helo),
            auth.map(|test| (test.not, test.what.and_then(table))),
            pattern(mail_from),
            pattern(rcpt_to),
        ],
        tls: *tls,
        // Actions are compared one by one, so that the index is enough.
        verdict: *verdict,
    }
}
