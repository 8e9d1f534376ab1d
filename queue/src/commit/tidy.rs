//! Keeps the journal small: segments go strictly oldest first.
//!
//! One that holds no message of the queue any more is used again. One that holds some is
//! emptied when the journal has become wasteful: they are copied forward with their present
//! state, at a bounded rate, and synced, before the old file may be overwritten. An outcome
//! always stands behind the record of its message, so going oldest first never drops one while
//! that record is kept.

use std::io::{self, ErrorKind};
use std::time::Duration;

use smtpd_engine::time::Time;

use super::Commit;
use crate::disk::read_exact_at;
use crate::envelope::Message;
use crate::facts::Facts;
use crate::group::{Member, Stowed, TooLarge};
use crate::id::MessageId;
use crate::journal::{Failure, Purpose};
use crate::reader::Parts;
use crate::record::{DOT_LINES, Kind};
use crate::request::Done;
use crate::scan::{Found, Record, Scan};
use crate::segment::{self, Segment};
use crate::spares::KEPT;

/// How long an idle queue may be left alone: until ids that were taken for messages which
/// never came should be reserved anew.
const IDLE: Duration = Duration::from_secs(10);
/// Octets of a segment that are read, or looked through, in one call.
const PIECE: usize = 1 << 20;
/// Octets that are copied in one group, between two groups of others.
const COPIED: usize = 256 << 10;
/// How long the commit thread is left to others after such a piece: 16 MiB a second at most
/// are read, which empties a segment in a second or two.
const PAUSE: Duration = Duration::from_millis(60);
/// Between two files that are removed, each of which may hold up the syncs of others.
const UNLINKED: Duration = Duration::from_millis(500);

/// What is being tidied up.
#[derive(Default)]
pub(super) struct Tidy {
    /// The last segment that was written under another key than the one of today: up to there
    /// all are emptied, so that the other key is not needed any more in time.
    stale: u32,
    /// A message found no room since the journal was last made smaller.
    pub(super) full: bool,
    copying: Option<Copying>,
    /// Until then nothing is done, since the disk failed.
    rest: Time,
    /// Until then nothing is copied.
    copy: Time,
    /// Until then no file is removed.
    unlink: Time,
}

impl Tidy {
    /// Tidies a journal whose segments up to `stale` are written under another key.
    pub(super) fn new(stale: u32) -> Self {
        Self { stale, ..Self::default() }
    }
}

/// A segment that is being emptied.
struct Copying {
    number: u32,
    /// Where its last record ends.
    end: usize,
    /// What has been read of it.
    octets: Vec<u8>,
    /// How far it has been looked through.
    offset: usize,
    /// The sequence number of the record there.
    next: u64,
}

/// A message in the group of copies.
struct Copy {
    message: Message,
    in_file: bool,
    member: Member,
}

impl Commit {
    /// Does some of the work that nobody waits for. To be called after each turn, when its
    /// answers have left, and again when the time returned has passed. Mostly there is nothing
    /// to do, which costs less than a microsecond to find out.
    pub fn tidy<T>(&mut self, now: Time, done: &mut Vec<Done<T>>) -> Duration {
        if self.journal.is_uncertain() || !self.owed.is_empty() {
            self.turn(now, &mut Vec::new(), done);
        }
        if now < self.retry {
            return self.retry.saturating_since(now);
        }
        match self.step(now, done) {
            Ok(wait) => wait,
            Err(error) => {
                log::error!("warn: queue: journal: {error}");
                self.tidy.copying = None;
                self.tidy.rest = now + IDLE;
                IDLE
            }
        }
    }

