//! One deadline at a time, and what happens at it (RFC 5321 section 4.5.3.2).
//!
//! While a question is open the peer's clock stands still and the answer's runs. The
//! clocks of mail data judge a pace: each octet alone would keep a connection for ever.

use std::time::Duration;

use crate::data::Fault;
use crate::limits;
use crate::reply;
use crate::time::Time;

use super::{Question, Session, State};

impl Session {
    /// When [`Session::timeout`] is to be called, unless something happens before;
    /// [`Time::NEVER`] while the answer to `EndOfData` is awaited, and when the session is
    /// closed.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match (self.question, &self.state) {
            (_, State::Closed) | (Some(Question::EndOfData), _) => Time::NEVER,
            (Some(_), _) => self.since + limits::ANSWER_TIME,
            (None, State::Data) if self.content.fault() == Some(Fault::Stray) => {
                (self.fed + limits::CONDEMNED_TIME).min(self.since + self.data_time())
            }
            (None, State::Data | State::Chunk { .. } | State::Swallow { .. }) => {
                self.since + self.data_time()
            }
            (None, _) => self.since + self.pressing(limits::COMMAND_TIME),
        }
    }

    /// Does what is due by `now`, if anything; then call [`Session::step`].
    pub fn timeout(&mut self, out: &mut Vec<u8>, now: Time) {
        // A reply that was not told is not yet on its way.
        if now < self.deadline() || self.replied.is_some() {
            return;
        }
        if let Some(question) = self.question.take() {
            let reply = match question {
                Question::Connected => reply::NOT_AVAILABLE,
                Question::Auth => reply::AUTH_UNAVAILABLE,
                Question::StartTls => reply::TLS_UNAVAILABLE,
                Question::Quit => reply::BYE,
                _ => reply::TEMPORARY_FAILURE,
            };
            let close = question == Question::Connected;
            self.decide(question, reply.into(), out, now);
            if close {
                self.state = State::Closed;
            }
            return;
        }
        match self.state {
            State::Tls { .. } => self.state = State::Closed,
            State::Data | State::Chunk { .. } | State::Swallow { .. } => {
                let condemned = matches!(self.state, State::Data)
                    && self.content.fault() == Some(Fault::Stray)
                    && now >= self.fed + limits::CONDEMNED_TIME;
                if condemned {
                    self.close(&reply::BAD_DATA, out, now);
                } else {
                    self.judge_pace(0, out, now);
                }
            }
            _ => self.close(&reply::TIMED_OUT, out, now),
        }
    }

    /// Whether connection slots are getting short: time-outs fall to
    /// [`limits::PRESSED_TIME`].
    pub fn set_pressed(&mut self, pressed: bool) {
        self.pressed = pressed;
    }

    /// The caller held the session back by itself (its disk was behind): the peer's clock
    /// begins anew.
    pub fn resumed(&mut self, now: Time) {
        if self.question.is_none() {
            self.feed(now);
        }
    }

    /// Mail data begins, or may go on: its clocks start.
    pub(super) fn feed(&mut self, now: Time) {
        (self.since, self.fed, self.paced) = (now, now, 0);
    }

    /// At the end of the span: closes if the mail data in it, with the octets `shown` and
    /// not yet counted, was too little; begins another one if not.
    pub(super) fn judge_pace(&mut self, shown: usize, out: &mut Vec<u8>, now: Time) {
        let elapsed = now.saturating_since(self.since);
        if elapsed < self.data_time() {
            return;
        }
        let octets = self.paced.saturating_add(shown as u64);
        if octets < elapsed.as_secs().saturating_mul(limits::DATA_PACE) {
            self.close(&reply::TOO_SLOW, out, now);
        } else {
            (self.since, self.paced) = (now, 0);
        }
    }

    fn data_time(&self) -> Duration {
        self.pressing(limits::DATA_TIME)
    }

    fn pressing(&self, time: Duration) -> Duration {
        if self.pressed { time.min(limits::PRESSED_TIME) } else { time }
    }
}
