//! Attempts to log in that failed, by client and by user: how long the next failure is kept
//! waiting for its answer, and when no more is tried.
//!
//! Each key has a debt of time: a failure adds to it, time pays it off. An attempt counts as a
//! failure from its beginning, so that many at once do not get past the limit, and no longer when
//! it turns out right. A client that has logged in as a user before has a debt of its own as that
//! user, so that neither those who guess at the user nor those beside it in a network keep it out.
//! Where a user is guessed at by many, each other network has one attempt at a time. Memory is
//! bounded: when there is no room, those that owe least are forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// What one failure of a client costs, and how many it can have at once. A mail program with an
/// old password tries every few minutes and stays below.
const CLIENT: Rate = Rate { cost: Duration::from_secs(30), burst: 20 };

/// The same of a user, whom many clients may try to be.
const USER: Rate = Rate { cost: Duration::from_secs(10), burst: 100 };

/// The same of a client as a user that it has been before.
const PAIR: Rate = CLIENT;

/// And of a network as a user whom others guess at.
const GUEST: Rate = Rate { cost: Duration::from_secs(30), burst: 1 };

/// Exchanges of SCRAM that one client may have open.
const OPEN: u32 = 200;

/// Keys of each kind that are remembered: some 4 MiB in all.
const KEYS: usize = 16_384;

/// How long a client that has logged in is known to be the user's.
const ACQUAINTANCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The delay of a first failure; it doubles with each further one that is not paid off.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// What it grows to. Clients wait longer than this for a reply.
const LONGEST_DELAY: Duration = Duration::from_secs(16);

#[derive(Clone, Copy)]
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
    by: By,
    /// How long the reply is to wait if it failed.
    pub delay: Duration,
}

/// What an attempt is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The client as this user, whom it has been before.
    Acquainted(u64),
    /// The client, and the user.
    Stranger,
    /// The client, and its network as this user, who can owe no more.
    Guest(u64),
}

/// The debts.
#[derive(Default)]
pub struct Attempts {
    keys: RandomState,
    clients: Debts,
    users: Debts,
    acquainted: Debts,
    pairs: Debts,
    guests: Debts,
    /// Exchanges of SCRAM by client, as many as sessions have open.
    open: HashMap<u64, u32>,
}

impl Attempts {
    /// An attempt begins.
    ///
    /// # Errors
    /// It must not be made.
    pub fn begin(&mut self, client: IpAddr, user: &str, now: Instant) -> Result<Attempt, Limit> {
        let attempt = self.admit(client, user, now)?;
        self.each_debt(attempt, |debts, key, rate| debts.add(key, rate.cost, now));
        Ok(attempt)
    }

    /// An exchange of SCRAM is opened, whose attempt begins with the answer.
    ///
    /// # Errors
    /// It must not be.
    pub fn open(&mut self, client: IpAddr, user: &str, now: Instant) -> Result<(), Limit> {
        let key = self.admit(client, user, now)?.client;
        let open = self.open.entry(key).or_default();
        if *open >= OPEN {
            return Err(Limit::Client);
        }
        *open += 1;
        Ok(())
    }

