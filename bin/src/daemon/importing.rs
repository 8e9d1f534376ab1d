//! `queue import` with the daemon up: takes messages in piece by piece and has them committed like
//! those of peers, with the states of their envelopes.
//!
//! All of it is on the control socket's thread, which may wait: for the index of users, for a
//! content writer that is behind, a second at a time for the disk. A message is noted as imported
//! when its commit is answered, also when nobody waits for that any more.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use smtpd_config::Config;
use smtpd_queue::backend::Reads;
use smtpd_queue::budget::{Budget, Buffer};
use smtpd_queue::id::{Ids, MessageId};
use smtpd_queue::lease::Epoch;
use smtpd_queue::request::{self, Accept, Body, Content};
use smtpd_queue::spool::INLINE;
use smtpd_reactor::ConnId;

use super::messages::{Asker, Backlog, Committed, Order, Total};
use super::outside::Lookups;
use super::spooler::Spooler;
use crate::control::import::{Piece, Progress};
use crate::control::limits::{self, IMPORTS};
use crate::transfer::arriving::Arriving;
use crate::transfer::document::{self, Document};
use crate::transfer::draft::{self, Drafter};
use crate::transfer::imported::Imported;

/// How long one answer waits for the disk before smtpctl is told to ask again.
const WAIT: Duration = Duration::from_secs(1);

/// How long a piece waits for a content writer that is behind by half a MiB.
const BEHIND: Duration = Duration::from_secs(8);

/// Octets of content in memory for all messages together. A piece may double when its lines are
/// completed.
const MEMORY: usize = IMPORTS * (INLINE + 2 * limits::PIECE);

/// What there is to import with.
pub struct Means {
    /// Whose rules decide.
    pub config: Arc<Config>,
    /// Asked and waited for.
    pub outside: Lookups,
    /// The queue as it is.
    pub reader: Arc<dyn Reads>,
    /// Under which the states of imported envelopes are recorded.
    pub lease: Epoch,
    /// Ids for messages that bring none.
    pub ids: Ids,
    /// To the content writers.
    pub spooler: Spooler<ConnId>,
    /// To the commit thread.
    pub commit: Sender<Order>,
    /// The queue's directory.
    pub directory: PathBuf,
}

/// See the module.
pub struct Importing {
    means: Means,
    budget: Budget,
    /// What has come over each connection.
    coming: HashMap<u64, Coming>,
    /// The connections that something has come over.
    open: HashSet<u64>,
    /// What was imported before; while somebody imports.
    imported: Option<Imported>,
    /// Nobody waits for these any more.
    left: Vec<Committing>,
}

/// A message on its way.
enum Coming {
    /// Its document, so far.
    Facts(Vec<u8>),
    /// Its content, so far.
    Content(Box<Message>),
    /// Its commit.
    Committing(Committing),
}

struct Message {
    id: MessageId,
    document: Document,
    arriving: Arriving,
    store: Store,
}

enum Store {
    Memory(Buffer),
    /// In the hands of a content writer.
    File(Backlog),
}

struct Committing {
    answer: Receiver<Committed>,
    /// How the message is remembered.
    line: String,
}

impl Importing {
    /// Begins without any message.
    #[must_use]
    pub fn new(means: Means) -> Importing {
        Importing {
            means,
            budget: Budget::new(MEMORY),
            coming: HashMap::new(),
            open: HashSet::new(),
            imported: None,
            left: Vec::new(),
        }
    }

    /// See [`Operator::import`](crate::control::Operator::import).
    pub fn import(&mut self, from: u64, piece: Piece) -> Result<Progress, String> {
        self.open.insert(from);
        self.settle(Duration::ZERO);
        let progress = self.take(from, piece);
        if !matches!(progress, Ok(Progress::More | Progress::Later)) {
            self.give_up(from);
        }
        progress
    }

    /// See [`Operator::left`](crate::control::Operator::left).
    pub fn left(&mut self, from: u64) {
        self.give_up(from);
        self.open.remove(&from);
        self.settle(Duration::ZERO);
        self.put_away();
    }

