//! What the headers of the segment files say, read before anything else: which files there are,
//! the key of the queue, the ids that were given out, and up to where each file had been synced.
//!
//! This takes a read of some octets of each file, so that a start can go on from it at once,
//! however much mail is in them.

use std::io;
use std::path::Path;

use crate::codec::Keys;
use crate::disk::{Disk, is_damage};
use crate::id::BLOCK;
use crate::record::Kind;
use crate::scan::{Found, Scan};
use crate::segment::{self, BadHeader, Segment};
use crate::wire::Take;

/// Octets that hold a segment header and an abort record.
const OUTLINE: usize = 1024;

/// A segment file before its records are read.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    pub(crate) number: u32,
    /// `None` when it is damaged, cannot be read, or never was written.
    pub(crate) header: Option<Segment>,
    /// What it says about the segments before it: their records from this number on do not
    /// count.
    pub(crate) synced: Option<u64>,
}

/// All segment files, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outlines(Vec<Outline>);

impl Outlines {
    /// Reads the headers in `dir`, which may be missing. Errors are those of the directory,
    /// a format of a later version, and a key that is missing; a file that cannot be read has no header.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path, keys: &Keys) -> io::Result<Self> {
        let entries = match disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let mut numbers: Vec<u32> =
            entries.iter().filter_map(|entry| segment::number(&entry.name)).collect();
        numbers.sort_unstable();
        let mut outlines = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut octets = [0; OUTLINE];
            let file = disk.open(&dir.join(segment::name(number)));
            let read = match file.and_then(|file| file.read_at(&mut octets, 0)) {
                Err(error) if is_damage(&error) => 0,
                other => other?,
            };
            outlines.push(outline(number, &octets[..read], keys)?);
        }
        Ok(Self(outlines))
    }

    /// The files, oldest first.
    pub(crate) fn all(&self) -> &[Outline] {
        &self.0
    }

    /// Forgets a file that is a segment no more.
    pub(crate) fn forget(&mut self, number: u32) {
        self.0.retain(|outline| outline.number != number);
    }

    /// The key of the queue; `None` without any header.
    pub(crate) fn key(&self) -> Option<u64> {
        self.0.iter().find_map(|outline| Some(outline.header?.key))
    }

    /// The highest number of a segment file.
    pub(crate) fn last(&self) -> u32 {
        self.0.last().map_or(0, |outline| outline.number)
    }

    /// The place of the last file that has a header, which tells what everything before it
    /// holds. What must be read to go on writing begins there.
    pub(crate) fn standing(&self) -> Option<usize> {
        self.0.iter().rposition(|outline| outline.header.is_some())
    }

    /// The first step of the id counter that was not reserved. A file behind the last header
    /// may have had one, which reserved a block.
    pub(crate) fn ids(&self) -> u64 {
        let known = self.0.iter().filter_map(|outline| Some(outline.header?.ids)).max();
        let behind = self.0.len() - self.standing().map_or(0, |nth| nth + 1);
        known.unwrap_or_default() + behind as u64 * u64::from(BLOCK)
    }

    /// Up to before which number the records of the `nth` file count and had been synced; `None`
    /// when only the file itself can tell.
    pub(crate) fn synced(&self, nth: usize) -> Option<u64> {
        self.0[nth + 1..].iter().filter_map(|later| later.synced).min()
    }

    /// Whether a run ended without warning in the `nth` file: the next one reserves its ids behind
    /// all of this one, of which no run uses the last.
    pub(crate) fn was_cut_short(&self, nth: usize) -> bool {
        let next = self.0[nth + 1..].iter().find_map(|later| later.header);
        let ids = self.0[nth].header.zip(next).map(|(header, next)| next.ids - header.ids);
        ids.is_none_or(|ids| ids >= u64::from(BLOCK))
    }
}

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
