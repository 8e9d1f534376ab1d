//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by the wall clock.
#[must_use]
pub fn wall() -> u64 {
    // A clock before 1970 is one that was never set.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The day of such a time, counted from 1970.
#[must_use]
pub fn day(wall: u64) -> u64 {
    wall / (86_400 * 1_000_000)
}
