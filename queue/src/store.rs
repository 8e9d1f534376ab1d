//! Where envelopes wait that are not in the scheduler's memory: who answers what the scheduler
//! asks (`lease.rs`).
//!
//! A [`Store`] is the journal with a [waiting room](crate::waiting) beside it, on disk
//! (`index.rs`) or, when that cannot be, in memory. It is a value that waits for the disk and
//! so has a thread of its own.
//!
//! The room can be lost at any time: it is found damaged at the start, or sled fails when the
//! disk is full. The truth is in the journal, so the room is filled anew:
//!
//! 1. The store notes which envelopes are in the journal, then says [`Answer::Lost`].
//! 2. The scheduler answers with [`Request::Known`]: what it has in memory. Requests made
//!    before that are void.
//! 3. What was in the journal and is not known to the scheduler is put into the new room, in
//!    pieces (`store/filling.rs`). Requests are answered in between, and [`Answer::Filled`] tells
//!    what may be claimed.
//!
//! What the scheduler settles between the first step and the second is gone from the journal
//! when the room is filled. What it has only then heard of may be lent to it a second time, which
//! it sees. So nothing is lost and nothing is tried twice.

mod filling;

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::destination::Destinations;
use crate::envelope::{Due, Envelope, State};
use crate::id::{EnvelopeId, Ids, MessageId};
use crate::index::{self, Opened};
use crate::lease::{Answer, Lent, Request};
use crate::ordered::{Map, Memory, Seal};
use crate::reader::{Found, Reader};
use crate::schedule::{from_another_clock, micros};
use crate::waiting::{Change, Claim, Claimed, Place, Room};

use filling::Filling;

/// How long an envelope waits whose record cannot be read because the disk fails.
const PAUSE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Store {
    room: Room<Map>,
    reader: Reader,
    destinations: Destinations,
    /// Gives ids to new messages, if mail is accepted.
    ids: Option<Ids>,
    /// The directory of the index, and how long opening it may take.
    home: Option<(PathBuf, Duration)>,
    /// What is to be put into the room.
    filling: Filling,
    /// The room is empty, and the scheduler has not said what it has in memory.
    lost: bool,
    /// The room was lost and the scheduler has not been told.
    untold: bool,
}

/// How a store begins.
pub struct Options<'a> {
    /// The directory of the index.
    pub dir: &'a Path,
    /// How long opening the index may take. Opening a good one takes milliseconds.
    pub limit: Duration,
    /// The sequence number in the journal at its start.
    pub sequence: u64,
    /// What was in the journal at its start, best in its order.
    pub live: Vec<MessageId>,
    /// Gives ids to new messages, if mail is accepted meanwhile.
    pub ids: Option<Ids>,
}

impl Store {
    /// A store with its room on disk, or in memory when that cannot be.
    pub fn open(options: Options<'_>, reader: Reader) -> Self {
        let destinations = reader.destinations();
        let Options { dir, limit, sequence, live, ids } = options;
        let mut store = Self::in_memory(reader, live);
        store.ids = ids;
        store.home = Some((dir.to_owned(), limit));
        match index::open(dir, Seal { sequence, lanes: destinations.mark() }, limit) {
            Ok(Opened::Trusted(index)) => {
                store.fit(Box::new(index));
                store.filling = Filling::new(VecDeque::new());
                (store.lost, store.untold) = (false, false);
            }
            Ok(Opened::Fresh(index, why)) => {
                log::info!("the index of the queue is made anew: {why}");
                store.fit(Box::new(index));
            }
            Err(error) => log::warn!("the queue has no index on disk: {error}"),
        }
        store
    }

    /// A store with its room in memory. `live` is what was in the journal at its start.
    pub fn in_memory(reader: Reader, live: Vec<MessageId>) -> Self {
        Self::with(Box::new(Memory::new()), reader, live)
    }

    /// A store with its room in `map`, which must be empty.
    pub fn with(map: Map, reader: Reader, live: Vec<MessageId>) -> Self {
        Self {
            room: Room::new(map, None),
            ids: None,
            destinations: reader.destinations(),
            reader,
            home: None,
            filling: Filling::new(live.into()),
            lost: true,
            untold: true,
        }
    }

