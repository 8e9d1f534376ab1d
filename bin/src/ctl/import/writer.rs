//! Puts messages into a queue whose daemon is down: the same lock, journal and content files as in
//! the daemon.
//!
//! For root all of it happens in the daemon's name, so the daemon finds files of its own, and no
//! link that its user may have made leads root astray.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use smtpd_config::{Config, Outside};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{self, Commit, Opened};
use smtpd_queue::disk::RealDisk;
use smtpd_queue::envelope::{Message, Outcome};
use smtpd_queue::id::{Ids, MessageId};
use smtpd_queue::lock::Lock;
use smtpd_queue::reader::Reader;
use smtpd_queue::request::{Accept, Body, Content, Done, Request};
use smtpd_queue::spares::{Filled, Filler};
use smtpd_queue::spool::{INLINE, Spool};

use super::{Failure, Taken, Target};
use crate::keys;
use crate::sys::{Assumed, User};
use crate::transfer::arriving::Arriving;
use crate::transfer::document::Document;
use crate::transfer::draft::{self, Drafter};
use crate::transfer::imported::Imported;

/// Octets that are read and written at once.
const PIECE: usize = 64 << 10;

/// A queue that is open for writing.
pub struct Writer<'a> {
    config: &'a Config,
    outside: &'a dyn Outside,
    /// Whom root writes as.
    user: Option<User>,
    commit: Commit,
    reader: Reader,
    ids: Ids,
    spool: Spool,
    filler: Filler,
    imported: Imported,
    start: Instant,
    _lock: Lock,
}

impl Target for Writer<'_> {
    fn take(
        &mut self,
        name: &str,
        document: &Document,
        content: &mut dyn Read,
    ) -> Result<Taken, Failure> {
        self.put(name, document, content).map_err(Failure::Queue)
    }
}

