//! The real programs on loopback: what a client and an administrator would see.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use smtpd_tests::crash::{End, World};
use smtpd_tests::program::{
    Client, Server, TempDir, eventually, free_port, messages, program, repository,
};

/// Splits a stored message behind the header fields that the server added.
fn split(path: &Path) -> (String, Vec<u8>) {
    let stored = fs::read(path).expect("the message");
    let mut at = 0;
    for name in [&b"Return-Path: "[..], b"Delivered-To: ", b"Received: "] {
        assert!(stored[at..].starts_with(name), "{}", String::from_utf8_lossy(&stored));
        loop {
            at += stored[at..].iter().position(|b| *b == b'\n').expect("a whole field") + 1;
            if stored.get(at) != Some(&b'\t') {
                break;
            }
        }
    }
    (String::from_utf8_lossy(&stored[..at]).into_owned(), stored[at..].to_vec())
}

/// What a client sends as mail data for a content with LF line ends: CR LF, dots doubled.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for line in content.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

fn smtpd(arguments: &[&str], config: &Path, dir: &Path) -> Output {
    let mut command = Command::new(program("smtpd"));
    command.args(arguments).arg("-f").arg(config).current_dir(dir);
    command.output().expect("smtpd runs")
}

#[test]
fn a_message_is_stored_octet_for_octet() {
    let server = Server::quickstart();
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    // Over loopback it would get a Date and a Message-ID if it had none (RFC 6409 section 8).
    let header = b"Date: Tue, 24 Nov 2026 10:00:00 +0100\nMessage-ID: <1@example.org>\n\n";
    let mut octets = [&header[..], b".\n..\n.dot\n\n"].concat();
    octets.extend((1..=255u8).filter(|b| !matches!(b, b'\r' | b'\n')));
    octets.push(b'\n');
    octets.extend(vec![b'x'; 5000]);
    octets.push(b'\n');
    let lines: String = (0..40_000).map(|n| format!("line {n} of a larger message\n")).collect();
    let large = [&header[..], lines.as_bytes()].concat();
    for (to, sent) in [("first", octets), ("second", large), ("third", header.to_vec())] {
        let rcpt = format!("{to}@localhost");
        let reply = client.message("a@example.org", &rcpt, &stuffed(&sent));
        let id = reply.strip_prefix("250 2.0.0 ");
        let id = id.and_then(|r| r.strip_suffix(" Message accepted for delivery"));
        let id = id.unwrap_or_else(|| panic!("{reply}"));
        let (fields, content) = split(&server.wait_for_mail(to, 1)[0]);
        let begin = format!(
            "Return-Path: <a@example.org>\nDelivered-To: {rcpt}\nReceived: from client.example ("
        );
        assert!(fields.starts_with(&begin), "{fields}");
        let trace = format!(" with ESMTP id {id}\n\tfor <{rcpt}>;\n\t");
        assert!(fields.contains(&trace), "{fields}");
        assert!(content == sent, "the content for {to} was changed");
    }
    client.expect("QUIT", "221");
}

#[test]
fn a_hostile_local_part_stays_below_the_directory() {
    let server = Server::quickstart();
    let mut client = server.connect();
    client.expect("EHLO c", "250");
    let mut accepted = 0;
    for local in ["\"../../escaped\"", "/etc/x", "\"a/../../b\"", "\"..\"", "\".\"", "a/b"] {
        client.expect("MAIL FROM:<>", "250");
        let reply = client.command(&format!("RCPT TO:<{local}@localhost>"));
        if reply.starts_with("250") {
            client.expect("DATA", "354");
            assert!(client.command("x\r\n.").starts_with("250"));
            accepted += 1;
        } else {
            assert!(reply.starts_with('5'), "{reply}");
            client.expect("RSET", "250");
        }
    }
    assert!(accepted > 0, "a slash in a local part is no reason to refuse it");
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    let outside = server.dir.parent().expect("a parent");
    assert!(!outside.join("escaped").exists() && !outside.join("b").exists());
    let mail: Vec<_> = fs::read_dir(server.dir.join("mail")).expect("mail/").flatten().collect();
    assert_eq!(mail.len(), accepted);
    for user in mail {
        assert!(user.path().join("new").is_dir(), "{:?} is not a Maildir", user.path());
    }
}

