//! What a session tells its caller.

use std::fmt;

use super::failure::Failure;
use super::reply::Reply;

/// What [`Session::step`](super::Session::step) came to.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Step<'i> {
    /// Something happened; then call again.
    Event(Event<'i>),
    /// Send what is in `out`; nothing more can be done with what is there.
    Wait(Wait),
    /// Send what is in `out`, then close the connection. Every later step says so too.
    Close,
}

/// What a session waits for. Whatever it is, a next hop may say something meanwhile: show
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Octets from the next hop.
    Input,
    /// A handshake: [`Session::tls_started`](super::Session::tls_started).
    Tls,
    /// No transaction is open: [`Session::mail`](super::Session::mail), or
    /// [`Session::quit`](super::Session::quit). The first time it says that the next hop has
    /// greeted us, and that there is TLS and AUTH where they had to be.
    Caller,
    /// Content: [`Session::body`](super::Session::body), and
    /// [`Session::end_of_data`](super::Session::end_of_data).
    Content,
}

/// What happened.
///
/// Each recipient of a [`Mail`](super::Mail) has one outcome, told as soon as it is known. An
/// event about the rest is about those that had none; there may be none of them left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'i> {
    /// STARTTLS was accepted: send `out`, shake hands, and call
    /// [`Session::tls_started`](super::Session::tls_started). What the next hop had sent
    /// behind its reply is gone.
    StartTls,
    /// The next hop has the message, and answers for it.
    Delivered {
        /// For these.
        whom: Whom,
        /// In these words.
        reply: Reply<'i>,
    },
    /// These do not have the message. About the rest when no transaction is open, it is about
    /// the session, which ends.
    Failed {
        /// For these.
        whom: Whom,
        /// For this reason.
        failure: Failure<'i>,
    },
}

/// Recipients of the mail at hand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Whom {
    /// The one at this place of [`Mail::recipients`](super::Mail::recipients).
    One(usize),
    /// All that have no outcome yet.
    Rest,
}

/// A call that the state of the session does not allow; nothing has changed. The next step
/// says what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotNow;

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session waits for something else")
    }
}

impl std::error::Error for NotNow {}