impl<'a> Writer<'a> {
    /// Opens the queue in a directory, which is made if it is missing. `user` is whom root writes
    /// as.
    ///
    /// # Errors
    /// In words for an administrator.
    pub fn open(
        directory: &Path,
        config: &'a Config,
        outside: &'a dyn Outside,
        user: Option<User>,
    ) -> Result<Writer<'a>, String> {
        let lock = Lock::take(directory).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => format!(
                "an smtpd is running on the queue in {}: stop it first",
                directory.display()
            ),
            _ => error.to_string(),
        })?;
        if let Some(user) = &user {
            lock.give_to(user.uid, user.gid).map_err(|error| error.to_string())?;
            if let Ok(journal) = fs::symlink_metadata(directory.join("journal"))
                && journal.uid() != user.uid
            {
                let (directory, name) = (directory.display(), &user.name);
                return Err(format!(
                    "the queue is not {name}'s: run \"chown -RP {name} {directory}\""
                ));
            }
        }
        // It may ask on the terminal, which is root's.
        let codec = keys::codec(config)?;
        let _assumed = assume(user.as_ref()).map_err(|error| error.to_string())?;
        let queue = |error: io::Error| format!("queue: {error}");
        let half = || u128::from(RandomState::new().build_hasher().finish());
        let defaults = commit::Options::new(half() << 64 | half());
        let options = commit::Options { codec, ..defaults };
        let opened = Commit::open(Arc::new(RealDisk), directory, &options).map_err(queue)?;
        let Opened { commit, recovery, ids, reader, spool, filler } = opened;
        // The daemon's next start will not say it again.
        for finding in recovery.run().map_err(queue)?.findings {
            eprintln!("smtpctl: queue: {finding}");
        }
        let imported = Imported::open(directory).map_err(queue)?;
        let start = Instant::now();
        Ok(Writer {
            config,
            outside,
            user,
            commit,
            reader,
            ids,
            spool,
            filler,
            imported,
            start,
            _lock: lock,
        })
    }

    fn put(
        &mut self,
        name: &str,
        document: &Document,
        content: &mut dyn Read,
    ) -> Result<Taken, String> {
        let _assumed = assume(self.user.as_ref()).map_err(|error| error.to_string())?;
        let id = draft::id(document, &self.reader, &self.ids)?;
        let Some(id) = id else { return Ok(Taken::Known) };
        let stowed = self.stow(name, id, document, content);
        let Stowed { content, line } = stowed.inspect_err(|_| self.give_up(id))?;
        if self.imported.has(&line) {
            self.give_up(id);
            return Ok(Taken::Known);
        }
        let lease = self.reader.epoch();
        let drafter = Drafter { config: self.config, outside: self.outside, lease };
        let drafted = drafter.draft(id, document);
        let (message, causes) = drafted.inspect_err(|_| self.give_up(id))?;
        self.commit(message, content, causes).inspect_err(|_| self.give_up(id))?;
        self.imported.note(line).map_err(|error| format!("imported: {error}"))?;
        Ok(Taken::New)
    }

    /// Ends in order.
    ///
    /// # Errors
    /// When not all is known to be on disk.
    pub fn close(self) -> Result<(), String> {
        let _assumed = assume(self.user.as_ref()).map_err(|error| error.to_string())?;
        let closed = self.commit.close().and_then(|_| self.imported.sync());
        closed.map_err(|error| format!("queue: {error}"))
    }

    /// Puts the content where the commit takes it from.
    fn stow(
        &self,
        name: &str,
        id: MessageId,
        document: &Document,
        from: &mut dyn Read,
    ) -> Result<Stowed, String> {
        let wrong = |error: io::Error| format!("content: {error}");
        let budget = Budget::new(2 * INLINE + 2 * PIECE);
        let (mut buffer, mut file) = (budget.buffer(), None);
        let (mut arriving, mut piece, mut out) = (Arriving::default(), vec![0; PIECE], Vec::new());
        loop {
            let count = match from.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.map_err(wrong)?,
            };
            out.clear();
            match count {
                0 => arriving.end(document, &mut out)?,
                _ => arriving.take(&piece[..count], &mut out)?,
            }
            if file.is_none() && buffer.len() + out.len() > INLINE {
                let mut begun = self.spool.begin(id).map_err(wrong)?;
                begun.write(&buffer).map_err(wrong)?;
                (buffer, file) = (budget.buffer(), Some(begun));
            }
            match &mut file {
                Some(file) => file.write(&out).map_err(wrong)?,
                None if !buffer.extend(&out) => return Err("content: no memory".to_owned()),
                None => {}
            }
            if count == 0 {
                break;
            }
        }
        let body = match file {
            None => Body::Memory(buffer),
            Some(file) => Body::File(self.spool.finish(file).map_err(wrong)?),
        };
        let content = Content { dot_lines: arriving.dot_lines(), body };
        Ok(Stowed { content, line: arriving.line(name) })
    }

    /// The content of a message that is not taken goes, if it has a file.
    fn give_up(&self, id: MessageId) {
        // One that stays is removed by the next start.
        let _ = self.spool.remove(id);
    }

    fn commit(
        &mut self,
        message: Message,
        content: Content,
        causes: Vec<Outcome>,
    ) -> Result<(), String> {
        let now = Time::from_micros(self.start.elapsed().as_micros() as u64);
        let message = Arc::new(message);
        let mut requests = vec![Request::Accept(Accept { token: (), message, content, causes })];
        let mut done = Vec::new();
        self.commit.turn(now, &mut requests, &mut done);
        let refused = done.iter().find_map(|done| match done {
            Done::Refused { why, .. } => Some(why.to_string()),
            _ => None,
        });
        if let Some(why) = refused {
            return Err(why);
        }
        if !done.iter().any(|done| matches!(done, Done::Accepted { .. })) {
            return Err("the queue does not answer".to_owned());
        }
        if self.commit.wants_filling() {
            while let Ok(Filled::Some) = self.filler.fill() {}
        }
        Ok(())
    }
}

struct Stowed {
    content: Content,
    /// How the message is remembered.
    line: String,
}

fn assume(user: Option<&User>) -> io::Result<Option<Assumed>> {
    user.map(Assumed::new).transpose()
}
