//! Journal records: one accepted message, one outcome, one abort.
//!
//! A record is a header of 48 octets, the *facts*, and for a message whose content is not in
//! a file the content. The header's checksum covers generation, sequence number and the
//! checksums of facts and content, so a record is whole or it is none. Facts and content have
//! a checksum each, so that a list of the queue need not read the content.
//!
//! ```text
//!  0  CRC-32C of 4..48       24  place in its group     32  octets of content
//!  4  octets of the facts    28  format version         36  key id (0: not encrypted)
//!  8  generation             29  kind                   40  CRC-32C of the facts
//! 16  sequence number        30  flags                  44  CRC-32C of the content
//!                            31  codec
//! ```
//!
//! All numbers are stored least significant octet first; records begin at multiples of eight.
//! Facts and content stand there as the codec has sealed them (`codec`): lengths and checksums
//! are those of the sealed octets. Aborts and the end of a run have nothing to hide and are
//! never sealed, so that the journal's order is known without a key.
//!
//! The *place in its group* is how many records were written before it and synced together
//! with it: a record of a later group proves that an earlier one had been synced.

use std::borrow::Cow;

use crate::codec::{Keys, OVERHEAD, Part};
use crate::id::MessageId;
use crate::spool;
use crate::wire::{Malformed, Take};

/// Octets of the header.
pub(crate) const HEADER: usize = 48;
/// Records begin at multiples of this, which is where a search for them looks.
pub(crate) const ALIGN: usize = 8;
/// Octets of facts at the most, before they are sealed: a thousand recipients at their longest
/// take half a MiB, and a list may expand to many.
pub(crate) const FACTS: usize = 16 << 20;
/// Octets of content at the most, before it is sealed. It lies far above what
/// [`spool::INLINE`] lets in.
const CONTENT: usize = 16 << 20;
const _: () = assert!(CONTENT >= spool::INLINE);

const VERSION: u8 = 1;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An accepted message, or the copy of one with its present state.
    Message = 1,
    /// What came of one envelope.
    Outcome = 2,
    /// A range of sequence numbers that were refused or are written again.
    Abort = 3,
    /// The end of an orderly run, with the next step of the id counter.
    Close = 4,
}

/// The content is in a file of its own.
pub(crate) const IN_FILE: u8 = 1;
/// Some line of the content begins with a dot.
pub(crate) const DOT_LINES: u8 = 2;

/// The facts have been compressed.
pub(crate) const SMALL_FACTS: u8 = 1;
/// The content has been compressed.
pub(crate) const SMALL_CONTENT: u8 = 2;

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) place: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// What has been compressed.
    pub(crate) codec: u8,
    /// The name of the key that facts and content are encrypted with; zero: none.
    pub(crate) key: u32,
    /// Octets of the sealed facts.
    pub(crate) facts: u32,
    /// Octets of the sealed content.
    pub(crate) content: u32,
    pub(crate) facts_sum: u32,
    pub(crate) content_sum: u32,
}

impl Header {
    /// The octets of the header.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[4..8].copy_from_slice(&self.facts.to_le_bytes());
        octets[8..16].copy_from_slice(&self.generation.to_le_bytes());
        octets[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        octets[24..28].copy_from_slice(&self.place.to_le_bytes());
        octets[28..32].copy_from_slice(&[VERSION, self.kind as u8, self.flags, self.codec]);
        octets[32..36].copy_from_slice(&self.content.to_le_bytes());
        octets[36..40].copy_from_slice(&self.key.to_le_bytes());
        octets[40..44].copy_from_slice(&self.facts_sum.to_le_bytes());
        octets[44..48].copy_from_slice(&self.content_sum.to_le_bytes());
        let sum = crc32c::crc32c(&octets[4..]);
        octets[..4].copy_from_slice(&sum.to_le_bytes());
        octets
    }

    /// Reads a header of this generation.
    pub(crate) fn decode(octets: &[u8], generation: u64) -> Result<Self, Malformed> {
        let octets: &[u8; HEADER] = octets.first_chunk().ok_or(Malformed)?;
        let mut take = Take(octets);
        let sum = take.u32()?;
        let facts = take.u32()?;
        // Before the checksum: a search for records asks this of every eighth octet.
        if take.u64()? != generation || sum != crc32c::crc32c(&octets[4..]) {
            return Err(Malformed);
        }
        let sequence = take.u64()?;
        let place = take.u32()?;
        let [version, kind, flags, codec] = take.array()?;
        let content = take.u32()?;
        let key = take.u32()?;
        let kind = [Kind::Message, Kind::Outcome, Kind::Abort, Kind::Close]
            .into_iter()
            .find(|known| *known as u8 == kind)
            .ok_or(Malformed)?;
        let sealed = matches!(kind, Kind::Message | Kind::Outcome)
            && codec <= SMALL_FACTS | SMALL_CONTENT
            || codec == 0 && key == 0;
        let known = version == VERSION && sealed && flags <= IN_FILE | DOT_LINES;
        let bounded = facts as usize <= FACTS + OVERHEAD && content as usize <= CONTENT + OVERHEAD;
        if !known || !bounded || u64::from(place) > sequence {
            return Err(Malformed);
        }
        Ok(Self {
            generation,
            sequence,
            place,
            kind,
            flags,
            codec,
            key,
            facts,
            content,
            facts_sum: take.u32()?,
            content_sum: take.u32()?,
        })
    }

