//! The keys of a waiting room.
//!
//! One by the envelope's id tells all that is known of it; one by lane and due time stands for an
//! envelope that waits, and one by due time and lane for the earliest of a lane.

use super::Place;
use crate::delivery::Kind;
use crate::envelope::Due;
use crate::id::EnvelopeId;
use crate::lanes::LaneId;

/// What is known of one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) lane: LaneId,
    pub(super) standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting(u64),
    Held,
}

impl Slot {
    pub(super) fn of(place: &Place) -> Self {
        let standing = match place.due {
            Due::At(due) => Standing::Waiting(due),
            Due::Held => Standing::Held,
        };
        Self { kind: place.kind, lane: place.lane, standing }
    }

    /// The key by the envelope's id; what follows the id is the slot.
    pub(super) fn key(self, id: EnvelopeId) -> Vec<u8> {
        let (tag, due) = match self.standing {
            Standing::Waiting(due) => (b'w', due),
            Standing::Held => (b'h', 0),
        };
        let slot = join(&[self.kind as u8, tag], &[self.lane, due]);
        [prefix(id), slot].concat()
    }

    /// The key by its lane, if it waits.
    pub(super) fn lane_key(self, id: EnvelopeId) -> Option<Vec<u8>> {
        match self.standing {
            Standing::Waiting(due) => Some(lane_key(self.kind, self.lane, due, id.as_u64())),
            Standing::Held => None,
        }
    }

    /// What follows the id in such a key.
    fn decode(octets: &[u8]) -> Option<Self> {
        let standing = match octets.get(1)? {
            b'w' => Standing::Waiting(number(octets, 10)?),
            b'h' => Standing::Held,
            _ => return None,
        };
        Some(Self { kind: Kind::from_u8(octets[0])?, lane: number(octets, 2)?, standing })
    }

    /// The slot in a key by the envelope's id.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        Self::decode(key.get(PREFIX..)?)
    }
}

// Keys: a letter, then numbers with the highest octet first, so that they sort as numbers.
const ENVELOPE: u8 = b'e';
/// Octets of it and an id.
const PREFIX: usize = 9;
const LANE: u8 = b'l';
pub(super) const HEAD: u8 = b'd';

/// What the key by an envelope's id begins with.
pub(super) fn prefix(id: EnvelopeId) -> Vec<u8> {
    join(&[ENVELOPE], &[id.as_u64()])
}

pub(super) fn lane_key(kind: Kind, lane: LaneId, due: u64, id: u64) -> Vec<u8> {
    join(&[LANE, kind as u8], &[lane, due, id])
}

pub(super) fn head_key(kind: Kind, due: u64, lane: LaneId) -> Vec<u8> {
    join(&[HEAD, kind as u8], &[due, lane])
}

/// The due time and the envelope of such a key.
pub(super) fn of_lane_key(key: &[u8]) -> Option<(u64, EnvelopeId)> {
    Some((number(key, 10)?, EnvelopeId::from_u64(number(key, 18)?)?))
}

fn join(letters: &[u8], numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(letters.len() + 8 * numbers.len());
    key.extend_from_slice(letters);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

pub(super) fn number(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The first key behind `key`.
pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
