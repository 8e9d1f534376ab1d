//! What cannot be seen from outside: peers with addresses that loopback does not have, and the
//! time that sessions are given.

use crate::connection::{Cause, Role};
use crate::limits::{READ_COMMANDS, READ_DATA, STEPS};
use crate::server::News;
use crate::tls::Handshake;
use crate::transport::Stream;
use crate::{About, Accept, Closed, ConnId, Flow, Handler, Inbox, Limits, Link, Reactor};
use mio::Events;
use mio::net::UnixStream;
use smtpd_engine::limits::{COMMAND_TIME, DATA_TIME, PRESSED_TIME};
use smtpd_engine::reply;
use smtpd_engine::server::{Answer, Event, Params, Peer};
use smtpd_engine::time::Time;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Welcomes everybody and keeps what it was told.
#[derive(Default)]
struct Host {
    peers: Vec<Peer>,
    closed: Vec<ConnId>,
    panics_when_closed: bool,
    /// Runs of mail data, and their octets.
    runs: usize,
    octets: usize,
    holds: bool,
}

impl Handler for Host {
    type Session = ();

    fn accept(&mut self, link: &Link<'_>, _: ConnId, _: Time) -> Accept<()> {
        self.peers.push(link.peer());
        match link.remote {
            Some(remote) if remote.port() == 1 => panic!("as the test asked for"),
            Some(remote) if remote.port() == 2 => Accept::Refuse(reply::SHUTTING_DOWN),
            _ => Accept::Session { params: Arc::new(Params::default()), id: 1, own: (), tls: None },
        }
    }

    fn event(&mut self, (): &mut (), _: &About<'_>, event: Event<'_>) -> Option<Answer> {
        match event {
            Event::Connected { .. } => Some(reply::banner("host.example").into()),
            // A sender with a name is looked up for ever.
            Event::Hello { .. } | Event::Mail { from: None, .. } => Some(reply::OK.into()),
            Event::Rcpt { .. } => Some(reply::RCPT_OK.into()),
            Event::Data { .. } => Some(reply::SEND_DATA.into()),
            Event::Body(run) => {
                self.runs += 1;
                self.octets += run.len();
                None
            }
            _ => None,
        }
    }

    fn handshake(&mut self, _: Handshake) {
        unreachable!("no listener has TLS");
    }

    fn flow(&mut self, (): &()) -> Flow {
        if self.holds { Flow::Hold } else { Flow::Go }
    }

    fn closed(&mut self, (): (), conn: ConnId, _: Closed, _: Time) {
        self.closed.push(conn);
        assert!(!self.panics_when_closed, "as the test asked for");
    }
}

fn reactor(limits: Limits) -> Reactor<Host> {
    Reactor::new(Inbox::new().unwrap(), Vec::new(), limits, Host::default()).unwrap()
}

/// A connection that looks as if it came from `remote`; the other end of it.
fn connect(reactor: &mut Reactor<Host>, remote: &str) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    reactor.turns.admit(0, Stream::Unix(ours), Some(remote.parse().unwrap()));
    theirs
}

fn said(peer: &mut UnixStream) -> String {
    let mut octets = [0; 512];
    let n = peer.read(&mut octets).unwrap();
    String::from_utf8_lossy(&octets[..n]).into_owned()
}

/// One turn in which `peers` are heard.
fn turn(reactor: &mut Reactor<Host>) {
    let mut events = Events::with_capacity(64);
    reactor.turns.core.postbox.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    reactor.turns.turn(&events, &mut Vec::new());
}

/// A peer that may send content now.
fn connect_and_begin(reactor: &mut Reactor<Host>) -> UnixStream {
    let mut peer = connect(reactor, "127.0.0.1:9");
    said(&mut peer);
    for command in ["EHLO c.example", "MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"] {
        peer.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        turn(reactor);
        assert!(said(&mut peer).starts_with(['2', '3']));
    }
    peer
}

