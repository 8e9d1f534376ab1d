//! The power goes while mail comes in: queue and Maildirs lie on a real file system (xfs) that is
//! shut down without a flush of its log, so that what was not synced is gone. What was answered
//! with 250 is there afterwards.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use smtpd_tests::mount::{Kind, Mount, skip};
use smtpd_tests::program::{Client, Options, Server, TempDir, eventually};
use smtpd_tests::rng::Rng;
use smtpd_tests::{effort, letter};

/// Room for all that is sent meanwhile; the image is sparse.
const IMAGE: u64 = 2 << 30;
const ROUNDS: usize = 3;
const SENDERS: usize = 6;
/// Messages of a session: fewer than `smtp limit max-mails`.
const SESSION: usize = 50;

fn start(dir: &Path) -> Server {
    Server::start(Options { dir: Some(dir.to_owned()), ..Options::default() })
}

/// Sends messages until the server goes; those that were answered with 250 are added to `taken`.
fn send(address: SocketAddr, sender: &str, taken: &Mutex<Vec<String>>) {
    for session in 0.. {
        let Ok(stream) = TcpStream::connect(address) else { return };
        let mut client = Client::new(stream);
        if !client.reply().starts_with("220 ") || client.command("EHLO load.example").is_empty() {
            return;
        }
        for n in 0..SESSION {
            let name = format!("{sender}.{session}.{n}");
            // Now and then one whose content is a file of its own.
            let octets = if n == 7 { 300 << 10 } else { 1000 };
            let reply = letter::send(&mut client, "load@localhost", &name, octets);
            if !reply.starts_with("250 ") {
                break;
            }
            taken.lock().expect("the list").push(name);
        }
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let dir = TempDir::new();
    let mut mount = match Mount::new(Kind::Xfs, IMAGE, &dir.path().join("disk")) {
        Ok(mount) => mount,
        Err(why) => return skip("nothing_that_was_acknowledged_is_lost", &why),
    };
    let taken = Mutex::new(Vec::new());
    let mut rng = Rng::new(u64::from(std::process::id()));
    let mut server = start(mount.path());
    for round in 0..ROUNDS * effort() {
        let before = taken.lock().expect("the list").len();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (name, taken) = (format!("{round}.{sender}"), &taken);
                let address = server.address;
                scope.spawn(move || send(address, &name, taken));
            }
            thread::sleep(Duration::from_millis(500 + rng.below(1500) as u64));
            mount.cut_power().expect("xfs can be shut down");
            // The daemon lives on for a moment and must acknowledge nothing more.
            thread::sleep(Duration::from_millis(rng.below(300) as u64));
            server.kill();
        });
        mount.remount();
        server = start(mount.path());
        eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
        let found = letter::found(&mount.path().join("mail/load"));
        let taken = taken.lock().expect("the list");
        eprintln!("round {round}: {} acknowledged", taken.len() - before);
        assert!(taken.len() > before, "no load");
        let lost: Vec<_> = taken.iter().filter(|name| !found.contains_key(*name)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}\n{}", server.log().join("\n"));
        // The name in the Maildir follows from the envelope: a second delivery replaces the first.
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "there under two names: {twice:?}");
    }
    drop(server);
    drop(mount);
}
