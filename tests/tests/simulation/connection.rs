//! One SMTP session, with what is on its way to it and from it: the part of the reactor, without
//! sockets.

use std::mem;
use std::sync::Arc;

use smtpd::daemon::intake::{Intake, Session};
use smtpd_engine::server::{
    Answer, AnswerError, Event, Params, Peer as Address, Session as Engine, Step, Ticket, Wait,
};
use smtpd_engine::time::Time;

use crate::behind::Behind;
use crate::people::People;

/// Octets that the network takes for a peer that does not listen.
const WINDOW: usize = 1000;

/// See the module.
pub struct Connection {
    engine: Engine,
    own: Session,
    /// Received, and not taken by the session.
    input: Vec<u8>,
    out: Vec<u8>,
    /// Sent, and not yet heard by the peer.
    sent: Vec<u8>,
    pub closed: bool,
}

impl Connection {
    pub fn new(params: Arc<Params>, own: Session, peer: Address, now: Time) -> Self {
        let engine = Engine::new(params, own.id, peer, now);
        let (input, out, sent) = Default::default();
        Self { engine, own, input, out, sent, closed: false }
    }

    /// Octets of the peer's come in; what comes after the end is lost.
    pub fn receive(&mut self, octets: &[u8]) {
        if !self.closed {
            self.input.extend_from_slice(octets);
        }
    }

    /// What the peer hears now.
    pub fn heard(&mut self) -> Vec<u8> {
        mem::take(&mut self.sent)
    }

    /// When something happens by itself. While a session is held back its clock stands still.
    pub fn deadline(&self) -> Time {
        if self.closed || self.own.is_held() { Time::NEVER } else { self.engine.deadline() }
    }

    /// Lets the session take what it has.
    pub fn run(&mut self, conn: u64, intake: &mut Intake<Behind, People>, now: Time) {
        if self.closed {
            return;
        }
        let input = mem::take(&mut self.input);
        let mut rest = &input[..];
        while !self.own.is_held() {
            match self.engine.step(&mut rest, &mut self.out, now) {
                Step::Event(event) => self.event(conn, intake, event, now),
                Step::Wait(Wait::Output) if self.flush() => {}
                Step::Wait(_) => break,
                Step::Close => {
                    self.closed = true;
                    intake.give_up(&mut self.own);
                    break;
                }
            }
        }
        self.input = rest.to_vec();
        self.flush();
    }

    fn event(
        &mut self,
        conn: u64,
        intake: &mut Intake<Behind, People>,
        event: Event<'_>,
        now: Time,
    ) {
        if let Event::Replied { .. } = event {
            return;
        }
        let ticket = event.ticket();
        let answer = intake.event(&mut self.own, &self.engine, conn, event);
        if let (Some(ticket), Some(answer)) = (ticket, answer) {
            let answered = self.engine.answer(ticket, answer, &mut self.out, now);
            answered.expect("the question has just been asked");
        }
    }

    /// Sends what there is, if the network takes it.
    fn flush(&mut self) -> bool {
        let takes = self.closed || self.sent.len() < WINDOW;
        if takes {
            self.sent.append(&mut self.out);
        }
        takes
    }

    /// Answers the session's question. False when it was no longer open.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer, now: Time) -> bool {
        let in_time = match self.engine.answer(ticket, answer, &mut self.out, now) {
            Ok(()) => true,
            Err(AnswerError::Stale) => false,
            Err(error @ AnswerError::Class) => panic!("{error}"),
        };
        self.own.answered(ticket, in_time);
        in_time
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        if !self.closed {
            self.engine.timeout(&mut self.out, now);
            assert!(self.engine.deadline() > now, "a deadline was served and is still there");
        }
    }

    /// Something has become known, and may answer the session's question.
    pub fn resumed(
        &mut self,
        conn: u64,
        intake: &mut Intake<Behind, People>,
    ) -> Option<(Ticket, Answer)> {
        intake.resumed(&mut self.own, &self.engine, conn)
    }

    /// Goes on after it was held back, if it need not be any longer.
    pub fn resume(&mut self, now: Time) {
        if !self.own.is_held() {
            self.engine.resumed(now);
        }
    }

    /// The server stops.
    pub fn shut_down(&mut self, now: Time) {
        self.engine.shut_down(&mut self.out, now);
    }

    /// The connection is no more.
    pub fn hang_up(&mut self, intake: &mut Intake<Behind, People>) {
        intake.give_up(&mut self.own);
    }
}
