//! The shell around [`Relay`](super::Relay) on the relay's reactor: connections, questions and
//! clocks go in as the value wants them, and what it wants done is done.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use smtpd_config::route::{HopTls, Login, Secret};
use smtpd_engine::client::{Credentials, Event, Mail, Name, Params, Recipient, Tls};
use smtpd_engine::dsn;
use smtpd_engine::time::Time;
use smtpd_queue::envelope;
use smtpd_queue::scheduler::{Action, Clock, Input};
use smtpd_reactor::ConnId;
use smtpd_reactor::calls::{Caller, Calling, Calls, Hangup, Next, Piece, Target};
use smtpd_reactor::dns::{self, QueryId, Settings};

use super::clients::Clients;
use super::content::{self, Feed, Source};
use super::names::{Answer, Question};
use super::task::{Hop, Task};
use super::told::told;
use super::trust::Trust;
use super::{Connect, End, Item, Offers, Output, QuestionId, Relay, SessionId};
use crate::control::View;
use crate::daemon::clock::wall;
use crate::daemon::intake::client;
use crate::daemon::messages;
use crate::daemon::pool::Pool;
use crate::daemon::sockets::system_text;
use crate::log::relay as line;

/// How long a server may take to accept a connection (RFC 5321 section 4.5.3.2 says nothing of
/// it; a system's own patience is two minutes).
const CONNECT: Duration = Duration::from_secs(30);

/// What other threads tell the relay.
pub enum Message {
    /// Relay these.
    Tasks(Vec<Task>),
    /// A message by this way is about to come.
    Soon(Arc<Hop>),
    /// The process is about to end.
    Ending,
    /// Resolve names like this from now on.
    Names(Settings),
    /// Trust these from now on.
    Trust(Trust),
    /// Answer with a part of a list: at most so many items, from behind this number on.
    Show(View, u64, usize, mpsc::Sender<Vec<Item>>),
    /// Answer why no nameserver answers, if none does.
    Silence(mpsc::Sender<Option<dns::Trouble>>),
    /// Try the way with this number again, and answer whether there is one.
    ResumeWay(u64, mpsc::Sender<bool>),
    /// Look up what these clients of receiving sessions are called. Each answer is in its slot
    /// within five seconds, and its session is resumed.
    Clients(Vec<client::Question<ConnId>>),
}

/// Content to be read for a connection.
pub type Reading = (Feed, ConnId);

/// See the module.
pub struct Shell {
    relay: Relay,
    trust: Trust,
    scheduler: mpsc::Sender<messages::Message>,
    readers: Pool<Reading>,
    clients: Clients,
    conns: HashMap<SessionId, ConnId>,
    questions: HashMap<QueryId, QuestionId>,
    outputs: Vec<Output>,
}

/// The relay's part of a connection.
pub struct Own {
    session: SessionId,
    /// The connection, once it is there.
    conn: Option<ConnId>,
    /// Its address at this end.
    local: Option<IpAddr>,
    recipients: Vec<Recipient>,
    source: Option<Source>,
}

impl Shell {
    /// A shell that reports to `scheduler`; content is read by `readers`.
    #[must_use]
    pub fn new(
        relay: Relay,
        trust: Trust,
        scheduler: mpsc::Sender<messages::Message>,
        readers: Pool<Reading>,
        clients: Clients,
    ) -> Shell {
        Shell {
            relay,
            trust,
            scheduler,
            readers,
            clients,
            conns: HashMap::new(),
            questions: HashMap::new(),
            outputs: Vec::new(),
        }
    }

    fn carry_out(&mut self, calls: &mut Calls<'_, Shell>) {
        let (mut inputs, mut scheduled) = (Vec::new(), Vec::new());
        loop {
            let mut outputs = std::mem::take(&mut self.outputs);
            self.relay.turn(clock(calls.now()), &mut outputs);
            if outputs.is_empty() {
                break;
            }
            for output in outputs.drain(..) {
                match output {
                    Output::Connect(connect) => self.connect(&connect, calls),
                    Output::Ask(number, question) => match asked(&question) {
                        Some(question) => {
                            self.questions.insert(calls.ask(question), number);
                        }
                        None => self.relay.answered(number, &Answer::NoName),
                    },
                    Output::Resume(session) => {
                        if let Some(conn) = self.conns.get(&session) {
                            calls.resume(*conn);
                        }
                    }
                    Output::Report(report) => inputs.push(Input::Finished(report)),
                    Output::Schedule(ids) => scheduled.extend(ids),
                }
            }
            self.outputs = outputs;
        }
        if !inputs.is_empty() {
            // At the end there may be nobody left to be told.
            let _ = self.scheduler.send(messages::Message::Inputs(inputs));
        }
        // Behind the reports: what is under way for the scheduler cannot be scheduled.
        if !scheduled.is_empty() {
            // Nobody waits for the number of those that were there.
            let (answer, _) = mpsc::channel();
            let order = messages::Message::Administer(scheduled, Action::Schedule, answer);
            let _ = self.scheduler.send(order);
        }
        if let Some(at) = self.relay.deadline() {
            calls.wake_at(at);
        }
    }

