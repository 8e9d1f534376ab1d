//! Who answers the sessions' questions: the side of the reactor that its caller fills in.

use crate::tls;
use crate::token::ConnId;
use crate::transport::Stream;
use smtpd_engine::reply::Reply;
use smtpd_engine::server::{Answer, Event, Params, Peer, Session, Ticket};
use smtpd_engine::time::Time;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Decides about the sessions of one reactor, and never blocks: what takes time is given to
/// another thread, which answers through a [`Sender`](crate::Sender).
///
/// A panic in one of these calls ends the session it was about, and no other;
/// [`turn_over`](Handler::turn_over) is about none, and its panic leaves
/// [`run`](crate::Reactor::run).
pub trait Handler {
    /// What the handler keeps for each session.
    type Session;

    /// A connection was taken, and there is room for it.
    fn accept(&mut self, link: &Link<'_>, conn: ConnId, now: Time) -> Accept<Self::Session>;

    /// Something happened in a session. A question is answered here, or later by its ticket;
    /// the answer to a notice is ignored.
    ///
    /// `event` lends octets of the reactor's buffer: what is needed later is copied.
    fn event(
        &mut self,
        own: &mut Self::Session,
        about: &About<'_>,
        event: Event<'_>,
    ) -> Option<Answer>;

    /// The answer that came through a [`Sender`](crate::Sender) has reached the session: in time,
    /// or after the session had answered the question by itself. What a yes entails may be done
    /// only now, and only if it was in time.
    fn answered(&mut self, own: &mut Self::Session, ticket: Ticket, in_time: bool) {
        let _ = (own, ticket, in_time);
    }

    /// A [`Sender::resume`](crate::Sender::resume) has reached the session, whatever it waits for:
    /// the time to look at what has become known. Gives the answer to its open question, if that
    /// is possible now.
    fn resumed(&mut self, own: &mut Self::Session, about: &About<'_>) -> Option<(Ticket, Answer)> {
        let _ = (own, about);
        None
    }

    /// A reply was written, and the listener's [`Params::report`] asks for it to be told.
    fn replied(&mut self, own: &mut Self::Session, about: &About<'_>, replied: Replied<'_>) {
        let _ = (own, about, replied);
    }

    /// Asked before each read and after each run of mail data: whether the session may go on.
    fn flow(&mut self, own: &Self::Session) -> Flow {
        let _ = own;
        Flow::Go
    }

    /// A piece of a handshake, which computes: it is run on another thread, and what comes of it
    /// goes to [`Sender::computed`](crate::Sender::computed). The session waits for it, for as
    /// long as a handshake may take. One that is dropped ends its session.
    fn handshake(&mut self, work: tls::Handshake);

    /// The handshake of TLS is over; the session knows what came of it.
    fn secured(&mut self, own: &mut Self::Session, about: &About<'_>) {
        let _ = (own, about);
    }

    /// The session is over; an answer that is still under way reaches nobody. Called once for
    /// each session that [`accept`](Handler::accept) gave, also when it panicked.
    fn closed(&mut self, own: Self::Session, conn: ConnId, why: Closed, now: Time);

    /// All that one wake-up brought has been seen to: the time to hand others, in one go, what
    /// the events gathered.
    fn turn_over(&mut self, now: Time) {
        let _ = now;
    }
}

/// Which session something is about, and when.
pub struct About<'a> {
    /// Names the session to the reactor.
    pub conn: ConnId,
    /// What the engine knows of it.
    pub session: &'a Session,
    /// The moment of this turn.
    pub now: Time,
}

/// [`Event::Replied`] with the octets of the reply: it comes to [`Handler::replied`] and not to
/// [`Handler::event`].
pub struct Replied<'a> {
    /// The line that was answered, without secrets.
    pub command: Option<&'a [u8]>,
    /// The reply's code.
    pub code: u16,
    /// All of its lines with their CR LF.
    pub reply: &'a [u8],
}

/// What becomes of a connection.
pub enum Accept<S> {
    /// A session of the engine.
    Session {
        /// What the listener offers and demands.
        params: Arc<Params>,
        /// The session's id, as it is logged.
        id: u64,
        /// The handler's own part.
        own: S,
        /// TLS, where the listener has it: by STARTTLS if the parameters offer that, or from
        /// the first octet.
        tls: Option<tls::Server>,
    },
    /// This reply, and the end.
    Refuse(Reply<'static>),
}

/// Whether a session may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It may.
    Go,
    /// Whoever takes its mail data is behind. Nothing is read from the peer, its clock stands
    /// still, until [`Sender::resume`](crate::Sender::resume).
    Hold,
}

/// A connection just taken, and what is known of it.
pub struct Link<'a> {
    /// Which of the listeners given to the reactor it came from.
    pub listener: usize,
    /// The peer's address, an IPv4 address never in IPv6 form. None: this machine's own socket.
    pub remote: Option<SocketAddr>,
    pub(crate) stream: &'a Stream,
}

impl Link<'_> {
    /// The peer as the engine knows it.
    pub fn peer(&self) -> Peer {
        match self.remote {
            Some(remote) => Peer::Ip(remote.ip()),
            None => Peer::Local,
        }
    }

    /// Our own end of a connection from the network; asks the system.
    ///
    /// # Errors
    /// The system's, where the connection is gone already.
    pub fn local(&self) -> io::Result<Option<SocketAddr>> {
        self.stream.local()
    }
}

/// For what only the system knows, the credentials of a local peer among it.
impl AsFd for Link<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Why a session ended.
#[derive(Debug)]
pub enum Closed {
    /// The peer said QUIT.
    Quit,
    /// We had reason to close, and said it.
    Ended,
    /// The peer did not do its part in time.
    TimedOut,
    /// The peer hung up.
    HungUp,
    /// The connection broke.
    Broken(io::Error),
    /// TLS did not come about.
    Tls(tls::Failure),
    /// The reactor was stopped, and the grace was over.
    Stopped,
    /// A defect of ours, which is in the log.
    Panicked,
}
