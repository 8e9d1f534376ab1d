//! Reads the journal and says what is in the queue. It changes nothing on disk, so that tools
//! can use it beside a daemon that is down.
//!
//! Segments are read oldest first, one at a time. The headers of the later ones, and an abort
//! record behind them, tell up to which sequence number everything before had been synced; what
//! an earlier segment holds from there on was refused, or written again, or never finished, and
//! does not count. Of several records about one message or envelope the one with the highest
//! sequence number wins, which is the last one read.
//!
//! What cannot be read costs the records it hits and no others, and no start: the octets are
//! named, and sequence numbers that lead nowhere are, too.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::codec::Keys;
use crate::disk::{Disk, File, is_damage};
use crate::encode::take_outcome;
use crate::facts::Facts;
use crate::id::MessageId;
use crate::outline::{Outline, Outlines};
use crate::record::{IN_FILE, Kind};
use crate::scan::{Found, Record, Scan};
use crate::segment::{self, Place};
use crate::table::{Live, Table};
use crate::wire::{Malformed, Take};

/// What the journal says.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) table: Table,
    /// Octets that had been synced and are damaged.
    pub(crate) gaps: Vec<Region>,
    /// Octets of groups that never were synced, as far as can be seen.
    pub(crate) torn: Vec<Region>,
    /// Octets that the disk does not give.
    pub(crate) unreadable: Vec<Region>,
    /// Sequence numbers that had been synced and are nowhere, and the segment before which, or
    /// in which, they are missed.
    pub(crate) missing: Vec<(u32, Range<u64>)>,
    /// Messages whose id was given to another while they waited, the counter having gone round.
    pub(crate) replaced: Vec<(MessageId, Live)>,
    /// The last group: all records that may be readable and yet not on disk, after a process
    /// that was killed.
    pub(crate) last_group: Option<Region>,
    /// The sequence number of the next record; zero before anything was read.
    pub(crate) next: u64,
    /// What the record of an orderly end says about the next step of the id counter, if the
    /// journal ends with one.
    pub(crate) closed: Option<u64>,
    /// What follows the last record of the segment before, for which records may be missing.
    rest: Option<Region>,
}

/// Some octets of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) segment: u32,
    pub(crate) range: Range<usize>,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// The last segment that has a header and what is behind it, and only as far as it must be
    /// known to go on writing: no messages.
    End,
}

/// What the headers of later files say about a segment.
#[derive(Clone, Copy)]
struct Bounds {
    /// Up to before which number its records count; `None` when only the file itself can tell.
    synced: Option<u64>,
    /// A run ended in it without warning.
    cut_short: bool,
}

/// What is the same for all segments.
struct Pass<'a> {
    /// The key of the queue.
    key: u64,
    /// Those that records are sealed with.
    keys: &'a Keys,
    extent: Extent,
}

/// More records than a segment that cannot be read may hold.
const UNKNOWN: u64 = 1 << 32;

/// Reads the segment files in `dir`. Errors are those of a system that cannot look now.
pub(crate) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    keys: &Keys,
    outlines: &Outlines,
    extent: Extent,
) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let pass = outlines.key().map(|key| Pass { key, keys, extent });
    let from = match extent {
        Extent::All => 0,
        Extent::End => outlines.standing().unwrap_or_default(),
    };
    for (nth, outline) in outlines.all().iter().enumerate().skip(from) {
        let (octets, unreadable) = read(disk, dir, outline.number)?;
        let bounds =
            Bounds { synced: outlines.synced(nth), cut_short: outlines.was_cut_short(nth) };
        match &pass {
            Some(pass) => replayed.segment(outline, bounds, &octets, pass),
            None => replayed.unknown(outline, &octets),
        }
        if !unreadable.is_empty() && bounds.synced.is_none() {
            // What is there, should it ever be read again, must not be taken for later records.
            replayed.next += UNKNOWN;
        }
        let segment = outline.number;
        let regions = unreadable.into_iter().map(|range| Region { segment, range });
        replayed.unreadable.extend(regions);
    }
    replayed.next = replayed.next.max(1);
    Ok(replayed)
}

/// Octets of a segment that are read at once: they stay in the processor's cache.
const READ: usize = 128 << 10;

/// What cannot be read of a file that cannot be opened.
const HEADER: Range<usize> = 0..segment::HEADER as usize;

/// Reads a segment file. Octets that the disk does not give are zero, and are returned.
fn read(disk: &dyn Disk, dir: &Path, number: u32) -> io::Result<(Vec<u8>, Vec<Range<usize>>)> {
    let opened = disk.open(&dir.join(segment::name(number))).and_then(|file| {
        let size = file.size()?;
        Ok((file, size))
    });
    let (file, size) = match opened {
        Err(error) if is_damage(&error) => return Ok((Vec::new(), Vec::from([HEADER]))),
        other => other?,
    };
    // Places in a segment have 32 bits.
    let mut octets = vec![0; size.min(u64::from(u32::MAX)) as usize];
    let mut unreadable = Vec::new();
    match read_what_is_written(&*file, &mut octets) {
        Ok(read) => octets.truncate(read),
        Err(error) if is_damage(&error) => unreadable = read_around(&*file, &mut octets)?,
        Err(error) => return Err(error),
    }
    Ok((octets, unreadable))
}

