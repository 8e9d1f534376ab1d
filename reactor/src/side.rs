//! What a reactor does with its connections: the receiving or the sending side of SMTP.
//!
//! [`Turns`] is one loop for both. It knows connections, deadlines and
//! messages, and is compiled once for each side, so that what is common costs no indirection.

use crate::channel::Channel;
use crate::connection::{Cause, Next, Tools};
use crate::token::ConnId;
use crate::turn::Turns;
use smtpd_engine::time::Time;

/// One side, as the loop needs it.
pub(crate) trait Side: Sized {
    /// Who decides: the caller's part.
    type Handler;
    /// What is done over each connection.
    type Session: Session<Handler = Self::Handler>;
    /// What other threads tell.
    type Message;

    fn handler(&mut self) -> &mut Self::Handler;

    /// The system told something of the nth socket that is no connection.
    fn note(&mut self, nth: usize);

    /// When the side has something to do, unless it is told of something before.
    fn next(&self) -> Option<Time>;

    /// Another thread told something.
    fn receive(turns: &mut Turns<Self>, message: Self::Message);

    /// The side's part of a turn, when events and messages have been seen to.
    fn turn(turns: &mut Turns<Self>);

    /// The last of a turn.
    fn turn_over(turns: &mut Turns<Self>);

    /// Changes what is to be changed in every session, one after the other
    /// ([`Turns::tell_all`]).
    fn tell(&self, session: &mut Self::Session);

    /// A session is over, and no longer counted. Whether its peer is to be given time to read
    /// the last reply: not if `done`, when it has all octets and sent no more.
    fn ended(
        turns: &mut Turns<Self>,
        session: Self::Session,
        conn: ConnId,
        why: EndOf<Self>,
        done: bool,
    ) -> bool;
}

/// Why a session of that side ended.
pub(crate) type EndOf<S> = <<S as Side>::Session as Session>::End;

/// What the session of a side may be told by name.
pub(crate) type NewsOf<S> = <<S as Side>::Session as Session>::News;

/// What is done over one connection.
pub(crate) trait Session {
    /// Who decides.
    type Handler;
    /// What it may be told, beside what happens to every connection.
    type News;
    /// Why it ended.
    type End: End;

    /// What it is in log lines.
    fn id(&self) -> u64;

    /// When to look at it, if nothing happens before.
    fn deadline(&self) -> Time;

    /// Does what can be done now.
    fn go_on(
        &mut self,
        channel: &mut Channel,
        cause: Cause<Self::News>,
        tools: &mut Tools<'_, Self::Handler>,
    ) -> Next<Self::End>;
}

/// Ends that are the loop's to give.
pub(crate) trait End {
    /// A defect of ours.
    fn panicked() -> Self;
    /// The grace of a stop was over.
    fn stopped() -> Self;
}
