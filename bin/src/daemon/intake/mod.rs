//! From the engine's events to an accepted message: the owner's part of each receiving session.
//!
//! [`Intake`] is a value: what it hands on (messages to commit, content to write, look-ups that
//! may wait) goes through [`Backstage`], and so does the clock. The daemon stands channels and
//! threads behind that trait, the simulation queues of one thread. Nothing here waits.
//!
//! A recipient is answered at once when everything it needs is in memory. Else it is answered by
//! ticket from the look-up thread, and what was found lies in a [`Slot`](super::lookup::Slot) that
//! is opened only if that answer reached the session in time.
//!
//! The client's name is looked up from the accept on. RCPT waits for it when some rule looks at it,
//! and DATA always, as it stands in the trace field.

pub mod client;
mod content;
mod guesses;
mod login;
mod received;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

use smtpd_config::srs::NotOurs;
use smtpd_config::table::TableId;
use smtpd_config::{self as config, Auth, Config, Expansion, Facts, Listen, Outside, Senders, Tls};
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{
    Answer, Credentials, Demand, Event, Params, Peer, Report, Session as Engine, StrayNewline,
    Ticket,
};
use smtpd_engine::tls::TlsInfo;
use smtpd_queue::budget::Budget;
use smtpd_queue::id::{Ids, MessageId};
use smtpd_queue::request::{self, Accept, Body};

use super::auth;
use super::clock::day;
use super::lookup::{self, About, OwnFacts, Question};
use super::messages::{Backlog, Total, Waiting};
use super::relay::prepare::Soon;
use crate::log::session as line;
use crate::sys::Zone;
use client::{Client, Untold, Waiting as Awaiting};
use content::Content;
use guesses::Guesses;
use login::Login;
use received::Header;
pub use received::NO_NAME;
use transaction::{Accepted, Data, Sender, Transaction};

/// The port of submission (RFC 6409): what arrives there may be completed.
const SUBMISSION: u16 = 587;

/// What an intake hands on. None of these calls may wait.
pub trait Backstage {
    /// Names a connection.
    type Conn: Copy;

    /// Has a message committed and its sender answered.
    fn commit(&mut self, accept: Accept<Waiting<Self::Conn>>);

    /// Has a piece of content written to the message's file.
    fn write(&mut self, message: MessageId, octets: Vec<u8>, backlog: &Backlog, conn: Self::Conn);

    /// Has the message committed when its content file is durable.
    fn finish(&mut self, accept: Box<Accept<Waiting<Self::Conn>>>);

    /// Has the content file of a message removed that was given up.
    fn remove(&mut self, message: MessageId);

    /// Has the name of a client looked up, and its connection resumed when the answer is there
    /// ([`Intake::resumed`]), within seconds.
    fn name(&mut self, question: client::Question<Self::Conn>);

    /// Has a recipient judged where waiting is allowed, and the question answered.
    fn look_up(&mut self, question: Question<Self::Conn>);

    /// Has it judged whether somebody is who he says he is, and the question answered.
    ///
    /// # Errors
    /// The question, when it cannot be judged now.
    fn log_in(
        &mut self,
        question: auth::Question<Self::Conn>,
    ) -> Result<(), auth::Question<Self::Conn>> {
        Err(question)
    }

    /// A recipient was taken of a client that may relay: its message will soon go this way. Nobody
    /// has to care.
    fn soon(&mut self, _soon: Soon) {}

    /// The wall clock, in microseconds since 1970.
    fn wall(&mut self) -> u64;

    /// The local time zone at a time of the wall clock in seconds.
    fn zone(&mut self, seconds: i64) -> Zone;
}

/// A listener as its sessions need it.
pub struct Gate {
    params: Arc<Params>,
    name: Box<str>,
    tag: Option<Box<str>>,
    mask_src: bool,
    submission: bool,
    /// Where the users are who can authenticate; none: in the system.
    users: Option<TableId>,
    senders: Option<Senders>,
    received_auth: bool,
}

