//! What an answer does.
//!
//! The class of the reply decides: 2yz accepts (3yz for the data), 4yz and 5yz refuse. One
//! of code 421 also hangs up.

use crate::data::Content;
use crate::reply::{self, Reply};
use crate::time::Time;

use super::auth::Exchange;
use super::say::About;
use super::{
    Answer, AnswerError, Demand, Greeting, Peer, Question, Session, State, StrayNewline, Ticket,
};

impl Session {
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
        let open = self.question.filter(|_| self.awaits(ticket));
        let question = open.ok_or(AnswerError::Stale)?;
        let fits = match (question, answer.reply.class()) {
            (_, 4 | 5) | (Question::Auth, 2 | 3) => true,
            (Question::Data | Question::FirstChunk { .. }, class) => class == 3,
            (_, class) => class == 2,
        };
        if !fits {
            return Err(AnswerError::Class);
        }
        self.question = None;
        self.decide(question, answer, out, now);
        Ok(())
    }

    /// Whether the question of that ticket is open: it has no answer yet, and its time is not
    /// over.
    #[must_use]
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.question.is_some()
            && ticket.session == self.id
            && ticket.serial == self.serial
            && !matches!(self.state, State::Closed)
    }

    /// Carries out the answer to a question that is no longer open.
    pub(super) fn decide(
        &mut self,
        question: Question,
        answer: Answer,
        out: &mut Vec<u8>,
        now: Time,
    ) {
        let Answer { reply, close } = answer;
        let close = close || reply.code() == 421;
        match (question, reply.class()) {
            (Question::Connected, class) => {
                self.greeting = if class == 2 { Greeting::None } else { Greeting::Refused };
                self.state = self.idle();
                self.say(&reply, out, now);
            }
            (Question::Hello { esmtp }, 2) => self.greet(esmtp, &reply, out, now),
            (Question::Auth, 2) => {
                self.authenticated = true;
                self.progress();
                self.say(&reply, out, now);
            }
            (Question::Auth, 3) => {
                self.state = State::Auth(Exchange::Challenge);
                self.say(&reply, out, now);
            }
            (Question::Auth, _) => {
                self.auth_refused = true;
                self.say(&reply, out, now);
            }
            (Question::Mail { smtputf8 }, 2) => {
                self.state = State::Mail;
                self.smtputf8 = smtputf8;
                self.say(&reply, out, now);
            }
            (Question::Rcpt, 2) => {
                self.recipients += 1;
                self.progress();
                self.say(&reply, out, now);
            }
            (Question::Data, 3) => {
                self.alone = false;
                self.state = State::Data;
                self.say(&reply, out, now);
                self.begin_content(now);
            }
            (Question::Data, _) => {
                self.drop_transaction();
                self.say(&reply, out, now);
            }
            (Question::FirstChunk { left, last }, 3) => {
                self.state = State::Chunk { left, last };
                self.begin_content(now);
            }
            (Question::FirstChunk { left, .. }, _) => {
                self.refuse_chunk(left, reply.clone(), now);
                if close {
                    self.say(&reply, out, now);
                }
            }
            (Question::EndOfData, class) => {
                if class == 2 {
                    self.mails += 1;
                    self.progress();
                }
                self.end_transaction();
                self.say(&reply, out, now);
            }
            (Question::StartTls, 2) => self.start_tls(out, now),
            (Question::Rset, 2) => self.rset(out, now),
            (Question::Noop, 2) => self.say(&reply::OK, out, now),
            (Question::Quit, class) => {
                let last = if class == 2 { reply::BYE } else { reply };
                self.say(&last, out, now);
                self.state = State::Closed;
            }
            (
                Question::Hello { .. }
                | Question::Mail { .. }
                | Question::Rcpt
                | Question::StartTls
                | Question::Rset
                | Question::Noop,
                _,
            ) => self.say(&reply, out, now),
        }
        if close {
            self.state = State::Closed;
        }
    }

    /// The peer is greeted; `reply` is the first line.
    fn greet(&mut self, esmtp: bool, reply: &Reply<'_>, out: &mut Vec<u8>, now: Time) {
        if self.greeting == Greeting::None {
            self.progress();
        }
        self.greeting = if esmtp { Greeting::Ehlo } else { Greeting::Helo };
        self.state = State::Ready;
        let start = out.len();
        if esmtp {
            reply.write_head(b'-', out);
            out.extend_from_slice(b"\r\n");
            self.write_extensions(out);
        } else {
            reply.write(out);
        }
        self.said(reply, start..out.len(), now);
    }

    /// The extensions offered now, the last line being HELP. Upstream has neither
    /// PIPELINING nor CHUNKING nor SMTPUTF8; an edge relay's peers wait a round trip for
    /// each reply without the first.
    fn write_extensions(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-SIZE ",
        );
        write_decimal(self.params.max_size, out);
        out.extend_from_slice(b"\r\n");
        if self.params.dsn {
            out.extend_from_slice(b"250-DSN\r\n");
        }
        out.extend_from_slice(b"250-CHUNKING\r\n250-SMTPUTF8\r\n");
        if self.offers_tls() && self.tls.is_none() {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        if self.offers_auth() && !self.authenticated {
            out.extend_from_slice(b"250-AUTH PLAIN LOGIN");
            for (plus, name) in [(false, " SCRAM-SHA-256"), (true, " SCRAM-SHA-256-PLUS")] {
                if self.offers_scram(plus) {
                    out.extend_from_slice(name.as_bytes());
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"250 HELP\r\n");
    }

    /// STARTTLS is for hosts; what goes through the local socket does not leave the machine.
    pub(super) fn offers_tls(&self) -> bool {
        self.params.starttls != Demand::Never && self.peer != Peer::Local
    }

    /// AUTH is offered under TLS only: PLAIN and LOGIN show the password to who listens.
    pub(super) fn offers_auth(&self) -> bool {
        self.params.auth != Demand::Never && self.tls.is_some()
    }

    /// SCRAM is for credentials that allow it; with a channel binding where there is one.
    pub(super) fn offers_scram(&self, plus: bool) -> bool {
        let is_bound = self.tls.as_ref().is_some_and(|tls| tls.binding.is_some());
        self.params.scram && (!plus || is_bound)
    }

    /// TLS begins behind the reply.
    pub(super) fn start_tls(&mut self, out: &mut Vec<u8>, now: Time) {
        self.say(&reply::START_TLS, out, now);
        self.state = State::Tls { told: false };
    }

    /// RSET is done.
    pub(super) fn rset(&mut self, out: &mut Vec<u8>, now: Time) {
        self.drop_transaction();
        self.say(&reply::RESET, out, now);
    }

    /// Ends the transaction, and has `left` octets of a chunk go by before `reply`.
    pub(super) fn refuse_chunk(&mut self, left: u64, reply: Reply<'static>, now: Time) {
        self.drop_transaction();
        self.about = About::Fixed(b"BDAT");
        self.state = State::Swallow { left, reply };
        self.feed(now);
    }

    fn begin_content(&mut self, now: Time) {
        let normalize = self.params.stray_newline == StrayNewline::Normalize;
        self.content = Content::new(self.params.max_size, normalize);
        self.feed(now);
    }
}

fn write_decimal(mut n: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out[start..].reverse();
}
