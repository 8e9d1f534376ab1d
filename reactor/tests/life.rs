//! The reactor's own life: full, paused, stopped, out of time.

mod common;

use common::{Act, Server, usual};
use smtpd_engine::reply;
use smtpd_engine::server::Event;
use smtpd_reactor::{Limits, Listener};
use std::net::{TcpListener, TcpStream};
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
    drop((there, fourth));
    server.stop();
}

/// A refused peer that talks before it reads gets the text all the same.
#[test]
fn a_refused_peer_that_talks_at_once_sees_why() {
    let server = Server::with(Limits { sessions: 1, ..Limits::default() }, usual);
    let there = server.connect();
    for _ in 0..20 {
        let mut client = server.connect_silently();
        client.send("EHLO c.example\r\nMAIL FROM:<a@example.org>\r\n");
        thread::sleep(Duration::from_millis(2));
        client.expect("421");
        client.expect_end();
    }
    drop(there);
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
    drop((there, waiting));
    server.stop();
}

/// Duplicates of one socket: what one reactor does not take the other does.
#[test]
fn two_reactors_share_an_address() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let [first, second] = [socket.try_clone().unwrap(), socket].map(|socket| {
        Server::on(vec![Listener::tcp(socket).unwrap()], address, Limits::default(), usual)
    });
    let mut clients: Vec<_> = (0..50).map(|_| first.connect()).collect();
    assert_eq!(first.stats.sessions() + second.stats.sessions(), 50);
    // One that closes the socket does not close the address.
    second.sender.pause(true);
    clients.extend((0..50).map(|_| first.connect()));
    for client in &mut clients {
        client.say("QUIT", "221");
    }
    drop(clients);
    second.stop();
    first.connect().say("QUIT", "221");
    first.stop();
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
    drop(client);
    server.stop();
}

#[test]
fn a_stop_without_sessions_is_the_end() {
    Server::start().stop();
}
