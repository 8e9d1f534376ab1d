//! A start whose second stage comes late: mail is taken in, and outcomes of old and new mail are
//! recorded, before what was in the queue has been read, and the power may go before, during and
//! after that.

use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::Verdict;
use smtpd_queue::id::MessageId;
use smtpd_tests::effort;
use smtpd_tests::rng::Rng;

use crate::world::{Draft, World};
use crate::{after_run, crashes};

/// What happens while the journal is being read.
fn meanwhile(world: &mut World, rng: &mut Rng) {
    let known = world.model.ids();
    let mut new: Vec<MessageId> = Vec::new();
    for _ in 0..rng.below(5) {
        match rng.below(6) {
            0 => world.tidy(rng.below(3) as u64),
            1 if rng.one_in(2) => world.fill(),
            2 if !new.is_empty() => world.deliver(&new),
            // Of mail that has not been read yet, as far as anybody remembers.
            3 | 4 if !known.is_empty() => {
                let verdict = match rng.below(3) {
                    0 => Verdict::Delivered,
                    1 => Verdict::Later { tries: 3, due: 9_000_000, error: "early".into() },
                    _ => Verdict::Held { tries: 4, error: "early".into() },
                };
                let id = *rng.pick(&known);
                if world.model.recipients(id) > 0 {
                    let nth = rng.below(world.model.recipients(id)) as u32;
                    world.record(vec![world.outcome(id, nth, verdict)]);
                }
            }
            _ => {
                let octets = [0, 700][rng.below(2)];
                let draft = Draft { in_file: rng.one_in(3), ..Draft::of(octets) };
                new.extend(world.accept(&[draft, Draft::small(2)]));
            }
        }
    }
}

/// A start on this disk, the power going after so many steps of it, or not at all; then another
/// start.
fn slow_start(world: &World, disk: FaultDisk, stop: Option<u64>, rng: &mut Rng, case: &str) {
    if let Some(stop) = stop {
        disk.stop_after(stop);
    }
    let mut world = world.begun(disk, case);
    meanwhile(&mut world, rng);
    world.read(case);
    meanwhile(&mut world, rng);
    if !world.disk.is_off() {
        world.check(case);
    }
    let disk = match rng.below(3) {
        0 => world.disk.after_kill(),
        _ => world.disk.after_crash(|| rng.one_in(2)),
    };
    let mut after = world.restarted(disk, case);
    if rng.one_in(4) {
        after.live_on(case);
    }
}

#[test]
fn mail_is_taken_in_while_the_journal_is_read() {
    let mut rng = Rng::new(7);
    let steps = after_run(|_| {}).disk.steps();
    for stop in 0..=steps {
        let world = after_run(|disk| disk.stop_after(stop));
        for disk in crashes(&world.disk, &mut rng, effort()) {
            let again = rng.one_in(2).then(|| rng.below(40) as u64);
            let case = format!("stopped after step {stop}, and {again:?} of the start");
            slow_start(&world, disk, again, &mut rng, &case);
        }
    }
}

#[test]
fn the_power_goes_after_any_step_of_a_start() {
    let mut rng = Rng::new(8);
    let steps = after_run(|_| {}).disk.steps();
    for _ in 0..4 * effort() {
        let stop = steps / 2 + rng.below(steps as usize / 2) as u64;
        let world = after_run(|disk| disk.stop_after(stop));
        let found = world.disk.after_crash(|| rng.one_in(2));
        for again in 0..60 {
            let case = format!("stopped after step {stop}, and {again} of the start");
            slow_start(&world, found.after_crash(|| true), Some(again), &mut rng, &case);
        }
    }
}
