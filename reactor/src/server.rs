//! A receiving session in the reactor: the engine's state machine, its owner's part, and the
//! loop that lets one talk to the other.

use crate::channel::{Channel, Received};
use crate::connection::{Cause, Next, Tools};
use crate::handler::{Closed, Flow, Handler};
use crate::limits;
use crate::token::ConnId;
use smtpd_engine::server::{Answer, AnswerError, Event, Session, Step, Ticket, Wait};
use smtpd_engine::time::Time;
use std::mem;
use std::time::Duration;

/// What stands between a session and its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pause {
    /// Octets from the peer.
    Input,
    /// The peer, which is not reading.
    Output,
    /// The answer to a question.
    Answer,
    /// Whoever takes the mail data.
    Held,
    /// The others: it has had its share of this turn.
    Turn,
    /// Nothing will come any more.
    Close,
}

pub(crate) struct Server<S> {
    session: Session,
    pub(crate) owner: S,
    id: u64,
    pub(crate) pause: Pause,
    /// While a session is held its clock stands still, or the peer would be told that it was
    /// too slow when we were. So much is its clock behind.
    lag: Duration,
    held_since: Option<Time>,
}

impl<S> Server<S> {
    pub(crate) fn new(session: Session, owner: S, id: u64) -> Server<S> {
        Server { session, owner, id, pause: Pause::Input, lag: Duration::ZERO, held_since: None }
    }

    /// The session's id, for log lines.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// When the session is to be told that its time is over.
    pub(crate) fn deadline(&self) -> Time {
        match self.held_since {
            Some(_) => Time::NEVER,
            None => self.session.deadline() + self.lag,
        }
    }

    /// Tells the session that places are short, or no longer.
    pub(crate) fn set_pressed(&mut self, pressed: bool) {
        self.session.set_pressed(pressed);
    }

    /// The session's clock.
    fn clock(&self, now: Time) -> Time {
        let now = self.held_since.unwrap_or(now);
        Time::from_micros(now.as_micros().saturating_sub(self.lag.as_micros() as u64))
    }

    /// Goes on until the session waits: at most one read, then steps, and what there is to say
    /// is sent as soon as the session waits for anything. An ordinary command so costs a wait
    /// for events, a read and a write.
    pub(crate) fn go_on<H: Handler<Session = S>>(
        &mut self,
        channel: &mut Channel,
        cause: Cause,
        tools: &mut Tools<'_, H>,
    ) -> Next {
        match self.converse(channel, cause, tools) {
            Ok(next) => next,
            Err(why) => Next::Over(why),
        }
    }

    fn converse<H: Handler<Session = S>>(
        &mut self,
        channel: &mut Channel,
        cause: Cause,
        tools: &mut Tools<'_, H>,
    ) -> Result<Next, Closed> {
        let now = tools.now;
        let mut steps = limits::STEPS;
        let mut may_read = true;
        let mut fresh = 0;
        let mut ending = Closed::Ended;
        match cause {
            Cause::Ready => {}
            Cause::Accepted => {
                // What has come by now was sent before the banner, and the session is to know.
                may_read = false;
                fresh = receive(channel, tools.scratch)?;
                self.pause = Pause::Turn;
            }
            Cause::Answer(ticket, answer) => {
                if self.answer(ticket, answer, tools.out, now) {
                    self.pause = Pause::Turn;
                }
            }
            Cause::Resume => {
                if self.pause == Pause::Held && self.may_go(tools.handler, now) {
                    self.pause = Pause::Turn;
                }
            }
            Cause::Deadline => {
                self.session.timeout(tools.out, self.clock(now));
                self.pause = Pause::Turn;
                ending = Closed::TimedOut;
            }
            Cause::ShutDown => {
                self.session.shut_down(tools.out, self.clock(now));
                self.pause = Pause::Turn;
                ending = Closed::Stopped;
            }
        }
        loop {
            if self.pause == Pause::Turn || fresh > 0 {
                self.step_on(channel, mem::take(&mut fresh), &mut steps, tools);
            }
            channel.send(tools.out, tools.registry).map_err(Closed::Broken)?;
            match self.pause {
                Pause::Close => return Err(ending),
                Pause::Turn => return Ok(Next::Again),
                // We do not read, so only the system can say that nobody is there any more. A
                // peer that has closed its own side alone still gets its reply.
                Pause::Answer | Pause::Held if channel.is_broken() => return Err(Closed::HungUp),
                Pause::Answer | Pause::Held => return Ok(Next::Wait),
                Pause::Output if channel.is_blocked() => return Ok(Next::Wait),
                Pause::Output => self.pause = Pause::Turn,
                Pause::Input if !channel.is_readable() => return Ok(Next::Wait),
                Pause::Input if !may_read => return Ok(Next::Again),
                Pause::Input => {
                    if !self.may_go(tools.handler, now) {
                        return Ok(Next::Wait);
                    }
                    may_read = false;
                    fresh = receive(channel, tools.scratch)?;
                }
            }
        }
    }

