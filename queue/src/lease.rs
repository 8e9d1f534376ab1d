//! The lease side: what the scheduler asks of the place where envelopes wait that are not in its
//! memory, and what that answers.
//!
//! An envelope that is lent is the scheduler's alone until it is put back or removed. Nothing
//! here says where the envelopes wait: requests go in, answers come out, both in order.
//!
//! Whoever opens a queue gets an [`Epoch`] that nobody had before. What he accepts and what he is
//! lent belongs to it, and every outcome and every change of where an envelope waits names it. One
//! of another epoch changes nothing and is answered so: the envelope is somebody else's by then,
//! or waits for him. In a store shared by several machines the epoch stands in the row of each
//! envelope that is lent, and in the condition of each update.

use std::sync::Arc;

use crate::delivery::Kind;
use crate::envelope::{Message, State};
use crate::id::{EnvelopeId, MessageId};
use crate::request::{self as commit, Stored};
use crate::waiting::{Change, Claim, Place};

/// What the scheduler asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change something. A put is answered with [`Answer::Stored`].
    /// Void unless the epoch is that of the one who asks.
    Change(Change, Epoch),
    /// Lend what is due; answered with [`Answer::Lent`].
    Claim(Claim),
    /// Lend these envelopes, wherever they stand; answered with [`Answer::Fetched`].
    Fetch(Vec<EnvelopeId>),
    /// After [`Answer::Lost`]: all that the scheduler has in memory.
    Known(Vec<EnvelopeId>),
    /// These messages came into the queue without the scheduler: put what is left of them into
    /// the room.
    Discover(Vec<MessageId>),
    /// Begin with an empty room, on a new directory if it is on disk; leads to [`Answer::Lost`].
    Rebuild,
}

/// What the store answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The store has it.
    Stored(Place),
    /// Envelopes that are due; they are the scheduler's until it puts them back or removes
    /// them.
    Lent {
        /// From the claim.
        kind: Kind,
        /// At most as many as there was room for.
        envelopes: Vec<Lent>,
        /// See [`Claimed::next`](crate::waiting::Claimed::next).
        next: Option<u64>,
        /// See [`Claimed::passed_over`](crate::waiting::Claimed::passed_over).
        passed_over: bool,
    },
    /// The envelopes that were asked for by their ids.
    Fetched {
        /// Lent like those that are due.
        envelopes: Vec<Lent>,
        /// Not here: the scheduler has them, they are settled, or they cannot be read.
        absent: Vec<EnvelopeId>,
    },
    /// Envelopes have come into the room that were not put by the scheduler.
    Filled {
        /// Of this kind.
        kind: Kind,
        /// The earliest due time among them.
        due: u64,
    },
    /// What was to be changed of this envelope is void: it is the scheduler's no more.
    Void(EnvelopeId),
    /// What was in the room is gone, and so are all requests made up to now. It waits for
    /// [`Request::Known`].
    Lost,
}

/// Under which opening of the queue an envelope was accepted or lent. No two openings have the
/// same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u64);

impl Epoch {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Answers those of the requests that name another epoch than this one. They change nothing.
pub(crate) fn fence<T>(
    epoch: Epoch,
    requests: &mut Vec<commit::Request<T>>,
    done: &mut Vec<commit::Done<T>>,
) {
    let is_void = |request: &mut commit::Request<T>| match request {
        commit::Request::Outcome(outcome) => outcome.lease != epoch,
        commit::Request::Accept(accept) => accept.causes.iter().any(|one| one.lease != epoch),
    };
    for request in requests.extract_if(.., is_void) {
        match request {
            commit::Request::Outcome(outcome) => done.push(commit::Done::Void(outcome)),
            commit::Request::Accept(mut accept) => {
                done.extend(accept.causes.drain(..).map(commit::Done::Void));
                accept.refuse(commit::Refusal::Failed, done);
            }
        }
    }
}

/// An envelope that is lent.
#[derive(Clone, Debug)]
pub struct Lent {
    /// Its message.
    pub message: Arc<Message>,
    /// Which envelope.
    pub id: EnvelopeId,
    /// How it stands.
    pub state: State,
    /// The message's content, on disk.
    pub content: Stored,
}
