//! What a file on the fault disk holds: as it is seen, and as the device has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::{Left, SECTOR};

/// What a file holds.
#[derive(Clone, Default)]
pub(super) struct Node {
    /// As it is seen.
    pub(super) seen: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// Sectors of which a failed sync has left open whether they are on the disk.
    open: BTreeMap<usize, Vec<u8>>,
    /// Sectors that the device cannot read, until they are written as a whole.
    bad: BTreeSet<usize>,
}

impl Node {
    pub(super) fn after_crash(&self, left: &mut impl FnMut() -> Left) -> Self {
        let mut octets = self.durable.clone();
        let mut bad = self.bad.clone();
        let mut settle = |sector: usize, new: &[u8]| {
            let written = match left() {
                Left::Lost => return,
                Left::Kept => new,
                Left::Torn(octets) => &new[..new.len().min(octets)],
            };
            put(&mut octets, sector * SECTOR, written);
            bad.remove(&sector);
        };
        for (sector, octets) in &self.open {
            settle(*sector, octets);
        }
        for sector in &self.dirty {
            settle(*sector, sector_of(&self.seen, *sector));
        }
        Self { seen: octets.clone(), durable: octets, bad, ..Self::default() }
    }

    /// Lets the system drop from its memory what a failed sync has marked clean: where `dropped`
    /// says so, what is on the disk is seen again.
    pub(super) fn evict(&mut self, dropped: &mut impl FnMut() -> bool) {
        let clean = self.open.keys().filter(|sector| !self.dirty.contains(sector));
        for sector in Vec::from_iter(clean.copied()) {
            if !dropped() {
                continue;
            }
            // Whatever the device had done of the write that failed is seen or not; here it had
            // done nothing, and what it has can be relied upon again.
            self.open.remove(&sector);
            let begin = sector * SECTOR;
            let end = self.seen.len().min(begin + SECTOR);
            for at in begin..end {
                self.seen[at] = self.durable.get(at).copied().unwrap_or_default();
            }
        }
    }

    /// Writes at most what there is room for; an error when a sector is to be changed in part and
    /// cannot be read.
    pub(super) fn write(&mut self, octets: &[u8], offset: usize) -> io::Result<()> {
        let end = offset + octets.len();
        let sectors = offset / SECTOR..end.div_ceil(SECTOR);
        let whole = |sector: usize| {
            offset <= sector * SECTOR && (sector + 1) * SECTOR <= end.max(self.seen.len())
        };
        if self.bad.range(sectors.clone()).any(|sector| !whole(*sector)) {
            return Err(unreadable());
        }
        self.bad.retain(|sector| !sectors.contains(sector));
        put(&mut self.seen, offset, octets);
        self.dirty.extend(sectors);
        Ok(())
    }

    pub(super) fn read(&self, into: &mut [u8], offset: usize) -> io::Result<usize> {
        let left = self.seen.get(offset..).unwrap_or_default();
        let read = left.len().min(into.len());
        let sectors = offset / SECTOR..(offset + read).div_ceil(SECTOR);
        if self.bad.range(sectors).next().is_some() {
            return Err(unreadable());
        }
        into[..read].copy_from_slice(&left[..read]);
        Ok(read)
    }

    pub(super) fn sync(&mut self, fails: bool) {
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

    /// Flips a bit, seen and on the disk.
    pub(super) fn flip(&mut self, bit: usize) {
        for octets in [&mut self.seen, &mut self.durable] {
            if let Some(octet) = octets.get_mut(bit / 8) {
                *octet ^= 1 << (bit % 8);
            }
        }
    }

    /// Makes the sector that holds this octet unreadable.
    pub(super) fn spoil(&mut self, offset: usize) {
        self.bad.insert(offset / SECTOR);
    }
}

/// What the system says of a sector that the device cannot read.
fn unreadable() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
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
