//! Segment files: their names, their header, the places in them.
//!
//! `journal/NNNNNNNN` is a header of one sector, then records up to the first that does not
//! continue the sequence. Numbers grow and are never used twice; a gap in them means nothing.
//! A file that has been emptied is used again under a new number without being wiped, so
//! each life has a *generation* that every record repeats inside its checksum: what the file
//! held before can never be taken for a record of now. The generation is derived from the
//! number and from a random key of the queue that no peer knows, so that content cannot be
//! made to look like records to one who searches a damaged segment for them.

use std::ffi::OsStr;
use std::fmt;

use crate::wire::{Malformed, Take};

/// Octets of the segment header. A sector of its own: writing the first records cannot harm it.
pub(crate) const HEADER: u64 = 512;
/// The header stands there twice, so that a flipped bit does not cost a queue that has only
/// one segment its key.
const COPY: usize = 256;

const MAGIC: [u8; 8] = *b"HERMESQ\n";
/// Version 1 ended behind the first checksum: nothing was encrypted.
const VERSION: u32 = 2;
/// Octets of the header that are used, its checksums included.
const USED: usize = FIRST + 8;
/// Octets of what every version has, behind which its checksum stands: a program of before
/// sees by it that this is a later version and no damage. What came later has one of its own.
const FIRST: usize = 52;

/// What a segment says about itself and about all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// As in its name. A header under another name is what the file was before.
    pub(crate) number: u32,
    /// The key of the queue.
    pub(crate) key: u64,
    /// The sequence number of its first record.
    pub(crate) first: u64,
    /// Records with sequence numbers from here to before `first` do not count, wherever they
    /// stand: they are what a failed sync or a crash has left in an earlier segment.
    pub(crate) synced: u64,
    /// Message ids are reserved up to before this step of their counter.
    pub(crate) ids: u64,
    /// The name of the key that its records are encrypted with; zero: none.
    pub(crate) sealed: u32,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// No header, a damaged one, or that of the file's former life.
    Absent,
    /// Written by a later version of this program.
    Version(u32),
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no header of a journal segment"),
            Self::Version(version) => {
                write!(f, "journal format {version}, this program's is {VERSION}")
            }
        }
    }
}

impl Segment {
    /// The octets at the beginning of the file.
    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut used = Vec::with_capacity(USED);
        used.extend_from_slice(&MAGIC);
        used.extend_from_slice(&VERSION.to_le_bytes());
        used.extend_from_slice(&self.number.to_le_bytes());
        for number in [self.key, self.first, self.synced, self.ids] {
            used.extend_from_slice(&number.to_le_bytes());
        }
        used.extend_from_slice(&crc32c::crc32c(&used).to_le_bytes());
        used.extend_from_slice(&self.sealed.to_le_bytes());
        used.extend_from_slice(&crc32c::crc32c(&used).to_le_bytes());
        let mut octets = [0; HEADER as usize];
        octets[..USED].copy_from_slice(&used);
        octets[COPY..COPY + USED].copy_from_slice(&used);
        octets
    }

    /// Reads the beginning of the segment file with this number.
    pub(crate) fn decode(octets: &[u8], number: u32) -> Result<Self, BadHeader> {
        let copy = octets.get(COPY..).unwrap_or_default();
        match Self::checked(octets).or_else(|Malformed| Self::checked(copy)) {
            Ok(Ok(segment)) if segment.number == number => Ok(segment),
            Ok(Err(version)) => Err(BadHeader::Version(version)),
            Ok(Ok(_)) | Err(Malformed) => Err(BadHeader::Absent),
        }
    }

    /// The fields; the inner error is a later version.
    fn checked(octets: &[u8]) -> Result<Result<Self, u32>, Malformed> {
        let mut take = Take(octets);
        if take.array()? != MAGIC {
            return Err(Malformed);
        }
        let version = take.u32()?;
        let mut segment = Self {
            number: take.u32()?,
            key: take.u64()?,
            first: take.u64()?,
            synced: take.u64()?,
            ids: take.u64()?,
            sealed: 0,
        };
        if take.u32()? != crc32c::crc32c(&octets[..FIRST - 4]) {
            return Err(Malformed);
        }
        match version {
            1 => {}
            VERSION => {
                segment.sealed = take.u32()?;
                if take.u32()? != crc32c::crc32c(&octets[..USED - 4]) {
                    return Err(Malformed);
                }
            }
            later => return Ok(Err(later)),
        }
        Ok(Ok(segment))
    }

    /// What its records carry.
    pub(crate) fn generation(&self) -> u64 {
        generation(self.key, self.number)
    }
}

