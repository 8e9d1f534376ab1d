//! The power goes while mail comes in and goes out: queue and Maildirs lie on a real file system
//! that is shut down without a flush of its log, so that what was not synced is gone. Then the
//! daemon is killed, the file system recovers, and a new daemon starts on what is left.
//!
//! What was answered with 250 is in a Maildir then, or comes there, whole and under one name; what
//! was refused does not (RFC 5321 section 6.1). The power cuts of `power_cut`, on a simulated disk,
//! are far more and worse; these show that a real file system keeps what is relied upon there.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::effort;
use smtpd_tests::load::{self, Books, Letter};
use smtpd_tests::mount::{Kind, Mount, skip};
use smtpd_tests::program::{Options, Server, TempDir, messages};
use smtpd_tests::rng::Rng;

/// Power cuts on each file system.
const ROUNDS: usize = 6;

/// The least that mkfs.xfs takes; the image is sparse.
const OCTETS: u64 = 300 << 20;

/// Sessions at once, to both users in turn.
const SENDERS: usize = 6;

/// Whose mail nobody looks at, and whose mail is read while more comes.
const LEFT: &str = "left";
const READ: &str = "read";

/// How long a queue of what a second has brought may take on a busy machine.
const DRAINED: Duration = Duration::from_secs(120);

/// A daemon, its disk, and what everybody was told.
struct World {
    dir: PathBuf,
    mount: Mount,
    server: Server,
    books: Books,
    rng: Rng,
}

fn start(dir: &Path) -> Server {
    Server::start(Options { dir: Some(dir.to_owned()), ..Options::default() })
}

/// Sends letters until nobody listens any more.
fn send(server: &Server, books: &Books, name: &str, to: &str, mut rng: Rng) {
    let mut count = 0;
    let next = || {
        count += 1;
        let lines = match rng.below(16) {
            // In a file of its own.
            0 => 5000 + rng.below(5000),
            // Enough of these to fill a segment of the journal in a second.
            1..=4 => rng.below(2000),
            _ => rng.below(50),
        };
        Letter { name: format!("{name}.{count}"), lines }
    };
    load::send(server.address, &format!("{to}@localhost"), next, |letter, fate| {
        books.note(letter, fate);
        ControlFlow::Continue(())
    });
}

/// What a mail reader does until then: it takes what is in `new/`, which it knows to be whole.
fn read(maildir: &Path, until: Instant) {
    while Instant::now() < until {
        for path in messages(maildir) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // An error is no concern of the reader's: the power may be off.
            let _ = fs::rename(path, maildir.join("cur").join(name + ":2,S"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

impl World {
    /// A daemon on a new file system, unless there can be none that is shut down here.
    fn new(kind: Kind, dir: PathBuf) -> Result<World, String> {
        let mut mount = Mount::new(kind, OCTETS, &dir)?;
        mount.cut_power()?;
        mount.remount();
        let (server, books) = (start(&dir), Books::default());
        Ok(World { dir, mount, server, books, rng: Rng::new(process::id().into()) })
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.dir.join("mail").join(user)
    }

    /// Load, a power cut at some moment of it, and a start on what is left. Somebody may read
    /// `reads` meanwhile.
    fn round(&mut self, round: usize, reads: bool) {
        let before = self.books.sums().accepted;
        let load = Duration::from_millis(300 + self.rng.below(1000) as u64);
        let darkness = Duration::from_millis(self.rng.below(200) as u64);
        let seeds: Vec<u64> = (0..SENDERS).map(|_| self.rng.next_u64()).collect();
        let (server, books, maildir) = (&self.server, &self.books, self.maildir(READ));
        thread::scope(|scope| {
            for (sender, seed) in seeds.into_iter().enumerate() {
                let to = [LEFT, READ][sender % 2];
                let name = format!("{round}.{sender}");
                scope.spawn(move || send(server, books, &name, to, Rng::new(seed)));
            }
            if reads {
                let until = Instant::now() + load + darkness;
                scope.spawn(move || read(&maildir, until));
            }
            thread::sleep(load);
            self.mount.cut_power().expect("it was tried before");
            // The daemon lives on for a moment, and must promise nothing more.
            thread::sleep(darkness);
            server.signal("KILL");
        });
        let _ = self.server.wait();
        let accepted = self.books.sums().accepted - before;
        assert!(accepted > 10, "round {round}: only {accepted} messages: no load");
        self.mount.remount();
        self.server = start(&self.dir);
    }

    /// Waits for the deliveries, holds the Maildirs against the books, and empties them.
    fn check(&mut self, round: usize) {
        self.server.wait_for_empty_queue(DRAINED);
        let mut names = HashSet::new();
        for user in [LEFT, READ] {
            for folder in ["new", "cur"] {
                let entries = fs::read_dir(self.maildir(user).join(folder)).expect("a Maildir");
                for path in entries.map(|entry| entry.expect("a message").path()) {
                    let found = self.books.find(&path);
                    let name = found.unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
                    assert!(names.insert(name), "{}: it is there twice", path.display());
                    fs::remove_file(path).expect("it was there");
                }
            }
        }
        let missing = self.books.missing();
        let log = || self.server.log().join("\n");
        assert!(
            missing.is_empty(),
            "round {round}: {} lost: {missing:?}\n{}",
            missing.len(),
            log()
        );
    }
}

fn power_cuts(test: &str, kind: Kind) {
    let parent = TempDir::new();
    let mut world = match World::new(kind, parent.path().join("disk")) {
        Ok(world) => world,
        Err(why) => return skip(test, &why),
    };
    let rounds = ROUNDS * effort().min(10);
    let mut settled = true;
    for round in 0..rounds {
        // A message that is moved while it is delivered once more may be there twice, which is
        // no fault: so nobody reads before the deliveries of the round before are over.
        world.round(round, settled);
        // Now and then the power goes while these are going on.
        settled = round + 1 == rounds || !world.rng.one_in(3);
        if settled {
            world.check(round);
        }
    }
    eprintln!("{test}: {rounds} rounds, {:?}, none twice", world.books.sums());
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_xfs() {
    power_cuts("what_was_acknowledged_survives_power_cuts_on_xfs", Kind::Xfs);
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_ext4() {
    power_cuts("what_was_acknowledged_survives_power_cuts_on_ext4", Kind::Ext4);
}
