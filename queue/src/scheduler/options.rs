//! The clocks a scheduler goes by, and its bounds.

use std::time::Duration;

use smtpd_engine::time::Time;

use crate::lanes::{Limits, Share};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock: microseconds since 1970. Due times and expiry are of this clock, as
    /// they outlive the process.
    pub unix: u64,
    /// A monotonic clock: waiting inside the process goes by it.
    pub mono: Time,
}

/// The bounds of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Envelopes of each kind in memory that came from a commit; half as many may come from the
    /// store beside them, so that neither keeps the other out. One takes about a kilobyte with
    /// its message.
    pub memory: usize,
    /// Envelopes of one destination that may wait in memory for their turn, so that a flood
    /// for one leaves room for the others. As memory fills it is less: whatever many floods take,
    /// the next destination finds some room.
    pub per_lane: usize,
    /// Envelopes of both kinds that are being tried at once. Neither kind takes more than its
    /// [share](Options::share) of it.
    pub inflight: usize,
    /// Octets of content kept in memory from the commit to the first attempt. Behind more than
    /// that the disk's cache is as good, and the budget is there for the sessions.
    pub content: u64,
    /// An envelope that is tried again within this time waits in memory, so that those that
    /// succeed the second time never touch the store.
    pub near: Duration,
    /// What may be under way at once, local delivery.
    pub mda: Limits,
    /// What may be under way at once, relaying.
    pub mta: Limits,
}

impl Options {
    /// Envelopes of one kind that are being tried at once. A quarter is left for the other kind:
    /// thousands of domains whose servers never greet do not keep local mail waiting.
    #[must_use]
    pub fn share(&self) -> usize {
        self.inflight - self.inflight / 4
    }
}

impl Default for Options {
    fn default() -> Self {
        // A batch of 32 takes 3 ms on an ordinary disk, and a larger one gains nothing. One that
        // is not back after 25 ms has met something slow.
        let limits = Limits {
            batches: 8,
            brisk: 2,
            batch: 32,
            turn: 8,
            late: Some(Duration::from_millis(25)),
            lane: Share { batches: 2, batch: 32 },
        };
        Self {
            memory: 8192,
            per_lane: 4096,
            inflight: 5000,
            content: 16 << 20,
            near: Duration::from_secs(60),
            mda: limits,
            mta: limits,
        }
    }
}
