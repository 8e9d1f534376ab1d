//! A receiving session in the reactor: the engine's state machine, the handler's own part, and the
//! loop that lets one talk to the other.

use crate::channel::{Channel, Received};
use crate::connection::{Cause, Next, Tools};
use crate::handler::{About, Closed, Flow, Handler, Replied};
use crate::limits;
use crate::side::{self, End};
use crate::sources::Source;
use crate::tls::{self, Computed, Failure, Handshake, Layer};
use crate::token::ConnId;
use smtpd_engine::server::{Answer, AnswerError, Event, Session, Step, Ticket, Wait};
use smtpd_engine::time::Time;
use std::mem;

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
    /// The peer, which is to take the last octets in the clear.
    Clear,
    /// The peer's part of a handshake.
    Handshake,
    /// Our part of it, which another thread computes.
    Computing,
    /// The others: it has had its share of this turn.
    Turn,
    /// Nothing will come any more.
    Close,
}

/// What a receiving session is told.
pub(crate) enum News {
    /// It is new.
    Accepted,
    /// The answer to its question is there.
    Answer(Ticket, Answer),
    /// It may go on: it need not be held any longer, or something has become known.
    Resume,
    /// A piece of its handshake is computed.
    Computed(Computed),
}

pub(crate) struct Server<H: Handler> {
    session: Session,
    pub(crate) own: H::Session,
    /// How TLS is spoken, if it is and has not begun.
    tls: Option<tls::Server>,
    /// Whose share of the sessions this one is part of.
    pub(crate) source: Option<Source>,
    pause: Pause,
    /// The last thing that happened was mail data, and more of it is likely to come.
    in_data: bool,
    /// The last reply was 221: the peer asked for the end.
    bye: bool,
}

impl<H: Handler> side::Session for Server<H> {
    type Handler = H;
    type News = News;
    type End = Closed;

    fn id(&self) -> u64 {
        self.session.id()
    }

    /// When the session is to be told that its time is over. While it is held the peer waits
    /// for us, and its clock stands still.
    fn deadline(&self) -> Time {
        match self.pause {
            Pause::Held => Time::NEVER,
            _ => self.session.deadline(),
        }
    }

    /// Goes on until the session waits: at most one read, then steps, and what there is to say
    /// is sent as soon as the session waits for anything. An ordinary command so costs a wait
    /// for events, a read and a write.
    fn go_on(
        &mut self,
        channel: &mut Channel,
        cause: Cause<News>,
        tools: &mut Tools<'_, H>,
    ) -> Next<Closed> {
        match self.converse(channel, cause, tools) {
            Ok(next) => next,
            Err(why) => {
                // Not in front of replies that the peer has had no room for.
                if matches!(why, Closed::Quit | Closed::HungUp) && tools.out.is_empty() {
                    channel.end_tls();
                }
                Next::Over(why)
            }
        }
    }
}

impl End for Closed {
    fn panicked() -> Closed {
        Closed::Panicked
    }

    fn stopped() -> Closed {
        Closed::Stopped
    }
}

impl<H: Handler> Server<H> {
    pub(crate) fn new(
        session: Session,
        own: H::Session,
        tls: Option<tls::Server>,
        source: Option<Source>,
    ) -> Server<H> {
        Server { session, own, tls, source, pause: Pause::Input, in_data: false, bye: false }
    }

    /// Tells the session that places are short, or no longer.
    pub(crate) fn set_pressed(&mut self, pressed: bool) {
        self.session.set_pressed(pressed);
    }

