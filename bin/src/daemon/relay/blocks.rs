//! What is remembered of addresses: which do not answer, and whose TLS does not work.
//!
//! An address that could not be spoken to is left alone for 15 seconds times the square of how
//! often that was so, at most an hour. Each time that is over it is forgiven once, and tried.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smtpd_engine::time::Time;
use smtpd_queue::delivery::Failure;

/// Seconds for the first failure.
const UNIT: u64 = 15;

/// The longest that an address is left alone.
const LONGEST: u64 = 3600;

/// How long a host whose TLS failed is spoken to in clear, where TLS is not demanded.
const CLEAR: Duration = Duration::from_secs(3600);

/// Addresses remembered; one more displaces the one that would be forgotten first.
const MANY: usize = 10_000;

/// A way to an address, from an address of this machine.
pub type Path = (Option<IpAddr>, SocketAddr);

/// See the module.
#[derive(Debug, Default)]
pub struct Blocks {
    blocked: HashMap<Path, Block>,
    in_clear: HashMap<SocketAddr, Time>,
}

#[derive(Debug)]
struct Block {
    penalty: u64,
    until: Time,
    why: Failure,
}

impl Blocks {
    /// A way does not lead anywhere. How long it is not tried.
    pub fn block(&mut self, path: Path, why: Failure, now: Time) -> Duration {
        make_room(&mut self.blocked, &path, |block| block.until, now);
        let old = self.blocked.get(&path);
        // One that has had its time is forgiven once.
        let penalty = old.map_or(0, |old| old.penalty - u64::from(old.until <= now)) + 1;
        let wait =
            Duration::from_secs(penalty.saturating_mul(penalty).saturating_mul(UNIT).min(LONGEST));
        self.blocked.insert(path, Block { penalty, until: now + wait, why });
        wait
    }

    /// A way leads to a server that answers.
    pub fn free(&mut self, path: &Path) -> bool {
        self.blocked.remove(path).is_some()
    }

    /// Why a way is not tried now.
    #[must_use]
    pub fn why(&self, path: &Path, now: Time) -> Option<&Failure> {
        let block = self.blocked.get(path)?;
        (block.until > now).then_some(&block.why)
    }

    /// The TLS of a server does not work.
    pub fn speak_in_clear(&mut self, address: SocketAddr, now: Time) {
        make_room(&mut self.in_clear, &address, |until| *until, now);
        self.in_clear.insert(address, now + CLEAR);
    }

    /// Whether that was so of late.
    #[must_use]
    pub fn is_in_clear(&self, address: SocketAddr, now: Time) -> bool {
        self.in_clear.get(&address).is_some_and(|until| *until > now)
    }
}

/// Makes room for one more. What has just failed is always remembered: it would be tried again at
/// once, for ever.
fn make_room<K: Copy + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    until: impl Fn(&V) -> Time,
    now: Time,
) {
    if map.len() < MANY || map.contains_key(key) {
        return;
    }
    map.retain(|_, value| until(value) > now);
    if map.len() >= MANY {
        let first = map.iter().min_by_key(|(_, value)| until(value)).map(|(key, _)| *key);
        first.map(|key| map.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(nth: usize) -> SocketAddr {
        let nth = u32::try_from(nth).unwrap();
        SocketAddr::new(IpAddr::from((0x0a00_0000 | nth).to_be_bytes()), 25)
    }

    #[test]
    fn what_fails_is_remembered_however_many_there_are() {
        let mut blocks = Blocks::default();
        let why = || Failure::new((4, 4, 1), "refused");
        let begin = Time::from_micros(1_000_000);
        let later = begin + Duration::from_secs(1);
        blocks.block((None, address(0)), why(), begin);
        blocks.speak_in_clear(address(0), begin);
        for nth in 1..=MANY {
            blocks.block((None, address(nth)), why(), later);
            blocks.speak_in_clear(address(nth), later);
        }
        assert_eq!((blocks.blocked.len(), blocks.in_clear.len()), (MANY, MANY));
        for nth in 0..=MANY {
            let is_there = nth > 0;
            assert_eq!(blocks.why(&(None, address(nth)), later).is_some(), is_there, "{nth}");
            assert_eq!(blocks.is_in_clear(address(nth), later), is_there, "{nth}");
        }
        // One that is known displaces nobody, and its penalty grows.
        let wait = blocks.block((None, address(1)), why(), later);
        assert_eq!((wait, blocks.blocked.len()), (Duration::from_secs(4 * UNIT), MANY));
    }
}
