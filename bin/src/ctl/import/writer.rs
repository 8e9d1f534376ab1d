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
use std::time::{Instant, SystemTime};

use smtpd_config::{Config, Outside};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{self, Commit, Opened};
use smtpd_queue::disk::RealDisk;
use smtpd_queue::envelope::{Agent, Due, Envelope, Message, Outcome, State, Verdict};
use smtpd_queue::id::{EnvelopeId, Ids, MessageId};
use smtpd_queue::lock::Lock;
use smtpd_queue::reader::Reader;
use smtpd_queue::request::{Accept, Body, Content, Done, Request};
use smtpd_queue::spares::{Filled, Filler};
use smtpd_queue::spool::{INLINE, Spool};

use super::decide::decide;
use super::imported::Imported;
use super::lines::Lines;
use crate::keys;
use crate::sys::{Assumed, User};
use crate::transfer::document::{Document, Part};

/// Octets that are read and written at once.
const PIECE: usize = 64 << 10;

/// What has come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the queue under this id, on disk.
    New(MessageId),
    /// It had been imported already.
    Known,
}

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

    /// Takes a message in. `name` is what it is called where it comes from; `content` is read to
    /// its end.
    ///
    /// # Errors
    /// Why it is not in the queue.
    pub fn take(
        &mut self,
        name: &str,
        document: &Document,
        content: &mut dyn Read,
    ) -> Result<Taken, String> {
        let _assumed = assume(self.user.as_ref()).map_err(|error| error.to_string())?;
        let id = self.id(document)?;
        let Some(id) = id else { return Ok(Taken::Known) };
        let stowed = self.stow(name, id, document, content);
        let Stowed { content, line } = stowed.inspect_err(|_| self.give_up(id))?;
        if self.imported.has(&line) {
            self.give_up(id);
            return Ok(Taken::Known);
        }
        let (message, causes) = self.message(id, document)?;
        self.commit(message, content, causes).inspect_err(|_| self.give_up(id))?;
        self.imported.note(line).map_err(|error| format!("imported: {error}"))?;
        Ok(Taken::New(id))
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

    /// The id for a message: its own, unless it is taken; `None` when the message itself is there.
    fn id(&self, document: &Document) -> Result<Option<MessageId>, String> {
        if let Some(own) = document.message {
            let found = self.reader.message(own).map_err(|error| format!("{own}: {error}"))?;
            let Some(found) = found else { return Ok(Some(own)) };
            let there = &found.message;
            if Some(there.ctime) == document.created && there.sender == document.sender {
                return Ok(None);
            }
        }
        self.ids.take().map(Some).ok_or_else(|| "the queue's disk has no space".to_owned())
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
        let (mut lines, mut piece, mut out) = (Lines::default(), vec![0; PIECE], Vec::new());
        let (mut read, mut checksum, mut octets) = (0_u64, 0, 0_u64);
        loop {
            let count = match from.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.map_err(wrong)?,
            };
            read += count as u64;
            out.clear();
            match count {
                0 => lines.end(&mut out),
                _ => lines.take(&piece[..count], &mut out),
            }
            octets += out.len() as u64;
            checksum = crc32c::crc32c_append(checksum, &out);
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
        if document.octets.is_some_and(|expected| expected != read) {
            return Err(format!("content: has {read} octets, not as many as \"octets\" says"));
        }
        let body = match file {
            None => Body::Memory(buffer),
            Some(file) => Body::File(self.spool.finish(file).map_err(wrong)?),
        };
        let content = Content { dot_lines: lines.dot_lines, body };
        Ok(Stowed { content, line: Imported::line(name, checksum, octets) })
    }

    /// The content of a message that is not taken goes, if it has a file.
    fn give_up(&self, id: MessageId) {
        // One that stays is removed by the next start.
        let _ = self.spool.remove(id);
    }

    /// The message and the states of its envelopes, as outcomes in the same record.
    fn message(
        &self,
        id: MessageId,
        document: &Document,
    ) -> Result<(Message, Vec<Outcome>), String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        let ctime = document.created.unwrap_or(now);
        let (mut envelopes, mut causes) = (Vec::new(), Vec::new());
        for part in &document.envelopes {
            for (envelope, state) in self.envelopes((id, ctime), document, part) {
                let nth = u32::try_from(envelopes.len()).map_err(|error| error.to_string())?;
                let envelope = Envelope { id: EnvelopeId::new(id, nth), ..envelope };
                if state != State::new(ctime) {
                    let verdict = Verdict::Changed(state);
                    causes.push(Outcome { envelope: envelope.id, at: now, verdict });
                }
                envelopes.push(envelope);
            }
        }
        let text = |text: &Option<String>, default: &str| {
            text.clone().unwrap_or_else(|| default.to_owned())
        };
        let message = Message {
            id,
            ctime,
            sender: document.sender.clone(),
            source: document.source,
            helo: text(&document.helo, "localhost"),
            hostname: text(&document.hostname, "localhost"),
            smtpname: text(&document.smtpname, &self.config.host.name),
            tag: document.tag.clone(),
            username: document.username.clone(),
            tls: document.tls,
            smtputf8: document.smtputf8,
            ret: document.ret,
            envid: document.envid.clone(),
            envelopes,
        };
        Ok((message, causes))
    }

    /// What comes of one envelope: itself, or as many as today's rules make of it, or itself on
    /// hold when they take it nowhere.
    fn envelopes(
        &self,
        (message, ctime): (MessageId, u64),
        document: &Document,
        part: &Part,
    ) -> Vec<(Envelope, State)> {
        let queue_ttl = u32::try_from(self.config.queue.ttl.as_secs()).unwrap_or(u32::MAX);
        let envelope = |dest, action, agent, ttl| Envelope {
            // Its place is given by whoever counts.
            id: EnvelopeId::new(message, 0),
            rcpt: part.rcpt.clone(),
            dest,
            internal: part.internal,
            action,
            agent,
            ttl: part.ttl.unwrap_or(ttl),
            notify: part.notify,
            orcpt: part.orcpt.clone(),
        };
        let state = State {
            tries: part.tries,
            last_try: part.last_try,
            due: part.due.unwrap_or(Due::At(ctime)),
            error: part.error.clone(),
            suspended: part.suspended,
            told: part.told,
        };
        if let Some((action, agent)) = part.action.clone() {
            let ttl = self.config.action(&action).map_or(queue_ttl, |action| {
                u32::try_from(self.config.ttl(action).as_secs()).unwrap_or(u32::MAX)
            });
            return vec![(envelope(part.dest.clone(), action, agent, ttl), state)];
        }
        match decide(self.config, self.outside, document, &part.dest) {
            Ok(all) => all
                .into_iter()
                .map(|one| (envelope(one.dest, one.action, one.agent, one.ttl), state.clone()))
                .collect(),
            Err(why) => {
                let one = envelope(part.dest.clone(), String::new(), Agent::Mta, queue_ttl);
                vec![(one, State { due: Due::Held, error: why, ..state })]
            }
        }
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