impl Gate {
    /// The gate of a listener of the configuration. `report` says which replies of its sessions
    /// are told, for the log.
    #[must_use]
    pub fn new(config: &Config, listen: &Listen, report: Report) -> Gate {
        Gate {
            params: Arc::new(params(config, listen, report)),
            name: listen.name(config).into(),
            tag: listen.tag.as_deref().map(Into::into),
            mask_src: listen.mask_src,
            submission: listen.port == SUBMISSION,
            users: users(listen),
            senders: listen.senders,
            received_auth: listen.received_auth,
        }
    }
}

fn users(listen: &Listen) -> Option<TableId> {
    match listen.auth {
        Auth::Never => None,
        Auth::Optional(table) | Auth::Require(table) => table,
    }
}

/// What the engine holds the sessions of a listener to.
#[must_use]
pub fn params(config: &Config, listen: &Listen, report: Report) -> Params {
    Params {
        max_size: config.smtp.max_message_size,
        max_recipients: config.smtp.max_rcpt,
        max_mails: config.smtp.max_mails,
        starttls: match listen.tls {
            Tls::Never | Tls::Smtps { .. } => Demand::Never,
            Tls::Offer => Demand::Offered,
            Tls::Require { .. } => Demand::Required,
        },
        auth: match listen.auth {
            Auth::Never => Demand::Never,
            Auth::Optional(_) => Demand::Offered,
            Auth::Require(_) => Demand::Required,
        },
        scram: users(listen).is_some_and(|table| config.tables.get(table).is_all_scram()),
        dsn: !listen.no_dsn,
        stray_newline: match listen.stray_newline {
            smtpd_config::StrayNewline::Reject => StrayNewline::Reject,
            smtpd_config::StrayNewline::Normalize => StrayNewline::Normalize,
        },
        report,
        ask: Default::default(),
    }
}

/// One session's part: what its transaction needs to know, and the transaction.
pub struct Session {
    /// As it is logged.
    pub id: u64,
    gate: usize,
    client: Client,
    helo: Box<str>,
    login: Login,
    /// The client is of this machine, or has authenticated.
    may_relay: bool,
    transaction: Option<Box<Transaction>>,
}

impl Session {
    /// Whether the session must be held back: its content is written more slowly than it comes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.is_held())
    }

    /// The answer that [`Backstage::look_up`] led to reached the engine, in time or not. Whether
    /// a recipient was taken by that.
    pub fn answered(&mut self, ticket: Ticket, in_time: bool) -> bool {
        let transaction = self.transaction.as_mut();
        transaction.is_some_and(|transaction| transaction.settle(ticket, in_time))
    }
}

/// All receiving sessions of one reactor.
pub struct Intake<B, U> {
    config: Arc<Config>,
    gates: Vec<Gate>,
    ids: Ids,
    budget: Budget,
    behind: Total,
    guesses: Guesses,
    users: U,
    next_session: u64,
    /// Whether some rule looks at the names of clients.
    names_matter: bool,
    /// Where header and body are put together; empty between two events.
    scratch: Vec<u8>,
    zone: (i64, Zone),
    /// What is behind it.
    pub backstage: B,
}

/// Seconds for which a time zone is believed in.
const ZONE: i64 = 60;

impl<B: Backstage, U: Outside> Intake<B, U> {
    /// An intake for the given gates; `seed` makes its session ids differ from those of other
    /// intakes and starts.
    pub fn new(
        config: Arc<Config>,
        gates: Vec<Gate>,
        (ids, budget): (Ids, Budget),
        users: U,
        seed: u64,
        backstage: B,
    ) -> Intake<B, U> {
        let asks = |rule: &config::Match| matches!(rule.from.what, config::rules::From::Rdns(_));
        Intake {
            names_matter: config.matches.iter().any(asks),
            config,
            gates,
            ids,
            budget,
            behind: Total::default(),
            guesses: Guesses::default(),
            users,
            next_session: seed,
            scratch: Vec::new(),
            zone: (i64::MIN, Zone::default()),
            backstage,
        }
    }

