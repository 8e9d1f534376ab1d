//! A sending session in the reactor: from the socket that is being connected to the last octet.
//!
//! At most one read a turn, then steps, and what there is to say is written as soon as the
//! session waits for anything: a flight is one write. What the next hop says is read in every
//! state, while content is sent as well: who refuses early is heard, and before a session ends
//! because writing failed, what the other side said last is read.

use super::caller::{Caller, Calling, Hangup, Next as Wish, Piece, Target};
use crate::channel::{Channel, Received};
use crate::connection::{Cause, Next, Tools};
use crate::limits;
use crate::side::{self, End};
use crate::tls::{self, Layer};
use smtpd_engine::client::{Event, Session, Step, Wait};
use smtpd_engine::limits::{BODY_OUTPUT, HOP_REPLY};
use smtpd_engine::time::Time;
use smtpd_engine::tls::TlsInfo;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::mem;
use std::sync::Arc;

// A reply stays with the input until it is whole.
const _: () = assert!(limits::READ_DATA >= HOP_REPLY + limits::READ_COMMANDS);

/// What stands between a connection and its next step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pause {
    /// The system, which connects.
    Connect,
    /// The handshake of TLS.
    Handshake,
    /// Octets from the next hop.
    Input,
    /// The next hop, which is to take what was written.
    Output,
    /// The caller has nothing to send, until then at most.
    Idle(Time),
    /// The caller has no content yet, until then at most.
    Late(Time),
    /// The others: it has had its share of this turn.
    Turn,
    /// Nothing will come any more.
    Close,
}

pub(crate) struct Client<C: Caller> {
    pub(super) own: C::Session,
    target: Target,
    pause: Pause,
    /// None until SMTP may begin.
    session: Option<Session>,
    /// When connecting, or the handshake, is to be over.
    until: Time,
    /// Octets of the mail's content that were taken.
    taken: u64,
    /// The caller has something new for it.
    pub(super) resumed: bool,
    /// Nothing more can be written.
    deaf: bool,
    /// The caller wants it to end.
    quits: bool,
    /// The reactor ends.
    stops: bool,
}

impl<C: Caller> side::Session for Client<C> {
    type Handler = C;
    type News = Infallible;
    type End = Hangup;

    fn id(&self) -> u64 {
        self.target.id
    }

    fn deadline(&self) -> Time {
        match (self.pause, &self.session) {
            (Pause::Idle(until) | Pause::Late(until), _) => until,
            (Pause::Connect | Pause::Handshake, _) | (_, None) => self.until,
            (_, Some(session)) => session.deadline(),
        }
    }

    fn go_on(
        &mut self,
        channel: &mut Channel,
        cause: Cause<Infallible>,
        tools: &mut Tools<'_, C>,
    ) -> Next<Hangup> {
        match self.converse(channel, cause, tools) {
            Ok(next) => next,
            Err(why) => {
                if matches!(why, Hangup::Quit) {
                    channel.end_tls();
                }
                Next::Over(why)
            }
        }
    }
}

impl End for Hangup {
    fn panicked() -> Hangup {
        Hangup::Panicked
    }

    fn stopped() -> Hangup {
        Hangup::Stopped
    }
}

impl<C: Caller> Client<C> {
    pub(super) fn new(target: Target, own: C::Session, now: Time) -> Client<C> {
        let until = now + target.connect_time;
        Client {
            own,
            target,
            pause: Pause::Connect,
            session: None,
            until,
            taken: 0,
            resumed: false,
            deaf: false,
            quits: false,
            stops: false,
        }
    }

