//! The waiting room on disk: sled 0.34, used as an index that may be deleted at any time.
//!
//! sled is not the truth and is not trusted to become it. Its `flush` survives a crash of the
//! process but not the loss of power, and a damaged directory may make it return an error,
//! panic or think for ever. So:
//!
//! * an index is used again only after an orderly end, and only when it reflects exactly the
//!   journal that is there ([`open`]); everything else leads to a new, empty one, which is
//!   filled from the journal;
//! * it is opened on a thread of its own, with a time limit, and every call of it runs under
//!   `catch_unwind`: whatever it does becomes an [`io::Error`], upon which the store goes on
//!   in memory until the next start;
//! * every new index has a directory of its own, `index/N`, so that one that hangs in the old
//!   directory can do no harm to it.
//!
//! Its files grow as entries change, and never shrink by themselves. What it holds is small, so
//! when they have grown past a bound it is copied into a new directory, between two changes.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::ordered::{Changes, Ordered, Seal};

/// Octets of memory for pages. Each turn of the store touches few of them.
const CACHE: u64 = 16 << 20;

/// Where the mark of an orderly end stands: behind all keys of the waiting room.
const CLOSED: &[u8] = b"~closed";

/// Octets on disk that are never too many.
const ALLOWED: u64 = 32 << 20;
/// And so many times the octets that it holds.
const ALLOWED_TIMES: u64 = 4;
/// Changes between two looks at the size.
const LOOK: usize = 10_000;
/// Entries copied in one batch.
const TOGETHER: usize = 256;

/// An index that is open.
#[derive(Debug)]
pub struct Index {
    db: sled::Db,
    /// The directory with those of all indices.
    dir: PathBuf,
    /// Which of them is this one's.
    number: u64,
    /// How long opening a new one may take.
    limit: Duration,
    /// Octets of keys and values.
    held: u64,
    /// Changes since its size was looked at.
    changes: usize,
    /// Octets on disk that are never too many.
    allowed: u64,
    /// It could not be copied, and somebody has been told.
    stuck: bool,
}

/// How an index was found.
#[derive(Debug)]
pub enum Opened {
    /// As it was left at the end of the last process; nothing has changed since.
    Trusted(Index),
    /// Empty, for this reason.
    Fresh(Index, String),
}

