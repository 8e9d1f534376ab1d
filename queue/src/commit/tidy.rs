//! Keeps the journal small: segments go strictly oldest first.
//!
//! One that holds no message of the queue any more is used again. One that holds some is
//! emptied when the journal has become wasteful: they are copied forward with their present
//! state and synced, before the old file may be overwritten. That costs what is live in it and
//! nothing else, and its rate is bounded; the bound rises with what is wasted, so that copying
//! keeps up with any load. An outcome always stands behind the record of its message, so going
//! oldest first never drops one while that record is kept.
//!
//! On a full disk all this lives on the reserve. Outcomes may use it up to what emptying the
//! oldest segment takes, as long as that wins anything; then they wait for the space it wins.
//!
//! Nothing is done while a start still reads the journal.

use std::io::{self, ErrorKind};
use std::time::Duration;

use smtpd_engine::time::Time;

use super::Commit;
use crate::disk::is_damage;
use crate::envelope::Message;
use crate::group::{Member, Stowed, TooLarge};
use crate::id::MessageId;
use crate::journal::{Failure, Purpose};
use crate::reader::Parts;
use crate::record::DOT_LINES;
use crate::recovery::keep_file;
use crate::request::Done;
use crate::segment;
use crate::spares::{KEPT, RESERVE};

/// How long an idle queue may be left alone: until ids that were taken for messages which
/// never came should be reserved anew.
const IDLE: Duration = Duration::from_secs(10);
/// How often it is looked whether the start has read the journal.
const READING: Duration = Duration::from_secs(1);
/// Messages that are looked up under one lock: some hundred microseconds.
const TOGETHER: usize = 1024;
/// Octets that are copied in one group, between two groups of others: a few milliseconds.
const COPIED: usize = 128 << 10;
/// Octets that are copied in a second while the journal is not much larger than it should be. It
/// doubles with each segment that it is larger.
const RATE: u64 = 4 << 20;
/// How often it doubles: up to what a disk of today takes beside the mail itself.
const DOUBLED: u64 = 6;
/// Between two files that are removed, each of which may hold up the syncs of others.
const UNLINKED: Duration = Duration::from_millis(500);

