//! The lines of the log, word by word, through the real logger: log readers depend on them.
//!
//! One process has one log, so this is one program of its own: the test runs it again with `-d`
//! like set-up and reads its standard error.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use log::{debug, info, warn};
use smtpd::control::System;
use smtpd::log::bounce;
use smtpd::log::delivery::{self, Attempt, Outcome};
use smtpd::log::session::{self, Reason};
use smtpd::log::span::Span;
use smtpd::log::topic::{Topic, Topics};
use smtpd::log::{Destination, life};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::server::Peer;
use smtpd_queue::bounce::{Kind, Nobody};
use smtpd_queue::envelope::{Agent, Envelope, Message, Source};
use smtpd_queue::id::{EnvelopeId, MessageId};

/// Lines of this crate would not pass: it is not part of the program.
const OURS: &str = "smtpd::test";

const TALK: &str = "LOG_TEST_TALK";

/// What the other process does: log everything there is to log.
#[test]
fn talk() {
    let Some(how) = std::env::var_os(TALK) else { return };
    let mut topics = Topics::default();
    if how == "traced" {
        topics.insert(Topic::Smtp);
    }
    let running = smtpd::log::start(Destination::Stderr, how == "verbose", topics).unwrap();
    assert!(smtpd::log::start(Destination::Stderr, false, topics).is_err(), "there is one log");

    let id = 0x1f30_5e85;
    let message = MessageId::from_u32(0xe636_d771).unwrap();
    let envelope = EnvelopeId::new(message, 0);
    let peer = |text: &str| Peer::Ip(text.parse::<IpAddr>().unwrap());
    life::starting();
    session::connected(id, peer("192.0.2.1"), "mail.example.org");
    session::connected(id, peer("2001:db8::1"), "<unknown>");
    session::connected(id, Peer::Local, "host.example.net\n");
    session::early_talker(id, peer("192.0.2.1"));
    session::trace_received(id, b"EHLO x\\\r\n");
    session::trace_sent(id, b"250-a\r\n250 b\r\n");
    session::failed_command(id, b"NO \"\x1bP\"\r\n", b"500 5.5.1 Invalid command\r\n");
    session::bad_input(id, b"500 5.0.0 Line too long\r\n");
    session::stray_newline(id, peer("192.0.2.1"), 77, false);
    session::stray_newline(id, Peer::Local, 78, true);
    session::message(id, message, 245, 2, true);
    session::envelope(id, envelope, "", "\"a b\"@example.org");
    session::disconnected(id, Reason::Quit);
    session::disconnected(id, Reason::Timeout);
    session::disconnected(id, Reason::Disconnect);
    session::disconnected(id, Reason::Io("Connection reset by peer"));
    let attempt = Attempt {
        session: 7,
        envelope,
        from: "",
        to: "user@example.net",
        rcpt: None,
        user: "user",
        delay: Span(93_784),
        outcome: Outcome::Ok,
        stat: "Delivered",
    };
    delivery::mda(&attempt);
    let (outcome, stat) = (Outcome::TempFail, "Error (disk full)\nforged");
    let rcpt = Some("root@example.net");
    delivery::mda(&Attempt {
        from: "a@example.org",
        rcpt,
        delay: Span(0),
        outcome,
        stat,
        ..attempt
    });
    delivery::mda(&Attempt { outcome: Outcome::PermFail, ..attempt });
    bounces(message);
    life::paused(System::Mta);
    life::resumed(System::Mta);
    debug!(target: OURS, "shown with -v");
    debug!(target: OURS, "debug: not twice");
    warn!(target: OURS, "disk {}", "slow");
    warn!(target: OURS, "warn: not twice");
    info!(target: "sled", "what other crates chat about");
    warn!(target: "sled", "what they warn of\nin two lines");
    smtpd::log::set_verbose(how != "verbose");
    debug!(target: OURS, "switched");
    smtpd::log::set_verbose(false);
    let _ = std::panic::catch_unwind(|| panic!("in a {}", "session"));
    life::exiting();
    log::logger().flush();
    info!(target: OURS, "the last line is written when the log is dropped");
    drop(running);
}

/// The lines of reports that are not made.
fn bounces(id: MessageId) {
    let to = |text| Mailbox::parse(text).unwrap();
    let envelope = Envelope {
        id: EnvelopeId::new(id, 0),
        rcpt: to("user@example.net"),
        dest: to("\"a b\"@example.net"),
        internal: false,
        action: "local".to_owned(),
        agent: Agent::Mta,
        ttl: 1,
        notify: None,
        orcpt: None,
    };
    let message = Message {
        id,
        ctime: 0,
        sender: ReversePath::Null,
        source: Source::Local,
        helo: String::new(),
        hostname: String::new(),
        smtpname: String::new(),
        tag: String::new(),
        username: None,
        tls: false,
        smtputf8: false,
        ret: None,
        envid: None,
        envelopes: Vec::new(),
    };
    bounce::nobody(Nobody::DoubleBounce, &envelope);
    bounce::nobody(Nobody::NoReturnPath, &envelope);
    bounce::unwanted(Kind::Failed, &envelope);
    bounce::unwanted(Kind::Delayed(Duration::from_secs(1)), &envelope);
    bounce::no_way(true, &message, &to("s@example.org"), 2, "later\nforged");
    bounce::no_way(false, &message, &to("s@example.org"), 1, "Invalid recipient");
    bounce::not_sent(&[envelope.id], "no space on the queue's disk");
    bounce::not_sent(&[], "there is nothing to be said");
}

