//! Whose turn it is: what may be tried at once, so that no destination holds up another.
//!
//! Every destination (a user of local delivery, a domain of relaying) has a lane of envelopes
//! that are due. Lanes take turns of a few envelopes each, and together they fill a *batch*:
//! what one worker does in one go, sharing its syncs. A batch is made only when a worker may
//! begin it, so what arrives meanwhile is the next one; nothing waits for company.
//!
//! A batch is as slow as the slowest of its destinations. Three rules keep that from
//! spreading: a lane is in at most [`Limits::batches_per_lane`] batches; batches that are late
//! ([`Limits::late`]) do not count against [`Limits::brisk`], so others go on beside them up to
//! [`Limits::batches`]; and the lanes of a late batch are given batches of their own, so that
//! those who only shared it go on at once and the guilty one is alone with itself.

use std::collections::{HashMap, VecDeque};
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
    /// Batches at once that one lane may have a part in.
    pub batches_per_lane: usize,
    /// Envelopes in one batch.
    pub batch: usize,
    /// Envelopes a lane adds to a batch before the next lane has its turn.
    pub turn: usize,
    /// A batch that takes longer than this is late.
    pub late: Duration,
}

/// The lane of a destination: a keyed hash of its name. Two that collide share their turns.
pub type LaneId = u64;

/// Names a batch from its making to its end.
pub type BatchId = u64;

/// The lanes of one agent.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that have something due and may begin another batch, each once.
    ring: VecDeque<LaneId>,
    batches: HashMap<BatchId, Batch>,
}

#[derive(Debug, Default)]
struct Lane {
    due: VecDeque<EnvelopeId>,
    batches: usize,
    in_ring: bool,
}

