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
//! * After `answer`, `timeout` and `shut_down` comes a step, before anything is taken off
//!   `out`.
//! * A peer's mistake has a reply; there are no errors.
//!
//! | file | holds |
//! |---|---|
//! | `event`, `params` | what goes out and in |
//! | `protocol` | command lines: the one match of state and command |
//! | `mail` | MAIL, RCPT and BDAT: their arguments, in the order of the checks |
//! | `auth` | the exchange of AUTH |
//! | `content` | mail data and chunks, up to the question at their end |
//! | `answer` | what an answer does |
//! | `say` | replies: how they are written, counted and told |
//! | `clock` | deadlines and what happens at them |

mod answer;
mod auth;
mod clock;
mod content;
mod event;
mod mail;
mod params;
mod protocol;
mod say;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use crate::address::HeloName;
pub use crate::auth::Credentials;
pub use crate::extension::{Body, MailParams, RcptParams};
pub use crate::tls::TlsInfo;
pub use event::{Answer, AnswerError, Asked, Event, Peer, Step, Ticket, Wait};
pub use params::{Ask, Demand, Params, Report, StrayNewline};

use crate::data::Content;
use crate::limits;
use crate::reply::{self, Reply};
use crate::time::Time;
use auth::Exchange;
use say::{About, Replied};

/// A session with a peer that sends us mail.
#[derive(Debug)]
pub struct Session {
    params: Arc<Params>,
    id: u64,
    tls: Option<Box<TlsInfo>>,
    peer: Peer,
    state: State,
    greeting: Greeting,

    /// What is asked, and the number of the last question.
    question: Option<Question>,
    serial: u32,
    /// The reply that has not been told, and what it answers.
    replied: Option<Replied>,
    about: About,
    /// Octets at the front of the input that are the command being answered.
    held: u32,
    /// Octets at the front of the input known to hold no line end.
    scanned: u32,

    content: Content,
    /// Octets that the chunks of this message have, by their own saying.
    declared: u64,
    /// Accepted in this transaction.
    recipients: u32,
    /// Accepted in this session.
    mails: u32,
    /// Without progress since.
    failures: u32,

    /// When the running clock began: the peer's, or that of an open question.
    since: Time,
    /// The last octet of mail data.
    fed: Time,
    /// Octets of mail data since `since`.
    paced: u64,

    /// Octets behind the last command are a mistake (RFC 2920 section 3.1).
    alone: bool,
    /// The owner is to be told that the transaction is over.
    reset: bool,
    /// The transaction used SMTPUTF8.
    smtputf8: bool,
    authenticated: bool,
    /// An AUTH was refused, and no command was known since: what comes may be its responses.
    auth_refused: bool,
    early_talker: bool,
    pressed: bool,
    stopping: bool,
}

// Ten thousand idle sessions are a few megabytes.
const _: () = assert!(size_of::<Session>() <= 400);

/// What the next octets are, and what was agreed before them.
#[derive(Debug)]
enum State {
    /// Nobody has been asked whether the peer is welcome.
    New,
    /// It is not: there was no banner, and there is nothing but QUIT.
    Refused,
    /// No HELO or EHLO yet.
    Connected,
    /// Greeted, and no transaction open.
    Ready,
    /// A response of AUTH is next.
    Auth(Exchange),
    /// MAIL was accepted.
    Mail,
    /// Mail data.
    Data,
    /// At least one chunk was accepted, and the last is still to come.
    Chunks,
    /// A chunk: what is left of it, and whether it is the last.
    Chunk {
        left: u64,
        last: bool,
    },
    /// A refused chunk, and the reply that follows it (RFC 3030 section 2: not before).
    Swallow {
        left: u64,
        reply: Reply<'static>,
    },
    /// TLS takes the next octets; whether the owner knows.
    Tls {
        told: bool,
    },
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Greeting {
    /// The peer is not welcome.
    Refused,
    None,
    Helo,
    Ehlo,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    Connected,
    Hello { esmtp: bool },
    Auth,
    Mail { smtputf8: bool },
    Rcpt,
    Data,
    FirstChunk { left: u64, last: bool },
    EndOfData,
    StartTls,
    Rset,
    Noop,
    Quit,
}

impl Session {
    /// A session that has just begun. `id` names it in its tickets.
    #[must_use]
    pub fn new(params: Arc<Params>, id: u64, peer: Peer, now: Time) -> Self {
        Self {
            content: Content::new(0, false),
            params,
            id,
            tls: None,
            peer,
            state: State::New,
            greeting: Greeting::None,
            question: None,
            serial: 0,
            replied: None,
            about: About::Nothing,
            held: 0,
            scanned: 0,
            declared: 0,
            recipients: 0,
            mails: 0,
            failures: 0,
            since: now,
            fed: now,
            paced: 0,
            alone: false,
            reset: false,
            smtputf8: false,
            authenticated: peer == Peer::Local,
            auth_refused: false,
            early_talker: false,
            pressed: false,
            stopping: false,
        }
    }

