//! The real program on file systems that are full: mail is refused for the moment and nothing else
//! goes wrong, what was taken is delivered, and then mail is taken again (RFC 5321 section 4.2.3:
//! 452 is a matter of storage, and the client comes back).
//!
//! This needs small file systems of its own (root, mount, mkfs). The same on a simulated disk, for
//! everybody: `a_full_disk_refuses_mail_and_can_be_drained` of the queue.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::load::{self, Books, Fate, Letter};
use smtpd_tests::mount::{Kind, Mount, skip};
use smtpd_tests::program::{
    Options, PATIENCE, Server, TempDir, eventually, free_port, program, repository,
};
use smtpd_tests::rng::Rng;

/// The reply to mail that there is no space for.
const FULL: &str = "452 4.3.1 ";

/// How long it may take until thousands of messages have been delivered on a busy machine.
const DRAINED: Duration = Duration::from_secs(180);

/// Sessions that fill a queue at once.
const SENDERS: u64 = 8;

/// Refusals in a row after which a session takes it that the queue is full, and not only for one
/// message: fewer than the failures that end a session.
const REFUSALS: usize = 4;

/// Lines of letters that go into the journal, up to 64 KiB.
const SMALL: Range<usize> = 1..1000;

/// Lines of letters for which there may be room when there is none for others.
const TINY: Range<usize> = 1..8;

/// Lines of letters that go into files of their own, 1 MiB and more.
const LARGE: Range<usize> = 16 << 10..18 << 10;

/// A file system at one of the server's directories, or a word about why there is none.
fn mounted(test: &str, kind: Kind, octets: u64, at: &Path) -> Option<Mount> {
    Mount::new(kind, octets, at).map_err(|why| skip(test, &why)).ok()
}

fn start(dir: &TempDir, arguments: &[&str]) -> Server {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Server::start(Options { dir: Some(dir.path().to_owned()), arguments, ..Options::default() })
}

/// Sends letters from several sessions until each of them has heard a few times in a row that the
/// queue is full, and has gone on after it.
fn fill(server: &Server, books: &Books, what: &str, lines: &Range<usize>) {
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let mut rng = Rng::new(sender);
                let (mut count, mut refused) = (0, 0);
                let next = || {
                    count += 1;
                    let lines = lines.start + rng.below(lines.len());
                    Letter { name: format!("{what}.{sender}.{count}"), lines }
                };
                load::send(server.address, "full@localhost", next, |letter, fate| {
                    refused = if fate == Fate::Accepted { 0 } else { refused + 1 };
                    books.note(letter, fate);
                    if refused < REFUSALS {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                });
            });
        }
    });
}

