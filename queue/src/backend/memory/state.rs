//! What is kept in memory, and who has the lease of what.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::envelope::{self, Message, Outcome};
use crate::id::{EnvelopeId, MessageId};
use crate::lease::Epoch;
use crate::reader::Found;
use crate::request::{Done, Stored};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// That of the last one who has opened it.
    epoch: u64,
    messages: BTreeMap<MessageId, Kept>,
    /// Contents that are in no message; those being written are empty.
    contents: HashMap<MessageId, Option<Arc<[u8]>>>,
}

/// A message.
#[derive(Debug)]
pub(super) struct Kept {
    /// With all of its envelopes.
    message: Arc<Message>,
    /// Those of its envelopes that are not settled, by their place.
    pub(super) left: BTreeMap<u32, Left>,
    /// `None`: among the contents.
    content: Option<Arc<[u8]>>,
    octets: u64,
    dot_lines: bool,
}

/// An envelope that is not settled.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) state: envelope::State,
    /// Whoever has it open has its lease; else it waits, for its due time or for somebody.
    pub(super) is_lent: bool,
}

impl State {
    /// Begins a new epoch: all that was lent waits again, and content without a message goes.
    pub(super) fn take_over(&mut self) -> Epoch {
        self.epoch += 1;
        for left in self.messages.values_mut().flat_map(|kept| kept.left.values_mut()) {
            left.is_lent = false;
        }
        let messages = &self.messages;
        self.contents.retain(|id, _| messages.get(id).is_some_and(Kept::in_file));
        self.epoch()
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch)
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn has(&self, id: MessageId) -> bool {
        self.messages.contains_key(&id)
    }

    pub(super) fn get(&self, id: MessageId) -> Option<&Kept> {
        self.messages.get(&id)
    }

    /// Messages in the order of their ids, behind this one.
    pub(super) fn behind(
        &self,
        after: Option<MessageId>,
    ) -> impl Iterator<Item = (MessageId, &Kept)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.messages.range((from, Bound::Unbounded)).map(|(id, kept)| (*id, kept))
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.messages.values_mut()
    }

    pub(super) fn kept(&mut self, id: MessageId) -> Option<&mut Kept> {
        self.messages.get_mut(&id)
    }

    /// An envelope that is not settled.
    pub(super) fn left(&mut self, id: EnvelopeId) -> Option<&mut Left> {
        self.messages.get_mut(&id.message())?.left.get_mut(&id.nth())
    }

    pub(super) fn keep(&mut self, kept: Kept) {
        self.messages.insert(kept.message.id, kept);
    }

    /// Notes an outcome, and answers.
    pub(super) fn record<T>(&mut self, outcome: Outcome, done: &mut Vec<Done<T>>) {
        let (id, message) = (outcome.envelope, outcome.envelope.message());
        let after = envelope::State::after(&outcome);
        done.push(Done::Recorded(outcome));
        let Some(kept) = self.messages.get_mut(&message) else { return };
        match (kept.left.get_mut(&id.nth()), after) {
            (Some(left), Some(state)) => left.state = state,
            (_, None) => drop(kept.left.remove(&id.nth())),
            // It was settled before.
            (None, Some(_)) => {}
        }
        if kept.left.is_empty() {
            if kept.in_file() {
                done.push(Done::Discard(message));
            }
            self.messages.remove(&message);
        }
    }

    pub(super) fn content(&self, id: MessageId) -> Option<Arc<[u8]>> {
        let kept = self.messages.get(&id)?;
        kept.content.clone().or_else(|| self.contents.get(&id)?.clone())
    }

    /// False: there is one already.
    pub(super) fn begin_content(&mut self, id: MessageId) -> bool {
        let is_new = !self.contents.contains_key(&id);
        if is_new {
            self.contents.insert(id, None);
        }
        is_new
    }

    pub(super) fn finish_content(&mut self, id: MessageId, octets: Arc<[u8]>) {
        self.contents.insert(id, Some(octets));
    }

    pub(super) fn remove_content(&mut self, id: MessageId) {
        self.contents.remove(&id);
    }
}

impl Kept {
    /// A message that has just been accepted: its lease is that of the one who has taken it.
    pub(super) fn new(
        message: &Arc<Message>,
        content: Option<Arc<[u8]>>,
        octets: u64,
        dot_lines: bool,
    ) -> Self {
        let state = || envelope::State::new(message.ctime);
        let left =
            |one: &envelope::Envelope| (one.id.nth(), Left { state: state(), is_lent: true });
        let left = message.envelopes.iter().map(left).collect();
        Self { message: Arc::clone(message), left, content, octets, dot_lines }
    }

    pub(super) fn in_file(&self) -> bool {
        self.content.is_none()
    }

    /// The envelopes that are not settled.
    pub(super) fn envelopes(&mut self) -> impl Iterator<Item = (&envelope::Envelope, &mut Left)> {
        let envelopes = &self.message.envelopes;
        self.left.iter_mut().map(|(nth, left)| (&envelopes[*nth as usize], left))
    }

    /// How it stands.
    pub(super) fn found(&self) -> Found {
        let id = self.message.id;
        let is_left = |one: &&envelope::Envelope| self.left.contains_key(&one.id.nth());
        let envelopes = self.message.envelopes.iter().filter(is_left).cloned().collect();
        let message = Message { envelopes, ..Message::clone(&self.message) };
        let states = self.left.values().map(|left| left.state.clone()).collect();
        let (octets, dot_lines) = (self.octets, self.dot_lines);
        let content = Stored { message: id, octets, dot_lines, memory: None };
        Found { message: Arc::new(message), states, content }
    }
}
