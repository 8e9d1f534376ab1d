//! Makes mail durable, and what became of it.
//!
//! [`Commit`] is a value that the commit thread turns: each turn writes what has come together
//! meanwhile as one group with one write, makes it durable with one `fdatasync`, and only then
//! answers. A single request never waits for company. Between the turns, when the answers have
//! left, [`Commit::tidy`] keeps the journal small.
//!
//! What happens when the disk fails is in `trouble.rs`.

mod tidy;
mod trouble;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use smtpd_engine::time::Time;

use crate::codec::{Codec, Keys};
use crate::disk::Disk;
use crate::envelope::Outcome;
use crate::group::{Group, Member, Stowed, TooLarge};
use crate::id::{Ids, MessageId};
use crate::journal::{Failure, Journal, Purpose, Start, Written};
use crate::lease::{Epoch, fence};
use crate::outline::Outline;
use crate::reader::Reader;
use crate::record::{self, DOT_LINES};
use crate::recovery::{Layout, Recovered, Recovery, inspect, prepare};
use crate::request::{Accept, Body, Content, Done, Refusal, Request};
use crate::segment::Place;
use crate::spares::{Filler, Spares};
use crate::spool::Spool;
use crate::table::{Effect, Shared, Table};
use tidy::Tidy;
use trouble::Trouble;

/// Octets of a group, after which what waits is left to the next one: a bound on the memory of
/// the buffer, and on how long the first of a group waits for the writing of the last.
const GROUP: usize = 4 << 20;
/// About what a record takes beside its content, for that bound.
const FACTS: usize = 500;
/// Octets of a segment unless configured. Small ones give back space soon, and filling one
/// with zeros takes 5 ms; their size makes no difference to a sync.
const SEGMENT: u64 = 16 << 20;
/// Octets of a segment at the most: places in one have 32 bits, and a group may come on top.
const LARGEST: u64 = 1 << 30;
const _: () = assert!(LARGEST + 2 * (GROUP + record::FACTS) as u64 <= u32::MAX as u64);

/// What a queue is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Octets of a segment file, at most 1 GiB. Some four times as much is in use even when
    /// the queue is empty.
    pub segment: u64,
    /// A number that nobody can guess, from which a new queue gets its key and the first of
    /// its ids. One that exists has them already. Another one each time: the
    /// [epoch](crate::lease::Epoch) is made of it.
    pub random: u128,
    /// How records and content files are sealed.
    pub codec: Codec,
}

impl Options {
    /// The defaults, with a random number that the system gave: nothing is compressed or
    /// encrypted.
    pub fn new(random: u128) -> Self {
        Self { segment: SEGMENT, random, codec: Codec::default() }
    }

    /// Under which a queue that is opened with this lends its envelopes.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::new((self.random >> 64 ^ self.random) as u64)
    }
}

/// A queue that was opened.
pub struct Opened {
    /// For the commit thread.
    pub commit: Commit,
    /// Reads what was in the queue before; to be run beside everything else, on a thread that
    /// may wait for the disk.
    pub recovery: Recovery,
    /// Gives ids to new messages.
    pub ids: Ids,
    /// Reads messages.
    pub reader: Reader,
    /// Writes content files.
    pub spool: Spool,
    /// Makes spare segment files, on a thread of its own.
    pub filler: Filler,
}

/// See the module.
pub struct Commit {
    journal: Journal,
    table: Shared,
    reader: Reader,
    ids: Ids,
    spares: Arc<Spares>,
    disk: Arc<dyn Disk>,
    layout: Layout,
    /// Octets of a segment.
    capacity: u64,
    group: Group,
    /// Outcomes that could not be written yet.
    owed: Vec<Outcome>,
    /// Content files named by uncertain records. They must stay as long as those may count.
    uncertain: Vec<MessageId>,
    /// Until then a disk that failed is left alone.
    retry: Time,
    trouble: Trouble,
    tidy: Tidy,
}

/// Requests that are in the group.
struct Gathered<T> {
    accepts: Vec<(Accept<T>, Member)>,
    outcomes: Vec<(Outcome, Member)>,
}

