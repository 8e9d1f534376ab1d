//! Reads what is on disk and checks every checksum: what an administrator asks of a queue before
//! trusting it.
//!
//! The journal is checked one segment a call, beside whoever works with it: the segment is pinned
//! while it is read, and nothing is locked. Every record of it is looked at, also those that do
//! not count any more; of the messages that are in the queue facts and content are opened too, so
//! that with encryption it is known that the keys fit. Contents in files of their own are checked
//! by reading them to their end ([`Reader::open`]).

use std::collections::{BTreeSet, HashSet};
use std::io;

use crate::disk::read_exact_at;
use crate::facts::Facts;
use crate::id::MessageId;
use crate::reader::Reader;
use crate::record::{Header, IN_FILE, Kind};
use crate::scan::{Found, Record, Scan};
use crate::segment::{self, Place, Segment};

/// What was found in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The number of the segment, to ask for the next.
    pub segment: u32,
    /// Whole records.
    pub records: u64,
    /// Messages of the queue whose record is there and whole.
    pub messages: u64,
    /// Their envelopes.
    pub envelopes: u64,
    /// Octets of their contents.
    pub octets: u64,
    /// When the oldest of them was accepted, in microseconds since 1970.
    pub oldest: Option<u64>,
    /// What is damaged, a line each.
    pub damaged: Vec<String>,
    /// The ids of the keys that records are written under; 0 for records that are not encrypted.
    pub keys: BTreeSet<u32>,
}

impl Reader {
    /// The number of the newest segment: where a check that begins now should end. `None` without
    /// any.
    pub fn last_segment(&self) -> Option<u32> {
        self.table.lock().segments().last().map(|(number, _)| number)
    }

    /// Checks the oldest segment behind the one with the number `after`; `None` when there is
    /// none. A disk that cannot read it is damage as well.
    pub fn verify(&self, after: u32) -> Option<Verified> {
        let (number, end, _pin) = {
            let table = self.table.lock();
            let mut segments = table.segments();
            let (number, extent) = segments.find(|(number, _)| *number > after)?;
            (number, extent.end, table.pin(number))
        };
        let mut verified = Verified { segment: number, ..Verified::default() };
        if let Err(error) = self.verify_segment(end, &mut verified) {
            verified.damaged.push(format!("segment {}: {error}", segment::name(number)));
        }
        Some(verified)
    }

    /// At most `limit` of the messages whose content is in a file of its own, in the order of
    /// their ids, beginning behind `after`.
    pub fn in_files(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        let table = self.table.lock();
        let in_file = |id: &MessageId| table.get(*id).is_some_and(|live| live.in_file);
        table.behind(after).filter(in_file).take(limit).collect()
    }

    fn verify_segment(&self, end: u64, verified: &mut Verified) -> io::Result<()> {
        let number = verified.segment;
        let name = segment::name(number);
        let file = self.disk.open(&self.dir.join(&name))?;
        let mut octets = vec![0; usize::try_from(end).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut octets, 0)?;
        let generation = segment::generation(self.key, number);
        let begin = segment::HEADER as usize;
        let first = match Segment::decode(&octets, number) {
            Ok(header) => header.first,
            Err(error) => {
                verified.damaged.push(format!("segment {name}: {error}"));
                let first = octets.get(begin..).unwrap_or_default();
                Header::decode(first, generation).map_or(0, |header| header.sequence)
            }
        };
        let mut seen = HashSet::new();
        for found in Scan::resume(&octets, generation, begin, first) {
            match found {
                Found::Record(record) => {
                    verified.records += 1;
                    if !matches!(record.header.kind, Kind::Abort | Kind::Close) {
                        verified.keys.insert(record.header.key);
                    }
                    if record.header.kind == Kind::Message
                        && let Err(error) = self.verify_message(&record, &mut seen, verified)
                    {
                        let at = record.offset;
                        verified.damaged.push(format!("segment {name}: record at {at}: {error}"));
                    }
                }
                Found::Gap(range) | Found::Torn(range) if !range.is_empty() => {
                    let (offset, octets) = (range.start, range.len());
                    verified
                        .damaged
                        .push(format!("segment {name}: {octets} octets at {offset} are damaged"));
                }
                Found::Gap(_) | Found::Torn(_) => {} // the end
            }
        }
        self.missed(&seen, verified);
        Ok(())
    }

    /// Names the messages that are in the queue by a record of this segment which was not seen.
    /// One that has been settled or copied meanwhile is not missed.
    fn missed(&self, seen: &HashSet<MessageId>, verified: &mut Verified) {
        let number = verified.segment;
        let table = self.table.lock();
        let extent = table.segments().find(|(other, _)| *other == number);
        // Nearly always there are no more than were seen, and all need not be looked through.
        if extent.is_none_or(|(_, extent)| extent.live as usize <= seen.len()) {
            return;
        }
        let here = table.iter().filter(|(_, live)| live.place.segment == number);
        let missed = here.map(|(id, _)| id).filter(|id| !seen.contains(id));
        verified.damaged.extend(missed.map(|id| format!("message {id}: its record is damaged")));
    }

    /// Opens a message and its content, and counts it, if this is the record that counts.
    fn verify_message(
        &self,
        record: &Record<'_>,
        seen: &mut HashSet<MessageId>,
        verified: &mut Verified,
    ) -> io::Result<()> {
        let facts = record.header.open_facts(self.keys(), record.facts)?;
        let id = Facts::id(&facts)?;
        let place =
            Place { segment: verified.segment, offset: u32::try_from(record.offset).unwrap_or(0) };
        let left = match self.table.lock().get(id) {
            Some(live) if live.place == place => live.left().count(),
            _ => return Ok(()),
        };
        seen.insert(id);
        let Facts { message, file, .. } = Facts::take(&facts)?;
        let octets = match file {
            Some(file) if record.header.flags & IN_FILE != 0 => file.octets,
            _ => record.header.open_content(self.keys(), id, record.content)?.len() as u64,
        };
        verified.messages += 1;
        verified.envelopes += left as u64;
        verified.octets += octets;
        verified.oldest = verified.oldest.into_iter().chain([message.ctime]).min();
        Ok(())
    }
}
