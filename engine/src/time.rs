//! Time as the engine knows it: what the caller says it is.
//!
//! A [`Time`] is a count of microseconds of some monotonic clock with an arbitrary
//! origin. The engine reads no clock; `now` goes in, deadlines come out, and a test
//! lets an hour pass by adding one.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A moment of a monotonic clock, in microseconds since an arbitrary origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// Later than every moment that is reached: the deadline of what has none.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it is in the future.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Ends at [`Time::NEVER`] instead of wrapping round.
    fn add(self, later: Duration) -> Self {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_subtracts_without_wrapping() {
        let t = Time::from_micros(5);
        assert_eq!((t + Duration::from_secs(1)).as_micros(), 1_000_005);
        assert_eq!(t + Duration::MAX, Time::NEVER);
        assert_eq!(t.saturating_since(t + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((t + Duration::from_secs(2)).saturating_since(t), Duration::from_secs(2));
        assert_eq!(format!("{:?}", Time::from_micros(1_500_000)), "1.500000s");
    }
}