    fn connect(&mut self, connect: &Connect, calls: &mut Calls<'_, Shell>) {
        let (conn, local, source) = (None, None, None);
        let recipients = Vec::new();
        let own = Own { session: connect.session, conn, local, recipients, source };
        match self.target(connect) {
            Ok(target) => {
                let conn = calls.connect(target, own);
                self.conns.insert(connect.session, conn);
            }
            Err(why) => {
                self.relay.closed(connect.session, &End::Local(why), clock(calls.now()));
            }
        }
    }

    fn target(&self, connect: &Connect) -> Result<Target, String> {
        let name = Name::parse(&connect.helo)
            .ok_or_else(|| format!("\"{}\" cannot be said with EHLO", connect.helo))?;
        let server = connect.named();
        let login = server.and_then(|server| server.login.as_ref());
        let auth = login.map(|Login { user, secret }| match secret {
            Secret::Password(password) => Credentials::password(user, password),
            Secret::Token(token) => Credentials::token(user, token),
        });
        let auth = auth.transpose().map_err(|error| format!("credentials: {error}"))?;
        let (tls, immediate) = match connect.tls {
            HopTls::Never => (Tls::Never, false),
            HopTls::Opportunistic => (Tls::Opportunistic, false),
            HopTls::Required { .. } => (Tls::Required, false),
            HopTls::Immediate { .. } => (Tls::Required, true),
        };
        let params = Params {
            lmtp: server.is_some_and(|server| server.lmtp),
            tls,
            auth,
            chunking: connect.hop.chunking,
            max_failures: connect.hop.pace.failures,
            ..Params::new(name)
        };
        Ok(Target {
            id: connect.session,
            address: connect.address,
            source: connect.source,
            params: Arc::new(params),
            tls: self.trust.client(connect)?,
            immediate,
            connect_time: CONNECT,
        })
    }
}

impl Caller for Shell {
    type Session = Own;
    type Message = Message;

    fn message(&mut self, message: Message, calls: &mut Calls<'_, Shell>) {
        match message {
            Message::Tasks(tasks) => tasks.into_iter().for_each(|task| self.relay.take(task)),
            Message::Soon(hop) => self.relay.preconnect(&hop, clock(calls.now())),
            Message::Ending => self.relay.end(),
            Message::Names(settings) => calls.set_names(settings),
            Message::Trust(trust) => self.trust = trust,
            // Whoever asked may have given up waiting.
            Message::Show(view, after, limit, answer) => {
                let _ = answer.send(self.relay.show(view, after, limit, clock(calls.now())));
            }
            Message::Silence(answer) => {
                let _ = answer.send(calls.silence());
            }
            Message::ResumeWay(number, answer) => {
                let _ = answer.send(self.relay.resume_way(number));
            }
            Message::Clients(clients) => self.clients.ask(clients, calls),
        }
    }