/// The generation of a segment: every number and key gives another, and never zero, which a
/// blank file is full of.
pub(crate) fn generation(key: u64, number: u32) -> u64 {
    // The finalizer of splitmix64, a bijection.
    let mut x = key ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).max(1)
}

/// The name of a segment file.
pub(crate) fn name(number: u32) -> String {
    format!("{number:08x}")
}

/// The number in the name of a segment file; `None` when it is something else.
pub(crate) fn number(file: &OsStr) -> Option<u32> {
    let text = file.to_str()?;
    let number = u32::from_str_radix(text, 16).ok()?;
    (number != 0 && name(number) == text).then_some(number)
}

/// Where a record begins. Segments stay far below 4 GiB, so eight octets are enough, of
/// which there are some for every message in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Noise;

    fn segment() -> Segment {
        Segment { number: 7, key: 0x1234, first: 99, synced: 90, ids: 1 << 40, sealed: 0x7e57 }
    }

    #[test]
    fn a_header_comes_back_under_its_own_number_only() {
        let octets = segment().encode();
        assert_eq!(Segment::decode(&octets, 7), Ok(segment()));
        assert_eq!(Segment::decode(&octets, 8), Err(BadHeader::Absent));
        assert_eq!(Segment::decode(&[], 7), Err(BadHeader::Absent));
        assert_eq!(Segment::decode(&[0; 512], 7), Err(BadHeader::Absent));
    }

    #[test]
    fn a_later_version_is_named_and_not_taken_for_damage() {
        let mut octets = segment().encode();
        for at in [0, COPY] {
            octets[at + 8] = 3;
            let checksum = crc32c::crc32c(&octets[at..at + FIRST - 4]);
            octets[at + FIRST - 4..at + FIRST].copy_from_slice(&checksum.to_le_bytes());
        }
        assert_eq!(Segment::decode(&octets, 7), Err(BadHeader::Version(3)));
    }

    #[test]
    fn the_first_version_is_read() {
        let mut octets = segment().encode();
        for at in [0, COPY] {
            octets[at + 8] = 1;
            octets[at + FIRST..at + USED].fill(0);
            let checksum = crc32c::crc32c(&octets[at..at + FIRST - 4]);
            octets[at + FIRST - 4..at + FIRST].copy_from_slice(&checksum.to_le_bytes());
        }
        assert_eq!(Segment::decode(&octets, 7), Ok(Segment { sealed: 0, ..segment() }));
    }

    #[test]
    fn any_damage_to_what_is_used_is_noticed() {
        let mut noise = Noise::new(2);
        let whole = segment().encode();
        for _ in 0..5000 {
            let mut octets = whole.to_vec();
            noise.damage(&mut octets);
            let same = |at: usize| octets.get(at..at + USED) == whole.get(..USED);
            assert_eq!(Segment::decode(&octets, 7).is_ok(), same(0) || same(COPY));
            assert!(Segment::decode(&noise.octets(512), 7).is_err());
        }
    }

    #[test]
    fn names_are_eight_digits() {
        for segment in [1, 0xabc, u32::MAX] {
            assert_eq!(number(OsStr::new(&name(segment))), Some(segment));
        }
        for other in ["", "00000000", "1", "000000001", "0000000A", "spare-1", "+0000001"] {
            assert_eq!(number(OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn generations_differ_and_are_never_blank() {
        let mut all: Vec<u64> = (0..10_000).map(|number| generation(5, number)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10_000);
        assert!(all[0] > 0);
    }
}
