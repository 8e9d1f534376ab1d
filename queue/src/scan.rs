//! Finds the records of one segment, and tells what is torn from what is damaged.
//!
//! Records follow each other in sequence. Where one does not, there are two explanations:
//!
//! * *torn*: the group was being written when the power went. Nobody was told anything about
//!   it, and nothing was written after it.
//! * *damaged*: the record had been synced and its octets have changed since. That is proven
//!   by a whole record of a later group, which is only written after the sync, or by the next
//!   segment, whose header says up to where this one had been synced.
//!
//! Which of the two it was cannot always be known: the last record of all looks the same either
//! way. So reading goes on behind the broken octets in both cases and every record that is whole
//! is kept: at worst a message is delivered whose sender never heard of its acceptance. One that
//! was refused is named by an abort.

use std::ops::Range;

use crate::record::{ALIGN, HEADER, Header};
use crate::segment;

/// Words that a search passes over at once.
const STRIDE: usize = 512;

/// What stands in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// Octets that were records and are none any more. The range is empty when records are
    /// missing whose place is not known.
    Gap(Range<usize>),
    /// Octets of a group that, as far as can be seen, never was synced.
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
    /// The power may have gone while its last group was written.
    cut_short: bool,
    over: bool,
}

impl<'a> Scan<'a> {
    /// Looks through the octets of a segment file whose first record has the number `first`. When
    /// `synced` is known and the records end before it, the caller knows that some are missing:
    /// here or in a file that is not there.
    pub(crate) fn new(octets: &'a [u8], generation: u64, first: u64, synced: Option<u64>) -> Self {
        let offset = segment::HEADER as usize;
        let cut_short = synced.is_none();
        Self { octets, generation, offset, next: first, synced, cut_short, over: false }
    }

    /// As [`Scan::new`], for a segment that had been the last one when a run ended without
    /// warning, whatever later headers say about it: they count what was found at its end.
    pub(crate) fn cut_short(self) -> Self {
        Self { cut_short: true, ..self }
    }

    /// Goes on at `offset`, where the record with the number `next` should be, in octets that
    /// are known to have been synced.
    pub(crate) fn resume(octets: &'a [u8], generation: u64, offset: usize, next: u64) -> Self {
        Self { offset, ..Self::new(octets, generation, next, Some(u64::MAX)) }
    }

    /// The number after that of the last record.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Where the last record or gap ends.
    pub(crate) fn end(&self) -> usize {
        self.offset
    }

    /// Whether there is no whole record at all, before anything was read.
    pub(crate) fn is_blank(&self) -> bool {
        self.at(self.offset).is_none() && self.search(self.offset).is_none()
    }

