//! What is remembered of ways to servers: which are known, which do not answer, and whose TLS does
//! not work.
//!
//! A way that leads nowhere is left alone for 15 seconds times the square of how often that was so,
//! at most an hour. Each time that is over it is forgiven once, and tried.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smtpd_engine::time::Time;
use smtpd_queue::delivery::Failure;

/// Seconds for the first failure.
const UNIT: u64 = 15;

/// The longest that a way is left alone.
const LONGEST: u64 = 3600;

/// How long a host whose TLS failed is spoken to in clear, where TLS is not demanded.
const CLEAR: Duration = Duration::from_secs(3600);

/// Ways remembered, and hosts without TLS; one more displaces the one that would be forgotten
/// first.
const MANY: usize = 10_000;

/// A way to an address, from an address of this machine.
pub type Path = (Option<IpAddr>, SocketAddr);

/// See the module.
#[derive(Debug, Default)]
pub struct Blocks {
    ways: HashMap<Path, Way>,
    numbers: BTreeMap<u64, Path>,
    last: u64,
    in_clear: HashMap<SocketAddr, Time>,
}

/// A way that has been gone.
#[derive(Debug)]
pub struct Way {
    /// Names it to administrators.
    pub number: u64,
    /// By which name the server was found last.
    pub host: String,
    /// A session over it has been ready.
    pub answers: bool,
    /// Connections in a row that came to nothing.
    pub errors: u64,
    /// How often it has failed and was not forgiven.
    pub penalty: u64,
    /// Until when it is left alone, since when, and why.
    block: Option<Block>,
    used: Time,
}

#[derive(Debug)]
struct Block {
    since: Time,
    until: Time,
    why: Why,
}

/// Why a way is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// In words, and as a status.
    pub failure: Failure,
    /// It may be over in a moment: nobody answered, or somebody had too much to do. Else it takes
    /// an administrator.
    pub may_pass: bool,
}

impl Way {
    /// Until when it is left alone, if it is.
    #[must_use]
    pub fn blocked_until(&self, now: Time) -> Option<Time> {
        self.block.as_ref().map(|block| block.until).filter(|until| *until > now)
    }

    /// When it would best be forgotten: what has failed is remembered longest.
    fn worth(&self) -> Time {
        self.block.as_ref().map_or(self.used, |block| block.until.max(self.used))
    }
}

impl Blocks {
    /// A way is gone, to a server that was found by this name.
    pub fn go(&mut self, path: Path, host: &str, now: Time) {
        let way = self.way(path, now);
        way.used = now;
        if way.host != host {
            way.host = host.to_owned();
        }
    }

    fn way(&mut self, path: Path, now: Time) -> &mut Way {
        if self.ways.len() >= MANY && !self.ways.contains_key(&path) {
            self.make_room();
        }
        let Blocks { ways, numbers, last, .. } = self;
        ways.entry(path).or_insert_with(|| {
            *last += 1;
            numbers.insert(*last, path);
            Way {
                number: *last,
                host: String::new(),
                answers: false,
                errors: 0,
                penalty: 0,
                block: None,
                used: now,
            }
        })
    }

    /// A connection that was begun at a time has led nowhere. For how long it is not tried any
    /// more; none if that was known: connections that were opened together fail together.
    pub fn block(&mut self, path: Path, why: Why, begun: Time, now: Time) -> Option<Duration> {
        let way = self.way(path, now);
        way.errors += 1;
        if let Some(block) = &way.block
            && block.until > now
            && begun <= block.since
        {
            return None;
        }
        // One that has had its time is forgiven once.
        let is_over = way.block.as_ref().is_some_and(|block| block.until <= now);
        way.penalty = way.penalty - u64::from(is_over) + 1;
        let wait = way.penalty.saturating_mul(way.penalty).saturating_mul(UNIT).min(LONGEST);
        let wait = Duration::from_secs(wait);
        way.block = Some(Block { since: now, until: now + wait, why });
        Some(wait)
    }

    /// A way leads to a server that answers; whether that is new.
    pub fn free(&mut self, path: &Path) -> bool {
        let Some(way) = self.ways.get_mut(path) else { return false };
        (way.answers, way.errors, way.penalty) = (true, 0, 0);
        way.block.take().is_some()
    }

    /// Has a way tried whenever somebody likes, by its number. Gives the way, and its server.
    pub fn resume(&mut self, number: u64) -> Option<(Path, &str)> {
        let path = *self.numbers.get(&number)?;
        let way = self.ways.get_mut(&path)?;
        (way.errors, way.penalty, way.block) = (0, 0, None);
        Some((path, &way.host))
    }

