//! The relay in a world of paper: a zone, and servers that do as each test says.

mod connections;
mod failing;
mod names;
mod pace;
mod random;
mod room;
mod shown;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smtpd_config::route::HopTls;
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure};
use smtpd_queue::envelope::{Envelope, Message};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::request::Stored;
use smtpd_queue::sample;
use smtpd_queue::scheduler::Clock;

use super::names::{Answer, Question};
use super::pace::Pace;
use super::tally::Kind;
use super::task::{BetterThan, Content, Hop, Key, Recipient, Server, Task, Way};
use super::{
    Again, Bounds, Connect, End, Next, Offers, Output, Relay, SessionId, Told, Trouble, Whom,
};
use crate::control::View;

const PACE: Pace = Pace {
    most: [Some(20), Some(20), None, Some(20), Some(20), None],
    delays: [Duration::ZERO; 6],
    reconnect_delay: Duration::ZERO,
    mails: 1000,
    rates: [None, None],
    careful: false,
    keep_alive: Duration::from_secs(10),
    mail_delay: Duration::ZERO,
    failures: 25,
};
const CAREFUL: Pace = Pace {
    careful: true,
    most: [Some(10), Some(5), None, Some(20), Some(5), Some(100)],
    mails: 100,
    ..PACE
};
const BOUNDS: Bounds = Bounds { deferred: 100, held: 50, connections: 1000 };

/// A bound or a pause in one place.
fn only<T: Copy>(kind: Kind, one: T, others: T) -> [T; 6] {
    Kind::ALL.map(|other| if other == kind { one } else { others })
}

struct World {
    relay: Relay,
    now: Clock,
    zone: HashMap<String, Answer>,
    /// The answers to these are given by hand.
    slow: HashSet<String>,
    asked: Vec<(u64, String)>,
    opened: Vec<Connect>,
    resumed: Vec<SessionId>,
    outcomes: Vec<(u64, EnvelopeId, Attempt)>,
    scheduled: Vec<EnvelopeId>,
    messages: u32,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            relay: Relay::new(seed, BOUNDS),
            now: Clock { unix: 1_700_000_000_000_000, mono: Time::from_micros(5_000_000) },
            zone: HashMap::new(),
            slow: HashSet::new(),
            asked: Vec::new(),
            opened: Vec::new(),
            resumed: Vec::new(),
            outcomes: Vec::new(),
            scheduled: Vec::new(),
            messages: 0,
        }
    }

    fn mx(&mut self, domain: &str, hosts: &[(u16, &str)]) {
        let hosts = hosts.iter().map(|(rank, host)| (*rank, (*host).to_owned())).collect();
        self.zone.insert(format!("MX {domain}"), Answer::Mx(hosts));
    }

    fn host(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|one| one.parse().unwrap()).collect();
        self.zone.insert(name.to_owned(), Answer::Addresses(addresses));
    }

    fn pass(&mut self, seconds: u64) {
        self.now.mono = self.now.mono + Duration::from_secs(seconds);
        self.now.unix += seconds * 1_000_000;
    }

    fn turn(&mut self) {
        loop {
            let mut outputs = Vec::new();
            self.relay.turn(self.now, &mut outputs);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Ask(id, question) => {
                        let name = match question {
                            Question::Mx(domain) => format!("MX {domain}"),
                            Question::Addresses(host) => host,
                        };
                        if self.slow.contains(&name) {
                            self.asked.push((id, name));
                            continue;
                        }
                        let answer = self.zone.get(&name).cloned().unwrap_or(Answer::NoName);
                        self.relay.answered(id, &answer);
                    }
                    Output::Connect(connect) => self.opened.push(connect),
                    Output::Resume(session) => self.resumed.push(session),
                    Output::Report(report) => {
                        let all = report.attempts.into_iter();
                        self.outcomes.extend(all.map(|(id, what)| (report.batch, id, what)));
                    }
                    Output::Schedule(ids) => self.scheduled.extend(ids),
                }
            }
        }
    }

    /// A message for these recipients by this hop, in a batch of its own.
    fn send(&mut self, hop: &Arc<Hop>, to: &[&str]) -> Vec<EnvelopeId> {
        let task = self.task(hop, to);
        let ids = task.recipients.iter().map(|one| one.id).collect();
        self.relay.take(task);
        self.turn();
        ids
    }

    fn task(&mut self, hop: &Arc<Hop>, to: &[&str]) -> Task {
        self.messages += 1;
        let id = MessageId::from_u32(self.messages).unwrap();
        let message = sample::message(id, to.iter().map(|to| sample::relayed(to)));
        let message = Message { ctime: self.now.unix, ..message };
        let recipient = |envelope: &Envelope| Recipient {
            batch: u64::from(self.messages),
            id: envelope.id,
            to: envelope.dest.clone(),
        };
        let recipients: Vec<_> = message.envelopes.iter().map(recipient).collect();
        let stored = Stored { message: id, octets: 100, dot_lines: false, memory: None };
        Task {
            hop: Arc::clone(hop),
            from: message.sender.clone(),
            message: Arc::new(message),
            recipients,
            content: Content { stored, eight_bit: false, utf8_header: false },
        }
    }

    /// The one connection that was opened since.
    fn one(&mut self) -> Connect {
        assert_eq!(self.opened.len(), 1, "{:?}", self.opened);
        self.opened.remove(0)
    }

    fn ready(&mut self, session: SessionId) -> Next {
        let local = Some(IpAddr::from([192, 0, 2, 25]));
        let next =
            self.relay.ready(session, local, Offers { smtputf8: false, dsn: true }, self.now);
        self.turn();
        next
    }

    fn told(&mut self, session: SessionId, whom: Whom, told: Told) {
        self.relay.told(session, whom, told, self.now);
        self.turn();
    }

    fn closed(&mut self, session: SessionId, end: &End) {
        self.relay.closed(session, end, self.now);
        self.turn();
    }

    /// The session takes the message it has.
    fn takes(&mut self, session: SessionId) {
        self.told(session, Whom::Rest, Told::Delivered("250 2.0.0 Ok".into()));
    }

    /// The server does not answer.
    fn refuses(&mut self, connect: &Connect) {
        self.closed(connect.session, &End::Unreachable("Connection refused".into()));
    }

    /// Every connection ends like this, whenever one is opened, until something has come of what
    /// waits. Gives the connections, and after how many seconds that was.
    fn runs_out(&mut self, end: &End) -> (Vec<Connect>, u64) {
        let mut all = Vec::new();
        for second in 0..100 {
            while !self.opened.is_empty() {
                let connect = self.opened.remove(0);
                self.closed(connect.session, end);
                all.push(connect);
            }
            if !self.outcomes.is_empty() {
                return (all, second);
            }
            self.pass(1);
            self.turn();
        }
        panic!("it waits for ever: {:?}", self.relay);
    }

    fn outcome(&mut self) -> Attempt {
        assert_eq!(self.outcomes.len(), 1, "{:?}", self.outcomes);
        self.outcomes.remove(0).2
    }
}

