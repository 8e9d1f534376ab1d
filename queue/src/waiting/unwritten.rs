//! Keys by envelope that are still to be written.
//!
//! Ids are spread, so the envelopes of a minute lie all over the order of their ids: were their
//! keys written at once, each would cost reading and writing a block of its own. So what has
//! changed is kept here until it is much, and then written in the order of ids, when a block gets
//! several keys at a time. That is done piece by piece, with the changes that follow, so that
//! nobody waits for all of it.
//!
//! Most envelopes that are put into the room have been accepted since the last time, so that there
//! can be no key of theirs, and none is looked for.
//!
//! What is here goes with the process. So does the room: an index that was not closed is not
//! used again.

use std::collections::BTreeMap;

use super::keys::Slot;
use crate::id::{EnvelopeId, Ids};

/// Changes that begin a round of writing: 8 MiB of memory, and five for each block of a million
/// envelopes.
const MANY: usize = 1 << 17;

/// See the module.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// What becomes of envelopes; `None`: they are not here.
    slots: BTreeMap<EnvelopeId, Option<Slot>>,
    /// Gives ids to new messages.
    ids: Option<Ids>,
    /// No message whose id was given at this step or later has a key that is written.
    step: u64,
    /// Where the round of writing that is under way goes on.
    round: Option<EnvelopeId>,
    /// Changes that begin one.
    pub(super) many: usize,
}

impl Unwritten {
    /// Nothing yet. All that is in the room has ids that were given before.
    pub(super) fn new(ids: Option<Ids>) -> Self {
        let mut new = Self { slots: BTreeMap::new(), ids, step: 0, round: None, many: MANY };
        new.begin_writing();
        new
    }

    /// What becomes of an envelope, when that is known without a look at what is written.
    pub(super) fn get(&self, id: EnvelopeId) -> Option<Option<Slot>> {
        let known = self.slots.get(&id).copied();
        known.or_else(|| self.is_new(id).then_some(None))
    }

    /// Notes what becomes of an envelope.
    pub(super) fn set(&mut self, id: EnvelopeId, slot: Option<Slot>) {
        if slot.is_none() && self.is_new(id) {
            self.slots.remove(&id);
        } else {
            self.slots.insert(id, slot);
        }
    }

    /// Notes that the keys of these envelopes have been written by somebody else.
    pub(super) fn note_written(&mut self, envelopes: impl Iterator<Item = EnvelopeId>) {
        self.begin_writing();
        for id in envelopes {
            self.slots.remove(&id);
        }
    }

    /// From now on keys of all messages that have ids are written.
    fn begin_writing(&mut self) {
        self.step = self.ids.as_ref().map_or(0, Ids::next);
    }

    /// The next of the changes that are to be written now, in their order, up to so many.
    pub(super) fn take(&mut self, most: usize) -> Vec<(EnvelopeId, Option<Slot>)> {
        if self.round.is_none() && self.slots.len() >= self.many {
            self.round = self.slots.keys().next().copied();
            self.begin_writing();
        }
        let Some(from) = self.round else { return Vec::new() };
        // Those that have come since, few, wait for the next round: after this one, no key of theirs
        // shall have to be looked for.
        let mut old = self.slots.range(from..).filter(|(id, _)| !self.is_new(**id));
        let taken: Vec<_> = old.by_ref().take(most).map(|(id, slot)| (*id, *slot)).collect();
        self.round = old.next().map(|(id, _)| *id);
        for (id, _) in &taken {
            self.slots.remove(id);
        }
        taken
    }

    /// All of them, in their order.
    pub(super) fn take_all(&mut self) -> BTreeMap<EnvelopeId, Option<Slot>> {
        self.begin_writing();
        self.round = None;
        std::mem::take(&mut self.slots)
    }

    /// Whether the message's id was given since keys were written.
    fn is_new(&self, id: EnvelopeId) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.gave(id.message(), self.step))
    }
}
