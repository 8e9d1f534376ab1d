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
    /// Connections of one hop.
    pub connections: usize,
    /// Connections to one address, of all hops.
    pub per_address: usize,
    /// Messages over one connection.
    pub mails: u32,
    /// Connections begin at two; a success allows one more, a sign of trouble halves them.
    pub careful: bool,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Between two connections of one hop.
    pub connect_delay: Duration,
    /// Between two messages over one connection.
    pub mail_delay: Duration,
    /// Refused recipients in a row after which a connection is given up.
    pub failures: u32,
}

/// Connections to the servers of one hop that are named in the configuration.
const NAMED_CONNECTIONS: usize = 20;

/// Messages over one such connection.
const NAMED_MAILS: u32 = 1000;

impl Pace {
    /// That of servers that the configuration names.
    #[must_use]
    pub fn named(limits: &LimitSet) -> Pace {
        let most = |words: &[&str]| words.iter().filter_map(|word| written(limits, word)).min();
        let connections = most(&CONNECTIONS).map_or(NAMED_CONNECTIONS, |most| most as usize);
        let per_address = most(&["max-conn-per-host"]).map_or(NAMED_CONNECTIONS, |n| n as usize);
        Pace {
            connections: connections.max(1),
            per_address: per_address.max(1),
            mails: written(limits, "session-mail-max").unwrap_or(NAMED_MAILS).max(1),
            careful: false,
            ..Pace::common(limits)
        }
    }

    /// That of servers that are found by MX records.
    #[must_use]
    pub fn found(limits: &LimitSet) -> Pace {
        let get = |word| limits.get(word).unwrap_or(1).max(1);
        let connections = CONNECTIONS.iter().map(|word| get(word)).min().unwrap_or(1);
        Pace {
            connections: connections as usize,
            per_address: get("max-conn-per-host") as usize,
            mails: get("session-mail-max"),
            careful: true,
            ..Pace::common(limits)
        }
    }

    fn common(limits: &LimitSet) -> Pace {
        let seconds = |word| Duration::from_secs(limits.get(word).unwrap_or(0).into());
        let delay = DELAYS.iter().filter_map(|word| written(limits, word)).max();
        Pace {
            connections: 1,
            per_address: 1,
            mails: 1,
            careful: true,
            keep_alive: seconds("session-keepalive"),
            connect_delay: Duration::from_secs(delay.unwrap_or(0).into()),
            mail_delay: seconds("session-transaction-delay"),
            failures: limits.get("max-failures-per-session").unwrap_or(1).max(1),
        }
    }
}

/// Words that bound the connections of one hop. Upstream tells them apart by what hops share;
/// here the smallest counts for each hop.
const CONNECTIONS: [&str; 5] = [
    "max-conn-per-route",
    "max-conn-per-source",
    "max-conn-per-connector",
    "max-conn-per-relay",
    "max-conn-per-domain",
];

/// Words that put a pause between connections; the longest that is written counts.
const DELAYS: [&str; 7] = [
    "conn-delay-host",
    "conn-delay-route",
    "conn-delay-source",
    "conn-delay-connector",
    "conn-delay-relay",
    "conn-delay-domain",
    "reconn-delay-route",
];

/// What the file sets a word to.
fn written(limits: &LimitSet, word: &str) -> Option<u32> {
    limits.configured().find(|(known, _)| *known == word).map(|(_, number)| number)
}