/// Opens the index below `dir`, or makes a new one. Waits up to `limit` for each of the two;
/// an error means that there can be none now.
pub fn open(dir: &Path, seal: Seal, limit: Duration) -> io::Result<Opened> {
    make(dir)?;
    let numbers = numbers(dir)?;
    let last = numbers.iter().max().copied();
    let reason = match last {
        None => "there is none".to_owned(),
        Some(number) => match Index::open(dir, number, limit) {
            Ok(mut index) => match index.unseal(seal) {
                Ok(true) => {
                    remove(dir, numbers.into_iter().filter(|one| *one != number));
                    return Ok(Opened::Trusted(index));
                }
                Ok(false) => "it was not closed, or not with this journal".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
    };
    Ok(Opened::Fresh(renew(dir, limit)?, reason))
}

/// Makes a new index, empty, below `dir`, which has others: they are removed.
pub fn renew(dir: &Path, limit: Duration) -> io::Result<Index> {
    make(dir)?;
    let numbers = numbers(dir)?;
    let number = numbers.iter().max().map_or(0, |number| number + 1);
    let index = Index::open(dir, number, limit)?;
    remove(dir, numbers);
    Ok(index)
}

impl Index {
    fn open(dir: &Path, number: u64, limit: Duration) -> io::Result<Self> {
        let db = open_within(dir.join(number.to_string()), limit)?;
        let dir = dir.to_owned();
        let (held, changes, allowed, stuck) = (0, 0, ALLOWED, false);
        Ok(Self { db, dir, number, limit, held, changes, allowed, stuck })
    }

    /// Whether it was closed with this seal. From now on it is open: should the process end
    /// without closing it, it will not be trusted.
    fn unseal(&mut self, seal: Seal) -> io::Result<bool> {
        guarded(|| {
            let found = self.db.remove(CLOSED)?;
            self.db.flush()?;
            let trusted = found.is_some_and(|found| *found == *seal.encode());
            if trusted {
                for entry in self.db.iter() {
                    let (key, value) = entry?;
                    self.held += octets(&key, &value);
                }
            }
            Ok(trusted)
        })
    }

    /// Makes it small again when it has grown too much. When that cannot be, as on a full disk,
    /// it goes on as it is.
    fn tend(&mut self) {
        let size = guarded(|| self.db.size_on_disk());
        let bound = self.allowed + ALLOWED_TIMES * self.held;
        let Some(size) = size.ok().filter(|size| *size > bound) else { return };
        match self.renew() {
            Ok(()) => {
                let (size, held) = (size >> 20, self.held >> 20);
                log::info!("info: queue: index: {size} MiB for {held}: copied into a new one");
                self.stuck = false;
            }
            Err(error) if !std::mem::replace(&mut self.stuck, true) => {
                log::warn!("warn: queue: index: {} MiB, and not copied: {error}", size >> 20);
            }
            Err(_) => {}
        }
    }

    /// Copies everything into a new directory, and goes on there.
    fn renew(&mut self) -> io::Result<()> {
        let new = Self::open(&self.dir, self.number + 1, self.limit);
        let new = new.and_then(|new| {
            guarded(|| {
                let mut entries = self.db.iter();
                loop {
                    let mut batch = sled::Batch::default();
                    let mut many = 0;
                    for entry in entries.by_ref().take(TOGETHER) {
                        let (key, value) = entry?;
                        batch.insert(key, value);
                        many += 1;
                    }
                    new.db.apply_batch(batch)?;
                    if many < TOGETHER {
                        break;
                    }
                }
                // An error of the disk is seen here at the latest.
                new.db.flush()?;
                Ok(())
            })?;
            Ok(new)
        });
        match new {
            Ok(new) => {
                (self.db, self.number) = (new.db, new.number);
                remove(&self.dir, [self.number - 1]);
                Ok(())
            }
            Err(error) => {
                remove(&self.dir, [self.number + 1]);
                Err(error)
            }
        }
    }
}

impl Ordered for Index {
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        guarded(|| {
            let last = self.db.range(..=key).next_back().transpose()?;
            Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
        })
    }

    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        guarded(|| {
            for entry in self.db.range(from..to) {
                let (key, value) = entry?;
                if !each(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn apply(&mut self, changes: Changes) -> io::Result<()> {
        self.changes += changes.len();
        guarded(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                let old = self.db.get(&key)?;
                let old = old.map_or(0, |old| octets(&key, &old));
                self.held = self.held.saturating_sub(old);
                match value {
                    Some(value) => {
                        self.held += octets(&key, &value);
                        batch.insert(key, value);
                    }
                    None => batch.remove(key),
                }
            }
            self.db.apply_batch(batch)
        })?;
        if self.changes >= LOOK {
            self.changes = 0;
            self.tend();
        }
        Ok(())
    }

    fn close(self: Box<Self>, seal: Seal) -> io::Result<()> {
        guarded(|| {
            self.db.insert(CLOSED, seal.encode())?;
            self.db.flush()?;
            drop(self.db);
            Ok(())
        })
    }
}

fn octets(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// A panic of sled leaves its own state broken, not ours; it is not used again afterwards.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| io::Error::other(format!("index: {error}"))),
        Err(_) => Err(io::Error::other("index: it panicked")),
    }
}

/// Opens sled, unless it takes longer than `limit`.
fn open_within(path: PathBuf, limit: Duration) -> io::Result<sled::Db> {
    within(limit, move || {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        config.open()
    })
}

/// Makes a call on a thread that is left behind when it hangs.
fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> sled::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // Nobody listens any more when it took too long.
    let run = move || drop(sender.send(guarded(call)));
    thread::Builder::new().name("index-open".into()).spawn(run)?;
    let late = |_| io::Error::new(ErrorKind::TimedOut, "index: it does not open");
    receiver.recv_timeout(limit).map_err(late)?
}

/// Makes the directory, for us alone, also where something else has its name.
fn make(dir: &Path) -> io::Result<()> {
    if fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(dir)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The numbers of the directories below `dir`.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// What cannot be removed now is removed by the next start.
fn remove(dir: &Path, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let path = dir.join(number.to_string());
        let removed = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        if let Err(error) = removed {
            log::warn!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::waiting::tests::conforms;

    const SEAL: Seal = Seal { sequence: 77, lanes: 5 };
    const LIMIT: Duration = Duration::from_secs(20);

    /// A directory that is removed at the end of its test.
    pub(crate) struct Dir(pub(crate) PathBuf);

    impl Dir {
        pub(crate) fn new(name: &str) -> Self {
            let path = format!("smtpd-index-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(path))
        }

        /// Opens the index; why it is fresh.
        fn open(&self, seal: Seal) -> (Index, Option<String>) {
            self.wait_for_locks();
            match open(&self.0, seal, LIMIT).unwrap() {
                Opened::Trusted(index) => (index, None),
                Opened::Fresh(index, why) => (index, Some(why)),
            }
        }

        /// Sled keeps its lock until a thread of its own comes to an end, which need not be
        /// when the index is dropped. To another process, it is gone with this one.
        pub(crate) fn wait_for_locks(&self) {
            use rustix::fs::{FlockOperation::NonBlockingLockExclusive as LOCK, flock};
            for path in self.files().iter().filter(|path| path.ends_with("db")) {
                let file = fs::File::open(path).unwrap();
                while flock(&file, LOCK).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }

        /// An index that was closed in order, with something in it.
        fn closed(name: &str) -> Self {
            let dir = Self::new(name);
            let (mut index, why) = dir.open(SEAL);
            assert_eq!(why.unwrap(), "there is none");
            let entry = |n: u32| (format!("e{n}").into_bytes(), Some(vec![b'v'; 20]));
            index.apply((0..5000).map(entry).collect()).unwrap();
            Box::new(index).close(SEAL).unwrap();
            dir
        }

        /// All files in it.
        pub(crate) fn files(&self) -> Vec<PathBuf> {
            fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
                for entry in fs::read_dir(dir).into_iter().flatten() {
                    let path = entry.unwrap().path();
                    if path.is_dir() { walk(&path, files) } else { files.push(path) }
                }
            }
            let mut files = Vec::new();
            walk(&self.0, &mut files);
            files
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
            let _ = fs::remove_file(&self.0);
        }
    }

    fn is_empty(index: &Index) -> bool {
        let mut empty = true;
        let mut each = |_: &[u8], _: &[u8]| {
            empty = false;
            false
        };
        index.walk(b"", b"zz", &mut each).unwrap();
        empty
    }

    #[test]
    fn on_disk_it_does_what_it_should() {
        let dir = Dir::new("conforms");
        conforms(dir.open(SEAL).0, 600);
    }

    #[test]
    fn only_an_orderly_end_with_this_journal_is_trusted_and_only_once() {
        let dir = Dir::closed("trust");
        let (index, why) = dir.open(SEAL);
        assert_eq!(why, None);
        assert_eq!(index.floor(b"e4711+").unwrap(), Some((b"e4711".to_vec(), vec![b'v'; 20])));
        drop(index);
        let (index, why) = dir.open(SEAL);
        assert!(why.is_some() && is_empty(&index), "the process had ended without closing it");
        Box::new(index).close(SEAL).unwrap();
        let other = Seal { sequence: 78, ..SEAL };
        assert!(dir.open(other).1.is_some(), "the journal has gone on");
        let dir = Dir::closed("lanes");
        assert!(dir.open(Seal { lanes: 6, ..SEAL }).1.is_some(), "other lanes");
    }

    #[test]
    fn an_older_copy_is_not_trusted() {
        let dir = Dir::closed("older");
        let copy: Vec<_> =
            dir.files().into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        let (index, _) = dir.open(SEAL);
        Box::new(index).close(Seal { sequence: 99, ..SEAL }).unwrap();
        copy.iter().for_each(|(octets, path)| fs::write(path, octets).unwrap());
        let (index, why) = dir.open(Seal { sequence: 99, ..SEAL });
        assert!(why.is_some() && is_empty(&index));
    }

    #[test]
    fn a_directory_that_is_gone_or_a_file_gives_a_new_index() {
        let dir = Dir::closed("gone");
        fs::remove_dir_all(&dir.0).unwrap();
        assert!(is_empty(&dir.open(SEAL).0));
        fs::remove_dir_all(&dir.0).unwrap();
        fs::write(&dir.0, b"no directory").unwrap();
        assert!(is_empty(&dir.open(SEAL).0));
    }

    /// Files cut short, emptied, or with noise in them: a usable index comes of it, which is
    /// the old one only when nothing of it was harmed. Sled may panic on threads of its own
    /// meanwhile, so the output of this test can look alarming.
    #[test]
    fn noise_gives_a_new_index() {
        let mut seed = 9_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for round in 0..24 {
            let dir = Dir::closed(&format!("noise-{round}"));
            for path in dir.files() {
                let mut octets = fs::read(&path).unwrap();
                match round % 4 {
                    0 => octets.truncate(random(octets.len() + 1)),
                    1 => octets.fill_with(|| random(256) as u8),
                    2 => octets.clear(),
                    _ => {
                        let many = octets.len() / 16;
                        let at = random(octets.len().max(1));
                        octets.iter_mut().skip(at).take(many).for_each(|o| *o = random(256) as u8);
                    }
                }
                fs::write(&path, octets).unwrap();
            }
            let (mut index, _) = dir.open(SEAL);
            index.apply(vec![(b"e1".to_vec(), Some(b"new".to_vec()))]).unwrap();
            assert_eq!(index.floor(b"e1").unwrap().unwrap().1, b"new");
            Box::new(index).close(SEAL).unwrap();
            assert_eq!(dir.open(SEAL).1, None, "round {round}");
        }
    }

    #[test]
    fn one_that_has_grown_is_copied_and_holds_the_same() {
        let dir = Dir::new("grown");
        let (mut index, _) = dir.open(SEAL);
        index.allowed = 1 << 20;
        let entry = |n: u64| (n % 2000).to_be_bytes().to_vec();
        let mut next = 0;
        while index.number < 3 {
            assert!(next < 2_000_000, "it grows");
            let changes = next..next + 100;
            let changes =
                changes.map(|n| (entry(n), (n % 7 > 0).then(|| n.to_be_bytes().to_vec())));
            index.apply(changes.collect()).unwrap();
            next += 100;
        }
        let all = (next - 2000..next).filter(|n| n % 7 > 0);
        let mut all: Vec<_> = all.map(|n| (entry(n), n.to_be_bytes().to_vec())).collect();
        all.sort();
        assert_eq!(index.held, 16 * all.len() as u64);
        Box::new(index).close(SEAL).unwrap();
        let (index, why) = dir.open(SEAL);
        assert_eq!((why, index.held), (None, 16 * all.len() as u64));
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            true
        };
        index.walk(b"", b"~", &mut each).unwrap();
        assert!(found == all);
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn one_that_cannot_be_copied_goes_on() {
        let dir = Dir::new("stuck");
        let (mut index, _) = dir.open(SEAL);
        index.allowed = 0;
        fs::write(dir.0.join("1"), b"in the way").unwrap();
        index.dir = dir.0.join("1");
        let changes = (0..LOOK as u64).map(|n| (n.to_be_bytes().to_vec(), Some(vec![])));
        index.apply(changes.collect()).unwrap();
        assert!(index.stuck);
        let last = (LOOK as u64 - 1).to_be_bytes().to_vec();
        assert_eq!(index.floor(b"x").unwrap(), Some((last, vec![])));
    }

    #[test]
    fn one_that_hangs_is_left_behind() {
        let (end, hang) = mpsc::channel::<()>();
        let error = within(Duration::from_millis(20), move || Ok(hang.recv().is_ok()));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(end);
    }

    #[test]
    fn one_that_panics_is_an_error() {
        let error = within(LIMIT, || -> sled::Result<()> { panic!("a panic of this test") });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Other);
    }
}