    /// One piece of work, and when there is another.
    fn step<T>(&mut self, now: Time, done: &mut Vec<Done<T>>) -> io::Result<Duration> {
        if now < self.tidy.rest {
            return Ok(self.tidy.rest.saturating_since(now));
        }
        if self.journal.is_worn() {
            self.journal.begin(Purpose::Accept, 0)?;
            return Ok(Duration::ZERO);
        }
        if self.recycle(now)? {
            self.tidy.full = false;
            return Ok(Duration::ZERO);
        }
        if now < self.tidy.copy {
            return Ok(self.tidy.copy.saturating_since(now));
        }
        if self.tidy.copying.is_none() && !self.is_wasteful() && !self.is_stale() {
            return Ok(IDLE);
        }
        self.tidy.copy = now + PAUSE;
        self.copy(now, done)?;
        Ok(PAUSE)
    }

    /// Makes a spare file of the oldest segment if nothing in it counts any more.
    fn recycle(&mut self, now: Time) -> io::Result<bool> {
        let unlinks = self.spares.count() >= KEPT;
        let Some(number) = self.oldest(true).filter(|_| !unlinks || now >= self.tidy.unlink) else {
            return Ok(false);
        };
        self.spares.recycle(number)?;
        if unlinks {
            self.tidy.unlink = now + UNLINKED;
        }
        let retired = self.table.lock().retire(number);
        assert!(retired, "nobody can find anything in a segment without messages");
        // Its last messages may have been settled while it was being emptied.
        self.tidy.copying.take_if(|copying| copying.number == number);
        Ok(true)
    }

    /// The oldest segment, if a later one has its header on disk, which keeps the key and the
    /// ids: with `empty`, if it is empty and nobody reads it.
    fn oldest(&self, empty: bool) -> Option<u32> {
        let table = self.table.lock();
        let (number, extent) = table.segments().next()?;
        let fits = !empty || extent.is_unused();
        (fits && number < self.journal.standing()).then_some(number)
    }

    /// Whether emptying the oldest segment is worth the writing: more than half of the journal,
    /// and more than two segments, would be gained in the long run. When there was no room for
    /// a message, one segment is enough.
    fn is_wasteful(&self) -> bool {
        let table = self.table.lock();
        let all = table.segments().len() as u64 * self.capacity;
        let unused = all.saturating_sub(table.octets());
        let active = self.capacity;
        if self.tidy.full {
            return unused > 2 * active;
        }
        unused > active + table.octets().max(2 * self.capacity)
    }

    /// Whether the oldest segment is written under another key.
    fn is_stale(&self) -> bool {
        let table = self.table.lock();
        table.segments().next().is_some_and(|(number, _)| number <= self.tidy.stale)
    }

    /// Reads a piece of the segment that is being emptied, or copies what counts in a piece.
    fn copy<T>(&mut self, now: Time, done: &mut Vec<Done<T>>) -> io::Result<()> {
        let Some(mut copying) = self.tidy.copying.take().or_else(|| self.begin_copying()) else {
            return Ok(());
        };
        if copying.octets.len() < copying.end {
            copying.read(self)?;
            self.tidy.copying = Some(copying);
            return Ok(());
        }
        let (offset, next) = (copying.offset, copying.next);
        let (copies, over) = self.gather_copies(&mut copying)?;
        if let Err(failure) = self.write_copies(copies) {
            self.note_failure(now, &failure);
            // The messages stay where they are; the piece is looked through again.
            (copying.offset, copying.next) = (offset, next);
        } else if over {
            return self.set_aside(copying.number, done);
        }
        self.tidy.copying = Some(copying);
        Ok(())
    }

    fn begin_copying(&self) -> Option<Copying> {
        let number = self.oldest(false)?;
        let table = self.table.lock();
        let (_, extent) = table.segments().next()?;
        let end = usize::try_from(extent.end).ok()?;
        let offset = segment::HEADER as usize;
        Some(Copying { number, end, octets: Vec::new(), offset, next: 0 })
    }

