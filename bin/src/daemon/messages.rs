//! What the daemon's threads tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use smtpd_engine::limits;
use smtpd_engine::server::Ticket;
use smtpd_queue::delivery::{Batch, Kind};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::request::Refusal;
use smtpd_queue::scheduler::{Action, InFlight, Input};
use smtpd_queue::{lease, request};
use smtpd_reactor::ConnId;

/// Who waits for a message to be committed.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<C> {
    /// The connection.
    pub conn: C,
    /// The question that its session asks.
    pub ticket: Ticket,
    /// Whether it greeted with EHLO, for the log.
    pub esmtp: bool,
}

/// Who asked for a message to be taken into the queue.
#[derive(Clone, Debug)]
pub enum Asker<C> {
    /// A peer, who waits for the answer.
    Peer(Waiting<C>),
    /// This server: the message is a report about these envelopes.
    Report(Vec<EnvelopeId>),
    /// An administrator, who imports it. Its envelopes may have states, so they come to the
    /// scheduler by way of the store.
    Tool(Sender<Committed>),
}

/// What has come of a message that is imported.
pub type Committed = Result<MessageId, Refusal>;

/// Something to be made durable.
pub type Request = request::Request<Asker<ConnId>>;

/// What the commit thread is told.
pub enum Order {
    /// Make these durable.
    Requests(Vec<Request>),
    /// Everything was said: close the journal, and tell the sequence number it ended with.
    Stop(Sender<u64>),
}

/// What the scheduler's thread is told or asked.
pub enum Message {
    /// This has happened.
    Inputs(Vec<Input>),
    /// Stop attempts of a kind, or go on; the answer is whether that changed anything.
    Pause(Kind, bool, Sender<bool>),
    /// Do this with these envelopes; the answer is how many it has changed, when that is on disk.
    /// Memory is used for each until then, so there should not be too many.
    Administer(Vec<EnvelopeId>, Action, Sender<usize>),
    /// What is paused, and what is in flight?
    Show(Sender<Shown>),
    /// Begin nothing more; answer when nothing is in flight or being recorded, or at this moment.
    Stop(Instant, Sender<()>),
    /// Answer when no outcome is on its way to the disk any more, or at this moment.
    Settle(Instant, Sender<()>),
    /// By today's rules these of a batch are to be tried by those who try that kind.
    Deliver(Batch),
    /// Give what is in memory to the store, and end.
    End,
}

/// What the scheduler shows.
pub struct Shown {
    /// What is paused.
    pub paused: Vec<Kind>,
    /// What is being tried, and since when.
    pub in_flight: InFlight,
}

/// What the store's thread is told.
pub enum Errand {
    /// To be answered to the scheduler.
    Request(lease::Request),
    /// The end: close the index, which reflects the journal up to this sequence number.
    Close(u64),
}

/// Octets of one session's message that may wait for its writer.
const BEHIND: usize = 512 << 10;

/// Octets of all of them together, after which a session has one piece under way and no more.
const ALL_BEHIND: usize = limits::CONTENT_MEMORY;

/// What all sessions together have handed to the writers and the writers have not written.
#[derive(Clone, Default)]
pub struct Total(Arc<AtomicUsize>);

/// What a session has handed to its writer and the writer has not written.
#[derive(Clone)]
pub struct Backlog {
    own: Arc<AtomicUsize>,
    all: Total,
}

impl Backlog {
    /// One more part of the total.
    #[must_use]
    pub fn new(all: Total) -> Backlog {
        Backlog { own: Arc::default(), all }
    }

    /// Whether the session has to wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let own = self.own.load(Ordering::Relaxed);
        own > BEHIND || (own > 0 && self.all.0.load(Ordering::Relaxed) > ALL_BEHIND)
    }

    /// Notes octets as handed over.
    pub fn add(&self, octets: usize) {
        self.own.fetch_add(octets, Ordering::Relaxed);
        self.all.0.fetch_add(octets, Ordering::Relaxed);
    }

    /// Notes octets as written; true when the session, if it is held, may go on.
    pub fn written(&self, octets: usize) -> bool {
        self.all.0.fetch_sub(octets, Ordering::Relaxed);
        let before = self.own.fetch_sub(octets, Ordering::Relaxed);
        let now = before - octets;
        // With nothing of its own left it goes on, however much there is of others.
        now == 0 || (before > BEHIND && now <= BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_waits_for_its_own_octets_and_for_one_piece_when_there_is_much_of_others() {
        let all = Total::default();
        let one = Backlog::new(all.clone());
        one.add(BEHIND);
        assert!(!one.is_full());
        one.add(1);
        assert!(one.is_full() && one.written(1) && !one.is_full());
        let other = Backlog::new(all);
        other.add(ALL_BEHIND);
        assert!(one.is_full(), "one piece of its own, and too much of all");
        assert!(one.written(BEHIND) && !one.is_full());
        assert!(other.is_full() && other.written(ALL_BEHIND));
    }
}
