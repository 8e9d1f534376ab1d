//! What is asked of the commit thread, and what it answers.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::budget::Buffer;
use crate::envelope::{Message, Outcome};
use crate::id::MessageId;
use crate::spool::Finished;

/// Something to be made durable. `T` is whatever its owner needs to find the way back to
/// the one who waits, such as a connection and its ticket.
#[derive(Debug)]
pub enum Request<T> {
    /// Take a message into the queue.
    Accept(Accept<T>),
    /// Remember how an envelope fared.
    Outcome(Outcome),
}

/// A message to be taken into the queue.
#[derive(Debug)]
pub struct Accept<T> {
    /// Comes back with the answer.
    pub token: T,
    /// The message; its id comes from [`Ids`](crate::id::Ids).
    pub message: Arc<Message>,
    /// Its content as it is to be delivered.
    pub content: Content,
    /// Outcomes of other messages that become true together with this one or not at all:
    /// the envelopes that a bounce speaks for. Empty for a message from outside.
    pub causes: Vec<Outcome>,
}

impl<T> Accept<T> {
    /// The same with another token.
    pub fn map<U>(self, token: impl FnOnce(T) -> U) -> Accept<U> {
        let Self { token: old, message, content, causes } = self;
        Accept { token: token(old), message, content, causes }
    }

    /// Answers that it is not taken.
    pub(crate) fn refuse(self, why: Refusal, done: &mut Vec<Done<T>>) {
        let message = self.message.id;
        done.push(Done::Refused { token: self.token, message, why });
        // What may still count after a crash must find its content.
        if why != Refusal::Fatal && self.content.in_file() {
            done.push(Done::Discard(message));
        }
    }
}

/// The content of a message: lines with CR LF, without dot stuffing.
#[derive(Debug)]
pub struct Content {
    /// Whether some line begins with a dot; a relay can skip looking when none does.
    pub dot_lines: bool,
    /// Where it is.
    pub body: Body,
}

impl Content {
    pub(crate) fn in_file(&self) -> bool {
        matches!(self.body, Body::File(_))
    }

    /// Where it is once it is in the queue. What is in memory stays there for the first delivery.
    pub(crate) fn stored(self, message: MessageId) -> Stored {
        let dot_lines = self.dot_lines;
        let (octets, memory) = match self.body {
            Body::Memory(buffer) => (buffer.len() as u64, Some(Arc::new(buffer))),
            Body::File(file) => (file.octets, None),
        };
        Stored { message, octets, dot_lines, memory }
    }
}

/// Where content is on its way into the queue.
#[derive(Debug)]
pub enum Body {
    /// In memory; it goes into the journal record. At most [`INLINE`](crate::spool::INLINE)
    /// octets.
    Memory(Buffer),
    /// In a content file, which is durable already.
    File(Finished),
}

/// An answer of the commit thread. Whatever it says is on disk.
#[derive(Debug)]
pub enum Done<T> {
    /// The message is ours: 250.
    Accepted {
        /// From the request.
        token: T,
        /// From the request.
        message: Arc<Message>,
        /// Where its content is now.
        content: Stored,
    },
    /// The message is not ours.
    Refused {
        /// From the request.
        token: T,
        /// Its id.
        message: MessageId,
        /// What the peer is to be told.
        why: Refusal,
    },
    /// The outcome is remembered.
    Recorded(Outcome),
    /// The outcome is of another [epoch](crate::lease::Epoch): it changes nothing, and the
    /// envelope is no longer the one's who hears this.
    Void(Outcome),
    /// Nothing names the content file of this message any more, and nothing will: it is to
    /// be given to [`Spool::remove`](crate::spool::Spool::remove), on a thread that may wait.
    Discard(MessageId),
    /// What the disk holds of this message is damaged. It has left the queue; its octets are
    /// kept in `quarantine/`.
    Damaged(MessageId),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is as full as accepting may make it: 452 4.3.1.
    NoSpace,
    /// The disk failed; that the message is refused is on disk: 451 4.3.0.
    Failed,
    /// The disk failed, and so did the attempt to note that the message is refused. After a
    /// crash it may be delivered, so it must not be refused: 421, and close the connection.
    Fatal,
}

impl Refusal {
    /// What to say of a message that met this error before its record was handed to the disk.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space on the queue's disk",
            Self::Failed => "the queue's disk failed",
            Self::Fatal => "the queue's disk failed, and so did the abort",
        })
    }
}

/// The content of a message in the queue, for [`Reader::open`](crate::reader::Reader::open).
#[derive(Clone, Debug)]
pub struct Stored {
    /// The message it belongs to.
    pub message: MessageId,
    /// Its length.
    pub octets: u64,
    /// Whether some line begins with a dot.
    pub dot_lines: bool,
    /// The octets themselves, while they are still in memory from the commit. Dropping them
    /// (as when the first attempt fails) gives them back to the budget.
    pub memory: Option<Arc<Buffer>>,
}
