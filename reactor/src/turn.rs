//! The loop: wait for events, see to what they told, wait again.
//!
//! One thread, one [`Reactor`]. In a turn each connection is looked at a bounded number of times
//! and for a bounded amount of work; what is not finished then is remembered and goes on in the
//! next turn, after the others. The clock is read once a turn.

use crate::connection::{Cause, Connection, Next, Role, Tools};
use crate::handler::{Closed, Handler};
use crate::inbox::{Inbox, Message};
use crate::limits::{self, Limits};
use crate::listener::{Listener, Listeners};
use crate::parting::Parting;
use crate::sources::{Source, Sources};
use crate::stats::Stats;
use crate::timers::Timers;
use crate::token::{self, ConnId, Generation, Whose};
use mio::Events;
use slab::Slab;
use smtpd_engine::time::Time;
use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions of one thread, and the listeners they come from.
pub struct Reactor<H: Handler> {
    pub(crate) inbox: Inbox,
    pub(crate) listeners: Listeners,
    pub(crate) limits: Limits,
    pub(crate) handler: H,
    pub(crate) connections: Slab<Connection<H::Session>>,
    /// That of the last connection.
    pub(crate) generation: Generation,
    pub(crate) timers: Timers,
    /// Connections that have more to do next turn.
    ready: VecDeque<ConnId>,
    /// Connections that are sessions; the others are parting.
    pub(crate) sessions: usize,
    pub(crate) sources: Sources,
    /// More than [`limits::PRESSED_ABOVE`] of the places are taken.
    pub(crate) pressed: bool,
    /// All places were taken, which was logged, and places have been short ever since.
    pub(crate) full: bool,
    /// How far the connections have been told the news ([`Reactor::sweep`]).
    sweep: Option<usize>,
    /// The end of the grace of a stop.
    stopping: Option<Time>,
    start: Instant,
    /// The moment of this turn.
    pub(crate) now: Time,
    scratch: Box<[u8]>,
    out: Vec<u8>,
    pub(crate) stats: Arc<Stats>,
}

impl<H: Handler> Reactor<H> {
    /// Nothing is accepted before [`run`](Reactor::run).
    ///
    /// # Errors
    /// What the system says when a listener cannot be watched.
    pub fn new(
        inbox: Inbox,
        listeners: Vec<Listener>,
        limits: Limits,
        handler: H,
    ) -> io::Result<Reactor<H>> {
        let listeners = Listeners::new(listeners, inbox.poll.registry())?;
        let sessions = limits.sessions.clamp(1, token::MAX_INDEX - limits::PARTING);
        Ok(Reactor {
            inbox,
            listeners,
            sources: Sources::new(limits.sessions_per_source),
            limits: Limits { sessions, ..limits },
            handler,
            connections: Slab::new(),
            generation: Generation::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            sessions: 0,
            pressed: false,
            full: false,
            sweep: None,
            stopping: None,
            start: Instant::now(),
            now: Time::default(),
            scratch: vec![0; limits::READ_DATA].into(),
            out: Vec::new(),
            stats: Arc::default(),
        })
    }

    /// What this reactor counts.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until [`Sender::stop`](crate::Sender::stop), and gives the handler back.
    ///
    /// # Errors
    /// What the system says when it no longer tells events.
    pub fn run(mut self) -> io::Result<H> {
        let mut events = Events::with_capacity(limits::EVENTS);
        let mut messages = Vec::new();
        while !self.is_over() {
            self.wait(&mut events)?;
            self.inbox.wake_up(&mut messages);
            self.now = Time::from_micros(self.start.elapsed().as_micros() as u64);
            self.turn(&events, &mut messages);
        }
        self.cut_off();
        Ok(self.handler)
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let idle = self.ready.is_empty() && self.sweep.is_none() && self.inbox.fall_asleep();
        let timeout = if idle {
            let next = [self.timers.next(), self.listeners.next(), self.stopping];
            next.into_iter().flatten().min().map(|next| next.saturating_since(self.now))
        } else {
            Some(Duration::ZERO)
        };
        match self.inbox.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    pub(crate) fn turn(&mut self, events: &Events, messages: &mut Vec<Message>) {
        let ready = self.ready.len();
        for event in events {
            match token::whose(event.token()) {
                Whose::Waker => {}
                Whose::Listener(nth) => self.listeners.note(nth),
                Whose::Connection(conn) => {
                    if let Some(connection) = self.find(conn) {
                        connection.channel.note(event);
                        if !connection.queued {
                            self.look_at(conn.index(), Cause::Ready);
                        }
                    }
                }
            }
        }
        for message in messages.drain(..) {
            self.receive(message);
        }
        for _ in 0..ready {
            let Some(conn) = self.ready.pop_front() else {
                break;
            };
            if let Some(connection) = self.find(conn)
                && mem::take(&mut connection.queued)
            {
                self.look_at(conn.index(), Cause::Ready);
            }
        }
        self.accept();
        self.see_to_deadlines();
        self.sweep();
        self.handler.turn_over(self.now);
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Answer(conn, ticket, answer) => {
                if self.find(conn).is_some() {
                    self.look_at(conn.index(), Cause::Answer(ticket, answer));
                }
            }
            Message::Resume(conn) => {
                if self.find(conn).is_some() {
                    self.look_at(conn.index(), Cause::Resume);
                }
            }
            Message::Pause(paused) => {
                if let Err(error) = self.listeners.pause(paused, self.inbox.poll.registry()) {
                    log::error!("a listener cannot be paused or resumed: {error}");
                }
            }
            Message::Stop => {
                self.listeners.close();
                self.stopping.get_or_insert(self.now + self.limits.grace);
                self.sweep = Some(0);
            }
        }
    }

