//! Rules that never match, as an earlier one takes everything that they would.
//!
//! A rule covers another one when each of its conditions holds for every message that the other's
//! conditions hold for. Only single rules are compared; that two of them together leave nothing
//! over is not seen.

use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::rules::{For, From, Match, Test, Verdict};
use crate::table::{Backend, Operand, Query, Service, Table};

/// Keys of a table that are compared one by one; larger tables only cover themselves.
const COMPARED: usize = 1_000;

pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let rules = &config.matches;
    let covered_by = |index: usize| {
        let rule = &rules[index];
        let earlier = rules[..index].iter().filter(|other| other.position != rule.position);
        earlier.into_iter().find(|other| covers(config, other, rule))
    };
    let mut found = Vec::new();
    let mut index = 0;
    while index < rules.len() {
        // A legacy rule may have become two; it never matches when neither does.
        let halves =
            rules[index..].iter().take_while(|rule| rule.position == rules[index].position);
        let next = index + halves.count();
        let earlier: Option<Vec<&Match>> = (index..next).map(covered_by).collect();
        if let Some(earlier) = earlier
            && let Some(first) = earlier.first()
        {
            let message = format!("this rule never matches: {} takes it all", first.position);
            let warning = Diagnostic::warning(message)
                .help("move it above that line, or make that line narrower");
            found.push(warning.at(rules[index].position.clone()));
        }
        index = next;
    }
    found
}

/// Whether every message that `b` takes is taken by `a`.
fn covers(config: &Config, a: &Match, b: &Match) -> bool {
    let with = |service| Sets { config, service, deep: (true, true) };
    // How deep a star goes in these depends on the verdict.
    let on_senders = |service, negated: bool| {
        let deep = |rule: &Match| rule.verdict == Verdict::Reject && !negated;
        Sets { config, service, deep: (deep(a), deep(b)) }
    };
    covers_from(config, a.from, b.from)
        && covers_for(config, a.to, b.to)
        && with(Service::String).test(a.tag, b.tag)
        && on_senders(Service::Domain, a.helo.is_some_and(|test| test.not)).test(a.helo, b.helo)
        && on_senders(Service::MailAddr, a.mail_from.is_some_and(|test| test.not))
            .test(a.mail_from, b.mail_from)
        && with(Service::MailAddr).test(a.rcpt_to, b.rcpt_to)
        && covers_auth(config, a.auth, b.auth)
        && (a.tls.is_none() || a.tls == b.tls)
}

fn covers_from(config: &Config, a: Test<From>, b: Test<From>) -> bool {
    let sets = Sets { config, service: Service::NetAddr, deep: (true, true) };
    match (a.what, b.what) {
        (From::Any, _) => !a.not,
        _ if a.not != b.not => false,
        (From::Local, From::Socket) => !a.not,
        (From::Src(x), From::Src(y)) => sets.operands(a.not, x, y),
        (From::Rdns(None), From::Rdns(Some(_))) => !a.not,
        (x, y) => x == y,
    }
}

fn covers_for(config: &Config, a: Test<For>, b: Test<For>) -> bool {
    let sets = Sets { config, service: Service::Domain, deep: (true, true) };
    match (a.what, b.what) {
        (For::Any, _) => !a.not,
        _ if a.not != b.not => false,
        (For::Domain(x), For::Domain(y)) => sets.operands(a.not, x, y),
        (For::Local, For::Domain(y)) if !a.not => {
            sets.keys(y).is_some_and(|keys| keys.iter().all(|key| config.is_local_domain(key)))
        }
        (x, y) => x == y,
    }
}

fn covers_auth(
    config: &Config,
    a: Option<Test<Option<Operand>>>,
    b: Option<Test<Option<Operand>>>,
) -> bool {
    let sets = Sets { config, service: Service::String, deep: (true, true) };
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) if a.not != b.not => false,
        (Some(a), Some(b)) => match (a.what, b.what) {
            (None, Some(_)) => !a.not,
            (Some(_), None) => a.not,
            (None, None) => true,
            (Some(x), Some(y)) => sets.operands(a.not, x, y),
        },
    }
}

/// Tables as sets of what they match.
struct Sets<'c> {
    config: &'c Config,
    service: Service,
    /// Whether a `*.` takes domains at any depth in the earlier and in the later rule.
    deep: (bool, bool),
}

impl Sets<'_> {
    fn test(&self, a: Option<Test<Operand>>, b: Option<Test<Operand>>) -> bool {
        match (a, b) {
            (None, _) => true,
            (Some(a), Some(b)) => a.not == b.not && self.operands(a.not, a.what, b.what),
            (Some(_), None) => false,
        }
    }

    /// Whether `a` holds wherever `b` does; both negated when `not`, and then no star is deep.
    fn operands(&self, not: bool, a: Operand, b: Operand) -> bool {
        if not { self.within(a, b, true) } else { self.within(b, a, false) }
    }

    /// Whether all that `part` matches is matched by `whole`.
    fn within(&self, part: Operand, whole: Operand, not: bool) -> bool {
        // Stars of equal words reach equally far, or those of the later rule less far.
        let stars = not || self.deep.0 || !self.deep.1;
        if part == whole && stars {
            return true;
        }
        let Some(keys) = self.keys(part) else { return false };
        let table = self.config.tables.get(whole.table);
        in_memory(table)
            && part.regex == whole.regex
            && keys.iter().all(|key| self.has(table, key, whole.regex, stars))
    }

    fn keys(&self, operand: Operand) -> Option<Vec<&str>> {
        let table = self.config.tables.get(operand.table);
        let small = in_memory(table) && (1..=COMPARED).contains(&table.entries.len());
        small.then(|| table.entries.sorted().into_iter().map(|(key, _)| key).collect())
    }

    fn has(&self, table: &Table, key: &str, regex: bool, stars: bool) -> bool {
        if table.entries.get(key).is_some() {
            return stars || !key.contains('*');
        }
        let delimiters = &self.config.smtp.sub_addr_delim;
        let query = Query { service: self.service, key, delimiters, deep: self.deep.0 };
        match self.service {
            _ if regex => false,
            Service::NetAddr => table.entries.covers_network(key),
            // A key that is one name or address is such a one itself.
            Service::Domain => !key.contains('*') && table.entries.contains(&query, key),
            Service::MailAddr => {
                let (user, domain) = key.rsplit_once('@').unwrap_or((key, ""));
                let is_one = !key.contains('*') && !user.is_empty() && !domain.is_empty();
                is_one && table.entries.contains(&query, key)
            }
            _ => false,
        }
    }
}

fn in_memory(table: &Table) -> bool {
    matches!(table.backend, Backend::Inline | Backend::File(_) | Backend::Passwd(_))
}
