//! Reads the whole journal and says what is in the queue. It changes nothing on disk, so that
//! tools can use it beside a daemon that is down.
//!
//! Segments are read oldest first. Each header, and an abort record behind it, tells up to
//! which sequence number everything before that segment had been synced; what an earlier
//! segment holds from there on was refused, or written again, or never finished, and does not
//! count. Of several records about one message or envelope the one with the highest sequence
//! number wins, which is the last one read.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::codec::Keys;
use crate::disk::Disk;
use crate::encode::take_outcome;
use crate::facts::Facts;
use crate::record::{IN_FILE, Kind};
use crate::scan::{Found, Record, Scan};
use crate::segment::{self, BadHeader, Place, Segment};
use crate::table::Table;
use crate::wire::{Malformed, Take};

/// What the journal says.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) table: Table,
    /// Octets that had been synced and cannot be read any more.
    pub(crate) gaps: Vec<Region>,
    /// Octets of groups that never were synced.
    pub(crate) torn: Vec<Region>,
    /// The last segment header and the last group: all that may be readable and yet not on
    /// disk, after a process that was killed.
    pub(crate) last_header: Option<Region>,
    pub(crate) last_group: Option<Region>,
    /// The sequence number of the next record; the first of all is 1.
    pub(crate) next: u64,
    /// The key of the queue; `None` without any segment.
    pub(crate) key: Option<u64>,
    /// The next step of the id counter.
    pub(crate) ids: u64,
    /// The highest number of a segment file.
    pub(crate) last: u32,
    /// The segments and the keys they are written under.
    pub(crate) sealed: Vec<(u32, u32)>,
    /// What the record of an orderly end says about the next step of the id counter, if the
    /// journal ends with one.
    pub(crate) closed: Option<u64>,
}

/// Some octets of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) segment: u32,
    pub(crate) range: Range<usize>,
}

/// A segment file before its records are read.
struct Outline {
    number: u32,
    header: Option<Segment>,
    /// What it says about the segments before it.
    synced: Option<u64>,
}

/// Reads the journal in `dir`. Errors are those of the disk, a format of a later version, and a
/// key that is missing.
pub(crate) fn replay(disk: &dyn Disk, dir: &Path, keys: &Keys) -> io::Result<Replayed> {
    let mut numbers: Vec<u32> =
        disk.list(dir)?.iter().filter_map(|entry| segment::number(&entry.name)).collect();
    numbers.sort_unstable();

    let mut outlines = Vec::with_capacity(numbers.len());
    let mut octets = Vec::new();
    for number in &numbers {
        read(disk, dir, *number, OUTLINE, &mut octets)?;
        outlines.push(outline(*number, &octets, keys)?);
    }
    let key = outlines.iter().find_map(|outline| Some(outline.header?.key));
    let mut replayed = Replayed { key, ..Replayed::default() };
    let ids = outlines.iter().filter_map(|outline| Some(outline.header?.ids)).max();
    replayed.ids = ids.unwrap_or_default();
    let sealed = |outline: &Outline| Some((outline.number, outline.header?.sealed));
    replayed.sealed = outlines.iter().filter_map(sealed).collect();
    replayed.last = numbers.last().copied().unwrap_or_default();

    for (nth, outline) in outlines.iter().enumerate() {
        let synced = outlines[nth + 1..].iter().filter_map(|later| later.synced).min();
        read(disk, dir, outline.number, u64::MAX, &mut octets)?;
        replayed.segment(outline, synced, &octets, keys);
    }
    replayed.ids = replayed.closed.unwrap_or(replayed.ids);
    replayed.next = replayed.next.max(1);
    Ok(replayed)
}

/// Octets that hold a segment header and an abort record.
const OUTLINE: u64 = 1024;

fn outline(number: u32, octets: &[u8], keys: &Keys) -> io::Result<Outline> {
    let header = match Segment::decode(octets, number) {
        Ok(header) => {
            keys.check(&header)?;
            Some(header)
        }
        Err(BadHeader::Absent) => None,
        Err(version @ BadHeader::Version(_)) => {
            let text = format!("segment {}: {version}", segment::name(number));
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    };
    let abort = header.and_then(|header| {
        let records = Scan::new(octets, header.generation(), header.first, None);
        match records.into_iter().next()? {
            Found::Record(record) if record.header.kind == Kind::Abort => {
                Take(record.facts).u64().ok()
            }
            _ => None,
        }
    });
    let synced = header.map(|header| abort.unwrap_or(header.synced).min(header.synced));
    Ok(Outline { number, header, synced })
}

/// Reads at most `most` octets of a segment file.
fn read(
    disk: &dyn Disk,
    dir: &Path,
    number: u32,
    most: u64,
    octets: &mut Vec<u8>,
) -> io::Result<()> {
    let file = disk.open(&dir.join(segment::name(number)))?;
    octets.resize(file.size()?.min(most) as usize, 0);
    let read = file.read_at(octets, 0)?;
    octets.truncate(read);
    Ok(())
}

impl Replayed {
    fn segment(&mut self, outline: &Outline, synced: Option<u64>, octets: &[u8], keys: &Keys) {
        let number = outline.number;
        self.table.extend(number, segment::HEADER);
        if outline.header.is_some() {
            let range = 0..segment::HEADER as usize;
            self.last_header = Some(Region { segment: number, range });
        }
        let first = outline.header.map_or(self.next, |header| header.first);
        let Some(key) = self.key else {
            // No segment has a header. Records are only written behind one that is on disk, so
            // what is not blank had been a journal.
            let records = octets.get(segment::HEADER as usize..).unwrap_or_default();
            if records.iter().any(|octet| *octet != 0) {
                self.gaps.push(Region { segment: number, range: 0..octets.len() });
            }
            return;
        };
        let mut scan = Scan::new(octets, segment::generation(key, number), first, synced);
        // The oldest file, and it has neither header nor records: it was never begun. Behind
        // others, the sequence numbers tell whether something is missing.
        if first == 0 && scan.is_blank() {
            return;
        }
        self.closed = None;
        for found in scan.by_ref() {
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
                    if let Err(Malformed) = self.record(number, &record, keys) {
                        let range = record.offset..end;
                        self.gaps.push(Region { segment: number, range });
                    }
                }
                Found::Gap(range) if range.is_empty() => {}
                Found::Gap(range) => self.gaps.push(Region { segment: number, range }),
                Found::Torn(range) => self.torn.push(Region { segment: number, range }),
            }
        }
        self.next = self.next.max(scan.next_sequence());
        self.table.extend(number, scan.end() as u64);
    }

    fn record(&mut self, segment: u32, record: &Record<'_>, keys: &Keys) -> Result<(), Malformed> {
        let offset = u32::try_from(record.offset).map_err(|_| Malformed)?;
        let place = Place { segment, offset };
        let facts = record.header.open_facts(keys, record.facts)?;
        match record.header.kind {
            Kind::Message => {
                let facts = Facts::take(&facts)?;
                let left = facts.message.envelopes.iter().map(|envelope| envelope.id.nth());
                let in_file = record.header.flags & IN_FILE != 0;
                let octets = record.header.length();
                self.table.insert(facts.message.id, place, octets, in_file, left);
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
            Kind::Close => {
                self.closed = Some(Take(&facts).u64()?);
            }
        }
        Ok(())
    }
}
