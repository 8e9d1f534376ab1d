//! Delivery into Maildirs: durable, in batches, and repeatable.
//!
//! A message becomes `new/CTIME.EVPID.HOST`, where CTIME is the second in which the message was
//! accepted: the same name in every attempt, so that an attempt after a crash replaces what an
//! earlier one left instead of adding to it. An envelope counts as delivered only when
//!
//! 1. its file was written under `tmp/` and synced,
//! 2. then renamed to `new/`,
//! 3. then `new/` was synced;
//!
//! or, in a later attempt, when its name is found in `cur/`: a reader has taken it, and it was
//! synced before it could be seen. A name in `new/` settles nothing.
//!
//! A batch does each of these steps for all its messages before the next one. That is what
//! makes it fast: write-back of all files is under way when the first of them is waited for
//! (on ext4 3,000 messages a second one by one, 10,000 in batches of 32). `tmp/` is not synced:
//! a name that comes back there after a power cut is overwritten by the next attempt, or is
//! one of those that readers of a Maildir clear away.
//!
//! Whatever fails, fails for the messages it concerns, and for now: the disk's words and the
//! path go into the envelope's state. What is damaged in our own queue fails for good.

mod folder;
mod text;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Reads;
use crate::delivery::{Attempt, Failure, Job};
use crate::disk::{Disk, Entry, File};
use crate::id::EnvelopeId;
use crate::reader::ContentReader;
use crate::request::Stored;

use folder::Folders;
use text::{LineEnds, LoopCheck, trace_lines};

/// Octets written in one go. Most messages are smaller and need a single write.
const PIECE: usize = 256 << 10;

/// Delivers batches into Maildirs. A worker has one of its own.
pub struct Maildirs {
    disk: Arc<dyn Disk>,
    reader: Arc<dyn Reads>,
    /// The last part of the names.
    host: String,
    folders: Folders,
    /// Octets as they are stored, and as they are written. Kept warm.
    stored: Vec<u8>,
    octets: Vec<u8>,
}

/// A message on its way through the steps of its batch.
struct Delivery<'a> {
    job: &'a Job,
    maildir: &'a Path,
    name: String,
    step: Step,
}

enum Step {
    /// Written, in `tmp/`.
    Written(Box<dyn File>),
    /// In this directory, which must still be synced.
    Named(PathBuf),
    /// There is nothing more to do for it.
    Over(Attempt),
}

/// What is in the `cur/` of Maildirs, listed once in a batch.
type Current = HashMap<PathBuf, Vec<Entry>>;

impl Maildirs {
    /// Delivers what `reader` reads, under names that end with this host's name.
    pub fn new(disk: Arc<dyn Disk>, reader: Arc<dyn Reads>, host: &str) -> Self {
        // As Maildir names have what may not stand in them, or means something there.
        let host = host.replace('/', "\\057").replace(':', "\\072");
        let stored = vec![0; PIECE];
        Self { disk, reader, host, folders: Folders::default(), stored, octets: Vec::new() }
    }