    /// Takes requests, adds answers. To be called once at the beginning without any, for a new
    /// store may have something to say, and while [`Store::is_busy`].
    pub fn turn(&mut self, requests: &mut Vec<Request>, answers: &mut Vec<Answer>) {
        let mut changes = Vec::new();
        for request in requests.drain(..) {
            match request {
                Request::Known(known) => {
                    self.filling.begin(known);
                    self.lost = false;
                }
                Request::Discover(messages) => self.filling.discover(messages),
                Request::Change(change, lease) if lease != self.reader.epoch() => {
                    answers.push(Answer::Void(change.envelope()));
                }
                _ if self.lost => {}
                Request::Change(change, _) => changes.push(change),
                Request::Claim(claim) => {
                    self.change(&mut changes, answers);
                    self.claim(&claim, answers);
                }
                Request::Fetch(ids) => {
                    self.change(&mut changes, answers);
                    self.fetch(&ids, answers);
                }
                Request::Rebuild => {
                    self.change(&mut changes, answers);
                    self.rebuild();
                }
            }
        }
        self.change(&mut changes, answers);
        self.fill(answers);
        if mem::take(&mut self.untold) {
            answers.push(Answer::Lost);
        }
    }

    /// Whether the room is being filled: the next turn need not wait for requests.
    pub fn is_busy(&self) -> bool {
        !self.lost && self.filling.is_busy()
    }

    /// Puts the store away. `sequence` is where the journal ended: what is in the room must
    /// reflect all of it.
    pub fn close(self, sequence: u64) -> io::Result<()> {
        if self.lost || !self.filling.is_complete() {
            return Ok(());
        }
        let seal = Seal { sequence, lanes: self.destinations.mark() };
        self.room.into_map()?.close(seal)
    }

    fn change(&mut self, changes: &mut Vec<Change>, answers: &mut Vec<Answer>) {
        if changes.is_empty() {
            return;
        }
        self.filling.knows(changes.iter().map(|change| match change {
            Change::Put(place) => place.envelope,
            Change::Remove(id) => *id,
        }));
        match self.room.apply(changes) {
            Ok(()) => answers.extend(changes.iter().filter_map(|change| match change {
                Change::Put(place) => Some(Answer::Stored(*place)),
                Change::Remove(_) => None,
            })),
            Err(error) => self.lose(&error),
        }
        changes.clear();
    }

    fn claim(&mut self, claim: &Claim, answers: &mut Vec<Answer>) {
        if self.lost {
            return;
        }
        self.filling.retry();
        let lent = self.room.claim(claim).and_then(|claimed| {
            let mut envelopes = Vec::new();
            let mut changes = Vec::new();
            let ids = &claimed.envelopes;
            for ids in ids.chunk_by(|one, other| one.message() == other.message()) {
                self.load(ids, claim, &mut envelopes, &mut changes);
            }
            self.room.apply(&changes)?;
            let Claimed { next, passed_over, .. } = claimed;
            let put_back = changes.iter().filter_map(|change| match change {
                Change::Put(Place { due: Due::At(due), .. }) => Some(*due),
                _ => None,
            });
            let next = put_back.chain(next).min();
            Ok(Answer::Lent { kind: claim.kind, envelopes, next, passed_over })
        });
        match lent {
            Ok(lent) => answers.push(lent),
            Err(error) => self.lose(&error),
        }
    }

