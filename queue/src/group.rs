//! A group of records: encoded and sealed one after the other into one buffer, completed with
//! what only the writing knows, written with one write.

use crate::codec::{Codec, Part};
use crate::encode::put_outcome;
use crate::envelope::{Message, Outcome, State};
use crate::facts::{Facts, Whereabouts};
use crate::id::MessageId;
use crate::record::{ALIGN, FACTS, HEADER, Header, IN_FILE, Kind, SMALL_CONTENT, SMALL_FACTS};
use crate::spool::{Finished, INLINE};

/// Octets of the buffer that are kept from group to group.
const KEPT: usize = 1 << 20;

/// Records to be written and synced together. The buffer is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Group {
    octets: Vec<u8>,
    /// The records' headers, complete but for generation, sequence and place.
    records: Vec<(usize, Header)>,
    codec: Codec,
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
    /// In the record; nothing when it is in a file.
    pub(crate) inline: &'a [u8],
    pub(crate) file: Option<&'a Finished>,
}

/// The record would be larger than any reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What a record holds, before it is sealed.
enum Body<'a> {
    /// Facts to be sealed, and a message's content if it is here. An empty content is sealed,
    /// too, so that none can be made one.
    Sealed(Option<(MessageId, &'a [u8])>),
    /// Facts that are never sealed.
    Plain,
}

impl Group {
    /// An empty group, whose records are sealed by `codec`.
    pub(crate) fn new(codec: Codec) -> Self {
        Self { octets: Vec::new(), records: Vec::new(), codec }
    }

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
        if content.inline.len() > INLINE {
            return Err(TooLarge);
        }
        let flags = content.flags | if content.file.is_some() { IN_FILE } else { 0 };
        let at = match content.file {
            Some(file) => Whereabouts::File(file),
            None => Whereabouts::Inline(content.inline.len() as u64),
        };
        let inline = content.file.is_none().then_some((message.id, content.inline));
        let put = |octets: &mut Vec<u8>| Facts::put(octets, causes, at, message, states);
        self.record(Kind::Message, flags, put, Body::Sealed(inline))
    }

    /// Adds an outcome.
    pub(crate) fn outcome(&mut self, outcome: &Outcome) -> Member {
        let put = |octets: &mut Vec<u8>| put_outcome(octets, outcome);
        self.record(Kind::Outcome, 0, put, Body::Sealed(None)).expect("an outcome is short")
    }

    /// Adds the abort of the records from this number to before that.
    pub(crate) fn abort(&mut self, from: u64, to: u64) -> Member {
        let put = |octets: &mut Vec<u8>| {
            octets.extend_from_slice(&from.to_le_bytes());
            octets.extend_from_slice(&to.to_le_bytes());
        };
        self.record(Kind::Abort, 0, put, Body::Plain).expect("16 octets")
    }

    /// Adds the end of an orderly run.
    pub(crate) fn close(&mut self, ids: u64) -> Member {
        let put = |octets: &mut Vec<u8>| octets.extend_from_slice(&ids.to_le_bytes());
        self.record(Kind::Close, 0, put, Body::Plain).expect("8 octets")
    }

    fn record(
        &mut self,
        kind: Kind,
        flags: u8,
        put: impl FnOnce(&mut Vec<u8>),
        body: Body<'_>,
    ) -> Result<Member, TooLarge> {
        let Self { octets, codec, .. } = self;
        let offset = octets.len();
        octets.extend_from_slice(&[0; HEADER]);
        let begin = octets.len();
        put(octets);
        if octets.len() - begin > FACTS {
            octets.truncate(offset);
            return Err(TooLarge);
        }
        let (mut small, mut key, mut middle) = (0, 0, octets.len());
        if let Body::Sealed(content) = body {
            key = codec.key_id();
            if codec.seal(octets, begin, Part::Facts { kind: kind as u8, flags }) {
                small |= SMALL_FACTS;
            }
            middle = octets.len();
            if let Some((message, content)) = content {
                octets.extend_from_slice(content);
                if codec.seal(octets, middle, Part::Content(message)) {
                    small |= SMALL_CONTENT;
                }
            }
        }
        let (facts, content) = octets[begin..].split_at(middle - begin);
        let header = Header {
            generation: 0,
            sequence: 0,
            place: 0,
            kind,
            flags,
            codec: small,
            key,
            facts: facts.len() as u32,
            content: content.len() as u32,
            facts_sum: crc32c::crc32c(facts),
            content_sum: crc32c::crc32c(content),
        };
        octets.resize(octets.len().next_multiple_of(ALIGN), 0);
        self.records.push((offset, header));
        Ok(Member { offset, length: self.octets.len() - offset })
    }

    /// Completes the headers for a segment of this generation, numbering from `first`, and
    /// returns what is to be written.
    pub(crate) fn complete(&mut self, generation: u64, first: u64) -> &[u8] {
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
        octets.extend_from_slice(group.complete(42, first));
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
    fn a_group_can_be_completed_again_for_another_segment() {
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
