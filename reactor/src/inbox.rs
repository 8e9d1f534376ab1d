//! What other threads tell a reactor of receiving sessions.

use crate::post::{Post, Postbox};
use crate::tls::Computed;
use crate::token::ConnId;
use smtpd_engine::server::{Answer, Ticket};
use std::io;

/// The end that a reactor is built on. Made first, so that a handler may have a [`Sender`].
pub struct Inbox {
    pub(crate) postbox: Postbox<Message>,
}

/// The other end, for any thread, any number of times.
#[derive(Clone)]
pub struct Sender {
    post: Post<Message>,
}

pub(crate) enum Message {
    Answer(ConnId, Ticket, Answer),
    Resume(ConnId),
    Computed(Computed),
    Pause(bool),
    Stop,
}

impl Inbox {
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Inbox> {
        Ok(Inbox { postbox: Postbox::new()? })
    }

    /// Another end for another thread.
    pub fn sender(&self) -> Sender {
        Sender { post: self.postbox.post() }
    }
}

impl Sender {
    /// Answers a question. If the session is gone, or its answer came too late, nothing
    /// happens.
    pub fn answer(&self, conn: ConnId, ticket: Ticket, answer: Answer) {
        self.post.send([Message::Answer(conn, ticket, answer)]);
    }

    /// Answers many questions at once: they share one wake-up.
    pub fn answer_all(&self, answers: impl IntoIterator<Item = (ConnId, Ticket, Answer)>) {
        self.post.send(
            answers.into_iter().map(|(conn, ticket, answer)| Message::Answer(conn, ticket, answer)),
        );
    }

    /// Something is new for a session: one that [`Flow::Hold`](crate::Flow::Hold) stopped is asked
    /// again, and [`Handler::resumed`](crate::Handler::resumed) may answer an open question.
    pub fn resume(&self, conn: ConnId) {
        self.post.send([Message::Resume(conn)]);
    }

    /// The same for many sessions: they share one wake-up.
    pub fn resume_all(&self, conns: impl IntoIterator<Item = ConnId>) {
        self.post.send(conns.into_iter().map(Message::Resume));
    }

    /// Gives back what came of a piece of a handshake.
    pub fn computed(&self, computed: Computed) {
        self.post.send([Message::Computed(computed)]);
    }

    /// Stops taking connections, which then wait in the system's backlog, or takes them again.
    pub fn pause(&self, paused: bool) {
        self.post.send([Message::Pause(paused)]);
    }

    /// Ends the reactor in order: listeners are closed, sessions told 421 as soon as no reply is
    /// owed, messages at their end of data answered first, all within the grace of the limits.
    pub fn stop(&self) {
        self.post.send([Message::Stop]);
    }
}
