//! The dialogue of a dry run: a session of the engine, as a listener would have it, whose
//! questions are answered by the code that answers them in the daemon.
//!
//! Whatever refuses the message before the rules are asked does so here too: a listener that
//! wants TLS or AUTH, an address that is none, too many recipients.

use std::sync::Arc;

use smtpd_config::expand::Stop;
use smtpd_config::explain::Explanation;
use smtpd_config::{Auth, Client, Config, Expansion, Facts, Listen, Outside, Tls};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{
    Demand, Event, Params, Peer, Report, Session as Engine, Step, TlsInfo, Wait,
};
use smtpd_engine::time::Time;

use super::options::{Asked, Session};
use super::way::{Way, way};
use crate::daemon::clock::{day, wall};
use crate::daemon::intake;
use crate::daemon::lookup::{OwnFacts, sender_reply};

/// How the dry run went.
pub struct Dialogue<'c> {
    /// The listener of the session.
    pub door: Door<'c>,
    /// The session uses TLS: it was asked for, or the listener has no other.
    pub tls: bool,
    /// What refused the message before a recipient could be judged: the command and the reply.
    pub refused: Option<Said>,
    /// The recipients that were judged, in the order in which they were given.
    pub recipients: Vec<Judged>,
}

/// Where the session comes in.
#[derive(Clone, Copy)]
pub enum Door<'c> {
    /// The local submission socket.
    Socket,
    /// A listener of the configuration.
    Listener(&'c Listen),
    /// None fits: what the rules would say of such a session.
    None,
}

/// A command and its reply.
pub struct Said {
    /// The command.
    pub command: String,
    /// The reply, without line ends.
    pub reply: String,
}

/// A recipient and what was said of it.
pub struct Judged {
    /// As it was asked about.
    pub asked: String,
    /// The reply to RCPT, without line ends.
    pub reply: String,
    /// How the reply came about; none when no rule was asked.
    pub explained: Option<Explained>,
}

/// What was decided and what it was decided from.
pub struct Explained {
    /// What the rules saw.
    pub facts: OwnFacts,
    /// What was decided.
    pub explanation: Explanation,
    /// The way of each node's delivery, where it has one.
    pub ways: Vec<Option<Way>>,
}

impl<'c> Door<'c> {
    /// The door of a session: the listener that was named, or the first one where such a session
    /// can come about.
    ///
    /// # Errors
    /// When there is no listener as it was named.
    pub fn find(config: &'c Config, session: &Session) -> Result<Door<'c>, String> {
        if session.client == Client::Socket {
            return Ok(Door::Socket);
        }
        let named = |listen: &&Listen| {
            session.port.is_none_or(|port| port == listen.port)
                && session.tag.as_deref().is_none_or(|tag| listen.tag.as_deref() == Some(tag))
        };
        let able = |listen: &&Listen| {
            (!session.tls || listen.tls != Tls::Never)
                && (session.auth.is_none() || listen.auth != Auth::Never)
        };
        let all = &config.listeners;
        let found = all.iter().filter(named).find(able).or_else(|| all.iter().find(named));
        match (found, session.port, &session.tag) {
            (Some(listen), ..) => Ok(Door::Listener(listen)),
            (None, Some(port), None) => Err(format!("no listener has port {port}")),
            (None, Some(port), Some(tag)) => {
                Err(format!("no listener has port {port} and tag \"{tag}\""))
            }
            (None, None, _) => Ok(Door::None),
        }
    }

    fn params(self, config: &Config) -> Params {
        match self {
            Door::Listener(listen) => intake::params(config, listen, Report::Nothing),
            Door::Socket => Params { max_recipients: config.smtp.max_rcpt, ..Params::default() },
            Door::None => Params {
                max_recipients: config.smtp.max_rcpt,
                starttls: Demand::Offered,
                auth: Demand::Offered,
                ..Params::default()
            },
        }
    }

    /// The name that the session shows, and that addresses without a domain get.
    fn name(self, config: &'c Config) -> &'c str {
        match self {
            Door::Listener(listen) => listen.name(config),
            Door::Socket | Door::None => &config.host.name,
        }
    }

    /// The tag that rules see.
    pub fn tag(self, config: &'c Config, session: &'c Session) -> Option<&'c str> {
        match self {
            Door::Listener(listen) => listen.tag.as_deref(),
            Door::Socket => config.socket.tag.as_deref(),
            Door::None => session.tag.as_deref(),
        }
    }

    fn is_smtps(self) -> bool {
        matches!(self, Door::Listener(listen) if matches!(listen.tls, Tls::Smtps { .. }))
    }
}

/// Leads the dialogue.
///
/// # Errors
/// When there is no listener as it was named.
pub fn lead<'c>(
    config: &'c Config,
    asked: &Asked,
    outside: &dyn Outside,
) -> Result<Dialogue<'c>, String> {
    let door = Door::find(config, &asked.session)?;
    let mut line = Line::new(config, door, &asked.session, outside);
    let tls = asked.session.tls || door.is_smtps();
    let mut dialogue = Dialogue { door, tls, refused: None, recipients: Vec::new() };
    let mut before = vec![String::new(), format!("EHLO {}", asked.session.helo)];
    if asked.session.tls && !door.is_smtps() {
        before.extend(["STARTTLS".to_owned(), format!("EHLO {}", asked.session.helo)]);
    }
    if asked.session.auth.is_some() {
        // Whoever asks is believed to have the password; the name is not taken from here.
        before.push("AUTH PLAIN AGEAYQ==".to_owned());
    }
    let is_ascii = asked.recipients.iter().chain([&asked.sender]).all(|text| text.is_ascii());
    let utf8 = if is_ascii { "" } else { " SMTPUTF8" };
    before.push(format!("MAIL FROM:<{}>{utf8}", asked.sender));
    for command in before {
        let (code, reply) = line.say(&command);
        if code >= 400 {
            let command = if command.starts_with("AUTH") { "AUTH".to_owned() } else { command };
            dialogue.refused = Some(Said { command, reply });
            return Ok(dialogue);
        }
    }
    for rcpt in &asked.recipients {
        let (_, reply) = line.say(&format!("RCPT TO:<{rcpt}>"));
        let explained = line.explained.take();
        dialogue.recipients.push(Judged { asked: rcpt.clone(), reply, explained });
    }
    Ok(dialogue)
}