    fn at(&self, offset: usize) -> Option<Record<'a>> {
        let octets = self.octets.get(offset..)?;
        let header = Header::decode(octets, self.generation).ok()?;
        let (facts, content) = header.body(&octets[HEADER..]).ok()?;
        Some(Record { offset, header, facts, content })
    }

    /// The next whole record of this segment, from this octet on, behind the one that should be
    /// here.
    fn search(&self, from: usize) -> Option<Record<'a>> {
        let (words, _) = self.octets.get(from..)?.as_chunks::<ALIGN>();
        let is_ours = |word: &[u8; ALIGN]| u64::from_le_bytes(*word) == self.generation;
        // A segment may be empty but for its header. Without a branch for each word, passing over
        // all of it takes a millisecond.
        let has_ours = |words: &[[u8; ALIGN]]| words.iter().fold(false, |has, w| has | is_ours(w));
        words
            .chunks(STRIDE)
            .enumerate()
            .filter(|(_, words)| has_ours(words))
            .flat_map(|(nth, words)| (nth * STRIDE..).zip(words))
            // The generation is the second word of a header.
            .filter(|(_, word)| is_ours(word))
            .filter_map(|(nth, _)| (from + nth * ALIGN).checked_sub(ALIGN))
            .filter_map(|offset| self.at(offset))
            .find(|record| self.counts(record.header.sequence))
    }

    fn counts(&self, sequence: u64) -> bool {
        sequence > self.next && self.synced.is_none_or(|synced| sequence < synced)
    }

    /// Whether the record that should be here had been synced, when `later` is the next one.
    fn was_synced(&self, mut later: Option<Record<'a>>) -> bool {
        if !self.cut_short {
            return true;
        }
        while let Some(record) = later {
            if record.header.group() > self.next {
                return true;
            }
            later = self.search(record.offset + record.header.length());
        }
        false
    }

    /// Where the record that is not whole ends, if its header at least is.
    fn broken_end(&self) -> Option<usize> {
        let header = Header::decode(self.octets.get(self.offset..)?, self.generation).ok()?;
        let end = self.offset + header.length();
        (header.sequence == self.next && end <= self.octets.len()).then_some(end)
    }

    /// Whether a record was begun here: its header is damaged, but the generation is ours, give
    /// or take a flipped bit. That of the file's former life is another in half of all bits.
    fn was_begun(&self) -> bool {
        let word = self.octets.get(self.offset + ALIGN..).and_then(|octets| octets.first_chunk());
        word.is_some_and(|word| (u64::from_le_bytes(*word) ^ self.generation).count_ones() <= 1)
    }

    /// Goes past the octets that are no record, and says which they are.
    fn skip(&mut self, later: Option<Record<'a>>) -> Option<Range<usize>> {
        let begin = self.offset;
        match (self.broken_end(), later) {
            // The header says how long it was and which number it had.
            (Some(end), later) if later.is_some() || self.synced.is_some() => {
                (self.offset, self.next) = (end, self.next + 1);
                Some(begin..end)
            }
            (_, Some(record)) => {
                (self.offset, self.next) = (record.offset, record.header.sequence);
                Some(begin..record.offset)
            }
            // Nothing is behind it. Its number is free.
            (_, None) => {
                self.over = true;
                self.rest()
            }
        }
    }

    /// What is left of a record behind which there is nothing.
    fn rest(&self) -> Option<Range<usize>> {
        let begun = self.cut_short && self.was_begun();
        let end = self.broken_end().or(begun.then_some(self.octets.len()));
        end.map(|end| self.offset..end)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.over {
            return None;
        }
        if self.synced.is_some_and(|synced| self.next >= synced) {
            self.over = true;
            // What a start has found there before it wrote on.
            let torn =
                if self.cut_short && self.at(self.offset).is_none() { self.rest() } else { None };
            return torn.map(Found::Torn);
        }
        if let Some(record) = self.at(self.offset).filter(|r| r.header.sequence == self.next) {
            self.offset += record.header.length();
            self.next += 1;
            return Some(Found::Record(record));
        }
        let later = self.search(self.offset);
        let was_synced = self.was_synced(later);
        let range = self.skip(later)?;
        Some(if was_synced { Found::Gap(range) } else { Found::Torn(range) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;
    use crate::wire::tests::Noise;

    const GENERATION: u64 = 77;

    /// A segment whose groups have so many records, from number 10 on, and where they begin.
    fn segment(groups: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut octets = vec![0; segment::HEADER as usize];
        let mut begins = Vec::new();
        let mut next = 10;
        for records in groups {
            let mut group = Group::default();
            for _ in 0..*records {
                begins.push(octets.len() + group.abort(1, 2).offset);
            }
            octets.extend_from_slice(group.complete(GENERATION, next));
            next += *records as u64;
        }
        // As in a file that was used before, or made of zeros.
        let mut other = Group::default();
        other.abort(3, 4);
        octets.extend_from_slice(other.complete(!GENERATION, next));
        octets.resize(octets.len() + 500, 0);
        (octets, begins)
    }

    /// The numbers of the records, and what else was found.
    fn scan(octets: &[u8], synced: Option<u64>) -> (Vec<u64>, Vec<Found<'_>>) {
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        for found in Scan::new(octets, GENERATION, 10, synced) {
            match found {
                Found::Record(record) => numbers.push(record.header.sequence),
                other => others.push(other),
            }
        }
        (numbers, others)
    }

    #[test]
    fn a_whole_segment_ends_where_the_former_life_of_its_file_begins() {
        let (octets, _) = segment(&[1, 3, 2]);
        assert_eq!(scan(&octets, None), ((10..16).collect(), vec![]));
        assert_eq!(scan(&octets, Some(16)), ((10..16).collect(), vec![]));
    }

    #[test]
    fn the_whole_records_of_a_torn_group_are_kept() {
        let (mut octets, begins) = segment(&[1, 3]);
        octets[begins[2] + 20] ^= 1;
        let (numbers, others) = scan(&octets, None);
        assert_eq!(numbers, [10, 11, 13], "12 may have been acknowledged, and so may 13");
        assert_eq!(others, [Found::Torn(begins[2]..begins[3])]);
    }

    #[test]
    fn the_very_last_record_is_named_when_any_bit_of_it_is_flipped() {
        let (whole, begins) = segment(&[1, 2]);
        let length = begins[2] - begins[1];
        for bit in 0..length * 8 {
            let mut octets = whole.clone();
            octets[begins[2] + bit / 8] ^= 1 << (bit % 8);
            let (numbers, others) = scan(&octets, None);
            match numbers[..] {
                [10, 11] => {
                    let [Found::Torn(range)] = &others[..] else { panic!("{bit}: {others:?}") };
                    assert!(range.start == begins[2] && range.end >= begins[2] + length);
                }
                // The last octets of a record are unused.
                _ => assert_eq!((numbers, others), (vec![10, 11, 12], vec![]), "{bit}"),
            }
        }
    }

    #[test]
    fn a_later_group_proves_that_the_record_had_been_synced() {
        let (mut octets, begins) = segment(&[1, 3, 1]);
        octets[begins[2] + 20] ^= 1;
        let (numbers, others) = scan(&octets, None);
        assert_eq!(numbers, [10, 11, 13, 14]);
        assert_eq!(others, [Found::Gap(begins[2]..begins[3])]);
    }

    #[test]
    fn the_next_segment_proves_it_too() {
        let (mut octets, begins) = segment(&[1, 3]);
        octets[begins[3] + 50] ^= 1;
        let (numbers, others) = scan(&octets, Some(14));
        assert_eq!(numbers, [10, 11, 12]);
        let end = begins[3] + (begins[3] - begins[2]);
        assert_eq!(others, [Found::Gap(begins[3]..end)], "its header says how long it was");
        assert_eq!(scan(&octets, Some(13)), (vec![10, 11, 12], vec![]), "it does not count");
    }

    #[test]
    fn a_later_start_finds_what_the_first_has_found() {
        for (torn, next) in [(1, 14), (3, 13)] {
            let (mut octets, begins) = segment(&[1, 3]);
            octets[begins[torn] + 60] ^= 1;
            let first: Vec<_> = Scan::new(&octets, GENERATION, 10, None).collect();
            let later = Scan::new(&octets, GENERATION, 10, Some(next)).cut_short();
            assert_eq!(later.collect::<Vec<_>>(), first);
            assert!(first.iter().any(|found| matches!(found, Found::Torn(_))));
        }
    }

    #[test]
    fn a_record_that_is_gone_altogether_is_missed_by_its_number() {
        let (mut octets, begins) = segment(&[1, 1, 1]);
        let whole = octets.clone();
        octets[begins[2]..].fill(0);
        for synced in [None, Some(13)] {
            let mut scan = Scan::new(&octets, GENERATION, 10, synced);
            assert_eq!(scan.by_ref().count(), 2);
            assert_eq!((scan.next_sequence(), scan.end()), (12, begins[2]));
        }
        let (numbers, others) = {
            let mut numbers = Vec::new();
            let mut others = Vec::new();
            for found in Scan::new(&whole, GENERATION, 7, Some(13)) {
                match found {
                    Found::Record(record) => numbers.push(record.header.sequence),
                    other => others.push(other),
                }
            }
            (numbers, others)
        };
        assert_eq!(numbers, [10, 11, 12], "three are missing before them");
        assert_eq!(others, [Found::Gap(begins[0]..begins[0])]);
    }

    #[test]
    fn damage_costs_the_records_it_hits_and_no_others() {
        let mut noise = Noise::new(6);
        for _ in 0..2000 {
            let (mut octets, begins) = segment(&[2, 3, 1, 2, 2]);
            let at = begins[0] + noise.below(begins[9] - begins[0]);
            let length = 1 + noise.below(100);
            let hit = at..(at + length).min(begins[9]);
            octets[hit.clone()].copy_from_slice(&noise.octets(hit.len()));
            let (numbers, _) = scan(&octets, Some(20));
            for (number, ends) in (10..).zip(begins.windows(2)) {
                if ends[1] <= hit.start || ends[0] >= hit.end {
                    assert!(numbers.contains(&number), "{number} is not in {numbers:?}");
                }
            }
        }
    }
}
