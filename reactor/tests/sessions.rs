//! Sessions over real sockets: many at once, slow ones, answers from other threads, defects.

mod common;

use common::{Act, Client, PATIENCE, Server, Told, usual};
use smtpd_engine::reply;
use smtpd_engine::server::{Event, Ticket};
use smtpd_reactor::{Limits, Listener};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of 64 octets, `octets` in all.
fn content(octets: usize) -> Vec<u8> {
    b"The quick brown fox jumps over the lazy dog, and does it again.\r\n"[1..]
        .iter()
        .copied()
        .cycle()
        .take(octets)
        .collect()
}

#[test]
fn a_mebibyte_comes_in_few_runs_and_whole() {
    let (runs, octets) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = (Arc::clone(&runs), Arc::clone(&octets));
    let server = Server::with(Limits::default(), move |about, event| {
        if let Event::Body(run) = event {
            counted.0.fetch_add(1, Ordering::SeqCst);
            counted.1.fetch_add(run.len() as u64, Ordering::SeqCst);
        }
        usual(about, event)
    });
    let mut client = server.connect();
    client.say("EHLO client.example", "250");
    client.begin_message();
    let content = content(1024 * 1024);
    client.send(&content);
    client.send(b".\r\n");
    let reply = client.expect("250");
    assert!(reply.contains(&format!("{} octets", content.len())), "{reply}");
    assert_eq!(octets.load(Ordering::SeqCst), content.len() as u64);
    // A slow machine may see it in smaller pieces; it never sees one for each line.
    let runs = runs.load(Ordering::SeqCst);
    assert!(runs < 4000, "{runs} runs for {} lines", content.len() / 64);
    client.say("QUIT", "221");
    client.expect_end();
    assert_eq!(server.wait_for_close().1, "quit");
    drop(client);
    server.stop();
}

#[test]
fn a_thousand_sessions_at_once() {
    const N: usize = 1000;
    let server = Server::start();
    let mut clients: Vec<Client<TcpStream>> = Vec::new();
    while clients.len() < N {
        // No more at once than the backlog of a socket of std's holds, 128.
        let mut some: Vec<_> = (0..100).map(|_| server.connect_silently()).collect();
        some.iter_mut().for_each(|client| drop(client.expect("220")));
        clients.append(&mut some);
    }
    assert_eq!(server.stats.sessions(), N as u64);
    for line in ["EHLO c.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"] {
        for client in &mut clients {
            client.send(format!("{line}\r\n"));
        }
        for client in &mut clients {
            client.expect("250");
        }
    }
    for client in &mut clients {
        client.send("DATA\r\n");
    }
    for (nth, client) in clients.iter_mut().enumerate() {
        client.expect("354");
        client.send([content(64 * (nth % 50)), b"end\r\n.\r\nQUIT\r\n".to_vec()].concat());
    }
    for (nth, client) in clients.iter_mut().enumerate() {
        let reply = client.expect("250");
        assert!(reply.contains(&format!("{} octets", 64 * (nth % 50) + 5)), "{reply}");
        client.expect("221");
        client.expect_end();
    }
    for _ in 0..N {
        assert_eq!(server.wait_for_close().1, "quit");
    }
    assert_eq!(server.stats.sessions(), 0);
    assert_eq!(server.stats.accepted(), N as u64);
    drop(clients);
    server.stop();
}

#[test]
fn a_client_that_sends_octet_by_octet_is_served_and_holds_up_nobody() {
    let server = Server::start();
    let address = server.address;
    let slow = thread::spawn(move || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream: BufReader::new(stream) };
        client.expect("220");
        for octet in b"EHLO slow.example\r\n" {
            client.send([*octet]);
            thread::sleep(Duration::from_millis(10));
        }
        client.expect("250");
        client.begin_message();
        for octet in b"a line\r\n.\r\n" {
            client.send([*octet]);
            thread::sleep(Duration::from_millis(10));
        }
        client.expect("250");
    });
    let mut quick = server.connect();
    let mut commands = 0;
    while !slow.is_finished() {
        quick.say("NOOP", "250");
        commands += 1;
    }
    slow.join().unwrap();
    assert!(commands > 30, "{commands}");
    drop(quick);
    server.stop();
}

