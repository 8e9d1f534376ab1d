//! The loop: wait for events, see to what they told, wait again.
//!
//! One thread, one [`Turns`]. In a turn each connection is looked at a bounded number of times
//! and for a bounded amount of work; what is not finished then is remembered and goes on in the
//! next turn, after the others. The clock is read once a turn.

use crate::channel::Channel;
use crate::connection::{Cause, Connection, Next, Role, Tools};
use crate::limits;
use crate::parting::Parting;
use crate::post::Postbox;
use crate::side::{End, EndOf, NewsOf, Session, Side};
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
use std::time::{Duration, Instant};

/// The connections of one thread, and the side that they are used for.
pub(crate) struct Turns<S: Side> {
    pub(crate) side: S,
    pub(crate) core: Core<S>,
}

/// The connections, and what keeps them going.
pub(crate) struct Core<S: Side> {
    pub(crate) postbox: Postbox<S::Message>,
    pub(crate) connections: Slab<Connection<S::Session>>,
    /// That of the last connection.
    generation: Generation,
    pub(crate) timers: Timers,
    /// Connections that have more to do next turn.
    ready: VecDeque<ConnId>,
    /// Connections that are sessions; the others are parting.
    pub(crate) sessions: usize,
    /// How far the connections have been told the news ([`Turns::sweep`]).
    sweep: Option<usize>,
    /// The end of the grace of a stop.
    stopping: Option<Time>,
    start: Instant,
    /// The moment of this turn.
    pub(crate) now: Time,
    scratch: Box<[u8]>,
    out: Vec<u8>,
}

impl<S: Side> Core<S> {
    /// The connection of that name, if it is still there.
    pub(crate) fn find(&mut self, conn: ConnId) -> Option<&mut Connection<S::Session>> {
        let connection = self.connections.get_mut(conn.index())?;
        (connection.channel.id() == conn).then_some(connection)
    }

    /// The name that the next connection will have.
    pub(crate) fn next_id(&mut self) -> ConnId {
        self.generation = self.generation.next();
        ConnId::new(self.connections.vacant_key(), self.generation)
    }

    /// Takes a connection in, under the name that was the last to be given.
    pub(crate) fn begin(&mut self, channel: Channel, role: Role<S::Session>) {
        let conn = channel.id();
        self.sessions += usize::from(matches!(role, Role::Session(_)));
        let index = self.connections.insert(Connection::new(channel, role));
        debug_assert_eq!(index, conn.index());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Has a connection looked at in the next turn.
    pub(crate) fn look_soon(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index)
            && !mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(connection.channel.id());
        }
    }
}

impl<S: Side> Turns<S> {
    pub(crate) fn new(postbox: Postbox<S::Message>, side: S) -> Turns<S> {
        let core = Core {
            postbox,
            connections: Slab::new(),
            generation: Generation::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            sessions: 0,
            sweep: None,
            stopping: None,
            start: Instant::now(),
            now: Time::default(),
            scratch: vec![0; limits::READ_DATA].into(),
            out: Vec::new(),
        };
        Turns { side, core }
    }

