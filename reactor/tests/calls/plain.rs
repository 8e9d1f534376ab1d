//! Without TLS: mails, failures in every phase, deadlines, defects of the caller.

use crate::caller::{Content, In, Job, Order, Relay, Told, recipient, target};
use crate::hop::Hop;
use smtpd_engine::client::Whom;
use smtpd_reactor::calls::{Limits, Target};
use smtpd_reactor::dns::{Answer, Name, Question};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

fn delivered() -> Told {
    Told::Delivered("250 2.0.0 taken".into())
}

fn closed(why: &str) -> Told {
    Told::Closed(why.into())
}

#[test]
fn mails_go_one_after_the_other_with_their_dots_doubled() {
    for extensions in ["", "250-PIPELINING\r\n"] {
        let hop = Hop::once(move |peer| peer.serve(extensions));
        let relay = Relay::start();
        relay.call(target(hop.address), Job::new(&["one\r\n", ".\r\n..two\r\n", ""]));
        assert_eq!(relay.story(), [delivered(), delivered(), delivered(), closed("quit")]);
        assert_eq!(hop.heard(), ["one\r\n.\r\n", "..\r\n...two\r\n.\r\n", ".\r\n"]);
        relay.stop();
    }
}

/// MAIL, RCPT and DATA are one segment, content and final dot another.
#[test]
fn a_flight_is_one_write() {
    let hop = Hop::once(|peer| {
        peer.say("220 hop.example\r\n")?;
        peer.segment("EHLO relay.example\r\n")?;
        peer.say("250-hop.example\r\n250 PIPELINING\r\n")?;
        peer.segment("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")?;
        peer.say("250 ok\r\n250 ok\r\n354 go on\r\n")?;
        peer.segment("a line\r\n.\r\n")?;
        peer.say("250 2.0.0 taken\r\n")?;
        peer.segment("QUIT\r\n")?;
        peer.say("221 bye\r\n")
    });
    let relay = Relay::start();
    relay.call(target(hop.address), Job::new(&["a line\r\n"]));
    assert_eq!(relay.story(), [delivered(), closed("quit")]);
    hop.heard();
    relay.stop();
}

#[test]
fn long_content_in_runs_of_any_length_arrives_whole() {
    let content = "..0123456789abcdef\r\n".repeat(50_000);
    for runs in [Content::Whole, Content::Runs(7001), Content::Runs(65_536)] {
        let hop = Hop::once(|peer| peer.serve(""));
        let relay = Relay::start();
        relay.call(target(hop.address), Job { content: runs, ..Job::new(&[&content]) });
        assert_eq!(relay.story(), [delivered(), closed("quit")]);
        let heard = hop.heard().remove(0);
        assert!(heard == format!("{}.\r\n", content.replace("..0", "...0")));
        relay.stop();
    }
}

#[test]
fn an_idle_connection_takes_the_next_mail_when_it_is_resumed() {
    let hop = Hop::once(|peer| peer.serve("250-PIPELINING\r\n"));
    let relay = Relay::start();
    let conn = relay.call(target(hop.address), Job { keeps: true, ..Job::new(&["one\r\n"]) });
    assert_eq!(relay.next(), Told::Ready(conn, None));
    assert_eq!(relay.next(), delivered());
    assert_eq!(relay.next(), Told::Ready(conn, None));
    relay.sender.send(Order::Send(conn, b"two\r\n".to_vec()));
    assert_eq!(relay.next(), Told::Ready(conn, None));
    assert_eq!(relay.next(), delivered());
    relay.stop();
    assert_eq!(hop.heard(), ["one\r\n.\r\n", "two\r\n.\r\n"]);
}

#[test]
fn an_idle_connection_that_the_next_hop_closes_is_told() {
    let hop = Hop::serving(2, |peer| {
        peer.say("220 hop.example\r\n")?;
        peer.line()?;
        peer.say("250 ok\r\n")
    });
    let relay = Relay::start();
    for _ in 0..2 {
        relay.call(target(hop.address), Job { keeps: true, ..Job::new(&[]) });
        let [Told::Failed(Whom::Rest, words), last] = &relay.story()[..] else { panic!() };
        assert_eq!((words.as_str(), last), ("Connection closed unexpectedly", &closed("failed")));
    }
    hop.heard();
    relay.stop();
}

