//! A disk in memory that keeps no more than it must, for tests.
//!
//! Every change is a *step*: a write, a sync, a name made, changed or taken away. A run can be
//! stopped after any step, can be made to fail at any, and the disk can be filled up. When the
//! power goes ([`FaultDisk::after_crash`]), each sector of 512 octets that was written since
//! the last sync of its file, and each name that was changed since the last sync of its
//! directory, is kept or lost as the caller chooses, independently of all others: more
//! disorder than any file system makes.
//!
//! A sync that is made to fail behaves as Linux does: what was written can still be read, but
//! later syncs do not make it durable, and whether it is there after a crash is open.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Entry, File};

const SECTOR: usize = 512;

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error. Half of a write is done.
    Io,
    /// The disk is full. Half of a write is done.
    NoSpace,
}

#[derive(Clone, Default)]
struct State {
    nodes: Vec<Node>,
    /// Names as they are seen.
    names: BTreeMap<PathBuf, Name>,
    /// Names as they are on the disk.
    durable: BTreeMap<PathBuf, Name>,
    steps: u64,
    /// The power goes after so many steps.
    stop: Option<u64>,
    faults: Vec<(Range<u64>, Fault)>,
    capacity: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Directory,
    /// A file, by its place among the nodes.
    File(usize),
}

/// What a file holds.
#[derive(Clone, Default)]
struct Node {
    /// As it is seen.
    seen: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// Sectors of which a failed sync has left open whether they are on the disk.
    open: BTreeMap<usize, Vec<u8>>,
}

impl FaultDisk {
    /// An empty disk with the directory `root`.
    pub fn new(root: &Path) -> Self {
        let mut state = State::default();
        for dir in root.ancestors() {
            state.names.insert(dir.to_owned(), Name::Directory);
        }
        state.durable = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Lets the power go after so many steps: everything after that is an error.
    pub fn stop_after(&self, steps: u64) {
        self.lock().stop = Some(steps);
    }

    /// Whether the power has gone.
    pub fn is_off(&self) -> bool {
        self.lock().is_off()
    }

    /// Makes the steps with these numbers fail, the first being zero.
    pub fn fail(&self, steps: Range<u64>, fault: Fault) {
        self.lock().faults.push((steps, fault));
    }

    /// Lets all steps from now on succeed.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Lets the files hold no more than so many octets together.
    pub fn set_capacity(&self, octets: u64) {
        self.lock().capacity = Some(octets);
    }

    /// How many decisions [`FaultDisk::after_crash`] would ask for.
    pub fn unsynced(&self) -> usize {
        let mut decisions = 0;
        self.after_crash(|| {
            decisions += 1;
            true
        });
        decisions
    }

    /// The disk as it is found when the power comes back. `keep` is asked about each sector
    /// and each name that was not synced. This disk stays as it is.
    pub fn after_crash(&self, mut keep: impl FnMut() -> bool) -> Self {
        let state = self.lock();
        let nodes = state.nodes.iter().map(|node| node.after_crash(&mut keep)).collect();
        let mut names = BTreeMap::new();
        let both: BTreeSet<&PathBuf> = state.names.keys().chain(state.durable.keys()).collect();
        for path in both {
            let (seen, durable) = (state.names.get(path), state.durable.get(path));
            let left = if seen == durable || keep() { seen } else { durable };
            // What is in a directory goes with it. Parents are sorted before their children.
            let parent = path.parent().is_none_or(|parent| names.contains_key(parent));
            if let Some(name) = left.filter(|_| parent) {
                names.insert(path.clone(), *name);
            }
        }
        let durable = names.clone();
        let capacity = state.capacity;
        let after = State { nodes, names, durable, capacity, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }

    /// The disk as the next process finds it when this one was killed: all that was written is
    /// there to be read, but no more of it is durable than before. This disk stays as it is.
    pub fn after_kill(&self) -> Self {
        let state = self.lock().clone();
        let after = State { steps: 0, stop: None, faults: Vec::new(), ..state };
        Self(Arc::new(Mutex::new(after)))
    }

    /// Flips a bit of what a file holds, as a device does that has gone bad.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.lock();
        let Some(Name::File(node)) = state.names.get(path).copied() else { return };
        let node = &mut state.nodes[node];
        for octets in [&mut node.seen, &mut node.durable] {
            if let Some(octet) = octets.get_mut(bit / 8) {
                *octet ^= 1 << (bit % 8);
            }
        }
    }

    /// A panic in one thread of a test says nothing about this state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn after_crash(&self, keep: &mut impl FnMut() -> bool) -> Self {
        let mut octets = self.durable.clone();
        for (sector, left) in &self.open {
            if keep() {
                put(&mut octets, *sector * SECTOR, left);
            }
        }
        for sector in &self.dirty {
            if keep() {
                put(&mut octets, *sector * SECTOR, sector_of(&self.seen, *sector));
            }
        }
        Self { seen: octets.clone(), durable: octets, ..Self::default() }
    }

