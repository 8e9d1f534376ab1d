//! The waiting room on disk: sled 0.34, used as an index that may be deleted at any time.
//!
//! sled is not the truth and is not trusted to become it. Its `flush` survives a crash of the
//! process but not the loss of power, and a damaged directory may make it return an error,
//! panic or think for ever. So:
//!
//! * an index is used again only after an orderly end, and only when it reflects exactly the
//!   journal that is there ([`open`]); everything else leads to a new, empty one, which is
//!   filled from the journal;
//! * it is opened on a thread of its own, with a time limit, and every call of it runs under
//!   `catch_unwind`: whatever it does becomes an [`io::Error`], upon which the store goes on
//!   in memory until the next start;
//! * every new index has a directory of its own, `index/N`, so that one that hangs in the old
//!   directory can do no harm to it.
//!
//! Its files grow as entries change, and never shrink by themselves. What it holds is small, so
//! when they have grown past a bound it is copied into a new directory, some entries with each
//! change (`renewal`).

mod opening;
mod renewal;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use crate::ordered::{Changes, Ordered, Seal};

pub use opening::{Opened, open, renew};
use renewal::Renewal;

/// Where the mark of an orderly end stands: behind all keys of the waiting room.
const CLOSED: &[u8] = b"~closed";

/// An index that is open.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    /// The directory with those of all indices.
    dir: PathBuf,
    /// Which of them is this one's.
    number: u64,
    /// How long opening a new one may take.
    limit: Duration,
    /// Octets of keys and values.
    held: u64,
    renewal: Renewal,
}

impl Ordered for Index {
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        guarded(|| {
            let last = self.db.range(..=key).next_back().transpose()?;
            Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
        })
    }

    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        guarded(|| {
            for entry in self.db.range(from..to) {
                let (key, value) = entry?;
                if !each(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn apply(&mut self, changes: Changes) -> io::Result<()> {
        let many = changes.len();
        let behind = guarded(|| {
            let mut behind = sled::Batch::default();
            // One by one, as that tells what was there: nobody else looks in between, and an
            // index that was not closed is not used again.
            for (key, value) in changes {
                let is_copied = self.renewal.has_copied(&key);
                let old = match value {
                    Some(value) => {
                        self.held += octets(&key, &value);
                        if is_copied {
                            behind.insert(&*key, &*value);
                        }
                        self.db.insert(&key, value)?
                    }
                    None => {
                        if is_copied {
                            behind.remove(&*key);
                        }
                        self.db.remove(&key)?
                    }
                };
                let old = old.map_or(0, |old| octets(&key, &old));
                self.held = self.held.saturating_sub(old);
            }
            Ok(behind)
        })?;
        self.tend(many, behind);
        Ok(())
    }

    fn close(mut self: Box<Self>, seal: Seal) -> io::Result<()> {
        self.stop_renewal();
        guarded(|| {
            self.db.insert(CLOSED, seal.encode())?;
            self.db.flush()?;
            drop(self.db);
            Ok(())
        })
    }
}

fn octets(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// A panic of sled leaves its own state broken, not ours; it is not used again afterwards.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| io::Error::other(format!("index: {error}"))),
        Err(_) => Err(io::Error::other("index: it panicked")),
    }
}
