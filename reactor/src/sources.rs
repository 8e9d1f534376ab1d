//! How many sessions each source has at once: `smtp limit max-conn-per-src`.
//!
//! A source is an IPv4 address or an IPv6 /64, the least that one customer is given (RFC 6177).
//! Loopback is exempt: local programs are the administrator's own. The count is each reactor's
//! own; with several of them a source may have as many times the number, which costs no lock and
//! still keeps one source from taking all.

use std::collections::HashMap;
use std::net::IpAddr;

/// What is counted as one source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    /// None for an address that is not counted.
    pub(crate) fn of(address: IpAddr) -> Option<Source> {
        match address.to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Source::V4(ip.octets())),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Some(Source::V6([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

/// Sessions by source. Bounded by the number of sessions: a count of nought is no entry.
pub(crate) struct Sources {
    most: u32,
    counts: HashMap<Source, u32>,
}

impl Sources {
    pub(crate) fn new(most: u32) -> Sources {
        Sources { most, counts: HashMap::new() }
    }

    /// Counts one more session, unless the source has its share.
    pub(crate) fn enter(&mut self, source: Source) -> bool {
        let count = self.counts.entry(source).or_insert(0);
        if *count < self.most {
            *count += 1;
            true
        } else {
            // An entry made just now is only left at nought where the limit itself is nought.
            if *count == 0 {
                self.counts.remove(&source);
            }
            false
        }
    }

    /// A session of the source has ended.
    pub(crate) fn leave(&mut self, source: Source) {
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Option<Source> {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn one_v6_network_is_one_source() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn loopback_is_not_counted() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(source(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_kept_of_sources_that_left() {
        let mut sources = Sources::new(2);
        let (a, b) = (source("192.0.2.1").unwrap(), source("192.0.2.2").unwrap());
        assert!(sources.enter(a) && sources.enter(a));
        assert!(!sources.enter(a));
        assert!(sources.enter(b));
        sources.leave(a);
        assert!(sources.enter(a));
        sources.leave(a);
        sources.leave(a);
        sources.leave(b);
        assert!(sources.counts.is_empty());
        assert!(!Sources::new(0).enter(a));
    }
}
