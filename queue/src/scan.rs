//! Finds the records of one segment, and tells what is torn from what is damaged.
//!
//! Records follow each other in sequence. Where one does not, there are two explanations:
//!
//! * *torn*: the group was being written when the power went. Nobody was told anything about
//!   it, and nothing was written after it. The segment ends here, even when later records of
//!   that group are whole.
//! * *damaged*: the record had been synced and its octets have changed since. That is proven
//!   by a whole record of a later group, which is only written after the sync, or by the next
//!   segment, whose header says up to where this one had been synced. Then the damaged octets
//!   are a gap to be set aside, and reading goes on behind it: every record that is whole is
//!   kept.

use std::ops::Range;

use crate::record::{ALIGN, HEADER, Header};
use crate::segment;

/// What stands in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// Octets that were records and are none any more.
    Gap(Range<usize>),
    /// The beginning of a group that never was synced. Nothing follows.
    Torn(Range<usize>),
}

/// A whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: usize,
    pub(crate) header: Header,
    pub(crate) facts: &'a [u8],
    pub(crate) content: &'a [u8],
}

/// An iterator over a segment that is in memory.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'a> {
    octets: &'a [u8],
    generation: u64,
    offset: usize,
    /// The sequence number of the next record.
    next: u64,
    /// Up to before which number this segment had been synced, when that is known.
    synced: Option<u64>,
    over: bool,
}

impl<'a> Scan<'a> {
    /// Looks through the octets of a segment file whose first record has the number `first`.
    pub(crate) fn new(octets: &'a [u8], generation: u64, first: u64, synced: Option<u64>) -> Self {
        let offset = segment::HEADER as usize;
        Self { octets, generation, offset, next: first, synced, over: false }
    }

    /// Goes on at `offset`, where the record with the number `next` should be, in octets that
    /// are known to have been synced.
    pub(crate) fn resume(octets: &'a [u8], generation: u64, offset: usize, next: u64) -> Self {
        Self { octets, generation, offset, next, synced: Some(u64::MAX), over: false }
    }

    /// The number after that of the last record.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Where the last record or gap ends.
    pub(crate) fn end(&self) -> usize {
        self.offset
    }

    fn at(&self, offset: usize) -> Option<Record<'a>> {
        let octets = self.octets.get(offset..)?;
        let header = Header::decode(octets, self.generation).ok()?;
        let (facts, content) = header.body(&octets[HEADER..]).ok()?;
        Some(Record { offset, header, facts, content })
    }

    /// The next whole record of this segment behind the one that should be here.
    fn search(&self, from: usize) -> Option<Record<'a>> {
        let octets = self.octets.get(from..)?;
        let generation = self.generation.to_le_bytes();
        octets
            .chunks_exact(ALIGN)
            .enumerate()
            // The generation is the second word of a header.
            .filter(|(_, word)| *word == generation)
            .filter_map(|(nth, _)| (from + nth * ALIGN).checked_sub(ALIGN))
            .filter_map(|offset| self.at(offset))
            .find(|record| self.counts(record.header.sequence))
    }

    fn counts(&self, sequence: u64) -> bool {
        sequence > self.next && self.synced.is_none_or(|synced| sequence < synced)
    }

    /// Whether the record that should be here had been synced.
    fn was_synced(&self) -> bool {
        if self.synced.is_some() {
            return true;
        }
        let mut from = self.offset + ALIGN;
        while let Some(record) = self.search(from) {
            if record.header.group() > self.next {
                return true;
            }
            from = record.offset + record.header.length();
        }
        false
    }

    /// Where the record that is not whole ends, if its header at least is.
    fn broken_end(&self) -> Option<usize> {
        let header = Header::decode(self.octets.get(self.offset..)?, self.generation).ok()?;
        let end = self.offset + header.length();
        (header.sequence == self.next && end <= self.octets.len()).then_some(end)
    }

    fn gap(&mut self) -> Found<'a> {
        let begin = self.offset;
        let (end, next) = match (self.broken_end(), self.search(self.offset + ALIGN)) {
            // The header says how long it was and which number it had.
            (Some(end), _) => (end, self.next + 1),
            (None, Some(record)) => (record.offset, record.header.sequence),
            (None, None) => {
                self.over = true;
                (self.octets.len(), self.synced.unwrap_or(self.next))
            }
        };
        (self.offset, self.next) = (end, next);
        Found::Gap(begin..end)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.over || self.synced.is_some_and(|synced| self.next >= synced) {
            return None;
        }
        if let Some(record) = self.at(self.offset).filter(|r| r.header.sequence == self.next) {
            self.offset += record.header.length();
            self.next += 1;
            return Some(Found::Record(record));
        }
        if self.was_synced() {
            return Some(self.gap());
        }
        self.over = true;
        let end = self.broken_end().or_else(|| self.search(self.offset + ALIGN).map(|r| r.offset));
        end.map(|end| Found::Torn(self.offset..end))
    }
}
