//! Outgoing connections: the sending side of SMTP, on the same loop as the receiving one.
//!
//! A [`Reactor`] is one thread that has connections to next hops. A [`Caller`] says where to
//! connect ([`Calls`]) and what to send; octets, deadlines and TLS are seen to here. Nothing
//! waits: connecting, handshakes, questions to the DNS ([`dns`](crate::dns)) and content that is
//! late go on beside everything else.
//!
//! | file | holds |
//! |---|---|
//! | `caller` | the caller's side |
//! | `client` | one connection: connecting, TLS, a session of [`smtpd_engine::client`] |
//! | `connect` | a socket on its way to a next hop |
//! | `inbox` | messages from other threads |

mod caller;
mod client;
mod connect;
mod inbox;
#[cfg(test)]
mod tests;

pub use caller::{Caller, Calling, Hangup, Next, Piece, Target};
pub use inbox::{Inbox, Sender};

use crate::channel::Channel;
use crate::connection::Role;
use crate::dns::{QueryId, Question, Settings, Sockets, Trouble};
use crate::side::{Session, Side};
use crate::token::{self, ConnId};
use crate::transport::{Stream, Transport};
use crate::turn::{Core, Turns, words};
use client::Client;
use inbox::Message;
use smtpd_engine::time::Time;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What the caller decides for one reactor.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, at least 1; each takes one file descriptor. The bound is there for
    /// the descriptors: who connects where, and how often, is the [`Caller`]'s to decide.
    pub connections: usize,
    /// How long after a stop the mails under way are waited for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 1_000, grace: Duration::from_secs(30) }
    }
}

/// Outgoing connections of one thread.
pub struct Reactor<C: Caller> {
    turns: Turns<Sending<C>>,
}

impl<C: Caller> Reactor<C> {
    /// Nothing is done before [`run`](Reactor::run). Questions go to `names`.
    pub fn new(inbox: Inbox<C::Message>, limits: Limits, names: Sockets, caller: C) -> Reactor<C> {
        let connections = limits.connections.clamp(1, token::MAX_INDEX);
        let limits = Limits { connections, ..limits };
        let side = Sending { caller, limits, names, wake: None, stillborn: Vec::new() };
        Reactor { turns: Turns::new(inbox.postbox, side) }
    }

    /// Goes on until [`Sender::stop`], and gives the caller back.
    ///
    /// # Errors
    /// What the system says when it no longer tells events.
    pub fn run(self) -> io::Result<C> {
        Ok(self.turns.run()?.caller)
    }
}

/// What a [`Caller`] may do.
pub struct Calls<'a, C: Caller> {
    core: &'a mut Core<Sending<C>>,
    limits: &'a Limits,
    names: &'a mut Sockets,
    wake: &'a mut Option<Time>,
    stillborn: &'a mut Vec<Stillborn<C>>,
}

impl<C: Caller> Calls<'_, C> {
    /// Begins to connect. It always ends in a call of [`Caller::closed`], and be it that there
    /// was nothing to begin.
    pub fn connect(&mut self, target: Target, own: C::Session) -> ConnId {
        let conn = self.core.next_id();
        if let Err((own, why)) = self.try_connect(conn, target, own) {
            self.stillborn.push((own, conn, why));
        }
        conn
    }

    fn try_connect(
        &mut self,
        conn: ConnId,
        target: Target,
        own: C::Session,
    ) -> Result<(), (C::Session, Hangup)> {
        if self.core.is_stopping() {
            return Err((own, Hangup::Stopped));
        }
        if self.core.connections.len() >= self.limits.connections {
            return Err((own, Hangup::Local(io::Error::other("too many outgoing connections"))));
        }
        let stream = match connect::begin(target.address, target.source) {
            Ok(stream) => Stream::Tcp(stream),
            Err(why) => return Err((own, why)),
        };
        let mut channel = Channel::connecting(Transport::plain(stream), conn);
        if let Err(error) = channel.register(self.core.postbox.poll.registry()) {
            return Err((own, Hangup::Local(error)));
        }
        let client = Client::new(target, own, self.core.now);
        let deadline = client.deadline();
        self.core.begin(channel, Role::Session(Box::new(client)));
        self.core.timers.arm(conn.index(), deadline);
        Ok(())
    }

    /// Something is new for that connection: an idle one is asked again what is to be done, one
    /// whose content was late for content. Any other is not touched.
    pub fn resume(&mut self, conn: ConnId) {
        if let Some(connection) = self.core.find(conn)
            && let Role::Session(client) = &mut connection.role
        {
            client.resumed = true;
            self.core.look_soon(conn.index());
        }
    }

    /// Asks the DNS. The answer goes to [`Caller::resolved`], in this turn at the earliest.
    pub fn ask(&mut self, question: Question) -> QueryId {
        self.names.ask(question, self.core.now)
    }

    /// Nobody waits for that answer any more. It may yet come, if it was on its way.
    pub fn forget(&mut self, query: QueryId) {
        self.names.forget(query);
    }

    /// Has other nameservers asked, and other hosts known, from now on.
    pub fn set_names(&mut self, settings: Settings) {
        self.names.set(settings, self.core.now);
    }

    /// Why the last question that needed a nameserver found none: the DNS is gone.
    pub fn silence(&self) -> Option<Trouble> {
        self.names.silence()
    }

    /// Has [`Caller::turn_over`] called at that moment at the latest. Each turn forgets it.
    pub fn wake_at(&mut self, at: Time) {
        *self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// The moment of this turn.
    pub fn now(&self) -> Time {
        self.core.now
    }
}

