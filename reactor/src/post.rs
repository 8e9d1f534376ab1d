//! The way from all other threads to a reactor.
//!
//! Messages are put in one list; the reactor takes the whole of it at a time. It is woken only if
//! it sleeps, and only once: what is sent while it works costs a lock that nobody holds for
//! longer than a push.

use crate::token;
use mio::{Poll, Waker};
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reactor's end: where it waits for the system and for messages.
pub(crate) struct Postbox<M> {
    pub(crate) poll: Poll,
    post: Post<M>,
}

/// The other end, for any thread, any number of times.
pub(crate) struct Post<M> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    waker: Waker,
    state: Mutex<State<M>>,
}

struct State<M> {
    messages: Vec<M>,
    /// The reactor waits for events, or is about to: it needs waking.
    asleep: bool,
}

impl<M> Postbox<M> {
    /// # Errors
    /// When the system has no descriptors left.
    pub(crate) fn new() -> io::Result<Postbox<M>> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), token::WAKER)?;
        let state = Mutex::new(State { messages: Vec::new(), asleep: false });
        Ok(Postbox { poll, post: Post { shared: Arc::new(Shared { waker, state }) } })
    }

    pub(crate) fn post(&self) -> Post<M> {
        self.post.clone()
    }

    /// To be called before waiting for events: whether there is time for that. If so, a message
    /// from now on wakes the reactor.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut state = self.post.shared.state();
        state.asleep = state.messages.is_empty();
        state.asleep
    }

    /// Moves what was sent to `messages`, which is empty.
    pub(crate) fn wake_up(&self, messages: &mut Vec<M>) {
        debug_assert!(messages.is_empty());
        let mut state = self.post.shared.state();
        state.asleep = false;
        mem::swap(&mut state.messages, messages);
    }
}

impl<M> Post<M> {
    /// Sends all of them with one wake-up; with none, if there are none.
    pub(crate) fn send(&self, messages: impl IntoIterator<Item = M>) {
        let mut state = self.shared.state();
        state.messages.extend(messages);
        let asleep = !state.messages.is_empty() && mem::take(&mut state.asleep);
        drop(state);
        if asleep && let Err(error) = self.shared.waker.wake() {
            log::error!("reactor cannot be woken: {error}");
        }
    }
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Post<M> {
        Post { shared: Arc::clone(&self.shared) }
    }
}

impl<M> Shared<M> {
    fn state(&self) -> MutexGuard<'_, State<M>> {
        // Nothing that can panic leaves the list half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Events;
    use std::time::Duration;

    #[test]
    fn only_what_is_sent_wakes_and_only_once() {
        let mut postbox = Postbox::new().unwrap();
        let mut events = Events::with_capacity(4);
        let mut wakes = |postbox: &mut Postbox<u8>| {
            postbox.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().count()
        };
        let post = postbox.post();
        assert!(postbox.fall_asleep());
        post.send([]);
        assert_eq!(wakes(&mut postbox), 0, "there is nothing to be told");
        post.send([1]);
        assert_eq!(wakes(&mut postbox), 1);
        // It has not looked yet, but it is on its way.
        post.send([2, 3]);
        assert_eq!(wakes(&mut postbox), 0);
        let mut messages = Vec::new();
        postbox.wake_up(&mut messages);
        assert_eq!(messages, [1, 2, 3]);
    }
}
