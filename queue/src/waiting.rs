//! The waiting room: envelopes that are not in the scheduler's memory, by id, by destination
//! and by due time.
//!
//! Of an envelope it knows ids, times and a keyed hash of its destination; addresses and texts
//! are in the journal alone. All of it is a set of keys: one by the envelope's id, and for one
//! that waits one by lane and due time. Only the earliest envelope
//! of each lane stands in the order of due times, so a hundred thousand envelopes for one
//! destination are one entry there, and passing them over costs one step.
//!
//! An envelope here is *waiting* until a due time, or *held*. One that is lent to the scheduler
//! is not here until it is put back. A claim ends with the process, so what was lent by one that
//! died is found by rebuilding.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use crate::blocks::Blocks;
use crate::delivery::Kind;
use crate::envelope::Due;
use crate::id::EnvelopeId;
use crate::lanes::LaneId;
use crate::ordered::Ordered;
use crate::schedule::{LONGEST_WAIT, micros};

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
}

impl<M: Ordered> Room<M> {
    /// The room that is in `map`.
    pub fn new(map: M) -> Self {
        Self { keys: Blocks::new(map) }
    }

    /// The map, to be put away.
    pub fn into_map(self) -> M {
        self.keys.into_map()
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
        self.write(lent)?;
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
        Ok(self.keys.first(&prefix(id))?.is_some())
    }

