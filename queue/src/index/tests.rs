//! The index, and what it makes of a directory that is not what it was.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use super::opening::within;
use super::renewal::LOOK;
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
    index.renewal.allowed = 1 << 20;
    let entry = |n: u64| (n % 2000).to_be_bytes().to_vec();
    let mut next = 0;
    while index.number < 3 {
        assert!(next < 2_000_000, "it grows");
        let changes = next..next + 100;
        let changes = changes.map(|n| (entry(n), (n % 7 > 0).then(|| n.to_be_bytes().to_vec())));
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
fn a_copy_that_is_not_finished_at_the_end_is_left_out() {
    let dir = Dir::new("unfinished");
    let (mut index, _) = dir.open(SEAL);
    index.renewal.allowed = 0;
    let entry = |n: u64| (n.to_be_bytes().to_vec(), Some(vec![b'v'; 50]));
    index.apply((0..LOOK as u64).map(entry).collect()).unwrap();
    for n in 0..100 {
        index.apply(vec![entry(n)]).unwrap();
    }
    assert!(dir.0.join("1").is_dir() && index.number == 0, "it is being copied");
    Box::new(index).close(SEAL).unwrap();
    let (index, why) = dir.open(SEAL);
    assert_eq!((why, index.number), (None, 0));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
}

#[test]
fn one_that_cannot_be_copied_goes_on() {
    let dir = Dir::new("stuck");
    let (mut index, _) = dir.open(SEAL);
    index.renewal.allowed = 0;
    fs::write(dir.0.join("1"), b"in the way").unwrap();
    index.dir = dir.0.join("1");
    let changes = (0..LOOK as u64).map(|n| (n.to_be_bytes().to_vec(), Some(vec![])));
    index.apply(changes.collect()).unwrap();
    assert!(index.renewal.stuck);
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