    fn write(&mut self, octets: &[u8], offset: usize) {
        put(&mut self.seen, offset, octets);
        let sectors = offset / SECTOR..(offset + octets.len()).div_ceil(SECTOR);
        self.dirty.extend(sectors);
    }

    fn sync(&mut self, fails: bool) {
        for sector in std::mem::take(&mut self.dirty) {
            let octets = sector_of(&self.seen, sector);
            if fails {
                self.open.insert(sector, octets.to_vec());
            } else {
                self.open.remove(&sector);
                put(&mut self.durable, sector * SECTOR, octets);
            }
        }
    }
}

fn sector_of(octets: &[u8], sector: usize) -> &[u8] {
    let end = octets.len().min((sector + 1) * SECTOR);
    &octets[sector * SECTOR..end]
}

/// Writes over octets, which grow as needed.
fn put(into: &mut Vec<u8>, offset: usize, octets: &[u8]) {
    let end = offset + octets.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(octets);
}

impl State {
    fn is_off(&self) -> bool {
        self.stop.is_some_and(|stop| self.steps >= stop)
    }

    fn on(&self) -> io::Result<()> {
        if self.is_off() { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a step. The inner error is that of a step that fails.
    fn step(&mut self) -> io::Result<Result<(), ErrorKind>> {
        self.on()?;
        let step = self.steps;
        self.steps += 1;
        let fault = self.faults.iter().find(|(steps, _)| steps.contains(&step));
        Ok(match fault {
            None => Ok(()),
            // `EIO` has no kind of its own.
            Some((_, Fault::Io)) => Err(ErrorKind::Other),
            Some((_, Fault::NoSpace)) => Err(ErrorKind::StorageFull),
        })
    }

    fn space(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let file = |name: &Name| match name {
            Name::File(node) => Some(*node),
            Name::Directory => None,
        };
        let nodes: BTreeSet<usize> = self.names.values().filter_map(file).collect();
        let used = nodes.into_iter().map(|node| self.nodes[node].seen.len() as u64).sum();
        capacity.saturating_sub(used)
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Name::File(node)) => Ok(*node),
            Some(Name::Directory) => Err(named(path, ErrorKind::IsADirectory)),
            None => Err(named(path, ErrorKind::NotFound)),
        }
    }

    /// A name may be made here.
    fn vacant(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().and_then(|parent| self.names.get(parent));
        if parent != Some(&Name::Directory) {
            return Err(named(path, ErrorKind::NotFound));
        }
        if self.names.contains_key(path) {
            return Err(named(path, ErrorKind::AlreadyExists));
        }
        Ok(())
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Name::Directory) => Ok(()),
            Some(Name::File(_)) => Err(named(path, ErrorKind::NotADirectory)),
            None => Err(named(path, ErrorKind::NotFound)),
        }
    }
}

fn named(path: &Path, kind: ErrorKind) -> io::Error {
    io::Error::new(kind, format!("{}: {kind}", path.display()))
}

impl Disk for FaultDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(path, kind))?;
        state.vacant(path)?;
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.names.insert(path.to_owned(), Name::File(node));
        Ok(Box::new(Handle { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let state = self.lock();
        state.on()?;
        let node = state.file(path)?;
        Ok(Box::new(Handle { disk: self.clone(), node }))
    }

    fn reuse(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn mkdir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(path, kind))?;
        state.vacant(path)?;
        state.names.insert(path.to_owned(), Name::Directory);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(to, kind))?;
        let node = state.file(from)?;
        match state.vacant(to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                state.file(to)?;
            }
            other => other?,
        }
        state.names.remove(from);
        state.names.insert(to.to_owned(), Name::File(node));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(to, kind))?;
        let node = state.file(from)?;
        state.vacant(to)?;
        state.names.insert(to.to_owned(), Name::File(node));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(path, kind))?;
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.lock();
        state.on()?;
        state.directory(path)?;
        let within = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
        let entry = |(name, kind): (&PathBuf, &Name)| Entry {
            name: name.file_name().map_or_else(OsString::new, OsString::from),
            directory: *kind == Name::Directory,
        };
        Ok(within.map(entry).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?.map_err(|kind| named(path, kind))?;
        state.directory(path)?;
        let within = |name: &Path| name.parent() == Some(path);
        state.durable.retain(|name, _| !within(name));
        let State { names, durable, .. } = &mut *state;
        let seen = names.iter().filter(|(name, _)| within(name));
        durable.extend(seen.map(|(name, kind)| (name.clone(), *kind)));
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<u64> {
        let state = self.lock();
        state.on()?;
        state.directory(path)?;
        Ok(state.space())
    }
}

struct Handle {
    disk: FaultDisk,
    node: usize,
}

