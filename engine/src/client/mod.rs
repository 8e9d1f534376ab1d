//! The sending side of a session (RFC 5321; LMTP: RFC 2033).
//!
//! A [`Session`] is shown octets and the time, and returns what must happen. The loop:
//!
//! ```text
//! loop {
//!     match session.step(&mut input, &mut out, now) {
//!         Step::Event(event) => ...          // an outcome, or STARTTLS
//!         Step::Wait(Wait::Caller) => ...    // session.mail(..), session.quit(..), or idle
//!         Step::Wait(Wait::Content) => ...   // session.body(..), session.end_of_data(..)
//!         Step::Wait(wait) => ...            // write, then read or shake hands
//!         Step::Close => ...                 // write, then close
//!     }
//! }
//! ```
//!
//! * `input` is what was received and not yet taken, always from the same octet on. A reply
//!   stays in it until it is whole, so it must have room for [`limits::HOP_REPLY`] octets.
//!   Events lend from it.
//! * After `mail`, `body`, `end_of_data`, `tls_started`, `timeout` and `hung_up` comes a step.
//! * A session that ends said so in an event before, unless `quit` was called.
//! * Where PIPELINING is offered, MAIL, all RCPT and DATA are one flight: a message costs two
//!   round trips, whatever its recipients.
//!
//! | file | holds |
//! |---|---|
//! | `event`, `failure`, `params` | what goes out and in |
//! | `reply`, `extensions` | what a next hop says |
//! | `greeting` | from the banner to where mail may begin: EHLO, STARTTLS, AUTH |
//! | `credentials` | who we are to a next hop that asks |
//! | `transaction` | MAIL, RCPT, DATA, and what each reply means |
//! | `content` | dots and chunks |
//! | `clock` | deadlines and what happens at them |

mod clock;
mod content;
mod credentials;
mod event;
mod extensions;
mod failure;
mod greeting;
mod params;
mod reply;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

pub use crate::tls::TlsInfo;
pub use credentials::{BadCredentials, Credentials};
pub use event::{Event, NotNow, Step, Wait, Whom};
pub use extensions::{Extensions, Mechanisms};
pub use failure::{Failure, Lack, Phase};
pub use params::{Mail, Name, Params, Recipient, Tls};
pub use reply::{Garble, Reply};

#[cfg(doc)]
use crate::limits;
use crate::time::Time;
use content::Dots;
use credentials::Exchange;
use reply::Reader;
use transaction::Transaction;

/// A session with a next hop.
#[derive(Debug)]
pub struct Session {
    params: Arc<Params>,
    tls: Option<Box<TlsInfo>>,
    state: State,
    extensions: Extensions,
    reader: Reader,
    /// What was found outside of a reply, and is to be told.
    pending: Option<Pending>,
    transaction: Transaction,
    dots: Dots,
    /// The next hop may hold a transaction that is none any more: RSET goes before MAIL.
    spoiled: bool,
    /// Recipients refused in a row.
    refusals: u32,
    /// When the running clock began.
    since: Time,
}

// Ten thousand kept connections are a few megabytes.
const _: () = assert!(size_of::<Session>() <= 400);

/// What the next reply answers, or what else comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Banner,
    Hello(Hello),
    StartTls,
    Handshake,
    Auth(Exchange),
    Idle,
    Reset,
    Mail,
    /// The RCPT of this recipient.
    Recipient(u32),
    Data,
    /// Content is on its way.
    Content,
    /// All content was written; `told` of the accepted recipients have their reply (LMTP).
    End {
        told: u32,
    },
    Quit,
    Closed,
}

/// The command that names us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hello {
    Lhlo,
    Ehlo,
    Helo,
}

/// A failure that is no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pending {
    Lacks(Lack),
    TooManyRefusals,
    TimedOut,
    HungUp,
}

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// With QUIT, which the next hop can tell from what was sent before.
    Quit,
    /// At once.
    Close,
}

impl Session {
    /// A session that has just begun. `tls` is there if TLS was set up before the first
    /// octet (`smtps`).
    #[must_use]
    pub fn new(params: Arc<Params>, tls: Option<TlsInfo>, now: Time) -> Self {
        Self {
            params,
            tls: tls.map(Box::new),
            state: State::Banner,
            extensions: Extensions::default(),
            reader: Reader::default(),
            pending: None,
            transaction: Transaction::default(),
            dots: Dots::default(),
            spoiled: false,
            refusals: 0,
            since: now,
        }
    }

