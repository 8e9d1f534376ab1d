//! What other threads tell a reactor of outgoing connections.

use crate::post::{Post, Postbox};
use crate::token::ConnId;
use std::io;

/// The end that a reactor is built on. Made first, so that a caller may have a [`Sender`].
pub struct Inbox<M> {
    pub(super) postbox: Postbox<Message<M>>,
}

/// The other end, for any thread, any number of times.
pub struct Sender<M> {
    post: Post<Message<M>>,
}

pub(crate) enum Message<M> {
    /// The caller's own.
    Own(M),
    Resume(ConnId),
    Stop,
}

impl<M> Inbox<M> {
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Inbox<M>> {
        Ok(Inbox { postbox: Postbox::new()? })
    }

    /// Another end for another thread.
    pub fn sender(&self) -> Sender<M> {
        Sender { post: self.postbox.post() }
    }
}

impl<M> Sender<M> {
    /// Tells the [`Caller`](super::Caller) something.
    pub fn send(&self, message: M) {
        self.post.send([Message::Own(message)]);
    }

    /// Tells it many things at once: they share one wake-up.
    pub fn send_all(&self, messages: impl IntoIterator<Item = M>) {
        self.post.send(messages.into_iter().map(Message::Own));
    }

    /// As [`Calls::resume`](super::Calls::resume).
    pub fn resume(&self, conn: ConnId) {
        self.post.send([Message::Resume(conn)]);
    }

    /// Ends the reactor in order: what is being connected is given up, sessions say QUIT when
    /// their mail is settled, all within the grace of the limits.
    pub fn stop(&self) {
        self.post.send([Message::Stop]);
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Sender<M> {
        Sender { post: self.post.clone() }
    }
}
