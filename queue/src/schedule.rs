//! When an envelope is tried, and when it is given up (RFC 5321 section 4.5.4.1).
//!
//! Pure decisions about wall clock times, all in microseconds since 1970. Two promises
//! hold whatever the clock does:
//!
//! * [`next_attempt`] answers a time after `now` and at most [`LONGEST_WAIT`] after it. A due
//!   time further away was reckoned by a clock that has been set back since ([`from_another_clock`]),
//!   so no clock error, however large, keeps mail waiting for longer than that.
//! * An envelope is given up only by an attempt that failed at or after its expiry
//!   ([`expired`]): a machine that was off for a week, or whose clock jumped, gives up nothing
//!   that it has not tried.

use std::time::Duration;

/// Back-off unit of local deliveries.
pub const LOCAL_UNIT: Duration = Duration::from_secs(10);
/// Back-off unit of relayed mail: attempts after 0, 400, 1600, 3600 ... seconds.
pub const RELAY_UNIT: Duration = Duration::from_secs(400);
/// No wait is longer. The square back-off of relayed mail reaches it after 54 days, so in
/// practice it bounds what a wrong clock can do, not the back-off.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// When an envelope that has failed `tries` times is tried again: at `ctime + unit * n^2` for
/// the first `n >= tries` that lies in the future.
///
/// An envelope from the future (accepted before the clock was set back) is treated as one
/// accepted now.
#[must_use]
pub fn next_attempt(ctime: u64, tries: u32, now: u64, unit: Duration) -> u64 {
    let unit = micros(unit).max(1);
    let age = now.saturating_sub(ctime);
    // The first n whose square has not passed: isqrt rounds down, hence the one more.
    let n = ((age / unit).isqrt() + 1).max(u64::from(tries));
    let wait = unit.saturating_mul(n.saturating_mul(n)) - age;
    now.saturating_add(wait.min(micros(LONGEST_WAIT)))
}

/// Whether an attempt that failed at `failed_at` was the last one of an envelope accepted at
/// `ctime` with `ttl` seconds to live.
#[must_use]
pub fn expired(ctime: u64, ttl: u32, failed_at: u64) -> bool {
    failed_at >= expiry(ctime, ttl)
}

/// The end of an envelope's time to live.
#[must_use]
pub fn expiry(ctime: u64, ttl: u32) -> u64 {
    ctime.saturating_add(u64::from(ttl) * 1_000_000)
}

/// Whether `due` cannot have been reckoned by the clock that now says `now`.
#[must_use]
pub fn from_another_clock(due: u64, now: u64) -> bool {
    due > now.saturating_add(micros(LONGEST_WAIT))
}

/// The microseconds of a duration; 584,000 years is as long as it gets.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const CTIME: u64 = 1_700_000_000 * S;

    #[test]
    fn relayed_mail_is_tried_after_squares_of_400_seconds() {
        let mut now = CTIME;
        for (tries, seconds) in [(1, 400), (2, 1600), (3, 3600), (4, 6400)] {
            now = next_attempt(CTIME, tries, now + S, RELAY_UNIT);
            assert_eq!(now, CTIME + seconds * S);
        }
    }

    #[test]
    fn what_was_missed_is_skipped_not_made_up_for() {
        // Ten minutes late: 10 s, 40 s ... 490 s have passed, 640 s is next.
        assert_eq!(next_attempt(CTIME, 1, CTIME + 600 * S, LOCAL_UNIT), CTIME + 640 * S);
        // A time that is just now has passed, or it would be acted on twice.
        assert_eq!(next_attempt(CTIME, 1, CTIME + 640 * S, LOCAL_UNIT), CTIME + 810 * S);
    }

    #[test]
    fn gives_up_only_what_failed_at_its_expiry_or_later() {
        assert!(!expired(CTIME, 60, CTIME + 60 * S - 1));
        assert!(expired(CTIME, 60, CTIME + 60 * S));
        assert!(!expired(CTIME, 60, CTIME - 3600 * S), "the clock was set back");
        assert!(!expired(u64::MAX - 1, u32::MAX, 0));
    }

    #[test]
    fn mail_from_the_future_is_tried_soon() {
        let now = CTIME - 365 * 24 * 3600 * S;
        assert_eq!(next_attempt(CTIME, 1, now, LOCAL_UNIT), now + 10 * S);
        assert!(from_another_clock(CTIME, now));
    }

    /// Whatever the numbers: later than now, within a day, and on the grid unless cut.
    #[test]
    fn always_ahead_and_never_far() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed >> (seed % 64)
        };
        for _ in 0..200_000 {
            let (ctime, now, tries) = (random(), random() / 2, random() as u32);
            let unit = if random() & 1 == 0 { LOCAL_UNIT } else { RELAY_UNIT };
            let due = next_attempt(ctime, tries, now, unit);
            assert!(due > now, "{ctime} {tries} {now}");
            assert!(!from_another_clock(due, now), "{ctime} {tries} {now}");
            let age = now.saturating_sub(ctime);
            if due < now + micros(LONGEST_WAIT) {
                let square = (due - now + age) / micros(unit);
                assert_eq!((due - now + age) % micros(unit), 0);
                assert_eq!(square.isqrt() * square.isqrt(), square);
                assert!(square.isqrt() >= u64::from(tries));
            }
        }
    }
}