    fn converse(
        &mut self,
        channel: &mut Channel,
        cause: Cause<News>,
        tools: &mut Tools<'_, H>,
    ) -> Result<Next<Closed>, Closed> {
        let now = tools.now;
        let mut steps = limits::STEPS;
        let mut may_read = true;
        let mut fresh = 0;
        let mut ending = Closed::Ended;
        match cause {
            Cause::Ready => {}
            Cause::News(News::Accepted) if self.tls.as_ref().is_some_and(|tls| tls.immediate) => {
                self.pause = Pause::Clear;
            }
            Cause::News(News::Accepted) => {
                // What has come by now was sent before the banner, and the session is to know.
                may_read = false;
                fresh = self.receive(channel, tools.scratch)?;
                self.pause = Pause::Turn;
            }
            Cause::News(News::Answer(ticket, answer)) => {
                let in_time = self.answer(ticket, answer, tools.out, now);
                tools.handler.answered(&mut self.own, ticket, in_time);
                if in_time {
                    self.pause = Pause::Turn;
                }
            }
            Cause::News(News::Resume) => {
                let about = About { conn: channel.id(), session: &self.session, now };
                if let Some((ticket, answer)) = tools.handler.resumed(&mut self.own, &about)
                    && self.answer(ticket, answer, tools.out, now)
                {
                    self.pause = Pause::Turn;
                }
                if self.pause == Pause::Held && self.may_go(tools.handler) {
                    self.session.resumed(now);
                    self.pause = Pause::Turn;
                }
            }
            Cause::News(News::Computed(computed)) => {
                if self.pause == Pause::Computing {
                    self.computed(channel, computed, tools)?;
                }
            }
            Cause::Deadline if self.is_shaking_hands() => {
                return Err(Closed::Tls(Failure::TimedOut));
            }
            Cause::Deadline => {
                self.session.timeout(tools.out, now);
                self.pause = Pause::Turn;
                ending = Closed::TimedOut;
            }
            Cause::ShutDown if self.is_shaking_hands() => return Err(Closed::Stopped),
            Cause::ShutDown => {
                self.session.shut_down(tools.out, now);
                self.pause = Pause::Turn;
            }
        }
        loop {
            if self.pause == Pause::Turn || fresh > 0 {
                self.step_on(channel, mem::take(&mut fresh), &mut steps, tools);
            }
            channel.send(tools.out, tools.registry).map_err(Closed::Broken)?;
            match self.pause {
                Pause::Close if self.bye => return Err(Closed::Quit),
                Pause::Close => return Err(ending),
                Pause::Turn => return Ok(Next::Again),
                // We do not read, so only the system can say that nobody is there any more. A
                // peer that has closed its own side alone still gets its reply.
                Pause::Answer | Pause::Held if channel.is_broken() => return Err(Closed::HungUp),
                Pause::Answer | Pause::Held => return Ok(Next::Wait),
                Pause::Clear if !tools.out.is_empty() => return Ok(Next::Wait),
                Pause::Clear => self.start_tls(channel)?,
                Pause::Computing if channel.is_broken() => return Err(Closed::HungUp),
                Pause::Computing => return Ok(Next::Wait),
                Pause::Handshake if !channel.is_readable() => return Ok(Next::Wait),
                Pause::Handshake => self.shake_hands(channel, tools)?,
                Pause::Output if channel.is_blocked() => return Ok(Next::Wait),
                Pause::Output => self.pause = Pause::Turn,
                Pause::Input if !channel.is_readable() => return Ok(Next::Wait),
                Pause::Input if !may_read => return Ok(Next::Again),
                Pause::Input => {
                    if !self.may_go(tools.handler) {
                        return Ok(Next::Wait);
                    }
                    may_read = false;
                    fresh = self.receive(channel, tools.scratch)?;
                }
            }
        }
    }

