//! Filling a room with what the journal says, beside the work.
//!
//! A room that was lost is filled in *rounds*, each twice as large as the one before: the first
//! envelopes can be claimed after milliseconds, and a million is written nearly in the order of
//! its keys, so that a block of the index is written a few times and not once for every key in
//! it. A round reads its messages in the order of the journal, then writes the keys by envelope,
//! then those by lane; all in pieces, between which the store answers.
//!
//! An envelope of a round can be claimed when both its keys are there. What the scheduler does
//! with it before is noted ([`Filling::knows`]), and what is left of the round passes it over.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::mem;

use super::Answer;
use crate::delivery::Kind;
use crate::destination::Destinations;
use crate::envelope::{Due, Envelope, State};
use crate::id::{EnvelopeId, MessageId};
use crate::ordered::Ordered;
use crate::reader::{Found, Reader};
use crate::waiting::{Change, Place, Room};

/// Messages read in one piece, and those of the first round: a few milliseconds in which nobody
/// is answered.
const TOGETHER: usize = 512;
/// Envelopes whose keys are written in one piece: as long.
const PIECE: usize = 4096;
/// Envelopes of a round at the most: 10 MiB of memory.
const ROUND: usize = 1 << 18;

/// What is still to come into a room.
#[derive(Debug)]
pub(super) struct Filling {
    /// Messages of which nothing is in the room but what the scheduler has put there.
    missing: VecDeque<MessageId>,
    /// Messages that came without the scheduler. Some may be in the room already.
    discovered: VecDeque<MessageId>,
    /// Messages that could not be read: the disk failed.
    unread: Vec<MessageId>,
    /// Envelopes that the scheduler has, or has put into the room.
    known: HashSet<EnvelopeId>,
    /// Envelopes of this round, and how far it has come.
    places: Vec<Place>,
    stage: Stage,
    /// How many there are to be.
    size: usize,
    /// The log has been told that all of the room is missing.
    told: bool,
}

/// What is done with a round; the numbers are those of the places that are done.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Read,
    ByEnvelope(usize),
    ByLane(usize),
}

impl Filling {
    /// Fills a room with these messages.
    pub(super) fn new(missing: VecDeque<MessageId>) -> Self {
        Self {
            missing,
            discovered: VecDeque::new(),
            unread: Vec::new(),
            known: HashSet::new(),
            places: Vec::new(),
            stage: Stage::Read,
            size: TOGETHER,
            told: false,
        }
    }

    /// Whether there is something to be done.
    pub(super) fn is_busy(&self) -> bool {
        !(self.missing.is_empty() && self.places.is_empty() && self.discovered.is_empty())
    }

