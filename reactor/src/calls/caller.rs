//! Who has mail to send: the side of outgoing connections that their caller fills in.

use super::Calls;
use crate::dns::{Answer, QueryId};
use crate::tls;
use crate::token::ConnId;
use crate::transport::Stream;
use smtpd_engine::client::{Event, Mail, Params, Session};
use smtpd_engine::time::Time;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Decides what is said over the outgoing connections of one reactor, and never blocks: what
/// takes time is given to another thread, which answers by a message.
///
/// A panic in a call about one connection ends that connection, and no other. The calls that are
/// about none ([`message`](Caller::message), [`resolved`](Caller::resolved),
/// [`turn_over`](Caller::turn_over)) have a [`Calls`]; their panic leaves
/// [`run`](super::Reactor::run).
pub trait Caller: Sized {
    /// What the caller keeps for each connection.
    type Session;
    /// What other threads tell it, by a [`Sender`](super::Sender).
    type Message;

    /// Another thread told something.
    fn message(&mut self, message: Self::Message, calls: &mut Calls<'_, Self>);

    /// The next hop waits for a mail: what is to be done. Asked again after each mail, and as
    /// [`Next::Wait`] says.
    fn ready<'c>(&'c mut self, own: &'c mut Self::Session, about: &Calling<'_>) -> Next<'c>;

    /// The next hop takes the content of the mail, lines ending in CR LF, dots not doubled: the
    /// run that begins at the octet `from`. As much as is there at once is best; what is not
    /// taken now is asked for again.
    fn content<'c>(&'c mut self, own: &'c mut Self::Session, from: u64) -> Piece<'c>;

    /// Something happened: outcomes of recipients, or the end of the session.
    ///
    /// `event` lends octets of the reactor's buffer: what is needed later is copied.
    fn event(&mut self, own: &mut Self::Session, about: &Calling<'_>, event: Event<'_>);

    /// The connection is over. Called once for each [`Calls::connect`], also when it panicked.
    fn closed(&mut self, own: Self::Session, conn: ConnId, why: Hangup, now: Time);

    /// A question to the DNS has its answer.
    fn resolved(&mut self, query: QueryId, answer: &Answer, calls: &mut Calls<'_, Self>);

    /// All that one wake-up brought has been seen to: the time to act, in one go, on what the
    /// calls gathered.
    fn turn_over(&mut self, calls: &mut Calls<'_, Self>);
}

/// What is to be done with a session that waits for its caller.
pub enum Next<'c> {
    /// This mail is sent.
    Mail(Mail<'c>),
    /// Nothing: the connection is kept. Asked again at that moment at the latest, or after
    /// [`Calls::resume`].
    Wait(Time),
    /// It is closed in order.
    Quit,
}

/// A part of a mail's content.
pub enum Piece<'c> {
    /// Some octets, at least one.
    Octets(&'c [u8]),
    /// Nothing yet: asked again after [`Calls::resume`], which comes within two minutes.
    Later,
    /// Nothing more.
    End,
    /// The content cannot be had. The connection is cut without the final dot, so the next hop
    /// keeps nothing of the mail.
    Broken,
}

/// Where a connection leads, and how.
pub struct Target {
    /// The connection's id, as it is logged.
    pub id: u64,
    /// The next hop.
    pub address: SocketAddr,
    /// Our end, of the same family. None: the system's choice.
    pub source: Option<IpAddr>,
    /// How SMTP is spoken.
    pub params: Arc<Params>,
    /// How TLS is spoken. There unless `params` do without and it is not `immediate`.
    pub tls: Option<tls::Client>,
    /// TLS from the first octet (smtps).
    pub immediate: bool,
    /// How long connecting may take.
    pub connect_time: Duration,
}

/// Which connection something is about, and when.
pub struct Calling<'a> {
    /// Names the connection to the reactor.
    pub conn: ConnId,
    /// The next hop.
    pub address: SocketAddr,
    /// What the engine knows of it.
    pub session: &'a Session,
    /// The moment of this turn.
    pub now: Time,
    pub(super) stream: &'a Stream,
}

impl Calling<'_> {
    /// Our own end; asks the system.
    ///
    /// # Errors
    /// The system's, where the connection is gone already.
    pub fn local(&self) -> io::Result<Option<SocketAddr>> {
        self.stream.local()
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum Hangup {
    /// We said QUIT.
    Quit,
    /// The session ended by the failure that the last event told.
    Failed,
    /// It could not even be tried: no descriptor, a source address that is not ours, too many
    /// connections. Nothing is known of the next hop.
    Local(io::Error),
    /// There was no connection: refused, unreachable, out of time.
    Connect(io::Error),
    /// TLS did not come about.
    Tls(tls::Failure),
    /// The content of a mail could not be had, or not in time. Nothing is wrong with the next
    /// hop; the recipients without an outcome have none.
    Content,
    /// The reactor was stopped.
    Stopped,
    /// A defect of ours, which is in the log.
    Panicked,
}