    fn fetch(&mut self, ids: &[EnvelopeId], answers: &mut Vec<Answer>) {
        if self.lost {
            return;
        }
        let fetched = self.read(ids).and_then(|(envelopes, gone)| {
            let lent = envelopes.iter().map(|lent| lent.id);
            let leave: Vec<_> = lent.chain(gone).collect();
            self.filling.knows(leave.iter().copied());
            self.room.apply(&leave.into_iter().map(Change::Remove).collect::<Vec<_>>())?;
            Ok(envelopes)
        });
        match fetched {
            Ok(envelopes) => {
                let lent: HashSet<_> = envelopes.iter().map(|lent| lent.id).collect();
                let absent = ids.iter().copied().filter(|id| !lent.contains(id)).collect();
                answers.push(Answer::Fetched { envelopes, absent });
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Reads those of these envelopes that are in the room, or may come into it, and tells which
    /// of them are not in the journal. What cannot be read stays where it is.
    fn read(&self, ids: &[EnvelopeId]) -> io::Result<(Vec<Lent>, Vec<EnvelopeId>)> {
        let (mut lent, mut gone) = (Vec::new(), Vec::new());
        for ids in ids.chunk_by(|one, other| one.message() == other.message()) {
            let mut here = Vec::new();
            for id in ids {
                let comes = self.filling.may_bring(*id);
                here.extend((comes || self.room.has(*id)?).then_some(*id));
            }
            if here.is_empty() {
                continue;
            }
            match self.reader.message(ids[0].message()) {
                Ok(found) => {
                    for id in here {
                        match found.as_ref().and_then(|found| find(found, id)) {
                            Some((found, envelope, state)) => {
                                lent.push(lend(found, envelope, state));
                            }
                            None => gone.push(id),
                        }
                    }
                }
                Err(error) => log::warn!("message {} cannot be read: {error}", ids[0].message()),
            }
        }
        Ok((lent, gone))
    }

    /// Reads envelopes of one message. What the journal says of them counts: those that are not
    /// to be tried now are changed in the room instead of being lent.
    fn load(
        &self,
        ids: &[EnvelopeId],
        claim: &Claim,
        envelopes: &mut Vec<Lent>,
        changes: &mut Vec<Change>,
    ) {
        let found = self.reader.message(ids[0].message());
        for id in ids {
            match found.as_ref().map(|found| found.as_ref().and_then(|found| find(found, *id))) {
                Ok(Some((found, envelope, state))) => match state.next_try() {
                    Due::At(due) if due <= claim.now || from_another_clock(due, claim.now) => {
                        envelopes.push(lend(found, envelope, state));
                    }
                    _ => changes.push(Change::Put(filling::place(
                        envelope,
                        state,
                        self.destinations,
                    ))),
                },
                Ok(None) => changes.push(Change::Remove(*id)),
                Err(error) => {
                    log::warn!("{id} cannot be read: {error}");
                    let due = match error.kind() {
                        // Nothing better comes of reading it again.
                        ErrorKind::InvalidData => Due::Held,
                        _ => Due::At(claim.now + micros(PAUSE)),
                    };
                    let place = Place { envelope: *id, kind: claim.kind, lane: 0, due };
                    changes.push(Change::Put(place));
                }
            }
        }
    }

    /// Goes on with an empty room in memory.
    fn lose(&mut self, error: &io::Error) {
        log::warn!("the queue goes on without an index on disk: {error}");
        self.empty(Box::new(Memory::new()));
    }

    /// Goes on with an empty room on a new directory.
    fn rebuild(&mut self) {
        log::info!("the index of the queue is made anew: somebody asked for it");
        match self.home.as_ref().map(|(dir, limit)| index::renew(dir, *limit)) {
            Some(Ok(index)) => self.empty(Box::new(index)),
            Some(Err(error)) => self.lose(&error),
            None => self.empty(Box::new(Memory::new())),
        }
    }

    /// Goes on with the room that is in this map.
    fn fit(&mut self, map: Map) {
        self.room = Room::new(map, self.ids.clone());
    }

    /// Goes on with an empty room.
    fn empty(&mut self, map: Map) {
        self.fit(map);
        self.filling = Filling::new(self.reader.in_order().into());
        (self.lost, self.untold) = (true, true);
    }

    fn fill(&mut self, answers: &mut Vec<Answer>) {
        if !self.is_busy() {
            return;
        }
        let from = (&self.reader, self.destinations);
        if let Err(error) = self.filling.step(&mut self.room, from, answers) {
            self.lose(&error);
        }
    }
}

fn lend(found: &Found, envelope: &Envelope, state: &State) -> Lent {
    let (message, content) = (found.message.clone(), found.content.clone());
    Lent { message, id: envelope.id, state: state.clone(), content }
}

/// An envelope of a message and how it stands, if it is in the queue.
fn find(found: &Found, id: EnvelopeId) -> Option<(&Found, &Envelope, &State)> {
    let mut all = found.message.envelopes.iter().zip(&found.states);
    let (envelope, state) = all.find(|(envelope, _)| envelope.id == id)?;
    Some((found, envelope, state))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("lost", &self.lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