    /// Octets from the beginning of the record to that of the next.
    pub(crate) fn length(&self) -> usize {
        (HEADER + self.facts as usize + self.content as usize).next_multiple_of(ALIGN)
    }

    /// The sequence number of the first record of its group: all before it were on disk when
    /// this one was written.
    pub(crate) fn group(&self) -> u64 {
        self.sequence - u64::from(self.place)
    }

    /// Facts and content out of what follows the header, if they are whole.
    pub(crate) fn body<'a>(&self, octets: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let (facts, rest) = octets.split_at_checked(self.facts as usize).ok_or(Malformed)?;
        let content = rest.get(..self.content as usize).ok_or(Malformed)?;
        let sums = (crc32c::crc32c(facts), crc32c::crc32c(content));
        if sums != (self.facts_sum, self.content_sum) {
            return Err(Malformed);
        }
        Ok((facts, content))
    }

    /// Opens the facts.
    pub(crate) fn open_facts<'a>(
        &self,
        keys: &Keys,
        sealed: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, Malformed> {
        let part = Part::Facts { kind: self.kind as u8, flags: self.flags };
        keys.open(self.key, self.codec & SMALL_FACTS != 0, part, sealed, FACTS)
    }

    /// Opens the content of that message; there is none when it is in a file.
    pub(crate) fn open_content<'a>(
        &self,
        keys: &Keys,
        message: MessageId,
        sealed: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.flags & IN_FILE != 0 && sealed.is_empty() {
            return Ok(Cow::Borrowed(sealed));
        }
        let small = self.codec & SMALL_CONTENT != 0;
        keys.open(self.key, small, Part::Content(message), sealed, CONTENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Noise;

    fn header() -> Header {
        Header {
            generation: 0xfeed,
            sequence: 1000,
            place: 3,
            kind: Kind::Message,
            flags: DOT_LINES,
            codec: SMALL_FACTS,
            key: 0x7e57,
            facts: 5,
            content: 4,
            facts_sum: crc32c::crc32c(b"facts"),
            content_sum: crc32c::crc32c(b"text"),
        }
    }

    #[test]
    fn a_record_comes_back() {
        let octets = header().encode();
        assert_eq!(Header::decode(&octets, 0xfeed), Ok(header()));
        assert_eq!(header().length(), 64, "57 octets to the next multiple of eight");
        assert_eq!(header().group(), 997);
        assert_eq!(header().body(b"factstext______"), Ok((&b"facts"[..], &b"text"[..])));
    }

    #[test]
    fn another_life_of_the_file_is_not_read() {
        assert_eq!(Header::decode(&header().encode(), 0xbeef), Err(Malformed));
        assert_eq!(Header::decode(&[0; 48], 0), Err(Malformed), "zeros");
    }

    #[test]
    fn damage_is_noticed() {
        let mut noise = Noise::new(3);
        let whole = header().encode();
        for _ in 0..20_000 {
            let mut octets = whole.to_vec();
            noise.damage(&mut octets);
            assert_eq!(Header::decode(&octets, 0xfeed).is_ok(), octets == whole);
            assert!(Header::decode(&noise.octets(48), 0xfeed).is_err());
        }
        assert_eq!(header().body(b"factstexT"), Err(Malformed));
        assert_eq!(header().body(b"fbctstext"), Err(Malformed));
        assert_eq!(header().body(b"factste"), Err(Malformed));
    }

    #[test]
    fn what_this_version_cannot_read_is_not_guessed_at() {
        // Version, kind, flags, codec, length; each with a checksum that fits. An abort and an
        // end are never sealed.
        for (at, value) in [(28, 2), (29, 9), (29, 0), (29, 3), (29, 4), (30, 4), (31, 4), (7, 9)] {
            let mut octets = header().encode();
            octets[at] = value;
            let sum = crc32c::crc32c(&octets[4..]);
            octets[..4].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(Header::decode(&octets, 0xfeed), Err(Malformed), "octet {at}");
        }
    }
}