#[test]
fn content_that_is_late_is_waited_for() {
    let hop = Hop::once(|peer| peer.serve(""));
    let relay = Relay::start();
    let job = Job { content: Content::Half, keeps: true, ..Job::new(&[]) };
    let conn = relay.call(target(hop.address), job);
    assert_eq!(relay.next(), Told::Ready(conn, None));
    relay.sender.send(Order::Send(conn, b"0123456789abcdef\r\n".to_vec()));
    assert_eq!(relay.next(), Told::Ready(conn, None));
    assert_eq!(relay.next(), Told::Late);
    thread::sleep(Duration::from_millis(20));
    relay.sender.send(Order::Rest(conn));
    assert_eq!(relay.next(), delivered());
    relay.stop();
    assert_eq!(hop.heard(), ["0123456789abcdef\r\n.\r\n"]);
}

/// What is cut must not look whole.
#[test]
fn content_that_breaks_off_has_no_final_dot() {
    let hop = Hop::once(|peer| peer.serve("250-PIPELINING\r\n"));
    let relay = Relay::start();
    let job = Job { content: Content::HalfThenBroken, ..Job::new(&["half\r\nhalf\r\n"]) };
    relay.call(target(hop.address), job);
    relay.expect_end("content");
    assert!(!hop.heard()[0].contains("\r\n.\r\n"));
    relay.stop();
}

#[test]
fn one_recipient_refused_does_not_hold_the_other() {
    let hop = Hop::once(|peer| {
        peer.say("220 hop.example\r\n")?;
        peer.line()?;
        peer.say("250-hop.example\r\n250 PIPELINING\r\n")?;
        for _ in 0..4 {
            peer.line()?;
        }
        peer.say("250 ok\r\n550 5.1.1 nobody\r\n250 ok\r\n354 go on\r\n")?;
        peer.data()?;
        peer.say("250 2.0.0 taken\r\n")?;
        peer.talk("")
    });
    let relay = Relay::start();
    let recipients = vec![recipient("x@example.org"), recipient("y@example.org")];
    relay.call(target(hop.address), Job { recipients, ..Job::new(&["x\r\n"]) });
    let [Told::Failed(Whom::One(0), words), rest @ ..] = &relay.story()[..] else { panic!() };
    assert_eq!(words, "550 5.1.1 nobody");
    assert!(rest.contains(&delivered()), "{rest:?}");
    hop.heard();
    relay.stop();
}

/// In every phase, and the caller always hears an outcome.
#[test]
fn a_hang_up_in_each_phase_is_told() {
    const REPLIES: [&str; 6] = [
        "220 hop.example\r\n",
        "250 hop.example\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go on\r\n",
        "250 2.0.0 taken\r\n",
    ];
    for phase in 0..6 {
        for (last, words) in
            [("", "Connection closed unexpectedly"), ("421 4.3.2 no more\r\n", "421 4.3.2 no more")]
        {
            let hop = Hop::once(move |peer| {
                for reply in &REPLIES[..phase] {
                    peer.say(reply)?;
                    match reply.starts_with("354") {
                        true => peer.data()?,
                        false => drop(peer.line()?),
                    }
                }
                peer.say(last)
            });
            let relay = Relay::start();
            relay.call(target(hop.address), Job::new(&["x\r\n"]));
            let [Told::Failed(Whom::Rest, told), end] = &relay.story()[..] else {
                panic!("{phase} {last}")
            };
            assert!(told.contains(words), "{phase}: {told}");
            assert_eq!(end, &closed("failed"));
            hop.heard();
            relay.stop();
        }
    }
}