/// It fills one buffer of ours, and no more; when it reads at last, every reply is there.
#[test]
fn a_client_that_never_reads_costs_a_buffer() {
    let server = Server::start();
    let mut deaf = server.connect();
    let mut other = server.connect();
    let block = b"NOOP\r\n".repeat(2000);
    deaf.stream.get_mut().set_nonblocking(true).unwrap();
    let (mut sent, mut last) = (0_usize, Instant::now());
    while last.elapsed() < Duration::from_millis(500) {
        match deaf.stream.get_mut().write(&block[sent % block.len()..]) {
            Ok(n) => (sent, last) = (sent + n, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                other.say("NOOP", "250");
            }
            Err(error) => panic!("{error}"),
        }
        // Two socket buffers may well hold this much; without a bound there would be no end.
        assert!(sent < 64 << 20, "the server takes commands without end");
    }
    deaf.stream.get_mut().set_nonblocking(false).unwrap();
    for _ in 0..sent / 6 {
        assert_eq!(deaf.reply(), "250 2.0.0 Ok\r\n");
    }
    deaf.send(&b"NOOP\r\n"[sent % 6..]);
    assert_eq!(deaf.reply(), "250 2.0.0 Ok\r\n");
    drop((deaf, other));
    server.stop();
}

/// The handler is told of its answer.
fn told_in_time(server: &Server, ticket: Ticket, expected: bool) {
    let in_time = server.wait_for(|told| match told {
        Told::Answered(answered, in_time) if answered == ticket => Some(in_time),
        _ => None,
    });
    assert_eq!(in_time, expected);
}

#[test]
fn slow_answers_come_from_another_thread_in_the_order_of_the_commands() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::Rcpt { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut client = server.connect();
    client.say("EHLO c.example", "250");
    client.say("MAIL FROM:<a@example.org>", "250");
    // All recipients in one write; each is looked up elsewhere.
    client.send("RCPT TO:<b@example.org>\r\n".repeat(100) + "DATA\r\n");
    let mut last = None;
    for nth in 0..100 {
        let (conn, ticket) = server.wait_for_question("rcpt");
        let reply = if nth % 2 == 0 { reply::RCPT_OK } else { reply::INVALID_RECIPIENT };
        server.sender.answer(conn, ticket, reply.into());
        client.expect(if nth % 2 == 0 { "250" } else { "550" });
        // A second answer is nobody's, and the handler is told so.
        server.sender.answer(conn, ticket, reply::TEMPORARY_FAILURE.into());
        told_in_time(&server, ticket, true);
        last = Some(ticket);
    }
    told_in_time(&server, last.unwrap(), false);
    client.expect("354");
    client.send("x\r\n.\r\n");
    client.expect("250");
    drop(client);
    server.stop();
}

#[test]
fn answers_given_together_all_arrive() {
    const N: usize = 200;
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::EndOfData { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut clients: Vec<_> = (0..N).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say("HELO c.example", "250");
        client.begin_message();
        client.send("x\r\n.\r\n");
    }
    let asked: Vec<_> = (0..N).map(|_| server.wait_for_question("end")).collect();
    server
        .sender
        .answer_all(asked.into_iter().map(|(conn, ticket)| (conn, ticket, reply::OK.into())));
    for client in &mut clients {
        client.expect("250");
    }
    drop(clients);
    server.stop();
}

/// A slot is used again; the old name reaches nobody.
#[test]
fn an_answer_for_a_session_that_is_gone_reaches_no_other() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::EndOfData { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut first = server.connect();
    first.say("HELO c.example", "250");
    first.begin_message();
    first.send("x\r\n.\r\n");
    let (old, old_ticket) = server.wait_for_question("end");
    // A reset, so that the system tells at once that nobody waits for the reply.
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(first.stream.get_ref(), linger).unwrap();
    drop(first);
    assert_eq!(server.wait_for_close(), (old, "hung up"));

    let mut second = server.connect();
    second.say("HELO c.example", "250");
    second.begin_message();
    second.send("x\r\n.\r\n");
    let (new, new_ticket) = server.wait_for_question("end");
    assert_ne!(old, new);
    server.sender.answer(old, old_ticket, reply::NO_SPACE.into());
    server.sender.answer(new, old_ticket, reply::NO_SPACE.into());
    server.sender.answer(new, new_ticket, reply::OK.into());
    second.expect("250");
    second.say("NOOP", "250");
    drop(second);
    server.stop();
}

/// It has said all it has to say, and waits for the replies.
#[test]
fn a_peer_that_closes_its_side_gets_its_replies() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::EndOfData { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut client = server.connect();
    client.say("EHLO c.example", "250");
    client.begin_message();
    client.send("x\r\n.\r\nQUIT\r\n");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let (conn, ticket) = server.wait_for_question("end");
    server.sender.answer(conn, ticket, reply::OK.into());
    client.expect("250");
    client.expect("221");
    client.expect_end();
    assert_eq!(server.wait_for_close().1, "quit");
    drop(client);
    server.stop();
}

#[test]
fn a_peer_that_hangs_up_without_a_word_is_noticed() {
    let server = Server::start();
    let client = server.connect();
    drop(client);
    assert_eq!(server.wait_for_close().1, "hung up");
    let mut client = server.connect();
    client.send("NOO");
    drop(client);
    assert_eq!(server.wait_for_close().1, "hung up");
    assert_eq!(server.stats.sessions(), 0);
    server.stop();
}

