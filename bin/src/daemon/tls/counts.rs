//! What sessions under TLS have agreed on since the start, for `smtpctl show stats`: who is still
//! there that speaks TLS 1.2, or exchanges keys by curves alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtpd_engine::tls::TlsInfo;

/// Counted by a reactor, read by anyone. There are as many lines as suites and groups make: some
/// thirty at most.
#[derive(Clone, Default)]
pub struct Counts(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    agreed: BTreeMap<(&'static str, &'static str, Option<&'static str>), u64>,
    failed: u64,
}

impl Counts {
    /// A handshake is over.
    pub fn agreed(&self, tls: &TlsInfo) {
        *self.lines().agreed.entry((tls.version, tls.cipher, tls.group)).or_default() += 1;
    }

    /// There was no agreement.
    pub fn failed(&self) {
        self.lines().failed += 1;
    }

    /// Names and numbers.
    pub fn shown(&self) -> Vec<(String, u64)> {
        let lines = self.lines();
        let mut shown = vec![("smtp.tls.failed".to_owned(), lines.failed)];
        for ((version, cipher, group), count) in &lines.agreed {
            let group = group.unwrap_or("resumed");
            shown.push((format!("smtp.tls.{version}:{cipher}:{group}"), *count));
        }
        shown
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Each change under the lock is a single one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
