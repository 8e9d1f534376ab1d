//! The words of both grammars: which are reserved, which begin a statement, and which tell
//! the two grammars apart.
//!
//! Words of our own (`directory`, `control`, `daemon`, `stray-newline`, ...) are recognised by
//! position and never reserved, so that they remain good names in files of other daemons.

use crate::config::Dialect;

/// Reserved since 6.4: as a name they need quotes.
const MODERN: &[&str] = &[
    "action",
    "admd",
    "alias",
    "any",
    "auth",
    "auth-optional",
    "backup",
    "bounce",
    "bypass",
    "ca",
    "cert",
    "chain",
    "chroot",
    "ciphers",
    "commit",
    "compression",
    "connect",
    "data",
    "data-line",
    "dhe",
    "disconnect",
    "domain",
    "ehlo",
    "encryption",
    "expand-only",
    "fcrdns",
    "filter",
    "for",
    "forward-only",
    "from",
    "group",
    "helo",
    "helo-src",
    "host",
    "hostname",
    "hostnames",
    "include",
    "inet4",
    "inet6",
    "junk",
    "key",
    "limit",
    "listen",
    "lmtp",
    "local",
    "mail-from",
    "maildir",
    "mask-src",
    "masquerade",
    "match",
    "max-deferred",
    "max-message-size",
    "mbox",
    "mda",
    "mta",
    "mx",
    "no-dsn",
    "no-verify",
    "noop",
    "on",
    "phase",
    "pki",
    "port",
    "proc",
    "proc-exec",
    "protocols",
    "proxy-v2",
    "queue",
    "quit",
    "rcpt-to",
    "rdns",
    "received-auth",
    "recipient",
    "regex",
    "reject",
    "relay",
    "report",
    "rewrite",
    "rset",
    "scheduler",
    "senders",
    "smtp",
    "smtp-in",
    "smtp-out",
    "smtps",
    "socket",
    "src",
    "srs",
    "sub-addr-delim",
    "table",
    "tag",
    "tagged",
    "tls",
    "tls-require",
    "ttl",
    "user",
    "userbase",
    "verify",
    "virtual",
    "warn-interval",
    "wrapper",
];

/// Reserved from 5.3 to 6.0 in every version: words that came or went in between may have been
/// names in somebody's file, so they are not kept from them.
const LEGACY: &[&str] = &[
    "accept",
    "alias",
    "any",
    "as",
    "auth",
    "auth-optional",
    "backup",
    "bounce-warn",
    "certificate",
    "deliver",
    "domain",
    "expire",
    "filter",
    "for",
    "from",
    "hostname",
    "include",
    "key",
    "listen",
    "local",
    "maildir",
    "max-message-size",
    "mbox",
    "mda",
    "on",
    "port",
    "queue",
    "reject",
    "relay",
    "sender",
    "smtps",
    "source",
    "table",
    "tag",
    "tagged",
    "tls",
    "tls-require",
    "to",
    "userbase",
    "via",
    "virtual",
];

/// First words of modern statements, `include` aside.
pub const MODERN_STATEMENTS: &[&str] = &[
    "action",
    "admd",
    "bounce",
    "ca",
    "control",
    "daemon",
    "filter",
    "include",
    "listen",
    "match",
    "mda",
    "mta",
    "pki",
    "proc",
    "queue",
    "resolver",
    "scheduler",
    "smtp",
    "srs",
    "table",
];

/// First words of legacy statements, `include` aside.
pub const LEGACY_STATEMENTS: &[&str] = &[
    "accept",
    "bounce-warn",
    "ca",
    "ciphers",
    "control",
    "curve",
    "daemon",
    "enqueuer",
    "expire",
    "filter",
    "include",
    "limit",
    "listen",
    "max-message-size",
    "max-mta-deferred",
    "pki",
    "queue",
    "reject",
    "resolver",
    "subaddressing-delimiter",
    "table",
];

/// First words that only one grammar has, with what the other one writes.
pub const ONLY_MODERN: &[(&str, &str)] = &[
    ("action", "an accept rule says what is done: accept ... deliver to maildir"),
    ("match", "accept ... or reject ..."),
    ("mta", "limit mta ... or max-mta-deferred N"),
    ("mda", "limit mda ..."),
    ("smtp", "max-message-size N, limit session ..., ciphers ..."),
    ("bounce", "bounce-warn ..."),
    ("scheduler", "limit scheduler ..."),
    ("proc", "nothing: these filters came later"),
    ("srs", "nothing: SRS came later"),
    ("admd", "nothing: it came later"),
];

/// See [`ONLY_MODERN`].
pub const ONLY_LEGACY: &[(&str, &str)] = &[
    ("accept", "an action and a match: action \"a\" maildir, then match ... action \"a\""),
    ("reject", "match ... reject"),
    ("bounce-warn", "bounce warn-interval ..."),
    ("expire", "queue ttl ..."),
    ("max-message-size", "smtp max-message-size ..."),
    ("limit", "mta limit ..., mda limit ..., scheduler limit ... or smtp limit ..."),
    ("ciphers", "smtp ciphers ..."),
    ("curve", "nothing: the curve is chosen by itself"),
    ("enqueuer", "listen on socket filter ..."),
    ("max-mta-deferred", "mta max-deferred N"),
    ("subaddressing-delimiter", "smtp sub-addr-delim C"),
];