#[test]
fn a_source_has_its_share_and_others_theirs() {
    let mut reactor = reactor(Limits { sessions_per_source: 2, ..Limits::default() });
    let mut peers: Vec<_> = [
        ("[2001:db8:0:1::1]:9", "220"),
        ("[2001:db8:0:1::2]:9", "220"),
        ("[2001:db8:0:1:ff::3]:9", "421 4.7.0 "),
        ("[2001:db8:0:2::1]:9", "220"),
        ("192.0.2.1:9", "220"),
        ("192.0.2.1:9", "220"),
        ("192.0.2.1:9", "421 4.7.0 "),
        ("192.0.2.2:9", "220"),
        ("127.0.0.1:9", "220"),
        ("127.0.0.1:9", "220"),
        ("127.0.0.1:9", "220"),
    ]
    .map(|(remote, reply)| {
        let mut peer = connect(&mut reactor, remote);
        let said = said(&mut peer);
        assert!(said.starts_with(reply), "{remote}: {said:?}");
        peer
    })
    .into();
    assert_eq!(reactor.stats().refused_source(), 2);
    assert_eq!(reactor.turns.side.handler.peers.len(), 9, "the refused are not shown");
    // One leaves: there is a place for its source, and for no other.
    drop(peers.remove(5));
    turn(&mut reactor);
    assert!(said(&mut connect(&mut reactor, "192.0.2.1:9")).starts_with("220"));
    assert!(said(&mut connect(&mut reactor, "[2001:db8:0:1::9]:9")).starts_with("421"));
}

/// No place is lost by a connection of which no session came.
#[test]
fn who_is_turned_away_takes_no_place() {
    let mut reactor = reactor(Limits { sessions_per_source: 1, ..Limits::default() });
    for _ in 0..3 {
        let mut panicked = connect(&mut reactor, "192.0.2.1:1");
        assert_eq!(said(&mut panicked), "", "closed without a word");
        let mut refused = connect(&mut reactor, "192.0.2.1:2");
        assert!(said(&mut refused).starts_with("421 4.3.2 "));
    }
    assert_eq!(reactor.stats().sessions(), 0);
    assert!(said(&mut connect(&mut reactor, "192.0.2.1:9")).starts_with("220"));
    assert_eq!(reactor.turns.side.handler.closed, []);
}

#[test]
fn a_panic_at_the_end_of_a_session_costs_no_place() {
    let mut reactor = reactor(Limits { sessions_per_source: 1, ..Limits::default() });
    reactor.turns.side.handler.panics_when_closed = true;
    for nth in 1..=3 {
        let mut peer = connect(&mut reactor, "192.0.2.1:9");
        assert!(said(&mut peer).starts_with("220"));
        drop(peer);
        turn(&mut reactor);
        assert_eq!(reactor.turns.side.handler.closed.len(), nth);
        assert!(reactor.turns.core.connections.is_empty());
    }
    assert_eq!(reactor.stats().sessions(), 0);
}

#[test]
fn peers_get_less_time_while_places_are_short() {
    let mut reactor = reactor(Limits { sessions: 10, ..Limits::default() });
    let time = |reactor: &Reactor<Host>| -> Vec<Duration> {
        let connections = reactor.turns.core.connections.iter().map(|(_, connection)| connection);
        let sessions = connections.filter(|it| matches!(it.role, Role::Session(_)));
        sessions.map(|it| it.deadline().saturating_since(reactor.turns.core.now)).collect()
    };
    let mut peers: Vec<_> = (0..8).map(|_| connect(&mut reactor, "127.0.0.1:9")).collect();
    turn(&mut reactor);
    assert_eq!(time(&reactor), [COMMAND_TIME; 8]);
    peers.push(connect(&mut reactor, "127.0.0.1:9"));
    turn(&mut reactor);
    assert_eq!(time(&reactor), [PRESSED_TIME; 9]);
    assert!(
        reactor
            .turns
            .core
            .timers
            .next()
            .is_some_and(|at| at <= reactor.turns.core.now + PRESSED_TIME)
    );
    peers.push(connect(&mut reactor, "127.0.0.1:9"));
    assert_eq!(time(&reactor), [PRESSED_TIME; 10], "a new one as well");
    peers.truncate(8);
    turn(&mut reactor);
    assert_eq!(time(&reactor), [PRESSED_TIME; 8], "not at the same mark");
    peers.truncate(7);
    turn(&mut reactor);
    assert_eq!(time(&reactor), [COMMAND_TIME; 7]);
}

#[test]
fn a_session_that_says_nothing_is_told_that_its_time_is_over() {
    let mut reactor = reactor(Limits::default());
    let mut peer = connect(&mut reactor, "127.0.0.1:9");
    assert!(said(&mut peer).starts_with("220"));
    reactor.turns.core.now = reactor.turns.core.now + (COMMAND_TIME - Duration::from_micros(1));
    turn(&mut reactor);
    assert!(reactor.turns.side.handler.closed.is_empty());
    reactor.turns.core.now = reactor.turns.core.now + Duration::from_micros(1);
    turn(&mut reactor);
    assert!(said(&mut peer).starts_with("421 4.4.2 "));
    assert_eq!(reactor.turns.side.handler.closed.len(), 1);
    // The peer says no more and does not close: it is given up.
    assert_eq!(reactor.turns.core.connections.len(), 1);
    reactor.turns.core.now = reactor.turns.core.now + crate::limits::PARTING_TIME;
    turn(&mut reactor);
    assert!(reactor.turns.core.connections.is_empty());
    assert_eq!(reactor.turns.core.timers.next(), None);
}