    fn take(&mut self, from: u64, piece: Piece) -> Result<Progress, String> {
        match piece {
            Piece::Facts { first: true, octets } => {
                self.give_up(from);
                if self.coming.len() == IMPORTS {
                    return Err("others are importing: try again later".to_owned());
                }
                self.coming.insert(from, Coming::Facts(octets));
                Ok(Progress::More)
            }
            Piece::Facts { first: false, octets } => match self.coming.get_mut(&from) {
                Some(Coming::Facts(facts)) if facts.len() + octets.len() <= document::LONGEST => {
                    facts.extend_from_slice(&octets);
                    Ok(Progress::More)
                }
                Some(Coming::Facts(_)) => Err("its facts are too long".to_owned()),
                _ => Err(out_of_order()),
            },
            Piece::Content(octets) => {
                let Some(mut message) = self.message(from)? else { return Ok(Progress::Known) };
                let stored = self.store(&mut message, &octets);
                self.coming.insert(from, Coming::Content(message));
                stored.map(|()| Progress::More)
            }
            Piece::End { name } => {
                let committing = match self.coming.remove(&from) {
                    Some(Coming::Committing(committing)) => committing,
                    other => {
                        other.and_then(|other| self.coming.insert(from, other));
                        let Some(message) = self.message(from)? else { return Ok(Progress::Known) };
                        match self.finish(message, &name)? {
                            Some(committing) => committing,
                            None => return Ok(Progress::Known),
                        }
                    }
                };
                self.answered(from, committing)
            }
        }
    }

    /// Takes what has come of a message, whose facts are whole now; `None` when the message itself
    /// is in the queue.
    fn message(&mut self, from: u64) -> Result<Option<Box<Message>>, String> {
        let facts = match self.coming.remove(&from) {
            Some(Coming::Content(message)) => return Ok(Some(message)),
            Some(Coming::Facts(facts)) => facts,
            _ => return Err(out_of_order()),
        };
        let document = Document::parse(&facts).map_err(|wrong| wrong.to_string())?;
        let Some(id) = draft::id(&document, &*self.means.reader, &self.means.ids)? else {
            return Ok(None);
        };
        let (arriving, store) = (Arriving::default(), Store::Memory(self.budget.buffer()));
        Ok(Some(Box::new(Message { id, document, arriving, store })))
    }

    /// Adds a piece to the content.
    fn store(&self, message: &mut Message, octets: &[u8]) -> Result<(), String> {
        let mut lines = Vec::with_capacity(octets.len());
        message.arriving.take(octets, &mut lines)?;
        self.keep(message, lines)
    }