    /// Goes on until [`stop`](Turns::stop), and gives the side back.
    ///
    /// # Errors
    /// What the system says when it no longer tells events.
    pub(crate) fn run(mut self) -> io::Result<S> {
        let mut events = Events::with_capacity(limits::EVENTS);
        let mut messages = Vec::new();
        while !self.is_over() {
            self.wait(&mut events)?;
            self.core.postbox.wake_up(&mut messages);
            self.core.now = Time::from_micros(self.core.start.elapsed().as_micros() as u64);
            self.turn(&events, &mut messages);
        }
        self.cut_off();
        Ok(self.side)
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let core = &mut self.core;
        let idle = core.ready.is_empty() && core.sweep.is_none() && core.postbox.fall_asleep();
        let timeout = if idle {
            let next = [core.timers.next(), self.side.next(), core.stopping];
            next.into_iter().flatten().min().map(|next| next.saturating_since(core.now))
        } else {
            Some(Duration::ZERO)
        };
        match core.postbox.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    pub(crate) fn turn(&mut self, events: &Events, messages: &mut Vec<S::Message>) {
        let ready = self.core.ready.len();
        for event in events {
            match token::whose(event.token()) {
                Whose::Waker => {}
                Whose::Own(nth) => self.side.note(nth),
                Whose::Connection(conn) => {
                    if let Some(connection) = self.core.find(conn) {
                        connection.channel.note(event);
                        if !connection.queued {
                            self.look_at(conn.index(), Cause::Ready);
                        }
                    }
                }
            }
        }
        for message in messages.drain(..) {
            S::receive(self, message);
        }
        for _ in 0..ready {
            let Some(conn) = self.core.ready.pop_front() else {
                break;
            };
            if let Some(connection) = self.core.find(conn)
                && mem::take(&mut connection.queued)
            {
                self.look_at(conn.index(), Cause::Ready);
            }
        }
        S::turn(self);
        self.see_to_deadlines();
        self.sweep();
        S::turn_over(self);
    }

    /// Ends in order: all sessions are told, and waited for as long as `grace`.
    pub(crate) fn stop(&mut self, grace: Duration) {
        self.core.stopping.get_or_insert(self.core.now + grace);
        self.tell_all();
    }

    /// Lets a connection do what it can.
    pub(crate) fn look_at(&mut self, index: usize, cause: Cause<NewsOf<S>>) {
        let core = &mut self.core;
        let Some(connection) = core.connections.get_mut(index) else {
            return;
        };
        let mut tools = Tools {
            handler: self.side.handler(),
            scratch: &mut core.scratch,
            out: &mut core.out,
            registry: core.postbox.poll.registry(),
            now: core.now,
        };
        // What a panic may leave half done is the session's own and goes with it, but for the
        // octets to be sent, which are thrown away.
        let next = catch_unwind(AssertUnwindSafe(|| connection.go_on(cause, &mut tools)));
        let next = next.unwrap_or_else(|panic| {
            core.out.clear();
            if let Role::Session(session) = &connection.role {
                let id = session.id();
                log::error!("{id:016x} smtp ended, by a defect of ours: {}", words(&*panic));
            }
            Next::Over(EndOf::<S>::panicked())
        });
        match next {
            Next::Wait => core.timers.arm(index, connection.deadline()),
            Next::Again => {
                core.timers.arm(index, connection.deadline());
                core.look_soon(index);
            }
            Next::Over(why) => self.end_session(index, why),
            Next::Gone => self.forget(index),
        }
    }

    /// Asks those whose time may be over.
    fn see_to_deadlines(&mut self) {
        for _ in 0..limits::SWEEP {
            let Some(index) = self.core.timers.pop_due(self.core.now) else {
                return;
            };
            let Some(connection) = self.core.connections.get(index) else {
                continue;
            };
            match connection.deadline() {
                deadline if deadline > self.core.now => self.core.timers.arm(index, deadline),
                _ => self.look_at(index, Cause::Deadline),
            }
        }
    }

    /// Has all sessions told what has changed for all: that the reactor stops, or what the
    /// side has for them.
    pub(crate) fn tell_all(&mut self) {
        self.core.sweep = Some(0);
    }

    /// Tells some in this turn, the others in the next ones.
    fn sweep(&mut self) {
        let Some(from) = self.core.sweep else {
            return;
        };
        let end = self.core.connections.capacity();
        let to = end.min(from + limits::SWEEP);
        self.core.sweep = (to < end).then_some(to);
        for index in from..to {
            let Some(connection) = self.core.connections.get_mut(index) else {
                continue;
            };
            if let Role::Session(session) = &mut connection.role {
                if self.core.stopping.is_some() {
                    self.look_at(index, Cause::ShutDown);
                } else {
                    self.side.tell(session);
                    self.core.timers.arm(index, connection.deadline());
                }
            }
        }
    }

    /// Gives the handler its own part back, and parts from the peer.
    pub(crate) fn end_session(&mut self, index: usize, why: EndOf<S>) {
        let Some(connection) = self.core.connections.get_mut(index) else {
            return;
        };
        let (conn, done) = (connection.channel.id(), connection.channel.is_done());
        let parting = Role::Parting(Parting::new(self.core.now + limits::PARTING_TIME));
        let Role::Session(session) = mem::replace(&mut connection.role, parting) else {
            return;
        };
        self.core.sessions -= 1;
        if S::ended(self, *session, conn, why, done) {
            self.part(index);
        } else {
            self.forget(index);
        }
    }

    /// Parts from a peer: at once if nothing is left to wait for, or too many are waited for.
    pub(crate) fn part(&mut self, index: usize) {
        self.core.timers.disarm(index);
        self.look_at(index, Cause::Ready);
        if self.core.connections.len() - self.core.sessions > limits::PARTING {
            self.forget(index);
        }
    }

    /// Closes the connection. Its name means nobody from now on.
    pub(crate) fn forget(&mut self, index: usize) {
        self.core.timers.disarm(index);
        self.core.connections.try_remove(index);
    }

    fn is_over(&self) -> bool {
        let core = &self.core;
        core.stopping.is_some_and(|end| core.connections.is_empty() || core.now >= end)
    }

    /// The grace is over: what is left is told so, without a word to the peer.
    fn cut_off(&mut self) {
        for index in 0..self.core.connections.capacity() {
            if self.core.connections.contains(index) {
                self.end_session(index, EndOf::<S>::stopped());
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
