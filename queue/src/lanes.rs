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
mod tests {
    use super::*;
    use crate::id::MessageId;
    use std::collections::HashSet;

    const LIMITS: Limits = Limits {
        batches: 4,
        brisk: 2,
        batch: 8,
        turn: 2,
        late: Some(Duration::from_secs(1)),
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

        fn end_all(&mut self, id: BatchId) {
            let open: Vec<_> = self.batches[&id].open.iter().map(|(one, _)| *one).collect();
            open.into_iter().for_each(|one| assert!(self.end(id, one)));
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
        lanes.end_all(0);
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
        lanes.end_all(2);
        // The second batch was slow for nobody's fault of lanes 2 to 4, and ends.
        lanes.end_all(1);
        let mut next = 3;
        let mut served = HashSet::new();
        while let Some(batch) = lanes.next(next, at(1002)) {
            let of: HashSet<_> = batch.iter().map(|e| e.message().as_u32() / 100).collect();
            assert_eq!(of.len(), 1, "a suspect is not mixed with others");
            served.extend(&of);
            if of != HashSet::from([1]) {
                lanes.end_all(next);
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
        let late = Some(Duration::from_millis(25));
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
            lanes.end_all(next);
            next += 1;
        }
    }

    #[test]
    fn who_has_left_a_batch_does_not_wait_for_its_end() {
        let mut lanes = Lanes::new(Limits { lane: Share { batches: 1, batch: 8 }, ..LIMITS });
        fill(&mut lanes, 1, 100, 2);
        fill(&mut lanes, 2, 200, 2);
        assert_eq!(lanes.next(0, at(0)).unwrap().len(), 4);
        fill(&mut lanes, 1, 110, 1);
        fill(&mut lanes, 2, 210, 1);
        assert!(lanes.end(0, envelope(200)));
        assert_eq!(lanes.next(1, at(1)), None, "lane 2 has another one in the batch");
        assert!(lanes.end(0, envelope(201)));
        assert!(!lanes.end(0, envelope(201)), "an envelope ends once");
        assert!(!lanes.end(1, envelope(201)));
        // The batch becomes late, and that is not lane 2's doing.
        assert_eq!(lanes.next(1, at(1001)).unwrap(), [envelope(210)]);
        fill(&mut lanes, 3, 310, 1);
        assert!(lanes.end(1, envelope(210)));
        fill(&mut lanes, 2, 220, 1);
        assert_eq!(lanes.next(2, at(1002)).unwrap(), [310, 220].map(envelope));
        lanes.end_all(0);
        assert_eq!(lanes.next(3, at(1003)).unwrap(), [envelope(110)]);
    }

    #[test]
    fn a_hundred_that_hang_leave_room() {
        let endless = Share { batches: usize::MAX, batch: usize::MAX };
        let limits =
            Limits { batches: usize::MAX, brisk: usize::MAX, late: None, lane: endless, ..LIMITS };
        let mut lanes = Lanes::new(limits);
        let (most, mut flying, mut next) = (5000, 0, 0);
        let mut go_on = |lanes: &mut Lanes, flying: &mut usize| {
            let mut all = Vec::new();
            while let Some(batch) = lanes.begin(next, at(0), most - *flying) {
                *flying += batch.len();
                next += 1;
                all.extend(batch);
            }
            all
        };
        for lane in 1..=100 {
            fill(&mut lanes, lane, lane as u32 * 2000, 1000);
            let taken = go_on(&mut lanes, &mut flying).len();
            assert!((1..=300).contains(&taken), "lane {lane}: {taken}");
        }
        lanes.push(999, envelope(999_000));
        assert_eq!(go_on(&mut lanes, &mut flying), [envelope(999_000)]);
        // What waits goes on when those of its own have ended.
        for batch in 0..100 {
            flying -= lanes.batches.get(&batch).map_or(0, |batch| batch.open.len());
            lanes.end_all(batch);
        }
        assert!(go_on(&mut lanes, &mut flying).len() > 50);
    }

    #[test]
    fn a_lane_has_no_more_than_its_share() {
        let lane = Share { batches: 1, batch: 3 };
        let mut lanes = Lanes::new(Limits { lane, brisk: 4, ..LIMITS });
        fill(&mut lanes, 1, 100, 50);
        let of =
            |batch: &[EnvelopeId]| batch.iter().filter(|id| id.message().as_u32() < 200).count();
        let first = lanes.next(0, at(0)).unwrap();
        assert_eq!((of(&first), first.len()), (3, 3));
        fill(&mut lanes, 2, 200, 50);
        let second = lanes.next(1, at(0)).unwrap();
        assert_eq!((of(&second), second.len()), (0, 3), "one batch at a time");
        lanes.end_all(0);
        assert_eq!(lanes.begin(2, at(0), 1).unwrap().len(), 1, "no more are allowed now");
        lanes.end_all(2);
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
        lanes.end_all(0);
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
            match random(4) {
                0 if pushed < 20_000 => {
                    for _ in 0..random(6).min(20_000 - u64::from(pushed)) {
                        pushed += 1;
                        lanes.push(random(12).pow(2) / 12, envelope(pushed));
                    }
                }
                1 if !open.is_empty() => {
                    let one = random(open.len() as u64) as usize;
                    lanes.end_all(open.swap_remove(one));
                }
                2 if random(2) == 0 && !open.is_empty() => {
                    // One envelope of a batch, which may be its last.
                    let one = random(open.len() as u64) as usize;
                    let of = lanes.batches[&open[one]].open[0].0;
                    assert!(lanes.end(open[one], of) && !lanes.end(open[one], of));
                    if !lanes.batches.contains_key(&open[one]) {
                        open.swap_remove(one);
                    }
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
        open.into_iter().for_each(|one| lanes.end_all(one));
        assert!(lanes.lanes.is_empty() && lanes.ring.is_empty() && lanes.suspects.is_empty());
    }
}