/// Holds the Maildir against the books: what was answered with 250, once, and no more.
fn check(server: &Server, books: &Books) {
    let there = server.maildir("full");
    for path in &there {
        books.find(path).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    let (sums, missing) = (books.sums(), books.missing());
    assert!(missing.is_empty(), "{} lost, such as {:?}; {sums:?}", missing.len(), missing[0]);
    assert_eq!(sums.unknown, 0, "every message gets an answer: {sums:?}");
    for reply in books.refusals() {
        assert!(reply.starts_with(FULL), "a full disk is no reason for {reply:?}");
    }
    assert_eq!(there.len(), sums.accepted);
}

/// Waits until a message is taken again, which may be when the journal has been made smaller, and
/// says how long that took.
fn wait_for_space(server: &Server, books: &Books) -> Duration {
    let began = Instant::now();
    let mut count = 0;
    let next = || {
        count += 1;
        Letter { name: format!("again.{count}"), lines: 20 }
    };
    load::send(server.address, "full@localhost", next, |letter, fate| {
        let taken = fate == Fate::Accepted;
        books.note(letter, fate);
        if taken {
            return ControlFlow::Break(());
        }
        assert!(began.elapsed() < PATIENCE, "no space:\n{}", server.log().join("\n"));
        // Without progress a session would be ended after some failures.
        thread::sleep(Duration::from_millis(500));
        ControlFlow::Continue(())
    });
    began.elapsed()
}

#[test]
fn a_full_queue_refuses_for_the_moment_and_drains() {
    let dir = TempDir::new();
    let test = "a_full_queue_refuses_for_the_moment_and_drains";
    // 64 MiB are the journal's: the segment in use, the next one, and two in reserve.
    let at = dir.path().join("spool");
    let Some(_mount) = mounted(test, Kind::Ext4, 104 << 20, &at) else { return };
    let mut server = start(&dir, &["-P", "mda"]);
    let books = Books::default();
    fill(&server, &books, "small", &SMALL);
    let small = books.sums();
    assert!(small.accepted > 500, "it was not filled: {small:?}");
    fill(&server, &books, "large", &LARGE);
    fill(&server, &books, "tiny", &TINY);
    assert!(server.smtpctl(&["resume", "mda"]).0.success());
    let began = Instant::now();
    server.wait_for_empty_queue(DRAINED);
    let drained = began.elapsed();
    check(&server, &books);
    let again = wait_for_space(&server, &books);
    server.wait_for_empty_queue(DRAINED);
    check(&server, &books);
    assert!(server.stop().success());
    eprintln!("{test}: {:?}, drained in {drained:?}, space after {again:?}", books.sums());
}

#[test]
fn a_queue_full_of_large_messages_is_started_again_and_drains() {
    let dir = TempDir::new();
    let test = "a_queue_full_of_large_messages_is_started_again_and_drains";
    let at = dir.path().join("spool");
    let Some(_mount) = mounted(test, Kind::Xfs, 300 << 20, &at) else { return };
    let books = Books::default();
    // Twice as often as there are segments in reserve, one of which each start would like to have;
    // killed and ended in order in turn.
    for round in 0..4 {
        let mut server = start(&dir, &["-P", "mda"]);
        fill(&server, &books, &format!("large{round}"), &LARGE);
        fill(&server, &books, &format!("small{round}"), &SMALL);
        if round % 2 == 0 {
            server.kill();
        } else {
            assert!(server.stop().success());
        }
    }
    let server = start(&dir, &[]);
    server.wait_for_empty_queue(DRAINED);
    check(&server, &books);
    let again = wait_for_space(&server, &books);
    server.wait_for_empty_queue(DRAINED);
    check(&server, &books);
    eprintln!("{test}: {:?}, space after {again:?}", books.sums());
}

#[test]
fn a_full_maildir_defers_until_there_is_space() {
    let dir = TempDir::new();
    let test = "a_full_maildir_defers_until_there_is_space";
    let at = dir.path().join("mail");
    let Some(mount) = mounted(test, Kind::Ext4, 16 << 20, &at) else { return };
    let server = start(&dir, &[]);
    let books = Books::default();
    let ballast = mount.fill("ballast", 64 << 10);
    let mut count = 0;
    let next = || {
        count += 1;
        Letter { name: format!("mail.{count}"), lines: 1500 }
    };
    load::send(server.address, "full@localhost", next, |letter, fate| {
        books.note(letter, fate);
        if books.sums().accepted < 20 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(books.sums().accepted, 20, "the queue has space enough");
    let mut queue = String::new();
    eventually("20 deferred deliveries", || {
        queue = server.smtpctl(&["show", "queue"]).1;
        // One that has not been tried yet is pending, too.
        let deferred = |line: &&str| line.contains("|pending|") && !line.ends_with('|');
        queue.lines().filter(deferred).count() == 20
    });
    for line in queue.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let reason = fields.last().expect("a last field");
        assert!(reason.contains("/mail/full"), "no path: {line}");
        assert!(reason.contains("No space left on device"), "no reason: {line}");
    }
    for folder in ["tmp", "new"] {
        let there = fs::read_dir(mount.path().join("full").join(folder));
        assert_eq!(there.map_or(0, Iterator::count), 0, "half a message in {folder}/");
    }
    fs::remove_file(ballast).expect("there");
    server.wait_for_empty_queue(DRAINED);
    check(&server, &books);
}

#[test]
fn without_room_for_the_reserve_nothing_is_taken() {
    let dir = TempDir::new();
    let test = "without_room_for_the_reserve_nothing_is_taken";
    let at = dir.path().join("spool");
    let Some(_mount) = mounted(test, Kind::Ext4, 24 << 20, &at) else { return };
    let server = start(&dir, &[]);
    let books = Books::default();
    fill(&server, &books, "large", &LARGE);
    fill(&server, &books, "tiny", &TINY);
    check(&server, &books);
    assert_eq!(books.sums().accepted, 0);
}

#[test]
fn without_room_for_a_queue_the_daemon_says_so() {
    let dir = TempDir::new();
    let test = "without_room_for_a_queue_the_daemon_says_so";
    let at = dir.path().join("spool");
    let Some(mount) = mounted(test, Kind::Ext4, 1 << 20, &at) else { return };
    mount.fill("ballast", 0);
    let mut command = Command::new(program("smtpd"));
    command.arg("-d").arg("-f").arg(repository().join("etc/quickstart.conf"));
    command.args(["-D", &format!("port={}", free_port())]);
    command.args(["-D", &format!("dir={}", dir.path().display())]);
    let output = command.output().expect("smtpd runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&*mount.path().to_string_lossy()), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
