//! One connection: a channel, and what is done over it.

use crate::channel::Channel;
use crate::parting::Parting;
use crate::side::Session;
use mio::Registry;
use smtpd_engine::time::Time;

pub(crate) struct Connection<W> {
    pub(crate) channel: Channel,
    pub(crate) role: Role<W>,
    /// It is in the list of those that go on next turn.
    pub(crate) queued: bool,
}

/// What is done over a connection.
pub(crate) enum Role<W> {
    /// A session of SMTP. In a box, so that neither an empty place nor a connection that is
    /// parting holds the room of a session.
    Session(Box<W>),
    /// Nothing any more.
    Parting(Parting),
}

/// Why a connection is looked at.
pub(crate) enum Cause<N> {
    /// The system told something about its socket, or it goes on where it stopped.
    Ready,
    /// Its time is over.
    Deadline,
    /// The reactor stops.
    ShutDown,
    /// Something for its session.
    News(N),
}

/// What comes after.
pub(crate) enum Next<E> {
    /// Something must happen first.
    Wait,
    /// There is more to do, when the others have had their turn.
    Again,
    /// The session is over.
    Over(E),
    /// The connection is over.
    Gone,
}

/// What the reactor lends to the connection that is looked at.
pub(crate) struct Tools<'a, H> {
    pub(crate) handler: &'a mut H,
    /// Where octets are read to; nothing is in it between two looks.
    pub(crate) scratch: &'a mut [u8],
    /// Where what is said is written from; empty between two looks.
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) registry: &'a Registry,
    pub(crate) now: Time,
}

impl<W: Session> Connection<W> {
    pub(crate) fn new(channel: Channel, role: Role<W>) -> Connection<W> {
        Connection { channel, role, queued: false }
    }

    /// When to look at it, if nothing happens before.
    pub(crate) fn deadline(&self) -> Time {
        match &self.role {
            Role::Session(session) => session.deadline(),
            Role::Parting(parting) => parting.until,
        }
    }

    /// Does what can be done now.
    pub(crate) fn go_on(
        &mut self,
        cause: Cause<W::News>,
        tools: &mut Tools<'_, W::Handler>,
    ) -> Next<W::End> {
        self.channel.take_unsent(tools.out);
        let next = match &mut self.role {
            Role::Session(session) => session.go_on(&mut self.channel, cause, tools),
            Role::Parting(_) if matches!(cause, Cause::Deadline) => Next::Gone,
            Role::Parting(parting) => parting.go_on(&mut self.channel, tools),
        };
        self.channel.keep_unsent(tools.out);
        next
    }
}