    /// The connection of that name, if it is still there.
    pub(crate) fn find(&mut self, conn: ConnId) -> Option<&mut Connection<H::Session>> {
        let connection = self.connections.get_mut(conn.index())?;
        (connection.channel.id() == conn).then_some(connection)
    }

    /// Lets a connection do what it can.
    pub(crate) fn look_at(&mut self, index: usize, cause: Cause) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let mut tools = Tools {
            handler: &mut self.handler,
            scratch: &mut self.scratch,
            out: &mut self.out,
            registry: self.inbox.poll.registry(),
            now: self.now,
        };
        // What a panic may leave half done is the session's own and goes with it, but for the
        // replies, which are thrown away.
        let next = catch_unwind(AssertUnwindSafe(|| connection.go_on(cause, &mut tools)));
        let next = next.unwrap_or_else(|panic| {
            self.out.clear();
            if let Role::Server(server) = &connection.role {
                let id = server.id();
                log::error!("{id:016x} smtp ended, by a defect of ours: {}", words(&*panic));
            }
            Next::Over(Closed::Panicked)
        });
        match next {
            Next::Wait => self.timers.arm(index, connection.deadline()),
            Next::Again => {
                self.timers.arm(index, connection.deadline());
                if !mem::replace(&mut connection.queued, true) {
                    self.ready.push_back(connection.channel.id());
                }
            }
            Next::Over(why) => self.end_session(index, why),
            Next::Gone => self.forget(index),
        }
    }

    /// Asks those whose time may be over.
    fn see_to_deadlines(&mut self) {
        for _ in 0..limits::SWEEP {
            let Some(index) = self.timers.pop_due(self.now) else {
                return;
            };
            let Some(connection) = self.connections.get(index) else {
                continue;
            };
            match connection.deadline() {
                deadline if deadline > self.now => self.timers.arm(index, deadline),
                _ => self.look_at(index, Cause::Deadline),
            }
        }
    }

    /// Tells each session what has changed for all: that the reactor stops, or that places are
    /// short or no longer. Some in this turn, the others in the next ones.
    fn sweep(&mut self) {
        let Some(from) = self.sweep else {
            return;
        };
        let end = self.connections.capacity();
        let to = end.min(from + limits::SWEEP);
        self.sweep = (to < end).then_some(to);
        for index in from..to {
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            if let Role::Server(server) = &mut connection.role {
                if self.stopping.is_some() {
                    self.look_at(index, Cause::ShutDown);
                } else {
                    server.set_pressed(self.pressed);
                    self.timers.arm(index, connection.deadline());
                }
            }
        }
    }

    /// Notes how many sessions there are, and whether places are short.
    pub(crate) fn count_sessions(&mut self, sessions: usize) {
        self.sessions = sessions;
        self.stats.set_sessions(sessions);
        let mark = if self.pressed { limits::PRESSED_BELOW } else { limits::PRESSED_ABOVE };
        let pressed = sessions * 100 > self.limits.sessions * mark;
        if pressed != self.pressed && self.stopping.is_none() {
            self.pressed = pressed;
            self.full &= pressed;
            self.sweep = Some(0);
        }
    }

    /// Gives the handler its own part back, and parts from the peer.
    pub(crate) fn end_session(&mut self, index: usize, why: Closed) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let conn = connection.channel.id();
        let parting = Role::Parting(Parting::new(self.now + limits::PARTING_TIME));
        let Role::Server(server) = mem::replace(&mut connection.role, parting) else {
            return;
        };
        let source = connection.source.take();
        let why = match why {
            // Some only had to have their last message answered first.
            Closed::Ended if self.stopping.is_some() => Closed::Stopped,
            why => why,
        };
        let waits = match why {
            Closed::HungUp | Closed::Broken(_) | Closed::Panicked => false,
            // After QUIT a peer sends nothing (RFC 5321 section 4.1.1.10).
            Closed::Quit => !connection.channel.is_done(),
            Closed::Ended | Closed::TimedOut | Closed::Stopped => true,
        };
        self.leave(source);
        self.count_sessions(self.sessions - 1);
        let id = server.id();
        let (handler, now) = (&mut self.handler, self.now);
        let told = catch_unwind(AssertUnwindSafe(|| handler.closed(server.own, conn, why, now)));
        if let Err(panic) = told {
            log::error!("{id:016x} smtp closed, with a defect of ours: {}", words(&*panic));
        }
        if waits {
            self.part(index);
        } else {
            self.forget(index);
        }
    }

    /// A session of that source is no more.
    pub(crate) fn leave(&mut self, source: Option<Source>) {
        if let Some(source) = source {
            self.sources.leave(source);
        }
    }

    /// Parts from a peer: at once if nothing is left to wait for, or too many are waited for.
    pub(crate) fn part(&mut self, index: usize) {
        self.timers.disarm(index);
        self.look_at(index, Cause::Ready);
        if self.connections.len() - self.sessions > limits::PARTING {
            self.forget(index);
        }
    }

    /// Closes the connection. Its name means nobody from now on.
    pub(crate) fn forget(&mut self, index: usize) {
        self.timers.disarm(index);
        self.connections.try_remove(index);
    }

    fn is_over(&self) -> bool {
        self.stopping.is_some_and(|end| self.connections.is_empty() || self.now >= end)
    }

    /// The grace is over: what is left is told so, without a word to the peer.
    fn cut_off(&mut self) {
        for index in 0..self.connections.capacity() {
            if self.connections.contains(index) {
                self.end_session(index, Closed::Stopped);
                self.forget(index);
            }
        }
    }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "a panic",
    }
}
