//! The lease side of the backend in memory. An envelope waits when nobody has its lease; how long
//! is said by its state alone.

use std::collections::BTreeMap;

use super::Memory;
use super::state::{Kept, State};
use crate::backend::{Leases, Reads};
use crate::delivery::Kind;
use crate::destination::Destinations;
use crate::envelope::Due;
use crate::id::EnvelopeId;
use crate::lanes::LaneId;
use crate::lease::{Answer, Epoch, Lent, Request};
use crate::schedule::from_another_clock;
use crate::waiting::{Change, Claim};

/// The lease side of one who has it open.
pub(super) struct LeaseSide {
    memory: Memory,
    epoch: Epoch,
    /// The scheduler has not yet said what it has: see [`Answer::Lost`].
    lost: bool,
}

/// An envelope that waits for a due time.
struct Waiting {
    due: u64,
    lane: LaneId,
    id: EnvelopeId,
}

impl LeaseSide {
    pub(super) fn new(memory: Memory, epoch: Epoch) -> Self {
        Self { memory, epoch, lost: false }
    }
}

impl Leases for LeaseSide {
    fn turn(&mut self, requests: &mut Vec<Request>, answers: &mut Vec<Answer>) {
        let destinations = self.memory.destinations();
        let mut state = self.memory.lock();
        let is_over = self.epoch != state.epoch();
        for request in requests.drain(..) {
            match request {
                Request::Change(change, lease) if lease != state.epoch() => {
                    answers.push(Answer::Void(change.envelope()));
                }
                Request::Known(known) if !is_over => {
                    self.lost = false;
                    for (envelope, left) in state.all().flat_map(Kept::envelopes) {
                        left.is_lent = known.contains(&envelope.id);
                    }
                    tell(&mut state, destinations, answers);
                }
                // There is nothing for one whose time is over.
                _ if self.lost || is_over => {}
                Request::Change(Change::Put(place), _) => {
                    if let Some(left) = state.left(place.envelope) {
                        left.is_lent = false;
                    }
                    answers.push(Answer::Stored(place));
                }
                Request::Change(Change::Remove(id), _) => {
                    if let Some(left) = state.left(id) {
                        left.is_lent = true;
                    }
                }
                Request::Claim(claim) => answers.push(lend_due(&mut state, &claim, destinations)),
                Request::Fetch(ids) => {
                    let (mut envelopes, mut absent) = (Vec::new(), Vec::new());
                    for id in ids {
                        match lend(&mut state, id) {
                            Some(lent) => envelopes.push(lent),
                            None => absent.push(id),
                        }
                    }
                    answers.push(Answer::Fetched { envelopes, absent });
                }
                Request::Discover(messages) => {
                    for id in messages {
                        let kept = state.kept(id);
                        kept.into_iter().flat_map(Kept::envelopes).for_each(|(_, left)| {
                            left.is_lent = false;
                        });
                    }
                    tell(&mut state, destinations, answers);
                }
                Request::Rebuild => {
                    self.lost = true;
                    answers.push(Answer::Lost);
                }
                Request::Known(_) => {}
            }
        }
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn close(self: Box<Self>, _mark: u64) -> std::io::Result<()> {
        Ok(())
    }
}

/// The envelopes of a kind that wait for a due time.
fn waiting(state: &mut State, kind: Kind, destinations: Destinations) -> Vec<Waiting> {
    let all = state.all().flat_map(Kept::envelopes);
    let here = all.filter(|(envelope, left)| !left.is_lent && envelope.agent.kind() == kind);
    let waiting = here.filter_map(|(envelope, left)| match left.state.next_try() {
        Due::At(due) => Some(Waiting { due, lane: destinations.lane(envelope), id: envelope.id }),
        Due::Held => None,
    });
    waiting.collect()
}

/// Tells what may be claimed.
fn tell(state: &mut State, destinations: Destinations, answers: &mut Vec<Answer>) {
    for kind in Kind::ALL {
        let due = waiting(state, kind, destinations).into_iter().map(|one| one.due).min();
        answers.extend(due.map(|due| Answer::Filled { kind, due }));
    }
}

fn lend_due(state: &mut State, claim: &Claim, destinations: Destinations) -> Answer {
    let is_due = |one: &Waiting| one.due <= claim.now || from_another_clock(one.due, claim.now);
    let all = waiting(state, claim.kind, destinations);
    let is_crowded = |one: &Waiting| claim.crowded.contains(&one.lane);
    let passed_over = all.iter().any(|one| is_due(one) && is_crowded(one));
    let (due, later): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|one| !is_crowded(one)).partition(is_due);
    let mut lanes: BTreeMap<LaneId, Vec<Waiting>> = BTreeMap::new();
    for one in due {
        lanes.entry(one.lane).or_default().push(one);
    }
    let mut lanes: Vec<_> = lanes.into_values().collect();
    for lane in &mut lanes {
        lane.sort_unstable_by_key(|one| (one.due, one.id));
    }
    // What is due impossibly late comes after what is due.
    lanes.sort_unstable_by_key(|lane| lane[0].due);
    let (mut envelopes, mut left) = (Vec::new(), later);
    for lane in lanes {
        for (nth, one) in lane.into_iter().enumerate() {
            let fits = nth < claim.per_lane && envelopes.len() < claim.room;
            match fits.then(|| lend(state, one.id)).flatten() {
                Some(lent) => envelopes.push(lent),
                None => left.push(one),
            }
        }
    }
    envelopes.sort_unstable_by_key(|lent| lent.id);
    let next = left.into_iter().map(|one| one.due).min();
    Answer::Lent { kind: claim.kind, envelopes, next, passed_over }
}

/// Lends an envelope that waits or is held.
fn lend(state: &mut State, id: EnvelopeId) -> Option<Lent> {
    let left = state.left(id).filter(|left| !left.is_lent)?;
    left.is_lent = true;
    let how = left.state.clone();
    let found = state.get(id.message())?.found();
    Some(Lent { message: found.message, id, state: how, content: found.content })
}
