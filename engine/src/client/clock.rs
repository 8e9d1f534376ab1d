//! One deadline at a time (RFC 5321 section 4.5.3.2).

use crate::limits;
use crate::time::Time;

use super::{Pending, Session, State};

impl Session {
    /// When [`Session::timeout`] is to be called, unless something happens before;
    /// [`Time::NEVER`] while the session waits for its caller or for a handshake, whose clocks
    /// are the caller's, and when it is closed.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let time = match self.state {
            State::Idle | State::Handshake | State::Closed => return Time::NEVER,
            State::Banner
            | State::Hello(_)
            | State::StartTls
            | State::Auth(_)
            | State::Reset
            | State::Mail
            | State::Recipient(_) => limits::HOP_TIME,
            State::Data => limits::HOP_DATA_TIME,
            State::Content if self.takes_content() => limits::HOP_BLOCK_TIME,
            State::Content | State::End { .. } => limits::HOP_END_TIME,
            State::Quit => limits::HOP_QUIT_TIME,
        };
        self.since + time
    }

    /// Does what is due by `now`, if anything; then call [`Session::step`].
    pub fn timeout(&mut self, now: Time) {
        if now < self.deadline() {
            return;
        }
        match self.state {
            State::Quit => self.state = State::Closed,
            _ => self.pending = Some(Pending::TimedOut),
        }
    }
}
