//! Attempts to log in that failed, by client and by user: how long the next failure is kept
//! waiting for its answer, and when no more is tried.
//!
//! Each key has a debt of time: a failure adds to it, time pays it off. An attempt counts as a
//! failure from its beginning, so that many at once do not get past the limit, and no longer when
//! it turns out right. Whoever knows a password can still log in while others guess it, if this
//! client has done so before. Memory is bounded: when there is no room, those that owe least are
//! forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What one failure of a client costs, and how many it can have at once. A mail program with an
/// old password tries every few minutes and stays below.
const CLIENT: Rate = Rate { cost: Duration::from_secs(30), burst: 20 };

/// The same of a user, whom many clients may try to be.
const USER: Rate = Rate { cost: Duration::from_secs(10), burst: 100 };

/// Keys of each kind that are remembered: some 2 MiB in all.
const KEYS: usize = 16_384;

/// How long a client that has logged in is known to be the user's.
const ACQUAINTANCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The delay of a first failure; it doubles with each further one that is not paid off.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// What it grows to. Clients wait longer than this for a reply.
const LONGEST_DELAY: Duration = Duration::from_secs(16);

struct Rate {
    cost: Duration,
    burst: u32,
}

/// Why nothing is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The client has failed too often.
    Client,
    /// Others have failed too often to be this user.
    User,
}

/// An attempt that was begun, and counts as failed until it is known to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    client: u64,
    user: u64,
    /// How long the reply is to wait if it failed.
    pub delay: Duration,
}

/// The debts.
#[derive(Default)]
pub struct Attempts {
    keys: RandomState,
    clients: Debts,
    users: Debts,
    acquainted: Debts,
}

impl Attempts {
    /// An attempt begins.
    ///
    /// # Errors
    /// It must not be made.
    pub fn begin(&mut self, client: IpAddr, user: &str, now: Instant) -> Result<Attempt, Limit> {
        let client = self.key(network(client));
        let user = self.key(user.to_ascii_lowercase());
        let (by_client, of_user) = (
            CLIENT.failures(self.clients.of(client, now)),
            USER.failures(self.users.of(user, now)),
        );
        if by_client >= CLIENT.burst {
            return Err(Limit::Client);
        }
        let is_known = !self.acquainted.of(self.key((client, user)), now).is_zero();
        if of_user >= USER.burst && !is_known {
            return Err(Limit::User);
        }
        self.clients.add(client, CLIENT.cost, now);
        self.users.add(user, USER.cost, now);
        // One who guesses at many users, and many who guess at one.
        let before = by_client.max(of_user);
        let doubled = FIRST_DELAY.saturating_mul(1 << before.min(10));
        Ok(Attempt { client, user, delay: doubled.min(LONGEST_DELAY) })
    }

    /// It was right.
    pub fn was_right(&mut self, attempt: Attempt, now: Instant) {
        self.clients.pay(attempt.client, CLIENT.cost, now);
        self.users.pay(attempt.user, USER.cost, now);
        let pair = self.key((attempt.client, attempt.user));
        let left = ACQUAINTANCE.saturating_sub(self.acquainted.of(pair, now));
        self.acquainted.add(pair, left, now);
    }

    /// It was neither right nor wrong: whether it is could not be found out.
    pub fn was_nothing(&mut self, attempt: Attempt, now: Instant) {
        self.clients.pay(attempt.client, CLIENT.cost, now);
        self.users.pay(attempt.user, USER.cost, now);
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.keys.hash_one(of)
    }
}

impl Rate {
    /// How many failures a debt is, those that are partly paid off included.
    fn failures(&self, debt: Duration) -> u32 {
        let (debt, cost) = (debt.as_millis(), self.cost.as_millis());
        u32::try_from(debt.div_ceil(cost)).unwrap_or(u32::MAX)
    }
}

/// What counts as one client: an IPv6 site has a /64 at least.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.into(),
            None => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        },
    }
}