    /// Tries each job in the Maildir beside it. The attempts are in the order of the jobs.
    pub fn deliver(&mut self, batch: &[(Job, PathBuf)]) -> Vec<(EnvelopeId, Attempt)> {
        let mut current = Current::new();
        let mut deliveries: Vec<_> =
            batch.iter().map(|(job, maildir)| self.write(job, maildir, &mut current)).collect();
        deliveries.iter_mut().for_each(|delivery| self.sync(delivery));
        deliveries.iter_mut().for_each(|delivery| self.publish(delivery));
        self.sync_folders(&mut deliveries);
        let attempt = |delivery: Delivery<'_>| match delivery.step {
            Step::Over(attempt) => (delivery.job.id, attempt),
            Step::Written(_) | Step::Named(_) => unreachable!("every step was taken or failed"),
        };
        deliveries.into_iter().map(attempt).collect()
    }

    fn write<'a>(
        &mut self,
        job: &'a Job,
        maildir: &'a Path,
        current: &mut Current,
    ) -> Delivery<'a> {
        let name = format!("{}.{}.{}", job.message.ctime / 1_000_000, job.id, self.host);
        let mut written = self.try_write(job, maildir, &name, current);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Somebody has taken the Maildir away since we made or last saw it.
            self.folders.forget(maildir);
            written = self.try_write(job, maildir, &name, current);
        }
        let step = written.unwrap_or_else(|error| Step::Over(failed(&error)));
        Delivery { job, maildir, name, step }
    }

    fn try_write(
        &mut self,
        job: &Job,
        maildir: &Path,
        name: &str,
        current: &mut Current,
    ) -> io::Result<Step> {
        self.folders.prepare(&*self.disk, maildir)?;
        if job.again && self.is_taken(maildir.join("cur"), name, current)? {
            return Ok(Step::Named(maildir.join("cur")));
        }
        let path = maildir.join("tmp").join(name);
        let file = match self.disk.create(&path) {
            // Left there by an attempt that did not come to its end.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.disk.unlink(&path)?;
                self.disk.create(&path)?
            }
            other => other?,
        };
        let step = match self.fill(job, &*file) {
            Ok(None) => {
                file.start_write_back();
                return Ok(Step::Written(file));
            }
            Ok(Some(attempt)) => Ok(Step::Over(attempt)),
            Err(error) => Err(error),
        };
        self.discard(&path);
        step
    }

    /// Whether a reader has the message already.
    fn is_taken(&self, cur: PathBuf, name: &str, current: &mut Current) -> io::Result<bool> {
        let entries = match current.entry(cur) {
            Slot::Occupied(entries) => entries.into_mut(),
            Slot::Vacant(slot) => {
                let entries = self.disk.list(slot.key())?;
                slot.insert(entries)
            }
        };
        // Readers add flags behind a colon, and some the size behind a comma.
        let is_it = |entry: &Entry| {
            let rest = entry.name.as_encoded_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b':' | b',')))
        };
        Ok(entries.iter().any(is_it))
    }

    /// Writes the message; or says what came of it, if it is not to be delivered.
    fn fill(&mut self, job: &Job, file: &dyn File) -> io::Result<Option<Attempt>> {
        let dest = &job.envelope().dest;
        let mut check = LoopCheck::new(dest);
        let mut ends = LineEnds::default();
        let mut at = 0;
        self.octets.clear();
        self.octets.extend(trace_lines(&job.message.sender, dest));
        let mut content = match Content::open(&*self.reader, &job.content) {
            Ok(content) => content,
            Err(error) => return Ok(Some(damaged(&error))),
        };
        loop {
            let piece = match content.piece(&mut self.stored) {
                Ok(b"") => break,
                Ok(piece) => piece,
                Err(error) => return Ok(Some(damaged(&error))),
            };
            if check.in_header() && check.finds(piece) {
                return Ok(Some(Attempt::Failed(Failure::new((5, 4, 6), "Loop detected"))));
            }
            ends.convert(piece, &mut self.octets);
            if self.octets.len() >= PIECE {
                file.write_at(&self.octets, at)?;
                at += self.octets.len() as u64;
                self.octets.clear();
            }
        }
        ends.finish(&mut self.octets);
        file.write_at(&self.octets, at)?;
        Ok(None)
    }

    fn sync(&self, delivery: &mut Delivery<'_>) {
        let Step::Written(file) = &delivery.step else { return };
        if let Err(error) = file.sync_data() {
            self.discard(&delivery.path("tmp"));
            delivery.step = Step::Over(failed(&error));
        }
    }

    fn publish(&mut self, delivery: &mut Delivery<'_>) {
        let Step::Written(_) = &delivery.step else { return };
        let from = delivery.path("tmp");
        delivery.step = match self.disk.rename(&from, &delivery.path("new")) {
            Ok(()) => Step::Named(delivery.maildir.join("new")),
            Err(error) => {
                self.folders.forget(delivery.maildir);
                self.discard(&from);
                Step::Over(failed(&error))
            }
        };
    }

    /// Syncs each directory once; then what was named in it is delivered.
    fn sync_folders(&self, deliveries: &mut [Delivery<'_>]) {
        let mut synced: HashMap<PathBuf, Attempt> = HashMap::new();
        for delivery in deliveries {
            let Step::Named(folder) = &delivery.step else { continue };
            let attempt = synced.entry(folder.clone()).or_insert_with_key(|folder| {
                let synced = self.disk.sync_dir(folder);
                synced.map_or_else(|error| failed(&error), |()| Attempt::Delivered)
            });
            delivery.step = Step::Over(attempt.clone());
        }
    }

    /// Gives back the space of a file that leads to nothing. If that fails, the next attempt
    /// meets it.
    fn discard(&self, path: &Path) {
        let _ = self.disk.unlink(path);
    }
}

impl Delivery<'_> {
    fn path(&self, folder: &str) -> PathBuf {
        self.maildir.join(folder).join(&self.name)
    }
}

/// The stored content of a message, piece by piece.
enum Content<'a> {
    /// Still in memory, and whole. Empty when it has been shown.
    InMemory(&'a [u8]),
    OnDisk(ContentReader),
}

impl<'a> Content<'a> {
    fn open(reader: &dyn Reads, stored: &'a Stored) -> io::Result<Self> {
        Ok(match &stored.memory {
            Some(memory) => Self::InMemory(memory),
            None => Self::OnDisk(reader.open(stored)?),
        })
    }

    /// The next octets, which may be put into `into`; none at the end.
    fn piece<'b>(&mut self, into: &'b mut [u8]) -> io::Result<&'b [u8]>
    where
        'a: 'b,
    {
        match self {
            Self::InMemory(octets) => Ok(mem::take(octets)),
            Self::OnDisk(content) => {
                let octets = content.read(into)?;
                Ok(&into[..octets])
            }
        }
    }
}

/// The Maildir's disk failed: it may be well again later.
fn failed(error: &io::Error) -> Attempt {
    let status = match error.kind() {
        ErrorKind::StorageFull => (4, 3, 1),
        ErrorKind::QuotaExceeded => (4, 2, 2),
        _ => (4, 2, 1),
    };
    Attempt::Later(Failure::new(status, error.to_string()))
}

/// The queue's own disk failed. What is damaged stays so.
fn damaged(error: &io::Error) -> Attempt {
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::NotFound => {
            Attempt::Failed(Failure::new((5, 3, 0), format!("the content cannot be read: {error}")))
        }
        _ => failed(error),
    }
}
