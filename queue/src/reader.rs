//! Reads messages of the queue, from any thread.
//!
//! A message is found by its id, wherever copying forward has put it since; the segment is
//! pinned while its octets are read, so that the file is not used again meanwhile.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::budget::Buffer;
use crate::codec::{Keys, Opener};
use crate::destination::Destinations;
use crate::disk::{Disk, File, is_damage, read_exact_at};
use crate::encode::take_outcome;
use crate::envelope::{Message, State};
use crate::facts::Facts;
use crate::id::{EnvelopeId, MessageId};
use crate::lease::Epoch;
use crate::record::{DOT_LINES, HEADER, Header, Kind};
use crate::request::Stored;
use crate::segment::{self, Place};
use crate::spool::{Finished, Form, Spool};
use crate::table::{Live, Pin, Shared, Table};
use crate::window::{Sought, Windows};
use crate::wire::Take;

/// Messages that are looked up under one lock: some hundred microseconds.
const TOGETHER: usize = 1024;
/// Messages that are listed under one lock: a millisecond.
const SOME: usize = 10_000;

/// See the module.
#[derive(Clone)]
pub struct Reader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    pub(crate) key: u64,
    pub(crate) table: Shared,
    spool: Spool,
    keys: Keys,
    epoch: Epoch,
}

/// A message of the queue as it stands now.
#[derive(Clone, Debug)]
pub struct Found {
    /// The message, with only those of its envelopes that are still in the queue.
    pub message: Arc<Message>,
    /// One for each envelope, in the same order.
    pub states: Vec<State>,
    /// Its content.
    pub content: Stored,
}

/// A message as its records say.
pub(crate) struct Parts {
    pub(crate) message: Message,
    pub(crate) states: Vec<State>,
    pub(crate) file: Option<Finished>,
    pub(crate) header: Header,
    /// Octets of the content.
    pub(crate) octets: u64,
}