/// What is being tidied up.
#[derive(Default)]
pub(super) struct Tidy {
    /// The last segment that was written under another key than the one of today: up to there
    /// all are emptied, so that the other key is not needed any more in time.
    stale: u32,
    copying: Option<Copying>,
    /// Until then nothing is done, since the disk failed.
    rest: Time,
    /// Until then nothing is copied.
    copy: Time,
    /// Until then no file is removed.
    unlink: Time,
    /// The trouble that was told.
    told: Option<ErrorKind>,
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
    /// How many of the messages that ever were in it have been looked at.
    looked: usize,
    /// Those that cannot be read.
    damaged: Vec<MessageId>,
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
        // Outcomes that wait for space get it from what is done here.
        if now < self.retry && (self.journal.is_uncertain() || !self.is_full()) {
            return self.retry.saturating_since(now);
        }
        match self.step(now, done) {
            // Those that wait are tried again in time.
            Ok(wait) if now < self.retry => wait.min(self.retry.saturating_since(now)),
            Ok(wait) => wait,
            Err(error) => {
                // Once, and not every ten seconds.
                if self.tidy.told.replace(error.kind()) != Some(error.kind()) {
                    log::error!("warn: queue: journal: {error}");
                }
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
        if !self.table.lock().is_complete() {
            return Ok(READING);
        }
        if self.recycle(now)? {
            self.tidy.told = None;
            if !self.owed.is_empty() {
                self.retry = now;
            }
            return Ok(Duration::ZERO);
        }
        if now < self.tidy.copy {
            return Ok(self.tidy.copy.saturating_since(now));
        }
        if self.tidy.copying.is_none() && self.waste().is_none() && !self.is_stale() {
            return Ok(IDLE);
        }
        match self.oldest(false) {
            None => return Ok(IDLE),
            // Somebody reads it, or one was removed just now.
            Some(_) if self.oldest_is_empty() => return Ok(UNLINKED),
            // It would not be emptied, and the last of the reserve would be gone.
            Some(oldest) if self.is_last() && !self.fits(oldest, 0) => return Ok(IDLE),
            Some(_) => {}
        }
        let copied = self.copy(now, done)?;
        let pause = Duration::from_micros(copied * 1_000_000 / self.rate());
        self.tidy.copy = now + pause;
        Ok(pause)
    }

    /// Octets that may be copied in a second.
    fn rate(&self) -> u64 {
        RATE << (self.waste().unwrap_or_default() / self.capacity).min(DOUBLED)
    }

    /// Makes a spare file of the oldest segment if nothing in it counts any more.
    fn recycle(&mut self, now: Time) -> io::Result<bool> {
        let unlinks = self.spares.count() >= KEPT;
        let Some(number) = self.oldest(true).filter(|_| !unlinks || now >= self.tidy.unlink) else {
            return Ok(false);
        };
        let kept = self.table.lock().segments().next().is_some_and(|(_, oldest)| oldest.keep);
        if kept {
            let name = segment::name(number);
            let path = self.layout.journal.join(&name);
            keep_file(&*self.disk, &path, &self.layout.quarantine, &name)?;
            self.disk.sync_dir(&self.layout.journal)?;
        } else {
            self.spares.recycle(number)?;
        }
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

    /// Whether no message in the oldest segment counts.
    fn oldest_is_empty(&self) -> bool {
        self.table.lock().segments().next().is_some_and(|(_, oldest)| oldest.live == 0)
    }

    /// Whether there is no room for another segment beside the reserve.
    pub(super) fn is_full(&self) -> bool {
        self.spares.count() <= RESERVE && !self.journal.may_begin(self.capacity)
    }

    /// Whether the disk is full and some of the reserve is used.
    fn is_last(&self) -> bool {
        self.spares.count() < RESERVE && self.is_full()
    }

    /// Whether a segment can be emptied after so many octets were written, with what there is.
    fn fits(&self, segment: u32, octets: u64) -> bool {
        let (sum, largest) = self.table.lock().weight(segment);
        sum <= self.journal.room_after(octets, largest)
    }

    /// Whether so many octets of outcomes may be written: on a full disk they leave room to empty
    /// the oldest segment, if there is as much and it wins a segment in the long run.
    pub(super) fn may_settle(&self, octets: u64) -> bool {
        if !self.is_last() || !self.table.lock().is_complete() {
            return true;
        }
        let wins = self.unused() > self.capacity;
        let Some(oldest) = self.oldest(false).filter(|_| wins) else { return true };
        self.fits(oldest, octets) || !self.fits(oldest, 0)
    }

    /// Octets of the journal that might hold messages of the queue and do not.
    fn unused(&self) -> u64 {
        let table = self.table.lock();
        let all = table.segments().len() as u64 * self.journal.limit(Purpose::Move);
        all.saturating_sub(table.octets())
    }

    /// Octets of the journal that are wasted beyond what is well. Emptying the oldest segment is
    /// worth the writing when more than half of the journal, and more than two segments, would
    /// be gained in the long run. When the disk is full, one segment is enough beside that in
    /// use, which has none to gain while outcomes wait for space.
    fn waste(&self) -> Option<u64> {
        let octets = self.table.lock().octets();
        let well = match self.is_full() {
            true if self.owed.is_empty() => 2 * self.capacity,
            true => self.capacity,
            false => self.capacity + octets.max(2 * self.capacity),
        };
        self.unused().checked_sub(well).filter(|waste| *waste > 0)
    }

    /// Whether the oldest segment is written under another key.
    fn is_stale(&self) -> bool {
        let table = self.table.lock();
        table.segments().next().is_some_and(|(number, _)| number <= self.tidy.stale)
    }

    /// Copies some of what counts in the segment that is being emptied. Says how many octets
    /// that were.
    fn copy<T>(&mut self, now: Time, done: &mut Vec<Done<T>>) -> io::Result<u64> {
        let begin = |number| Copying { number, looked: 0, damaged: Vec::new() };
        let copying = self.tidy.copying.take().or_else(|| self.oldest(false).map(begin));
        let Some(mut copying) = copying else { return Ok(0) };
        let Copying { number, looked, .. } = copying;
        let (here, next) = self.table.lock().in_segment(number, looked, TOGETHER);
        let (copies, all) = self.gather_copies(&here, &mut copying.damaged)?;
        let copied = self.group.len() as u64;
        match self.write_copies(copies) {
            // The messages stay where they are, and are looked at again.
            Err(failure) => {
                self.note_failure(now, &failure);
                self.tidy.rest = self.retry;
            }
            // What was copied is not there any more when this is looked through again.
            Ok(()) if !all => {}
            Ok(()) => match next {
                Some(next) => copying.looked = next,
                None => {
                    self.set_aside(copying, done)?;
                    return Ok(copied);
                }
            },
        }
        self.tidy.copying = Some(copying);
        Ok(copied)
    }

    /// Adds copies of messages to the group, until it is large enough. Says whether that was all
    /// of them.
    fn gather_copies(
        &mut self,
        messages: &[MessageId],
        damaged: &mut Vec<MessageId>,
    ) -> io::Result<(Vec<Copy>, bool)> {
        self.group.clear();
        let mut copies: Vec<Copy> = Vec::new();
        let full = self.is_full();
        for id in messages {
            if self.group.len() >= COPIED {
                return Ok((copies, false));
            }
            if damaged.contains(id) {
                continue;
            }
            let before = self.group.len() as u64;
            match self.copy_message(*id) {
                // It would take the next segment, with them.
                Ok(Some(_)) if full && !self.journal.is_room(before, self.group.len() as u64) => {
                    self.group.pop();
                    return Ok((copies, false));
                }
                Ok(copy) => copies.extend(copy),
                Err(error) if is_damage(&error) => damaged.push(*id),
                Err(error) => return Err(error),
            }
        }
        Ok((copies, true))
    }

    /// Adds a copy of a message to the group, if it is still in the queue.
    fn copy_message(&mut self, id: MessageId) -> io::Result<Option<Copy>> {
        let Some((parts, content)) = self.reader.whole(id)? else { return Ok(None) };
        let Parts { message, states, file, header, .. } = parts;
        let flags = header.flags & DOT_LINES;
        let stowed = Stowed { flags, inline: &content, file: file.as_ref() };
        let member = self.group.message(&message, &states, &[], stowed);
        let member = member.map_err(|TooLarge| ErrorKind::InvalidData)?;
        Ok(Some(Copy { message, in_file: file.is_some(), member }))
    }

    /// Puts the copies on disk. From then on it is they that count.
    fn write_copies(&mut self, copies: Vec<Copy>) -> Result<(), Failure> {
        if copies.is_empty() {
            return Ok(());
        }
        let why = if self.is_full() { Purpose::Settle } else { Purpose::Move };
        let written = self.journal.write(&mut self.group, why)?;
        self.note_success();
        self.tidy.told = None;
        let mut table = self.table.lock();
        for Copy { message, in_file, member } in copies {
            let left = message.envelopes.iter().map(|envelope| envelope.id.nth());
            let place = written.place(member.offset);
            table.insert(message.id, place, member.length, in_file, left);
            table.note_copy(message.id);
        }
        Ok(())
    }

    /// What still counts in a segment that was looked through to its end is damaged: the file
    /// is kept, and the messages leave the queue.
    fn set_aside<T>(&mut self, copying: Copying, done: &mut Vec<Done<T>>) -> io::Result<()> {
        let Copying { number, damaged, .. } = copying;
        if damaged.is_empty() {
            return Ok(());
        }
        let name = segment::name(number);
        let path = self.layout.journal.join(&name);
        let kept = keep_file(&*self.disk, &path, &self.layout.quarantine, &name)?;
        let mut table = self.table.lock();
        for id in damaged {
            // It may have been settled meanwhile.
            if table.get(id).is_none() {
                continue;
            }
            log::error!("warn: queue: message {id} is damaged: see {}", kept.display());
            table.remove(id);
            done.push(Done::Damaged(id));
        }
        Ok(())
    }
}
