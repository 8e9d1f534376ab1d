//! The store as traits: what the daemon needs of whatever keeps its mail.
//!
//! A backend is opened once for each run of the daemon and gives four sides, each of which lives
//! on threads of its own, so that none waits for another:
//!
//! | side | who turns it | what it does |
//! |---|---|---|
//! | [`Commits`] | the commit thread | accepts with their causes, outcomes, idle work, the end |
//! | [`Leases`] | the store's thread | lends envelopes that are due, takes them back |
//! | [`Reads`] | whoever reads, many at once | messages, lists, contents |
//! | [`Contents`] | the content writers | content that is not in memory, before its commit |
//!
//! They are trait objects: a call of one is a turn for a group, a read of a message or a write of
//! a piece of content, beside which finding its function in a table cannot be seen, and nothing
//! of the daemon is compiled twice or has to name the backend.
//!
//! [`journal`] is the one that lasts; [`memory`] is for tests. What both promise is shown by
//! `tests/conformance`. One shared by several machines has to promise the same and
//! nothing more: no side may assume that it sees the memory of another one, and what one of them
//! has answered must be seen by all. Its leases are those of [`lease`](crate::lease).

pub mod journal;
pub mod memory;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use crate::destination::Destinations;
use crate::id::{Ids, MessageId};
use crate::lease::{Answer, Epoch, Request as Asked};
use crate::reader::{ContentReader, Found};
use crate::request::{Done, Request, Stored};
use crate::spares::Filled;
use crate::spool::Finished;
use crate::verify::Verified;

/// Something that can be opened to keep mail in. `T` is the token of accepts.
pub trait Backend<T> {
    /// Opens it, so that mail can be accepted at once.
    ///
    /// # Errors
    /// Those of the disk, or whatever keeps it.
    fn open(&self) -> io::Result<Sides<T>>;
}

/// A backend that was opened.
pub struct Sides<T> {
    /// For the commit thread.
    pub commit: Box<dyn Commits<T>>,
    /// Gives the lease side, which may take long.
    pub leases: Opening,
    /// Reads messages.
    pub reader: Arc<dyn Reads>,
    /// For the content writers.
    pub contents: Arc<dyn Contents>,
    /// Gives ids to new messages.
    pub ids: Ids,
    /// Under which it lends envelopes.
    pub epoch: Epoch,
    /// Does work for the commit side, on a thread of its own.
    pub helper: Option<Helper>,
}

/// Finds out what was kept before. Mail can be accepted meanwhile.
pub type Opening = Box<dyn FnOnce() -> io::Result<Box<dyn Leases>> + Send>;

/// Does a piece of work, and says whether there may be more.
pub type Helper = Box<dyn FnMut() -> io::Result<Filled> + Send>;

/// The commit side. What it answers is as durable as the backend can make it.
pub trait Commits<T>: Send {
    /// Takes one group of requests and adds the answers. What is left in `requests` was too much
    /// for one group and belongs to the next turn.
    fn turn(&mut self, now: Time, requests: &mut Vec<Request<T>>, done: &mut Vec<Done<T>>);

    /// Does some of the work that nobody waits for. To be called after a turn, and again when
    /// the time returned has passed.
    fn tidy(&mut self, now: Time, done: &mut Vec<Done<T>>) -> Duration;

    /// Whether the [`Helper`] has something to do.
    fn wants_help(&self) -> bool;

    /// Ends an orderly run. Gives what [`Leases::close`] is to be told.
    ///
    /// # Errors
    /// The next start has to search for what was being written.
    fn close(self: Box<Self>) -> io::Result<u64>;
}

/// The lease side; its words are in [`lease`](crate::lease).
pub trait Leases: Send {
    /// Takes requests in their order and adds answers. To be called once at the beginning without
    /// any, for there may be something to say, and while [`Leases::is_busy`].
    fn turn(&mut self, requests: &mut Vec<Asked>, answers: &mut Vec<Answer>);

    /// Whether there is work that nobody asked for: the next turn need not wait for requests.
    fn is_busy(&self) -> bool;

    /// Ends an orderly run, after the commit side, and is told what the end of that gave.
    ///
    /// # Errors
    /// The next start has to find out anew what waits.
    fn close(self: Box<Self>, mark: u64) -> io::Result<()>;
}

/// The reading side. Nothing of it waits for a commit.
pub trait Reads: Send + Sync {
    /// Whether what was kept before is known. Until then only mail that came since is found.
    fn is_complete(&self) -> bool;

    /// How many messages there are.
    fn messages(&self) -> usize;

    /// At most `limit` messages in the order of their ids, beginning behind `after`.
    fn behind(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId>;

    /// As [`Reads::behind`], but only those whose content came by [`Contents`].
    fn in_files(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId>;

    /// How envelopes are sorted into lanes.
    fn destinations(&self) -> Destinations;

    /// A message and how it stands; `None` when it is not here.
    ///
    /// # Errors
    /// `InvalidData` says that what is kept of it is damaged.
    fn message(&self, id: MessageId) -> io::Result<Option<Found>>;

    /// Messages and how they stand, in the order asked for.
    fn all(&self, ids: &[MessageId]) -> Vec<(MessageId, io::Result<Option<Found>>)>;

    /// The content of a message, to be read from its beginning.
    ///
    /// # Errors
    /// `NotFound` says that the message is not here any more, `InvalidData` that it is damaged.
    fn open(&self, stored: &Stored) -> io::Result<ContentReader>;

    /// The number of the last piece in which [`Reads::verify`] checks everything; `None` without
    /// any.
    fn last_segment(&self) -> Option<u32>;

    /// Checks the first piece behind the number `after`; `None` when there is none.
    fn verify(&self, after: u32) -> Option<Verified>;
}

/// The side of content that is too large for a record or found no room in memory. It is kept
/// before the message that it belongs to is accepted.
pub trait Contents: Send + Sync {
    /// Begins the content of a message. One that is there already is an error, and left alone.
    ///
    /// # Errors
    /// Those of the disk, or whatever keeps it.
    fn begin(&self, id: MessageId) -> io::Result<Box<dyn Writing>>;

    /// Removes the content of a message, if it is there.
    ///
    /// # Errors
    /// It may be there still; nothing names it.
    fn remove(&self, id: MessageId) -> io::Result<()>;
}

/// Content that is being written.
pub trait Writing: Send {
    /// Adds octets at the end.
    ///
    /// # Errors
    /// Then it is [`Contents::remove`] that is owed.
    fn write(&mut self, octets: &[u8]) -> io::Result<()>;

    /// Makes it durable.
    ///
    /// # Errors
    /// Then it is [`Contents::remove`] that is owed.
    fn finish(self: Box<Self>) -> io::Result<Finished>;
}