    /// Moves up to `most` envelopes of a lane with due times in `from..=to` to `lent`.
    fn lane(
        &self,
        kind: Kind,
        lane: LaneId,
        from: u64,
        to: u64,
        most: usize,
        lent: &mut BTreeMap<EnvelopeId, Option<Slot>>,
    ) -> io::Result<()> {
        if most == 0 {
            return Ok(());
        }
        let full = lent.len() + most;
        let (from, to) = (lane_key(kind, lane, from, 0), lane_key(kind, lane, to, u64::MAX));
        self.keys.walk(&from, &successor(&to), &mut |key| {
            if let Some(id) = id_in_lane_key(key) {
                lent.insert(id, None);
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
        let mut by_envelope = self.keys.batch();
        let mut changes = BTreeMap::new();
        let mut lanes = BTreeSet::new();
        for (id, new) in slots {
            let prefix = prefix(id);
            let old = by_envelope.first(&prefix)?;
            let old = old.and_then(|key| Slot::decode(&key[prefix.len()..]));
            if old == new {
                continue;
            }
            let slots = [(old, false), (new, true)];
            let slots = slots.into_iter().filter_map(|(slot, here)| Some((slot?, here)));
            for (slot, here) in slots.clone() {
                if let Some(key) = slot.lane_key(id) {
                    changes.insert(key, here);
                    lanes.insert((slot.kind, slot.lane));
                }
            }
            let mut keys: Vec<_> = slots.map(|(slot, here)| (slot.key(id), here)).collect();
            keys.sort_unstable();
            for (key, here) in keys {
                by_envelope.set(key, here)?;
            }
        }
        let writes = by_envelope.finish();
        self.keys.write(writes)?;
        self.change(changes, lanes)
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

/// What is known of one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    kind: Kind,
    lane: LaneId,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waiting(u64),
    Held,
}

impl Slot {
    fn of(place: &Place) -> Self {
        let standing = match place.due {
            Due::At(due) => Standing::Waiting(due),
            Due::Held => Standing::Held,
        };
        Self { kind: place.kind, lane: place.lane, standing }
    }

    /// The key by the envelope's id; what follows the id is the slot.
    fn key(self, id: EnvelopeId) -> Vec<u8> {
        let (tag, due) = match self.standing {
            Standing::Waiting(due) => (b'w', due),
            Standing::Held => (b'h', 0),
        };
        let slot = join(&[self.kind as u8, tag], &[self.lane, due]);
        [prefix(id), slot].concat()
    }

    /// The key by its lane, if it waits.
    fn lane_key(self, id: EnvelopeId) -> Option<Vec<u8>> {
        match self.standing {
            Standing::Waiting(due) => Some(lane_key(self.kind, self.lane, due, id.as_u64())),
            Standing::Held => None,
        }
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let standing = match octets.get(1)? {
            b'w' => Standing::Waiting(number(octets, 10)?),
            b'h' => Standing::Held,
            _ => return None,
        };
        Some(Self { kind: Kind::from_u8(octets[0])?, lane: number(octets, 2)?, standing })
    }
}

// Keys: a letter, then numbers with the highest octet first, so that they sort as numbers.
const ENVELOPE: u8 = b'e';
const LANE: u8 = b'l';
const HEAD: u8 = b'd';

/// What the key by an envelope's id begins with.
fn prefix(id: EnvelopeId) -> Vec<u8> {
    join(&[ENVELOPE], &[id.as_u64()])
}

fn lane_key(kind: Kind, lane: LaneId, due: u64, id: u64) -> Vec<u8> {
    join(&[LANE, kind as u8], &[lane, due, id])
}

fn head_key(kind: Kind, due: u64, lane: LaneId) -> Vec<u8> {
    join(&[HEAD, kind as u8], &[due, lane])
}

fn id_in_lane_key(key: &[u8]) -> Option<EnvelopeId> {
    EnvelopeId::from_u64(number(key, 18)?)
}

fn join(letters: &[u8], numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(letters.len() + 8 * numbers.len());
    key.extend_from_slice(letters);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

fn number(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The first key behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::id::MessageId;
    use crate::ordered::Memory;

    fn id(number: u32) -> EnvelopeId {
        EnvelopeId::new(MessageId::from_u32(number).unwrap(), 0)
    }

    fn put(number: u32, lane: LaneId, due: Due) -> Change {
        Change::Put(Place { envelope: id(number), kind: Kind::Mda, lane, due })
    }

    fn claim(now: u64, room: usize) -> Claim {
        let crowded = HashSet::new();
        Claim { kind: Kind::Mda, now, room, per_lane: 100, crowded }
    }

    #[test]
    fn what_is_due_is_lent_once() {
        let mut room = Room::new(Memory::new());
        let changes = [put(1, 7, Due::At(10)), put(2, 7, Due::At(20)), put(3, 8, Due::Held)];
        room.apply(&changes).unwrap();
        let claimed = room.claim(&claim(10, 9)).unwrap();
        let expected = Claimed { envelopes: vec![id(1)], next: Some(20), ..Claimed::default() };
        assert_eq!(claimed, expected);
        assert_eq!(room.claim(&claim(19, 9)).unwrap().envelopes, []);
        assert_eq!([1, 2, 3].map(|n| room.has(id(n)).unwrap()), [false, true, true]);
        // Put back, it is lent again; removed while it is lent, it never is.
        room.apply(&[put(1, 7, Due::At(15))]).unwrap();
        assert_eq!(room.claim(&claim(20, 9)).unwrap().envelopes.len(), 2);
        room.apply(&[Change::Remove(id(1)), Change::Remove(id(2))]).unwrap();
        assert_eq!(room.claim(&claim(99, 9)).unwrap(), Claimed::default());
        let mut keys = 0;
        room.keys
            .walk(&[], &[u8::MAX], &mut |_| {
                keys += 1;
                true
            })
            .unwrap();
        assert_eq!(keys, 1, "only the held one is left");
    }

    #[test]
    fn one_destination_with_thousands_does_not_hide_the_next() {
        let mut room = Room::new(Memory::new());
        let flood: Vec<_> = (1..=5000).map(|n| put(n, 7, Due::At(u64::from(n)))).collect();
        room.apply(&flood).unwrap();
        room.apply(&[put(9000, 8, Due::At(6000))]).unwrap();
        let first = room.claim(&claim(7000, 1000)).unwrap();
        assert_eq!(first.envelopes.len(), 101, "a hundred of the flood, and the other one");
        assert!(first.envelopes.contains(&id(9000)));
        assert_eq!(first.next, Some(101));
        let crowded = Claim { crowded: HashSet::from([7]), ..claim(7000, 1000) };
        let second = room.claim(&crowded).unwrap();
        assert_eq!(second, Claimed { passed_over: true, ..Claimed::default() });
        assert_eq!(room.claim(&claim(7000, 3)).unwrap().envelopes.len(), 3);
    }

    #[test]
    fn a_due_time_of_another_clock_is_found() {
        let day = micros(LONGEST_WAIT);
        let mut room = Room::new(Memory::new());
        room.apply(&[put(1, 7, Due::At(500 * day)), put(2, 8, Due::At(day))]).unwrap();
        let claimed = room.claim(&claim(5, 9)).unwrap();
        assert_eq!((claimed.envelopes, claimed.next), (vec![id(1)], Some(day)));
    }

    #[test]
    fn in_memory_it_does_what_it_should() {
        conforms(Memory::new(), 3000);
    }

    /// The same as a list that is searched, over `rounds` random rounds.
    pub(crate) fn conforms(map: impl Ordered, rounds: u64) {
        let mut seed = 1;
        let mut random = |below: u64| {
            seed = u64::wrapping_mul(seed, 6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut room = Room::new(map);
        let mut model: BTreeMap<EnvelopeId, Place> = BTreeMap::new();
        for round in 0..rounds {
            let now = round * 10;
            let changes: Vec<_> = (0..random(5))
                .map(|_| {
                    let envelope = id(1 + random(200) as u32);
                    let kind = Kind::ALL[envelope.as_u64() as usize % 2];
                    let lane = random(6).pow(2) % 7;
                    let due = match random(5) {
                        0 => return Change::Remove(envelope),
                        1 => Due::Held,
                        _ => Due::At(now + random(400)),
                    };
                    Change::Put(Place { envelope, kind, lane, due })
                })
                .collect();
            for change in &changes {
                match change {
                    Change::Put(place) => {
                        model.insert(place.envelope, *place);
                    }
                    Change::Remove(id) => {
                        model.remove(id);
                    }
                }
            }
            room.apply(&changes).unwrap();
            let kind = Kind::ALL[random(2) as usize];
            let (most, per_lane) = (1 + random(20) as usize, 1 + random(4) as usize);
            let crowded = (0..random(3)).map(|_| random(7)).collect();
            let claim = Claim { kind, now, room: most, per_lane, crowded };
            let claimed = room.claim(&claim).unwrap();
            check(&claim, &claimed, &model);
            model.retain(|id, _| !claimed.envelopes.contains(id));
            assert!(model.keys().all(|id| room.has(*id).unwrap()));
        }
    }

    /// Whether this is what a claim may give, when `model` has what waited before.
    fn check(claim: &Claim, claimed: &Claimed, model: &BTreeMap<EnvelopeId, Place>) {
        let mut lanes: BTreeMap<LaneId, Vec<(u64, EnvelopeId)>> = BTreeMap::new();
        for place in model.values().filter(|place| place.kind == claim.kind) {
            if let Due::At(due) = place.due {
                lanes.entry(place.lane).or_default().push((due, place.envelope));
            }
        }
        let mut lent = 0;
        let mut next = None;
        let mut passed_over = false;
        for (lane, mut waiting) in lanes {
            waiting.sort_unstable();
            let due = waiting.iter().filter(|(due, _)| *due <= claim.now).count();
            if claim.crowded.contains(&lane) {
                passed_over |= due > 0;
                assert!(waiting.iter().all(|(_, id)| !claimed.envelopes.contains(id)));
                continue;
            }
            let most = due.min(claim.per_lane);
            let taken: Vec<_> =
                waiting.iter().filter(|(_, id)| claimed.envelopes.contains(id)).collect();
            assert!(taken.len() <= most);
            assert!(taken.iter().zip(&waiting).all(|(one, other)| *one == other), "in order");
            assert!(taken.len() == most || claimed.envelopes.len() == claim.room);
            lent += taken.len();
            let left = waiting.get(taken.len()).map(|(due, _)| *due);
            next = [next, left].into_iter().flatten().min();
        }
        assert_eq!(lent, claimed.envelopes.len());
        assert!(lent <= claim.room);
        assert_eq!(claimed.next, next);
        // With no room left it does not look at everything.
        assert!(claimed.passed_over == passed_over || lent == claim.room);
    }
}