    /// A connection came in at a gate: what its session may do, and our part of it.
    pub fn open(&mut self, gate: usize, peer: Peer, conn: B::Conn) -> (Arc<Params>, Session) {
        // A Weyl sequence: no id comes twice in 2^64 sessions, and neighbours look unrelated.
        self.next_session = self.next_session.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let id = self.next_session;
        let (client, question) = Client::new(peer, conn);
        if let Some(question) = question {
            self.backstage.name(question);
        }
        let (helo, login, may_relay, transaction) = ("".into(), Login::default(), false, None);
        let session = Session { id, gate, client, helo, login, may_relay, transaction };
        (self.gates[gate].params.clone(), session)
    }

    /// Something happened in a session.
    pub fn event(
        &mut self,
        session: &mut Session,
        engine: &Engine,
        conn: B::Conn,
        event: Event<'_>,
    ) -> Option<Answer> {
        // What a panic of another session left there must not reach this one's message.
        self.scratch.clear();
        // Nothing happens while a question is open, so that is over.
        session.client.waiting = None;
        let name = &self.gates[session.gate].name;
        let reply = match event {
            Event::Connected { .. } => {
                session.client.untold.early = engine.early_talker();
                if session.client.is_known() {
                    self.announce(session);
                }
                reply::banner(name)
            }
            Event::Hello { name: helo, .. } => {
                session.helo = helo.as_str().into();
                reply::hello(name, &helo, &engine.peer())
            }
            Event::Mail { ticket, from, params } => {
                session.transaction = Some(Box::new(Transaction::new(from, &params, name)));
                return self.mail(session, (conn, ticket));
            }
            Event::Auth { ticket, credentials } => {
                return self.log_in(session, engine, (conn, ticket), credentials);
            }
            Event::Rcpt { ticket, to, params } => {
                let accepted = Accepted::new(to.to_mailbox(name), &params);
                if self.names_matter && !session.client.is_known() {
                    let waiting = Awaiting::Recipient(Box::new(accepted));
                    session.client.waiting = Some((ticket, waiting));
                    return None;
                }
                return self.recipient(session, engine, (conn, ticket), accepted);
            }
            Event::Data { ticket } if !session.client.is_known() => {
                session.client.waiting = Some((ticket, Awaiting::Data));
                return None;
            }
            Event::Data { .. } => self.data(session, engine, conn),
            Event::Body(run) => {
                if let Some(data) = session.data() {
                    data.content.push(run, &mut self.scratch, conn, &mut self.backstage);
                }
                return None;
            }
            Event::EndOfData { ticket, .. } => {
                let waiting = Waiting { conn, ticket, esmtp: engine.esmtp() };
                return self.end_of_data(session, engine, waiting).err().map(Answer::from);
            }
            Event::Reset => {
                self.give_up(session);
                return None;
            }
            Event::StrayOctet { offset, .. } => {
                let params = &self.gates[session.gate].params;
                let normalised = params.stray_newline == StrayNewline::Normalize;
                line::stray_newline(engine.id(), engine.peer(), offset, normalised);
                return None;
            }
            // Not asked for: the engine answers them by itself.
            Event::Command { .. } => reply::OK,
            Event::StartTls | Event::Replied { .. } => return None,
        };
        Some(reply.into())
    }

    /// Something has become known about the session: its client's name, if that was missing. The
    /// answer to the question that waits for it, if there is one already.
    pub fn resumed(
        &mut self,
        session: &mut Session,
        engine: &Engine,
        conn: B::Conn,
    ) -> Option<(Ticket, Answer)> {
        self.scratch.clear();
        if !session.client.is_known() {
            return None;
        }
        self.announce(session);
        let (ticket, waiting) = session.client.waiting.take()?;
        // What the session has answered by itself must not come to anything.
        if !engine.awaits(ticket) {
            return None;
        }
        let answer = match waiting {
            Awaiting::Recipient(one) => self.recipient(session, engine, (conn, ticket), *one)?,
            Awaiting::Data => self.data(session, engine, conn).into(),
        };
        Some((ticket, answer))
    }

    /// Logs that the peer is there, if that has not been told: when its name is known, or before
    /// anything else is told of it.
    pub fn announce(&self, session: &mut Session) {
        let (id, peer) = (session.id, session.client.peer);
        let untold = std::mem::replace(&mut session.client.untold, Untold::told());
        if !untold.connected {
            line::connected(id, peer, session.client.shown(&self.gates[session.gate].name));
        }
        if untold.early {
            line::early_talker(id, peer);
        }
        if let Some(tls) = untold.tls {
            line::tls(id, &tls);
        }
    }