    /// Why a way is not tried now, and until when.
    #[must_use]
    pub fn why(&self, path: &Path, now: Time) -> Option<(Time, &Why)> {
        let block = self.ways.get(path)?.block.as_ref()?;
        (block.until > now).then_some((block.until, &block.why))
    }

    /// The ways that are known, from behind this number on.
    pub fn behind(&self, number: u64) -> impl Iterator<Item = (&Path, &Way)> {
        let behind = self.numbers.range(number.saturating_add(1)..);
        behind.filter_map(|(_, path)| Some((path, self.ways.get(path)?)))
    }

    /// The TLS of a server does not work.
    pub fn speak_in_clear(&mut self, address: SocketAddr, now: Time) {
        if self.in_clear.len() >= MANY && !self.in_clear.contains_key(&address) {
            self.in_clear.retain(|_, until| *until > now);
            if self.in_clear.len() >= MANY {
                let first = self.in_clear.iter().min_by_key(|(_, until)| **until);
                first.map(|(address, _)| *address).map(|first| self.in_clear.remove(&first));
            }
        }
        self.in_clear.insert(address, now + CLEAR);
    }

    /// Whether that was so of late.
    #[must_use]
    pub fn is_in_clear(&self, address: SocketAddr, now: Time) -> bool {
        self.in_clear.get(&address).is_some_and(|until| *until > now)
    }

    /// Makes room for one more. What has just failed is always remembered: it would be tried again
    /// at once, for ever.
    fn make_room(&mut self) {
        let worth = |way: &Way| (way.worth(), Reverse(way.number));
        let first = self.ways.iter().min_by_key(|(_, way)| worth(way)).map(|(path, _)| *path);
        if let Some(way) = first.and_then(|path| self.ways.remove(&path)) {
            self.numbers.remove(&way.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(nth: usize) -> SocketAddr {
        let nth = u32::try_from(nth).unwrap();
        SocketAddr::new(IpAddr::from((0x0a00_0000 | nth).to_be_bytes()), 25)
    }

    fn why() -> Why {
        Why { failure: Failure::new((4, 4, 1), "refused"), may_pass: true }
    }

    #[test]
    fn what_fails_is_remembered_however_many_there_are() {
        let mut blocks = Blocks::default();
        let begin = Time::from_micros(1_000_000);
        let later = begin + Duration::from_secs(1);
        blocks.block((None, address(0)), why(), begin, begin);
        blocks.speak_in_clear(address(0), begin);
        for nth in 1..=MANY {
            // One that works is worth less.
            blocks.go((None, address(MANY + nth)), "x", later);
            blocks.block((None, address(nth)), why(), later, later);
            blocks.speak_in_clear(address(nth), later);
        }
        assert_eq!((blocks.ways.len(), blocks.in_clear.len()), (MANY, MANY));
        assert_eq!(blocks.numbers.len(), MANY);
        for nth in 0..=MANY {
            let is_there = nth > 0;
            assert_eq!(blocks.why(&(None, address(nth)), later).is_some(), is_there, "{nth}");
            assert_eq!(blocks.is_in_clear(address(nth), later), is_there, "{nth}");
        }
        // One that is known displaces nobody, and its penalty grows.
        let more = later + Duration::from_secs(1);
        let wait = blocks.block((None, address(1)), why(), more, more);
        assert_eq!((wait, blocks.ways.len()), (Some(Duration::from_secs(4 * UNIT)), MANY));
    }

    #[test]
    fn connections_that_fail_together_are_one_failure() {
        let mut blocks = Blocks::default();
        let path = (None, address(1));
        let time = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(blocks.block(path, why(), time(1), time(2)), wait(15));
        assert_eq!(blocks.block(path, why(), time(1), time(5)), None, "that was known");
        assert_eq!(blocks.why(&path, time(16)).map(|(until, _)| until), Some(time(17)));
        assert_eq!(blocks.why(&path, time(17)), None);
        // It has had its time.
        assert_eq!(blocks.block(path, why(), time(17), time(18)), wait(15));
        assert!(blocks.free(&path) && !blocks.free(&path));
        assert_eq!(blocks.why(&path, time(19)), None);
        assert_eq!(blocks.block(path, why(), time(20), time(20)), wait(15));
        let number = blocks.behind(0).next().unwrap().1.number;
        assert_eq!(blocks.resume(number).map(|(path, _)| path), Some(path));
        assert_eq!(blocks.why(&path, time(20)), None);
        assert_eq!(blocks.resume(number + 1), None);
    }
}
