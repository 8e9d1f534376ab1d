//! What came of the last attempt for each domain (`smtpctl show hoststats`).

use std::borrow::Cow;
use std::collections::HashMap;

use smtpd_queue::delivery::beginning;

/// How long a status is of interest, in microseconds: as upstream.
const LONGEST: u64 = 4 * 3600 * 1_000_000;

/// Octets of the words that are kept; a reply may have many.
const WORDS: usize = 512;

/// Domains remembered; one more displaces those of which nothing was heard for longest.
const MANY: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HostStats {
    domains: HashMap<String, Stat>,
    last: u64,
}

#[derive(Debug)]
struct Stat {
    number: u64,
    /// By the wall clock, in microseconds since 1970.
    at: u64,
    text: String,
}

impl HostStats {
    /// An attempt for a domain ended with these words, at this time of the wall clock.
    pub(super) fn note(&mut self, domain: &str, text: &str, now: u64) {
        let text = beginning(text, WORDS);
        let is_upper = domain.bytes().any(|octet| octet.is_ascii_uppercase());
        let domain: Cow<'_, str> =
            if is_upper { domain.to_ascii_lowercase().into() } else { domain.into() };
        if let Some(stat) = self.domains.get_mut(&*domain) {
            stat.at = now;
            stat.text.clear();
            stat.text.push_str(text);
            return;
        }
        if self.domains.len() >= MANY {
            self.make_room(now);
        }
        self.last += 1;
        let stat = Stat { number: self.last, at: now, text: text.to_owned() };
        self.domains.insert(domain.into_owned(), stat);
    }

    /// Number, domain, time in seconds since 1970 and words of what is still of interest.
    pub(super) fn list(&self, now: u64) -> impl Iterator<Item = (u64, &str, u64, &str)> {
        let list = self.domains.iter().filter(move |(_, stat)| stat.is_fresh(now));
        list.map(|(domain, stat)| (stat.number, &**domain, stat.at / 1_000_000, &*stat.text))
    }

    fn make_room(&mut self, now: u64) {
        self.domains.retain(|_, stat| stat.is_fresh(now));
        if self.domains.len() >= MANY {
            let mut times: Vec<_> = self.domains.values().map(|stat| stat.at).collect();
            times.sort_unstable();
            // A tenth of them, so that this is not done for each domain.
            let last = times[MANY / 10];
            self.domains.retain(|_, stat| stat.at > last);
        }
    }
}

impl Stat {
    fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.at) <= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_for_a_domain_are_kept_for_four_hours() {
        let mut stats = HostStats::default();
        let start = 1_700_000_000_000_000;
        stats.note("Example.ORG", "450 later", start);
        stats.note("example.net", "550 no", start + 1);
        stats.note("example.org", "250 ok", start + 2_000_000);
        let mut list: Vec<_> = stats.list(start + 3_000_000).collect();
        list.sort_unstable();
        let first = (1, "example.org", 1_700_000_002, "250 ok");
        assert_eq!(list, [first, (2, "example.net", 1_700_000_000, "550 no")]);
        assert_eq!(stats.list(start + 1 + LONGEST).count(), 2);
        assert_eq!(stats.list(start + 2 + LONGEST).count(), 1);
        for nth in 0..2 * MANY as u64 {
            stats.note(&format!("d{nth}.example"), "250 ok", start + nth);
        }
        assert!(stats.domains.len() <= MANY);
        assert!(stats.domains.contains_key(&format!("d{}.example", 2 * MANY - 1)));
    }
}