    /// TLS has begun.
    pub fn secured(&self, session: &mut Session, tls: &TlsInfo) {
        session.client.untold.tls = Some(Box::new(tls.clone()));
        if session.client.is_known() {
            self.announce(session);
        }
    }

    /// As [`Session::answered`], and tells what came of AUTH and where the message will go.
    pub fn answered(&mut self, session: &mut Session, ticket: Ticket, in_time: bool) {
        if session.login.awaits(ticket) {
            self.announce(session);
            session.login.settle(session.id, ticket, in_time);
            return;
        }
        let is_taken = session.answered(ticket, in_time);
        let Some(transaction) = &session.transaction else { return };
        if is_taken && session.may_relay && self.config.mta.preconnect {
            transaction.last_ways(|soon| self.backstage.soon(soon));
        }
    }

    /// The session is over: what it had begun is given up.
    pub fn give_up(&mut self, session: &mut Session) {
        if let Some(transaction) = session.transaction.take()
            && let Some(data) = transaction.data
            && data.content.is_in_file()
        {
            self.backstage.remove(data.id);
        }
    }

    /// AUTH: judged elsewhere, if there is room.
    fn log_in(
        &mut self,
        session: &mut Session,
        engine: &Engine,
        (conn, ticket): (B::Conn, Ticket),
        credentials: Box<Credentials>,
    ) -> Option<Answer> {
        self.announce(session);
        let gate = &self.gates[session.gate];
        let claim = match session.login.claim(engine, (gate.users, gate.params.scram), credentials)
        {
            Ok(claim) => claim,
            Err(reply) => return Some(reply.into()),
        };
        let slot = session.login.await_outcome(ticket);
        let config = self.config.clone();
        let question = auth::Question { conn, ticket, config, claim, slot };
        let Err(refused) = self.backstage.log_in(question) else { return None };
        session.login.refused(session.id, &refused.claim);
        Some(reply::AUTH_UNAVAILABLE.into())
    }

    /// MAIL: who has logged in may be bound to senders.
    fn mail(&mut self, session: &mut Session, (conn, ticket): (B::Conn, Ticket)) -> Option<Answer> {
        let (Some(senders), Some(user), Some(transaction)) =
            (self.gates[session.gate].senders, session.login.user(), session.transaction.as_ref())
        else {
            return Some(reply::OK.into());
        };
        let sender = transaction.sender.mailbox();
        let judged = lookup::sender_reply(&self.config, (&senders, user), sender, &self.users);
        if let Some(reply) = judged {
            return Some(reply.into());
        }
        let about = About::Sender { senders, user: user.into(), sender: sender.cloned() };
        let config = self.config.clone();
        self.backstage.look_up(Question { conn, ticket, config, about });
        None
    }

    /// RCPT: answered at once if all that it takes is in memory.
    fn recipient(
        &mut self,
        session: &mut Session,
        engine: &Engine,
        (conn, ticket): (B::Conn, Ticket),
        accepted: Accepted,
    ) -> Option<Answer> {
        let gate = &self.gates[session.gate];
        let Some(transaction) = session.transaction.as_mut() else {
            return Some(reply::NOT_NOW.into());
        };
        let (rcpt, now) = (&accepted.rcpt, self.backstage.wall());
        let facts = Facts {
            client: match engine.peer() {
                Peer::Local => config::Client::Socket,
                Peer::Ip(ip) => config::Client::Ip(ip),
            },
            rdns: session.client.rdns(),
            rdns_confirmed: session.client.is_confirmed(),
            helo: &session.helo,
            tag: gate.tag.as_deref(),
            auth: session.login.user(),
            tls: engine.tls().is_some(),
            sender: transaction.sender.mailbox(),
            day: day(now),
        };
        session.may_relay = facts.auth.is_some()
            || match facts.client {
                config::Client::Socket => true,
                config::Client::Ip(ip) => self.config.is_local_address(ip),
            };
        let back = self.config.comes_back(&facts, rcpt);
        if back.is_some() && self.guesses.is_shut_out(facts.client, now) {
            return Some(reply::TOO_MANY_GUESSES.into());
        }
        if matches!(back, Some(Err(NotOurs::Hash))) && self.guesses.note(facts.client, now) {
            line::guesses(session.id, engine.peer());
        }
        let expansion = self.config.expand(&facts, rcpt, &self.users).without_programs(rcpt);
        lookup::trace(&self.config, &facts, rcpt, &expansion, &self.users);
        let reply = match expansion {
            Expansion::Deliver(became) => {
                transaction.accept(accepted, became);
                if session.may_relay && self.config.mta.preconnect {
                    transaction.last_ways(|soon| self.backstage.soon(soon));
                }
                reply::RCPT_OK
            }
            Expansion::Refuse(reply) => reply,
            Expansion::Later => {
                let (facts, rcpt) = (Box::new(OwnFacts::new(&facts)), rcpt.clone());
                let slot = transaction.await_verdict(ticket, accepted);
                let (config, about) = (self.config.clone(), About::Recipient { facts, rcpt, slot });
                self.backstage.look_up(Question { conn, ticket, config, about });
                return None;
            }
        };
        Some(reply.into())
    }

