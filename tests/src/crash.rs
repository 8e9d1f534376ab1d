//! The real daemon under load, ended in the middle of it, and started again on what is left: by
//! SIGKILL, or by the power of the file system that queue and Maildirs lie on. What was told to
//! everybody is held against the Maildirs:
//!
//! * what was answered with 250 is there in the end, whole and under one name;
//! * what was refused is not there;
//! * what a reader has taken away comes a second time only if its outcome was not on disk: before
//!   the next start, the journal said that it was still to be delivered. These are counted.
//!
//! `tests/power_loss` and `tests/programs` do a few rounds, the program `crash-test` a hundred.

use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use smtpd_queue::codec::Keys;
use smtpd_queue::disk::RealDisk;
use smtpd_queue::reader::Reader;

use crate::load::{self, Books, Letter, Sums};
use crate::mount::{Kind, Mount};
use crate::program::{Options, Server, messages};
use crate::rng::Rng;

/// Sessions at once, to both users in turn.
const SENDERS: usize = 6;

/// The least that mkfs.xfs takes; the image is sparse.
const IMAGE: u64 = 300 << 20;

/// Whose mail nobody looks at, and whose mail is taken away while more comes.
const LEFT: &str = "left";
const READ: &str = "read";

/// How long a round may take until it has its messages, and a queue of a round until it is empty,
/// on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// How the daemon is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL; what was written can be read by the next one.
    Kill,
    /// Its file system is shut down first; what was not synced is gone.
    Power(Kind),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How often the daemon was ended.
    pub rounds: usize,
    /// Envelopes that were still in the queue then, in all.
    pub queued: usize,
    /// Of those, the ones that were in a Maildir: in flight, or with an outcome not on disk.
    pub unsettled: usize,
    /// Messages that a reader saw twice; each is one of `unsettled`.
    pub twice: usize,
    /// The most of both in one round.
    pub most: (usize, usize),
}

/// A daemon, its disk, and what everybody was told.
pub struct World {
    server: Server,
    mount: Option<Mount>,
    dir: PathBuf,
    programs: Option<PathBuf>,
    books: Books,
    rng: Rng,
    /// Envelopes that were delivered before some end since the last check, and were in the queue
    /// nevertheless.
    unsettled: HashSet<String>,
    tally: Tally,
}

/// What a reader has done in one round: envelopes it took away for good, and those that had been
/// taken away before.
#[derive(Default)]
struct Taken {
    away: HashSet<String>,
    again: Vec<String>,
}

impl World {
    /// A daemon in `dir`, on a new file system where that is to be cut off. `programs` is the
    /// folder of smtpd and smtpctl; those that cargo builds when none.
    ///
    /// # Errors
    /// Why this cannot be done here: a reason to skip the test.
    pub fn new(
        end: End,
        dir: PathBuf,
        programs: Option<PathBuf>,
        seed: u64,
    ) -> Result<World, String> {
        let mount = match end {
            End::Kill => None,
            End::Power(kind) => {
                let mut mount = Mount::new(kind, IMAGE, &dir)?;
                mount.cut_power()?;
                mount.remount();
                Some(mount)
            }
        };
        let server = start(&dir, programs.as_ref());
        let (books, rng) = (Books::default(), Rng::new(seed));
        let (unsettled, tally) = (HashSet::new(), Tally::default());
        Ok(World { server, mount, dir, programs, books, rng, unsettled, tally })
    }

