//! The reactor's own life: full, paused, stopped, out of time.

mod common;

use common::{Act, Server, usual};
use smtpd_engine::reply;
use smtpd_engine::server::Event;
use smtpd_reactor::Limits;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn when_full_a_peer_is_told_so_and_a_place_is_used_again() {
    let server = Server::with(Limits { sessions: 3, ..Limits::default() }, usual);
    let mut there: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for nth in 1..=10 {
        let mut client = server.connect_silently();
        let reply = client.expect("421");
        assert!(reply.starts_with("421 4.3.2 "), "{reply}");
        client.expect_end();
        assert_eq!(server.stats.refused_full(), nth);
    }
    there.pop();
    server.wait_for_close();
    let mut fourth = server.connect();
    fourth.say("NOOP", "250");
    there[0].say("NOOP", "250");
    assert_eq!(server.stats.accepted(), 14);
    server.stop();
}

/// A refused peer that talks before it reads gets the text all the same.
#[test]
fn a_refused_peer_that_talks_at_once_sees_why() {
    let server = Server::with(Limits { sessions: 1, ..Limits::default() }, usual);
    let _there = server.connect();
    for _ in 0..20 {
        let mut client = server.connect_silently();
        client.send("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
        thread::sleep(Duration::from_millis(2));
        client.expect("421");
        client.expect_end();
    }
    server.stop();
}

#[test]
fn while_paused_connections_wait_and_sessions_go_on() {
    let server = Server::start();
    let mut there = server.connect();
    server.sender.pause(true);
    there.say("NOOP", "250");
    let mut waiting = server.connect_silently();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(server.stats.accepted(), 1);
    there.say("NOOP", "250");
    server.sender.pause(true);
    server.sender.pause(false);
    waiting.expect("220");
    there.say("NOOP", "250");
    server.stop();
}

#[test]
fn a_stop_tells_the_idle_and_waits_for_the_end_of_data() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::EndOfData { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut committing = server.connect();
    committing.say("HELO c.example", "250");
    committing.begin_message();
    committing.send("x\r\n.\r\n");
    let (conn, ticket) = server.wait_for_question("end");
    let mut idle: Vec<_> = (0..500).map(|_| server.connect()).collect();
    let mut sending = server.connect();
    sending.say("HELO c.example", "250");
    sending.begin_message();
    sending.send("half a mess");

    server.sender.stop();
    for client in idle.iter_mut().chain([&mut sending]) {
        let reply = client.expect("421");
        assert!(reply.starts_with("421 4.3.2 "), "{reply}");
        client.expect_end();
    }
    assert!(TcpStream::connect(server.address).is_err(), "the listener is closed");
    assert!(!server.is_finished(), "a commit is waited for");
    server.sender.answer(conn, ticket, reply::OK.into());
    committing.expect("250");
    committing.expect("421");
    committing.expect_end();
    drop((idle, sending, committing));
    server.stop();
}

#[test]
fn the_grace_of_a_stop_ends() {
    let limits = Limits { grace: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(limits, |about, event| match event {
        Event::EndOfData { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut client = server.connect();
    client.say("HELO c.example", "250");
    client.begin_message();
    client.send("x\r\n.\r\n");
    let (conn, _) = server.wait_for_question("end");
    let begin = Instant::now();
    server.sender.stop();
    assert_eq!(server.wait_for_close(), (conn, "stopped"));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    client.expect_end();
    server.stop();
}

#[test]
fn a_stop_without_sessions_is_the_end() {
    Server::start().stop();
}
