//! A disk in memory that keeps no more than it must, for tests.
//!
//! Every change is a *step*: a write, a sync, a name made, changed or taken away. A run can be
//! stopped after any step, can be made to fail at any, and the disk can be filled up. When the
//! power goes ([`FaultDisk::after_crash`]), each sector of 512 octets that was written since
//! the last sync of its file, and each name that was changed since the last sync of its
//! directory, is kept or lost as the caller chooses, independently of all others: more
//! disorder than any file system makes. A sector may also be torn ([`Left::Torn`]).
//!
//! A sync that is made to fail behaves as Linux does: what was written can still be read, but
//! later syncs do not make it durable, and whether it is there after a crash is open. The system
//! may forget it at any time ([`FaultDisk::evict`]).
//!
//! A device that goes bad flips bits ([`FaultDisk::flip`]) and cannot read sectors
//! ([`FaultDisk::spoil`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Entry, File};
use node::Node;

mod node;
#[cfg(test)]
mod tests;

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

/// Which steps may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every kind.
    Any,
    /// Octets written to a file.
    Write,
    /// A sync of a file's octets.
    Sync,
    /// Names made, changed, taken away, or synced.
    Name,
}

/// What is left of something unsynced when the power comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is as it was before.
    Lost,
    /// It is there.
    Kept,
    /// So many octets of a sector are there, and behind them what was there before. A name is
    /// there.
    Torn(usize),
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
    faults: Vec<(Range<u64>, Step, Fault)>,
    capacity: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Directory,
    /// A file, by its place among the nodes.
    File(usize),
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
        self.fail_some(steps, Step::Any, fault);
    }

    /// Makes those of these steps fail that are of one kind.
    pub fn fail_some(&self, steps: Range<u64>, which: Step, fault: Fault) {
        self.lock().faults.push((steps, which, fault));
    }

    /// Lets all steps from now on succeed.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Lets the files hold no more than so many octets together.
    pub fn set_capacity(&self, octets: u64) {
        self.lock().capacity = Some(octets);
    }

    /// Octets of the files in a directory.
    pub fn octets(&self, path: &Path) -> u64 {
        let state = self.lock();
        let within = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
        let sizes = within.filter_map(|(_, name)| match name {
            Name::File(node) => Some(state.nodes[*node].seen.len() as u64),
            Name::Directory => None,
        });
        sizes.sum()
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
        self.after_torn_crash(|| if keep() { Left::Kept } else { Left::Lost })
    }

    /// Likewise where sectors may be torn.
    pub fn after_torn_crash(&self, mut left: impl FnMut() -> Left) -> Self {
        let state = self.lock();
        let nodes = state.nodes.iter().map(|node| node.after_crash(&mut left)).collect();
        let mut keep = || left() != Left::Lost;
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

    /// Lets the system forget what failed syncs have left open, where `dropped` says so: from now
    /// on what is on the disk is seen there.
    pub fn evict(&self, mut dropped: impl FnMut() -> bool) {
        self.lock().nodes.iter_mut().for_each(|node| node.evict(&mut dropped));
    }

    /// Flips a bit of what a file holds, as a device does that has gone bad.
    pub fn flip(&self, path: &Path, bit: usize) {
        self.change(path, |node| node.flip(bit));
    }

    /// Makes the sector of a file that holds this octet unreadable, until it is written as a whole.
    pub fn spoil(&self, path: &Path, offset: usize) {
        self.change(path, |node| node.spoil(offset));
    }

    fn change(&self, path: &Path, change: impl FnOnce(&mut Node)) {
        let mut state = self.lock();
        if let Some(Name::File(node)) = state.names.get(path).copied() {
            change(&mut state.nodes[node]);
        }
    }

    /// A panic in one thread of a test says nothing about this state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_off(&self) -> bool {
        self.stop.is_some_and(|stop| self.steps >= stop)
    }

    fn on(&self) -> io::Result<()> {
        if self.is_off() { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts a step. The inner error is that of a step that fails.
    fn step(&mut self, which: Step) -> io::Result<Result<(), ErrorKind>> {
        self.on()?;
        let step = self.steps;
        self.steps += 1;
        let fault = self.faults.iter().find(|(steps, failing, _)| {
            steps.contains(&step) && (*failing == which || *failing == Step::Any)
        });
        Ok(match fault {
            None => Ok(()),
            // `EIO` has no kind of its own.
            Some((.., Fault::Io)) => Err(ErrorKind::Other),
            Some((.., Fault::NoSpace)) => Err(ErrorKind::StorageFull),
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
        state.step(Step::Name)?.map_err(|kind| named(path, kind))?;
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
        state.step(Step::Name)?.map_err(|kind| named(path, kind))?;
        state.vacant(path)?;
        state.names.insert(path.to_owned(), Name::Directory);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Step::Name)?.map_err(|kind| named(to, kind))?;
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
        state.step(Step::Name)?.map_err(|kind| named(to, kind))?;
        let node = state.file(from)?;
        state.vacant(to)?;
        state.names.insert(to.to_owned(), Name::File(node));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step(Step::Name)?.map_err(|kind| named(path, kind))?;
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
        state.step(Step::Name)?.map_err(|kind| named(path, kind))?;
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
        let fate = state.step(Step::Write)?;
        let offset = offset as usize;
        let end = state.nodes[self.node].seen.len();
        let most = end.saturating_sub(offset) as u64;
        let room = usize::try_from(most.saturating_add(state.space())).unwrap_or(usize::MAX);
        let (written, result) = match fate {
            Err(kind) => (octets.len() / 2, Err(kind.into())),
            Ok(()) if octets.len() > room => (room, Err(ErrorKind::StorageFull.into())),
            Ok(()) => (octets.len(), Ok(())),
        };
        state.nodes[self.node].write(&octets[..written], offset)?;
        result
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        state.on()?;
        state.nodes[self.node].read(into, offset as usize)
    }

    fn start_write_back(&self) {}

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let fate = state.step(Step::Sync)?;
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