    /// Whether the room has all it should have.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_busy() && self.unread.is_empty()
    }

    /// Tells what the scheduler has: from now on the room may be filled.
    pub(super) fn begin(&mut self, known: Vec<EnvelopeId>) {
        self.known.extend(known);
        self.told = !self.missing.is_empty();
        if self.told {
            log::info!("the index of the queue is filled with {} messages", self.missing.len());
        }
    }

    /// These came into the queue without the scheduler.
    pub(super) fn discover(&mut self, messages: Vec<MessageId>) {
        self.discovered.extend(messages);
    }

    /// What could not be read is tried again.
    pub(super) fn retry(&mut self) {
        self.discovered.extend(self.unread.drain(..));
    }

    /// The scheduler has got these, or has put them into the room.
    pub(super) fn knows(&mut self, envelopes: impl IntoIterator<Item = EnvelopeId>) {
        if self.is_busy() {
            self.known.extend(envelopes);
        }
    }

    /// Whether an envelope may come into the room.
    pub(super) fn may_bring(&self, id: EnvelopeId) -> bool {
        self.is_busy() && !self.known.contains(&id)
    }

    /// Does a piece of it. The room is lost with an error.
    pub(super) fn step<M: Ordered>(
        &mut self,
        room: &mut Room<M>,
        (reader, destinations): (&Reader, Destinations),
        answers: &mut Vec<Answer>,
    ) -> io::Result<()> {
        if !self.is_busy() {
            return Ok(());
        }
        match self.stage {
            Stage::Read => self.read(room, (reader, destinations), answers)?,
            Stage::ByEnvelope(done) => {
                let (piece, next) = self.piece(done);
                room.fill_by_envelope(&piece)?;
                self.stage = next.map_or(Stage::ByLane(0), Stage::ByEnvelope);
                if next.is_none() {
                    let by_lane = |place: &Place| match place.due {
                        Due::At(due) => (place.kind, place.lane, due, place.envelope),
                        Due::Held => (place.kind, place.lane, u64::MAX, place.envelope),
                    };
                    self.places.sort_unstable_by_key(by_lane);
                }
            }
            Stage::ByLane(done) => {
                let (piece, next) = self.piece(done);
                room.fill_by_lane(&piece)?;
                tell(&piece, answers);
                self.stage = next.map_or(Stage::Read, Stage::ByLane);
                if next.is_none() {
                    self.end_round();
                }
            }
        }
        if !self.is_busy() {
            (self.known, self.places) = (HashSet::new(), Vec::new());
            if mem::take(&mut self.told) {
                log::info!("the index of the queue is complete");
            }
        }
        Ok(())
    }

    /// Reads some messages. A round that is small, and what may be in the room already, is put
    /// there at once.
    fn read<M: Ordered>(
        &mut self,
        room: &mut Room<M>,
        (reader, destinations): (&Reader, Destinations),
        answers: &mut Vec<Answer>,
    ) -> io::Result<()> {
        let is_missing = !self.missing.is_empty();
        let from = if is_missing { &mut self.missing } else { &mut self.discovered };
        let messages: Vec<_> = from.drain(..from.len().min(TOGETHER)).collect();
        for (id, found) in reader.all(&messages) {
            match found {
                Ok(Some(found)) => self.gather(&found, destinations),
                Ok(None) => {}
                Err(error) => {
                    log::warn!("message {id} cannot be read: {error}");
                    if error.kind() != ErrorKind::InvalidData {
                        self.unread.push(id);
                    }
                }
            }
        }
        if is_missing && self.places.len() < self.size && !self.missing.is_empty() {
            return Ok(());
        }
        if is_missing && self.size > TOGETHER && !self.places.is_empty() {
            self.places.sort_unstable_by_key(|place| place.envelope);
            self.stage = Stage::ByEnvelope(0);
            return Ok(());
        }
        let changes: Vec<_> = self.places.iter().copied().map(Change::Put).collect();
        room.apply(&changes)?;
        tell(&self.places, answers);
        self.end_round();
        Ok(())
    }

    /// The envelopes of a message that the scheduler does not have.
    fn gather(&mut self, found: &Found, destinations: Destinations) {
        let all = found.message.envelopes.iter().zip(&found.states);
        let here = all.filter(|(envelope, _)| !self.known.contains(&envelope.id));
        self.places.extend(here.map(|(envelope, state)| place(envelope, state, destinations)));
    }

    /// The next places of the round that the scheduler has not got since, and how many are then
    /// done; `None` when all are.
    fn piece(&self, done: usize) -> (Vec<Place>, Option<usize>) {
        let next = done + PIECE;
        let piece = &self.places[done..next.min(self.places.len())];
        let left = piece.iter().filter(|place| !self.known.contains(&place.envelope));
        (left.copied().collect(), (next < self.places.len()).then_some(next))
    }

    fn end_round(&mut self) {
        self.places.clear();
        self.size = (2 * self.size).min(ROUND);
    }
}

/// Where an envelope stands in a room.
pub(super) fn place(envelope: &Envelope, state: &State, destinations: Destinations) -> Place {
    Place {
        envelope: envelope.id,
        kind: envelope.agent.kind(),
        lane: destinations.lane(envelope),
        due: state.next_try(),
    }
}

/// Tells what may be claimed.
fn tell(places: &[Place], answers: &mut Vec<Answer>) {
    for kind in Kind::ALL {
        let due =
            places.iter().filter(|place| place.kind == kind).filter_map(|place| match place.due {
                Due::At(due) => Some(due),
                Due::Held => None,
            });
        answers.extend(due.min().map(|due| Answer::Filled { kind, due }));
    }
}
