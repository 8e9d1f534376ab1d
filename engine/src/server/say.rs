//! Replies on their way out: how they are written, counted, and told to the owner.

use std::ops::Range;

use crate::limits;
use crate::reply::{self, Reply};
use crate::time::Time;

use super::{Event, Report, Session, State};

/// What a reply answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About {
    /// The line at the front of the input.
    Line,
    /// What is no longer in the input, or not to be shown.
    Fixed(&'static [u8]),
    /// No command.
    Nothing,
}

/// A reply that was written and not told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replied {
    code: u16,
    /// In `out`.
    start: u32,
    end: u32,
}

impl Session {
    /// Writes a reply to the command at hand.
    pub(super) fn say(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>, now: Time) {
        self.say_with(reply, "", out, now);
    }

    /// The same with `detail` behind its text.
    pub(super) fn say_with(
        &mut self,
        reply: &Reply<'_>,
        detail: &str,
        out: &mut Vec<u8>,
        now: Time,
    ) {
        let start = out.len();
        reply.write_with(detail.as_bytes(), out);
        self.said(reply, start..out.len(), now);
    }

    /// Replies and ends the session. It answers no command unless it is said to.
    pub(super) fn close(&mut self, reply: &Reply<'_>, out: &mut Vec<u8>, now: Time) {
        self.about = About::Nothing;
        self.say(reply, out, now);
        self.state = State::Closed;
    }

    /// A reply was `written` to these octets of `out`: the peer's clock begins, a failure
    /// counts.
    pub(super) fn said(&mut self, reply: &Reply<'_>, written: Range<usize>, now: Time) {
        let octets = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.replied = Some(Replied {
            code: reply.code(),
            start: octets(written.start),
            end: octets(written.end),
        });
        self.since = now;
        // Who is over the number of recipients is to go on with those accepted, and was
        // not wrong (RFC 5321 section 4.5.3.1.10).
        let too_many =
            reply.code() == 452 && reply.enhanced() == reply::TOO_MANY_RECIPIENTS.enhanced();
        // Its refused recipients have been counted; DATA was on its way with them (RFC 2920
        // section 3.1).
        let none = *reply == reply::NO_RECIPIENT;
        let innocent = matches!(self.state, State::Mail) && (too_many || none);
        if reply.refuses() && !innocent {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// What the owner must hear before the session goes on. When there is nothing (more),
    /// the answered command is off the input and what follows from its reply is done.
    pub(super) fn tell<'i>(
        &mut self,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Event<'i>> {
        if std::mem::take(&mut self.reset) {
            return Some(Event::Reset);
        }
        while let Some(replied) = self.replied.take() {
            let shown: &'i [u8] = input;
            let (line, rest) = shown.split_at(shown.len().min(self.held as usize));
            *input = rest;
            self.held = 0;
            let command = match std::mem::replace(&mut self.about, About::Nothing) {
                About::Line => Some(without_end(line)),
                About::Fixed(command) => Some(command),
                About::Nothing => None,
            };
            self.follow(rest, out, now);
            let wanted = match self.params.report {
                Report::Nothing => false,
                Report::Failures => replied.code >= 400,
                Report::All => true,
            };
            if wanted {
                let Replied { code, start, end } = replied;
                return Some(Event::Replied { command, code, reply: start as usize..end as usize });
            }
        }
        None
    }

    /// After a reply the session may have to end: `behind` is what waits behind the
    /// command.
    fn follow(&mut self, behind: &[u8], out: &mut Vec<u8>, now: Time) {
        let alone = std::mem::take(&mut self.alone);
        if matches!(self.state, State::Closed) {
        } else if alone && !behind.is_empty() {
            self.close(&reply::NOT_SYNCHRONISED, out, now);
        } else if self.failures >= limits::FAILURES {
            self.close(&reply::TOO_MANY_FAILURES, out, now);
        }
    }
}

/// A line without CR LF or LF.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
