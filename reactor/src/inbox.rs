//! The way from all other threads to a reactor.
//!
//! Messages are put in one list; the reactor takes the whole of it at a time. It is woken only if
//! it sleeps, and only once: what is sent while it works costs a lock that nobody holds for
//! longer than a push.

use crate::token::{self, ConnId};
use mio::{Poll, Waker};
use smtpd_engine::server::{Answer, Ticket};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The end that a reactor is built on. Made first, so that a handler may have a [`Sender`].
pub struct Inbox {
    pub(crate) poll: Poll,
    sender: Sender,
}

/// The other end, for any thread, any number of times.
#[derive(Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

struct Shared {
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    /// The reactor waits for events, or is about to: it needs waking.
    asleep: bool,
}

pub(crate) enum Message {
    Answer(ConnId, Ticket, Answer),
    Resume(ConnId),
    Pause(bool),
    Stop,
}

impl Inbox {
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Inbox> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), token::WAKER)?;
        let sender = Sender { shared: Arc::new(Shared { waker, state: Mutex::default() }) };
        Ok(Inbox { poll, sender })
    }

    /// Another end for another thread.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// To be called before waiting for events: whether there is time for that. If so, a message
    /// from now on wakes the reactor.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut state = self.sender.shared.state();
        state.asleep = state.messages.is_empty();
        state.asleep
    }

    /// Moves what was sent to `messages`, which is empty.
    pub(crate) fn wake_up(&self, messages: &mut Vec<Message>) {
        debug_assert!(messages.is_empty());
        let mut state = self.sender.shared.state();
        state.asleep = false;
        mem::swap(&mut state.messages, messages);
    }
}

impl Sender {
    /// Answers a question. If the session is gone, or its answer came too late, nothing
    /// happens.
    pub fn answer(&self, conn: ConnId, ticket: Ticket, answer: Answer) {
        self.send([Message::Answer(conn, ticket, answer)]);
    }

    /// Answers many questions at once: they share one wake-up.
    pub fn answer_all(&self, answers: impl IntoIterator<Item = (ConnId, Ticket, Answer)>) {
        self.send(
            answers.into_iter().map(|(conn, ticket, answer)| Message::Answer(conn, ticket, answer)),
        );
    }

    /// Lets a session go on that [`Flow::Hold`](crate::Flow::Hold) stopped. It is asked again.
    pub fn resume(&self, conn: ConnId) {
        self.send([Message::Resume(conn)]);
    }

    /// Stops taking connections, which then wait in the system's backlog, or takes them again.
    pub fn pause(&self, paused: bool) {
        self.send([Message::Pause(paused)]);
    }

    /// Ends the reactor in order: listeners are closed, sessions told 421 as soon as no reply is
    /// owed, messages at their end of data answered first, all within the grace of the limits.
    pub fn stop(&self) {
        self.send([Message::Stop]);
    }

    fn send(&self, messages: impl IntoIterator<Item = Message>) {
        let mut state = self.shared.state();
        state.messages.extend(messages);
        let asleep = mem::take(&mut state.asleep);
        drop(state);
        if asleep && let Err(error) = self.shared.waker.wake() {
            log::error!("reactor cannot be woken: {error}");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic leaves the list half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