#[derive(Debug)]
struct Batch {
    since: Time,
    lanes: Vec<LaneId>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, lanes: HashMap::new(), ring: VecDeque::new(), batches: HashMap::new() }
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
            // Rare enough to look through the ring.
            self.ring.retain(|ring| *ring != id);
            lane.in_ring = false;
            if lane.batches == 0 {
                self.lanes.remove(&id);
            }
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

    /// Makes the next batch and calls it `id`, if one may begin now and something is due.
    pub fn begin(&mut self, id: BatchId, now: Time) -> Option<Vec<EnvelopeId>> {
        let brisk = self.batches.values().filter(|batch| !self.is_late(batch, now)).count();
        if self.batches.len() >= self.limits.batches || brisk >= self.limits.brisk {
            return None;
        }
        let mut envelopes = Vec::new();
        let mut lanes = Vec::new();
        let mut alone = Vec::new();
        while envelopes.len() < self.limits.batch {
            let Some(next) = self.ring.pop_front() else { break };
            if self.is_suspect(next, now) {
                if !envelopes.is_empty() {
                    alone.push(next);
                    continue;
                }
                self.take(next, self.limits.batch, &mut envelopes, &mut lanes);
                break;
            }
            let room = self.limits.batch - envelopes.len();
            self.take(next, self.limits.turn.min(room), &mut envelopes, &mut lanes);
        }
        // They were passed over, so they come before those who had a turn.
        alone.into_iter().rev().for_each(|lane| self.ring.push_front(lane));
        if envelopes.is_empty() {
            return None;
        }
        for lane in &lanes {
            let lane = self.lanes.get_mut(lane).expect("took envelopes from it");
            lane.batches += 1;
        }
        self.ring.retain(|lane| {
            let lane = self.lanes.get_mut(lane).expect("lanes in the ring are not empty");
            lane.in_ring = lane.batches < self.limits.batches_per_lane;
            lane.in_ring
        });
        self.batches.insert(id, Batch { since: now, lanes });
        Some(envelopes)
    }

    /// The batch has come to its end. An unknown one is ignored.
    pub fn end(&mut self, id: BatchId) {
        for id in self.batches.remove(&id).map(|batch| batch.lanes).unwrap_or_default() {
            let lane = self.lanes.get_mut(&id).expect("a lane with a batch is kept");
            lane.batches -= 1;
            if lane.batches == 0 && lane.due.is_empty() {
                self.lanes.remove(&id);
            } else {
                self.offer(id);
            }
        }
    }

    /// When [`Lanes::begin`] may have something that it has not now, if nothing else happens:
    /// the moment at which a batch becomes late and others may go on beside it.
    pub fn wakeup(&self, now: Time) -> Option<Time> {
        if self.ring.is_empty() || self.batches.len() >= self.limits.batches {
            return None;
        }
        let brisk = self.batches.values().filter(|batch| !self.is_late(batch, now));
        brisk.map(|batch| batch.since + self.limits.late).min()
    }

    fn offer(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.in_ring && !lane.due.is_empty() && lane.batches < self.limits.batches_per_lane {
            lane.in_ring = true;
            self.ring.push_back(id);
        }
    }

    /// Moves up to `many` envelopes of a lane that was taken out of the ring to a batch.
    fn take(
        &mut self,
        id: LaneId,
        many: usize,
        envelopes: &mut Vec<EnvelopeId>,
        lanes: &mut Vec<LaneId>,
    ) {
        let lane = self.lanes.get_mut(&id).expect("lanes in the ring are kept");
        envelopes.extend(lane.due.drain(..many.min(lane.due.len())));
        lane.in_ring = false;
        if !lanes.contains(&id) {
            lanes.push(id);
        }
        self.offer(id);
    }

    fn is_late(&self, batch: &Batch, now: Time) -> bool {
        now.saturating_since(batch.since) >= self.limits.late
    }

    /// Whether the lane has a part in a batch that is late.
    fn is_suspect(&self, id: LaneId, now: Time) -> bool {
        let mut late = self.batches.values().filter(|batch| self.is_late(batch, now));
        late.any(|batch| batch.lanes.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MessageId;
    use std::collections::HashSet;

    const LIMITS: Limits = Limits {
        batches: 4,
        brisk: 2,
        batches_per_lane: 2,
        batch: 8,
        turn: 2,
        late: Duration::from_secs(1),
    };

    fn envelope(n: u32) -> EnvelopeId {
        EnvelopeId::new(MessageId::from_u32(n).unwrap(), 0)
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn fill(lanes: &mut Lanes, lane: LaneId, from: u32, many: u32) {
        (from..from + many).for_each(|n| lanes.push(lane, envelope(n)));
    }

    #[test]
    fn one_envelope_goes_at_once() {
        let mut lanes = Lanes::new(LIMITS);
        lanes.push(1, envelope(7));
        assert_eq!(lanes.begin(0, at(0)), Some(vec![envelope(7)]));
        assert_eq!(lanes.begin(1, at(0)), None);
        lanes.end(0);
        assert!(lanes.lanes.is_empty(), "an idle destination costs nothing");
    }

    #[test]
    fn a_lane_with_thousands_does_not_delay_the_next() {
        let mut lanes = Lanes::new(LIMITS);
        fill(&mut lanes, 1, 1, 5000);
        assert_eq!(lanes.begin(0, at(0)).unwrap().len(), 8);
        lanes.push(2, envelope(9000));
        let second = lanes.begin(1, at(0)).unwrap();
        assert_eq!(second.len(), 8);
        assert!(second.contains(&envelope(9000)));
    }

    #[test]
    fn lanes_take_turns_in_order() {
        let mut lanes = Lanes::new(LIMITS);
        for lane in 1..=3 {
            fill(&mut lanes, lane, lane as u32 * 100, 9);
        }
        let first = lanes.begin(0, at(0)).unwrap();
        let expected = [100, 101, 200, 201, 300, 301, 102, 103].map(envelope);
        assert_eq!(first, expected);
        let second = lanes.begin(1, at(0)).unwrap();
        let expected = [202, 203, 302, 303, 104, 105, 204, 205].map(envelope);
        assert_eq!(second, expected);
    }

    #[test]
    fn a_destination_that_hangs_stops_only_itself() {
        let mut lanes = Lanes::new(Limits { batches: 6, ..LIMITS });
        // The first batch hangs for lane 1; lanes 2 and 3 happen to be in it.
        for lane in 1..=3 {
            fill(&mut lanes, lane, lane as u32 * 100, 2);
        }
        assert_eq!(lanes.begin(0, at(0)).unwrap().len(), 6);
        for lane in 1..=4 {
            fill(&mut lanes, lane, lane as u32 * 100 + 10, 1);
        }
        assert_eq!(lanes.begin(1, at(1)).unwrap().len(), 4);
        for lane in 1..=4 {
            fill(&mut lanes, lane, lane as u32 * 100 + 20, 3);
        }
        assert_eq!(lanes.begin(2, at(2)), None, "two brisk ones are under way");
        assert_eq!(lanes.wakeup(at(2)), Some(at(1000)));
        // Lanes 1 to 3 are in two batches, which is all they may have; lane 4 goes on.
        assert_eq!(lanes.begin(2, at(1001)).unwrap(), [420, 421, 422].map(envelope));
        lanes.end(2);
        // The second batch was slow for nobody's fault of lanes 2 to 4, and ends.
        lanes.end(1);
        let mut next = 3;
        let mut served = HashSet::new();
        while let Some(batch) = lanes.begin(next, at(1002)) {
            let of: HashSet<_> = batch.iter().map(|e| e.message().as_u32() / 100).collect();
            assert_eq!(of.len(), 1, "a suspect is not mixed with others");
            served.extend(&of);
            if of != HashSet::from([1]) {
                lanes.end(next);
            }
            next += 1;
        }
        assert_eq!(served, HashSet::from([1, 2, 3]));
        fill(&mut lanes, 1, 150, 1);
        fill(&mut lanes, 2, 250, 1);
        assert_eq!(lanes.begin(next, at(1003)).unwrap(), [envelope(250)]);
        assert_eq!(lanes.waiting(1), 1, "lane 1 has two batches and waits for them");
    }

    /// Random pushes, begins and ends: nothing is lost or given twice, no limit is passed.
    #[test]
    fn keeps_everything_and_every_limit() {
        let mut seed = 42_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut lanes = Lanes::new(LIMITS);
        let (mut pushed, mut given, mut next) = (0, HashSet::new(), 0);
        let mut open: Vec<BatchId> = Vec::new();
        let mut now = 0;
        while given.len() < 20_000 {
            now += random(400);
            match random(3) {
                0 if pushed < 20_000 => {
                    for _ in 0..random(6).min(20_000 - u64::from(pushed)) {
                        pushed += 1;
                        lanes.push(random(12).pow(2) / 12, envelope(pushed));
                    }
                }
                1 if !open.is_empty() => {
                    let one = random(open.len() as u64) as usize;
                    lanes.end(open.swap_remove(one));
                }
                _ => {
                    if let Some(batch) = lanes.begin(next, at(now)) {
                        assert!(batch.len() <= LIMITS.batch);
                        batch.iter().for_each(|one| assert!(given.insert(*one)));
                        open.push(next);
                        next += 1;
                    }
                }
            }
            assert!(open.len() <= LIMITS.batches);
            for (id, lane) in &lanes.lanes {
                assert!(lane.batches <= LIMITS.batches_per_lane);
                assert_eq!(lanes.ring.iter().filter(|r| *r == id).count(), lane.in_ring.into());
            }
        }
        open.into_iter().for_each(|one| lanes.end(one));
        assert!(lanes.lanes.is_empty() && lanes.ring.is_empty());
    }
}
