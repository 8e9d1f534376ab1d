//! The relay in a world of paper: a zone, and servers that do as each test says.

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

#[test]
fn a_message_goes_over_a_new_connection_and_the_next_over_the_same() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["bob@example.org"]);
    let connect = world.one();
    assert_eq!(connect.address, address("192.0.2.1:2525"));
    assert_eq!(world.ready(connect.session), Next::Mail);
    assert_eq!(world.relay.current(connect.session).unwrap().recipients[0].id, ids[0]);
    world.takes(connect.session);
    assert_eq!(world.outcome(), Attempt::Relayed(None));

    let Next::Wait(until) = world.ready(connect.session) else { panic!() };
    assert_eq!(until, world.now.mono + Duration::from_secs(10));
    world.pass(3);
    world.send(&hop, &["carol@example.org"]);
    assert_eq!(world.resumed, [connect.session]);
    // While that one has not asked, the next message does not count on it.
    world.send(&hop, &["dave@example.org"]);
    assert_eq!(world.resumed, [connect.session]);
    let second = world.one();
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.takes(connect.session);
    assert_eq!(world.ready(connect.session), Next::Mail, "the other one is not there yet");
    world.takes(connect.session);
    assert!(matches!(world.ready(second.session), Next::Wait(_)));

    // Nobody needs them for the time of the keep-alive.
    assert!(matches!(world.ready(connect.session), Next::Wait(_)));
    world.pass(10);
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    assert_eq!(world.ready(second.session), Next::Quit);
}

#[test]
fn outcomes_are_told_one_by_one_as_they_become_known() {
    let mut world = World::new(7);
    let ids =
        world.send(&servers(&["192.0.2.1"]), &["a@example.org", "b@example.org", "c@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.told(session, Whom::One(1), trouble((5, 1, 1), "550 5.1.1 no such user", Again::No));
    let (batch, id, attempt) = world.outcomes.remove(0);
    assert_eq!((batch, id), (1, ids[1]));
    assert_eq!(text(&attempt), ('f', "550 5.1.1 no such user", "5.1.1".into()));
    world.takes(session);
    let rest: Vec<_> = world.outcomes.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(rest, [ids[0], ids[2]]);
    world.takes(session);
    assert_eq!(world.outcomes.len(), 2, "each is told of once");
}

#[test]
fn mx_hosts_come_in_the_order_of_their_preference() {
    let mut world = World::new(7);
    world.mx("example.org", &[(20, "second.example.org"), (10, "first.example.org")]);
    world.host("first.example.org", &["192.0.2.1", "2001:db8::1"]);
    world.host("second.example.org", &["192.0.2.2"]);
    world.send(&mx("example.org"), &["bob@example.org"]);
    for expected in ["192.0.2.1:25", "[2001:db8::1]:25", "192.0.2.2:25"] {
        let connect = world.one();
        assert_eq!(connect.address, address(expected));
        assert!(world.outcomes.is_empty(), "the next address is tried at once");
        world.refuses(&connect);
    }
    assert!(world.outcomes.is_empty(), "they are tried again after a quarter of a minute");
    let (again, seconds) = world.runs_out(&End::Unreachable("Connection refused".into()));
    assert!((45..=60).contains(&seconds), "{seconds}");
    let again: Vec<_> = again.iter().map(|connect| connect.address.to_string()).collect();
    assert_eq!(again[..4], ["192.0.2.1:25", "[2001:db8::1]:25", "192.0.2.2:25", "192.0.2.1:25"]);
    let attempt = world.outcome();
    assert_eq!(
        text(&attempt),
        ('l', "Network error on destination MXs: Connection refused", "4.4.1".into())
    );
}

#[test]
fn equal_hosts_are_shuffled_and_a_better_one_is_waited_for() {
    let mut firsts = HashSet::new();
    for seed in 1..40 {
        let mut world = World::new(seed << 40 | seed);
        world.mx("example.org", &[(10, "a.example.org"), (10, "b.example.org")]);
        world.host("a.example.org", &["192.0.2.1"]);
        world.host("b.example.org", &["192.0.2.2"]);
        world.send(&mx("example.org"), &["bob@example.org"]);
        firsts.insert(world.one().address);
    }
    assert_eq!(firsts.len(), 2);

    let mut world = World::new(7);
    world.mx("example.org", &[(10, "slow.example.org"), (20, "quick.example.org")]);
    world.host("quick.example.org", &["192.0.2.2"]);
    world.slow.insert("slow.example.org".into());
    world.send(&mx("example.org"), &["bob@example.org"]);
    assert!(world.opened.is_empty());
    let (id, _) = world.asked.remove(0);
    world.relay.answered(id, &Answer::Later);
    world.turn();
    assert_eq!(world.one().address, address("192.0.2.2:25"));
}

#[test]
fn what_the_dns_says_decides_between_now_and_never() {
    type Case = (Answer, Option<Answer>, (char, &'static str, &'static str));
    let cases: &[Case] = &[
        (Answer::NoName, None, ('f', "Domain does not exist", "5.4.4")),
        (Answer::NullMx, None, ('f', "Domain does not accept mail", "5.1.10")),
        (Answer::Later, None, ('l', "Temporary failure in MX lookup", "4.4.3")),
        (Answer::NoData, Some(Answer::NoData), ('f', "No MX found for domain", "5.4.4")),
        (Answer::NoData, Some(Answer::Later), ('l', "Temporary failure in MX lookup", "4.4.3")),
        (
            Answer::Mx(vec![(0, "gone.example".into())]),
            None,
            ('l', "No MX found for destination", "4.4.4"),
        ),
        (
            Answer::Mx(vec![(5, "MAIL.example.net".into()), (5, "other.example".into())]),
            None,
            ('f', "Mail for this domain loops back to this server", "5.4.6"),
        ),
    ];
    for (mx_answer, addresses, (letter, words, status)) in cases {
        let mut world = World::new(7);
        world.zone.insert("MX example.org".into(), mx_answer.clone());
        if let Some(addresses) = addresses {
            world.zone.insert("example.org".into(), addresses.clone());
        }
        world.send(&mx("example.org"), &["bob@example.org"]);
        let (_, waited) = world.runs_out(&End::Quit);
        assert_eq!(waited, if *status == "4.4.3" { 10 } else { 0 }, "{words}");
        let attempt = world.outcome();
        assert_eq!(text(&attempt), (*letter, *words, (*status).to_owned()));
        assert!(world.opened.is_empty());
    }
    // A server that the administrator names is never the sender's mistake.
    let mut world = World::new(7);
    world.send(&servers(&["smarthost.example"]), &["bob@example.org"]);
    assert_eq!(text(&world.outcome()), ('l', "Host not found", "4.4.4".into()));
}

#[test]
fn a_backup_relays_to_better_hosts_only_and_literals_need_no_dns() {
    let mut world = World::new(7);
    let hosts = [
        (10, "first.example.org"),
        (20, "backup.example.net"),
        (20, "x.example.org"),
        (30, "y.example.org"),
    ];
    world.mx("example.org", &hosts);
    for (nth, (_, host)) in hosts.iter().enumerate() {
        world.host(host, &[&format!("192.0.2.{}", nth + 1)]);
    }
    let better_than = BetterThan::Primary("backup.example.net".into());
    let tls = HopTls::Opportunistic;
    let way = Way::Mx { domain: "example.org".into(), better_than, tls };
    world.send(&hop(way, "example.org", CAREFUL), &["bob@example.org"]);
    let connect = world.one();
    assert_eq!(connect.address, address("192.0.2.1:25"));
    world.refuses(&connect);
    assert!(world.opened.is_empty());

    for (domain, expected) in [
        ("[192.0.2.9]", "192.0.2.9:25"),
        ("[ipv6:2001:db8::9]", "[2001:db8::9]:25"),
        ("[2001:db8::7]", "[2001:db8::7]:25"),
    ] {
        world.send(&mx(domain), &["bob@example.org"]);
        assert_eq!(world.one().address, address(expected));
    }
    world.send(&mx("[x-tag:what]"), &["bob@example.org"]);
    assert_eq!(text(&world.outcome()), ('f', "Invalid domain name", "5.1.2".into()));
}

#[test]
fn smarthosts_are_tried_in_their_order_and_one_that_fails_is_left_alone() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["bob@example.org"]);
    let first = world.one();
    assert_eq!(first.address, address("192.0.2.1:2525"));
    world.refuses(&first);
    let second = world.one();
    assert_eq!(second.address, address("192.0.2.2:2525"));
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    world.pass(10);
    assert_eq!(world.ready(second.session), Next::Quit);
    world.closed(second.session, &End::Quit);
    world.send(&hop, &["bob@example.org"]);
    assert_eq!(world.one().address, second.address, "15 seconds have not passed");
    world.pass(5);
    world.send(&servers(&["192.0.2.1"]), &["bob@example.org"]);
    let again = world.one();
    assert_eq!(again.address, first.address);
    // The second time in a row it is left alone for as long; after a success, not at all.
    world.refuses(&again);
    world.pass(14);
    world.send(&servers(&["192.0.2.1"]), &["bob@example.org"]);
    assert!(world.opened.is_empty());
    world.pass(1);
    world.turn();
    assert_eq!(world.opened.len(), 2, "for both that waited");
    assert!(world.opened.iter().all(|connect| connect.address == first.address));
}

