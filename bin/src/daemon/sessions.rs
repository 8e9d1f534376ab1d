//! The receiving sessions of a reactor: the intake, with channels to the threads behind it.

use std::sync::Arc;
use std::sync::mpsc;

use smtpd_engine::server::{Answer, Event, Ticket};
use smtpd_engine::time::Time;
use smtpd_queue::id::MessageId;
use smtpd_queue::request::Accept;
use smtpd_reactor::tls::{Failure, Handshake};
use smtpd_reactor::{self as reactor, About, Closed, ConnId, Flow, Handler, Link, Replied, calls};

use super::auth::{self, Desk};
use super::clock::wall;
use super::intake::{Backstage, Intake, Session, client};
use super::lookup::{self, Question};
use super::messages::{Asker, Backlog, Order, Request, Waiting};
use super::pool::Pool;
use super::relay;
use super::relay::prepare::Soon;
use super::relay::start::Work;
use super::spooler::Spooler;
use super::tls::{Counts, Current};
use super::users::Remembered;
use crate::log::session::{self as line, Reason};
use crate::sys::{self, Zone};

/// The ways from a reactor to the threads that may wait.
pub struct Channels {
    /// To the commit thread.
    pub commit: mpsc::Sender<Order>,
    /// Messages of this turn that are to be committed.
    pub whole: Vec<Request>,
    /// To the content writers.
    pub spooler: Spooler<ConnId>,
    /// To the look-up thread.
    pub lookup: lookup::Sender<ConnId>,
    /// To those who check passwords, where somebody can authenticate.
    pub auth: Option<Desk<ConnId>>,
    /// To the resolver.
    pub resolver: calls::Sender<relay::Message>,
    /// Clients of this turn whose names are to be looked up.
    pub clients: Vec<client::Question<ConnId>>,
    /// To the preparers of what is relayed.
    pub preparers: Arc<Pool<Work>>,
}

/// Messages handed to the commit thread at once: enough that a sync costs each of them little, and
/// few enough that the first does not wait for a long turn.
const TOGETHER: usize = 64;

impl Channels {
    fn hand_over(&mut self) {
        if !self.whole.is_empty() {
            let _ = self.commit.send(Order::Requests(std::mem::take(&mut self.whole)));
        }
    }

    fn ask_for_names(&mut self) {
        if !self.clients.is_empty() {
            let clients = std::mem::take(&mut self.clients);
            self.resolver.send(relay::Message::Clients(clients));
        }
    }
}

impl Backstage for Channels {
    type Conn = ConnId;

    // The threads at the other ends outlive the reactor, or the process ends with them: that a
    // message cannot be sent is no case of its own.

    /// Messages that are whole in one turn are handed over together at its end: they share a
    /// sync, and a single one finds no company to wait for.
    fn commit(&mut self, accept: Accept<Waiting<ConnId>>) {
        self.whole.push(Request::Accept(accept.map(Asker::Peer)));
        if self.whole.len() >= TOGETHER {
            self.hand_over();
        }
    }

    fn write(&mut self, message: MessageId, octets: Vec<u8>, backlog: &Backlog, conn: ConnId) {
        self.spooler.write(message, octets, backlog, Some(conn));
    }

    fn finish(&mut self, accept: Box<Accept<Waiting<ConnId>>>) {
        self.spooler.finish(Box::new(accept.map(Asker::Peer)));
    }

    fn remove(&mut self, message: MessageId) {
        self.spooler.remove(message);
    }

    /// Those who came in one turn share a wake-up.
    fn name(&mut self, question: client::Question<ConnId>) {
        self.clients.push(question);
    }

    fn look_up(&mut self, question: Question<ConnId>) {
        let _ = self.lookup.send(question);
    }

    fn log_in(&mut self, question: auth::Question<ConnId>) -> Result<(), auth::Question<ConnId>> {
        match &self.auth {
            Some(desk) => desk.ask(question),
            None => Err(question),
        }
    }