impl Commit {
    /// Opens the queue in the directory `dir`, which must exist, so that mail can be accepted at
    /// once: reads what it takes to go on writing, and begins a new segment. What was in the
    /// queue before is there when [`Recovery::run`] has come to its end.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &Options) -> io::Result<Opened> {
        assert!(options.segment <= LARGEST, "segments are smaller than 4 GiB by far");
        let layout = Layout::new(dir);
        let mut prepared = prepare(&*disk, &layout, options.codec.keys())?;
        let spares = Spares::find(disk.clone(), &layout.journal, options.segment)?;
        let spares = Arc::new(spares);
        // Of all files there are: the number and the ids of one that is forgotten below may have
        // been used, too.
        let (last, unreserved) = (prepared.outlines.last(), prepared.outlines.ids());
        let unused = std::mem::take(&mut prepared.unused);
        let closed = prepared.closed.filter(|_| unused.is_empty());
        let mut left = prepared.left;
        for number in unused {
            // They may have been of the reserve.
            match spares.recycle(number) {
                Ok(()) => prepared.outlines.forget(number),
                Err(error) => {
                    log::warn!("warn: queue: journal: {error}");
                    left = None;
                    break;
                }
            }
        }
        let outlines = &prepared.outlines;
        let (key, first) = match outlines.key() {
            Some(key) => (key, closed.unwrap_or(unreserved)),
            None => (options.random as u64, (options.random >> 96) as u64),
        };
        let ids = Ids::new(first, first);
        let key_id = options.codec.key_id();
        let is_stale =
            |outline: &&Outline| outline.header.is_some_and(|header| header.sealed != key_id);
        let stale = outlines.all().iter().rfind(is_stale).map_or(0, |outline| outline.number);
        let numbers = outlines.all().iter().map(|outline| outline.number);
        let table = Shared::new(Table::incomplete(numbers));
        let standing = outlines.standing().map_or(0, |nth| outlines.all()[nth].number);
        let mut journal = Journal::new(Start {
            disk: disk.clone(),
            dir: layout.journal.clone(),
            spares: spares.clone(),
            ids: ids.clone(),
            table: table.clone(),
            key,
            sealed: options.codec.key_id(),
            capacity: options.segment,
            last,
            standing,
            left: left.filter(|left| left.segment.sealed == key_id),
            next: prepared.next,
        });
        // The header reserves ids. A disk that is full or failing now may be well again later,
        // and there is mail to be delivered meanwhile: for its outcomes the reserve is kept,
        // of which every start on a full disk would take a file otherwise.
        if journal.may_begin(options.segment)
            && let Err(error) = journal.begin(Purpose::Accept, 0)
        {
            log::error!("warn: queue: journal: {error}");
        }
        let codec = options.codec.clone();
        let spool = Spool::new(disk.clone(), layout.content.clone(), codec.clone());
        let (journal_dir, keys) = (layout.journal.clone(), codec.keys().clone());
        let reader =
            Reader::new(disk.clone(), journal_dir, key, table.clone(), spool.clone(), keys)
                .of_epoch(options.epoch());
        let filler = Filler::new(spares.clone());
        let recovery = Recovery {
            disk: disk.clone(),
            layout: layout.clone(),
            prepared,
            table: table.clone(),
            spool: spool.clone(),
            ids: ids.clone(),
            first,
            keys: options.codec.keys().clone(),
        };
        let commit = Self {
            journal,
            table,
            reader: reader.clone(),
            ids: ids.clone(),
            spares,
            disk,
            layout,
            capacity: options.segment,
            group: Group::new(codec),
            owed: Vec::new(),
            uncertain: Vec::new(),
            retry: Time::default(),
            trouble: Trouble::default(),
            tidy: Tidy::new(stale),
        };
        Ok(Opened { commit, recovery, ids, reader, spool, filler })
    }

    /// Whether the [`Filler`] has something to do.
    pub fn wants_filling(&self) -> bool {
        self.spares.short()
    }

    /// Writes one group and answers. What is left in `requests` was too much for one group and
    /// belongs to the next turn.
    pub fn turn<T>(&mut self, now: Time, requests: &mut Vec<Request<T>>, done: &mut Vec<Done<T>>) {
        fence(self.reader.epoch(), requests, done);
        if now < self.retry || !self.mend(now, done) {
            return self.decline(requests, done);
        }
        let gathered = self.gather(requests, done);
        if self.group.records() == 0 {
            return;
        }
        let accepts = !gathered.accepts.is_empty();
        let why = if accepts { Purpose::Accept } else { Purpose::Settle };
        if !accepts && !self.may_settle(self.group.len() as u64) {
            let full = io::Error::new(io::ErrorKind::StorageFull, "waiting for space");
            return self.fail(now, &Failure::Before(full), gathered, done);
        }
        match self.journal.write(&mut self.group, why) {
            Ok(written) => {
                self.note_success();
                self.apply(&written, gathered, done);
            }
            Err(failure) => self.fail(now, &failure, gathered, done),
        }
    }

    /// Ends an orderly run: the next start need not search for what was being written. Gives
    /// the sequence number that it will find ([`Recovered::sequence`]).
    pub fn close(mut self) -> io::Result<u64> {
        if self.journal.is_uncertain() || !self.owed.is_empty() {
            return Err(io::Error::other("the journal's disk has failed"));
        }
        self.group.clear();
        self.group.close(self.ids.next());
        let here = self.journal.active().is_some();
        if !here && self.is_full() || !self.journal.has_room(self.group.len() as u64) {
            // The reserve is kept for what matters more.
            return Ok(self.journal.synced());
        }
        match self.journal.write(&mut self.group, Purpose::Settle) {
            Ok(_) => Ok(self.journal.synced()),
            Err(Failure::Before(error) | Failure::Uncertain(error)) => Err(error),
        }
    }

    /// Encodes what fits into one group. What needs no writing, or may not be written, is
    /// answered at once.
    fn gather<T>(
        &mut self,
        requests: &mut Vec<Request<T>>,
        done: &mut Vec<Done<T>>,
    ) -> Gathered<T> {
        self.group.clear();
        let owed = std::mem::take(&mut self.owed);
        let outcomes = owed.into_iter().map(|outcome| {
            let member = self.group.outcome(&outcome);
            (outcome, member)
        });
        let mut gathered = Gathered { accepts: Vec::new(), outcomes: outcomes.collect() };
        let room = self.journal.room().unwrap_or_default();
        for request in requests.drain(..fitting(requests)) {
            match request {
                Request::Outcome(outcome) if !self.table.lock().may_have(outcome.envelope) => {
                    done.push(Done::Recorded(outcome));
                }
                Request::Outcome(outcome) => {
                    let member = self.group.outcome(&outcome);
                    gathered.outcomes.push((outcome, member));
                }
                Request::Accept(accept) => match self.encode(&accept, room) {
                    Ok(member) => gathered.accepts.push((accept, member)),
                    Err(why) => accept.refuse(why, done),
                },
            }
        }
        gathered
    }

    /// Adds a message to the group, unless that would touch the reserve.
    fn encode<T>(&mut self, accept: &Accept<T>, room: u64) -> Result<Member, Refusal> {
        let Accept { message, content, causes, .. } = accept;
        // The counter of the ids has gone round, and this one is still here: wait for another.
        if self.table.lock().get(message.id).is_some() {
            return Err(Refusal::Failed);
        }
        let flags = if content.dot_lines { DOT_LINES } else { 0 };
        let stowed = match &content.body {
            Body::Memory(octets) => Stowed { flags, inline: octets, file: None },
            Body::File(file) => Stowed { flags, inline: &[], file: Some(file) },
        };
        let member = self.group.message(message, &[], causes, stowed).map_err(|TooLarge| {
            log::error!("warn: queue: message {} is too large for a record", message.id);
            Refusal::Failed
        })?;
        if self.group.len() as u64 > room {
            self.group.pop();
            return Err(Refusal::NoSpace);
        }
        Ok(member)
    }

    /// Notes what is on disk now, and answers.
    fn apply<T>(&mut self, written: &Written, gathered: Gathered<T>, done: &mut Vec<Done<T>>) {
        let mut table = self.table.lock();
        for (accept, member) in gathered.accepts {
            let Accept { token, message, content, causes } = accept;
            let place = written.place(member.offset);
            let in_file = matches!(content.body, Body::File(_));
            let left = message.envelopes.iter().map(|envelope| envelope.id.nth());
            table.insert(message.id, place, member.length, in_file, left);
            let stored = content.stored(message.id);
            done.push(Done::Accepted { token, message, content: stored });
            causes.into_iter().for_each(|cause| note(&mut table, cause, place, done));
        }
        for (outcome, member) in gathered.outcomes {
            note(&mut table, outcome, written.place(member.offset), done);
        }
    }
}

