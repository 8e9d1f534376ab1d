//! Writes the journal: groups of records, one segment after the other.
//!
//! A group is one write and one `fdatasync`. When either fails, the segment is never written
//! again, and what the group held is *uncertain*: it may be on disk, now or after a crash. The
//! next segment then begins by saying that those records do not count. Its header is on disk,
//! with its name, before the first record is written into it.
//!
//! A start begins a new segment, too. On a full disk that would take one of the reserve each
//! time, so there the last segment of the run before is written on, behind its last whole record.
//! Reading counts every record that is whole, also behind broken ones (`scan.rs`), so what is left
//! behind that place is pieces of records, and no piece becomes a record by what is written before
//! it. If a sync of that segment had failed, some of what was read may not be on disk: nobody has been
//! told of it, and reading goes on behind what is broken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::group::Group;
use crate::id::{BLOCK, Ids};
use crate::segment::{self, Place, Segment};
use crate::spares::{RESERVE, Spares};
use crate::table::Shared;

/// The writing end of the journal.
pub(crate) struct Journal {
    /// Its beginning, and where it stands: `last`, `standing` and `next` grow.
    at: Start,
    active: Option<Active>,
    /// The last segment of the run before, as long as it is the last one.
    left: Option<Left>,
    /// Records from this number on are uncertain, up to `next`.
    uncertain: Option<u64>,
}

/// The segment that is being written.
struct Active {
    segment: Segment,
    file: Box<dyn File>,
    end: u64,
    /// Octets up to where writing changes nothing but the file's content.
    allocated: u64,
}

/// The last segment of a run that is over.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) segment: Segment,
    /// Where its last record ends. Nothing behind it can be taken for a record.
    pub(crate) end: u64,
}

/// What a journal goes on from after a start.
pub(crate) struct Start {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) spares: Arc<Spares>,
    pub(crate) ids: Ids,
    /// Hears of the segments.
    pub(crate) table: Shared,
    /// The key of the queue.
    pub(crate) key: u64,
    /// The name of the key that records are encrypted with; zero: none.
    pub(crate) sealed: u32,
    /// Octets of a segment, after which the next begins.
    pub(crate) capacity: u64,
    /// The highest number of a segment that was ever begun.
    pub(crate) last: u32,
    /// The last one whose header is on disk.
    pub(crate) standing: u32,
    /// The last one, if it may be written on.
    pub(crate) left: Option<Left>,
    /// The sequence number of the next record.
    pub(crate) next: u64,
}

/// What the records of a group are for, which says which space they may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// There is new mail among them: the reserve is not for them.
    Accept,
    /// They move mail while there is space enough.
    Move,
    /// They say what became of mail, or move it on a full disk.
    Settle,
}

/// Where a group has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    segment: u32,
    /// Where its first record begins.
    offset: u64,
}

impl Written {
    /// The place of a record of the group.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let offset = u32::try_from(self.offset + offset as u64);
        Place { segment: self.segment, offset: offset.expect("segments are far smaller") }
    }
}

/// Why a group is not on disk.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of it was handed to the disk.
    Before(io::Error),
    /// It is uncertain now.
    Uncertain(io::Error),
}

impl Journal {
    pub(crate) fn new(start: Start) -> Self {
        Self { left: start.left, at: start, active: None, uncertain: None }
    }

    /// The sequence number up to before which everything is on disk, or does not count.
    pub(crate) fn synced(&self) -> u64 {
        self.uncertain.unwrap_or(self.at.next)
    }

