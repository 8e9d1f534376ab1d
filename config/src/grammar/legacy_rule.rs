//! `accept ...` and `reject ...`, read into the same actions and matches as today's lines.
//!
//! An action has no name here, so it is named by a hash of its printed form: equal actions are
//! one, and queued mail finds its action again after a restart as long as a rule says the same.

use std::time::Duration;

use crate::action::{
    Action, Aliases, Delivery, LEGACY, Local, Method, Relay, RelayTls, Route, Userbase,
};
use crate::config::ActionId;
use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Kind, Place};
use crate::print;
use crate::rules::{For, From, Test, Verdict};
use crate::table::{Entries, TableId};
use crate::url::LegacyUrl;

use super::Reader;
use super::action::{bad_url, sender, template};
use super::cursor::{Cursor, Parse, Seen};
use super::matching::Draft;
use super::shared::path;
use super::table::Takes;

const CONDITIONS: [&str; 6] = ["tagged", "from", "for", "sender", "recipient", "authenticated"];
/// What else a rule has.
const OPTIONS: [&str; 7] =
    ["alias", "virtual", "userbase", "deliver", "relay", "expire", "forward-only"];
const RELAY: [&str; 9] =
    ["as", "source", "helo", "hostname", "hostnames", "pki", "ca", "certificate", "auth"];

/// What is read of the action of a rule.
struct Doing {
    method: Option<Method>,
    aliases: Aliases,
    userbase: Userbase,
    forward_only: Option<Place>,
    ttl: Option<Duration>,
    /// Options of `relay`.
    options: Seen,
}