#[test]
fn what_failed_because_nobody_answered_is_tried_when_somebody_does() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["bob@example.org"]);
    world.runs_out(&End::Unreachable("Connection refused".into()));
    assert!(matches!(world.outcome(), Attempt::Later(_)));
    world.pass(20);
    world.send(&hop, &["carol@example.org"]);
    let connect = world.one();
    world.ready(connect.session);
    assert!(world.scheduled.is_empty());
    world.takes(connect.session);
    assert_eq!(world.scheduled, ids);
}

#[test]
fn a_server_that_hangs_up_in_a_transaction_gets_the_message_once() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@example.org", "b@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.told(first.session, Whom::One(0), trouble((4, 2, 1), "451 4.2.1 later", Again::No));
    assert!(matches!(world.outcomes.remove(0), (1, _, Attempt::Later(_))));
    let lost = || trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
    world.told(first.session, Whom::Rest, lost());
    let second = world.one();
    assert_eq!(second.address, address("192.0.2.2:2525"), "at once, while the first is closing");
    world.closed(first.session, &End::Failed);
    world.ready(second.session);
    let left = &world.relay.current(second.session).unwrap().recipients;
    assert_eq!(left.len(), 1, "the one that has an outcome is not sent again");
    assert_eq!(left[0].to.as_str(), "b@example.org");
    world.told(second.session, Whom::Rest, lost());
    world.closed(second.session, &End::Failed);
    assert_eq!(text(&world.outcome()), ('l', "Connection closed unexpectedly", "4.4.2".into()));
    assert!(world.opened.is_empty());
}

#[test]
fn a_connection_that_died_while_idle_is_replaced_silently() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.takes(first.session);
    world.outcome();
    world.ready(first.session);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.ready(first.session), Next::Mail);
    let died = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Stale);
    world.told(first.session, Whom::Rest, died);
    let second = world.one();
    assert_eq!(second.address, first.address);
    world.closed(first.session, &End::Failed);
    world.ready(second.session);
    world.takes(second.session);
    assert_eq!(world.outcome(), Attempt::Relayed(None));
}

#[test]
fn tls_that_does_not_work_is_done_without_for_an_hour_where_it_may_be() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(first.tls, HopTls::Opportunistic);
    world.closed(first.session, &End::Tls("no protocol in common".into()));
    let second = world.one();
    assert_eq!((second.address, second.tls), (first.address, HopTls::Never));
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    world.closed(second.session, &End::Quit);
    world.pass(3500);
    world.send(&hop, &["a@example.org"]);
    let third = world.one();
    assert_eq!(third.tls, HopTls::Never);
    world.closed(third.session, &End::Unreachable("x".into()));
    world.pass(101);
    world.send(&hop, &["a@example.org"]);
    assert_eq!(world.opened.len(), 2, "also for the one that has waited");
    assert!(world.opened.iter().all(|connect| connect.tls == HopTls::Opportunistic));

    let mut world = World::new(7);
    let required = server("192.0.2.1", HopTls::Required { verify: true });
    world.send(&self::hop(Way::Servers(vec![required]), "tls", PACE), &["a@example.org"]);
    let (all, seconds) = world.runs_out(&End::Tls("certificate has expired".into()));
    assert_eq!(seconds, 0, "that does not pass by waiting");
    assert!(all.iter().all(|one| one.tls == HopTls::Required { verify: true }), "never in clear");
    let attempt = world.outcome();
    assert!(text(&attempt).1.ends_with("certificate has expired"), "{attempt:?}");
}

