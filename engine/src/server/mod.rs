//! The receiving side of a session (RFC 5321).
//!
//! A [`Session`] is shown octets and the time, and returns what must happen. The loop:
//!
//! ```text
//! loop {
//!     match session.step(&mut input, &mut out, now) {
//!         Step::Event(event) => ...  // perhaps session.answer(ticket, reply, &mut out, now)
//!         Step::Wait(wait) => ...    // read, write, or wait for the answer
//!         Step::Close => ...         // write, then close
//!     }
//! }
//! ```
//!
//! * `input` is what was received and not yet taken, always from the same octet on; a step
//!   takes octets off its front. A command whose question is open stays in it until the
//!   step after the answer, so that its line can be told with its reply.
//! * Nothing may be taken off `out` between an answer and the step after it.
//! * A peer's mistake has a reply; there are no errors.

mod event;
mod params;

use std::sync::Arc;

pub use crate::extension::{Body, MailParams, RcptParams};
pub use event::{Answer, AnswerError, Asked, Event, Peer, Step, Ticket, TlsInfo, Wait};
pub use params::{Ask, Demand, Params, Report, StrayNewline};

pub use crate::address::HeloName;
pub use crate::auth::Credentials;

use crate::time::Time;

/// A session with a peer that sends us mail.
#[derive(Debug)]
pub struct Session {
    params: Arc<Params>,
    id: u64,
    peer: Peer,
    tls: Option<Box<TlsInfo>>,
    since: Time,
}

impl Session {
    /// A session that has just begun. `tls` is there if TLS was set up before the first
    /// octet (`smtps`). `id` names the session in its tickets.
    #[must_use]
    pub fn new(params: Arc<Params>, id: u64, peer: Peer, tls: Option<TlsInfo>, now: Time) -> Self {
        Self { params, id, peer, tls: tls.map(Box::new), since: now }
    }

    /// Goes on until something must happen outside. Call again and again until it waits or
    /// closes; what is left of `input` stays with you, and is shown again.
    pub fn step<'i>(&mut self, input: &mut &'i [u8], out: &mut Vec<u8>, now: Time) -> Step<'i> {
        let _ = (input, out, now, &self.params);
        Step::Wait(Wait::Input)
    }

    /// Answers the open question.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Stale`] when `ticket` is not that of the open question, and
    /// [`AnswerError::Class`] when the reply does not fit it. Nothing has changed then.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Result<(), AnswerError> {
        let _ = (ticket, answer, out, now);
        Err(AnswerError::Stale)
    }

    /// The handshake after [`Event::StartTls`] is over; everything learned in the clear is
    /// forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self, tls: TlsInfo, now: Time) {
        self.tls = Some(Box::new(tls));
        self.since = now;
    }

    /// When [`Session::timeout`] is to be called, unless something happens before;
    /// [`Time::NEVER`] while the answer to `EndOfData` is awaited.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.since
    }

    /// Does what is due by `now`, if anything; then call [`Session::step`].
    pub fn timeout(&mut self, out: &mut Vec<u8>, now: Time) {
        let _ = (out, now);
    }

    /// Whether connection slots are getting short: time-outs fall to
    /// [`limits::PRESSED_TIME`](crate::limits::PRESSED_TIME).
    pub fn set_pressed(&mut self, pressed: bool) {
        let _ = pressed;
    }

    /// The caller held the session back by itself (its disk was behind): the peer's clock
    /// begins anew.
    pub fn resumed(&mut self, now: Time) {
        self.since = now;
    }

    /// Says 421 as soon as no reply is owed, then closes. Data that is still arriving is
    /// cut off, the answer to its end is waited for.
    pub fn shut_down(&mut self, out: &mut Vec<u8>, now: Time) {
        let _ = (out, now);
    }

    /// The id given to [`Session::new`].
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What is known of TLS, once it is set up.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    /// Whether the last greeting was EHLO.
    #[must_use]
    pub fn esmtp(&self) -> bool {
        false
    }

    /// Whether AUTH succeeded, or the peer is local.
    #[must_use]
    pub fn authenticated(&self) -> bool {
        self.peer == Peer::Local
    }

    /// Whether the peer sent octets before it had our banner.
    #[must_use]
    pub fn early_talker(&self) -> bool {
        false
    }
}
