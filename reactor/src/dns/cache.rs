//! What the nameservers have said, for as long as it may be believed (RFC 1035 section 7.4, RFC
//! 2308), and a day longer while they say nothing (RFC 8767).
//!
//! Bounded by entries and by octets; what was not used for the longest time goes first, so that a
//! flood of clients with names does not push out the domains that mail goes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::limits;
use super::message::{Found, Key, Kind};

#[derive(Default)]
pub(super) struct Cache {
    entries: BTreeMap<Key, Entry>,
    /// By the time of their last use.
    uses: BTreeMap<u64, Key>,
    octets: usize,
    clock: u64,
}

struct Entry {
    found: Arc<Found>,
    /// Until then it is as good as asked.
    fresh: Time,
    /// Until then it is better than nothing.
    kept: Time,
    used: u64,
    octets: usize,
}

impl Cache {
    /// What may be believed.
    pub(super) fn get(&mut self, key: &Key, now: Time) -> Option<Arc<Found>> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.fresh > now)?;
        self.uses.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.uses.insert(self.clock, key.clone());
        Some(Arc::clone(&entry.found))
    }

    /// Notes an answer. What lasts for no time is not kept.
    pub(super) fn put(&mut self, key: &Key, found: &Arc<Found>, ttl: u32, now: Time) {
        self.remove(key);
        if ttl > 0 {
            let fresh = now + Duration::from_secs(ttl.into());
            let kept =
                if is_better_than_nothing(key, found) { fresh + limits::STALE } else { fresh };
            self.insert(key, found, fresh, kept);
        }
    }

    /// Notes that there was no answer, and gives what stands for it: what was known before, or the
    /// failure itself.
    pub(super) fn put_failure(&mut self, key: &Key, failed: &Arc<Found>, now: Time) -> Arc<Found> {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.kept > now) {
            entry.fresh = entry.kept.min(now + limits::STALE_AGAIN);
            return Arc::clone(&entry.found);
        }
        self.remove(key);
        let end = now + limits::FAILURE;
        self.insert(key, failed, end, end);
        Arc::clone(failed)
    }

    fn insert(&mut self, key: &Key, found: &Arc<Found>, fresh: Time, kept: Time) {
        self.clock += 1;
        let octets = size(key, found);
        self.octets += octets;
        self.uses.insert(self.clock, key.clone());
        let found = Arc::clone(found);
        self.entries.insert(key.clone(), Entry { found, fresh, kept, used: self.clock, octets });
        while self.entries.len() > limits::CACHE_ENTRIES || self.octets > limits::CACHE_OCTETS {
            let Some((_, key)) = self.uses.first_key_value() else { break };
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.octets -= entry.octets;
            self.uses.remove(&entry.used);
        }
    }
}

/// Whether it may serve after its end: what mail can be sent by. A bounce is never founded on it,
/// nor the name of a client.
fn is_better_than_nothing(key: &Key, found: &Found) -> bool {
    match found {
        Found::Mx { .. } | Found::Addresses(_) => true,
        Found::Alias(_) => key.kind != Kind::Ptr,
        // The domain is its own host, then.
        Found::NoData => key.kind == Kind::Mx,
        Found::Names(_) | Found::NoDomain | Found::Failed(_) => false,
    }
}

/// Octets of an entry, about.
fn size(key: &Key, found: &Found) -> usize {
    const ENTRY: usize = size_of::<Entry>() + 2 * size_of::<Key>() + size_of::<Found>();
    let found = match found {
        Found::Mx { hosts, .. } => hosts.iter().map(|host| host.host.as_str().len() + 32).sum(),
        Found::Addresses(addresses) => addresses.len() * 17,
        Found::Names(names) => names.iter().map(|name| name.as_str().len() + 32).sum(),
        Found::Alias(name) => name.as_str().len(),
        Found::NoData | Found::NoDomain | Found::Failed(_) => 0,
    };
    ENTRY + key.name.as_str().len() + found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Name, Trouble};

    fn key(name: &str, kind: Kind) -> Key {
        Key { name: Name::new(name).unwrap(), kind }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_answer_lasts_as_long_as_it_says() {
        let mut cache = Cache::default();
        let (key, found) = (key("example.org", Kind::A), Arc::new(Found::NoData));
        cache.put(&key, &found, 10, at(0));
        assert_eq!(cache.get(&key, at(9)), Some(Arc::clone(&found)));
        assert_eq!(cache.get(&key, at(10)), None);
        cache.put(&key, &found, 0, at(10));
        assert_eq!(cache.get(&key, at(10)), None);
        assert!(cache.uses.is_empty());
    }

    #[test]
    fn while_nobody_answers_old_mail_hosts_serve_a_day_and_no_longer() {
        let failed = Arc::new(Found::Failed(Trouble::TimedOut));
        let addresses = Arc::new(Found::Addresses(vec!["192.0.2.1".parse().unwrap()]));
        let day = 24 * 3600;
        for (kind, found, serves) in [
            (Kind::A, &addresses, true),
            (Kind::Mx, &Arc::new(Found::NoData), true),
            (Kind::A, &Arc::new(Found::NoData), false),
            (Kind::Mx, &Arc::new(Found::NoDomain), false),
        ] {
            let (mut cache, key) = (Cache::default(), key("example.org", kind));
            cache.put(&key, found, 10, at(0));
            let then = if serves { found } else { &failed };
            assert_eq!(&cache.put_failure(&key, &failed, at(10 + day - 1)), then);
            assert_eq!(cache.get(&key, at(10 + day - 1)).as_ref(), Some(then));
            assert_eq!(cache.put_failure(&key, &failed, at(10 + day + 6)), failed);
            assert_eq!(cache.get(&key, at(10 + day + 12)), None);
        }
    }

    #[test]
    fn what_was_used_last_stays_when_room_is_short() {
        let mut cache = Cache::default();
        let found = Arc::new(Found::NoData);
        let used = key("used.example.org", Kind::Mx);
        cache.put(&used, &found, 3600, at(0));
        for nth in 0..=limits::CACHE_ENTRIES {
            cache.put(&key(&format!("{nth}.example.org"), Kind::Ptr), &found, 3600, at(1));
            assert!(cache.get(&used, at(2)).is_some());
        }
        assert!(cache.entries.len() <= limits::CACHE_ENTRIES);
        assert!(cache.octets <= limits::CACHE_OCTETS);
        assert_eq!(cache.entries.len(), cache.uses.len());
        assert_eq!(cache.octets, cache.entries.values().map(|entry| entry.octets).sum::<usize>());
        assert!(cache.get(&key("0.example.org", Kind::Ptr), at(2)).is_none());
    }
}