    /// Adds copies of the messages of the next piece to the group. Says whether that was the
    /// last piece.
    fn gather_copies(&mut self, copying: &mut Copying) -> io::Result<(Vec<Copy>, bool)> {
        self.group.clear();
        let Copying { number, octets, offset, next, .. } = copying;
        let begin = *offset;
        let generation = segment::generation(self.key, *number);
        let first = Segment::decode(octets, *number).map_or(0, |header| header.first);
        let mut scan = Scan::resume(octets, generation, begin, first.max(*next));
        let mut copies = Vec::new();
        while let Some(found) = scan.next() {
            if let Found::Record(record) = found {
                copies.extend(self.copy_record(*number, &record)?);
            }
            (*offset, *next) = (scan.end(), scan.next_sequence());
            if *offset - begin >= PIECE || self.group.len() >= COPIED {
                return Ok((copies, false));
            }
        }
        Ok((copies, true))
    }

    /// Adds a copy of a message to the group, if this is the record that counts.
    fn copy_record(&mut self, segment: u32, record: &Record<'_>) -> io::Result<Option<Copy>> {
        if record.header.kind != Kind::Message {
            return Ok(None);
        }
        // Damage that the table does not name has been kept and told by a start.
        let keys = self.reader.keys();
        let Ok(facts) = record.header.open_facts(keys, record.facts) else { return Ok(None) };
        let id = Facts::id(&facts)?;
        let place = self.table.lock().get(id).map(|live| (live.place.segment, live.place.offset));
        if place != u32::try_from(record.offset).ok().map(|offset| (segment, offset)) {
            return Ok(None);
        }
        let Some(Parts { message, states, file, header, .. }) = self.reader.parts(id)? else {
            return Ok(None);
        };
        let flags = header.flags & DOT_LINES;
        // Damage is found again at the end of the segment, and its message set aside.
        let Ok(inline) = record.header.open_content(keys, id, record.content) else {
            return Ok(None);
        };
        let stowed = Stowed { flags, inline: &inline, file: file.as_ref() };
        let member = self.group.message(&message, &states, &[], stowed);
        let member = member.map_err(|TooLarge| ErrorKind::InvalidData)?;
        Ok(Some(Copy { message, in_file: file.is_some(), member }))
    }

    /// Puts the copies on disk. From then on it is they that count.
    fn write_copies(&mut self, copies: Vec<Copy>) -> Result<(), Failure> {
        if copies.is_empty() {
            return Ok(());
        }
        let written = self.journal.write(&mut self.group, Purpose::Settle)?;
        let mut table = self.table.lock();
        for Copy { message, in_file, member } in copies {
            let left = message.envelopes.iter().map(|envelope| envelope.id.nth());
            let place = written.place(member.offset);
            table.insert(message.id, place, member.length, in_file, left);
        }
        Ok(())
    }

    /// What still counts in a segment that was looked through to its end is damaged: the file
    /// is kept, and the messages leave the queue.
    fn set_aside<T>(&mut self, number: u32, done: &mut Vec<Done<T>>) -> io::Result<()> {
        let table = self.table.lock();
        let damaged = table.iter().filter(|(_, live)| live.place.segment == number);
        let damaged: Vec<MessageId> = damaged.map(|(id, _)| id).collect();
        drop(table);
        if damaged.is_empty() {
            return Ok(());
        }
        let name = segment::name(number);
        let kept = self.layout.quarantine.join(&name);
        self.disk.rename(&self.layout.journal.join(&name), &kept)?;
        self.disk.sync_dir(&self.layout.quarantine)?;
        let mut table = self.table.lock();
        for id in damaged {
            log::error!("warn: queue: message {id} is damaged: see {}", kept.display());
            table.remove(id);
            done.push(Done::Damaged(id));
        }
        Ok(())
    }
}

impl Copying {
    /// Reads the next piece of the segment.
    fn read(&mut self, commit: &Commit) -> io::Result<()> {
        let path = commit.layout.journal.join(segment::name(self.number));
        let read = self.octets.len();
        self.octets.resize(self.end.min(read + PIECE), 0);
        read_exact_at(&*commit.disk.open(&path)?, &mut self.octets[read..], read as u64)
    }
}