impl Reader {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        key: u64,
        table: Shared,
        spool: Spool,
        keys: Keys,
    ) -> Self {
        Self { disk, dir: dir.into(), key, table, spool, keys, epoch: Epoch::default() }
    }

    pub(crate) fn of_epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// Under which this opening of the queue lends its envelopes.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What records are opened with.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether what was in the queue at the start has been read. Until then only mail that came
    /// since is found.
    pub fn is_complete(&self) -> bool {
        self.table.lock().is_complete()
    }

    /// How many messages are in the queue.
    pub fn messages(&self) -> usize {
        self.table.lock().len()
    }

    /// At most `limit` of the messages in the queue, in the order of their ids, beginning
    /// behind `after`.
    pub fn behind(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        self.table.lock().behind(after).take(limit).collect()
    }

    /// All messages in the queue, in the order of the journal, which is the fastest to read them
    /// in.
    pub fn in_order(&self) -> Vec<MessageId> {
        let mut all: Vec<(Place, MessageId)> = Vec::new();
        let mut after = None;
        loop {
            // In pieces, as the commit waits for the lock.
            let table = self.table.lock();
            let some = table.behind(after).take(SOME);
            all.extend(some.filter_map(|id| Some((table.get(id)?.place, id))));
            drop(table);
            let last = all.last().map(|(_, id)| *id);
            if last == after {
                break;
            }
            after = last;
        }
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// How the envelopes of this queue are sorted into lanes.
    pub fn destinations(&self) -> Destinations {
        Destinations::new(self.key ^ self.keys.lanes())
    }

    /// A message and how it stands; `None` when it is not in the queue.
    ///
    /// Errors are those of the disk; `InvalidData` says that its record is damaged.
    pub fn message(&self, id: MessageId) -> io::Result<Option<Found>> {
        Ok(self.parts(id)?.map(Parts::found))
    }

    /// Messages and how they stand, as [`Reader::message`] gives them and in the order asked for.
    /// Many at once cost far less than one by one.
    pub fn all(&self, ids: &[MessageId]) -> Vec<(MessageId, io::Result<Option<Found>>)> {
        let mut all: Vec<_> = ids.iter().map(|id| (*id, Ok(None))).collect();
        for all in all.chunks_mut(TOGETHER) {
            // Before the first octet is read: see `window`. Each segment is pinned once.
            let mut pins = BTreeMap::new();
            let mut live: Vec<_> = {
                let table = self.table.lock();
                let live = all.iter_mut().filter_map(|slot| {
                    let live = table.get(slot.0)?.clone();
                    for segment in segments(&live) {
                        pins.entry(segment).or_insert_with(|| table.pin(segment));
                    }
                    Some((live, slot))
                });
                live.collect()
            };
            live.sort_unstable_by_key(|(live, _)| live.place);
            let mut windows = Windows::default();
            for (live, slot) in &mut live {
                slot.1 = self.put_together(live, &mut windows).map(|parts| Some(parts.found()));
            }
        }
        all
    }

    /// The content of a message, to be read from its beginning.
    ///
    /// `NotFound` says that the message is not in the queue any more, `InvalidData` that its
    /// record is damaged. A content file is read as it goes, and is only known to be whole
    /// when its end has been read without an error.
    pub fn open(&self, stored: &Stored) -> io::Result<ContentReader> {
        if let Some(memory) = &stored.memory {
            return Ok(ContentReader::of_buffer(memory.clone()));
        }
        let id = stored.message;
        let gone = || {
            let text = format!("message {id} is not in the queue");
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let (live, pins) = self.look_up(id).ok_or_else(gone)?;
        if live.in_file {
            let mut windows = Windows::default();
            let (_, facts) = self.facts(live.place, Sought::Message, &mut windows)?;
            drop(pins);
            let facts = Facts::take(&facts)?.file.ok_or_else(damaged)?;
            let unread = Unread::new(self.spool.open(id)?, facts);
            return Ok(ContentReader(From::File(unread)));
        }
        let content = self.inline(id, live.place)?;
        Ok(ContentReader(From::Journal(io::Cursor::new(content))))
    }

    /// The content in a record.
    fn inline(&self, id: MessageId, place: Place) -> io::Result<Vec<u8>> {
        let file = self.segment(place)?;
        let (header, begin) = self.header(&*file, place)?;
        let mut content = vec![0; header.content as usize];
        read_exact_at(&*file, &mut content, begin + u64::from(header.facts))?;
        if crc32c::crc32c(&content) != header.content_sum {
            return Err(damaged());
        }
        Ok(header.open_content(&self.keys, id, &content)?.into_owned())
    }

    /// A message with the content of its record, which is empty when it is in a file. To be
    /// called by the one who moves records, so that all this is of one of them.
    pub(crate) fn whole(&self, id: MessageId) -> io::Result<Option<(Parts, Vec<u8>)>> {
        let Some((live, _pins)) = self.look_up(id) else { return Ok(None) };
        let Some(parts) = self.parts(id)? else { return Ok(None) };
        let content = if live.in_file { Vec::new() } else { self.inline(id, live.place)? };
        Ok(Some((parts, content)))
    }

    /// A message put together from its record and the latest outcomes of its envelopes.
    pub(crate) fn parts(&self, id: MessageId) -> io::Result<Option<Parts>> {
        let Some((live, _pins)) = self.look_up(id) else { return Ok(None) };
        self.put_together(&live, &mut Windows::default()).map(Some)
    }

    fn put_together(&self, live: &Live, windows: &mut Windows) -> io::Result<Parts> {
        let (header, facts) = {
            let (header, facts) = self.facts(live.place, Sought::Message, windows)?;
            (header, Facts::take(&facts)?)
        };
        let Facts { file, inline, mut message, states, .. } = facts;
        let all = std::mem::take(&mut message.envelopes).into_iter().zip(states);
        let mut left = live.left().peekable();
        let mut states = Vec::new();
        for (envelope, state) in all {
            let Some((_, outcome)) = left.next_if(|(nth, _)| *nth == envelope.id.nth()) else {
                continue;
            };
            states.push(match outcome {
                None => state,
                Some(place) => self.state(envelope.id, place, message.ctime, windows)?,
            });
            message.envelopes.push(envelope);
        }
        if left.next().is_some() {
            return Err(damaged());
        }
        let octets = match (&file, inline) {
            (Some(file), _) => file.octets,
            (None, Some(octets)) => octets,
            (None, None) => u64::from(header.content),
        };
        Ok(Parts { message, states, file, header, octets })
    }

    /// The state that an outcome left behind. A damaged one is as good as none: the envelope
    /// is tried again.
    fn state(
        &self,
        id: EnvelopeId,
        place: Place,
        ctime: u64,
        windows: &mut Windows,
    ) -> io::Result<State> {
        let read = self.facts(place, Sought::Outcome, windows).and_then(|(header, facts)| {
            let outcome = match header.kind {
                Kind::Outcome => Some(take_outcome(&mut Take(&facts))?),
                _ => Facts::take(&facts)?.causes.into_iter().rfind(|cause| cause.envelope == id),
            };
            outcome.as_ref().and_then(State::after).ok_or_else(damaged)
        });
        match read {
            Err(error) if is_damage(&error) => Ok(State::new(ctime)),
            other => other,
        }
    }

    /// Where a message is, and pins for all the segments it takes to read it.
    fn look_up(&self, id: MessageId) -> Option<(Live, Vec<Pin>)> {
        look_up(&self.table.lock(), id)
    }

    fn segment(&self, place: Place) -> io::Result<Box<dyn File>> {
        self.disk.open(&self.dir.join(segment::name(place.segment)))
    }

    /// The header of a record and where its facts begin.
    fn header(&self, file: &dyn File, place: Place) -> io::Result<(Header, u64)> {
        let mut octets = [0; HEADER];
        read_exact_at(file, &mut octets, u64::from(place.offset))?;
        let generation = segment::generation(self.key, place.segment);
        let header = Header::decode(&octets, generation)?;
        Ok((header, u64::from(place.offset) + HEADER as u64))
    }

    /// The header and the facts of a record, opened.
    fn facts<'w>(
        &self,
        place: Place,
        sought: Sought,
        windows: &'w mut Windows,
    ) -> io::Result<(Header, Cow<'w, [u8]>)> {
        let begin = u64::from(place.offset);
        let file = windows.of(place.segment, || self.segment(place))?;
        let generation = segment::generation(self.key, place.segment);
        let header = Header::decode(file.read(sought, begin, HEADER)?, generation)?;
        let facts = file.read(sought, begin + HEADER as u64, header.facts as usize)?;
        if crc32c::crc32c(facts) != header.facts_sum {
            return Err(damaged());
        }
        Ok((header, header.open_facts(&self.keys, facts)?))
    }
}

