//! Mail data and chunks, up to the question at their end (RFC 5321 section 4.1.1.4, RFC
//! 3030 section 2).
//!
//! A message that cannot be accepted is taken to its true end before it is refused: were
//! the reply given earlier, the rest of the message would be read as commands.

use crate::data::{Fault, Piece};
use crate::reply::{self, Reply};
use crate::time::Time;

use super::say::About;
use super::{Event, Greeting, Question, Session, State, Step, Wait};

impl Session {
    /// Data that ends with CR LF . CR LF.
    pub(super) fn data<'i>(
        &mut self,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.judge_pace(input.len(), out, now);
        if matches!(self.state, State::Closed) {
            return None;
        }
        let before = input.len();
        let piece = self.content.dotted(input);
        self.count(before - input.len(), now);
        match piece {
            Piece::Run(run) => Some(Step::Event(Event::Body(run))),
            Piece::Stray { octet, offset } => {
                Some(Step::Event(Event::StrayOctet { octet, offset }))
            }
            Piece::More => Some(Step::Wait(Wait::Input)),
            Piece::End => {
                self.about = About::Fixed(b".");
                self.end_of_data(input, out, now)
            }
        }
    }

    /// A chunk whose message is being accepted.
    pub(super) fn chunk<'i>(
        &mut self,
        mut left: u64,
        last: bool,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.judge_pace(input.len(), out, now);
        if matches!(self.state, State::Closed) {
            return None;
        }
        let before = input.len();
        let mut piece = self.content.chunk(input, &mut left);
        self.state = State::Chunk { left, last };
        self.count(before - input.len(), now);
        if piece == Piece::End && last {
            piece = self.content.finish();
        }
        match piece {
            Piece::Run(run) => Some(Step::Event(Event::Body(run))),
            Piece::Stray { octet, offset } => {
                Some(Step::Event(Event::StrayOctet { octet, offset }))
            }
            Piece::More => Some(Step::Wait(Wait::Input)),
            Piece::End => {
                self.about = About::Fixed(b"BDAT");
                if last {
                    return self.end_of_data(input, out, now);
                }
                match self.refusal() {
                    // The client must not send more of it (RFC 3030 section 2), so there
                    // is no reason to wait for the last chunk.
                    Some(reply) => self.refuse_content(&reply, out, now),
                    None => {
                        self.state = State::Chunks;
                        self.say(&reply::OK, out, now);
                    }
                }
                None
            }
        }
    }

    /// A chunk that is refused: its octets go by before the reply.
    pub(super) fn swallow<'i>(
        &mut self,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.judge_pace(input.len(), out, now);
        let State::Swallow { left, reply } = &mut self.state else {
            return None;
        };
        let shown = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        *input = &input[shown..];
        *left -= shown as u64;
        if *left > 0 {
            self.count(shown, now);
            return Some(Step::Wait(Wait::Input));
        }
        let reply = reply.clone();
        self.about = About::Fixed(b"BDAT");
        self.say(&reply, out, now);
        self.state = self.idle();
        None
    }

    /// The content is all there: refuses it, or asks whether it is safe.
    fn end_of_data<'i>(&mut self, behind: &[u8], out: &mut Vec<u8>, now: Time) -> Option<Step<'i>> {
        // Who said HELO was not offered PIPELINING. The message is refused with what
        // follows it; were it accepted, the client would not hear of it.
        self.alone = self.greeting == Greeting::Helo;
        if self.alone && !behind.is_empty() {
            self.drop_transaction();
            self.close(&reply::NOT_SYNCHRONISED, out, now);
            return None;
        }
        if let Some(reply) = self.refusal() {
            self.refuse_content(&reply, out, now);
            return None;
        }
        let octets = self.content.octets();
        let ticket = self.ask(Question::EndOfData, now);
        Some(Step::Event(Event::EndOfData { ticket, octets }))
    }

    /// Why the content cannot be accepted, if so.
    fn refusal(&self) -> Option<Reply<'static>> {
        self.content.fault().map(|fault| match fault {
            Fault::Stray => reply::BAD_DATA,
            Fault::Line => reply::BAD_LINE,
            Fault::Size => reply::TOO_BIG,
        })
    }

    fn refuse_content(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>, now: Time) {
        self.drop_transaction();
        self.say(reply, out, now);
    }

    fn count(&mut self, octets: usize, now: Time) {
        if octets > 0 {
            self.paced = self.paced.saturating_add(octets as u64);
            self.fed = now;
        }
    }
}