    fn ready<'c>(&'c mut self, own: &'c mut Own, about: &Calling<'_>) -> Next<'c> {
        let offered = about.session.extensions();
        let offers = Offers { smtputf8: offered.smtputf8, dsn: offered.dsn };
        if own.conn.replace(about.conn).is_none() {
            own.local = about.local().ok().flatten().map(|local| local.ip());
            line::connected(own.session);
            if let Some(tls) = about.session.tls() {
                line::tls(own.session, tls);
            }
        }
        let task = match self.relay.ready(own.session, own.local, offers, clock(about.now)) {
            super::Next::Wait(until) => return Next::Wait(until),
            super::Next::Quit => return Next::Quit,
            super::Next::Mail => self.relay.current(own.session),
        };
        let Some(task) = task else { return Next::Quit };
        own.recipients.clear();
        own.recipients.extend(task.recipients.iter().map(|one| recipient(task, one)));
        let (source, feed) = Source::new(&task.content.stored);
        own.source = Some(source);
        if let Some(feed) = feed {
            self.readers.push((feed, about.conn));
        }
        Next::Mail(Mail {
            from: &task.from,
            size: Some(task.content.stored.octets),
            eight_bit: task.content.eight_bit,
            utf8_header: task.content.utf8_header,
            ret: task.message.ret.map(|ret| match ret {
                envelope::Ret::Full => dsn::Ret::Full,
                envelope::Ret::Headers => dsn::Ret::Headers,
            }),
            envid: task.message.envid.as_deref(),
            recipients: &own.recipients,
        })
    }

    fn content<'c>(&'c mut self, own: &'c mut Own, from: u64) -> Piece<'c> {
        let Some(source) = &mut own.source else { return Piece::Broken };
        let (next, feed) = source.next(from);
        if let (Some(feed), Some(conn)) = (feed, own.conn) {
            self.readers.push((feed, conn));
        }
        match next {
            content::Next::Octets(octets) => Piece::Octets(octets),
            content::Next::Later => Piece::Later,
            content::Next::End => Piece::End,
            content::Next::Broken => Piece::Broken,
        }
    }

    fn event(&mut self, own: &mut Own, about: &Calling<'_>, event: Event<'_>) {
        let is_kept = self.relay.is_kept(own.session);
        if let Some((whom, told)) = told(&event, is_kept) {
            self.relay.told(own.session, whom, told, clock(about.now));
        }
    }

    fn resolved(&mut self, query: QueryId, answer: &dns::Answer, _: &mut Calls<'_, Shell>) {
        match self.questions.remove(&query) {
            Some(question) => self.relay.answered(question, &answered(answer)),
            None => self.clients.resolved(query, answer),
        }
    }

    fn closed(&mut self, own: Own, _: ConnId, why: Hangup, now: Time) {
        self.conns.remove(&own.session);
        let end = match why {
            Hangup::Quit => End::Quit,
            Hangup::Failed => End::Failed,
            Hangup::Local(error) if is_no_room(&error) => End::NoRoom(system_text(&error)),
            Hangup::Local(error) => End::Local(system_text(&error)),
            Hangup::Connect(error) => End::Unreachable(system_text(&error)),
            Hangup::Tls(failure) => End::Tls(failure.to_string()),
            Hangup::Content => End::Content,
            Hangup::Stopped => End::Stopped,
            Hangup::Panicked => End::Defect,
        };
        self.relay.closed(own.session, &end, clock(now));
    }

    fn turn_over(&mut self, calls: &mut Calls<'_, Shell>) {
        self.carry_out(calls);
        self.clients.turn_over(calls);
    }
}

/// Whether a socket could not be had for want of something that others give back.
fn is_no_room(error: &io::Error) -> bool {
    const WANTS: [Errno; 5] =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::AGAIN];
    // The reactor's own bound is no error of the system.
    error.raw_os_error().is_none_or(|code| WANTS.iter().any(|want| want.raw_os_error() == code))
}

fn clock(now: Time) -> Clock {
    Clock { unix: wall(), mono: now }
}

fn recipient(task: &Task, one: &super::task::Recipient) -> Recipient {
    let envelope = task.message.envelopes.iter().find(|envelope| envelope.id == one.id);
    let notify = envelope.and_then(|envelope| envelope.notify);
    Recipient {
        to: one.to.clone(),
        notify: notify.and_then(|notify| {
            let envelope::Notify { success, failure, delay } = notify;
            let bit = |wanted, of: dsn::Notify| if wanted { of.bits() } else { 0 };
            dsn::Notify::from_bits(
                bit(success, dsn::Notify::SUCCESS)
                    | bit(failure, dsn::Notify::FAILURE)
                    | bit(delay, dsn::Notify::DELAY),
            )
        }),
        orcpt: envelope.and_then(|envelope| envelope.orcpt.clone()),
    }
}

/// A question as the resolver takes it; none when it is about nothing that can have a name.
fn asked(question: &Question) -> Option<dns::Question> {
    match question {
        Question::Mx(domain) => dns::Name::new(domain).map(dns::Question::Mx),
        Question::Addresses(host) => dns::Name::new(host).map(dns::Question::Addresses),
    }
}

/// An answer as the relay takes it.
fn answered(answer: &dns::Answer) -> Answer {
    match answer {
        dns::Answer::NoData => Answer::NoData,
        dns::Answer::Mx(hosts) => {
            let host = |one: &dns::Exchanger| (one.preference, one.host.as_str().to_owned());
            Answer::Mx(hosts.iter().map(host).collect())
        }
        dns::Answer::NullMx => Answer::NullMx,
        dns::Answer::Addresses(addresses) => Answer::Addresses(addresses.clone()),
        dns::Answer::NoSuchDomain => Answer::NoName,
        // No question of the relay has a name for its answer.
        dns::Answer::Name { .. } | dns::Answer::Temporary(_) => Answer::Later,
    }
}