#[test]
fn mx_routes_begin_carefully_and_back_off() {
    let mut world = World::new(7);
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    for _ in 0..30 {
        world.send(&hop, &["a@example.org"]);
    }
    assert_eq!(world.opened.len(), 2);
    let first = world.opened[0].session;
    for more in [3, 4, 5, 5, 5] {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
        assert_eq!(world.opened.len(), more, "five is the limit of a route");
    }
    let busy: Vec<_> = world.opened.iter().map(|one| one.session).skip(1).collect();
    for session in &busy {
        assert_eq!(world.ready(*session), Next::Mail);
    }
    let pressed = |status, again| {
        let failure = Failure::new(status, "421 4.7.0 too many connections");
        Told::Failed(Trouble { failure, reply: None, permanent: false, pressed: true, again })
    };
    world.told(busy[0], Whom::Rest, pressed((4, 7, 0), Again::No));
    world.closed(busy[0], &End::Failed);
    assert_eq!(world.opened.len(), 5, "half of five, and four are there");
    for session in [busy[1], busy[2], busy[3]] {
        world.closed(session, &End::Quit);
    }
    assert!(world.opened.len() <= 6, "{}", world.opened.len());
}

#[test]
fn session_mail_max_and_delays_that_are_written_are_kept() {
    let mut world = World::new(7);
    let delays = only(Kind::Relay, Duration::from_secs(5), Duration::ZERO);
    let pace = Pace { mails: 2, delays, ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    for _ in 0..3 {
        world.send(&hop, &["a@example.org"]);
    }
    let first = world.one().session;
    let alarm = world.relay.deadline().expect("there is to be a second one");
    assert_eq!(alarm, world.now.mono + Duration::from_secs(5));
    for _ in 0..2 {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
    }
    assert_eq!(world.ready(first), Next::Quit);
    world.pass(5);
    world.turn();
    let second = world.one().session;
    assert_eq!(world.ready(second), Next::Mail);
}

#[test]
fn hops_that_share_an_address_wait_for_each_other() {
    let mut world = World::new(7);
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let way = || Way::Servers(vec![server("192.0.2.1", HopTls::Never)]);
    let (one, other) = (hop(way(), "one", pace), hop(way(), "other", pace));
    world.send(&one, &["a@example.org"]);
    world.send(&other, &["b@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.takes(first.session);
    assert!(world.opened.is_empty());
    world.closed(first.session, &End::Quit);
    let second = world.one();
    world.ready(second.session);
    world.takes(second.session);
    assert_eq!(world.outcomes.len(), 2);
}

#[test]
fn without_smtputf8_only_those_who_need_it_fail() {
    let mut world = World::new(7);
    world.send(&servers(&["192.0.2.1"]), &["a@example.org", "gr\u{fc}n@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    let task = world.relay.current(session).unwrap();
    assert_eq!(task.recipients.len(), 1);
    assert_eq!(task.recipients[0].to.as_str(), "a@example.org");
    world.takes(session);
    assert_eq!(world.ready(session), Next::Mail);
    let task = world.relay.current(session).unwrap();
    assert_eq!(task.recipients[0].to.as_str(), "gr\u{fc}n@example.org");
}

#[test]
fn what_needs_smtputf8_as_a_whole_stays_whole() {
    for is_sender in [false, true] {
        let mut world = World::new(7);
        let hop = servers(&["192.0.2.1"]);
        let mut task = world.task(&hop, &["a@example.org", "gr\u{fc}n@example.org"]);
        match is_sender {
            true => {
                task.from = ReversePath::Mailbox(Mailbox::parse("gr\u{fc}n@example.net").unwrap());
            }
            false => task.content.utf8_header = true,
        }
        world.relay.take(task);
        world.turn();
        let session = world.one().session;
        assert_eq!(world.ready(session), Next::Mail);
        assert_eq!(world.relay.current(session).unwrap().recipients.len(), 2);
    }
}

#[test]
fn a_machine_without_descriptors_blames_no_server() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    // Two that are opened together, of which one finds no room.
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let (first, second) = (world.opened.remove(0).session, world.opened.remove(0).session);
    world.closed(second, &End::NoRoom("Too many open files".into()));
    world.closed(first, &End::NoRoom("Too many open files".into()));
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    // Nobody else is any better off.
    world.send(&servers(&["192.0.2.2"]), &["c@example.org"]);
    assert!(world.opened.is_empty());
    assert_eq!(world.relay.deadline(), Some(world.now.mono + Duration::from_secs(1)));
    world.pass(1);
    world.turn();
    assert_eq!(world.opened.len(), 3);
    let (all, seconds) = world.runs_out(&End::NoRoom("Too many open files".into()));
    assert!((50..=61).contains(&seconds) && all.len() > 100, "{seconds} {}", all.len());
    world.pass(1);
    world.turn();
    assert!(world.outcomes.len() <= 3);
    for (.., attempt) in &world.outcomes {
        assert_eq!(text(attempt), ('l', "Too many open files", "4.3.0".into()));
    }
}

#[test]
fn a_way_that_cannot_be_begun_is_left_alone_while_others_are_busy() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@example.org"]);
    let busy = world.one().session;
    assert_eq!(world.ready(busy), Next::Mail);
    world.send(&hop, &["b@example.org"]);
    for _ in 0..2 {
        let session = world.one().session;
        world.closed(session, &End::Local("Too many open files".into()));
    }
    assert!(world.opened.is_empty(), "each way is tried once");
    assert!(world.outcomes.is_empty(), "the other one may take it yet");
    world.takes(busy);
    assert_eq!(world.ready(busy), Next::Mail);
    world.takes(busy);
    assert_eq!(world.outcomes.len(), 2);
    assert!(world.outcomes.iter().all(|(.., attempt)| *attempt == Attempt::Relayed(None)));
}

#[test]
fn what_a_server_dropped_is_not_tried_at_its_next_success() {
    for is_told in [true, false] {
        let mut world = World::new(7);
        let hop = servers(&["192.0.2.1"]);
        world.send(&hop, &["a@example.org"]);
        let first = world.one().session;
        assert_eq!(world.ready(first), Next::Mail);
        let end = if is_told {
            let lost = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
            world.told(first, Whom::Rest, lost);
            End::Failed
        } else {
            End::Content
        };
        world.closed(first, &end);
        assert!(matches!(world.outcome(), Attempt::Later(_)));
        world.send(&hop, &["b@example.org"]);
        let second = world.one().session;
        assert_eq!(world.ready(second), Next::Mail);
        world.takes(second);
        assert_eq!(world.outcome(), Attempt::Relayed(None));
        assert!(world.scheduled.is_empty(), "{end:?}");
    }
}

#[test]
fn an_idle_connection_that_takes_a_message_unasked_is_kept_afterwards() {
    let mut world = World::new(7);
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let first = world.opened[0].session;
    for _ in 0..2 {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
    }
    assert!(matches!(world.ready(first), Next::Wait(_)));
    // The second connection is about to take this one, and the first comes before it.
    world.send(&hop, &["c@example.org"]);
    assert!(world.resumed.is_empty());
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)), "no other one is idle");
}

