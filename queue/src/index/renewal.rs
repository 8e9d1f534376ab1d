//! Keeping the files of an index small: a copy of what it holds is made in a new directory, which
//! then takes its place.
//!
//! The copy is made a few entries with each change, so that nobody waits for all of it, and at
//! a rate that lets it end long before the old files have grown by as much again. Changes of
//! what has been copied are made in both. Until the end the old index is the only one that
//! counts; when the new one fails, as on a full disk, it goes on as it is.

use std::io;
use std::mem;
use std::thread::{self, JoinHandle};

use super::opening::{open_db, remove};
use super::{Index, guarded};

/// Octets on disk that are never too many.
const ALLOWED: u64 = 32 << 20;
/// And so many times the octets that it holds.
const ALLOWED_TIMES: u64 = 4;
/// Changes between two looks at the size.
pub(super) const LOOK: usize = 10_000;
/// Entries copied with each change.
const COPIED: usize = 8;
/// Entries copied in one batch.
const TOGETHER: usize = 256;

/// What is done about the size of an index.
#[derive(Debug)]
pub(super) struct Renewal {
    /// Octets on disk that are never too many.
    pub(super) allowed: u64,
    /// Changes since the size was looked at.
    changes: usize,
    /// It could not be copied, and somebody has been told.
    pub(super) stuck: bool,
    copy: Option<Copy>,
    /// The thread on which the last old index goes.
    going: Option<JoinHandle<()>>,
}

/// The index that is being made.
#[derive(Debug)]
struct Copy {
    db: sled::Db,
    /// It holds what the old one does up to this key, exclusively.
    next: Vec<u8>,
}

impl Default for Renewal {
    fn default() -> Self {
        Self { allowed: ALLOWED, changes: 0, stuck: false, copy: None, going: None }
    }
}

impl Renewal {
    /// Whether the copy has what stands under this key, too.
    pub(super) fn has_copied(&self, key: &[u8]) -> bool {
        self.copy.as_ref().is_some_and(|copy| key < &*copy.next)
    }
}

impl Index {
    /// After so many changes: makes those of what has been copied, goes on copying, or looks
    /// whether that must begin.
    pub(super) fn tend(&mut self, changes: usize, behind: sled::Batch) {
        let size = || guarded(|| self.db.size_on_disk()).unwrap_or(0);
        if let Some(mut copy) = self.renewal.copy.take() {
            match copy.go_on(&self.db, behind, changes * COPIED) {
                Ok(false) => self.renewal.copy = Some(copy),
                Ok(true) => {
                    let (size, held) = (size() >> 20, self.held >> 20);
                    log::info!("info: queue: index: {size} MiB for {held}: copied into a new one");
                    self.go_over(copy.db);
                }
                Err(error) => self.give_up(Some(copy), &error),
            }
            return;
        }
        self.renewal.changes += changes;
        if self.renewal.changes < LOOK {
            return;
        }
        self.renewal.changes = 0;
        if size() > self.renewal.allowed + ALLOWED_TIMES * self.held {
            match open_db(&self.dir, self.number + 1, self.limit) {
                Ok(db) => self.renewal.copy = Some(Copy { db, next: Vec::new() }),
                Err(error) => self.give_up(None, &error),
            }
        }
    }

    /// Leaves nothing but this index: a copy that is not finished is removed.
    pub(super) fn stop_renewal(&mut self) {
        if let Some(going) = self.renewal.going.take() {
            // It does not panic, and if it did, what it left would go at the next start.
            let _ = going.join();
        }
        if let Some(copy) = self.renewal.copy.take() {
            drop(copy);
            remove(&self.dir, [self.number + 1]);
        }
    }

    fn go_over(&mut self, db: sled::Db) {
        let old = mem::replace(&mut self.db, db);
        let (dir, number) = (self.dir.clone(), self.number);
        (self.number, self.renewal.stuck) = (number + 1, false);
        // Beside the work, as freeing what sled has in memory takes a while. What cannot be done
        // now is done by the next start.
        let end = move || {
            drop(old);
            remove(&dir, [number]);
        };
        match thread::Builder::new().name("index-drop".into()).spawn(end) {
            Ok(going) => self.renewal.going = Some(going),
            Err(error) => log::warn!("warn: queue: index: the old one is not removed: {error}"),
        }
    }

    fn give_up(&mut self, copy: Option<Copy>, error: &io::Error) {
        drop(copy);
        remove(&self.dir, [self.number + 1]);
        if !mem::replace(&mut self.renewal.stuck, true) {
            let size = guarded(|| self.db.size_on_disk()).unwrap_or(0) >> 20;
            log::warn!("warn: queue: index: {size} MiB, and not copied: {error}");
        }
    }
}

impl Copy {
    /// Makes changes of what has been copied, and copies `many` entries more. Whether all are.
    fn go_on(&mut self, old: &sled::Db, behind: sled::Batch, many: usize) -> io::Result<bool> {
        guarded(|| {
            self.db.apply_batch(behind)?;
            let mut entries = old.range(&*self.next..).take(many);
            loop {
                let mut batch = sled::Batch::default();
                let mut last = None;
                for entry in entries.by_ref().take(TOGETHER) {
                    let (key, value) = entry?;
                    batch.insert(&key, value);
                    last = Some(key);
                }
                let Some(last) = last else { break };
                self.db.apply_batch(batch)?;
                self.next = [&last, &[0][..]].concat();
            }
            let is_all = old.range(&*self.next..).next().transpose()?.is_none();
            if is_all {
                // An error of the disk is seen here at the latest.
                self.db.flush()?;
            }
            Ok(is_all)
        })
    }
}