    fn converse(
        &mut self,
        channel: &mut Channel,
        cause: Cause<Infallible>,
        tools: &mut Tools<'_, C>,
    ) -> Result<Next<Hangup>, Hangup> {
        match cause {
            Cause::Ready => {}
            Cause::Deadline => self.out_of_time(tools.now)?,
            Cause::ShutDown if self.session.is_none() => return Err(Hangup::Stopped),
            Cause::ShutDown => (self.stops, self.resumed) = (true, true),
        }
        if mem::take(&mut self.resumed) && matches!(self.pause, Pause::Idle(_) | Pause::Late(_)) {
            self.pause = Pause::Turn;
        }
        if self.pause == Pause::Connect && !self.connect(channel, tools)? {
            return Ok(Next::Wait);
        }
        let (mut steps, mut flights) = (limits::STEPS, 1);
        let mut may_read = true;
        loop {
            if self.pause == Pause::Handshake && !self.shake_hands(channel, tools)? {
                return Ok(Next::Wait);
            }
            if self.pause == Pause::Turn {
                self.step_on(channel, 0, &mut steps, tools)?;
            }
            self.send(channel, tools);
            match self.pause {
                Pause::Turn => return Ok(Next::Again),
                Pause::Close if self.quits => return Err(Hangup::Quit),
                Pause::Close => return Err(Hangup::Failed),
                Pause::Connect | Pause::Handshake => {}
                _ if !channel.is_readable() && self.deaf => self.hung_up(),
                _ if channel.is_readable() && !may_read => return Ok(Next::Again),
                _ if channel.is_readable() => {
                    may_read = false;
                    self.receive(channel, &mut steps, tools)?;
                }
                Pause::Output if channel.is_blocked() => return Ok(Next::Wait),
                Pause::Output if flights == limits::FLIGHTS => return Ok(Next::Again),
                Pause::Output => {
                    flights += 1;
                    self.pause = Pause::Turn;
                }
                Pause::Input | Pause::Idle(_) | Pause::Late(_) => return Ok(Next::Wait),
            }
        }
    }

    fn out_of_time(&mut self, now: Time) -> Result<(), Hangup> {
        match (self.pause, &mut self.session) {
            (Pause::Connect, _) => return Err(Hangup::Connect(ErrorKind::TimedOut.into())),
            (Pause::Handshake, _) | (_, None) => return Err(Hangup::Tls(tls::Failure::TimedOut)),
            (Pause::Late(_), _) => return Err(Hangup::Content),
            (Pause::Idle(_), _) => {}
            (_, Some(session)) => session.timeout(now),
        }
        self.pause = Pause::Turn;
        Ok(())
    }

    /// Whether there is a connection.
    fn connect(&mut self, channel: &mut Channel, tools: &Tools<'_, C>) -> Result<bool, Hangup> {
        if !channel.is_connected().map_err(Hangup::Connect)? {
            return Ok(false);
        }
        match self.target.immediate {
            true => self.start_tls(channel, tools.now)?,
            false => self.begin(None, tools.now),
        }
        Ok(true)
    }

    /// SMTP begins.
    fn begin(&mut self, tls: Option<TlsInfo>, now: Time) {
        self.session = Some(Session::new(Arc::clone(&self.target.params), tls, now));
        self.pause = Pause::Input;
    }

    fn start_tls(&mut self, channel: &mut Channel, now: Time) -> Result<(), Hangup> {
        let client = self.target.tls.clone().expect("a target with TLS says how it is spoken");
        channel.start_tls(Layer::client(client).map_err(Hangup::Tls)?);
        self.pause = Pause::Handshake;
        self.until = now + limits::HANDSHAKE_TIME;
        Ok(())
    }

    /// Whether the handshake is over. What there is to say then goes out with its end.
    fn shake_hands(
        &mut self,
        channel: &mut Channel,
        tools: &mut Tools<'_, C>,
    ) -> Result<bool, Hangup> {
        let Some(info) = channel.shake_hands(tools.registry).map_err(Hangup::Tls)? else {
            return Ok(false);
        };
        match &mut self.session {
            None => self.begin(Some(info), tools.now),
            Some(session) => {
                session.tls_started(info, tools.out, tools.now);
                self.pause = Pause::Turn;
            }
        }
        Ok(true)
    }

    /// Sends what there is. When that fails, the next hop may still have said why.
    fn send(&mut self, channel: &mut Channel, tools: &mut Tools<'_, C>) {
        if !self.deaf && channel.send(tools.out, tools.registry).is_err() {
            self.deaf = true;
            // What came before that may not have been told yet.
            channel.look_again();
        }
        if self.deaf {
            tools.out.clear();
        }
    }

    /// Nothing more will be said by the next hop.
    fn hung_up(&mut self) {
        if let Some(session) = &mut self.session {
            session.hung_up();
        }
        self.pause = Pause::Turn;
    }

    /// Reads once, behind what was left before, and goes on if something new came.
    fn receive(
        &mut self,
        channel: &mut Channel,
        steps: &mut u32,
        tools: &mut Tools<'_, C>,
    ) -> Result<(), Hangup> {
        let left = channel.input.len();
        let end = left + limits::READ_COMMANDS;
        // The engine leaves less than a reply when it asks for more.
        assert!(end <= tools.scratch.len(), "the session leaves room for input");
        tools.scratch[..left].copy_from_slice(channel.input.as_slice());
        match channel.read(&mut tools.scratch[left..end]) {
            Ok(Received::Octets(n)) => self.step_on(channel, left + n, steps, tools),
            Ok(Received::Nothing) => Ok(()),
            Ok(Received::End) | Err(_) => {
                self.hung_up();
                Ok(())
            }
        }
    }