/// A connection that never was: whose, by what name, and why.
type Stillborn<C> = (<C as Caller>::Session, ConnId, Hangup);

pub(crate) struct Sending<C: Caller> {
    caller: C,
    limits: Limits,
    names: Sockets,
    /// When the caller wants to be called.
    wake: Option<Time>,
    /// To be told of.
    stillborn: Vec<Stillborn<C>>,
}

impl<C: Caller> Side for Sending<C> {
    type Handler = C;
    type Session = Client<C>;
    type Message = Message<C::Message>;

    fn handler(&mut self) -> &mut C {
        &mut self.caller
    }

    fn note(&mut self, nth: usize) {
        self.names.note(nth);
    }

    fn next(&self) -> Option<Time> {
        match self.stillborn.is_empty() {
            true => [self.wake, self.names.next()].into_iter().flatten().min(),
            false => Some(Time::default()),
        }
    }

    fn receive(turns: &mut Turns<Self>, message: Message<C::Message>) {
        match message {
            Message::Own(message) => turns.call(|caller, calls| caller.message(message, calls)),
            Message::Resume(conn) => turns.call(|_, calls| calls.resume(conn)),
            Message::Stop => turns.stop(turns.side.limits.grace),
        }
    }

    fn turn(turns: &mut Turns<Self>) {
        for (own, conn, why) in std::mem::take(&mut turns.side.stillborn) {
            turns.closed(own, conn, why);
        }
        turns.side.names.turn(turns.core.postbox.poll.registry(), turns.core.now);
        while let Some((query, answer)) = turns.side.names.next_answer() {
            turns.call(|caller, calls| caller.resolved(query, &answer, calls));
        }
    }

    fn turn_over(turns: &mut Turns<Self>) {
        turns.side.wake = None;
        turns.call(|caller, calls| caller.turn_over(calls));
    }

    /// Only a stop is told to all.
    fn tell(&self, _: &mut Client<C>) {}

    fn ended(
        turns: &mut Turns<Self>,
        client: Client<C>,
        conn: ConnId,
        why: Hangup,
        _: bool,
    ) -> bool {
        turns.closed(client.own, conn, why);
        // It is for the receiving side to see that its last reply arrives.
        false
    }
}

impl<C: Caller> Turns<Sending<C>> {
    fn call(&mut self, call: impl FnOnce(&mut C, &mut Calls<'_, C>)) {
        let Sending { caller, limits, names, wake, stillborn } = &mut self.side;
        call(caller, &mut Calls { core: &mut self.core, limits, names, wake, stillborn });
    }

    fn closed(&mut self, own: C::Session, conn: ConnId, why: Hangup) {
        let (caller, now) = (&mut self.side.caller, self.core.now);
        let told = catch_unwind(AssertUnwindSafe(|| caller.closed(own, conn, why, now)));
        if let Err(panic) = told {
            log::error!("outgoing connection closed, with a defect of ours: {}", words(&*panic));
        }
    }
}