impl Reader {
    /// Reads a queue that no daemon has open, and says what it holds. Nothing is changed, set
    /// aside or created. An error whose cause is a [`MissingKey`](crate::codec::MissingKey)
    /// says that there is not the right one among the keys.
    pub fn offline(disk: Arc<dyn Disk>, dir: &Path, keys: &Keys) -> io::Result<(Self, Recovered)> {
        let layout = Layout::new(dir);
        let (outlines, table, recovered) = inspect(&*disk, &layout, keys)?;
        let key = outlines.key().unwrap_or_default();
        let table = Shared::new(table);
        // Nothing is written.
        let spool = Spool::new(disk.clone(), layout.content.clone(), Codec::default());
        Ok((Self::new(disk, layout.journal, key, table, spool, keys.clone()), recovered))
    }
}

/// How many requests make one group: at least one, and no more than it has octets for.
fn fitting<T>(requests: &[Request<T>]) -> usize {
    let mut octets = 0;
    let fits = |request: &&Request<T>| {
        let before = octets;
        octets += FACTS;
        if let Request::Accept(Accept {
            content: Content { body: Body::Memory(buffer), .. }, ..
        }) = request
        {
            octets += buffer.len();
        }
        before == 0 || octets <= GROUP
    };
    requests.iter().take_while(fits).count()
}

/// Notes an outcome that is on disk.
fn note<T>(table: &mut Table, outcome: Outcome, place: Place, done: &mut Vec<Done<T>>) {
    let message = outcome.envelope.message();
    let effect = table.outcome(outcome.envelope, outcome.verdict.settles(), place);
    done.push(Done::Recorded(outcome));
    if effect == (Effect::Gone { in_file: true }) {
        done.push(Done::Discard(message));
    }
}
