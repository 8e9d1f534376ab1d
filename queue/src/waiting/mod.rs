//! The waiting room: envelopes that are not in the scheduler's memory, by id, by destination
//! and by due time.
//!
//! Of an envelope it knows ids, times and a keyed hash of its destination; addresses and texts
//! are in the journal alone. All of it is a set of keys (`keys`): one by the envelope's id, and for
//! one that waits one by lane and due time. Only the earliest envelope of each lane stands in the
//! order of due times, so a hundred thousand envelopes for one destination are one entry there, and
//! passing them over costs one step. The keys by id are written late, many at a time
//! (`unwritten`); the others at once.
//!
//! An envelope here is *waiting* until a due time, or *held*. One that is lent to the scheduler
//! is not here until it is put back. A claim ends with the process, so what was lent by one that
//! died is found by rebuilding.

mod keys;
mod unwritten;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use crate::blocks::Blocks;
use crate::delivery::Kind;
use crate::envelope::Due;
use crate::id::{EnvelopeId, Ids};
use crate::lanes::LaneId;
use crate::ordered::Ordered;
use crate::schedule::{LONGEST_WAIT, micros};

use keys::{HEAD, Slot, Standing, head_key, lane_key, number, of_lane_key, prefix, successor};
use unwritten::Unwritten;

/// Keys by envelope that are written with each change, while there are many to be written: they
/// are done before as many have come again.
const WRITTEN: usize = 2;
/// Keys written in one piece.
const PIECE: usize = 4096;

/// A change in the waiting room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The envelope waits or is held, whatever it did before.
    Put(Place),
    /// The envelope leaves: it is settled, or lent.
    Remove(EnvelopeId),
}

impl Change {
    /// The envelope it is about.
    pub(crate) fn envelope(&self) -> EnvelopeId {
        match self {
            Self::Put(place) => place.envelope,
            Self::Remove(id) => *id,
        }
    }
}

/// An envelope and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The envelope.
    pub envelope: EnvelopeId,
    /// Who delivers it.
    pub kind: Kind,
    /// Its destination.
    pub lane: LaneId,
    /// When it is to be tried.
    pub due: Due,
}

/// What the scheduler has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// For whom.
    pub kind: Kind,
    /// The wall clock.
    pub now: u64,
    /// Envelopes in all; those due earliest.
    pub room: usize,
    /// Envelopes of one destination.
    pub per_lane: usize,
    /// Destinations of which the scheduler has enough.
    pub crowded: HashSet<LaneId>,
}

/// What was lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Envelopes that are due.
    pub envelopes: Vec<EnvelopeId>,
    /// The earliest due time left, crowded destinations left out. It may be in the past, when
    /// there was no room for more.
    pub next: Option<u64>,
    /// Whether a crowded destination has something due.
    pub passed_over: bool,
}

/// The waiting room, kept in an ordered map.
#[derive(Debug)]
pub struct Room<M> {
    keys: Blocks<M>,
    unwritten: Unwritten,
}

impl<M: Ordered> Room<M> {
    /// The room that is in `map`. `ids` gives ids to new messages, if there are any meanwhile.
    pub fn new(map: M, ids: Option<Ids>) -> Self {
        Self { keys: Blocks::new(map), unwritten: Unwritten::new(ids) }
    }

    /// The map, to be put away, with all that is in the room.
    pub fn into_map(mut self) -> io::Result<M> {
        let all: Vec<_> = self.unwritten.take_all().into_iter().collect();
        for piece in all.chunks(PIECE) {
            self.write_by_envelope(piece)?;
        }
        Ok(self.keys.into_map())
    }

    /// Makes the changes. Of several for one envelope the last one counts; removing one that
    /// is not here changes nothing.
    pub fn apply(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut last = BTreeMap::new();
        for change in changes {
            let (id, slot) = match change {
                Change::Put(place) => (place.envelope, Some(Slot::of(place))),
                Change::Remove(id) => (*id, None),
            };
            last.insert(id, slot);
        }
        self.write(last)
    }