/// A session of the engine and who answers its questions.
struct Line<'l> {
    config: &'l Config,
    door: Door<'l>,
    session: &'l Session,
    outside: &'l dyn Outside,
    engine: Engine,
    out: Vec<u8>,
    sender: ReversePath,
    /// What the last RCPT led to.
    explained: Option<Explained>,
}

/// The clock of the dry run stands still.
const NOW: Time = Time::from_micros(0);

impl<'l> Line<'l> {
    fn new(
        config: &'l Config,
        door: Door<'l>,
        session: &'l Session,
        outside: &'l dyn Outside,
    ) -> Line<'l> {
        let peer = match session.client {
            Client::Socket => Peer::Local,
            Client::Ip(ip) => Peer::Ip(ip),
        };
        let mut engine = Engine::new(Arc::new(door.params(config)), 0, peer, NOW);
        if door.is_smtps() {
            engine.tls_started(TlsInfo::usual(), NOW);
        }
        let sender = ReversePath::Null;
        Line { config, door, session, outside, engine, out: Vec::new(), sender, explained: None }
    }

    /// Says a line (nothing waits for the banner) and gives the code and text of the reply.
    fn say(&mut self, command: &str) -> (u16, String) {
        let text = if command.is_empty() { String::new() } else { format!("{command}\r\n") };
        let mut input = text.as_bytes();
        self.out.clear();
        loop {
            match self.engine.step(&mut input, &mut self.out, NOW) {
                Step::Event(Event::StartTls) => self.engine.tls_started(TlsInfo::usual(), NOW),
                Step::Event(event) => {
                    let Some(ticket) = event.ticket() else { continue };
                    let answer = self.answer(event);
                    if self.engine.answer(ticket, answer.into(), &mut self.out, NOW).is_err() {
                        // An answer of a class that the question does not take.
                        let no = reply::TEMPORARY_FAILURE.into();
                        let _ = self.engine.answer(ticket, no, &mut self.out, NOW);
                    }
                }
                Step::Wait(Wait::Input | Wait::Answer | Wait::Output) | Step::Close => break,
            }
        }
        let text = String::from_utf8_lossy(&self.out);
        // Of several lines the last one has the code that counts.
        let last = text.trim_end().lines().last().unwrap_or_default().to_owned();
        (last.get(..3).and_then(|code| code.parse().ok()).unwrap_or(421), last)
    }

    fn answer(&mut self, event: Event<'_>) -> Reply<'static> {
        let name = self.door.name(self.config);
        match event {
            Event::Connected { .. } => reply::banner(name),
            Event::Hello { name: helo, .. } => reply::hello(name, &helo, &self.engine.peer()),
            Event::Auth { .. } => reply::AUTHENTICATED,
            Event::Mail { from, .. } => {
                self.sender = ReversePath::from_event(from, name);
                self.mail()
            }
            Event::Rcpt { to, .. } => self.recipient(&to.to_mailbox(name)),
            _ => reply::OK,
        }
    }

    /// Who has logged in may be bound to senders.
    fn mail(&self) -> Reply<'static> {
        let (Door::Listener(Listen { senders: Some(senders), .. }), Some(user)) =
            (self.door, self.session.auth.as_deref())
        else {
            return reply::OK;
        };
        let sender = self.sender.mailbox();
        sender_reply(self.config, (senders, user), sender, self.outside)
            .unwrap_or(reply::TEMPORARY_FAILURE)
    }

    fn recipient(&mut self, rcpt: &Mailbox) -> Reply<'static> {
        let facts = Facts {
            client: self.session.client,
            rdns: self.session.rdns.as_deref(),
            rdns_confirmed: true,
            helo: &self.session.helo,
            tag: self.door.tag(self.config, self.session),
            auth: self.session.auth.as_deref(),
            tls: self.engine.tls().is_some(),
            sender: self.sender.mailbox(),
            day: day(wall()),
        };
        let mut explanation = self.config.explain(&facts, rcpt, self.outside);
        let was_stopped = explanation.stop.is_some();
        explanation.expansion = explanation.expansion.without_programs(rcpt);
        let reply = match &explanation.expansion {
            Expansion::Deliver(_) => reply::RCPT_OK,
            Expansion::Refuse(reply) => {
                if !was_stopped {
                    explanation.stop = Some(Stop::NotYet);
                }
                reply.clone()
            }
            // Users who may be waited for do not put anybody off.
            Expansion::Later => reply::TEMPORARY_FAILURE,
        };
        let ways = explanation.nodes.iter();
        let ways = ways.map(|node| way(self.config, &facts, rcpt, node, self.outside)).collect();
        self.explained = Some(Explained { facts: OwnFacts::new(&facts), explanation, ways });
        reply
    }
}