fn lines(how: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "talk", "--nocapture"])
        .env(TALK, how)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text.lines().map(str::to_owned).collect()
}

/// As `lines`, with the parts that differ from build to build taken out.
fn plain(how: &str) -> Vec<String> {
    let panicked = "panic at bin/tests/log_lines.rs:";
    let strip = |line: String| match line.find("log_lines.rs:") {
        Some(_) if line.starts_with("panic at ") => {
            let text = line.rsplit_once(": ").unwrap().1;
            format!("{panicked} {text}")
        }
        _ => line,
    };
    lines(how).into_iter().map(strip).collect()
}

fn expected() -> Vec<String> {
    let evpid = EnvelopeId::new(MessageId::from_u32(0xe636_d771).unwrap(), 0);
    let text = format!(
        r#"info: {version} starting
000000001f305e85 smtp connected address=192.0.2.1 host=mail.example.org
000000001f305e85 smtp connected address=[2001:db8::1] host=<unknown>
000000001f305e85 smtp connected address=local host=host.example.net\n
000000001f305e85 smtp early-talker address=192.0.2.1
000000001f305e85 smtp failed-command command="NO \"\033P\"" result="500 5.5.1 Invalid command"
000000001f305e85 smtp bad-input result="500 5.0.0 Line too long"
000000001f305e85 smtp stray-newline address=192.0.2.1 offset=77 action=reject
000000001f305e85 smtp stray-newline address=local offset=78 action=normalize
000000001f305e85 smtp message msgid=e636d771 size=245 nrcpt=2 proto=ESMTP
000000001f305e85 smtp envelope evpid={evpid} from=<> to=<"a b"@example.org>
000000001f305e85 smtp disconnected reason=quit
000000001f305e85 smtp disconnected reason=timeout
000000001f305e85 smtp disconnected reason=disconnect
000000001f305e85 smtp disconnected reason="io-error: Connection reset by peer"
0000000000000007 mda delivery evpid={evpid} from=<> to=<user@example.net> user=user delay=1d2h3m4s result=Ok stat=Delivered
0000000000000007 mda delivery evpid={evpid} from=<a@example.org> to=<user@example.net> rcpt=<root@example.net> user=user delay=0s result=TempFail stat=Error (disk full)\nforged
0000000000000007 mda delivery evpid={evpid} from=<> to=<user@example.net> user=user delay=1d2h3m4s result=PermFail stat=Delivered
warn: queue: double bounce! evpid={evpid} to=<"a b"@example.net>
warn: queue: no return path! evpid={evpid} to=<"a b"@example.net>
info: queue: no report for {evpid}: failed, and its sender does not want to know
info: queue: no report for {evpid}: delayed, and its sender does not want to know
warn: TempFail injecting failure report on message e636d771 to <s@example.org> for 2 envelope(s): later\nforged
warn: PermFail injecting failure report on message e636d771 to <s@example.org> for 1 envelope(s): Invalid recipient
warn: TempFail injecting failure report on message e636d771 for 1 envelope(s): no space on the queue's disk
info: mta paused
info: mta resumed
warn: disk slow
warn: not twice
warn: what they warn of\nin two lines
debug: switched
panic at bin/tests/log_lines.rs: in a session
Exiting
the last line is written when the log is dropped"#,
        version = smtpd::VERSION
    );
    text.lines().map(str::to_owned).collect()
}

/// Puts lines in front of the first that begins like `before`.
fn insert(lines: &mut Vec<String>, before: &str, new: &[&str]) {
    let at = lines.iter().position(|line| line.contains(before)).unwrap();
    lines.splice(at..at, new.iter().map(|line| (*line).to_owned()));
}

#[test]
fn lines_are_those_that_log_readers_know() {
    assert_eq!(plain("brief"), expected());
}

#[test]
fn verbose_adds_debug_lines_until_it_is_switched_off() {
    let mut wanted = expected();
    insert(&mut wanted, "warn: disk", &["debug: shown with -v", "debug: not twice"]);
    wanted.retain(|line| line != "debug: switched");
    assert_eq!(plain("verbose"), wanted);
}

#[test]
fn a_trace_shows_the_dialogue_without_asking_for_debug_lines() {
    let mut wanted = expected();
    let trace = [
        r"smtp: 0x000000001f305e85: <<< EHLO x\\",
        "smtp: 0x000000001f305e85: >>> 250-a",
        "smtp: 0x000000001f305e85: >>> 250 b",
    ];
    insert(&mut wanted, "failed-command", &trace);
    assert_eq!(plain("traced"), wanted);
}