    fn soon(&mut self, soon: Soon) {
        self.preparers.offer(Work::Soon(soon));
    }

    fn wall(&mut self) -> u64 {
        wall()
    }

    fn zone(&mut self, seconds: i64) -> Zone {
        sys::zone_at(seconds)
    }
}

/// What the reactor asks.
pub struct Sessions {
    intake: Intake<Channels, Remembered>,
    handshakes: Pool<Handshake>,
    tls: Current,
    counts: Counts,
    /// Of which `listen` line each listener is.
    lines: Vec<usize>,
}

impl Sessions {
    /// The sessions of one reactor. `lines` says of which `listen` line each listener is.
    #[must_use]
    pub fn new(
        intake: Intake<Channels, Remembered>,
        handshakes: Pool<Handshake>,
        (tls, lines): (Current, Vec<usize>),
    ) -> Sessions {
        Sessions { intake, handshakes, tls, counts: Counts::default(), lines }
    }

    /// What the sessions agree on under TLS.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }
}

impl Handler for Sessions {
    type Session = Session;

    fn accept(&mut self, link: &Link<'_>, conn: ConnId, _now: Time) -> reactor::Accept<Session> {
        let (params, own) = self.intake.open(link.listener, link.peer(), conn);
        let tls = self.tls.of(self.lines[link.listener]);
        reactor::Accept::Session { params, id: own.id, own, tls }
    }

    /// How many there are is bounded by the sessions: each waits for its own.
    fn handshake(&mut self, work: Handshake) {
        self.handshakes.push(work);
    }

    fn secured(&mut self, own: &mut Session, about: &About<'_>) {
        if let Some(tls) = about.session.tls() {
            self.counts.agreed(tls);
            self.intake.secured(own, tls);
        }
    }

    fn event(&mut self, own: &mut Session, about: &About<'_>, event: Event<'_>) -> Option<Answer> {
        self.intake.event(own, about.session, about.conn, event)
    }

    fn answered(&mut self, own: &mut Session, ticket: Ticket, in_time: bool) {
        self.intake.answered(own, ticket, in_time);
    }

    fn resumed(&mut self, own: &mut Session, about: &About<'_>) -> Option<(Ticket, Answer)> {
        self.intake.resumed(own, about.session, about.conn)
    }

    fn replied(&mut self, own: &mut Session, _about: &About<'_>, replied: Replied<'_>) {
        if let Some(command) = replied.command {
            line::trace_received(own.id, command);
        }
        line::trace_sent(own.id, replied.reply);
        if replied.code < 400 {
            return;
        }
        self.intake.announce(own);
        match replied.command {
            Some(command) => line::failed_command(own.id, command, replied.reply),
            None => line::bad_input(own.id, replied.reply),
        }
    }

    fn flow(&mut self, own: &Session) -> Flow {
        if own.is_held() { Flow::Hold } else { Flow::Go }
    }

    fn turn_over(&mut self, _now: Time) {
        self.intake.backstage.hand_over();
        self.intake.backstage.ask_for_names();
    }

    fn closed(&mut self, mut own: Session, _conn: ConnId, why: Closed, _now: Time) {
        self.intake.announce(&mut own);
        self.intake.give_up(&mut own);
        let text;
        let reason = match why {
            Closed::Quit => Reason::Quit,
            Closed::TimedOut => Reason::Timeout,
            Closed::Ended | Closed::HungUp | Closed::Stopped | Closed::Panicked => {
                Reason::Disconnect
            }
            Closed::Tls(Failure::TimedOut) => Reason::Timeout,
            Closed::Tls(Failure::HungUp) => Reason::Disconnect,
            Closed::Tls(Failure::Refused(error)) => {
                self.counts.failed();
                line::tls_failed(own.id, &error);
                Reason::Tls
            }
            Closed::Tls(Failure::Broken(error)) | Closed::Broken(error) => {
                text = super::sockets::system_text(&error);
                Reason::Io(&text)
            }
        };
        line::disconnected(own.id, reason);
    }
}
