//! What an administrator orders: try it now, pause it, let it go on, take it out.
//!
//! An order names envelopes, wherever they are. What is in memory is acted on there; the rest is
//! fetched from the store first. What an order changes becomes an outcome in the journal, and the
//! order is answered ([`Output::Administered`]) when all of that is on disk.
//!
//! | phase | what happens |
//! |---|---|
//! | due, near | at once |
//! | in flight | when the attempt is over; the order does not wait for that |
//! | recording, obeying | when the outcome is on disk |
//! | leaving | when the store has it |
//! | in the store | when it has been fetched |
//!
//! An envelope that is in flight may still be delivered: an order to take it out then comes too
//! late, and one to pause it has nothing left to pause. Until the attempt is over such an order
//! is in memory only.

use std::collections::{BTreeMap, HashMap};

use super::memory::{Entry, Phase};
use super::{Clock, Output, Scheduler};
use crate::envelope::{Due, State, Verdict};
use crate::id::EnvelopeId;
use crate::lease::{Lent, Request};

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try it now, also when it was held for a reason: perhaps that is gone. What is paused stays
    /// paused.
    Schedule,
    /// Do not try it before somebody resumes it. Its due time stays what it is.
    Hold,
    /// End of [`Action::Hold`].
    Resume,
    /// Take it out of the queue; nobody is told.
    Remove,
}

/// Names an order from its coming to its answer.
pub type OrderId = u64;

/// An order. It costs memory for each envelope until it is answered, so whoever has many to give
/// gives them in portions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Comes back with the answer. No other open order may have it.
    pub id: OrderId,
    /// The envelopes. Those that are not in the queue are passed over.
    pub envelopes: Vec<EnvelopeId>,
    /// What is to be done with them.
    pub action: Action,
}

/// What is wanted of one envelope in memory and is not done.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    suspended: Option<bool>,
    schedule: bool,
    remove: bool,
    /// The orders that wait until it is begun.
    waiting: Vec<OrderId>,
    /// The orders whose outcome is on its way to the disk.
    doing: Vec<OrderId>,
}

impl Wishes {
    /// Whether there is something to begin.
    fn is_open(&self) -> bool {
        self.suspended.is_some() || self.schedule || self.remove
    }
}

/// The orders that are not answered.
#[derive(Debug, Default)]
pub(super) struct Orders {
    open: HashMap<OrderId, Open>,
    /// Envelopes that are fetched, and what is then to be done, in order.
    fetching: BTreeMap<EnvelopeId, Vec<(OrderId, Action)>>,
}

#[derive(Debug)]
struct Open {
    undecided: usize,
    changed: usize,
}

impl Scheduler {
    pub(super) fn administer(&mut self, order: Order, now: Clock, outputs: &mut Vec<Output>) {
        let Order { id: order, envelopes, action } = order;
        // One more, so that the answer comes after all of them have been looked at.
        self.orders.open.insert(order, Open { undecided: envelopes.len() + 1, changed: 0 });
        let mut absent = Vec::new();
        for id in envelopes {
            if let Some(actions) = self.orders.fetching.get_mut(&id) {
                actions.push((order, action));
            } else if self.memory.get(id).is_some() {
                self.wish(id, order, action, outputs);
                self.obey_if_idle(id, now, outputs);
            } else {
                self.orders.fetching.insert(id, vec![(order, action)]);
                absent.push(id);
            }
        }
        if !absent.is_empty() {
            outputs.push(Output::Store(Request::Fetch(absent)));
        }
        self.orders.decide(order, None, outputs);
    }

    /// What was asked of the store, and of those what it did not have.
    pub(super) fn fetched(
        &mut self,
        envelopes: Vec<Lent>,
        absent: Vec<EnvelopeId>,
        now: Clock,
        outputs: &mut Vec<Output>,
    ) {
        for lent in envelopes {
            let id = lent.id;
            // It may have come by a claim meanwhile; then that one counts.
            let is_new = self.insert_lent(lent);
            self.obey_fetched(id, now, outputs);
            if is_new && matches!(self.memory.get(id), Some(Entry { phase: Phase::New, .. })) {
                self.put(id, outputs);
            }
        }
        for id in absent {
            self.obey_fetched(id, now, outputs);
        }
    }

    /// The store has forgotten what it was asked for.
    pub(super) fn fetch_again(&self, outputs: &mut Vec<Output>) {
        if !self.orders.fetching.is_empty() {
            let all = self.orders.fetching.keys().copied().collect();
            outputs.push(Output::Store(Request::Fetch(all)));
        }
    }

    fn obey_fetched(&mut self, id: EnvelopeId, now: Clock, outputs: &mut Vec<Output>) {
        for (order, action) in self.orders.fetching.remove(&id).unwrap_or_default() {
            self.wish(id, order, action, outputs);
        }
        self.obey_if_idle(id, now, outputs);
    }