    /// How many messages were sent, and what they heard.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.books.sums()
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Load until about so many messages were acknowledged; the end of the daemon in the middle
    /// of it; a start on what is left.
    pub fn round(&mut self, messages: usize) {
        let round = self.tally.rounds;
        let wanted = self.sums().accepted + messages / 2 + self.rng.below(messages.max(1));
        // A moment more: not always just behind an answer.
        let more = Duration::from_micros(self.rng.below(30_000) as u64);
        let darkness = Duration::from_millis(self.rng.below(150) as u64);
        let seeds: Vec<u64> = (0..=SENDERS).map(|_| self.rng.next_u64()).collect();
        let (server, books, mount) = (&self.server, &self.books, &self.mount);
        let maildir = self.maildir(READ);
        let over = AtomicBool::new(false);
        let taken = thread::scope(|scope| {
            for (sender, seed) in seeds[1..].iter().enumerate() {
                let to = [LEFT, READ][sender % 2];
                let name = format!("{round}.{sender}");
                scope.spawn(move || send(server, books, &name, to, Rng::new(*seed)));
            }
            let reader = scope.spawn(|| read(&maildir, books, &over, Rng::new(seeds[0])));
            let begun = Instant::now();
            while books.sums().accepted < wanted && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(10));
            }
            thread::sleep(more);
            if let Some(mount) = mount {
                // The reader trusts no sync from here on: without power, xfs says of a directory
                // that it is synced when nothing of it is left to be written.
                over.store(true, Ordering::SeqCst);
                mount.cut_power().expect("it was tried before");
                // The daemon lives on for a moment, and must promise nothing more.
                thread::sleep(darkness);
            }
            server.signal("KILL");
            over.store(true, Ordering::SeqCst);
            reader.join().expect("the reader")
        });
        let _ = self.server.wait();
        let accepted = self.sums().accepted;
        assert!(accepted >= wanted, "round {round}: {accepted} of {wanted} messages: no load");
        if let Some(mount) = &mut self.mount {
            mount.remount();
        }
        self.explain(&taken.again);
        self.look_at_the_queue(&taken.away);
        self.tally.rounds += 1;
        self.server = start(&self.dir, self.programs.as_ref());
    }

    /// Waits for the deliveries, holds the Maildirs against the books, and empties them.
    pub fn check(&mut self) {
        let round = self.tally.rounds;
        self.server.wait_for_empty_queue(PATIENCE);
        let mut again = Vec::new();
        for user in [LEFT, READ] {
            let mut names = HashSet::new();
            for folder in ["new", "cur"] {
                for path in files(&self.maildir(user).join(folder)) {
                    let name = self.books.find(&path);
                    let name = name.unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
                    if self.books.take_back(&name) || !names.insert(name) {
                        again.push(envelope(&path));
                    }
                    fs::remove_file(path).expect("it was there");
                }
            }
        }
        self.explain(&again);
        self.unsettled.clear();
        let missing = self.books.missing();
        let log = || self.server.log().join("\n");
        let lost = missing.len();
        assert!(missing.is_empty(), "round {round}: {lost} lost: {missing:?}\n{}", log());
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.dir.join("mail").join(user)
    }

    /// Whatever was seen twice had been delivered before some end with no outcome on disk.
    fn explain(&mut self, again: &[String]) {
        for id in again {
            assert!(self.unsettled.contains(id), "{id}: delivered, recorded, and delivered again");
        }
        self.tally.twice += again.len();
        self.tally.most.1 = self.tally.most.1.max(again.len());
    }

    /// Notes which envelopes the journal still has although their Maildirs have them, or had.
    fn look_at_the_queue(&mut self, away: &HashSet<String>) {
        let spool = self.dir.join("spool");
        let opened = Reader::offline(Arc::new(RealDisk), &spool, &Keys::default());
        let (reader, recovered) = opened.expect("a queue that can be read");
        let mut there = HashSet::new();
        for user in [LEFT, READ] {
            for folder in ["new", "cur"] {
                let paths = files(&self.maildir(user).join(folder));
                there.extend(paths.iter().map(|path| envelope(path)));
            }
        }
        let mut unsettled = 0;
        for id in recovered.live {
            let found = reader.message(id).expect("it can be read").expect("it is live");
            for envelope in &found.message.envelopes {
                let id = envelope.id.to_string();
                self.tally.queued += 1;
                if there.contains(&id) || away.contains(&id) || self.unsettled.contains(&id) {
                    self.unsettled.insert(id);
                    unsettled += 1;
                }
            }
        }
        self.tally.unsettled += unsettled;
        self.tally.most.0 = self.tally.most.0.max(unsettled);
    }
}

fn start(dir: &Path, programs: Option<&PathBuf>) -> Server {
    let (dir, programs) = (Some(dir.to_owned()), programs.cloned());
    Server::start(Options { dir, programs, ..Options::default() })
}

/// Sends letters until nobody listens any more.
fn send(server: &Server, books: &Books, name: &str, to: &str, mut rng: Rng) {
    let mut count = 0;
    let next = || {
        count += 1;
        let lines = match rng.below(64) {
            // In a file of its own.
            0 => 5000 + rng.below(5000),
            // Enough of these to fill a segment of the journal now and then.
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

/// What mail readers do: they take what is in `new/`, which they know to be whole, and move it or
/// remove it. Errors are no concern of theirs: the power may be off.
fn read(maildir: &Path, books: &Books, over: &AtomicBool, mut rng: Rng) -> Taken {
    let mut taken = Taken::default();
    while !over.load(Ordering::SeqCst) {
        let mut removed = Vec::new();
        for path in messages(maildir) {
            if rng.one_in(2) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let _ = fs::rename(path, maildir.join("cur").join(name + ":2,S"));
            } else if let Ok(name) = books.find(&path) {
                if books.take_back(&name) {
                    taken.again.push(envelope(&path));
                }
                if fs::remove_file(&path).is_ok() {
                    removed.push((name, envelope(&path)));
                }
            }
        }
        // Until then it may be there again after a power cut, and was delivered once.
        let synced = File::open(maildir.join("new")).is_ok_and(|new| new.sync_all().is_ok());
        if synced && !over.load(Ordering::SeqCst) {
            for (name, envelope) in removed {
                books.take(&name);
                taken.away.insert(envelope);
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    taken
}

/// The files of a folder; none when it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("a message").path()).collect()
}

/// The envelope in the name of a file of a Maildir.
fn envelope(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').nth(1).unwrap_or_default().to_owned()
}
