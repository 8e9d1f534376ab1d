//! Whose turn it is: what may be tried at once, so that no destination holds up another.
//!
//! Every destination (a user of local delivery, a domain of relaying) has a lane of envelopes
//! that are due. Lanes take turns of a few envelopes each, and together they fill a *batch*:
//! what one worker does in one go, sharing its syncs. A batch is made only when a worker may
//! begin it, so what arrives meanwhile is the next one; nothing waits for company.
//!
//! A batch ends envelope by envelope, and a lane has left it when the last of its own has ended.
//! Still, who delivers a batch may be as slow as the slowest of its destinations. What keeps that
//! from spreading:
//!
//! * A lane is in a bounded number of batches ([`Share::batches`]).
//! * For each envelope of a lane that is being tried there is room for sixteen of others, so when
//!   some hang the next one still finds room.
//! * Batches that are late ([`Limits::late`]) do not count against [`Limits::brisk`], so others
//!   go on beside them.
//! * The lanes that are still in a late batch are *suspects*. They get batches of their own, so
//!   that those who only shared it go on at once and the guilty one is alone with itself. Such
//!   batches, with those that are late, take up half of [`Limits::batches`]; they wait for each
//!   other and nobody waits for them.
//!
//! So a lane without suspicion waits for the turns of the others, and at most as long as a batch
//! takes to be late, however many envelopes wait in slow lanes. What is done for one batch does
//! not depend on how many lanes there are.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use smtpd_engine::time::Time;

use crate::id::EnvelopeId;

/// What may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Batches at once, late ones included: the number of workers.
    pub batches: usize,
    /// Batches at once that are not late. Few: a fuller batch costs less for each envelope.
    pub brisk: usize,
    /// Envelopes in one batch.
    pub batch: usize,
    /// Envelopes a lane adds to a batch before the next lane has its turn.
    pub turn: usize,
    /// A batch that takes longer than this is late. `None` where none holds up another.
    pub late: Option<Duration>,
    /// What a lane may have.
    pub lane: Share,
}

/// What one lane may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Batches at once that it has a part in.
    pub batches: usize,
    /// Envelopes in one batch.
    pub batch: usize,
}

/// For each envelope in the batches of a lane there is room for so many of others, so a hundred
/// lanes that hang leave some of 5000.
const PARTS: usize = 16;

/// The lane of a destination: a keyed hash of its name. Two that collide share their turns.
pub type LaneId = u64;

/// Names a batch from its making to its end.
pub type BatchId = u64;

/// The lanes of one agent.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that have something due and may begin another batch, each once. Suspects may be
    /// among them until their turn comes.
    ring: VecDeque<LaneId>,
    /// The same of suspects.
    suspects: VecDeque<LaneId>,
    batches: HashMap<BatchId, Batch>,
    /// How many of them are late or of a suspect.
    slow: usize,
    /// Some of the suspects may be none any more.
    cleared: bool,
}

#[derive(Debug, Default)]
struct Lane {
    due: VecDeque<EnvelopeId>,
    /// Envelopes in batches.
    flying: usize,
    batches: usize,
    /// How many of them are late.
    late: usize,
    in_ring: bool,
}

#[derive(Debug)]
struct Batch {
    since: Time,
    /// Those that have not ended, each with its lane.
    open: Vec<(EnvelopeId, LaneId)>,
    /// It was made of a suspect.
    is_alone: bool,
    is_late: bool,
}

