//! What takes minutes: deadlines, with a clock that the test moves.

use super::{Caller, Calling, Calls, Hangup, Inbox, Limits, Next, Piece, Reactor, Target};
use crate::ConnId;
use crate::dns::{Answer, QueryId, Settings, Sockets};
use crate::limits::{CONTENT_TIME, FLIGHTS, HANDSHAKE_TIME};
use crate::tls;
use mio::Events;
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::client::{Event, Mail, Name, Params, Recipient, Tls};
use smtpd_engine::limits::{BODY_OUTPUT, HOP_TIME};
use smtpd_engine::time::Time;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(1000);

/// Connects once, and writes down what happens.
struct Host {
    target: Option<Target>,
    recipients: Vec<Recipient>,
    has_mail: bool,
    /// A run of content that never ends; none: the content is late for ever.
    run: Vec<u8>,
    asked: usize,
    told: Vec<String>,
}

impl Caller for Host {
    type Session = ();
    type Message = ();

    fn message(&mut self, (): (), _: &mut Calls<'_, Host>) {}

    fn ready<'c>(&'c mut self, (): &'c mut (), about: &Calling<'_>) -> Next<'c> {
        self.asked += 1;
        if !self.has_mail {
            return Next::Wait(about.now + IDLE);
        }
        Next::Mail(Mail {
            from: &ReversePath::Null,
            size: None,
            eight_bit: false,
            utf8_header: false,
            ret: None,
            envid: None,
            recipients: &self.recipients,
        })
    }

    fn content<'c>(&'c mut self, (): &'c mut (), _: u64) -> Piece<'c> {
        match &self.run[..] {
            [] => Piece::Later,
            run => Piece::Octets(run),
        }
    }

    fn event(&mut self, (): &mut (), _: &Calling<'_>, event: Event<'_>) {
        if let Event::Failed { failure, .. } = event {
            self.told.push(failure.to_string());
        }
    }

    fn resolved(&mut self, _: QueryId, _: &Answer, _: &mut Calls<'_, Host>) {}

    fn closed(&mut self, (): (), _: ConnId, why: Hangup, _: Time) {
        self.told.push(format!("{why:?}"));
    }

    fn turn_over(&mut self, calls: &mut Calls<'_, Host>) {
        if let Some(target) = self.target.take() {
            calls.connect(target, ());
        }
    }
}

/// A reactor with one connection, and the other end of that.
struct Scene {
    reactor: Reactor<Host>,
    peer: TcpStream,
}

impl Scene {
    fn new(immediate: bool, has_mail: bool) -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let params = Params { tls: Tls::Never, ..Params::new(Name::parse("c.example").unwrap()) };
        let policy = tls::Policy::anyone(&tls::Terms::default()).unwrap();
        let target = Target {
            id: 1,
            address: listener.local_addr().unwrap(),
            source: None,
            params: Arc::new(params),
            tls: tls::Client::new(policy, "hop.example"),
            immediate,
            connect_time: Duration::from_secs(30),
        };
        let to = Mailbox::parse("b@example.org").unwrap();
        let host = Host {
            target: Some(target),
            recipients: vec![Recipient { to, notify: None, orcpt: None }],
            has_mail,
            run: Vec::new(),
            asked: 0,
            told: Vec::new(),
        };
        let names = Sockets::new(Settings::read(b"", b""), Box::new(|| 0));
        let limits = Limits::default();
        let mut reactor = Reactor::new(Inbox::new().unwrap(), limits, names, host);
        reactor.turns.turn(&Events::with_capacity(1), &mut Vec::new());
        let (peer, _) = listener.accept().unwrap();
        let mut scene = Scene { reactor, peer };
        scene.turn();
        scene
    }

    /// One turn in which the peer is heard.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        let poll = &mut self.reactor.turns.core.postbox.poll;
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        self.reactor.turns.turn(&events, &mut Vec::new());
    }

    /// The peer says something, and what it hears next.
    fn exchange(&mut self, said: &str) -> String {
        self.peer.write_all(said.as_bytes()).unwrap();
        self.turn();
        let mut room = [0; 512];
        let n = self.peer.read(&mut room).unwrap();
        String::from_utf8_lossy(&room[..n]).into_owned()
    }

    /// Until content is sent.
    fn begin_content(&mut self) {
        for reply in ["220 hop.example", "250 hop.example", "250 ok", "250 ok", "354 go on"] {
            self.peer.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            self.turn();
        }
    }

    /// Nothing happens before that time, and then something does.
    #[track_caller]
    fn expect_at(&mut self, time: Duration, told: &[&str]) {
        let now = self.reactor.turns.core.now;
        self.reactor.turns.core.now = now + (time - Duration::from_micros(1));
        self.turn();
        assert!(self.host().told.is_empty(), "{:?}", self.host().told);
        self.reactor.turns.core.now = now + time;
        self.turn();
        // A session that ends needs no more than what it has.
        self.turn();
        assert_eq!(self.host().told, told);
    }

    fn host(&self) -> &Host {
        &self.reactor.turns.side.caller
    }
}

#[test]
fn a_next_hop_that_says_nothing_is_given_up() {
    let mut scene = Scene::new(false, true);
    scene.expect_at(HOP_TIME, &["Connection timeout", "Failed"]);
    assert!(scene.reactor.turns.core.connections.is_empty());
    assert_eq!(scene.reactor.turns.core.timers.next(), None);
}

#[test]
fn a_handshake_has_its_time() {
    let mut scene = Scene::new(true, true);
    scene.expect_at(HANDSHAKE_TIME, &["Tls(TimedOut)"]);
}

#[test]
fn content_that_stays_away_ends_the_connection() {
    let mut scene = Scene::new(false, true);
    scene.begin_content();
    scene.expect_at(CONTENT_TIME, &["Content"]);
}

/// However fast one next hop is, the others' turn comes.
#[test]
fn a_turn_sends_a_bounded_part_of_the_content() {
    let mut scene = Scene::new(false, true);
    scene.reactor.turns.side.caller.run = vec![b'x'; 1 << 20];
    scene.peer.set_nonblocking(true).unwrap();
    scene.begin_content();
    let mut room = vec![0; 8 << 20];
    let mut sent = 0;
    while let Ok(n) = scene.peer.read(&mut room) {
        sent += n;
    }
    let bound = FLIGHTS as usize * BODY_OUTPUT;
    assert!(sent > BODY_OUTPUT && sent < bound + 1000, "{sent} with the commands before it");
}

#[test]
fn an_idle_connection_is_asked_for_when_it_said() {
    let mut scene = Scene::new(false, false);
    assert!(scene.exchange("220 hop.example\r\n").starts_with("EHLO"));
    scene.peer.write_all(b"250 hop.example\r\n").unwrap();
    scene.turn();
    assert_eq!(scene.host().asked, 1);
    // Half a line is no reason to ask.
    scene.peer.write_all(b"42").unwrap();
    scene.turn();
    assert_eq!(scene.host().asked, 1);
    scene.expect_at(IDLE, &[]);
    assert_eq!(scene.host().asked, 2);
    scene.peer.write_all(b"1 4.4.2 idle\r\n").unwrap();
    scene.turn();
    assert_eq!(scene.host().told, ["421 4.4.2 idle", "Failed"]);
}