#[test]
fn nothing_is_opened_once_the_process_ends() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let opened: Vec<_> = world.opened.drain(..).collect();
    assert_eq!(world.ready(opened[0].session), Next::Mail);
    for connect in opened {
        world.closed(connect.session, &End::Stopped);
    }
    world.send(&hop, &["c@example.org"]);
    assert!(world.opened.is_empty());
    assert!(world.outcomes.is_empty(), "they stay in the queue");
}

#[test]
fn no_more_waits_for_a_dead_server_than_is_bounded() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    for _ in 0..BOUNDS.held - 11 {
        world.send(&hop, &["b@example.org"]);
    }
    // What waits for other servers counts as well.
    let other = servers(&["192.0.2.2"]);
    world.send(&other, &["c@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    for _ in 0..9 {
        world.send(&other, &["c@example.org"]);
    }
    assert!(world.outcomes.is_empty());
    let over = world.send(&hop, &["d@example.org"]);
    assert_eq!(world.outcomes.remove(0).1, over[0]);
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    world.pass(15);
    world.turn();
    let session = world.opened[0].session;
    while world.ready(session) == Next::Mail {
        world.takes(session);
    }
    assert_eq!(world.outcomes.len(), BOUNDS.held - 10, "all that waited for the first");
    assert_eq!(world.scheduled, over, "and it is not forgotten");
}

#[test]
fn a_task_that_was_dropped_waits_for_the_others() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    let ids = world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.refuses(&first);
    let second = world.one();
    assert_eq!(world.ready(second.session), Next::Mail);
    let lost = || trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
    world.told(second.session, Whom::Rest, lost());
    world.closed(second.session, &End::Failed);
    assert!(world.outcomes.is_empty(), "the first one is only left alone");
    world.pass(15);
    world.turn();
    assert_eq!(world.opened[0].address, first.address);
    world.runs_out(&End::Unreachable("Connection refused".into()));
    assert_eq!(text(&world.outcome()), ('l', "Connection closed unexpectedly", "4.4.2".into()));
    world.pass(60);
    world.send(&hop, &["b@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.scheduled, ids, "it never came to the first one");
}

#[test]
fn what_waits_for_better_times_is_given_back_when_the_process_is_about_to_end() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    assert!(world.outcomes.is_empty());
    world.relay.end();
    world.turn();
    assert!(matches!(world.outcome(), Attempt::Later(_)));
    world.send(&hop, &["a@example.org"]);
    assert!(matches!(world.outcome(), Attempt::Later(_)));
}

#[test]
fn names_are_asked_anew_while_a_connection_is_kept_busy() {
    let mut world = World::new(7);
    world.host("smart.example", &["192.0.2.1"]);
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let way = Way::Servers(vec![server("smart.example", HopTls::Never)]);
    let hop = hop(way, "smart.example", pace);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(world.ready(first.session), Next::Mail);
    // The resolver has no answer: the addresses of before will do.
    world.pass(31);
    world.slow.insert("smart.example".into());
    world.send(&hop, &["b@example.org"]);
    let (question, _) = world.asked.remove(0);
    world.relay.answered(question, &Answer::Later);
    world.turn();
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    world.pass(31);
    world.send(&hop, &["b@example.org"]);
    let (question, _) = world.asked.remove(0);
    assert!(world.opened.is_empty(), "one address takes one connection");
    world.relay.answered(question, &Answer::Addresses(vec!["192.0.2.2".parse().unwrap()]));
    world.turn();
    assert_eq!(world.one().address, address("192.0.2.2:2525"));
    assert!(world.asked.is_empty());
}

/// A hop of servers that are reached from one address, by these numbers of connections.
fn bounded(place: &str, hosts: &[&str], source: &str, most: [Option<usize>; 6]) -> Arc<Hop> {
    let servers = hosts.iter().map(|host| server(host, HopTls::Never)).collect();
    let hop = hop(Way::Servers(servers), place, Pace { most, ..PACE });
    let sources = vec![(source.parse().unwrap(), "mail.example.net".to_owned())];
    Arc::new(Hop { sources, ..Arc::into_inner(hop).unwrap() })
}

#[test]
fn connections_are_bounded_by_what_hops_share() {
    let to = bounded;
    // Of each: the scope, the second hop, and whether it finds room beside one of the first.
    let (a, b) = ("192.0.2.101", "192.0.2.102");
    let cases = [
        (Kind::Host, "2", "192.0.2.1", b, false),
        (Kind::Host, "2", "192.0.2.2", a, true),
        (Kind::Route, "2", "192.0.2.1", a, false),
        (Kind::Route, "2", "192.0.2.1", b, true),
        (Kind::Source, "2", "192.0.2.2", a, false),
        (Kind::Source, "2", "192.0.2.2", b, true),
        (Kind::Connector, "1", "192.0.2.1", a, false),
        (Kind::Connector, "2", "192.0.2.1", a, true),
        (Kind::Relay, "1", "192.0.2.1", a, false),
        (Kind::Relay, "2", "192.0.2.1", a, true),
        (Kind::Domain, "2", "192.0.2.1", b, false),
        (Kind::Domain, "2", "192.0.2.2", a, true),
    ];
    for (kind, place, host, source, has_room) in cases {
        let mut world = World::new(7);
        let most = only(kind, Some(1), None);
        world.send(&to("1", &["192.0.2.1"], a, most), &["a@example.org"]);
        let first = world.one();
        world.send(&to(place, &[host], source, most), &["b@example.org"]);
        assert_eq!(!world.opened.is_empty(), has_room, "{kind:?} {host} {source}");
        if !has_room {
            // That is so until the connection is over.
            world.ready(first.session);
            world.takes(first.session);
            world.closed(first.session, &End::Quit);
            assert_eq!(world.opened.len(), 1, "{kind:?}");
        }
    }
    // A number that one server has reached is no reason not to go to the next.
    let mut world = World::new(7);
    let most = only(Kind::Host, Some(1), None);
    let hop = to("1", &["192.0.2.1", "192.0.2.2"], a, most);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let opened: Vec<_> = world.opened.iter().map(|one| one.address).collect();
    assert_eq!(opened, [address("192.0.2.1:2525")], "in order: it is busy, not dead");
}

