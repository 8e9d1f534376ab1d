//! How many connections a next hop gets, how many messages each takes, and after which pauses
//! (smtpd.conf(5), `mta limit`).
//!
//! A server that the administrator names is his own or one he is known to: it gets what it takes.
//! The servers of the world's domains get upstream's numbers of connections, and fewer until they
//! have shown that they take mail. Upstream's pauses are not kept unless they are asked for.

use std::time::Duration;

use smtpd_config::LimitSet;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Connections by what they have in common, in the order of
    /// [`Kind::ALL`](super::tally::Kind::ALL); none where there is no bound.
    pub most: [Option<usize>; 6],
    /// Between the beginnings of two connections, in the same order.
    pub delays: [Duration; 6],
    /// Between the end of the last connection between two addresses and the next one.
    pub reconnect_delay: Duration,
    /// Messages over one connection.
    pub mails: u32,
    /// Messages to one domain in any minute, and in any hour.
    pub rates: [Option<u32>; 2],
    /// Connections begin at two; a success allows one more, a sign of trouble halves them.
    pub careful: bool,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Between two messages over one connection.
    pub mail_delay: Duration,
    /// Refused recipients in a row after which a connection is given up.
    pub failures: u32,
}

/// Connections to the servers of one hop that are named in the configuration.
const NAMED_CONNECTIONS: usize = 20;

/// Messages over one such connection.
const NAMED_MAILS: u32 = 1000;

/// Words that bound connections, in the order of the scopes.
const CONNECTIONS: [&str; 6] = [
    "max-conn-per-host",
    "max-conn-per-route",
    "max-conn-per-source",
    "max-conn-per-connector",
    "max-conn-per-relay",
    "max-conn-per-domain",
];

/// Words that put a pause between connections.
const DELAYS: [&str; 6] = [
    "conn-delay-host",
    "conn-delay-route",
    "conn-delay-source",
    "conn-delay-connector",
    "conn-delay-relay",
    "conn-delay-domain",
];

/// Words that bound messages in a period, with the period.
pub const RATES: [(&str, Duration); 2] = [
    ("max-mails-per-minute", Duration::from_secs(60)),
    ("max-mails-per-hour", Duration::from_secs(3600)),
];

impl Pace {
    /// That of servers that the configuration names.
    #[must_use]
    pub fn named(limits: &LimitSet) -> Pace {
        // What goes by one action to one place is bounded. Actions that share an address or a
        // source, or a domain with several servers, are bounded together only when that is written.
        let most = CONNECTIONS.map(|word| match (written(limits, word), word) {
            (Some(most), _) => Some(most as usize),
            (None, "max-conn-per-source" | "max-conn-per-domain") => None,
            (None, _) => Some(NAMED_CONNECTIONS),
        });
        let mails = written(limits, "session-mail-max").unwrap_or(NAMED_MAILS).max(1);
        Pace { most, mails, careful: false, ..Pace::found(limits, false) }
    }

    /// That of servers that are found by MX records. `bound` says that connections come from
    /// addresses that the configuration names: the system's choice is bounded when that is written.
    #[must_use]
    pub fn found(limits: &LimitSet, bound: bool) -> Pace {
        let get = |word| limits.get(word).unwrap_or(1).max(1);
        let most = |word| match word {
            "max-conn-per-source" if !bound => written(limits, word),
            word => limits.get(word),
        };
        let seconds = |word| Duration::from_secs(written(limits, word).unwrap_or(0).into());
        let known = |word| Duration::from_secs(limits.get(word).unwrap_or(0).into());
        Pace {
            most: CONNECTIONS.map(|word| most(word).map(|most| most as usize)),
            delays: DELAYS.map(seconds),
            reconnect_delay: seconds("reconn-delay-route"),
            mails: get("session-mail-max"),
            rates: RATES.map(|(word, _)| written(limits, word)),
            careful: true,
            keep_alive: known("session-keepalive"),
            mail_delay: known("session-transaction-delay"),
            failures: get("max-failures-per-session"),
        }
    }
}

/// What the file sets a word to.
fn written(limits: &LimitSet, word: &str) -> Option<u32> {
    limits.configured().find(|(known, _)| *known == word).map(|(_, number)| number)
}