    /// Puts the keys by envelope of places that are not here; quick when they come in the order
    /// of their ids. To be followed by [`Room::fill_by_lane`]: until then they can be changed and
    /// removed, but are not lent.
    pub fn fill_by_envelope(&mut self, places: &[Place]) -> io::Result<()> {
        self.unwritten.note_written(places.iter().map(|place| place.envelope));
        let key = |place: &Place| (Slot::of(place).key(place.envelope), true);
        self.keys.apply(places.iter().map(key).collect())
    }

    /// Puts the other keys of places that have those by envelope; quick when they come in the
    /// order of their lanes and due times.
    pub fn fill_by_lane(&mut self, places: &[Place]) -> io::Result<()> {
        let key = |place: &Place| Some((Slot::of(place).lane_key(place.envelope)?, true));
        let lanes = places.iter().map(|place| (place.kind, place.lane)).collect();
        self.change(places.iter().filter_map(key).collect(), lanes)
    }

    /// Lends envelopes that are due, and those whose due time cannot be right (the clock has
    /// been set back).
    pub fn claim(&mut self, claim: &Claim) -> io::Result<Claimed> {
        let mut claimed = Claimed::default();
        let mut lent = BTreeMap::new();
        let beyond = claim.now.saturating_add(micros(LONGEST_WAIT)).saturating_add(1);
        for (from, to) in [(0, claim.now), (beyond, u64::MAX)] {
            let mut lanes = Vec::new();
            self.heads(claim.kind, from, &mut |due, lane| {
                let crowded = claim.crowded.contains(&lane);
                claimed.passed_over |= crowded && due <= to;
                if !crowded && due <= to {
                    lanes.push(lane);
                }
                due <= to && lanes.len() < claim.room
            })?;
            for lane in lanes {
                let most = claim.per_lane.min(claim.room - lent.len());
                self.lane(claim.kind, lane, from, to, most, &mut lent)?;
            }
        }
        claimed.envelopes.extend(lent.keys().copied());
        self.lend(lent)?;
        self.heads(claim.kind, 0, &mut |due, lane| {
            if !claim.crowded.contains(&lane) {
                claimed.next = Some(due);
            }
            claimed.next.is_none()
        })?;
        Ok(claimed)
    }

    /// Whether the envelope waits or is held here.
    pub fn has(&self, id: EnvelopeId) -> io::Result<bool> {
        match self.unwritten.get(id) {
            Some(slot) => Ok(slot.is_some()),
            None => Ok(self.keys.first(&prefix(id))?.is_some()),
        }
    }

    /// Adds up to `most` envelopes of a lane with due times in `from..=to` to `lent`.
    fn lane(
        &self,
        kind: Kind,
        lane: LaneId,
        from: u64,
        to: u64,
        most: usize,
        lent: &mut BTreeMap<EnvelopeId, Slot>,
    ) -> io::Result<()> {
        if most == 0 {
            return Ok(());
        }
        let full = lent.len() + most;
        let (from, to) = (lane_key(kind, lane, from, 0), lane_key(kind, lane, to, u64::MAX));
        self.keys.walk(&from, &successor(&to), &mut |key| {
            if let Some((due, id)) = of_lane_key(key) {
                lent.insert(id, Slot { kind, lane, standing: Standing::Waiting(due) });
            }
            lent.len() < full
        })
    }

    /// Shows each lane with its earliest due time, in the order of these times.
    fn heads(
        &self,
        kind: Kind,
        from: u64,
        each: &mut dyn FnMut(u64, LaneId) -> bool,
    ) -> io::Result<()> {
        let to = [HEAD, kind as u8 + 1];
        self.keys.walk(&head_key(kind, from, 0), &to, &mut |key| {
            number(key, 2).zip(number(key, 10)).is_none_or(|(due, lane)| each(due, lane))
        })
    }