#[test]
fn a_thousand_sessions_at_once() {
    let server = Server::quickstart();
    let mut clients: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"EHLO many.example\r\n").expect("it is taken");
    }
    for client in &mut clients {
        assert!(client.reply().starts_with("250-"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let rcpt = format!("RCPT TO:<u{}@localhost>", n % 10);
        let pipelined = format!("MAIL FROM:<a@b.example>\r\n{rcpt}\r\nDATA\r\n");
        client.send(pipelined.as_bytes()).expect("it is taken");
    }
    for client in &mut clients {
        for code in ["250", "250", "354"] {
            assert!(client.reply().starts_with(code));
        }
        client.send(b"Subject: one of many\r\n\r\nhello\r\n.\r\n").expect("it is taken");
    }
    for client in &mut clients {
        assert!(client.reply().starts_with("250 2.0.0 "));
    }
    for user in 0..10 {
        assert_eq!(server.wait_for_mail(&format!("u{user}"), 100).len(), 100);
    }
}

#[test]
fn one_octet_a_second_is_slow_but_fine() {
    let server = Server::quickstart();
    let mut client = server.connect();
    for octet in b"NOOP\r\n" {
        client.send(&[*octet]).expect("it is taken");
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(client.reply(), "250 2.0.0 Ok");
    client.expect("EHLO slow", "250");
    assert!(client.message("", "slow@localhost", b"patience\r\n").starts_with("250"));
    assert_eq!(server.wait_for_mail("slow", 1).len(), 1);
}

#[test]
fn a_client_that_never_reads_costs_one_buffer_and_stops_nobody() {
    let server = Server::quickstart();
    let mut deaf = server.connect();
    deaf.socket().set_write_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    let commands = b"HELP\r\n".repeat(10_000);
    // What starts by and by, such as the index, must not be counted.
    let mut other = server.connect();
    other.expect("EHLO other", "250");
    assert!(other.message("", "other@localhost", b"first\r\n").starts_with("250"));
    assert_eq!(server.wait_for_mail("other", 1).len(), 1);
    server.wait_for_log("index of the queue");
    let before = resident(server.id());
    let mut sent = 0;
    while sent < 64 << 20 && deaf.send(&commands).is_ok() {
        sent += commands.len();
    }
    assert!(sent < 64 << 20, "the server reads on although nobody takes its replies");
    let grown = resident(server.id()).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for one deaf client");
    assert!(other.message("", "other@localhost", b"still here\r\n").starts_with("250"));
}

/// Resident memory of a process in KiB; 0 where the system does not tell in this way.
fn resident(id: u32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) else { return 0 };
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A few rounds of what the program `crash-test` does a hundred times.
#[test]
fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    let parent = TempDir::new();
    let dir = parent.path().join("world");
    let world = World::new(End::Kill, dir, None, std::process::id().into());
    let mut world = world.expect("a daemon");
    for _ in 0..4 {
        world.round(150);
    }
    world.check();
    world.round(150);
    world.check();
    eprintln!("{:?}, {:?}", world.sums(), world.tally());
}

#[test]
fn sigterm_ends_in_order() {
    let mut server = Server::quickstart();
    let mut idle = server.connect();
    idle.expect("EHLO idle", "250");
    let mut busy = server.connect();
    busy.expect("EHLO busy", "250");
    assert!(busy.message("", "busy@localhost", b"x\r\n").starts_with("250"));
    server.signal("TERM");
    assert!(idle.reply().starts_with("421 "), "an idle session is told");
    assert!(server.wait().success());
    server.wait_for_log("Exiting");
    let log = server.log();
    assert!(log[0].contains("Hermes"), "{log:?}");
}

#[test]
fn a_second_daemon_on_the_same_queue_is_refused_before_it_binds() {
    let server = Server::quickstart();
    let port = format!("port={}", free_port());
    let dir = format!("dir={}", server.dir.display());
    let config = repository().join("etc/quickstart.conf");
    let second = smtpd(&["-d", "-D", &port, "-D", &dir], &config, repository());
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("another smtpd"), "{text}");
    assert!(server.connect().command("NOOP").starts_with("250"), "the first goes on");
}