/// A peer that sends on and on after the last reply gets no more than its bound.
#[test]
fn parting_ends() {
    let mut reactor = reactor(Limits::default());
    let mut peer = connect(&mut reactor, "192.0.2.1:2");
    let block = [b'x'; 4096];
    let mut sent = 0;
    while let Ok(n) = peer.write(&block) {
        sent += n;
        turn(&mut reactor);
        assert!(sent < 2 * crate::limits::PARTING_OCTETS);
    }
    assert!(reactor.turns.core.connections.is_empty());
}

/// However much one peer sends, the others' turn comes.
#[test]
fn a_turn_takes_one_buffer_from_a_peer() {
    let mut reactor = reactor(Limits::default());
    let mut peer = connect_and_begin(&mut reactor);
    let lines = b"0123456789abcd\r\n".repeat(256);
    let mut sent = 0;
    while let Ok(n) = peer.write(&lines) {
        sent += n;
    }
    assert!(sent > READ_DATA, "the socket holds more than one buffer");
    let mut taken = 0;
    // A last CR waits for what follows it.
    while taken + 1 < sent {
        turn(&mut reactor);
        let now = reactor.turns.side.handler.octets;
        assert!(now > taken && now - taken <= READ_DATA, "{}", now - taken);
        taken = now;
    }
}

/// Each line is a run of its own, as its first dot is taken off.
#[test]
fn a_turn_takes_a_bounded_number_of_runs_from_a_peer() {
    const LINES: usize = 5000;
    let mut reactor = reactor(Limits::default());
    let mut peer = connect_and_begin(&mut reactor);
    peer.write_all(&b"..\r\n".repeat(LINES)).unwrap();
    let mut taken = 0;
    while taken < LINES {
        turn(&mut reactor);
        let now = reactor.turns.side.handler.runs;
        assert!(now > taken && now - taken <= STEPS as usize, "{}", now - taken);
        taken = now;
    }
    assert_eq!(reactor.turns.side.handler.octets, 3 * LINES);
}

/// What is behind an open question stays with the peer, but for one read.
#[test]
fn a_peer_that_pipelines_makes_us_hold_one_read() {
    let mut reactor = reactor(Limits::default());
    let mut peer = connect(&mut reactor, "127.0.0.1:9");
    said(&mut peer);
    peer.write_all(b"EHLO c.example\r\n").unwrap();
    turn(&mut reactor);
    peer.write_all(b"MAIL FROM:<a@example.org>\r\n").unwrap();
    peer.write_all(&b"RCPT TO:<b@example.org>\r\n".repeat(4000)).unwrap();
    for _ in 0..10 {
        turn(&mut reactor);
    }
    let (_, connection) = reactor.turns.core.connections.iter().next().unwrap();
    assert_eq!(connection.channel.input.len(), READ_COMMANDS);
}

/// We are slow, not the peer.
#[test]
fn the_clock_of_a_held_session_stands_still() {
    let mut reactor = reactor(Limits::default());
    let mut peer = connect_and_begin(&mut reactor);
    reactor.turns.side.handler.holds = true;
    peer.write_all(b"a line\r\n").unwrap();
    turn(&mut reactor);
    reactor.turns.core.now = reactor.turns.core.now + 10 * DATA_TIME;
    turn(&mut reactor);
    assert_eq!(reactor.turns.side.handler.octets, 0);
    assert!(reactor.turns.side.handler.closed.is_empty());

    reactor.turns.side.handler.holds = false;
    let (index, _) = reactor.turns.core.connections.iter().next().unwrap();
    reactor.turns.look_at(index, Cause::News(News::Resume));
    assert_eq!(reactor.turns.side.handler.octets, 8);
    reactor.turns.core.now = reactor.turns.core.now + (DATA_TIME - Duration::from_micros(1));
    turn(&mut reactor);
    assert!(reactor.turns.side.handler.closed.is_empty());
    reactor.turns.core.now = reactor.turns.core.now + Duration::from_micros(1);
    turn(&mut reactor);
    assert!(said(&mut peer).starts_with("421 4.4.2 "));
    assert_eq!(reactor.turns.side.handler.closed.len(), 1);
}