    /// Gives envelopes their new slots (or none).
    fn write(&mut self, slots: BTreeMap<EnvelopeId, Option<Slot>>) -> io::Result<()> {
        let many = slots.len();
        let mut changes = Changed::default();
        let mut written = self.keys.batch();
        for (id, new) in slots {
            let old = match self.unwritten.get(id) {
                Some(known) => known,
                None => written.first(&prefix(id))?.and_then(|key| Slot::of_key(&key)),
            };
            if old != new {
                old.into_iter().for_each(|slot| changes.note(id, slot, false));
                new.into_iter().for_each(|slot| changes.note(id, slot, true));
                self.unwritten.set(id, new);
            }
        }
        self.change(changes.keys, changes.lanes)?;
        self.write_some(many)
    }

    /// Takes envelopes out that have these slots.
    fn lend(&mut self, slots: BTreeMap<EnvelopeId, Slot>) -> io::Result<()> {
        let many = slots.len();
        let mut changes = Changed::default();
        for (id, slot) in slots {
            changes.note(id, slot, false);
            self.unwritten.set(id, None);
        }
        self.change(changes.keys, changes.lanes)?;
        self.write_some(many)
    }

    /// Writes keys by envelope, after so many changes.
    fn write_some(&mut self, changes: usize) -> io::Result<()> {
        let piece = self.unwritten.take(WRITTEN * changes);
        self.write_by_envelope(&piece)
    }

    /// Writes keys by envelope, which come in their order.
    fn write_by_envelope(&mut self, slots: &[(EnvelopeId, Option<Slot>)]) -> io::Result<()> {
        let mut batch = self.keys.batch();
        for (id, new) in slots {
            let old = batch.first(&prefix(*id))?;
            let new = new.map(|slot| slot.key(*id));
            if old != new {
                let old = old.map(|key| (key, false));
                let mut keys: Vec<_> = old.into_iter().chain(new.map(|key| (key, true))).collect();
                keys.sort_unstable();
                for (key, here) in keys {
                    batch.set(key, here)?;
                }
            }
        }
        let writes = batch.finish();
        self.keys.write(writes)
    }

    /// Changes keys, and puts right which envelope is the earliest of each lane concerned.
    fn change(
        &mut self,
        changes: BTreeMap<Vec<u8>, bool>,
        lanes: BTreeSet<(Kind, LaneId)>,
    ) -> io::Result<()> {
        let mut before = Vec::with_capacity(lanes.len());
        for (kind, lane) in lanes {
            before.push((kind, lane, self.earliest(kind, lane)?));
        }
        self.keys.apply(changes)?;

        let mut changes = BTreeMap::new();
        for (kind, lane, before) in before {
            let now = self.earliest(kind, lane)?;
            if before != now {
                changes.extend(before.map(|due| (head_key(kind, due, lane), false)));
                changes.extend(now.map(|due| (head_key(kind, due, lane), true)));
            }
        }
        self.keys.apply(changes)
    }

    fn earliest(&self, kind: Kind, lane: LaneId) -> io::Result<Option<u64>> {
        let from = lane_key(kind, lane, 0, 0);
        let to = successor(&lane_key(kind, lane, u64::MAX, u64::MAX));
        let mut due = None;
        self.keys.walk(&from, &to, &mut |key| {
            due = number(key, 10);
            false
        })?;
        Ok(due)
    }
}

/// Changes of keys by lane, and the lanes that they are of.
#[derive(Default)]
struct Changed {
    keys: BTreeMap<Vec<u8>, bool>,
    lanes: BTreeSet<(Kind, LaneId)>,
}

impl Changed {
    fn note(&mut self, id: EnvelopeId, slot: Slot, here: bool) {
        if let Some(key) = slot.lane_key(id) {
            self.keys.insert(key, here);
            self.lanes.insert((slot.kind, slot.lane));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
