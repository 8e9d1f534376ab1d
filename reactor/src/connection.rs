//! One connection: a channel, and what is done over it.

use crate::channel::Channel;
use crate::handler::{Closed, Handler};
use crate::parting::Parting;
use crate::server::Server;
use crate::sources::Source;
use mio::Registry;
use smtpd_engine::server::{Answer, Ticket};
use smtpd_engine::time::Time;

pub(crate) struct Connection<S> {
    pub(crate) channel: Channel,
    pub(crate) role: Role<S>,
    /// Whose share of the sessions this one is part of.
    pub(crate) source: Option<Source>,
    /// It is in the list of those that go on next turn.
    pub(crate) queued: bool,
}

/// What is done over a connection.
pub(crate) enum Role<S> {
    /// We are the receiving side of SMTP. In a box, so that neither an empty place nor a
    /// connection that is parting holds the room of a session.
    Server(Box<Server<S>>),
    /// Nothing any more.
    Parting(Parting),
}

/// Why a connection is looked at.
pub(crate) enum Cause {
    /// It is new.
    Accepted,
    /// The system told something about its socket, or it goes on where it stopped.
    Ready,
    /// The answer to its question is there.
    Answer(Ticket, Answer),
    /// It need not be held any longer.
    Resume,
    /// Its time is over.
    Deadline,
    /// The reactor stops.
    ShutDown,
}

/// What comes after.
pub(crate) enum Next {
    /// Something must happen first.
    Wait,
    /// There is more to do, when the others have had their turn.
    Again,
    /// The session is over.
    Over(Closed),
    /// The connection is over.
    Gone,
}

/// What the reactor lends to the connection that is looked at.
pub(crate) struct Tools<'a, H> {
    pub(crate) handler: &'a mut H,
    /// Where octets are read to; nothing is in it between two looks.
    pub(crate) scratch: &'a mut [u8],
    /// Where replies are written from; empty between two looks.
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) registry: &'a Registry,
    pub(crate) now: Time,
}

impl<S> Connection<S> {
    pub(crate) fn new(channel: Channel, role: Role<S>, source: Option<Source>) -> Connection<S> {
        Connection { channel, role, source, queued: false }
    }

    /// When to look at it, if nothing happens before.
    pub(crate) fn deadline(&self) -> Time {
        match &self.role {
            Role::Server(server) => server.deadline(),
            Role::Parting(parting) => parting.until,
        }
    }

    /// Does what can be done now.
    pub(crate) fn go_on<H>(&mut self, cause: Cause, tools: &mut Tools<'_, H>) -> Next
    where
        H: Handler<Session = S>,
    {
        self.channel.take_unsent(tools.out);
        let next = match &mut self.role {
            Role::Server(server) => server.go_on(&mut self.channel, cause, tools),
            Role::Parting(_) if matches!(cause, Cause::Deadline) => Next::Gone,
            Role::Parting(parting) => parting.go_on(&mut self.channel, tools),
        };
        self.channel.keep_unsent(tools.out);
        next
    }
}