/// Words inside of statements that only the grammar of before 2018 has, or had for a while, with
/// what is written today.
const DROPPED: &[(&str, &str)] = &[
    ("accept", "action \"NAME\", declared above"),
    ("as", "mail-from ADDRESS in a relay, user NAME in a delivery"),
    ("authenticated", "auth"),
    ("certificate", "pki NAME on a listener or relay, cert FILE in a pki or ca line"),
    ("deliver", "the method alone: maildir, mbox, lmtp ... or mda ..."),
    ("dhparams", "nothing: keys are exchanged on elliptic curves"),
    ("dsn-notify", "no-dsn"),
    ("dsn-ret", "nothing: reports quote the header unless the sender asks for more"),
    ("expire", "ttl DELAY, at the end of the action"),
    ("mask-source", "mask-src"),
    ("max-mta-deferred", "mta max-deferred N"),
    ("recipient", "rcpt-to"),
    ("secure", "two lines: one with tls, one with smtps"),
    ("sender", "mail-from"),
    ("session", "smtp limit ..."),
    ("source", "src"),
    ("ssl", "two lines: one with tls, one with smtps"),
    ("tagged", "tag"),
    ("to", "for ... in a rule; in an action the method alone, as in maildir"),
    ("verify", "nothing on a relay, as tls verifies; on a listener behind tls-require or smtps"),
    ("via", "host URL"),
];

/// Likewise the words of today, with what a file of before 2018 has for them.
const LATER: &[(&str, &str)] = &[
    ("action", "what is done stands in the rule: deliver to maildir, relay"),
    ("auth", "authenticated"),
    ("cert", "certificate FILE"),
    ("domain", "for domain NAME in a rule; for a route, relay via URL in a rule for the domain"),
    ("expand-only", "a rule without an action"),
    ("helo-src", "hostnames <TABLE>"),
    ("host", "relay via URL"),
    ("lmtp", "deliver to lmtp ..."),
    ("mail-from", "sender ... in a rule, as ADDRESS in a relay"),
    ("maildir", "deliver to maildir"),
    ("mask-src", "mask-source"),
    ("mbox", "deliver to mbox"),
    ("mda", "deliver to mda ..."),
    ("mx", "the host behind backup"),
    ("no-verify", "nothing: certificates were verified only with verify"),
    ("rcpt-to", "recipient ..."),
    ("src", "source ..."),
    ("tag", "tagged NAME"),
    ("ttl", "expire DELAY"),
    ("user", "as USER, behind the command of mda or the destination of lmtp"),
];

/// What a file of that grammar has for a word of the other one.
pub fn instead(dialect: Dialect, word: &str) -> Option<String> {
    let (words, when) = match dialect {
        Dialect::Modern => (DROPPED, "a word of before 2018; today"),
        Dialect::Legacy => (LATER, "a word of today; in this file, which is of before 2018"),
    };
    let (_, instead) = words.iter().find(|(known, _)| *known == word)?;
    Some(format!("{when}: {instead}"))
}

/// Whether an unquoted word of that grammar cannot be a name.
pub fn is_reserved(dialect: Dialect, word: &str) -> bool {
    match dialect {
        Dialect::Modern => MODERN.contains(&word),
        Dialect::Legacy => LEGACY.contains(&word),
    }
}

/// Whether some statement of either grammar begins so.
pub fn begins_statement(word: &str) -> bool {
    MODERN_STATEMENTS.contains(&word) || LEGACY_STATEMENTS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_tell_the_grammars_apart_begin_statements_of_one_only() {
        for (word, _) in ONLY_MODERN {
            assert!(MODERN_STATEMENTS.contains(word) && !LEGACY_STATEMENTS.contains(word));
        }
        for (word, _) in ONLY_LEGACY {
            assert!(LEGACY_STATEMENTS.contains(word) && !MODERN_STATEMENTS.contains(word));
        }
    }

    #[test]
    fn words_for_another_grammar_are_found() {
        for words in [DROPPED, LATER] {
            assert!(words.is_sorted());
        }
        let found = instead(Dialect::Modern, "sender");
        assert_eq!(found.as_deref(), Some("a word of before 2018; today: mail-from"));
        assert_eq!(instead(Dialect::Legacy, "sender"), None);
    }

    #[test]
    fn words_of_our_own_are_not_reserved() {
        for word in [
            "directory",
            "control",
            "daemon",
            "resolver",
            "name",
            "stray-newline",
            "normalize",
            "groups",
        ] {
            assert!(!is_reserved(Dialect::Modern, word) && !is_reserved(Dialect::Legacy, word));
        }
    }
}