#[test]
fn an_idle_connection_gives_way_to_a_message_of_another_hop() {
    let (a, b) = ("192.0.2.101", "192.0.2.102");
    // Of each: the scope, and a hop that shares it. Idle before the message comes, and after.
    let cases = [
        (Kind::Host, "192.0.2.1", b),
        (Kind::Route, "192.0.2.1", a),
        (Kind::Source, "192.0.2.2", a),
        (Kind::Domain, "192.0.2.1", b),
    ];
    let both = cases.into_iter().flat_map(|case| [(case, true), (case, false)]);
    for ((kind, host, source), before) in both {
        let mut world = World::new(7);
        let most = only(kind, Some(1), None);
        let other = bounded("2", &[host], source, most);
        world.send(&bounded("1", &["192.0.2.1"], a, most), &["a@example.org"]);
        let first = world.one().session;
        assert_eq!(world.ready(first), Next::Mail);
        if !before {
            world.send(&other, &["b@example.org"]);
            assert!(world.resumed.is_empty(), "{kind:?}: it does something");
        }
        world.takes(first);
        assert!(matches!(world.ready(first), Next::Wait(_)));
        if before {
            assert!(world.resumed.is_empty(), "{kind:?}: nobody waits");
            world.send(&other, &["b@example.org"]);
        }
        assert_eq!(world.resumed, [first], "{kind:?} {before}");
        // It takes no other message.
        world.send(&bounded("1", &["192.0.2.1"], a, most), &["c@example.org"]);
        assert_eq!(world.ready(first), Next::Quit);
        assert!(world.opened.is_empty());
        world.closed(first, &End::Quit);
        let second = world.one();
        assert_eq!(world.ready(second.session), Next::Mail);
        world.takes(second.session);
        assert_eq!(world.outcomes.len(), 2);
    }
    // One that shares nothing which is full stays.
    let mut world = World::new(7);
    let most = only(Kind::Host, Some(1), None);
    world.send(&bounded("1", &["192.0.2.1"], a, most), &["a@example.org"]);
    let idle = world.one().session;
    world.ready(idle);
    world.takes(idle);
    assert!(matches!(world.ready(idle), Next::Wait(_)));
    let other = bounded("2", &["192.0.2.2"], a, most);
    world.send(&other, &["b@example.org"]);
    world.send(&other, &["b@example.org"]);
    world.send(&bounded("3", &["192.0.2.2"], a, most), &["c@example.org"]);
    assert!(world.resumed.is_empty());
}

#[test]
fn one_idle_connection_at_a_time_is_ended_for_a_hop_that_waits() {
    // Three are idle.
    let a = "192.0.2.101";
    let most = only(Kind::Source, Some(3), None);
    let mut world = World::new(7);
    for place in ["1", "2", "3"] {
        world.send(&bounded(place, &["192.0.2.1"], a, most), &["a@example.org"]);
        let session = world.opened.last().unwrap().session;
        assert_eq!(world.ready(session), Next::Mail);
        world.takes(session);
        world.pass(1);
    }
    let idle: Vec<_> = world.opened.drain(..).map(|one| one.session).collect();
    for session in [idle[1], idle[2], idle[0]] {
        assert!(matches!(world.ready(session), Next::Wait(_)));
        world.pass(1);
    }
    // Two messages of one hop: one connection, that which would have ended first.
    let four = bounded("4", &["192.0.2.1"], a, most);
    world.send(&four, &["b@example.org"]);
    world.send(&four, &["b@example.org"]);
    assert_eq!(world.resumed, [idle[1]]);
    // Another hop: another one.
    world.send(&bounded("5", &["192.0.2.1"], a, most), &["c@example.org"]);
    assert_eq!(world.resumed, [idle[1], idle[2]]);
    assert_eq!(world.ready(idle[1]), Next::Quit);
    world.closed(idle[1], &End::Quit);
    let session = world.one().session;
    // Now for the second message of that hop.
    assert_eq!(world.resumed, [idle[1], idle[2], idle[0]]);
    assert_eq!(world.ready(session), Next::Mail);

    // All connections there may be.
    let mut world = World::new(7);
    world.relay = Relay::new(7, Bounds { connections: 1, ..BOUNDS });
    world.send(&servers(&["192.0.2.1"]), &["a@example.org"]);
    let first = world.one().session;
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)));
    world.send(&servers(&["192.0.2.2"]), &["b@example.org"]);
    assert_eq!(world.resumed, [first]);
    assert_eq!(world.ready(first), Next::Quit);
    world.closed(first, &End::Quit);
    assert_eq!(world.one().address, address("192.0.2.2:2525"));
}

#[test]
fn many_domains_of_one_mail_host_wait_for_no_keep_alive() {
    let mut world = World::new(7);
    world.host("mx.example.net", &["192.0.2.1"]);
    for nth in 0..20 {
        let domain = format!("d{nth}.example");
        world.mx(&domain, &[(10, "mx.example.net")]);
        world.send(&mx(&domain), &[&format!("a@{domain}")]);
    }
    assert_eq!(world.opened.len(), 5, "the limit of a route");
    let (mut open, mut ended) = (0, 0);
    while !world.opened.is_empty() || !world.resumed.is_empty() {
        for connect in std::mem::take(&mut world.opened) {
            open += 1;
            assert!(open <= 5);
            assert_eq!(world.ready(connect.session), Next::Mail);
            world.takes(connect.session);
            assert!(matches!(world.ready(connect.session), Next::Wait(_)));
        }
        for session in std::mem::take(&mut world.resumed) {
            assert_eq!(world.ready(session), Next::Quit);
            open -= 1;
            world.closed(session, &End::Quit);
            ended += 1;
        }
    }
    // Time has not passed.
    assert_eq!(world.outcomes.len(), 20);
    assert_eq!((open, ended), (5, 15), "those that nobody needs the place of are kept");
}

#[test]
fn pauses_are_kept_where_they_are_written() {
    let five = Duration::from_secs(5);
    for kind in Kind::ALL {
        let mut world = World::new(7);
        let pace = Pace { delays: only(kind, five, Duration::ZERO), ..PACE };
        let way = Way::Servers(vec![server("192.0.2.1", HopTls::Never)]);
        let hop = hop(way, "x", pace);
        world.send(&hop, &["a@example.org"]);
        world.one();
        world.send(&hop, &["b@example.org"]);
        assert!(world.opened.is_empty(), "{kind:?}");
        assert_eq!(world.relay.deadline(), Some(world.now.mono + five));
        world.pass(5);
        world.turn();
        assert_eq!(world.opened.len(), 1, "{kind:?}");
    }
    // After the end of the last connection, and only then.
    let mut world = World::new(7);
    let pace = Pace { reconnect_delay: five, ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.opened.len(), 2);
    for connect in std::mem::take(&mut world.opened) {
        world.ready(connect.session);
        world.takes(connect.session);
        world.ready(connect.session);
        world.closed(connect.session, &End::Quit);
    }
    world.pass(1);
    world.send(&hop, &["c@example.org"]);
    assert!(world.opened.is_empty());
    world.pass(4);
    world.turn();
    assert_eq!(world.opened.len(), 1);
}

