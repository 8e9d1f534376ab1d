//! What a reactor counts, for `show status` and `show stats`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Written by one reactor, read by anyone, at any time. Each number is right by itself; two
/// read one after the other need not fit together.
#[derive(Default, Debug)]
pub struct Stats {
    sessions: AtomicU64,
    accepted: AtomicU64,
    refused_full: AtomicU64,
    refused_source: AtomicU64,
}

impl Stats {
    /// Sessions there are now.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Connections taken from the listeners since the start, refused ones among them.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections refused because every place was taken.
    pub fn refused_full(&self) -> u64 {
        self.refused_full.load(Ordering::Relaxed)
    }

    /// Connections refused because their source had its share.
    pub fn refused_source(&self) -> u64 {
        self.refused_source.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sessions(&self, n: usize) {
        self.sessions.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused_full(&self) {
        self.refused_full.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused_source(&self) {
        self.refused_source.fetch_add(1, Ordering::Relaxed);
    }
}