impl Parts {
    fn found(self) -> Found {
        let Self { message, states, header, octets, .. } = self;
        let dot_lines = header.flags & DOT_LINES != 0;
        let content = Stored { message: message.id, octets, dot_lines, memory: None };
        Found { message: Arc::new(message), states, content }
    }
}

fn look_up(table: &Table, id: MessageId) -> Option<(Live, Vec<Pin>)> {
    let live = table.get(id)?.clone();
    let pins = segments(&live).filter_map(|segment| table.pin(segment)).collect();
    Some((live, pins))
}

/// The segments it takes to read a message.
fn segments(live: &Live) -> impl Iterator<Item = u32> {
    let outcomes = live.left().filter_map(|(_, place)| Some(place?.segment));
    outcomes.chain([live.place.segment])
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged record")
}

/// The content of one message.
pub struct ContentReader(From);

impl ContentReader {
    /// Reads this content.
    pub(crate) fn of_octets(octets: Arc<[u8]>) -> Self {
        Self(From::Octets(io::Cursor::new(octets)))
    }

    /// Reads content that is still in memory from its commit.
    pub(crate) fn of_buffer(buffer: Arc<Buffer>) -> Self {
        Self(From::Memory(buffer, 0))
    }
}

enum From {
    Octets(io::Cursor<Arc<[u8]>>),
    Memory(Arc<Buffer>, usize),
    Journal(io::Cursor<Vec<u8>>),
    File(Unread),
}

/// A content file that is read as it goes.
struct Unread {
    file: Box<dyn File>,
    /// What the journal says about it.
    facts: Finished,
    /// Octets of content that have been given.
    offset: u64,
    checksum: u32,
    frames: Option<Frames>,
}

/// A content file in frames.
struct Frames {
    opener: Opener,
    /// The frame that is being given, and how far.
    open: io::Cursor<Vec<u8>>,
}

impl Read for ContentReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            From::Memory(buffer, offset) => {
                let octets = buffer[*offset..].as_ref().read(into)?;
                *offset += octets;
                Ok(octets)
            }
            From::Octets(cursor) => cursor.read(into),
            From::Journal(cursor) => cursor.read(into),
            From::File(unread) => unread.read(into),
        }
    }
}

impl Unread {
    fn new(file: Box<dyn File>, facts: Finished) -> Self {
        let frames = match &facts.form {
            Form::Plain => None,
            Form::Frames(key) => {
                let opener = Opener::new(key.as_ref());
                Some(Frames { opener, open: io::Cursor::default() })
            }
        };
        Self { file, facts, offset: 0, checksum: 0, frames }
    }

    /// Compares length and checksum when the end has come; a longer file is read no further
    /// than the journal says.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.facts.octets - self.offset;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let octets = match &mut self.frames {
            None => self.file.read_at(&mut into[..most], self.offset)?,
            Some(frames) if most > 0 => match frames.read(&*self.file, &mut into[..most]) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => 0,
                other => other?,
            },
            Some(_) => 0,
        };
        self.offset += octets as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, &into[..octets]);
        let whole = self.offset == self.facts.octets && self.checksum == self.facts.checksum;
        let more = octets > 0 && self.offset < self.facts.octets;
        if !whole && !more && !into.is_empty() {
            let text = format!("content file {} is damaged", self.facts.id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(octets)
    }
}

impl Frames {
    fn read(&mut self, file: &dyn File, into: &mut [u8]) -> io::Result<usize> {
        if self.open.position() == self.open.get_ref().len() as u64 {
            self.open = io::Cursor::new(self.opener.frame(file)?);
        }
        self.open.read(into)
    }
}