impl Reader<'_> {
    /// What follows `reject`.
    pub(super) fn reject(&mut self, cursor: &mut Cursor<'_>, start: Place) -> Parse<()> {
        let mut draft = Draft::new();
        let mut seen = Seen::default();
        loop {
            if not_authenticated(cursor, &mut draft, &mut seen)? {
                continue;
            }
            let Some((word, at)) = cursor.word(&CONDITIONS)? else { break };
            self.condition(cursor, word, at, &mut draft, &mut seen)?;
        }
        self.push_rule(draft, &seen, start, Verdict::Reject);
        Ok(())
    }

    /// What follows `accept`.
    pub(super) fn accept(&mut self, cursor: &mut Cursor<'_>, start: Place) -> Parse<()> {
        let mut draft = Draft::new();
        let mut seen = Seen::default();
        let mut doing = Doing {
            method: None,
            aliases: Aliases::None,
            userbase: Userbase::System,
            forward_only: None,
            ttl: None,
            options: Seen::default(),
        };
        let known: Vec<&'static str> = CONDITIONS.iter().chain(&OPTIONS).copied().collect();
        loop {
            if not_authenticated(cursor, &mut draft, &mut seen)? {
                continue;
            }
            let Some((word, at)) = cursor.word(&known)? else { break };
            match word {
                "alias" | "virtual" => {
                    seen.once("alias or virtual", at, "rule")?;
                    let table = self.alias_operand(cursor, word)?;
                    doing.aliases = match word {
                        "alias" => Aliases::Alias(table),
                        _ => Aliases::Virtual(table),
                    };
                }
                "userbase" => {
                    seen.once(word, at, "rule")?;
                    doing.userbase = self.userbase(cursor)?;
                }
                "deliver" => {
                    seen.once("action", at, "rule")?;
                    cursor.needed_word(&["to"])?;
                    doing.method = Some(Method::Local(Box::new(self.deliver(cursor)?)));
                }
                "relay" => {
                    seen.once("action", at, "rule")?;
                    let relay = self.legacy_relay(cursor, &mut doing.options)?;
                    doing.method = Some(Method::Relay(Box::new(relay)));
                }
                "expire" => {
                    seen.once(word, at, "rule")?;
                    doing.ttl = Some(cursor.delay("expire delay")?);
                }
                "forward-only" => {
                    seen.once(word, at, "rule")?;
                    doing.forward_only = Some(at);
                }
                _ => self.condition(cursor, word, at, &mut draft, &mut seen)?,
            }
        }
        let action = self.rule_action(doing, &mut draft, &seen, start)?;
        self.push_rule(draft, &seen, start, Verdict::Action(action));
        Ok(())
    }

    fn push_rule(&mut self, draft: Draft, seen: &Seen, start: Place, verdict: Verdict) {
        let rule = draft.rule(self.position(start), self.places(seen), verdict);
        if rule.from.what == From::Local {
            self.legacy.from_local.push(self.config.matches.len());
        }
        self.config.matches.push(rule);
    }

    fn condition(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: &'static str,
        at: Place,
        draft: &mut Draft,
        seen: &mut Seen,
    ) -> Parse<()> {
        seen.once(word, at, "rule")?;
        // The negation follows its word; only `! authenticated` has it before.
        let not = word != "authenticated" && cursor.eat_mark('!');
        match word {
            "tagged" => {
                let what = self.pattern(cursor, "tag", Takes::List)?;
                draft.tag = Some(Test { not, what });
            }
            "sender" => {
                let what = self.pattern(cursor, "sender", Takes::Keys)?;
                draft.mail_from = Some(Test { not, what });
            }
            "recipient" => {
                let what = self.pattern(cursor, "recipient", Takes::Keys)?;
                draft.rcpt_to = Some(Test { not, what });
            }
            "from" => {
                let what = match cursor.peek() {
                    Some(token) if token.is("any") || token.is("local") || token.is("source") => {
                        cursor.advance();
                        match &*token.text {
                            "any" => From::Any,
                            "local" => From::Local,
                            _ => From::Src(self.client_operand(cursor)?),
                        }
                    }
                    // 5.3 had the table without a word before it.
                    Some(token)
                        if cursor.string_follows()
                            || matches!(token.kind, Kind::Mark('<' | '{')) =>
                    {
                        From::Src(self.client_operand(cursor)?)
                    }
                    _ => return Err(cursor.unknown(&["any", "local", "source"])),
                };
                if not && what == From::Any {
                    self.never_matches(at, "from ! any");
                }
                draft.from = Some(Test { not, what });
            }
            "for" => {
                let what = match cursor.needed_word(&["any", "local", "domain"])?.0 {
                    "any" => For::Any,
                    "local" => For::Local,
                    _ => For::Domain(self.domain_operand(cursor)?),
                };
                if not && what == For::Any {
                    self.never_matches(at, "for ! any");
                }
                draft.to = Some(Test { not, what });
            }
            _ => draft.auth = Some(Test { not: false, what: None }),
        }
        Ok(())
    }

    /// What follows `deliver to`.
    fn deliver(&mut self, cursor: &mut Cursor<'_>) -> Parse<Local> {
        let (word, _) = cursor.needed_word(&["maildir", "mbox", "mda", "lmtp"])?;
        let mut user = None;
        let delivery = match word {
            "mbox" => Delivery::Mbox,
            "maildir" => {
                let words: Vec<&'static str> = CONDITIONS.iter().chain(&OPTIONS).copied().collect();
                let follows = cursor.name_follows(&words);
                let path = follows.then(|| cursor.string("a path")).transpose()?;
                let path = path.map(|token| template(token, "the Maildir's path")).transpose()?;
                Delivery::Maildir { path, junk: false }
            }
            "mda" => Delivery::Mda(template(cursor.string("a command")?, "the command")?),
            _ => {
                let destination = template(cursor.string("host:port or a path")?, "destination")?;
                Delivery::Lmtp { destination, rcpt_to: cursor.eat("rcpt-to") }
            }
        };
        if matches!(word, "mda" | "lmtp") && cursor.eat("as") {
            user = Some(cursor.string("a user name")?.text.to_string());
        }
        let (aliases, userbase) = (Aliases::None, Userbase::System);
        Ok(Local { delivery, user, aliases, userbase, wrapper: None })
    }

    /// What follows `relay`.
    fn legacy_relay(&mut self, cursor: &mut Cursor<'_>, seen: &mut Seen) -> Parse<Relay> {
        let mut relay = Relay::default();
        let via = cursor.eat("via").then(|| cursor.string("a URL")).transpose()?;
        if let Some(url) = via
            && let Err(help) = LegacyUrl::parse(&url.text, false)
        {
            let joined = cursor.joined(&url.text, |url| LegacyUrl::parse(url, false).is_ok());
            return Err(bad_url("invalid url", &url.text, help, joined, url.place));
        }
        let mut verify = false;
        // Words of relay alone; what else follows belongs to the rule.
        let more: &[&str] = if via.is_some() { &["verify"] } else { &["backup", "tls"] };
        while let Some(token) = cursor.peek() {
            let known = RELAY.iter().chain(more).copied().find(|word| token.is(word));
            let Some(word) = known else { break };
            cursor.advance();
            seen.once(word, token.place, "rule")?;
            match word {
                "verify" => verify = true,
                "backup" => {
                    let words = RELAY.iter().chain(&["tls"]).chain(&CONDITIONS).chain(&OPTIONS);
                    let follows = cursor.name_follows(&words.copied().collect::<Vec<_>>());
                    let mx = follows.then(|| cursor.string("a host name"));
                    let mx = mx.transpose()?.map(|token| token.text.to_string());
                    relay.route = Route::Backup(mx);
                }
                "tls" => {
                    relay.tls = match cursor.eat("verify") {
                        true => RelayTls::Require,
                        false => RelayTls::RequireUnverified,
                    };
                    self.warn_unverified(relay.tls, token.place);
                }
                "auth" if via.is_none() => {
                    let message = "auth may not be specified without via";
                    return Err(Fault::error(token.place, message));
                }
                "auth" => relay.auth = Some(self.operand(cursor, "auth", Takes::Map)?),
                _ => self.legacy_relay_option(cursor, word, &mut relay)?,
            }
        }
        let Some(via) = via else { return Ok(relay) };
        let url = LegacyUrl::parse(&via.text, verify).map_err(|help| {
            let message = format!("invalid url: {}", via.text);
            Fault::new(via.place, Diagnostic::error(message).help(help))
        })?;
        match url {
            LegacyUrl::Backup { mx, tls } => {
                relay.route = Route::Backup(Some(mx));
                relay.tls = tls;
                // Its URL has no label, so nobody ever asked the table.
                relay.auth = None;
            }
            LegacyUrl::Host { url, tls, note } => {
                if url.label.is_some() && relay.auth.is_none() {
                    let diagnostic = Diagnostic::error("auth without auth table")
                        .help("the URL has a label: add auth <TABLE>");
                    return Err(Fault::new(via.place, diagnostic));
                }
                if let Some(note) = note {
                    self.report(via.place, Diagnostic::warning(note));
                }
                relay.route = Route::Hosts(self.one_key(via.place, &url.to_string()));
                relay.tls = tls;
            }
        }
        self.warn_unverified(relay.tls, via.place);
        Ok(relay)
    }

    fn warn_unverified(&mut self, tls: RelayTls, place: Place) {
        if tls == RelayTls::RequireUnverified {
            let warning = Diagnostic::warning("the relay's certificate is not verified");
            self.report(place, warning.help("add verify"));
        }
    }

    fn one_key(&mut self, place: Place, key: &str) -> TableId {
        let mut entries = Entries::default();
        entries.insert(key, "", place.line);
        self.anonymous(place, crate::table::Shape::List, entries)
    }

    fn legacy_relay_option(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: &str,
        relay: &mut Relay,
    ) -> Parse<()> {
        match word {
            "as" => {
                let address = sender(cursor)?;
                // A user alone got the server's name behind it.
                relay.mail_from = Some(match address.contains('@') {
                    true => address,
                    false => format!("{address}@{}", self.config.host.name),
                });
            }
            "source" => relay.src = Some(self.operand(cursor, "source", Takes::Keys)?),
            "helo" | "hostnames" => {
                relay.helo_src = Some(self.operand(cursor, "hostnames", Takes::Map)?);
            }
            "hostname" => relay.helo = Some(super::action::helo(cursor)?),
            "pki" => relay.pki = Some(self.known_pki(cursor)?),
            "ca" => relay.ca = Some(self.known_ca(cursor)?),
            _ => {
                let place = cursor.place();
                let name = path(cursor, "a certificate's name")?;
                relay.pki = Some(self.legacy_certificate(&name.to_string_lossy(), place));
            }
        }
        Ok(())
    }

    /// The action of a rule, and what alias words mean beside it.
    fn rule_action(
        &mut self,
        doing: Doing,
        draft: &mut Draft,
        seen: &Seen,
        start: Place,
    ) -> Parse<ActionId> {
        let place = |word| seen.place(word).unwrap_or(start);
        let fail = |place, message: &str| Err(Fault::error(place, message));
        if let (Some(at), true) = (doing.forward_only, doing.method.is_some()) {
            return fail(at, "forward-only may not be used with a default action");
        }
        let method = match doing.method {
            Some(Method::Relay(relay)) => {
                if seen.has("userbase") {
                    return fail(place("userbase"), "userbase may not be used with a relay rule");
                }
                match doing.aliases {
                    Aliases::None => {}
                    // 5.3: relayed only when it is in the table.
                    Aliases::Virtual(table) if draft.rcpt_to.is_none() => {
                        let what = crate::table::Operand { table, regex: false };
                        draft.rcpt_to = Some(Test { not: false, what });
                    }
                    _ => {
                        let message = "aliases/virtual may not be used with a relay rule";
                        return fail(place("alias or virtual"), message);
                    }
                }
                Method::Relay(relay)
            }
            local => {
                let delivery = match doing.forward_only {
                    Some(_) => Delivery::ForwardOnly,
                    None => Delivery::ExpandOnly,
                };
                let mut local = match local {
                    Some(Method::Local(local)) => local,
                    _ => Box::new(Local {
                        delivery,
                        user: None,
                        aliases: Aliases::None,
                        userbase: Userbase::System,
                        wrapper: None,
                    }),
                };
                local.aliases = doing.aliases;
                local.userbase = doing.userbase;
                self.check_local(&local, seen, place("action"))?;
                Method::Local(local)
            }
        };
        let printed = print::method(&self.config, &method, doing.ttl);
        let name = format!("{LEGACY}{:016x}", fnv1a(printed.as_bytes()));
        if let Some(id) = self.config.action_names.get(&*name) {
            return Ok(*id);
        }
        let mut places = self.places(seen);
        for (word, position) in self.places(&doing.options).iter() {
            places.add(word, position.clone());
        }
        Ok(self.declare(Action {
            name: name.into(),
            position: self.position(start),
            places,
            method,
            ttl: doing.ttl,
            ttl_at_submission: true,
        }))
    }
}

/// Takes a `! authenticated`.
fn not_authenticated(cursor: &mut Cursor<'_>, draft: &mut Draft, seen: &mut Seen) -> Parse<bool> {
    if !cursor.eat_mark('!') {
        return Ok(false);
    }
    let (word, at) = cursor.needed_word(&["authenticated"]).map_err(|mut fault| {
        let help = "the ! stands behind the other conditions: from ! ..., tagged ! ...";
        fault.diagnostic = fault.diagnostic.help(help);
        fault
    })?;
    seen.once(word, at, "rule")?;
    draft.auth = Some(Test { not: true, what: None });
    Ok(true)
}

/// FNV-1a, 64 bits. The name is kept in the queue over years, so the hash is one that no library
/// changes; nobody who could gain from a collision writes this file.
fn fnv1a(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