#[test]
fn a_panic_ends_its_own_session_alone() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::Mail { from: None, .. } => Act::Panic,
        _ => usual(about, event),
    });
    let mut other = server.connect();
    other.say("HELO c.example", "250");
    for _ in 0..3 {
        let mut client = server.connect();
        client.say("HELO c.example", "250");
        client.send("MAIL FROM:<>\r\n");
        client.expect_end();
        assert_eq!(server.wait_for_close().1, "panicked");
    }
    other.begin_message();
    other.send("x\r\n.\r\n");
    other.expect("250");
    drop(other);
    server.stop();
}

#[test]
fn an_answer_that_does_not_fit_its_question_ends_the_session() {
    let server = Server::with(Limits::default(), |about, event| match event {
        Event::Mail { .. } => Act::Later,
        _ => usual(about, event),
    });
    let mut client = server.connect();
    client.say("HELO c.example", "250");
    client.send("MAIL FROM:<a@example.org>\r\n");
    let (conn, ticket) = server.wait_for_question("mail");
    server.sender.answer(conn, ticket, reply::SEND_DATA.into());
    client.expect_end();
    assert_eq!(server.wait_for_close().1, "panicked");
    drop(client);
    server.stop();
}

#[test]
fn octets_before_the_banner_are_known_to_the_session() {
    let early = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&early);
    let server = Server::with(Limits::default(), move |about, event| {
        if let Event::Hello { .. } = event {
            seen.lock().unwrap().push(about.session.early_talker());
        }
        usual(about, event)
    });
    server.sender.pause(true);
    // In the backlog until its octets are there, so that the order is certain.
    let mut hasty = server.connect_silently();
    hasty.send("HELO c.example\r\n");
    thread::sleep(Duration::from_millis(50));
    server.sender.pause(false);
    hasty.expect("220");
    hasty.expect("250");
    let mut polite = server.connect();
    polite.say("HELO c.example", "250");
    assert_eq!(*early.lock().unwrap(), [true, false]);
    drop((hasty, polite));
    server.stop();
}

#[test]
fn a_held_session_is_not_read_until_it_may_go_on() {
    let server = Server::start();
    let mut client = server.connect();
    client.say("HELO c.example", "250");
    client.begin_message();
    server.hold.store(true, Ordering::SeqCst);
    client.send(content(1024));
    let conn = server.wait_for(|told| match told {
        Told::Held(conn) => Some(conn),
        _ => None,
    });
    // TCP holds the peer: what the two sockets hold is all that can be sent.
    client.stream.get_mut().set_nonblocking(true).unwrap();
    let (block, mut sent, mut last) = (content(64 * 1024), 1024, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        if let Ok(n) = client.stream.get_mut().write(&block[(sent - 1024) % block.len()..]) {
            (sent, last) = (sent + n, Instant::now());
        }
        assert!(sent < 64 << 20, "a held session is read");
    }
    client.stream.get_mut().set_nonblocking(false).unwrap();
    // Asked again, it is still held.
    server.sender.resume(conn);
    server.wait_for(|told| matches!(told, Told::Held(_)).then_some(()));
    server.hold.store(false, Ordering::SeqCst);
    server.sender.resume(conn);
    client.send("\r\n.\r\n");
    let reply = client.expect("250");
    assert!(reply.contains(&format!("{} octets", sent + 2)), "{reply}");
    drop(client);
    server.stop();
}

#[test]
fn a_socket_of_this_machine_is_served() {
    let path = std::env::temp_dir().join(format!("reactor-{}.sock", std::process::id()));
    let socket = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let listeners = vec![Listener::tcp(tcp).unwrap(), Listener::unix(socket).unwrap()];
    let server = Server::on(listeners, address, Limits::default(), usual);
    let stream = UnixStream::connect(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { stream: BufReader::new(stream) };
    client.expect("220");
    let reply = client.say("EHLO c.example", "250");
    assert!(reply.contains("[local]"), "{reply}");
    client.begin_message();
    let content = content(300_000);
    client.send(&content);
    client.send("\r\n.\r\n");
    let reply = client.expect("250");
    assert!(reply.contains(&format!("{} octets", content.len() + 2)), "{reply}");
    client.say("QUIT", "221");
    client.expect_end();
    server.connect().say("NOOP", "250");
    drop(client);
    server.stop();
}

/// What still comes after our last word must not reset the connection before the word is read.
#[test]
fn the_last_reply_is_seen_by_a_peer_that_keeps_sending() {
    let server = Server::start();
    for _ in 0..20 {
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\n");
        client.send(vec![b'x'; 100_000]);
        thread::sleep(Duration::from_millis(5));
        client.expect("421");
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(server.wait_for_close().1, "ended");
    }
    server.stop();
}
