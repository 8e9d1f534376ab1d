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
    fn words_of_our_own_are_not_reserved() {
        for word in ["directory", "control", "daemon", "name", "stray-newline", "normalize"] {
            assert!(!is_reserved(Dialect::Modern, word) && !is_reserved(Dialect::Legacy, word));
        }
    }
}
