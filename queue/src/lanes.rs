//! Whose turn it is: what may be tried at once, so that no destination holds up another.
//!
//! Every destination (a user of local delivery, a domain of relaying) has a lane of envelopes
//! that are due. Lanes take turns of a few envelopes each, and together they fill a *batch*:
//! what one worker does in one go, sharing its syncs. A batch is made only when a worker may
//! begin it, so what arrives meanwhile is the next one; nothing waits for company.
//!
//! A batch is as slow as the slowest of its destinations. What keeps that from spreading:
//!
//! * A lane is in a bounded number of batches ([`Share::batches`]).
//! * Batches that are late ([`Limits::late`]) do not count against [`Limits::brisk`], so others
//!   go on beside them.
//! * The lanes of a late batch are *suspects*. They get batches of their own, so that those who
//!   only shared it go on at once and the guilty one is alone with itself. Such batches, with
//!   those that are late, take up half of [`Limits::batches`]; they wait for each other and
//!   nobody waits for them.
//!
//! So a lane without suspicion waits for the turns of the others, and at most as long as a batch
//! takes to be late, however many envelopes wait in slow lanes. What is done for one batch does
//! not depend on how many lanes there are.

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
    /// Envelopes in one batch.
    pub batch: usize,
    /// Envelopes a lane adds to a batch before the next lane has its turn.
    pub turn: usize,
    /// A batch that takes longer than this is late.
    pub late: Duration,
    /// What a lane may have, unless it has limits of its own.
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

/// The lane of a destination: a keyed hash of its name. Two that collide share their turns.
pub type LaneId = u64;

/// Names a batch from its making to its end.
pub type BatchId = u64;

/// The lanes of one agent.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    /// Limits of single lanes.
    own: HashMap<LaneId, Share>,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that have something due and may begin another batch, each once. Suspects may be
    /// among them until their turn comes.
    ring: VecDeque<LaneId>,
    /// The same of suspects.
    suspects: VecDeque<LaneId>,
    batches: HashMap<BatchId, Batch>,
}

#[derive(Debug, Default)]
struct Lane {
    due: VecDeque<EnvelopeId>,
    batches: usize,
    /// How many of them are late.
    late: usize,
    in_ring: bool,
}

#[derive(Debug)]
struct Batch {
    since: Time,
    lanes: Vec<LaneId>,
    /// It was made of a suspect.
    is_alone: bool,
    is_late: bool,
}