    /// Goes on until something must happen outside. Call again and again until it waits or
    /// closes; what is left of `input` stays with you, and is shown again.
    pub fn step<'i>(&mut self, input: &mut &'i [u8], out: &mut Vec<u8>, now: Time) -> Step<'i> {
        loop {
            if let Some(pending) = self.pending.take() {
                return self.tell(pending, out, now);
            }
            match self.state {
                State::Closed => return Step::Close,
                State::Handshake => return Step::Wait(Wait::Tls),
                _ => {}
            }
            let step = match self.reader.read(input) {
                Ok(None) => return Step::Wait(self.wait()),
                Ok(Some(reply)) => self.take(reply, input, out, now),
                Err(_) if self.state == State::Quit => {
                    self.state = State::Closed;
                    None
                }
                Err(why) => Some(self.garbled(why)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// The handshake after [`Event::StartTls`] is over; everything learned in the clear is
    /// forgotten, and the next hop greeted again (RFC 3207 section 4.2). Without that event
    /// nothing happens.
    pub fn tls_started(&mut self, tls: TlsInfo, out: &mut Vec<u8>, now: Time) {
        if self.state != State::Handshake {
            return;
        }
        self.tls = Some(Box::new(tls));
        self.extensions = Extensions::default();
        self.hello(out, now);
    }

    /// Ends the session; its reply is awaited for [`limits::HOP_QUIT_TIME`].
    ///
    /// # Errors
    ///
    /// [`NotNow`] unless the session waits for its caller.
    pub fn quit(&mut self, out: &mut Vec<u8>, now: Time) -> Result<(), NotNow> {
        if self.state != State::Idle || self.pending.is_some() {
            return Err(NotNow);
        }
        self.end(Ending::Quit, out, now);
        Ok(())
    }

    /// The next hop closed the connection, or it broke. Show what was received first.
    pub fn hung_up(&mut self) {
        match self.state {
            State::Closed | State::Quit => self.state = State::Closed,
            _ => self.pending = Some(Pending::HungUp),
        }
    }

    /// What the next hop offers, from where mail may begin.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is known of TLS, once it is set up.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    /// What the session waits for when there is no reply.
    fn wait(&self) -> Wait {
        match self.state {
            State::Idle => Wait::Caller,
            State::Content if self.takes_content() => Wait::Content,
            State::Handshake => Wait::Tls,
            _ => Wait::Input,
        }
    }

    /// The one match of state and reply. None when nothing needs to be told.
    fn take<'i>(
        &mut self,
        reply: Reply<'i>,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.since = now;
        let lmtp = self.params.lmtp;
        let chunks = self.transaction.chunks > 0;
        match (self.state, reply.class()) {
            (State::Quit, _) => {
                self.state = State::Closed;
                None
            }
            // Whatever it answers, the next hop leaves (section 3.8).
            (_, 4) if reply.code() == 421 => Some(self.refused(reply, Ending::Close, out, now)),

            (State::Banner, 2) => {
                self.hello(out, now);
                None
            }
            (State::Hello(hello), 2) => {
                if hello != Hello::Helo {
                    self.extensions = Extensions::parse(&reply);
                }
                self.greeted(out, now)
            }
            (State::Hello(Hello::Ehlo), 4 | 5) if self.may_say_helo() => {
                self.say_hello(Hello::Helo, out, now);
                None
            }
            (State::StartTls, 2) => {
                // RFC 3207 section 4.2: what came in the clear must not be taken for
                // something that came under TLS.
                *input = &[];
                self.state = State::Handshake;
                Some(Step::Event(Event::StartTls))
            }
            (State::StartTls, 4 | 5) if self.params.tls != Tls::Required => {
                self.authenticate(out, now)
            }
            (State::Auth(_), 2) => {
                self.idle();
                None
            }
            (State::Auth(exchange), 3) => self.respond(exchange, out, now),
            (State::Banner | State::Hello(_) | State::StartTls | State::Auth(_), 4 | 5) => {
                Some(self.refused(reply, Ending::Quit, out, now))
            }

            // Unasked. Behind it the next hop may say anything.
            (State::Idle, 4 | 5) => Some(self.refused(reply, Ending::Close, out, now)),

            (State::Reset, 2) => {
                self.spoiled = false;
                self.go_on(State::Mail, out, now);
                None
            }
            // MAIL is on its way, so QUIT cannot be told from what follows it.
            (State::Reset, 4 | 5) => Some(self.refused(reply, Ending::Close, out, now)),
            (State::Mail, 2) => {
                self.spoiled = true;
                self.go_on(State::Recipient(0), out, now);
                None
            }
            (State::Mail, 4 | 5) => Some(self.mail_refused(reply)),
            (State::Recipient(nth), 2) => {
                self.accepted(nth, out, now);
                None
            }
            (State::Recipient(nth), 4 | 5) => self.recipient_refused(nth, reply, out, now),
            (State::Data, 3) => self.data_accepted(out, now),
            (State::Data, 4 | 5) => self.data_refused(reply),

            (State::Content | State::End { .. }, 2) if chunks => {
                self.chunk_accepted(out, now);
                None
            }
            (State::End { .. }, 4 | 5) if chunks => {
                Some(self.refused(reply, Ending::Close, out, now))
            }
            // Its dot was not written: the message can only be cut off.
            (State::Content, 4 | 5) => Some(self.refused(reply, Ending::Close, out, now)),
            (State::End { told }, 2 | 4 | 5) if lmtp => self.answered_for(told, reply),
            (State::End { .. }, 2 | 4 | 5) => self.answered(reply),

            (State::Idle | State::Content, _) => Some(self.garbled(Garble::Early)),
            (_, _) => Some(self.garbled(Garble::Class)),
        }
    }

    /// Tells of a failure that is no reply.
    fn tell(&mut self, pending: Pending, out: &mut Vec<u8>, now: Time) -> Step<'static> {
        let phase = self.phase();
        let failure = match pending {
            // Nothing was said yet; the session is as good as before.
            Pending::Lacks(lack) => Failure::Lacks(lack),
            Pending::TooManyRefusals => {
                self.end(Ending::Quit, out, now);
                Failure::TooManyRefusals
            }
            Pending::TimedOut => {
                self.end(Ending::Close, out, now);
                Failure::TimedOut(phase)
            }
            Pending::HungUp => {
                self.end(Ending::Close, out, now);
                Failure::HungUp(phase)
            }
        };
        Step::Event(Event::Failed { whom: Whom::Rest, failure })
    }

    /// All that is left fails with `reply`, and the session ends.
    fn refused<'i>(
        &mut self,
        reply: Reply<'i>,
        ending: Ending,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Step<'i> {
        let failure = Failure::Refused { phase: self.phase(), reply };
        self.end(ending, out, now);
        Step::Event(Event::Failed { whom: Whom::Rest, failure })
    }

    /// The same for who does not speak SMTP: there is nothing to be said to him.
    fn garbled(&mut self, why: Garble) -> Step<'static> {
        let failure = Failure::Garbled { phase: self.phase(), why };
        self.state = State::Closed;
        Step::Event(Event::Failed { whom: Whom::Rest, failure })
    }

    /// The same for who does not offer what we insist on.
    fn lacks(&mut self, lack: Lack, out: &mut Vec<u8>, now: Time) -> Step<'static> {
        self.end(Ending::Quit, out, now);
        Step::Event(Event::Failed { whom: Whom::Rest, failure: Failure::Lacks(lack) })
    }

    fn end(&mut self, ending: Ending, out: &mut Vec<u8>, now: Time) {
        match ending {
            Ending::Quit => self.say(State::Quit, b"QUIT\r\n", out, now),
            Ending::Close => self.state = State::Closed,
        }
    }

    /// Writes a command; its reply is next.
    fn say(&mut self, state: State, command: &[u8], out: &mut Vec<u8>, now: Time) {
        out.extend_from_slice(command);
        self.state = state;
        self.since = now;
    }

    /// No transaction is open; another may begin, unless too many were refused.
    fn idle(&mut self) {
        self.state = State::Idle;
        if self.is_tired() {
            self.pending = Some(Pending::TooManyRefusals);
        }
    }

    /// Too many recipients in a row were refused.
    fn is_tired(&self) -> bool {
        self.refusals > 0 && self.refusals >= self.params.max_failures
    }

    fn phase(&self) -> Phase {
        match self.state {
            State::Banner => Phase::Banner,
            State::Hello(Hello::Lhlo) => Phase::Lhlo,
            State::Hello(Hello::Ehlo) => Phase::Ehlo,
            State::Hello(Hello::Helo) => Phase::Helo,
            State::StartTls | State::Handshake => Phase::StartTls,
            State::Auth(_) => Phase::Auth,
            State::Reset => Phase::Reset,
            State::Mail => Phase::Mail,
            State::Recipient(_) => Phase::Recipient,
            State::Data => Phase::Data,
            State::Content => Phase::Body,
            State::End { .. } => Phase::EndOfData,
            State::Idle | State::Quit | State::Closed => Phase::Idle,
        }
    }
}