    fn keep(&self, message: &mut Message, lines: Vec<u8>) -> Result<(), String> {
        let Message { id, store, .. } = message;
        let (piece, backlog) = match store {
            Store::Memory(buffer) if buffer.len() + lines.len() <= INLINE => {
                return match buffer.extend(&lines) {
                    true => Ok(()),
                    false => Err("content: no memory".to_owned()),
                };
            }
            Store::Memory(buffer) => {
                let piece = [&**buffer, &lines[..]].concat();
                // Its own id may be given to a peer's message at any moment. The commit would
                // tell the two apart, but the content writers go by the id.
                *id = self.means.ids.take().ok_or(draft::NO_SPACE)?;
                let backlog = Backlog::new(Total::default());
                *store = Store::File(backlog.clone());
                (piece, backlog)
            }
            Store::File(backlog) => (lines, backlog.clone()),
        };
        self.means.spooler.write(*id, piece, &backlog, None);
        let end = Instant::now() + BEHIND;
        while backlog.is_full() {
            if Instant::now() > end {
                return Err("content: the disk is too slow".to_owned());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Has a message committed that is whole; `None` when it was imported before.
    fn finish(
        &mut self,
        mut message: Box<Message>,
        name: &str,
    ) -> Result<Option<Committing>, String> {
        let mut last = Vec::new();
        let ended = message.arriving.end(&message.document, &mut last);
        let ended = ended.and_then(|()| self.keep(&mut message, last));
        let line = message.arriving.line(name);
        let drafted = ended.and_then(|()| {
            if self.is_known(&line)? {
                return Ok(None);
            }
            let Means { config, outside, lease, .. } = &self.means;
            let drafter = Drafter { config, outside, lease: *lease };
            drafter.draft(message.id, &message.document).map(Some)
        });
        let Message { id, arriving, store, .. } = *message;
        let Ok(Some((message, causes))) = drafted else {
            self.discard(id, &store);
            return drafted.map(|_| None);
        };
        let (token, answer) = mpsc::channel();
        let accept = |memory| Accept {
            token: Asker::Tool(token),
            message: Arc::new(message),
            content: Content { dot_lines: arriving.dot_lines(), body: Body::Memory(memory) },
            causes,
        };
        match store {
            Store::Memory(buffer) => {
                let request = request::Request::Accept(accept(buffer));
                let _ = self.means.commit.send(Order::Requests(vec![request]));
            }
            // The writer puts the file's name in place of the empty buffer.
            Store::File(_) => self.means.spooler.finish(Box::new(accept(self.budget.buffer()))),
        }
        Ok(Some(Committing { answer, line }))
    }

    /// Whether a message was imported before.
    fn is_known(&mut self, line: &str) -> Result<bool, String> {
        let coming = self.coming.values().filter_map(|coming| match coming {
            Coming::Committing(committing) => Some(committing),
            _ => None,
        });
        if coming.chain(&self.left).any(|committing| committing.line == line) {
            return Err("it is being imported already".to_owned());
        }
        Ok(self.imported()?.has(line))
    }

    fn imported(&mut self) -> Result<&mut Imported, String> {
        match &mut self.imported {
            Some(imported) => Ok(imported),
            none => {
                let opened = Imported::open(&self.means.directory);
                Ok(none.insert(opened.map_err(|error| format!("imported: {error}"))?))
            }
        }
    }

    /// Waits a while for the answer to a commit.
    fn answered(&mut self, from: u64, committing: Committing) -> Result<Progress, String> {
        match committing.answer.recv_timeout(WAIT) {
            Ok(Ok(id)) => self.note(committing.line).map(|()| Progress::Taken(id)),
            Ok(Err(why)) => Err(why.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                self.coming.insert(from, Coming::Committing(committing));
                Ok(Progress::Later)
            }
            Err(RecvTimeoutError::Disconnected) => Err("the daemon is ending".to_owned()),
        }
    }

    fn note(&mut self, line: String) -> Result<(), String> {
        self.imported()?.note(line).map_err(|error| format!("imported: {error}"))
    }

    /// Nothing more will come of this message, or nobody waits for it any more.
    fn give_up(&mut self, from: u64) {
        match self.coming.remove(&from) {
            Some(Coming::Content(message)) => self.discard(message.id, &message.store),
            Some(Coming::Committing(committing)) => self.left.push(committing),
            Some(Coming::Facts(_)) | None => {}
        }
    }

    fn discard(&self, id: MessageId, store: &Store) {
        if let Store::File(_) = store {
            self.means.spooler.remove(id);
        }
    }

    /// Notes what was committed of those that nobody waits for, waiting that long for each.
    fn settle(&mut self, wait: Duration) {
        for committing in std::mem::take(&mut self.left) {
            match committing.answer.recv_timeout(wait) {
                Ok(Ok(_)) => {
                    if let Err(error) = self.note(committing.line) {
                        log::warn!("warn: queue: {error}");
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.left.push(committing),
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// When nobody imports any more, what was imported is on disk and not in memory.
    fn put_away(&mut self) {
        if self.open.is_empty()
            && self.left.is_empty()
            && let Some(imported) = self.imported.take()
            && let Err(error) = imported.sync()
        {
            log::warn!("warn: queue: imported: {error}");
        }
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        let open: Vec<_> = self.coming.keys().copied().collect();
        open.into_iter().for_each(|from| self.give_up(from));
        self.open.clear();
        self.settle(WAIT);
        self.left.clear();
        self.put_away();
    }
}

fn out_of_order() -> String {
    "the pieces of the message are out of order".to_owned()
}