    /// One that was opened is over.
    pub fn close(&mut self, client: IpAddr) {
        let key = self.key(network(client));
        if let Some(open) = self.open.get_mut(&key) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&key);
            }
        }
    }

    /// What an attempt would be that begins now; nothing is owed for it yet.
    ///
    /// # Errors
    /// It must not be made.
    fn admit(&self, client: IpAddr, user: &str, now: Instant) -> Result<Attempt, Limit> {
        let (net, site) = (network(client), site(client));
        let client = self.key(net);
        let user = self.key(user.to_ascii_lowercase());
        let pair = self.key((client, user));
        let delay =
            |before: u32| FIRST_DELAY.saturating_mul(1 << before.min(10)).min(LONGEST_DELAY);
        if !self.acquainted.of(pair, now).is_zero() {
            let before = PAIR.failures(self.pairs.of(pair, now));
            if before >= PAIR.burst {
                return Err(Limit::Client);
            }
            return Ok(Attempt { client, user, by: By::Acquainted(pair), delay: delay(before) });
        }
        let by_client = CLIENT.failures(self.clients.of(client, now));
        if by_client >= CLIENT.burst {
            return Err(Limit::Client);
        }
        let of_user = USER.failures(self.users.of(user, now));
        if of_user < USER.burst {
            // One who guesses at many users, and many who guess at one.
            let delay = delay(by_client.max(of_user));
            return Ok(Attempt { client, user, by: By::Stranger, delay });
        }
        let guest = self.key((site, user));
        if GUEST.failures(self.guests.of(guest, now)) >= GUEST.burst {
            return Err(Limit::User);
        }
        Ok(Attempt { client, user, by: By::Guest(guest), delay: LONGEST_DELAY })
    }

    /// What an attempt is charged to.
    fn each_debt(&mut self, attempt: Attempt, mut with: impl FnMut(&mut Debts, u64, Rate)) {
        if let By::Acquainted(pair) = attempt.by {
            return with(&mut self.pairs, pair, PAIR);
        }
        with(&mut self.clients, attempt.client, CLIENT);
        match attempt.by {
            By::Guest(guest) => with(&mut self.guests, guest, GUEST),
            _ => with(&mut self.users, attempt.user, USER),
        }
    }

    /// It was right.
    pub fn was_right(&mut self, attempt: Attempt, now: Instant) {
        self.was_nothing(attempt, now);
        let pair = self.key((attempt.client, attempt.user));
        let left = ACQUAINTANCE.saturating_sub(self.acquainted.of(pair, now));
        self.acquainted.add(pair, left, now);
    }

    /// It was neither right nor wrong: whether it is could not be found out.
    pub fn was_nothing(&mut self, attempt: Attempt, now: Instant) {
        self.each_debt(attempt, |debts, key, rate| debts.pay(key, rate.cost, now));
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

/// What is guest of a user together: those who have one IPv6 /64 mostly have more.
fn site(client: IpAddr) -> IpAddr {
    match network(client) {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 80 << 80).into(),
        ip => ip,
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
        assert_eq!(attempts.begin(ip(1), "joe", now).unwrap().delay, FIRST_DELAY);
        // From elsewhere it is slow, and the user owes no more for it.
        let owed = attempts.users.of(attempts.key("joe"), now);
        let guest = attempts.begin(ip(999), "joe", now).unwrap();
        assert_eq!(guest.delay, LONGEST_DELAY);
        assert_eq!(attempts.begin(ip(999), "joe", now), Err(Limit::User));
        assert!(attempts.begin(ip(999), "ann", now).is_ok());
        assert!(attempts.begin(ip(998), "joe", now).is_ok());
        assert_eq!(attempts.users.of(attempts.key("joe"), now), owed);
        let net = |text: &str| text.parse().unwrap();
        assert!(attempts.begin(net("2001:db8:0:1::1"), "joe", now).is_ok());
        assert_eq!(attempts.begin(net("2001:db8:0:2::1"), "joe", now), Err(Limit::User));
        // Once it was right it is known, and may fail as others may.
        attempts.was_right(guest, now);
        assert_eq!(attempts.begin(ip(999), "joe", now).unwrap().delay, FIRST_DELAY);
        let later = now + ACQUAINTANCE + Duration::from_secs(1);
        assert!(
            attempts
                .acquainted
                .of(attempts.key((attempts.key(ip(1)), attempts.key("joe"))), later)
                .is_zero()
        );
    }

    #[test]
    fn who_was_here_before_is_not_kept_out_by_those_beside_him() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let right = attempts.begin(ip(1), "ann", now).unwrap();
        attempts.was_right(right, now);
        for n in 0..20 {
            attempts.begin(ip(1), &format!("u{n}"), now).unwrap();
        }
        assert_eq!(attempts.begin(ip(1), "joe", now), Err(Limit::Client));
        // Whoever takes himself for her is limited, and nobody else is by that.
        for _ in 0..20 {
            attempts.begin(ip(1), "ann", now).unwrap();
        }
        assert_eq!(attempts.begin(ip(1), "Ann", now), Err(Limit::Client));
        assert_eq!(attempts.begin(ip(2), "ann", now).unwrap().delay, FIRST_DELAY);
        assert!(attempts.begin(ip(1), "ann", now + PAIR.cost).is_ok());
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