#[test]
fn a_mistake_in_the_configuration_names_its_place_and_touches_nothing() {
    let dir = TempDir::new();
    let path = dir.path().join("bad.conf");
    let text = "queue directory ./spool\nlisten on lo port 2525\n\
                action \"local\" maildirr\nmatch from any for local action \"local\"\n";
    fs::write(&path, text).expect("written");
    for argument in ["-n", "-d"] {
        let output = smtpd(&[argument], &path, dir.path());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(&format!("{}:3: ", path.display())), "{text}");
        assert!(text.contains("did you mean") && text.contains("maildir"), "{text}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "something was made");
}

/// Also from an old file, by the options that a user gives.
#[test]
fn what_is_printed_of_a_configuration_is_one() {
    let dir = TempDir::new();
    let file = dir.path().join("smtpd.conf");
    let print = |text: &str| {
        fs::write(&file, text).expect("written");
        let output = smtpd(&["-n", "-v"], &file, dir.path());
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && log.ends_with("configuration OK\n"), "{log}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let old = "listen on 127.0.0.1 port 2525\nmax-message-size 5M\n\
               accept from any for domain \"a.example\" deliver to maildir \"/tmp/%{dest.user}\"\n";
    let today = print(old);
    assert!(
        today.contains("action \"legacy-") && today.contains("\nmatch from any for domain"),
        "{today}"
    );
    assert_eq!(print(&today), today);
}

#[test]
fn what_does_not_work_yet_warns_in_a_check_and_refuses_to_start() {
    let dir = TempDir::new();
    let path = dir.path().join("filters.conf");
    let text = "filter spam proc-exec \"filter-rspamd\"\nlisten on lo port 2525 filter spam\n\
                action \"local\" maildir ./mail/%{dest.user} userbase any\n\
                match from any for local action \"local\"\n";
    fs::write(&path, text).expect("written");
    let checked = smtpd(&["-n"], &path, dir.path());
    let text = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{text}");
    assert!(text.contains("filters do not work yet"), "{text}");
    assert!(text.ends_with("configuration OK\n"), "{text}");
    let started = smtpd(&["-d"], &path, dir.path());
    let text = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("{}:1: filters do not work yet", path.display())), "{text}");
}

#[test]
fn without_a_configuration_the_quickstart_is_built_in() {
    if Path::new("/etc/mail/smtpd.conf").exists() {
        eprintln!("SKIPPED: this machine has a configuration of its own");
        return;
    }
    let dir = TempDir::new();
    let port = free_port();
    let mut child = Command::new(program("smtpd"))
        .args(["-d", "-D", &format!("port={port}")])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("smtpd starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("a banner", || TcpStream::connect(address).is_ok());
    let mut client = Client::connect(address);
    client.expect("EHLO c", "250");
    assert!(client.message("", "me@localhost", b"x\r\n").starts_with("250"));
    eventually("a message", || !messages(&dir.path().join("mail/me")).is_empty());
    child.kill().expect("our child");
    child.wait().expect("our child");
    let checked = Command::new(program("smtpd")).arg("-n").output().expect("smtpd runs");
    assert_eq!(checked.status.code(), Some(1), "a check is about a file");
}

#[test]
fn smtpctl_shows_pauses_and_resumes() {
    let server = Server::quickstart();
    let (status, text, _) = server.smtpctl(&["pause", "mda"]);
    assert!(status.success() && text == "command succeeded\n", "{text}");
    let mut client = server.connect();
    client.expect("EHLO c", "250");
    assert!(client.message("s@example.org", "held@localhost", b"x\r\n").starts_with("250"));
    let mut line = String::new();
    eventually("one envelope in the queue", || {
        line = server.smtpctl(&["show", "queue"]).1;
        line.lines().count() == 1
    });
    let fields: Vec<&str> = line.trim_end().split('|').collect();
    assert_eq!(fields.len(), 14, "{line}");
    let shown = (fields[1], fields[2], fields[4], fields[5]);
    assert_eq!(shown, ("inet4", "mda", "s@example.org", "held@localhost"));
    assert!(server.maildir("held").is_empty());
    assert!(server.smtpctl(&["show", "status"]).1.contains("MDA paused"));
    assert!(!server.smtpctl(&["pause", "mda"]).0.success(), "it is paused already");
    assert!(server.smtpctl(&["resume", "mda"]).0.success());
    assert_eq!(server.wait_for_mail("held", 1).len(), 1);
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
}