    /// Notes what an order wants of an envelope, or decides that there is nothing to be done.
    fn wish(&mut self, id: EnvelopeId, order: OrderId, action: Action, outputs: &mut Vec<Output>) {
        let Some(Entry { phase, state, .. }) = self.memory.get(id) else {
            return self.orders.decide(order, Some(false), outputs);
        };
        let (phase, is_suspended) = (*phase, state.suspended);
        let Some(slot) = self.memory.wishes(id) else { return };
        let is_removed = slot.as_ref().is_some_and(|wishes| wishes.remove);
        let wanted = slot.as_ref().and_then(|wishes| wishes.suspended);
        let is_suspended = wanted.unwrap_or(is_suspended);
        let (is_due, is_flying) = (phase == Phase::Due, matches!(phase, Phase::InFlight { .. }));
        let nothing = match action {
            _ if is_removed => Some(false),
            Action::Hold => is_suspended.then_some(false),
            Action::Resume => (!is_suspended).then_some(false),
            Action::Schedule if is_suspended || is_flying => Some(false),
            Action::Schedule => is_due.then_some(true),
            Action::Remove => None,
        };
        if nothing.is_some() {
            return self.orders.decide(order, nothing, outputs);
        }
        let wishes = slot.get_or_insert_default();
        match action {
            Action::Schedule => wishes.schedule = true,
            Action::Hold => wishes.suspended = Some(true),
            Action::Resume => wishes.suspended = Some(false),
            Action::Remove => wishes.remove = true,
        }
        if is_flying {
            return self.orders.decide(order, Some(true), outputs);
        }
        wishes.waiting.push(order);
    }

    /// Begins what is wanted of an envelope, if it waits for nothing that comes before.
    fn obey_if_idle(&mut self, id: EnvelopeId, now: Clock, outputs: &mut Vec<Output>) {
        let phase = self.memory.get(id).map(|entry| entry.phase);
        if matches!(phase, Some(Phase::New | Phase::Due | Phase::Near(_))) {
            self.obey(id, now, outputs);
        }
    }

    /// Begins what is wanted of an envelope that may leave its phase; false when nothing is.
    pub(super) fn obey(&mut self, id: EnvelopeId, now: Clock, outputs: &mut Vec<Output>) -> bool {
        let Some(Entry { phase, kind, lane, state, .. }) = self.memory.get(id) else {
            return false;
        };
        let (phase, kind, lane, mut state) = (*phase, *kind, *lane, state.clone());
        let Some(Some(wishes)) = self.memory.wishes(id) else { return false };
        if !wishes.is_open() {
            return false;
        }
        wishes.doing.append(&mut wishes.waiting);
        let verdict = if wishes.remove {
            Verdict::Removed
        } else {
            wishes.change(&mut state, now.unix);
            Verdict::Changed(state)
        };
        if phase == Phase::Due {
            self.agent_mut(kind).lanes.withdraw(lane, id);
        }
        if let Verdict::Changed(state) = &verdict {
            // Ahead of the disk, so that what is ordered meanwhile is reckoned from here.
            // Nothing else looks at it before the outcome is there.
            self.memory.set_state(id, state.clone());
        }
        self.memory.set_phase(id, Phase::Obeying);
        outputs.push(Output::Record(self.outcome(id, now, verdict)));
        true
    }

    /// Whether an envelope is to be taken out as soon as its attempt is over.
    pub(super) fn is_unwanted(&self, id: EnvelopeId) -> bool {
        let wishes = self.memory.get(id).and_then(|entry| entry.wishes.as_ref());
        wishes.is_some_and(|wishes| wishes.remove)
    }

    /// What was begun is on disk.
    pub(super) fn obeyed(&mut self, id: EnvelopeId, outputs: &mut Vec<Output>) {
        let Some(slot) = self.memory.wishes(id) else { return };
        let done = slot.as_mut().map(|wishes| std::mem::take(&mut wishes.doing));
        if slot.as_ref().is_some_and(|wishes| !wishes.is_open()) {
            *slot = None;
        }
        for order in done.into_iter().flatten() {
            self.orders.decide(order, Some(true), outputs);
        }
    }

    /// The envelope has left the queue, and not by these orders.
    pub(super) fn too_late(&mut self, entry: &Entry, outputs: &mut Vec<Output>) {
        if let Some(wishes) = &entry.wishes {
            for order in wishes.waiting.iter().chain(&wishes.doing) {
                self.orders.decide(*order, Some(false), outputs);
            }
        }
    }
}

impl Wishes {
    /// Makes the changes that are wanted, and wants them no more.
    fn change(&mut self, state: &mut State, now: u64) {
        if let Some(suspended) = self.suspended.take() {
            state.suspended = suspended;
        }
        if std::mem::take(&mut self.schedule) && !state.suspended {
            state.due = Due::At(now);
        }
    }
}

impl Orders {
    /// It is known what an order did with one envelope (`None`: it has been looked at whole).
    fn decide(&mut self, order: OrderId, changed: Option<bool>, outputs: &mut Vec<Output>) {
        let Some(open) = self.open.get_mut(&order) else { return };
        open.undecided -= 1;
        open.changed += usize::from(changed == Some(true));
        if open.undecided == 0 {
            outputs.push(Output::Administered { order, changed: open.changed });
            self.open.remove(&order);
        }
    }
}