/// A large message whose next hop refuses and closes while it is sent: the reason is heard,
/// though writing fails.
#[test]
fn who_refuses_in_the_middle_of_the_content_is_heard() {
    let hop = Hop::once(|peer| {
        peer.say("220 hop.example\r\n")?;
        for reply in ["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go on\r\n"] {
            peer.line()?;
            peer.say(reply)?;
        }
        peer.say("552 5.3.4 too much\r\n")
    });
    let relay = Relay::start();
    relay.call(target(hop.address), Job::new(&[&"x".repeat(78).repeat(100_000)]));
    let [Told::Failed(Whom::Rest, words), last] = &relay.story()[..] else { panic!() };
    assert_eq!((words.as_str(), last), ("552 5.3.4 too much", &closed("failed")));
    hop.heard();
    relay.stop();
}

/// One octet at a time, and others are served meanwhile.
#[test]
fn a_tarpit_holds_nobody_else() {
    let tarpit = Hop::once(|peer| {
        for octet in b"220-hop.example says hello\r\n220 slowly\r\n" {
            peer.say([*octet])?;
            thread::sleep(Duration::from_millis(10));
        }
        peer.talk("")
    });
    let hop = Hop::serving(20, |peer| peer.serve(""));
    let relay = Relay::start();
    let slow = relay.call(target(tarpit.address), Job { keeps: true, ..Job::new(&[]) });
    for _ in 0..20 {
        relay.call(target(hop.address), Job::new(&["x\r\n"]));
        assert_eq!(relay.story(), [delivered(), closed("quit")]);
    }
    assert_eq!(relay.next(), Told::Ready(slow, None));
    relay.stop();
    hop.heard();
    tarpit.heard();
}

#[test]
fn garbage_ends_the_session() {
    for garbage in [&b"\0\0\0\r\n"[..], b"hello\r\n", &[b'2'; 100_000]] {
        let hop = Hop::once(move |peer| {
            peer.say(garbage)?;
            peer.wait_for_end()
        });
        let relay = Relay::start();
        relay.call(target(hop.address), Job::new(&["x\r\n"]));
        let [Told::Failed(Whom::Rest, _), last] = &relay.story()[..] else { panic!() };
        assert_eq!(last, &closed("failed"));
        hop.heard();
        relay.stop();
    }
}

#[test]
fn no_connection_is_told_as_what_it_is() {
    let relay = Relay::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    relay.call(target(nobody), Job::new(&["x\r\n"]));
    relay.expect_end("connect: ConnectionRefused");
    // Not ours (RFC 5737), and of another family.
    let source = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    relay.call(Target { source, ..target(nobody) }, Job::new(&["x\r\n"]));
    relay.expect_end("connect: AddrNotAvailable");
    let source = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    relay.call(Target { source, ..target(nobody) }, Job::new(&["x\r\n"]));
    relay.expect_end("local: InvalidInput");
    relay.stop();
}

#[test]
fn the_source_address_is_the_one_asked_for() {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let hop = Hop::once(move |peer| {
        assert_eq!(peer.remote().ip(), source);
        peer.serve("")
    });
    let relay = Relay::start();
    relay.call(Target { source: Some(source), ..target(hop.address) }, Job::new(&["x\r\n"]));
    assert_eq!(relay.story(), [delivered(), closed("quit")]);
    hop.heard();
    relay.stop();
}

/// A listener whose backlog is full does not answer.
#[test]
fn connecting_has_a_deadline() {
    let full = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&full, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = TcpListener::from(full.try_clone().unwrap()).local_addr().unwrap();
    let relay = Relay::start();
    let connect_time = Duration::from_millis(200);
    // The first fits in.
    relay.call(target(address), Job { keeps: true, ..Job::new(&[]) });
    thread::sleep(Duration::from_millis(50));
    for _ in 0..2 {
        relay.call(Target { connect_time, ..target(address) }, Job::new(&["x\r\n"]));
    }
    let mut ends = [relay.next(), relay.next()];
    if matches!(ends[0], Told::Ready(..)) {
        ends[0] = relay.next();
    }
    assert!(ends.contains(&closed("connect: TimedOut")), "{ends:?}");
    drop(full);
    drop(relay);
}

