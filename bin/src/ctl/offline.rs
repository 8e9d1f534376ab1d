//! The files of a queue that no daemon has open. The journal is read and never the index; nothing
//! is created, not even a lock.
//!
//! No lock is held either: a `show queue` must not keep a daemon from starting. One that starts
//! meanwhile is noticed when something cannot be read, or at the end of what must be exact.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtpd_config::Config;
use smtpd_queue::disk::RealDisk;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::lock::{self, Lock};
use smtpd_queue::reader::Reader;
use smtpd_queue::recovery::Recovered;
use smtpd_queue::scheduler::InFlight;
use smtpd_queue::verify::Verified;

use super::Failure;
use super::queue::Queue;
use crate::control::entry::QueueEntry;
use crate::control::listing;
use crate::keys;
use crate::transfer::document::Document;

/// Envelopes that are read before they are printed.
const PAGE: usize = 4096;

/// A queue whose daemon is down.
pub struct Offline {
    reader: Reader,
    directory: PathBuf,
    /// What reading the journal has found.
    pub recovered: Recovered,
}

impl Offline {
    /// Reads the journal in a queue directory. Keys that it needs and that are not in the
    /// configuration are asked for.
    ///
    /// # Errors
    /// When there is no queue, it may not be read, or a daemon has it.
    pub fn open(directory: &Path, config: Option<&Config>) -> Result<Offline, Failure> {
        let shown = directory.display();
        if let Err(error) = std::fs::read_dir(directory.join("journal")) {
            return Err(Failure::Queue(match error.kind() {
                ErrorKind::NotFound if directory.is_dir() => {
                    format!("there is no queue in {shown}")
                }
                ErrorKind::NotFound => format!("{shown}: there is no such directory"),
                _ => format!("{shown}: {}", words(&error)),
            }));
        }
        ensure_free(directory)?;
        let keys = keys::offline(config, &RealDisk, directory).map_err(Failure::Queue)?;
        let (reader, recovered) = Reader::offline(Arc::new(RealDisk), directory, &keys)
            .map_err(|error| Failure::Queue(format!("queue: {}", words(&error))))?;
        Ok(Offline { reader, directory: directory.to_owned(), recovered })
    }

    /// An error is that of the queue, unless a daemon has taken it over.
    fn failure(&self, text: String) -> Failure {
        ensure_free(&self.directory).err().unwrap_or(Failure::Queue(text))
    }
}

/// A queue that a daemon has is asked through the daemon, or not at all: what its files hold is
/// not what holds for them.
pub fn ensure_free(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    match lock::is_taken(directory) {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::Queue(format!(
            "the queue in {shown} is in use by an smtpd with another control socket (see -s)"
        ))),
        Err(error) => Err(Failure::Queue(words(&error))),
    }
}

/// The system's words without the number that std adds.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}

impl Queue for Offline {
    fn page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
    ) -> Result<Vec<QueueEntry>, Failure> {
        let page = listing::page(&self.reader, &InFlight::new(), after, message, PAGE);
        page.map_err(|error| self.failure(error))
    }

    fn is_running(&self) -> bool {
        false
    }

    fn document(&mut self, id: MessageId) -> Result<Option<Document>, Failure> {
        let found = self.reader.message(id);
        let found = found.map_err(|error| self.failure(format!("message {id}: {error}")))?;
        Ok(found.as_ref().map(Document::of))
    }

    fn verify(&mut self, after: u32) -> Result<(u32, Option<Verified>), Failure> {
        Ok((self.reader.last_segment().unwrap_or_default(), self.reader.verify(after)))
    }

    fn in_files(&mut self, after: Option<MessageId>) -> Result<Vec<MessageId>, Failure> {
        Ok(self.reader.in_files(after, PAGE))
    }

    /// Under the lock: a daemon that started now would lose the index under its hands.
    fn rebuild(&mut self) -> Result<(), Failure> {
        ensure_free(&self.directory)?;
        let _lock = Lock::take(&self.directory).map_err(|error| self.failure(words(&error)))?;
        let index = self.directory.join("index");
        match std::fs::remove_dir_all(&index) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.failure(format!("{}: {}", index.display(), words(&error))))
            }
            _ => Ok(()),
        }
    }

    fn discover(&mut self, _id: MessageId) -> Result<(), Failure> {
        Ok(())
    }

    fn ensure_undisturbed(&self) -> Result<(), Failure> {
        ensure_free(&self.directory)
    }

    fn content(&mut self, id: MessageId, out: &mut dyn Write) -> Result<(), Failure> {
        let failure = |error: io::Error| self.failure(format!("message {id}: {error}"));
        let found = self.reader.message(id).map_err(failure)?;
        let Some(found) = found else { return Err(Failure::absent(id)) };
        let mut content = self.reader.open(&found.content).map_err(failure)?;
        super::copy(&mut content, out, failure)
    }
}