#[test]
fn no_more_messages_go_in_a_period_than_is_written() {
    let mut world = World::new(7);
    let pace = Pace { rates: [Some(3), None], ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    for _ in 0..4 {
        world.send(&hop, &["a@example.org"]);
    }
    let session = world.opened[0].session;
    for _ in 0..3 {
        assert_eq!(world.ready(session), Next::Mail);
        world.takes(session);
    }
    for session in std::mem::take(&mut world.opened).iter().map(|connect| connect.session) {
        let Next::Wait(_) = world.ready(session) else { panic!("that was the minute's share") };
    }
    let at = world.relay.deadline().expect("a time to go on");
    assert!(at > world.now.mono + Duration::from_secs(59), "{at:?}");
    assert!(world.resumed.is_empty());
    assert_eq!(world.outcomes.len(), 3);
    world.now.mono = at;
    world.turn();
    assert_eq!(world.resumed.len(), 1);

    let mut world = World::new(7);
    let pace = Pace { rates: [None, Some(1)], ..PACE };
    let hop = self::hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    let first = world.send(&hop, &["a@example.org"]);
    let second = world.send(&hop, &["a@example.org"]);
    let session = world.opened[0].session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.pop().unwrap().1, first[0]);
    let (_, id, attempt) = world.outcomes.remove(0);
    assert_eq!(id, second[0]);
    assert_eq!(text(&attempt), ('l', "max-mails-per-hour of x is reached", "4.4.5".into()));
    // It is tried when an hour's share is free, and another one an hour later.
    let not_before = |attempt: &Attempt| match attempt {
        Attempt::Later(failure) => failure.not_before.unwrap(),
        other => panic!("{other:?}"),
    };
    let free = not_before(&attempt);
    let hour = 3600 * 1_000_000;
    assert!(free > world.now.unix + hour && free <= world.now.unix + hour / 10 * 11);
    for _ in 0..2 {
        let task = world.task(&hop, &["a@example.org"]);
        world.relay.take(task);
    }
    world.turn();
    let times: Vec<_> = world.outcomes.drain(..).map(|(_, _, one)| not_before(&one)).collect();
    assert_eq!(times, [free, free + hour]);
    // The next success makes no room for it.
    world.pass(2 * 3600);
    world.send(&hop, &["a@example.org"]);
    let session = world.opened.last().unwrap().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.len(), 1);
    assert_eq!(world.scheduled, []);
}

#[test]
fn what_the_dns_does_not_know_for_a_moment_is_asked_again_soon() {
    let mut world = World::new(7);
    world.slow.insert("MX example.org".into());
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    world.send(&hop, &["a@example.org"]);
    // The time counts from the answer, which itself may have taken long.
    world.pass(6);
    let answer = |world: &mut World, answer: &Answer| {
        let (question, _) = world.asked.remove(0);
        world.relay.answered(question, answer);
        world.turn();
    };
    answer(&mut world, &Answer::Later);
    world.pass(4);
    world.send(&hop, &["b@example.org"]);
    assert!(world.outcomes.is_empty() && world.asked.is_empty());
    assert_eq!(world.relay.deadline(), Some(world.now.mono + Duration::from_secs(1)));
    world.pass(1);
    world.turn();
    assert_eq!(world.asked.len(), 1);
    answer(&mut world, &Answer::Mx(vec![(10, "mx.example.org".into())]));
    assert_eq!(world.opened.len(), 2);
    assert!(world.opened.iter().all(|one| one.address == address("192.0.2.1:25")));
    assert!(world.outcomes.is_empty());

    // One that comes when nobody waits any more is asked for as well.
    let mut world = World::new(7);
    world.zone.insert("MX example.org".into(), Answer::Later);
    world.send(&hop, &["a@example.org"]);
    world.runs_out(&End::Quit);
    world.outcome();
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    world.pass(5);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.one().address, address("192.0.2.1:25"));
}

#[test]
fn what_is_scheduled_has_been_reported_before() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.refuses(&first);
    world.pass(15);
    world.turn();
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.remove(0).1, ids[0]);
    // Both in one turn: one fails for want of a server, and another session has a success.
    let envelope = ids[0];
    world.relay.report(9, envelope, Attempt::Later(Failure::new((4, 4, 1), "refused")));
    world.relay.outputs.push(Output::Schedule(vec![envelope]));
    let mut outputs = Vec::new();
    world.relay.turn(world.now, &mut outputs);
    let [Output::Report(report), Output::Schedule(scheduled)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((report.attempts[0].0, &scheduled[..]), (envelope, &[envelope][..]));
}

#[test]
fn a_free_place_goes_to_the_hop_that_has_waited_longest() {
    // One place, and hops of whom the first has work without end.
    let most = only(Kind::Host, Some(1), None);
    let pace = Pace { mails: 1, ..PACE };
    let hop = |place| {
        let hop = bounded(place, &["192.0.2.1"], "192.0.2.101", most);
        let pace = Pace { most, ..pace };
        Arc::new(Hop { pace, ..Arc::into_inner(hop).unwrap() })
    };
    let mut world = World::new(7);
    let (bulk, second, third) = (hop("bulk"), hop("second"), hop("third"));
    // Known in this order, waiting in another one.
    let mut order = Vec::new();
    for one in [&bulk, &second, &third] {
        world.send(one, &["a@example.org"]);
    }
    for round in 0..8 {
        let connect = world.one();
        order.push(connect.hop.key.place.to_string());
        assert_eq!(world.ready(connect.session), Next::Mail);
        world.send(&bulk, &["a@example.org"]);
        if round == 2 {
            world.send(&third, &["c@example.org"]);
            world.send(&second, &["b@example.org"]);
        }
        world.takes(connect.session);
        assert_eq!(world.ready(connect.session), Next::Quit);
        world.closed(connect.session, &End::Quit);
    }
    assert_eq!(order, ["bulk", "second", "third", "bulk", "third", "second", "bulk", "bulk"]);
}