impl File for Handle {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fate = state.step()?;
        let offset = offset as usize;
        let end = state.nodes[self.node].seen.len();
        let most = end.saturating_sub(offset) as u64;
        let room = usize::try_from(most.saturating_add(state.space())).unwrap_or(usize::MAX);
        let (written, result) = match fate {
            Err(kind) => (octets.len() / 2, Err(kind.into())),
            Ok(()) if octets.len() > room => (room, Err(ErrorKind::StorageFull.into())),
            Ok(()) => (octets.len(), Ok(())),
        };
        state.nodes[self.node].write(&octets[..written], offset);
        result
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        state.on()?;
        let octets = &state.nodes[self.node].seen;
        let left = octets.get(offset as usize..).unwrap_or_default();
        let read = left.len().min(into.len());
        into[..read].copy_from_slice(&left[..read]);
        Ok(read)
    }

    fn start_write_back(&self) {}

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fate = state.step()?;
        state.nodes[self.node].sync(fate.is_err());
        Ok(fate?)
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        state.on()?;
        Ok(state.nodes[self.node].seen.len() as u64)
    }

    fn links(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        state.on()?;
        let names = state.names.values().filter(|name| **name == Name::File(self.node));
        Ok(names.count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new("/q").join(name)
    }

    fn disk() -> FaultDisk {
        FaultDisk::new(Path::new("/q"))
    }

    fn read(disk: &FaultDisk, name: &str) -> io::Result<Vec<u8>> {
        let file = disk.open(&path(name))?;
        let mut octets = vec![0; file.size()? as usize];
        file.read_at(&mut octets, 0)?;
        Ok(octets)
    }

    #[test]
    fn only_what_was_synced_is_sure_to_stay() {
        let disk = disk();
        let file = disk.create(&path("a")).unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        assert_eq!(disk.unsynced(), 3, "two sectors and a name");
        assert_eq!(read(&disk.after_crash(|| false), "a").unwrap_err().kind(), ErrorKind::NotFound);
        disk.sync_dir(&path("")).unwrap();
        assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), []);
        file.sync_data().unwrap();
        assert_eq!(disk.unsynced(), 0);
        assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), [1; 1024]);
    }

    #[test]
    fn sectors_are_lost_one_by_one() {
        let disk = disk();
        let file = disk.create(&path("a")).unwrap();
        disk.sync_dir(&path("")).unwrap();
        file.write_at(&[1; 1000], 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(&[2; 1024], 256).unwrap();
        let mut keep = [false, true, false].into_iter();
        let after = disk.after_crash(|| keep.next().unwrap());
        let found = read(&after, "a").unwrap();
        assert_eq!((found.len(), found[511], found[512], found[1023]), (1024, 1, 2, 2));
    }

    #[test]
    fn names_are_lost_one_by_one() {
        let disk = disk();
        disk.create(&path("a")).unwrap();
        disk.sync_dir(&path("")).unwrap();
        disk.rename(&path("a"), &path("b")).unwrap();
        let names = |keep: [bool; 2]| {
            let mut keep = keep.into_iter();
            let after = disk.after_crash(|| keep.next().unwrap());
            after.list(&path("")).unwrap().len()
        };
        let all = [[true, true], [true, false], [false, true], [false, false]];
        assert_eq!(all.map(names), [1, 0, 2, 1]);
    }

    #[test]
    fn a_lost_directory_takes_its_files_along() {
        let disk = disk();
        disk.mkdir(&path("d")).unwrap();
        disk.create(&path("d/a")).unwrap();
        disk.sync_dir(&path("d")).unwrap();
        let after = disk.after_crash(|| false);
        assert!(read(&after, "d/a").is_err() && after.list(&path("d")).is_err());
    }

    #[test]
    fn a_failed_sync_leaves_open_what_is_there_for_good() {
        let disk = disk();
        let file = disk.create(&path("a")).unwrap();
        disk.sync_dir(&path("")).unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.fail(3..4, Fault::Io);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(read(&disk, "a").unwrap(), b"x", "as if nothing had happened");
        assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), b"");
        assert_eq!(read(&disk.after_crash(|| true), "a").unwrap(), b"x");
        file.write_at(b"y", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), b"y", "written again");
    }

    #[test]
    fn it_stops_fails_and_fills_up() {
        let disk = disk();
        disk.set_capacity(100);
        let file = disk.create(&path("a")).unwrap();
        let full = file.write_at(&[1; 150], 0).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!((file.size().unwrap(), disk.space(&path("")).unwrap()), (100, 0));
        file.write_at(&[2; 100], 0).unwrap();
        disk.fail(3..4, Fault::NoSpace);
        assert_eq!(disk.mkdir(&path("d")).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.stop_after(5);
        disk.unlink(&path("a")).unwrap();
        assert!(disk.is_off());
        assert!(disk.mkdir(&path("d")).is_err() && file.read_at(&mut [0], 0).is_err());
    }
}
