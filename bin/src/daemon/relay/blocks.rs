//! What is remembered of addresses: which do not answer, and whose TLS does not work.
//!
//! An address that could not be spoken to is left alone for 15 seconds times the square of how
//! often that was so, at most an hour. Each time that is over it is forgiven once, and tried.

use std::collections::HashMap;
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

/// Addresses remembered; more than this are not blocked any more.
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
        if self.blocked.len() >= MANY {
            self.blocked.retain(|_, block| block.until > now);
        }
        let old = self.blocked.get(&path);
        // One that has had its time is forgiven once.
        let penalty = old.map_or(0, |old| old.penalty - u64::from(old.until <= now)) + 1;
        let wait =
            Duration::from_secs(penalty.saturating_mul(penalty).saturating_mul(UNIT).min(LONGEST));
        if self.blocked.len() < MANY {
            self.blocked.insert(path, Block { penalty, until: now + wait, why });
        }
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
        self.in_clear.retain(|_, until| *until > now);
        if self.in_clear.len() < MANY {
            self.in_clear.insert(address, now + CLEAR);
        }
    }

    /// Whether that was so of late.
    #[must_use]
    pub fn is_in_clear(&self, address: SocketAddr, now: Time) -> bool {
        self.in_clear.get(&address).is_some_and(|until| *until > now)
    }
}