#[test]
fn there_is_a_bound_of_connections() {
    let hop = Hop::serving(2, |peer| peer.serve(""));
    let relay = Relay::with(Limits { connections: 1, ..Limits::default() });
    let first = relay.call(target(hop.address), Job { keeps: true, ..Job::new(&[]) });
    assert_eq!(relay.next(), Told::Ready(first, None));
    relay.call(target(hop.address), Job::new(&["x\r\n"]));
    relay.expect_end("local: Other");
    relay.stop();
    // There is room again, in another reactor.
    let relay = Relay::with(Limits { connections: 1, ..Limits::default() });
    relay.call(target(hop.address), Job::new(&["x\r\n"]));
    assert_eq!(relay.story(), [delivered(), closed("quit")]);
    hop.heard();
    relay.stop();
}

#[test]
fn a_defect_of_the_caller_ends_one_connection() {
    let hop = Hop::serving(6, |peer| {
        peer.serve("")?;
        Ok(())
    });
    let relay = Relay::start();
    for (panics, story) in [
        (In::Ready, vec![closed("panicked")]),
        (In::Content, vec![closed("panicked")]),
        (In::Event, vec![closed("panicked")]),
        (In::Closed, vec![delivered(), closed("quit")]),
    ] {
        relay.call(target(hop.address), Job { panics: Some(panics), ..Job::new(&["x\r\n"]) });
        assert_eq!(relay.story(), story);
    }
    for _ in 0..2 {
        relay.call(target(hop.address), Job::new(&["x\r\n"]));
        assert_eq!(relay.story(), [delivered(), closed("quit")]);
    }
    hop.heard();
    relay.stop();
}

#[test]
fn a_caller_is_woken_when_it_asks_for_it() {
    let relay = Relay::start();
    relay.sender.send(Order::Wake(Duration::from_millis(30)));
    assert_eq!(relay.next(), Told::Woken);
    relay.stop();
}

/// As /etc/hosts has it. Asking over sockets is the resolver's own tests' matter.
#[test]
fn a_question_is_answered() {
    let relay = Relay::start();
    relay.sender.send(Order::Ask(Question::Addresses(Name::new("hop.example").unwrap())));
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    assert_eq!(relay.next(), Told::Resolved(Answer::Addresses(vec![address])));
    relay.stop();
}

#[test]
fn a_stop_lets_a_mail_be_settled_and_gives_up_what_is_not_connected() {
    let hop = Hop::once(|peer| {
        peer.say("220 hop.example\r\n")?;
        for reply in ["250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "354 go on\r\n"] {
            peer.line()?;
            peer.say(reply)?;
        }
        peer.data()?;
        peer.tell("stop".into());
        thread::sleep(Duration::from_millis(100));
        peer.say("250 2.0.0 taken\r\n")?;
        peer.talk("")
    });
    let relay = Relay::start();
    relay.call(target(hop.address), Job::new(&["one\r\n", "two\r\n"]));
    while hop.heard.recv().unwrap() != "stop" {}
    let told = relay.sender.clone();
    told.stop();
    assert_eq!(relay.story(), [delivered(), closed("quit")]);
    relay.stop();
    assert_eq!(hop.heard(), Vec::<String>::new(), "the second mail was not begun");
}

#[test]
fn descriptors_are_given_back() {
    let count = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let hop = Hop::serving(200, |peer| match peer.remote().port() % 3 {
        0 => Ok(()),
        1 => peer.say("220"),
        _ => peer.serve(""),
    });
    let relay = Relay::start();
    let before = count();
    for _ in 0..200 {
        relay.call(target(hop.address), Job::new(&["x\r\n"]));
        relay.story();
    }
    let after = count();
    // Other tests of this program run meanwhile, with some descriptors each.
    assert!(after < before + 100, "{before} {after}");
    hop.heard();
    relay.stop();
}

#[test]
fn the_grace_of_a_stop_ends() {
    let hop = Hop::once(|peer| peer.wait_for_end());
    let relay = Relay::with(Limits { grace: Duration::from_millis(100), ..Limits::default() });
    relay.call(target(hop.address), Job::new(&["x\r\n"]));
    thread::sleep(Duration::from_millis(50));
    relay.sender.stop();
    relay.expect_end("stopped");
    relay.stop();
    hop.heard();
}
