//! The runs that are cut short.

use std::collections::BTreeSet;

use smtpd_queue::envelope::{Outcome, Verdict};
use smtpd_queue::id::MessageId;
use smtpd_tests::rng::Rng;

use crate::world::{Draft, World};

/// Every kind of thing once: messages alone and in groups, with content in a record and in a
/// file, outcomes of each kind, deliveries into Maildirs, a bounce with its causes, segments
/// that fill up, are emptied by copying and used again.
pub fn run(world: &mut World) {
    let first = world.accept(&[Draft::small(3)]);
    let group = world.accept(&[Draft::small(1), Draft::of(900), Draft::small(2)]);
    let large = world.accept(&[Draft { in_file: true, ..Draft::of(3000) }]);
    settle(world, &group[..group.len().min(1)], 0);
    if let [id] = first[..] {
        let error = "450 4.2.1 busy".to_owned();
        let later = Verdict::Later { tries: 1, due: 7_000_000, error };
        let held = Verdict::Held { tries: 2, error: "no action named \"x\"".into() };
        world.record(vec![world.outcome(id, 0, later), world.outcome(id, 1, held)]);
    }
    world.deliver(&group);
    world.fill();
    world.tidy(1);
    // Mail that stays, then mail that comes and goes until its segment is mostly unused.
    let stays = world.accept(&[Draft::of(100), Draft { in_file: true, ..Draft::of(600) }]);
    for _ in 0..7 {
        let passing = world.accept(&[Draft::of(700), Draft::of(700)]);
        settle(world, &passing, 0);
    }
    world.tidy(2);
    if let [id, ..] = stays[..] {
        let causes = vec![world.outcome(id, 0, Verdict::Removed)];
        world.accept(&[Draft { causes, ..Draft::small(1) }, Draft::small(2)]);
    }
    settle(world, &large, 0);
    for _ in 0..7 {
        let passing = world.accept(&[Draft::of(1200)]);
        world.deliver(&passing);
        world.tidy(1);
    }
    world.fill();
    world.accept(&[Draft::of(2500)]);
}

/// Delivers to the `nth` recipient of some messages, by other means than a Maildir.
fn settle(world: &mut World, ids: &[MessageId], nth: u32) {
    let outcome = |id: &MessageId| world.outcome(*id, nth, Verdict::Delivered);
    let outcomes: Vec<Outcome> = ids.iter().map(outcome).collect();
    world.record(outcomes);
}

/// Outcomes in one record with a message, at the most.
pub const CAUSES: usize = 3;

/// Some of these things in any order, until the disk stops.
pub fn random_run(world: &mut World, rng: &mut Rng) {
    while !world.disk.is_off() {
        let live = world.live();
        let all: Vec<MessageId> = live.iter().map(|found| found.message.id).collect();
        let outcome = |world: &World, rng: &mut Rng| {
            let envelopes = &rng.pick(&live).message.envelopes;
            let verdict = verdict(rng);
            let mut outcome = world.outcome(all[0], 0, verdict);
            outcome.envelope = rng.pick(envelopes).id;
            outcome
        };
        match rng.below(9) {
            0 => world.tidy(rng.below(4) as u64),
            1 => world.fill(),
            2 if !all.is_empty() && !world.small => {
                let some: BTreeSet<MessageId> = (0..3).map(|_| *rng.pick(&all)).collect();
                world.deliver(&Vec::from_iter(some));
            }
            // What is in the queue now is settled more often than more is added.
            3..=5 if all.len() > 3 => {
                let outcomes = (0..=rng.below(4)).map(|_| outcome(world, rng)).collect();
                world.record(outcomes);
            }
            // A bounce, and what it speaks for.
            6 if !all.is_empty() => {
                let causes = (0..=rng.below(CAUSES)).map(|_| outcome(world, rng)).collect();
                world.accept(&[Draft { causes, ..draft(rng) }]);
            }
            7 => world.disk.evict(|| rng.one_in(2)),
            _ => {
                let drafts: Vec<Draft> = (0..=rng.below(4)).map(|_| draft(rng)).collect();
                world.accept(&drafts);
            }
        }
        // Where space is short, the reserve is there for the outcomes of a second.
        if world.small {
            world.tidy(1);
        }
    }
}

fn verdict(rng: &mut Rng) -> Verdict {
    let tries = rng.below(9) as u32;
    match rng.below(6) {
        0 => Verdict::Later { tries, due: rng.next_u64(), error: "busy".repeat(tries as usize) },
        1 => Verdict::Held { tries, error: String::new() },
        2 => Verdict::Removed,
        _ => Verdict::Delivered,
    }
}

fn draft(rng: &mut Rng) -> Draft {
    Draft {
        octets: [0, 50, 500, 1500][rng.below(4)] + rng.below(200),
        in_file: rng.one_in(5),
        recipients: 1 + rng.below(3) as u32,
        causes: Vec::new(),
    }
}
