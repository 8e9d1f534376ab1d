//! A group of records: encoded one after the other into one buffer, sealed with what only the
//! writing knows, written with one write.

use crate::encode::put_outcome;
use crate::envelope::{Message, Outcome, State};
use crate::facts::Facts;
use crate::record::{ALIGN, FACTS, HEADER, Header, IN_FILE, Kind};
use crate::spool::{Finished, INLINE};

/// Octets of the buffer that are kept from group to group.
const KEPT: usize = 1 << 20;

/// Records to be written and synced together. The buffer is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Group {
    octets: Vec<u8>,
    /// The records' headers, complete but for generation, sequence and place.
    records: Vec<(usize, Header)>,
}

/// A record that is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where it begins, from the beginning of the group.
    pub(crate) offset: usize,
    /// How long it is.
    pub(crate) length: usize,
}

/// Content as it goes into a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stowed<'a> {
    pub(crate) flags: u8,
    pub(crate) inline: &'a [u8],
    pub(crate) file: Option<Finished>,
}

/// The record would be larger than any reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Group {
    /// Octets so far.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    /// Records so far.
    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// Empties the group, and gives back what an unusually large one took.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.octets.clear();
        self.octets.shrink_to(KEPT);
    }

    /// Takes off the last record.
    pub(crate) fn pop(&mut self) {
        if let Some((offset, _)) = self.records.pop() {
            self.octets.truncate(offset);
        }
    }

    /// Adds a message; `states` is empty when it is new.
    pub(crate) fn message(
        &mut self,
        message: &Message,
        states: &[State],
        causes: &[Outcome],
        content: Stowed<'_>,
    ) -> Result<Member, TooLarge> {
        let flags = content.flags | if content.file.is_some() { IN_FILE } else { 0 };
        let put = |octets: &mut Vec<u8>| Facts::put(octets, causes, content.file, message, states);
        let member = self.record(Kind::Message, flags, put, content.inline);
        let (_, header) = self.records.last().expect("just added");
        if header.facts as usize > FACTS || content.inline.len() > INLINE {
            self.pop();
            return Err(TooLarge);
        }
        Ok(member)
    }

    /// Adds an outcome.
    pub(crate) fn outcome(&mut self, outcome: &Outcome) -> Member {
        self.record(Kind::Outcome, 0, |octets| put_outcome(octets, outcome), &[])
    }

    /// Adds the abort of the records from this number to before that.
    pub(crate) fn abort(&mut self, from: u64, to: u64) -> Member {
        let put = |octets: &mut Vec<u8>| {
            octets.extend_from_slice(&from.to_le_bytes());
            octets.extend_from_slice(&to.to_le_bytes());
        };
        self.record(Kind::Abort, 0, put, &[])
    }

    /// Adds the end of an orderly run.
    pub(crate) fn close(&mut self, ids: u64) -> Member {
        let put = |octets: &mut Vec<u8>| octets.extend_from_slice(&ids.to_le_bytes());
        self.record(Kind::Close, 0, put, &[])
    }

    fn record(
        &mut self,
        kind: Kind,
        flags: u8,
        put: impl FnOnce(&mut Vec<u8>),
        content: &[u8],
    ) -> Member {
        let offset = self.octets.len();
        self.octets.extend_from_slice(&[0; HEADER]);
        put(&mut self.octets);
        let facts = &self.octets[offset + HEADER..];
        let header = Header {
            generation: 0,
            sequence: 0,
            place: 0,
            kind,
            flags,
            facts: u32::try_from(facts.len()).unwrap_or(u32::MAX),
            content: u32::try_from(content.len()).unwrap_or(u32::MAX),
            facts_sum: crc32c::crc32c(facts),
            content_sum: crc32c::crc32c(content),
        };
        self.octets.extend_from_slice(content);
        self.octets.resize(self.octets.len().next_multiple_of(ALIGN), 0);
        self.records.push((offset, header));
        Member { offset, length: self.octets.len() - offset }
    }

    /// Completes the headers for a segment of this generation, numbering from `first`, and
    /// returns what is to be written.
    pub(crate) fn seal(&mut self, generation: u64, first: u64) -> &[u8] {
        for (place, (offset, header)) in (0..).zip(&self.records) {
            let sequence = first + u64::from(place);
            let header = Header { generation, sequence, place, ..*header };
            self.octets[*offset..offset + HEADER].copy_from_slice(&header.encode());
        }
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::message;
    use crate::record::DOT_LINES;
    use crate::scan::{Found, Scan};
    use crate::segment;

    const NOTHING: Stowed<'_> = Stowed { flags: 0, inline: &[], file: None };

    fn segment_of(group: &mut Group, first: u64) -> Vec<u8> {
        let mut octets = vec![0; segment::HEADER as usize];
        octets.extend_from_slice(group.seal(42, first));
        octets
    }

    #[test]
    fn what_goes_in_is_found_in_the_segment() {
        let mut group = Group::default();
        let stowed = Stowed { flags: DOT_LINES, inline: b".\r\n", file: None };
        let one = group.message(&message(1, 2), &[], &[], stowed).unwrap();
        let two = group.abort(3, 5);
        assert_eq!((one.offset, two.offset), (0, one.length));
        let octets = segment_of(&mut group, 10);
        let found: Vec<_> = Scan::new(&octets, 42, 10, None).collect();
        let [Found::Record(message), Found::Record(abort)] = found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(message.content, b".\r\n");
        assert_eq!(message.header.flags, DOT_LINES);
        assert_eq!((message.header.sequence, abort.header.sequence), (10, 11));
        assert_eq!((abort.header.kind, abort.header.place), (Kind::Abort, 1));
        assert_eq!(abort.offset, segment::HEADER as usize + two.offset);
    }

    #[test]
    fn a_group_can_be_sealed_again_for_another_segment() {
        let mut group = Group::default();
        group.abort(1, 2);
        segment_of(&mut group, 5);
        let octets = segment_of(&mut group, 9);
        let Some(Found::Record(record)) = Scan::new(&octets, 42, 9, None).next() else {
            panic!("not found");
        };
        assert_eq!((record.header.sequence, record.header.place), (9, 0));
    }

    #[test]
    fn the_last_record_can_be_taken_off() {
        let mut group = Group::default();
        group.abort(1, 2);
        let length = group.len();
        let big = vec![0; INLINE + 1];
        let stowed = Stowed { inline: &big, ..NOTHING };
        assert_eq!(group.message(&message(1, 1), &[], &[], stowed), Err(TooLarge));
        assert_eq!((group.len(), group.records()), (length, 1));
        group.pop();
        assert_eq!((group.len(), group.records()), (0, 0));
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut group = Group::default();
        let content = vec![0; INLINE];
        for number in 1..20 {
            let stowed = Stowed { inline: &content, ..NOTHING };
            group.message(&message(number, 1), &[], &[], stowed).unwrap();
        }
        group.clear();
        assert!(group.octets.capacity() <= KEPT);
    }
}