#[test]
fn a_connection_that_others_wait_for_takes_no_more_than_its_share() {
    let most = only(Kind::Host, Some(1), None);
    let hop = |place| bounded(place, &["192.0.2.1"], "192.0.2.101", most);
    let (bulk, urgent) = (hop("bulk"), hop("urgent"));
    let mut world = World::new(7);
    for _ in 0..100 {
        world.send(&bulk, &["a@example.org"]);
    }
    let connect = world.one();
    for _ in 0..30 {
        assert_eq!(world.ready(connect.session), Next::Mail, "nobody else waits");
        world.takes(connect.session);
    }
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.send(&urgent, &["b@example.org"]);
    world.takes(connect.session);
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    let connect = world.one();
    assert_eq!(&*connect.hop.key.place, "urgent");
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.takes(connect.session);
    // It has nothing more, and the others have.
    assert!(matches!(world.ready(connect.session), Next::Wait(_)));
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    assert_eq!(&*world.one().hop.key.place, "bulk");
}

#[test]
fn what_is_shown_are_the_lines_of_upstream() {
    let lines = |world: &World, view| {
        let items = world.relay.show(view, 0, 100, world.now);
        assert!(items.is_sorted_by_key(|(number, _)| *number) && items.len() < 100);
        items.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let mut world = World::new(7);
    for view in View::ALL {
        assert!(lines(&world, view).is_empty());
    }
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@Example.org"]);
    let first = world.one();
    assert_eq!(
        lines(&world, View::Routes),
        ["1. [] <-> 192.0.2.1 (192.0.2.1) N--- nconn=1 nerror=0 penalty=0 timeout=-"]
    );
    assert_eq!(
        lines(&world, View::Relays),
        ["[relay:192.0.2.1 192.0.2.2,smtp] refcount=2 ntask=1 nconn=1 lastconn=0s timeout=- \
          wait=\n  connector [] refcount=1 nconn=1 lastconn=0s timeout=- flags="]
    );
    world.pass(2);
    world.refuses(&first);
    world.pass(1);
    let second = world.one();
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    assert_eq!(
        lines(&world, View::Routes),
        [
            "1. [] <-> 192.0.2.1 (192.0.2.1) NDQ- nconn=0 nerror=1 penalty=1 timeout=14s",
            "2. [] <-> 192.0.2.2 (192.0.2.2) ---K nconn=1 nerror=0 penalty=0 timeout=-",
        ]
    );
    assert_eq!(
        lines(&world, View::Hosts),
        [
            "192.0.2.1 192.0.2.1 refcount=1 nconn=0 lastconn=3s",
            "192.0.2.2 192.0.2.2 refcount=1 nconn=1 lastconn=1s",
        ]
    );
    let at = world.now.unix / 1_000_000;
    assert_eq!(lines(&world, View::HostStats), [format!("example.org|{at}|250 2.0.0 Ok")]);
    // From behind a number on, and no more than asked for.
    let one = world.relay.show(View::Routes, 0, 1, world.now);
    assert_eq!((one.len(), one[0].0), (1, 1));
    let rest = world.relay.show(View::Routes, 1, 100, world.now);
    assert_eq!((rest.len(), rest[0].0), (1, 2));
    assert!(world.relay.show(View::Hosts, 1_000_000, 100, world.now).is_empty());

    // Nobody answers: until somebody says that the first one does.
    world.closed(second.session, &End::Quit);
    world.send(&hop, &["b@example.org"]);
    let second = world.one();
    world.refuses(&second);
    let relays = lines(&world, View::Relays);
    assert!(relays[0].contains(" ntask=1 nconn=0 lastconn=0s timeout=14s wait=connector\n"));
    assert!(relays[0].ends_with(" timeout=14s flags=ERROR_ROUTE_NET"), "{relays:?}");
    assert!(!world.relay.resume_way(77));
    assert!(world.relay.resume_way(1));
    world.turn();
    assert_eq!(world.one().address, first.address);

    // What keeps a relay from opening connections.
    let mut world = World::new(7);
    world.slow.insert("MX example.org".into());
    world.send(&mx("example.org"), &["a@example.org"]);
    let relays = lines(&world, View::Relays);
    assert!(relays[0].contains(" wait=MX\n") && relays[0].ends_with(" flags=WAIT"), "{relays:?}");
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let hop = self::hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let relays = lines(&world, View::Relays);
    assert!(relays[1].contains(" wait=limits\n"), "{relays:?}");
    assert!(relays[1].ends_with(" flags=LIMIT_HOST"), "{relays:?}");
}

#[test]
fn servers_that_share_the_mail_get_as_much_each() {
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let balanced = || {
        let way = Way::Servers(all.map(|host| server(host, HopTls::Never)).into());
        let (helo, sources) = ("mail.example.net".into(), Vec::new());
        let (key, title) = (key("all"), String::new());
        let pace = PACE;
        let (family, chunking, balance) = (None, false, true);
        Arc::new(Hop { key, title, way, balance, helo, sources, family, chunking, pace })
    };
    // One after the other, over connections that are kept; and over new ones.
    for is_kept in [true, false] {
        let mut world = World::new(7);
        let hop = balanced();
        let mut addresses: HashMap<SessionId, SocketAddr> = HashMap::new();
        let mut taken: HashMap<SocketAddr, u32> = HashMap::new();
        for _ in 0..30 {
            world.send(&hop, &["a@example.org"]);
            let session = match world.resumed.pop() {
                Some(session) => session,
                None => {
                    let connect = world.one();
                    addresses.insert(connect.session, connect.address);
                    connect.session
                }
            };
            assert_eq!(world.ready(session), Next::Mail);
            world.takes(session);
            *taken.entry(addresses[&session]).or_default() += 1;
            assert!(matches!(world.ready(session), Next::Wait(_)));
            if !is_kept {
                world.closed(session, &End::Quit);
            }
            world.pass(1);
        }
        assert_eq!(taken.into_values().collect::<Vec<_>>(), [10, 10, 10], "{is_kept}");
        assert!(!is_kept || addresses.len() == 3);
    }
    // All at once, and one of them is dead.
    let mut world = World::new(7);
    let hop = balanced();
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(world.ready(first.session), Next::Mail);
    for _ in 0..5 {
        world.send(&hop, &["a@example.org"]);
    }
    let mut opened: Vec<_> = world.opened.iter().map(|connect| connect.address).collect();
    opened.push(first.address);
    opened.sort();
    let twice = all.map(|host| address(&format!("{host}:2525")));
    assert_eq!(opened, [twice[0], twice[0], twice[1], twice[1], twice[2], twice[2]]);
    let dead = world.opened.remove(0);
    world.refuses(&dead);
    assert_eq!(world.opened.iter().filter(|one| one.address == dead.address).count(), 1);
    assert_eq!(world.opened.len(), 5, "another one in its place");
}

#[test]
fn a_connection_is_opened_before_its_message_where_one_will_be_needed() {
    let soon = |world: &mut World, hop: &Arc<Hop>| {
        world.relay.preconnect(hop, world.now);
        world.turn();
    };
    let mut world = World::new(7);
    world.host("smart.example", &["192.0.2.1"]);
    let hop = servers(&["smart.example"]);
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "nothing is known of that hop");
    world.send(&hop, &["a@example.org"]);
    let first = world.one().session;
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "it has taken nothing yet");
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)));
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "one is idle");
    world.pass(10);
    assert_eq!(world.ready(first), Next::Quit);
    world.closed(first, &End::Quit);

    // Names that are too old are asked for first, and the message finds the connection.
    world.pass(45);
    world.slow.insert("smart.example".into());
    soon(&mut world, &hop);
    assert!(world.opened.is_empty());
    let (question, _) = world.asked.remove(0);
    world.relay.answered(question, &Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]));
    world.turn();
    let second = world.one().session;
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "one for each hop");
    world.send(&hop, &["b@example.org"]);
    assert!(world.opened.is_empty());
    assert_eq!(world.ready(second), Next::Mail);
    world.takes(second);
    assert_eq!(world.ready(second), Next::Wait(world.now.mono + PACE.keep_alive));
    world.pass(10);
    world.ready(second);
    world.closed(second, &End::Quit);

    // Without a message it comes to its end; and if the server ends it, nobody is to blame.
    for dies in [false, true] {
        soon(&mut world, &hop);
        let spare = world.one().session;
        assert!(matches!(world.ready(spare), Next::Wait(_)));
        if dies {
            world.send(&hop, &["c@example.org"]);
            assert_eq!(world.resumed.pop(), Some(spare));
            assert_eq!(world.ready(spare), Next::Mail);
            assert!(world.relay.is_kept(spare), "it may have died while it was idle");
            let died = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Stale);
            world.told(spare, Whom::Rest, died);
            let last = world.one().session;
            world.closed(spare, &End::Failed);
            assert_eq!(world.ready(last), Next::Mail);
            world.takes(last);
        } else {
            world.pass(10);
            assert_eq!(world.ready(spare), Next::Quit);
            world.closed(spare, &End::Quit);
        }
    }
    // A minute after the last message nobody counts on the next one.
    world.pass(61);
    soon(&mut world, &hop);
    assert!(world.opened.is_empty());
}

