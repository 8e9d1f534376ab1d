//! Opening an index, and whether it can be trusted.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::renewal::Renewal;
use super::{CLOSED, Index, guarded, octets};
use crate::ordered::Seal;

/// Octets of memory for pages. New envelopes touch pages all over the index, as ids are spread, and
/// reading one back costs more than all else: this is room for those of a million.
const CACHE: u64 = 64 << 20;

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
        let db = open_db(dir, number, limit)?;
        let renewal = Renewal::default();
        Ok(Self { db, dir: dir.to_owned(), number, limit, held: 0, renewal })
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
}

/// Opens sled in the directory of this number, unless it takes longer than `limit`.
pub(super) fn open_db(dir: &Path, number: u64, limit: Duration) -> io::Result<sled::Db> {
    let path = dir.join(number.to_string());
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
pub(super) fn within<T: Send + 'static>(
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
pub(super) fn remove(dir: &Path, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let path = dir.join(number.to_string());
        let removed = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        if let Err(error) = removed {
            log::warn!("{}: {error}", path.display());
        }
    }
}