    /// DATA: the message gets its id, and its content begins with the trace field.
    fn data(&mut self, session: &mut Session, engine: &Engine, conn: B::Conn) -> Reply<'static> {
        let Some(transaction) = session.transaction.as_mut() else { return reply::NO_RECIPIENT };
        // There is one unless the queue's disk has no space to reserve more, as for mail.
        let Some(id) = self.ids.take() else { return reply::NO_SPACE };
        let ctime = self.backstage.wall();
        let seconds = i64::try_from(ctime / 1_000_000).unwrap_or(i64::MAX);
        if !(self.zone.0..self.zone.0.saturating_add(ZONE)).contains(&seconds) {
            self.zone = (seconds, self.backstage.zone(seconds));
        }
        let gate = &self.gates[session.gate];
        let (helo, client, zone) = (&*session.helo, &session.client, &self.zone.1);
        let user = session.login.user();
        let header = Header { gate, helo, client, engine, user, id, seconds, zone };
        let rewriter = header.rewriter(&transaction.sender);
        header.write(transaction.only_recipient(), transaction.smtputf8, &mut self.scratch);
        let buffer = (self.budget.buffer(), self.behind.clone());
        let trace = &self.scratch;
        let content = Content::new(id, buffer, rewriter, trace, conn, &mut self.backstage);
        self.scratch.clear();
        transaction.data = Some(Data { id, ctime, content });
        reply::SEND_DATA
    }

    /// The end of the data: the message goes to the commit, which answers, unless it is refused
    /// here.
    fn end_of_data(
        &mut self,
        session: &mut Session,
        engine: &Engine,
        token: Waiting<B::Conn>,
    ) -> Result<(), Reply<'static>> {
        let mut transaction = session.transaction.take().ok_or(reply::NOT_QUEUED)?;
        let Data { id, ctime, content } = transaction.data.take().ok_or(reply::NOT_QUEUED)?;
        let whole = content.finish(&mut self.scratch, token.conn, &mut self.backstage);
        if whole.is_loop {
            if whole.memory.is_none() {
                self.backstage.remove(id);
            }
            return Err(reply::LOOP);
        }
        let gate = &self.gates[session.gate];
        let by = Sender {
            gate,
            helo: &session.helo,
            client: &session.client,
            user: session.login.user(),
            engine,
        };
        let message = Arc::new(transaction.message(&self.config, id, ctime, &by));
        let accept = |memory| Accept {
            token,
            message,
            content: request::Content { dot_lines: whole.dot_lines, body: Body::Memory(memory) },
            causes: Vec::new(),
        };
        match whole.memory {
            Some(memory) => self.backstage.commit(accept(memory)),
            // The writer puts the file's name in place of the empty buffer.
            None => self.backstage.finish(Box::new(accept(self.budget.buffer()))),
        }
        Ok(())
    }
}

impl Session {
    fn data(&mut self) -> Option<&mut Data> {
        self.transaction.as_mut()?.data.as_mut()
    }
}
