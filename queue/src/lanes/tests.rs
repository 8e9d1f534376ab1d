//! The lanes step by step, and by chance.

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
    let of = |batch: &[EnvelopeId]| batch.iter().filter(|id| id.message().as_u32() < 200).count();
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