    /// Goes on until something must happen outside. Call again and again until it waits or
    /// closes; what is left of `input` stays with you, and is shown again.
    pub fn step<'i>(&mut self, input: &mut &'i [u8], out: &mut Vec<u8>, now: Time) -> Step<'i> {
        if matches!(self.state, State::New) && !input.is_empty() {
            self.early_talker = true;
        }
        loop {
            if let Some(event) = self.tell(input, out, now) {
                return Step::Event(event);
            }
            if matches!(self.state, State::Closed) {
                return Step::Close;
            }
            if self.question.is_some() {
                return Step::Wait(Wait::Answer);
            }
            if self.stopping {
                self.stop(out, now);
                continue;
            }
            if out.len() >= limits::OUTPUT {
                return Step::Wait(Wait::Output);
            }
            let step = match self.state {
                State::New => {
                    let ticket = self.ask(Question::Connected, now);
                    Some(Step::Event(Event::Connected { ticket }))
                }
                State::Tls { told: true } => Some(Step::Wait(Wait::Answer)),
                State::Tls { told: false } => {
                    // RFC 3207 section 4.2: nothing that was sent in the clear behind
                    // STARTTLS may be taken for something sent under TLS.
                    *input = &[];
                    self.state = State::Tls { told: true };
                    Some(Step::Event(Event::StartTls))
                }
                State::Data => self.data(input, out, now),
                State::Chunk { left, last } => self.chunk(left, last, input, out, now),
                State::Swallow { .. } => self.swallow(input, out, now),
                _ => self.line(input, out, now),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// The handshake is over: that after [`Event::StartTls`], when everything learned in the
    /// clear is forgotten (RFC 3207 section 4.2), or one before the first step (`smtps`,
    /// RFC 8314 section 3.3). At any other time, or when the session was shut down meanwhile,
    /// nothing happens.
    pub fn tls_started(&mut self, tls: TlsInfo, now: Time) {
        match self.state {
            State::New if self.serial == 0 => {}
            State::Tls { told: true } => self.state = State::Connected,
            _ => return,
        }
        self.tls = Some(Box::new(tls));
        self.greeting = Greeting::None;
        self.authenticated = self.peer == Peer::Local;
        self.progress();
        self.since = now;
    }

    /// Says 421 as soon as no reply is owed, then closes. Data that is still arriving is
    /// cut off, the answer to its end is waited for.
    pub fn shut_down(&mut self, out: &mut Vec<u8>, now: Time) {
        self.stopping = true;
        if self.question.is_none() && self.replied.is_none() {
            self.stop(out, now);
        }
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
        self.greeting == Greeting::Ehlo
    }

    /// Whether AUTH succeeded, or the peer is local.
    #[must_use]
    pub fn authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the peer sent octets before it had our banner. Only octets that were shown
    /// before the answer to `Connected` can be known of.
    #[must_use]
    pub fn early_talker(&self) -> bool {
        self.early_talker
    }

    fn stop(&mut self, out: &mut Vec<u8>, now: Time) {
        match self.state {
            State::Closed => {}
            // A handshake has no room for a reply.
            State::Tls { .. } => self.state = State::Closed,
            _ => self.close(&reply::SHUTTING_DOWN, out, now),
        }
    }

    /// Opens a question.
    fn ask(&mut self, question: Question, now: Time) -> Ticket {
        self.question = Some(question);
        self.serial = self.serial.wrapping_add(1);
        self.since = now;
        Ticket { session: self.id, serial: self.serial }
    }

    /// The peer achieved something; what it got wrong before is forgiven.
    fn progress(&mut self) {
        self.failures = 0;
    }

    /// Ends the transaction, if there is one, and has the owner told.
    fn drop_transaction(&mut self) {
        self.reset |= self.in_transaction();
        self.end_transaction();
    }

    /// Back to where a transaction can begin.
    fn end_transaction(&mut self) {
        self.recipients = 0;
        self.smtputf8 = false;
        self.state = self.idle();
    }

    fn in_transaction(&self) -> bool {
        match self.state {
            State::Mail | State::Data | State::Chunks | State::Chunk { .. } => true,
            State::New
            | State::Refused
            | State::Connected
            | State::Ready
            | State::Auth(_)
            | State::Swallow { .. }
            | State::Tls { .. }
            | State::Closed => false,
        }
    }

    /// The state between transactions.
    fn idle(&self) -> State {
        match self.greeting {
            Greeting::Refused => State::Refused,
            Greeting::None => State::Connected,
            Greeting::Helo | Greeting::Ehlo => State::Ready,
        }
    }
}