    /// Lets the session take octets: the `fresh` first ones of the scratch buffer if there are
    /// any, with those it left before in front of them, else those it left before.
    fn step_on<H: Handler<Session = S>>(
        &mut self,
        channel: &mut Channel,
        fresh: usize,
        steps: &mut u32,
        tools: &mut Tools<'_, H>,
    ) {
        let conn = channel.id();
        let (out, handler, now) = (&mut *tools.out, &mut *tools.handler, tools.now);
        if fresh > 0 {
            let mut input = &tools.scratch[..fresh];
            self.step(conn, &mut input, out, steps, handler, now);
            channel.input.replace(input);
        } else {
            let mut rest = mem::take(&mut channel.input);
            let mut input = rest.as_slice();
            self.step(conn, &mut input, out, steps, handler, now);
            rest.consume(rest.len() - input.len());
            channel.input = rest;
        }
    }

    /// Asks the owner whether to go on.
    fn may_go<H: Handler<Session = S>>(&mut self, handler: &mut H, now: Time) -> bool {
        match (handler.flow(&self.owner), self.held_since) {
            (Flow::Go, None) => true,
            (Flow::Go, Some(since)) => {
                self.lag += now.saturating_since(since);
                self.held_since = None;
                true
            }
            (Flow::Hold, since) => {
                self.held_since = since.or(Some(now));
                self.pause = Pause::Held;
                false
            }
        }
    }

    /// Takes octets off the front of `input` until the session waits, or has had its share of
    /// this turn.
    fn step<H: Handler<Session = S>>(
        &mut self,
        conn: ConnId,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        steps: &mut u32,
        handler: &mut H,
        now: Time,
    ) {
        loop {
            if *steps == 0 {
                self.pause = Pause::Turn;
                return;
            }
            *steps -= 1;
            let clock = self.clock(now);
            match self.session.step(input, out, clock) {
                Step::Wait(wait) => {
                    self.pause = match wait {
                        Wait::Input => Pause::Input,
                        Wait::Output => Pause::Output,
                        Wait::Answer => Pause::Answer,
                    };
                    return;
                }
                Step::Close => {
                    self.pause = Pause::Close;
                    return;
                }
                Step::Event(event) => {
                    let ticket = event.ticket();
                    let is_body = matches!(event, Event::Body(_));
                    let answer = handler.event(&mut self.owner, conn, event, now);
                    if let (Some(ticket), Some(answer)) = (ticket, answer) {
                        self.answer(ticket, answer, out, now);
                    }
                    if is_body && !self.may_go(handler, now) {
                        return;
                    }
                }
            }
        }
    }

    /// Gives the session the answer to its question. A late one is nobody's: false.
    fn answer(&mut self, ticket: Ticket, answer: Answer, out: &mut Vec<u8>, now: Time) -> bool {
        match self.session.answer(ticket, &answer, out, self.clock(now)) {
            Ok(()) => true,
            Err(AnswerError::Stale) => false,
            // The handler's defect. To end the session is the smallest harm: a question at the
            // end of the data has no clock, and would stay open for ever.
            Err(AnswerError::Class) => {
                panic!("an answer of a class that its question does not allow")
            }
        }
    }
}

/// Reads once, behind what was left before. Returns how many octets of `scratch` there are; none
/// if nothing new came.
fn receive(channel: &mut Channel, scratch: &mut [u8]) -> Result<usize, Closed> {
    let left = channel.input.len();
    // The engine leaves less than a command line when it asks for more.
    assert!(left < scratch.len(), "the session leaves room for input");
    scratch[..left].copy_from_slice(channel.input.as_slice());
    match channel.read(&mut scratch[left..]) {
        Ok(Received::Octets(n)) => Ok(left + n),
        Ok(Received::Nothing) => Ok(0),
        Ok(Received::End) => Err(Closed::HungUp),
        Err(error) => Err(Closed::Broken(error)),
    }
}