/// A batch that is being made: its envelopes, and how many each lane has added.
struct Draft {
    envelopes: Vec<(EnvelopeId, LaneId)>,
    /// Envelopes that may be tried beside those that are.
    left: usize,
    lanes: Vec<(LaneId, usize)>,
    /// Those that have had a turn and may have more, in order.
    again: VecDeque<LaneId>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            suspects: VecDeque::new(),
            batches: HashMap::new(),
            slow: 0,
            cleared: false,
        }
    }

    /// Puts an envelope that is due at the end of its lane.
    pub fn push(&mut self, id: LaneId, envelope: EnvelopeId) {
        self.lanes.entry(id).or_default().due.push_back(envelope);
        self.offer(id);
    }

    /// Takes an envelope out of its lane again. Looks through all that waits there.
    pub fn withdraw(&mut self, id: LaneId, envelope: EnvelopeId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(place) = lane.due.iter().position(|due| *due == envelope) else { return };
        lane.due.remove(place);
        if lane.due.is_empty() {
            lane.in_ring = false;
            if lane.batches == 0 {
                self.lanes.remove(&id);
            }
            // Rare enough to look through the rings.
            self.ring.retain(|ring| *ring != id);
            self.suspects.retain(|ring| *ring != id);
        }
    }

    /// Envelopes of a lane that wait for a batch.
    pub fn waiting(&self, id: LaneId) -> usize {
        self.lanes.get(&id).map_or(0, |lane| lane.due.len())
    }

    /// The lanes in which `many` envelopes or more wait.
    pub fn crowded(&self, many: usize) -> impl Iterator<Item = LaneId> {
        self.lanes.iter().filter(move |(_, lane)| lane.due.len() >= many).map(|(id, _)| *id)
    }

    /// Makes the next batch and calls it `id`, if one may begin now and something is due. `left`
    /// envelopes may be tried beside those that are.
    pub fn begin(&mut self, id: BatchId, now: Time, left: usize) -> Option<Vec<EnvelopeId>> {
        self.see_who_is_late(now);
        self.let_go_the_cleared();
        let most = left.min(self.limits.batch);
        if self.batches.len() >= self.limits.batches || most == 0 {
            return None;
        }
        let mut draft =
            Draft { envelopes: Vec::new(), left, lanes: Vec::new(), again: VecDeque::new() };
        if self.batches.len() - self.slow < self.limits.brisk {
            self.fill(most, &mut draft);
        }
        let is_alone = draft.envelopes.is_empty();
        if is_alone && self.slow < (self.limits.batches / 2).max(1) {
            let suspect = self.suspects.pop_front()?;
            let most = most.min(self.limits.lane.batch);
            self.lane(suspect).in_ring = false;
            self.take(suspect, most, &mut draft);
        }
        let Draft { envelopes: open, lanes, again, .. } = draft;
        if open.is_empty() {
            return None;
        }
        for (lane, _) in &lanes {
            self.lane(*lane).batches += 1;
        }
        for lane in again.iter().chain(lanes.iter().map(|(lane, _)| lane)) {
            self.offer(*lane);
        }
        let envelopes = open.iter().map(|(envelope, _)| *envelope).collect();
        self.slow += usize::from(is_alone);
        self.batches.insert(id, Batch { since: now, open, is_alone, is_late: false });
        Some(envelopes)
    }

    /// Fills a batch from the ring, turn by turn. Suspects that it meets are set aside.
    fn fill(&mut self, most: usize, draft: &mut Draft) {
        while draft.envelopes.len() < most {
            // Those that had a turn come after all the others.
            let Some(next) = self.ring.pop_front().or_else(|| draft.again.pop_front()) else {
                break;
            };
            if self.lane(next).late > 0 {
                self.suspects.push_back(next);
                continue;
            }
            self.lane(next).in_ring = false;
            let has = draft.lanes.iter().find(|(lane, _)| *lane == next).map_or(0, |(_, has)| *has);
            let may_have = self.limits.lane.batch - has;
            let room = most - draft.envelopes.len();
            let taken = self.take(next, self.limits.turn.min(room).min(may_have), draft);
            if taken > 0 && may_have > self.limits.turn && !self.lane(next).due.is_empty() {
                draft.again.push_back(next);
            }
        }
    }

    /// An envelope of a batch has been tried. False if the batch has no such envelope that has
    /// not ended.
    pub fn end(&mut self, id: BatchId, envelope: EnvelopeId) -> bool {
        let Some(batch) = self.batches.get_mut(&id) else { return false };
        let Some(place) = batch.open.iter().position(|(one, _)| *one == envelope) else {
            return false;
        };
        let (_, lane_id) = batch.open.swap_remove(place);
        let has_left = batch.open.iter().all(|(_, lane)| *lane != lane_id);
        let (is_late, is_over) = (batch.is_late, batch.open.is_empty());
        if is_over {
            self.slow -= usize::from(batch.is_alone || batch.is_late);
            self.batches.remove(&id);
        }
        let lane = self.lane(lane_id);
        lane.flying -= 1;
        lane.batches -= usize::from(has_left);
        if has_left && is_late {
            lane.late -= 1;
            self.cleared = true;
        }
        let lane = self.lane(lane_id);
        if lane.batches == 0 && lane.due.is_empty() {
            self.lanes.remove(&lane_id);
        } else {
            self.offer(lane_id);
        }
        true
    }

    /// Takes those that are in no late batch any more out of the suspects.
    fn let_go_the_cleared(&mut self) {
        if !mem::take(&mut self.cleared) {
            return;
        }
        let Self { lanes, ring, suspects, .. } = self;
        suspects.retain(|id| {
            let is_suspect = lanes.get(id).is_some_and(|lane| lane.late > 0);
            if !is_suspect {
                ring.push_back(*id);
            }
            is_suspect
        });
    }

    /// When [`Lanes::begin`] may have something that it has not now, if nothing else happens:
    /// the moment at which a batch becomes late and others may go on beside it.
    pub fn wakeup(&self, now: Time) -> Option<Time> {
        let late = self.limits.late?;
        let nothing = self.ring.is_empty() && self.suspects.is_empty();
        if nothing || self.batches.len() >= self.limits.batches {
            return None;
        }
        let late = self.batches.values().map(|batch| batch.since + late);
        late.filter(|late| *late > now).min()
    }

    fn offer(&mut self, id: LaneId) {
        let most = self.limits.lane.batches;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.in_ring && !lane.due.is_empty() && lane.batches < most {
            lane.in_ring = true;
            match lane.late {
                0 => self.ring.push_back(id),
                _ => self.suspects.push_back(id),
            }
        }
    }

    /// Moves up to `many` envelopes of a lane that was taken out of its ring to a batch, but not
    /// more than its part ([`PARTS`]). Says how many.
    ///
    /// One that gets nothing has envelopes in batches, and is offered again as each of them ends.
    fn take(&mut self, id: LaneId, many: usize, draft: &mut Draft) -> usize {
        let lane = self.lane(id);
        let has = lane.flying.saturating_mul(PARTS);
        let fair = draft.left.saturating_sub(has).div_ceil(PARTS + 1);
        let many = many.min(lane.due.len()).min(fair);
        if many == 0 {
            return 0;
        }
        lane.flying += many;
        draft.left -= many;
        draft.envelopes.extend(lane.due.drain(..many).map(|envelope| (envelope, id)));
        match draft.lanes.iter_mut().find(|(lane, _)| *lane == id) {
            Some((_, has)) => *has += many,
            None => draft.lanes.push((id, many)),
        }
        many
    }

    fn see_who_is_late(&mut self, now: Time) {
        let Self { limits, lanes, batches, slow, .. } = self;
        let Some(late) = limits.late else { return };
        for batch in batches.values_mut() {
            if !batch.is_late && now.saturating_since(batch.since) >= late {
                batch.is_late = true;
                *slow += usize::from(!batch.is_alone);
                let mut of: Vec<_> = batch.open.iter().map(|(_, lane)| *lane).collect();
                of.sort_unstable();
                of.dedup();
                for id in of {
                    lanes.get_mut(&id).expect("a lane with a batch is kept").late += 1;
                }
            }
        }
    }

    /// A lane that is in a ring or has a batch, and so is kept.
    fn lane(&mut self, id: LaneId) -> &mut Lane {
        self.lanes.get_mut(&id).expect("lanes in a ring or with a batch are kept")
    }
}

#[cfg(test)]
mod tests;
