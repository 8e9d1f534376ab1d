//! Who guesses at rewritten senders (`srs`). Their hash has 24 bits, as others write and read it: so
//! few that it could be found by trial, and mail then be sent through us to anybody. So wrong ones are
//! counted, and a network that has sent [`MOST`] of them within an hour is told nothing about any
//! more for the rest of it, right or wrong: at that rate it takes one network twenty years.

use std::collections::HashMap;
use std::net::IpAddr;

use smtpd_config::Client;

/// Wrong hashes of one network within [`PERIOD`].
const MOST: u32 = 50;

/// In microseconds.
const PERIOD: u64 = 3600 * 1_000_000;

/// Networks remembered. With more, those that have sent the fewest are forgotten.
const MANY: usize = 10_000;

/// Addresses that are one owner's as a rule: an IPv4 /24, an IPv6 /48 (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 3]),
    V6([u8; 6]),
}

/// See the module. It takes less than a megabyte.
#[derive(Debug, Default)]
pub struct Guesses(HashMap<Network, Wrong>);

#[derive(Debug)]
struct Wrong {
    since: u64,
    many: u32,
}

impl Guesses {
    /// Whether this client is told nothing about rewritten senders at this time of the wall clock, in
    /// microseconds since 1970.
    pub fn is_shut_out(&self, client: Client, now: u64) -> bool {
        let wrong = network(client).and_then(|network| self.0.get(&network));
        wrong.is_some_and(|wrong| wrong.counts(now) && wrong.many >= MOST)
    }

    /// A hash was wrong. Whether that was the one too many.
    pub fn note(&mut self, client: Client, now: u64) -> bool {
        let Some(network) = network(client) else { return false };
        if !self.0.contains_key(&network) && self.0.len() >= MANY {
            self.forget(now);
        }
        let wrong = self.0.entry(network).or_insert(Wrong { since: now, many: 0 });
        if !wrong.counts(now) {
            *wrong = Wrong { since: now, many: 0 };
        }
        wrong.many += 1;
        wrong.many == MOST
    }

    /// Makes room: forgets those of past hours, else half of the others.
    fn forget(&mut self, now: u64) {
        self.0.retain(|_, wrong| wrong.counts(now));
        if self.0.len() >= MANY {
            let mut many: Vec<_> = self.0.values().map(|wrong| wrong.many).collect();
            let (_, middle, _) = many.select_nth_unstable(MANY / 2);
            let middle = *middle;
            let mut left = MANY / 2;
            self.0.retain(|_, wrong| {
                let goes = wrong.many <= middle && left > 0;
                left -= usize::from(goes);
                !goes
            });
        }
    }
}

impl Wrong {
    /// Also after a step of the clock, which may be as long as it likes.
    fn counts(&self, now: u64) -> bool {
        now.abs_diff(self.since) < PERIOD
    }
}

/// None for programs of this machine, which are the administrator's own.
fn network(client: Client) -> Option<Network> {
    let Client::Ip(ip) = client else { return None };
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Network::V4([a, b, c]))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            Some(Network::V6([a, b, c, d, e, f]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Client {
        Client::Ip(text.parse().unwrap())
    }

    #[test]
    fn a_network_has_so_many_an_hour() {
        let mut guesses = Guesses::default();
        for (one, neighbour, other) in [
            ("192.0.2.1", "192.0.2.200", "192.0.3.1"),
            ("2001:db8:1::1", "2001:db8:1:ffff::2", "2001:db8:2::1"),
            ("::ffff:198.51.100.1", "198.51.100.2", "::1"),
        ] {
            for nth in 1..=MOST {
                assert!(!guesses.is_shut_out(ip(one), 1));
                assert_eq!(guesses.note(ip(one), 1), nth == MOST);
            }
            assert!(
                guesses.is_shut_out(ip(neighbour), PERIOD) && !guesses.is_shut_out(ip(other), 1)
            );
            assert!(!guesses.note(ip(one), 2), "that is told once");
            assert!(!guesses.is_shut_out(ip(one), PERIOD + 1));
            assert!(
                !guesses.note(ip(one), PERIOD + 1) && !guesses.is_shut_out(ip(one), PERIOD + 1)
            );
        }
        (0..=MOST).for_each(|_| assert!(!guesses.note(ip("127.0.0.1"), 1)));
        assert!(!guesses.is_shut_out(ip("127.0.0.1"), 1));
    }

    #[test]
    fn a_flood_of_networks_does_not_wash_away_who_has_guessed_most() {
        let mut guesses = Guesses::default();
        assert_eq!((0..MOST).filter(|_| guesses.note(ip("192.0.2.1"), 1)).count(), 1);
        for n in 0..3 * MANY as u32 {
            guesses.note(Client::Ip(std::net::Ipv4Addr::from(n << 8 | 0x0b00_0000).into()), 1);
            assert!(guesses.0.len() <= MANY);
        }
        assert!(guesses.is_shut_out(ip("192.0.2.1"), 1));
        guesses.note(ip("192.0.2.1"), PERIOD + 1);
        for n in 0..MANY as u32 {
            guesses.note(
                Client::Ip(std::net::Ipv4Addr::from(n << 8 | 0x0b00_0000).into()),
                3 * PERIOD,
            );
        }
        assert!(
            guesses.0.len() <= MANY && !guesses.0.contains_key(&network(ip("192.0.2.1")).unwrap())
        );
    }
}