fn key(place: &str) -> Key {
    Key { action: "out".into(), place: place.into() }
}

fn hop(way: Way, place: &str, pace: Pace) -> Arc<Hop> {
    let (helo, sources) = ("mail.example.net".into(), Vec::new());
    let title = format!("[relay:{place},smtp]");
    Arc::new(Hop {
        key: key(place),
        title,
        way,
        balance: false,
        helo,
        sources,
        family: None,
        chunking: false,
        pace,
    })
}

fn mx(domain: &str) -> Arc<Hop> {
    let better_than = BetterThan::Own("mail.example.net".into());
    let tls = HopTls::Opportunistic;
    hop(Way::Mx { domain: domain.into(), better_than, tls }, domain, CAREFUL)
}

fn server(host: &str, tls: HopTls) -> Server {
    Server { host: host.into(), port: 2525, tls, lmtp: false, login: None }
}

fn servers(hosts: &[&str]) -> Arc<Hop> {
    let all = hosts.iter().map(|host| server(host, HopTls::Opportunistic)).collect();
    hop(Way::Servers(all), &hosts.join(" "), PACE)
}

fn trouble(status: (u8, u16, u16), text: &str, again: Again) -> Told {
    let permanent = status.0 == 5;
    let failure = Failure::new(status, text);
    Told::Failed(Trouble { failure, reply: None, permanent, pressed: false, again })
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn text(attempt: &Attempt) -> (char, &str, String) {
    let (letter, failure) = match attempt {
        Attempt::Later(failure) => ('l', failure),
        Attempt::Failed(failure) => ('f', failure),
        other => panic!("{other:?}"),
    };
    (letter, &failure.text, failure.status.to_string())
}

/// A hop of servers that are reached from one address, by these numbers of connections.
fn bounded(place: &str, hosts: &[&str], source: &str, most: [Option<usize>; 6]) -> Arc<Hop> {
    let servers = hosts.iter().map(|host| server(host, HopTls::Never)).collect();
    let hop = hop(Way::Servers(servers), place, Pace { most, ..PACE });
    let sources = vec![(source.parse().unwrap(), "mail.example.net".to_owned())];
    Arc::new(Hop { sources, ..Arc::into_inner(hop).unwrap() })
}
