//! The envelopes that are in memory, and in which phase each of them is.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::sync::Arc;

use smtpd_engine::time::Time;

use super::administer::Wishes;
use crate::delivery::Kind;
use crate::envelope::{Message, State};
use crate::id::{EnvelopeId, MessageId};
use crate::lanes::LaneId;
use crate::request::Stored;

/// One envelope in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) content: Stored,
    pub(super) state: State,
    pub(super) kind: Kind,
    pub(super) lane: LaneId,
    pub(super) phase: Phase,
    /// An attempt has begun, perhaps in an earlier process.
    pub(super) again: bool,
    /// The store lent it.
    pub(super) is_lent: bool,
    /// The store has it, too, so it must be told when the envelope is settled.
    pub(super) in_store: bool,
    /// What an administrator wants done with it and is not done.
    pub(super) wishes: Option<Box<Wishes>>,
}

/// What an envelope in memory waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Somebody to say what becomes of it, in this turn.
    New,
    /// Its turn in its lane.
    Due,
    /// The report of its batch.
    InFlight {
        /// When it began, by the wall clock.
        since: u64,
    },
    /// The outcome of an attempt to be on disk.
    Recording,
    /// What an administrator ordered to be on disk.
    Obeying,
    /// Its next attempt.
    Near(Time),
    /// The store to have it.
    Leaving,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: BTreeMap<EnvelopeId, Entry>,
    near: BTreeSet<(Time, EnvelopeId)>,
    flying: BTreeMap<EnvelopeId, u64>,
    /// How many of them are of each kind.
    flying_of: [usize; 2],
    /// Envelopes whose outcome is on its way to the disk.
    recording: usize,
    /// Envelopes of each kind that came from a commit, and from the store.
    of_kind: [[usize; 2]; 2],
    /// Of the former, those on their way to the store.
    leaving: [usize; 2],
    /// Octets of content held, counted once for each envelope.
    content: u64,
}

impl Memory {
    /// False, and nothing changes, when it is here already.
    pub(super) fn insert(&mut self, id: EnvelopeId, entry: Entry) -> bool {
        let Slot::Vacant(slot) = self.entries.entry(id) else { return false };
        self.of_kind[entry.kind as usize][usize::from(entry.is_lent)] += 1;
        self.content += held(&entry);
        slot.insert(entry);
        true
    }

    pub(super) fn remove(&mut self, id: EnvelopeId) -> Option<Entry> {
        self.leave_phase(id);
        let entry = self.entries.remove(&id)?;
        self.of_kind[entry.kind as usize][usize::from(entry.is_lent)] -= 1;
        self.content -= held(&entry);
        Some(entry)
    }

    pub(super) fn get(&self, id: EnvelopeId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn wishes(&mut self, id: EnvelopeId) -> Option<&mut Option<Box<Wishes>>> {
        self.entries.get_mut(&id).map(|entry| &mut entry.wishes)
    }

    /// Marks the beginning of an attempt; whether it is the first.
    pub(super) fn begin(&mut self, id: EnvelopeId, since: u64) -> Option<(&Entry, bool)> {
        self.set_phase(id, Phase::InFlight { since });
        let entry = self.entries.get_mut(&id)?;
        let again = std::mem::replace(&mut entry.again, true);
        Some((entry, again))
    }

    pub(super) fn set_phase(&mut self, id: EnvelopeId, phase: Phase) {
        self.leave_phase(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match phase {
            Phase::Near(due) => drop(self.near.insert((due, id))),
            Phase::InFlight { since } => {
                self.flying.insert(id, since);
                self.flying_of[entry.kind as usize] += 1;
            }
            Phase::Recording | Phase::Obeying => self.recording += 1,
            Phase::Leaving if !entry.is_lent => self.leaving[entry.kind as usize] += 1,
            Phase::New | Phase::Due | Phase::Leaving => {}
        }
        entry.phase = phase;
    }

    /// Puts the envelope into [`Phase::New`].
    fn leave_phase(&mut self, id: EnvelopeId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match std::mem::replace(&mut entry.phase, Phase::New) {
            Phase::Near(due) => drop(self.near.remove(&(due, id))),
            Phase::InFlight { .. } => {
                self.flying.remove(&id);
                self.flying_of[entry.kind as usize] -= 1;
            }
            Phase::Recording | Phase::Obeying => self.recording -= 1,
            Phase::Leaving if !entry.is_lent => self.leaving[entry.kind as usize] -= 1,
            Phase::New | Phase::Due | Phase::Leaving => {}
        }
    }

    /// False when it is not here.
    pub(super) fn set_state(&mut self, id: EnvelopeId, state: State) -> bool {
        let entry = self.entries.get_mut(&id);
        entry.map(|entry| entry.state = state).is_some()
    }

    /// Notes that the store has it, too.
    pub(super) fn note_stored(&mut self, id: EnvelopeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.in_store = true;
        }
    }

    /// Lets go of the content's octets; they can be read from disk.
    pub(super) fn drop_content(&mut self, id: EnvelopeId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.content -= held(entry);
            entry.content.memory = None;
        }
    }

    pub(super) fn len(&self, kind: Kind) -> usize {
        self.of_kind[kind as usize].iter().sum()
    }

    /// Envelopes that came from a commit and are not about to go to the store.
    pub(super) fn staying(&self, kind: Kind) -> usize {
        self.of_kind[kind as usize][0] - self.leaving[kind as usize]
    }

    /// Envelopes that came from the store.
    pub(super) fn lent(&self, kind: Kind) -> usize {
        self.of_kind[kind as usize][1]
    }

    /// How many envelopes are being tried.
    pub(super) fn flying(&self) -> usize {
        self.flying.len()
    }

    /// How many of this kind are.
    pub(super) fn flying_of(&self, kind: Kind) -> usize {
        self.flying_of[kind as usize]
    }

    pub(super) fn content(&self) -> u64 {
        self.content
    }

    /// Envelopes in [`Phase::Near`].
    pub(super) fn near(&self) -> usize {
        self.near.len()
    }

    pub(super) fn first_near(&self) -> Option<Time> {
        self.near.first().map(|(due, _)| *due)
    }

    /// Those near ones whose time has come.
    pub(super) fn due(&self, now: Time) -> Vec<EnvelopeId> {
        self.near.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }

    pub(super) fn ids(&self) -> Vec<EnvelopeId> {
        self.entries.keys().copied().collect()
    }

    pub(super) fn leaving(&self) -> Vec<EnvelopeId> {
        let leaving = self.entries.iter().filter(|(_, entry)| entry.phase == Phase::Leaving);
        leaving.map(|(id, _)| *id).collect()
    }

    /// The envelopes of a message.
    pub(super) fn of(&self, message: MessageId) -> Vec<EnvelopeId> {
        self.entries.range(EnvelopeId::all_of(message)).map(|(id, _)| *id).collect()
    }

    /// Whether an envelope is being tried or an outcome recorded.
    pub(super) fn is_busy(&self) -> bool {
        self.recording > 0 || !self.flying.is_empty()
    }

    /// Whether an outcome is being recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.recording > 0
    }

    /// Envelopes that are being tried, and since when.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (EnvelopeId, u64)> {
        self.flying.iter().map(|(id, since)| (*id, *since))
    }
}

fn held(entry: &Entry) -> u64 {
    if entry.content.memory.is_some() { entry.content.octets } else { 0 }
}