    /// Whether the octets of the channel belong to a handshake, so that no reply may be sent.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        matches!(self.pause, Pause::Clear | Pause::Handshake | Pause::Computing)
    }

    /// From now on there is no way back to the clear.
    fn start_tls(&mut self, channel: &mut Channel) -> Result<(), Closed> {
        let server = self.tls.take().expect("a listener that offers TLS says how it is spoken");
        channel.start_tls(Layer::server(&server).map_err(Closed::Tls)?);
        self.pause = Pause::Handshake;
        Ok(())
    }

    /// Reads what the peer has to say in a handshake, and has it computed.
    fn shake_hands(
        &mut self,
        channel: &mut Channel,
        tools: &mut Tools<'_, H>,
    ) -> Result<(), Closed> {
        match channel.hear() {
            Ok(Received::Octets(_)) => {}
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::End) => return Err(Closed::Tls(Failure::HungUp)),
            Err(error) => return Err(Closed::Tls(Failure::Broken(error))),
        }
        if let Some(layer) = channel.layer().filter(|layer| layer.is_light()) {
            let result = layer.compute().map_err(Failure::Refused);
            return self.go_on_shaking(channel, result, tools);
        }
        if let Some(layer) = channel.lend() {
            self.pause = Pause::Computing;
            tools.handler.handshake(Handshake::new(channel.id(), layer));
        }
        Ok(())
    }

    fn computed(
        &mut self,
        channel: &mut Channel,
        computed: Computed,
        tools: &mut Tools<'_, H>,
    ) -> Result<(), Closed> {
        if let Some(layer) = computed.layer {
            channel.give_back(layer);
        }
        self.go_on_shaking(channel, computed.result, tools)
    }

    /// Says what a handshake has to say next, and begins or goes on with SMTP if it is over.
    fn go_on_shaking(
        &mut self,
        channel: &mut Channel,
        result: Result<(), Failure>,
        tools: &mut Tools<'_, H>,
    ) -> Result<(), Closed> {
        let agreed = channel.agreed(tools.registry);
        // The alert is on its way, as far as there was room.
        result.map_err(Closed::Tls)?;
        let agreed = agreed.map_err(|error| Closed::Tls(Failure::Broken(error)))?;
        self.pause = Pause::Handshake;
        if let Some(info) = agreed {
            self.session.tls_started(info, tools.now);
            let about = About { conn: channel.id(), session: &self.session, now: tools.now };
            tools.handler.secured(&mut self.own, &about);
            self.pause = Pause::Turn;
        }
        Ok(())
    }

    /// Reads once, behind what was left before. Returns how many octets of `scratch` there are;
    /// none if nothing new came.
    fn receive(&self, channel: &mut Channel, scratch: &mut [u8]) -> Result<usize, Closed> {
        let left = channel.input.len();
        let end = if self.in_data { scratch.len() } else { left + limits::READ_COMMANDS };
        // The engine leaves less than a command line when it asks for more.
        assert!(left < end && end <= scratch.len(), "the session leaves room for input");
        scratch[..left].copy_from_slice(channel.input.as_slice());
        match channel.read(&mut scratch[left..end]) {
            Ok(Received::Octets(n)) => Ok(left + n),
            Ok(Received::Nothing) => Ok(0),
            Ok(Received::End) => Err(Closed::HungUp),
            Err(error) => Err(Closed::Broken(error)),
        }
    }

    /// Lets the session take octets: the `fresh` first ones of the scratch buffer if there are
    /// any, with those it left before in front of them, else those it left before.
    fn step_on(
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

    /// Asks the handler whether to go on.
    fn may_go(&mut self, handler: &mut H) -> bool {
        match handler.flow(&self.own) {
            Flow::Go => true,
            Flow::Hold => {
                self.pause = Pause::Held;
                false
            }
        }
    }

    /// Takes octets off the front of `input` until the session waits, or has had its share of
    /// this turn.
    fn step(
        &mut self,
        conn: ConnId,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        steps: &mut u32,
        handler: &mut H,
        now: Time,
    ) {
        while *steps > 0 {
            *steps -= 1;
            let event = match self.session.step(input, out, now) {
                Step::Event(event) => event,
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
                    self.bye = last_code(out) == Some(b"221");
                    return;
                }
            };
            let about = About { conn, session: &self.session, now };
            match event {
                Event::Replied { command, code, reply } => {
                    let replied = Replied { command, code, reply: &out[reply] };
                    handler.replied(&mut self.own, &about, replied);
                }
                Event::Body(_) => {
                    self.in_data = true;
                    handler.event(&mut self.own, &about, event);
                    if !self.may_go(handler) {
                        return;
                    }
                }
                Event::StartTls => {
                    self.in_data = false;
                    self.pause = Pause::Clear;
                    return;
                }
                event => {
                    self.in_data = false;
                    let ticket = event.ticket();
                    let answer = handler.event(&mut self.own, &about, event);
                    if let (Some(ticket), Some(answer)) = (ticket, answer) {
                        self.answer(ticket, answer, out, now);
                        // The step after an answer belongs to it.
                        *steps = (*steps).max(1);
                    }
                }
            }
        }
        self.pause = Pause::Turn;
    }

    /// Gives the session the answer to its question. A late one is nobody's: false.
    fn answer(&mut self, ticket: Ticket, answer: Answer, out: &mut Vec<u8>, now: Time) -> bool {
        match self.session.answer(ticket, answer, out, now) {
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

/// The code of the last line in `out`.
fn last_code(out: &[u8]) -> Option<&[u8]> {
    let lines = out.strip_suffix(b"\r\n")?;
    let start = lines.iter().rposition(|&octet| octet == b'\n').map_or(0, |lf| lf + 1);
    lines.get(start..start + 3)
}