/// Servers and names that do anything in any order: every envelope is told of once, nothing waits
/// for ever, and no bound is passed.
#[test]
fn whatever_happens_every_envelope_has_one_outcome() {
    let long = std::env::var("HERMES_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 1..=200 * long {
        random_world(seed);
    }
}

fn random_world(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| super::next_random(&mut state) % below;
    let mut world = World::new(seed);
    world.mx("example.org", &[(10, "a.example"), (10, "b.example"), (20, "c.example")]);
    world.host("a.example", &["192.0.2.1", "2001:db8::1"]);
    world.host("b.example", &["192.0.2.2"]);
    world.zone.insert("c.example".into(), Answer::Later);
    world.host("smart.example", &["192.0.2.3", "192.0.2.4"]);
    let most = only(Kind::Host, Some(2), None);
    let shared = |place| bounded(place, &["192.0.2.6"], "192.0.2.101", most);
    let hops = [
        mx("example.org"),
        servers(&["smart.example", "192.0.2.5"]),
        mx("nowhere.example"),
        shared("one"),
        shared("other"),
    ];
    let mut sent: HashSet<EnvelopeId> = HashSet::new();
    // What each open session waits for: whether it has been ready, and until when it is idle.
    let mut open: Vec<(SessionId, bool)> = Vec::new();
    for round in 0..400 {
        match random(6) {
            0 if round < 250 => {
                let hop = &hops[random(5) as usize];
                let to = ["a@example.org", "b@example.org", "\u{e4}@example.org"];
                sent.extend(world.send(hop, &to[..1 + random(3) as usize]));
            }
            1 => world.pass(random(20)),
            2 if random(4) == 0 => world.relay.preconnect(&hops[random(5) as usize], world.now),
            _ if !open.is_empty() => {
                let place = random(open.len() as u64) as usize;
                let (session, is_busy) = open[place];
                if !is_busy && random(4) > 0 {
                    let next = world.ready(session);
                    open[place].1 = next == Next::Mail;
                    if next == Next::Quit {
                        world.closed(session, &End::Quit);
                        open.swap_remove(place);
                    }
                } else if is_busy && random(4) > 0 {
                    let many = world.relay.current(session).unwrap().recipients.len() as u64;
                    let one = Whom::One(random(many) as usize);
                    match random(4) {
                        0 => world.told(session, one, trouble((5, 1, 1), "550 no", Again::No)),
                        1 => {
                            world.told(
                                session,
                                Whom::Rest,
                                trouble((4, 0, 0), "450 no", Again::No),
                            );
                            open[place].1 = false;
                        }
                        _ => {
                            world.takes(session);
                            open[place].1 = false;
                        }
                    }
                } else {
                    if is_busy {
                        let again = [Again::No, Again::Elsewhere, Again::Stale][random(3) as usize];
                        world.told(session, Whom::Rest, trouble((4, 4, 2), "lost", again));
                    }
                    let ends = [
                        End::Failed,
                        End::Unreachable("refused".into()),
                        End::Tls("bad".into()),
                        End::Local("no certificate".into()),
                        End::NoRoom("no files".into()),
                    ];
                    world.closed(session, &ends[random(5) as usize]);
                    open.swap_remove(place);
                }
            }
            _ => {}
        }
        world.turn();
        open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
        assert!(open.len() <= 25);
    }
    // From here on all servers are good.
    for _ in 0..2000 {
        let Some((session, is_busy)) = open.pop() else {
            if world.relay.deadline().is_none() {
                break;
            }
            world.pass(5);
            world.turn();
            open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
            continue;
        };
        match is_busy {
            true => {
                world.takes(session);
                open.insert(0, (session, false));
            }
            false => match world.ready(session) {
                Next::Mail => open.push((session, true)),
                Next::Wait(_) => {
                    world.pass(1);
                    open.insert(0, (session, false));
                }
                Next::Quit => world.closed(session, &End::Quit),
            },
        }
        open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
    }
    let told: Vec<_> = world.outcomes.iter().map(|(_, id, _)| *id).collect();
    let once: HashSet<_> = told.iter().copied().collect();
    assert_eq!(told.len(), once.len(), "seed {seed}: told of twice");
    let lost: Vec<_> = sent.difference(&once).collect();
    assert!(lost.is_empty(), "seed {seed}: {lost:?}: {:?}", world.relay);
    assert!(world.relay.sessions.is_empty());
    assert_eq!(world.relay.tallies.connections, 0);
    assert!(!world.relay.tallies.has_idle(None));
}