    /// Whether there are uncertain records, so that only [`Journal::abort`] may follow.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain.is_some()
    }

    /// The last segment whose header is on disk; zero before there is one. It tells the next
    /// start the key, the ids and the sequence numbers.
    pub(crate) fn standing(&self) -> u32 {
        self.at.standing
    }

    /// The segment being written.
    pub(crate) fn active(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.segment.number)
    }

    /// Whether the next segment should begin before this one is full: to reserve more ids, or
    /// because this one grows with every write and a spare one that need not has been made.
    pub(crate) fn is_worn(&self) -> bool {
        let grows = |active: &Active| active.allocated < self.at.capacity;
        let spare = self.at.spares.count() > RESERVE;
        self.is_low(0) || spare && self.active.as_ref().is_some_and(grows)
    }

    /// Whether ids are running out, and a segment that reserves more and has room for `octets`
    /// can begin. The reserve is not for ids of mail that cannot be accepted, and neither is what
    /// is left of the segment in use while there is no room for another.
    fn is_low(&self, octets: u64) -> bool {
        self.at.ids.low() && self.may_begin(octets.max(self.at.capacity))
    }

    /// Whether a segment with room for `octets` can begin without touching the reserve.
    pub(crate) fn may_begin(&self, octets: u64) -> bool {
        self.at.spares.count() > RESERVE
            || self.unreserved().is_ok_and(|free| free >= Some(segment::HEADER + octets))
    }

    /// Octets that a group with new mail may have.
    pub(crate) fn room(&self) -> io::Result<u64> {
        if self.at.spares.count() > RESERVE {
            return Ok(u64::MAX);
        }
        let Some(free) = self.unreserved()? else { return Ok(0) };
        let allocated = self.active.as_ref().map_or(0, |active| active.allocated - active.end);
        Ok(free.max(allocated))
    }

    /// Whether a write of so many octets finds room where no new segment can be made, other than
    /// those of the reserve.
    pub(crate) fn has_room(&self, octets: u64) -> bool {
        octets <= self.rest() || self.may_begin(octets)
    }

    /// Octets that are left in the segment that is being, or will be, written.
    fn rest(&self) -> u64 {
        let end = self.active.as_ref().map(|active| active.end);
        let end = end.or(self.left.map(|left| left.end));
        end.map_or(0, |end| self.at.capacity.saturating_sub(end))
    }

    /// Whether a group that had so many octets and now has more goes into the same segment. A single
    /// record goes anywhere.
    pub(crate) fn is_room(&self, before: u64, octets: u64) -> bool {
        let rest = self.rest();
        let room = if before <= rest { rest } else { self.at.capacity - segment::HEADER };
        before == 0 || octets <= room
    }

    /// Octets of records, none of which is larger than `largest`, that may be written after a group
    /// of so many: in the segment in use, whose end is wasted if the next record is larger, in
    /// spare ones, and in what a small segment that is gone has given back to the disk.
    pub(crate) fn room_after(&self, octets: u64, largest: u64) -> u64 {
        let segment = self.at.capacity - segment::HEADER;
        let free = self.at.disk.space(&self.at.dir).unwrap_or_default();
        let free = free.saturating_sub(segment::HEADER);
        let spares = self.at.spares.count() as u64;
        let (rest, spares, free) = match (self.rest().checked_sub(octets), spares) {
            (Some(rest), spares) => (rest, spares, free),
            (None, 0) => (0, 0, free.saturating_sub(octets)),
            (None, spares) => (segment.saturating_sub(octets), spares - 1, free),
        };
        let spares = spares.saturating_mul(segment);
        spares.saturating_add(free).saturating_add(rest.saturating_sub(largest))
    }

    /// What the disk has beyond the spare files that the reserve still lacks; `None` when it has
    /// not even those.
    fn unreserved(&self) -> io::Result<Option<u64>> {
        let missing = RESERVE.saturating_sub(self.at.spares.count()) as u64 * self.at.capacity;
        Ok(self.at.disk.space(&self.at.dir)?.checked_sub(missing))
    }

    /// Writes a group and makes it durable.
    pub(crate) fn write(&mut self, group: &mut Group, why: Purpose) -> Result<Written, Failure> {
        assert!(self.uncertain.is_none(), "uncertain records are aborted first");
        let octets = group.len() as u64;
        let full = |active: &Active| {
            let end = active.end + octets;
            active.end > segment::HEADER && end > self.limit(why)
                || !self.may_grow(active.allocated, end)
        };
        if self.active.as_ref().is_none_or(full) {
            let resumed = why == Purpose::Settle && self.resume(octets).map_err(Failure::Before)?;
            if !resumed {
                self.begin(why, octets).map_err(Failure::Before)?;
            }
        } else if self.is_low(octets) {
            self.begin(Purpose::Accept, octets).map_err(Failure::Before)?;
        }
        self.append(group)
    }

    /// How long a segment may be. Mail leaves an eighth of it to outcomes, so that it is not more
    /// than a segment when it is copied together with the state of its envelopes: then one spare
    /// file is enough to empty any segment.
    pub(crate) fn limit(&self, why: Purpose) -> u64 {
        match why {
            Purpose::Accept | Purpose::Move => self.at.capacity - self.at.capacity / 8,
            Purpose::Settle => self.at.capacity,
        }
    }

    /// Whether a file that has so many octets can have this many.
    fn may_grow(&self, allocated: u64, end: u64) -> bool {
        let more = end.saturating_sub(allocated);
        more == 0 || self.at.disk.space(&self.at.dir).is_ok_and(|free| more <= free)
    }

    /// Writes on the last segment of the run before, if a new one would be of the reserve and this
    /// has room for `octets`. Not before the start has read it and kept what it could not read.
    fn resume(&mut self, octets: u64) -> io::Result<bool> {
        let Some(Left { segment, end }) = self.left.filter(|_| self.active.is_none()) else {
            return Ok(false);
        };
        if end + octets > self.at.capacity || self.may_begin(self.at.capacity) {
            return Ok(false);
        }
        let table = self.at.table.lock();
        if !table.is_complete() {
            let text = "the disk is full and the journal still being read";
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let kept = table.is_kept(segment.number);
        drop(table);
        if kept {
            return Ok(false);
        }
        let file = self.at.disk.reuse(&self.at.dir.join(segment::name(segment.number)))?;
        let allocated = file.size()?;
        if !self.may_grow(allocated, end + octets) {
            return Ok(false);
        }
        self.left = None;
        self.active = Some(Active { segment, file, end, allocated });
        Ok(true)
    }

    /// Begins a segment that declares the uncertain records void, with an abort that names
    /// them, and writes `group` behind it. After an error all this can be tried again.
    pub(crate) fn abort(&mut self, group: &mut Group) -> Result<Written, Failure> {
        assert!(self.uncertain.is_some(), "nothing to abort");
        self.begin(Purpose::Settle, group.len() as u64).map_err(Failure::Before)?;
        let written = self.append(group)?;
        self.uncertain = None;
        Ok(written)
    }

    /// The records an abort must name.
    pub(crate) fn void(&self) -> (u64, u64) {
        (self.synced(), self.at.next)
    }

    fn append(&mut self, group: &mut Group) -> Result<Written, Failure> {
        let active = self.active.as_mut().expect("begun by the caller");
        let (first, length) = (self.at.next, group.len() as u64);
        self.at.next += group.records() as u64;
        let octets = group.complete(active.segment.generation(), first);
        let file = &active.file;
        let written = file.write_at(octets, active.end).and_then(|()| file.sync_data());
        // A file system that is shut down meanwhile, as after an error of its log's disk, forgets
        // what it was to log; the sync of a file that has grown may then succeed although nothing
        // of it is on disk. From that moment on every read fails. `tests/power_loss` lost the last
        // group before a cut in this way, on ext4 and xfs (Linux 6.18), until it was read here.
        let written = written.and_then(|()| file.read_at(&mut [0], active.end));
        if let Err(error) = written {
            self.active = None;
            self.uncertain.get_or_insert(first);
            return Err(Failure::Uncertain(error));
        }
        let offset = active.end;
        active.end += length;
        active.allocated = active.allocated.max(active.end);
        self.at.table.lock().extend(active.segment.number, active.end);
        Ok(Written { segment: active.segment.number, offset })
    }

    /// Begins the next segment. The one before is not written again, even when this fails: what
    /// the failed header said about it may be on disk.
    pub(crate) fn begin(&mut self, why: Purpose, octets: u64) -> io::Result<()> {
        if self.at.spares.count() == 0
            && self.at.disk.space(&self.at.dir)? < segment::HEADER + octets
        {
            // Every attempt would leave a file of no octets.
            let text = format!("{}: no space for a segment", self.at.dir.display());
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        self.active = None;
        self.left = None;
        let number = self.at.last.checked_add(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.at.last = number;
        let segment = Segment {
            number,
            key: self.at.key,
            first: self.at.next,
            synced: self.synced(),
            ids: self.at.ids.next() + u64::from(BLOCK),
            sealed: self.at.sealed,
        };
        // Even when this fails, its header may come to light after a crash. So the file goes
        // in its turn, like any other, and not before what its header speaks of.
        self.at.table.lock().extend(number, segment::HEADER);
        let path = self.at.dir.join(segment::name(number));
        let file = self.file(&path, why, octets)?;
        file.write_at(&segment.encode(), 0)?;
        file.sync_data()?;
        self.at.disk.sync_dir(&self.at.dir)?;
        let allocated = file.size()?;
        self.at.ids.reserved(segment.ids);
        self.at.standing = number;
        self.active = Some(Active { segment, file, end: segment::HEADER, allocated });
        Ok(())
    }

    /// A file for the next segment: a spare one, but none of the reserve as long as a new one
    /// can be made. New mail never gets one of the reserve.
    fn file(&self, path: &Path, why: Purpose, octets: u64) -> io::Result<Box<dyn File>> {
        let reserve = self.at.spares.count() <= RESERVE;
        let full = || {
            let wanted = self.at.capacity.max(octets + segment::HEADER);
            self.at.disk.space(&self.at.dir).is_ok_and(|free| free < wanted)
        };
        if reserve && (why == Purpose::Accept || !full()) {
            return self.at.disk.create(path);
        }
        let Some(spare) = self.at.spares.take() else { return self.at.disk.create(path) };
        match self.at.disk.rename(&spare, path) {
            Ok(()) => self.at.disk.reuse(path),
            Err(error) => {
                self.at.spares.put(spare);
                Err(error)
            }
        }
    }
}