    /// Lets the session take octets: the `fresh` first ones of the scratch buffer if there are
    /// any, with those it left before in front of them, else those it left before.
    fn step_on(
        &mut self,
        channel: &mut Channel,
        fresh: usize,
        steps: &mut u32,
        tools: &mut Tools<'_, C>,
    ) -> Result<(), Hangup> {
        let Tools { handler, out, now, .. } = tools;
        if fresh > 0 {
            let mut input = &tools.scratch[..fresh];
            self.step(channel, &mut input, out, steps, *handler, *now)?;
            channel.input.replace(input);
        } else {
            let mut rest = mem::take(&mut channel.input);
            let mut input = rest.as_slice();
            self.step(channel, &mut input, out, steps, *handler, *now)?;
            rest.consume(rest.len() - input.len());
            channel.input = rest;
        }
        if self.pause == Pause::Handshake {
            // Whoever answered what has not been sent yet is not the next hop, or not it alone.
            // Sent under TLS, what is left would shift each reply to another command.
            if !tools.out.is_empty() {
                let words = "STARTTLS was answered before it was sent".to_owned();
                return Err(Hangup::Tls(tls::Failure::Refused(rustls::Error::General(words))));
            }
            self.start_tls(channel, tools.now)?;
        }
        Ok(())
    }

    /// Goes on until the session waits, or has had its share of this turn.
    fn step(
        &mut self,
        channel: &Channel,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        steps: &mut u32,
        caller: &mut C,
        now: Time,
    ) -> Result<(), Hangup> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let (conn, address, stream) = (channel.id(), self.target.address, channel.stream());
        while *steps > 0 {
            *steps -= 1;
            let step = session.step(input, out, now);
            let about = Calling { conn, address, session, now, stream };
            let wait = match step {
                Step::Event(Event::StartTls) => {
                    self.pause = Pause::Handshake;
                    return Ok(());
                }
                Step::Event(event) => {
                    caller.event(&mut self.own, &about, event);
                    continue;
                }
                Step::Close => {
                    self.pause = Pause::Close;
                    return Ok(());
                }
                Step::Wait(wait) => wait,
            };
            self.pause = match (wait, self.pause) {
                // It was only looked whether something came.
                (Wait::Caller, Pause::Idle(until)) | (Wait::Content, Pause::Late(until))
                    if until > now =>
                {
                    return Ok(());
                }
                (Wait::Input | Wait::Tls, _) => Pause::Input,
                (Wait::Caller, _) => {
                    let wish = match self.stops {
                        true => Wish::Quit,
                        false => caller.ready(&mut self.own, &about),
                    };
                    match wish {
                        Wish::Wait(until) if until > now => Pause::Idle(until),
                        Wish::Mail(mail) => {
                            let begun = session.mail(&mail, out, now);
                            begun.expect("the session waits for its caller");
                            self.taken = 0;
                            Pause::Turn
                        }
                        Wish::Wait(_) | Wish::Quit => {
                            let ending = session.quit(out, now);
                            ending.expect("the session waits for its caller");
                            self.quits = true;
                            Pause::Turn
                        }
                    }
                }
                // Written first: what is behind it would be held in memory.
                (Wait::Content, _) if out.len() >= BODY_OUTPUT => Pause::Output,
                (Wait::Content, _) => match caller.content(&mut self.own, self.taken) {
                    Piece::Octets(octets) => {
                        assert!(!octets.is_empty(), "a piece of content has octets");
                        let mut rest = octets;
                        session.body(&mut rest, out, now).expect("the session waits for content");
                        self.taken += (octets.len() - rest.len()) as u64;
                        Pause::Turn
                    }
                    Piece::End => {
                        session.end_of_data(out, now).expect("the session waits for content");
                        Pause::Turn
                    }
                    Piece::Later => Pause::Late(now + limits::CONTENT_TIME),
                    Piece::Broken => return Err(Hangup::Content),
                },
            };
            if self.pause != Pause::Turn {
                return Ok(());
            }
        }
        self.pause = Pause::Turn;
        Ok(())
    }
}