/// Reads a file into zeros; how many octets there are. What is zero is not touched: the last segment
/// often is, nearly all of it, and making pages of memory for it takes longer than reading it.
fn read_what_is_written(file: &dyn File, zeros: &mut [u8]) -> io::Result<usize> {
    let mut piece = vec![0; READ.min(zeros.len())];
    let mut begin = 0;
    for room in zeros.chunks_mut(READ) {
        let read = file.read_at(&mut piece[..room.len()], begin as u64)?;
        if piece[..read].iter().fold(0, |all, octet| all | octet) != 0 {
            room[..read].copy_from_slice(&piece[..read]);
        }
        begin += read;
        if read < room.len() {
            break;
        }
    }
    Ok(begin)
}

/// Reads what can be read, a page at a time.
fn read_around(file: &dyn File, octets: &mut [u8]) -> io::Result<Vec<Range<usize>>> {
    const PAGE: usize = 4096;
    let mut unreadable: Vec<Range<usize>> = Vec::new();
    for (nth, page) in octets.chunks_mut(PAGE).enumerate() {
        let (begin, length) = (nth * PAGE, page.len());
        match file.read_at(page, begin as u64) {
            Ok(_) => {}
            Err(error) if is_damage(&error) => {
                page.fill(0);
                match unreadable.last_mut().filter(|last| last.end == begin) {
                    Some(last) => last.end = begin + length,
                    None => unreadable.push(begin..begin + length),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unreadable)
}

impl Replayed {
    /// A segment of a queue of which no header is left. Records are only written behind one
    /// that is on disk, so what is not blank had been a journal.
    fn unknown(&mut self, outline: &Outline, octets: &[u8]) {
        self.table.extend(outline.number, segment::HEADER);
        let records = octets.get(segment::HEADER as usize..).unwrap_or_default();
        if records.iter().any(|octet| *octet != 0) {
            self.gaps.push(Region { segment: outline.number, range: 0..octets.len() });
        }
    }

    fn segment(&mut self, outline: &Outline, bounds: Bounds, octets: &[u8], pass: &Pass<'_>) {
        let number = outline.number;
        self.table.extend(number, segment::HEADER);
        if let Some(before) = outline.synced {
            self.expect(number, before);
        }
        let first = outline.header.map_or(self.next, |header| header.first);
        let Bounds { synced, cut_short } = bounds;
        let mut scan = Scan::new(octets, segment::generation(pass.key, number), first, synced);
        if cut_short {
            scan = scan.cut_short();
        }
        // It was never begun, or all of it is gone: then the numbers tell.
        if outline.header.is_none() && (synced.is_some() || first == 0) && scan.is_blank() {
            return;
        }
        self.closed = None;
        let mut next = first;
        while let Some(found) = scan.next() {
            self.closed = None;
            match found {
                Found::Record(record) => {
                    let end = record.offset + record.header.length();
                    match &mut self.last_group {
                        Some(group) if group.segment == number && record.header.place > 0 => {
                            group.range.end = end;
                        }
                        group => {
                            *group = Some(Region { segment: number, range: record.offset..end })
                        }
                    }
                    if let Err(Malformed) = self.record(number, &record, pass) {
                        let range = record.offset..end;
                        self.gaps.push(Region { segment: number, range });
                    }
                }
                Found::Gap(range) | Found::Torn(range) if range.is_empty() => {
                    if next > 0 {
                        self.missing.push((number, next..scan.next_sequence()));
                    }
                }
                Found::Gap(range) => self.gaps.push(Region { segment: number, range }),
                Found::Torn(range) => self.torn.push(Region { segment: number, range }),
            }
            next = scan.next_sequence();
        }
        self.next = self.next.max(scan.next_sequence());
        self.rest = Some(Region { segment: number, range: scan.end()..octets.len() });
        self.table.extend(number, scan.end() as u64);
    }

    /// A header says that everything before this number had been on disk.
    fn expect(&mut self, number: u32, synced: u64) {
        if self.next == 0 || self.next >= synced {
            return;
        }
        self.missing.push((number, self.next..synced));
        self.gaps.extend(self.rest.take().filter(|rest| !rest.range.is_empty()));
    }

    fn record(
        &mut self,
        segment: u32,
        record: &Record<'_>,
        pass: &Pass<'_>,
    ) -> Result<(), Malformed> {
        let offset = u32::try_from(record.offset).map_err(|_| Malformed)?;
        let place = Place { segment, offset };
        if pass.extent == Extent::End && record.header.kind != Kind::Close {
            return Ok(());
        }
        let facts = record.header.open_facts(pass.keys, record.facts)?;
        match record.header.kind {
            Kind::Close => self.closed = Some(Take(&facts).u64()?),
            Kind::Message => {
                let facts = Facts::take(&facts)?;
                let id = facts.message.id;
                if facts.is_new
                    && let Some(live) = self.table.get(id)
                {
                    self.replaced.push((id, live.clone()));
                }
                let left = facts.message.envelopes.iter().map(|envelope| envelope.id.nth());
                let in_file = record.header.flags & IN_FILE != 0;
                let octets = record.header.length();
                self.table.insert(id, place, octets, in_file, left);
                if !facts.is_new {
                    self.table.note_copy(id);
                }
                for cause in &facts.causes {
                    self.table.outcome(cause.envelope, cause.verdict.settles(), place);
                }
            }
            Kind::Outcome => {
                let outcome = take_outcome(&mut Take(&facts))?;
                self.table.outcome(outcome.envelope, outcome.verdict.settles(), place);
            }
            // Read with the outlines.
            Kind::Abort => {}
        }
        Ok(())
    }
}