/// A batch that is being made: its envelopes, and how many each lane has added.
#[derive(Default)]
struct Draft {
    envelopes: Vec<EnvelopeId>,
    lanes: Vec<(LaneId, usize)>,
    /// Those that have had a turn and may have more, in order.
    again: VecDeque<LaneId>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            own: HashMap::new(),
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            suspects: VecDeque::new(),
            batches: HashMap::new(),
        }
    }

    /// Gives a lane limits of its own.
    pub fn limit(&mut self, id: LaneId, share: Share) {
        self.own.insert(id, share);
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

    /// Makes the next batch of at most `most` envelopes and calls it `id`, if one may begin now
    /// and something is due.
    pub fn begin(&mut self, id: BatchId, now: Time, most: usize) -> Option<Vec<EnvelopeId>> {
        self.see_who_is_late(now);
        let most = most.min(self.limits.batch);
        if self.batches.len() >= self.limits.batches || most == 0 {
            return None;
        }
        let slow = self.batches.values().filter(|batch| batch.is_alone || batch.is_late).count();
        let mut draft = Draft::default();
        if self.batches.len() - slow < self.limits.brisk {
            self.fill(most, &mut draft);
        }
        let is_alone = draft.envelopes.is_empty();
        if is_alone && slow < (self.limits.batches / 2).max(1) {
            let suspect = self.suspects.pop_front()?;
            let most = most.min(self.share(suspect).batch);
            self.take(suspect, most, &mut draft);
            self.lane(suspect).in_ring = false;
        }
        let Draft { envelopes, lanes, again } = draft;
        if envelopes.is_empty() {
            return None;
        }
        let lanes: Vec<_> = lanes.into_iter().map(|(lane, _)| lane).collect();
        for lane in &lanes {
            self.lane(*lane).batches += 1;
        }
        for lane in again.iter().chain(&lanes) {
            self.offer(*lane);
        }
        self.batches.insert(id, Batch { since: now, lanes, is_alone, is_late: false });
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
            let has = draft.lanes.iter().find(|(lane, _)| *lane == next).map_or(0, |(_, has)| *has);
            let may_have = self.share(next).batch - has;
            let room = most - draft.envelopes.len();
            self.take(next, self.limits.turn.min(room).min(may_have), draft);
            self.lane(next).in_ring = false;
            if may_have > self.limits.turn && !self.lane(next).due.is_empty() {
                draft.again.push_back(next);
            }
        }
    }

    /// The batch has come to its end. An unknown one is ignored.
    pub fn end(&mut self, id: BatchId) {
        let Some(Batch { lanes, is_late, .. }) = self.batches.remove(&id) else { return };
        for id in lanes {
            let lane = self.lane(id);
            lane.batches -= 1;
            lane.late -= usize::from(is_late);
            if lane.batches == 0 && lane.due.is_empty() {
                self.lanes.remove(&id);
            } else {
                self.offer(id);
            }
        }
        if is_late {
            let Self { lanes, ring, suspects, .. } = self;
            suspects.retain(|id| {
                let is_suspect = lanes.get(id).is_some_and(|lane| lane.late > 0);
                if !is_suspect {
                    ring.push_back(*id);
                }
                is_suspect
            });
        }
    }

    /// When [`Lanes::begin`] may have something that it has not now, if nothing else happens:
    /// the moment at which a batch becomes late and others may go on beside it.
    pub fn wakeup(&self, now: Time) -> Option<Time> {
        let nothing = self.ring.is_empty() && self.suspects.is_empty();
        if nothing || self.batches.len() >= self.limits.batches {
            return None;
        }
        let late = self.batches.values().map(|batch| batch.since + self.limits.late);
        late.filter(|late| *late > now).min()
    }

    fn offer(&mut self, id: LaneId) {
        let most = self.share(id).batches;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.in_ring && !lane.due.is_empty() && lane.batches < most {
            lane.in_ring = true;
            match lane.late {
                0 => self.ring.push_back(id),
                _ => self.suspects.push_back(id),
            }
        }
    }

    /// Moves up to `many` envelopes of a lane that was taken out of its ring to a batch.
    fn take(&mut self, id: LaneId, many: usize, draft: &mut Draft) {
        let due = &mut self.lane(id).due;
        let many = many.min(due.len());
        draft.envelopes.extend(due.drain(..many));
        match draft.lanes.iter_mut().find(|(lane, _)| *lane == id) {
            Some((_, has)) => *has += many,
            None => draft.lanes.push((id, many)),
        }
    }

    fn see_who_is_late(&mut self, now: Time) {
        let Self { limits, lanes, batches, .. } = self;
        for batch in batches.values_mut() {
            if !batch.is_late && now.saturating_since(batch.since) >= limits.late {
                batch.is_late = true;
                for id in &batch.lanes {
                    lanes.get_mut(id).expect("a lane with a batch is kept").late += 1;
                }
            }
        }
    }

    fn share(&self, id: LaneId) -> Share {
        self.own.get(&id).copied().unwrap_or(self.limits.lane)
    }

    /// A lane that is in a ring or has a batch, and so is kept.
    fn lane(&mut self, id: LaneId) -> &mut Lane {
        self.lanes.get_mut(&id).expect("lanes in a ring or with a batch are kept")
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
        batch: 8,
        turn: 2,
        late: Duration::from_secs(1),
        lane: Share { batches: 2, batch: 8 },
    };

    fn envelope(n: u32) -> EnvelopeId {
        EnvelopeId::new(MessageId::from_u32(n).unwrap(), 0)
    }

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    impl Lanes {
        fn next(&mut self, id: BatchId, now: Time) -> Option<Vec<EnvelopeId>> {
            self.begin(id, now, usize::MAX)
        }
    }

    fn fill(lanes: &mut Lanes, lane: LaneId, from: u32, many: u32) {
        (from..from + many).for_each(|n| lanes.push(lane, envelope(n)));
    }

    #[test]
    fn one_envelope_goes_at_once() {
        let mut lanes = Lanes::new(LIMITS);
        lanes.push(1, envelope(7));
        assert_eq!(lanes.next(0, at(0)), Some(vec![envelope(7)]));
        assert_eq!(lanes.next(1, at(0)), None);
        lanes.end(0);
        assert!(lanes.lanes.is_empty(), "an idle destination costs nothing");
    }

    #[test]
    fn a_lane_with_thousands_does_not_delay_the_next() {
        let mut lanes = Lanes::new(LIMITS);
        fill(&mut lanes, 1, 1, 5000);
        assert_eq!(lanes.next(0, at(0)).unwrap().len(), 8);
        lanes.push(2, envelope(9000));
        let second = lanes.next(1, at(0)).unwrap();
        assert_eq!(second.len(), 8);
        assert!(second.contains(&envelope(9000)));
    }

    #[test]
    fn lanes_take_turns_in_order() {
        let mut lanes = Lanes::new(LIMITS);
        for lane in 1..=3 {
            fill(&mut lanes, lane, lane as u32 * 100, 9);
        }
        let first = lanes.next(0, at(0)).unwrap();
        let expected = [100, 101, 200, 201, 300, 301, 102, 103].map(envelope);
        assert_eq!(first, expected);
        let second = lanes.next(1, at(0)).unwrap();
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
        assert_eq!(lanes.next(0, at(0)).unwrap().len(), 6);
        for lane in 1..=4 {
            fill(&mut lanes, lane, lane as u32 * 100 + 10, 1);
        }
        assert_eq!(lanes.next(1, at(1)).unwrap().len(), 4);
        for lane in 1..=4 {
            fill(&mut lanes, lane, lane as u32 * 100 + 20, 3);
        }
        assert_eq!(lanes.next(2, at(2)), None, "two brisk ones are under way");
        assert_eq!(lanes.wakeup(at(2)), Some(at(1000)));
        // Lanes 1 to 3 are in two batches, which is all they may have; lane 4 goes on.
        assert_eq!(lanes.next(2, at(1001)).unwrap(), [420, 421, 422].map(envelope));
        lanes.end(2);
        // The second batch was slow for nobody's fault of lanes 2 to 4, and ends.
        lanes.end(1);
        let mut next = 3;
        let mut served = HashSet::new();
        while let Some(batch) = lanes.next(next, at(1002)) {
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
        assert_eq!(lanes.next(next, at(1003)).unwrap(), [envelope(250)]);
        assert_eq!(lanes.waiting(1), 1, "lane 1 has two batches and waits for them");
    }

    #[test]
    fn many_slow_destinations_leave_half_of_the_batches_to_the_others() {
        let late = Duration::from_millis(25);
        let mut lanes = Lanes::new(Limits { batches: 8, late, ..LIMITS });
        for lane in 1..=20 {
            fill(&mut lanes, lane, lane as u32 * 1000, 500);
        }
        // None of these ever ends.
        let mut next = 0;
        for moment in 0..40 {
            while lanes.next(next, at(moment * 25)).is_some() {
                next += 1;
            }
        }
        let slow = lanes.batches.len();
        assert!(slow < 8, "{slow}");
        for round in 0..10 {
            let now = at(2000 + round * 3);
            lanes.push(99, envelope(30_000 + round as u32));
            let batch = lanes.next(next, now);
            assert_eq!(batch, Some(vec![envelope(30_000 + round as u32)]), "it goes at once");
            lanes.end(next);
            next += 1;
        }
    }

    #[test]
    fn a_lane_with_limits_of_its_own_has_no_more() {
        let mut lanes = Lanes::new(LIMITS);
        lanes.limit(1, Share { batches: 1, batch: 3 });
        fill(&mut lanes, 1, 100, 50);
        fill(&mut lanes, 2, 200, 50);
        let of =
            |batch: &[EnvelopeId]| batch.iter().filter(|id| id.message().as_u32() < 200).count();
        let first = lanes.next(0, at(0)).unwrap();
        assert_eq!((of(&first), first.len()), (3, 8));
        let second = lanes.next(1, at(0)).unwrap();
        assert_eq!((of(&second), second.len()), (0, 8), "one batch at a time");
        lanes.end(0);
        assert_eq!(lanes.begin(2, at(0), 2).unwrap().len(), 2, "no more are allowed now");
        lanes.end(2);
        assert_eq!(lanes.begin(3, at(0), 0), None);
    }

    #[test]
    fn what_is_withdrawn_is_not_tried() {
        let mut lanes = Lanes::new(LIMITS);
        fill(&mut lanes, 1, 1, 2);
        lanes.withdraw(1, envelope(1));
        lanes.withdraw(1, envelope(9));
        assert_eq!(lanes.next(0, at(0)).unwrap(), [envelope(2)]);
        fill(&mut lanes, 1, 3, 1);
        lanes.withdraw(1, envelope(3));
        assert_eq!(lanes.next(1, at(0)), None);
        lanes.end(0);
        assert!(lanes.lanes.is_empty() && lanes.ring.is_empty());
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
                    if let Some(batch) = lanes.next(next, at(now)) {
                        assert!(batch.len() <= LIMITS.batch);
                        batch.iter().for_each(|one| assert!(given.insert(*one)));
                        open.push(next);
                        next += 1;
                    }
                }
            }
            assert!(open.len() <= LIMITS.batches);
            for (id, lane) in &lanes.lanes {
                assert!(lane.batches <= LIMITS.lane.batches);
                let rings = lanes.ring.iter().chain(&lanes.suspects);
                assert_eq!(rings.filter(|r| *r == id).count(), lane.in_ring.into());
                let waits = !lane.due.is_empty() && lane.batches < LIMITS.lane.batches;
                assert_eq!(lane.in_ring, waits, "nobody is forgotten");
            }
        }
        open.into_iter().for_each(|one| lanes.end(one));
        assert!(lanes.lanes.is_empty() && lanes.ring.is_empty() && lanes.suspects.is_empty());
    }
}