/// By key, when it will have been paid off.
#[derive(Default)]
struct Debts(HashMap<u64, Instant>);

impl Debts {
    fn of(&self, key: u64, now: Instant) -> Duration {
        self.0.get(&key).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn add(&mut self, key: u64, cost: Duration, now: Instant) {
        let until = self.0.get(&key).map_or(now, |until| (*until).max(now)) + cost;
        if self.0.len() >= KEYS && !self.0.contains_key(&key) {
            self.forget(now);
        }
        self.0.insert(key, until);
    }

    fn pay(&mut self, key: u64, cost: Duration, now: Instant) {
        if let Some(until) = self.0.get_mut(&key) {
            *until = until.checked_sub(cost).unwrap_or(now);
            if *until <= now {
                self.0.remove(&key);
            }
        }
    }

    /// Makes room: by those who owe nothing, or else by the half that owes least.
    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, until| *until > now);
        if self.0.len() >= KEYS {
            let mut all: Vec<Instant> = self.0.values().copied().collect();
            let (_, median, _) = all.select_nth_unstable(KEYS / 2);
            let median = *median;
            // Many may owe the same.
            let mut over = self.0.len() - KEYS / 2;
            self.0.retain(|_, until| {
                let stays = *until > median || over == 0;
                over -= usize::from(!stays);
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn failures_of_a_client_are_slowed_and_limited() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let mut begin =
            |user: &str, seconds| attempts.begin(ip(1), user, start + Duration::from_secs(seconds));
        let delays: Vec<u128> =
            (0..20).map(|n| begin(&format!("u{n}"), 0).unwrap().delay.as_millis()).collect();
        assert_eq!(delays[..7], [500, 1000, 2000, 4000, 8000, 16_000, 16_000]);
        assert_eq!(begin("other", 0), Err(Limit::Client));
        assert_eq!(begin("other", 29), Err(Limit::Client));
        // One is paid off, and made again.
        assert!(begin("other", 30).is_ok());
        assert_eq!(begin("other", 31), Err(Limit::Client));
        assert_eq!(begin("other", 2000).unwrap().delay, FIRST_DELAY);
    }

    #[test]
    fn who_is_right_owes_nothing() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..1000 {
            let attempt = attempts.begin(ip(1), "joe", now).unwrap();
            assert_eq!(attempt.delay, FIRST_DELAY);
            attempts.was_right(attempt, now);
            let attempt = attempts.begin(ip(1), "joe", now).unwrap();
            attempts.was_nothing(attempt, now);
        }
        assert!(attempts.clients.0.is_empty() && attempts.users.0.is_empty());
    }

    #[test]
    fn a_user_whom_others_guess_at_can_log_in_from_where_he_did() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let right = attempts.begin(ip(1), "joe", now).unwrap();
        attempts.was_right(right, now);
        for n in 0..100 {
            attempts.begin(ip(100 + n), "Joe", now).unwrap();
        }
        assert_eq!(attempts.begin(ip(999), "joe", now), Err(Limit::User));
        assert!(attempts.begin(ip(999), "ann", now).is_ok());
        assert!(attempts.begin(ip(1), "joe", now).is_ok());
        let later = now + ACQUAINTANCE + Duration::from_secs(1);
        assert!(
            attempts
                .acquainted
                .of(attempts.key((attempts.key(ip(1)), attempts.key("joe"))), later)
                .is_zero()
        );
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_remembered() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..20 {
            attempts.begin(ip(0), "root", now).unwrap();
        }
        for n in 1..100_000 {
            attempts.begin(ip(n), &format!("user{n}"), now).unwrap();
            assert!(attempts.clients.0.len() <= KEYS && attempts.users.0.len() <= KEYS);
        }
        assert_eq!(attempts.begin(ip(0), "joe", now), Err(Limit::Client));
    }

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let net = |text: &str| network(text.parse().unwrap());
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:0:0:2"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
    }
}
