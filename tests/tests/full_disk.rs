//! The queue directory on a file system that is full: new mail is refused for the moment and
//! nothing else goes wrong, what was taken is delivered, and then new mail is taken again (RFC 5321
//! section 4.2.3: 452 is a matter of storage, and the client comes back).

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use smtpd_tests::letter;
use smtpd_tests::mount::{Kind, Mount, skip};
use smtpd_tests::program::{
    Client, Options, Server, TempDir, eventually, free_port, program, repository,
};

/// Octets of a file system that holds the empty queue and a few segments more.
const SMALL: u64 = 160 << 20;
/// Messages a session of the tests sends: fewer than `smtp limit max-mails`.
const SESSION: usize = 20;
const FULL: &str = "452 4.3.1 ";

/// A directory whose `spool` is a file system of its own.
fn spool(test: &str, octets: u64) -> Option<(Mount, TempDir)> {
    let dir = TempDir::new();
    match Mount::new(Kind::Ext4, octets, &dir.path().join("spool")) {
        Ok(mount) => Some((mount, dir)),
        Err(why) => {
            skip(test, &why);
            None
        }
    }
}

fn start(dir: &Path, arguments: &[&str]) -> Server {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Server::start(Options { dir: Some(dir.to_owned()), arguments, ..Options::default() })
}

fn greeted(server: &Server) -> Client {
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client
}

/// Sends messages of this size until one finds no space, which is the only reason to refuse one;
/// those that were taken are added to `taken`.
fn fill(server: &Server, octets: usize, taken: &mut HashSet<String>) {
    for session in 0.. {
        let mut client = greeted(server);
        for n in 0..SESSION {
            let name = format!("{octets}.{session}.{n}");
            let reply = letter::send(&mut client, "full@localhost", &name, octets);
            if reply.starts_with(FULL) {
                client.expect("NOOP", "250");
                return;
            }
            assert!(reply.starts_with("250 "), "{name}: {reply:?}\n{}", server.log().join("\n"));
            taken.insert(name);
        }
    }
}

#[test]
fn a_full_queue_refuses_for_the_moment_and_drains() {
    let Some((mount, dir)) = spool("a_full_queue_refuses_for_the_moment_and_drains", SMALL) else {
        return;
    };
    let server = start(dir.path(), &["-P", "mda"]);
    let mut taken = HashSet::new();
    // Large ones are quick, small ones find the last gap; those of a mebibyte have content files.
    for octets in [200 << 10, 1 << 20, 50 << 10, 8 << 10, 1 << 10] {
        fill(&server, octets, &mut taken);
    }
    let most = usize::try_from(SMALL).expect("a small number") / (200 << 10);
    assert!(taken.len() > most / 4, "only {} messages: it was not filled", taken.len());

    assert!(server.smtpctl(&["resume", "mda"]).0.success());
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    let expected: HashMap<_, _> = taken.into_iter().map(|name| (name, 1)).collect();
    let found = letter::found(&dir.path().join("mail/full"));
    let differ: Vec<_> = expected
        .keys()
        .chain(found.keys())
        .filter(|name| found.get(*name) != expected.get(*name))
        .collect();
    assert!(differ.is_empty(), "lost, refused, or there twice: {differ:?}");

    let mut attempts = 0;
    eventually("space for new mail", || {
        attempts += 1;
        let name = format!("after.{attempts}");
        let reply = letter::send(&mut greeted(&server), "after@localhost", &name, 1000);
        assert!(reply.starts_with("250 ") || reply.starts_with(FULL), "{reply:?}");
        reply.starts_with("250 ")
    });
    assert_eq!(server.wait_for_mail("after", 1).len(), 1);
    drop(server);
    drop(mount);
}

#[test]
fn without_room_for_the_reserve_nothing_is_taken() {
    let test = "without_room_for_the_reserve_nothing_is_taken";
    let Some((mount, dir)) = spool(test, 24 << 20) else { return };
    let server = start(dir.path(), &[]);
    for octets in [100, 1 << 20] {
        let reply = letter::send(&mut greeted(&server), "none@localhost", "none", octets);
        assert!(reply.starts_with(FULL), "{octets}: {reply:?}\n{}", server.log().join("\n"));
    }
    assert!(server.maildir("none").is_empty());
    drop(server);
    drop(mount);
}

#[test]
fn without_room_for_a_queue_the_daemon_says_so() {
    let test = "without_room_for_a_queue_the_daemon_says_so";
    let Some((mount, dir)) = spool(test, 1 << 20) else { return };
    mount.fill("ballast", 0);
    let mut command = Command::new(program("smtpd"));
    command.arg("-d").arg("-f").arg(repository().join("etc/quickstart.conf"));
    command.args(["-D", &format!("port={}", free_port())]);
    command.args(["-D", &format!("dir={}", dir.path().display())]);
    let output = command.output().expect("smtpd runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&*mount.path().to_string_lossy()), "{text}");
}
