//! The two sentences of the queue, shown wherever the power may go:
//!
//! * what was acknowledged is never lost: until it is settled it is in the queue, with the
//!   same octets and the last recorded state, or in its Maildir;
//! * what was refused is never delivered: it is not in the queue.
//!
//! A run on the fault disk is stopped after each of its steps. Every set of what was not synced
//! by then is lost in turn (all sets when they are few, else sets drawn from a seed), and what
//! the next start finds is held against what the peers were told. The same with the power
//! going again during that start, with every step failing, and with disks that fill up.
//!
//! That is one run, written down, and every way to end it. `seeds` draws other runs: a thousand,
//! each with all that may happen to a disk, damage included. `HERMES_LONG=1` draws many more sets
//! and runs, `HERMES_SEED=N` is one of those runs alone.
//!
//! | file | holds |
//! |---|---|
//! | `script` | what is asked of the queue |
//! | `world` | a queue, its Maildirs, starts and checks |
//! | `model` | what was told, and what must therefore be found |
//! | `seeds` | runs from a seed: faults, power cuts, damage, sealed queues |
//! | `damage` | a disk that goes bad, and what that may cost |

mod damage;
mod model;
mod reading;
mod script;
mod seeds;
mod world;

use smtpd_queue::disk::fault::{Fault, FaultDisk};
use smtpd_tests::effort;
use smtpd_tests::rng::Rng;

use script::run;
use world::World;

/// How many unsynced sectors and names make few enough sets to try them all.
const FEW: usize = 4;

/// Runs the script on a new disk that was prepared for the run.
fn after_run(prepare: impl FnOnce(&FaultDisk)) -> World {
    let disk = FaultDisk::new(&world::spool());
    prepare(&disk);
    let mut world = World::new(disk);
    run(&mut world);
    world
}

/// The disks that may be found after a power cut.
fn crashes(disk: &FaultDisk, rng: &mut Rng, draws: usize) -> Vec<FaultDisk> {
    let unsynced = disk.unsynced();
    if unsynced <= FEW {
        let kept = |set: usize| {
            let mut bit = 0;
            disk.after_crash(|| {
                bit += 1;
                set >> (bit - 1) & 1 == 1
            })
        };
        return (0..1 << unsynced).map(kept).collect();
    }
    let mut disks = vec![disk.after_crash(|| false), disk.after_crash(|| true)];
    for _ in 0..draws {
        // Few losses, few survivors, and anything between.
        let odds = 1 + rng.below(9);
        disks.push(disk.after_crash(|| rng.below(10) < odds));
    }
    disks
}

#[test]
fn the_power_goes_after_any_step() {
    let mut rng = Rng::new(1);
    let steps = after_run(|_| {}).disk.steps();

    assert!(steps > 200, "the script does something: {steps}");
    for stop in 0..=steps {
        let world = after_run(|disk| disk.stop_after(stop));
        for (nth, disk) in crashes(&world.disk, &mut rng, 16 * effort()).into_iter().enumerate() {
            let case = format!("stopped after step {stop}, set {nth}");
            let mut after = world.restarted(disk, &case);
            if rng.one_in(4) {
                after.live_on(&case);
            }
        }
    }
}

#[test]
fn the_power_goes_again_during_the_start() {
    let mut rng = Rng::new(2);
    let steps = after_run(|_| {}).disk.steps();
    for stop in 0..=steps {
        let world = after_run(|disk| disk.stop_after(stop));
        for _ in 0..effort() {
            let found = world.disk.after_crash(|| rng.one_in(2));
            for again in 0.. {
                let disk = found.after_crash(|| true);
                disk.stop_after(again);
                if world.start(&disk).is_ok() {
                    break;
                }
                let case = format!("stopped after step {stop}, and {again} of the start");
                let disk = disk.after_crash(|| rng.one_in(2));
                world.restarted(disk, &case);
            }
        }
    }
}

#[test]
fn any_step_fails() {
    let mut rng = Rng::new(3);
    let steps = after_run(|_| {}).disk.steps();
    for fault in [Fault::Io, Fault::NoSpace] {
        for step in 0..steps {
            // One step; a sync with its abort; that and the next attempt, and more.
            let length = [1, 2, 3, 5, 8, 30][rng.below(6)];
            let case = format!("{fault:?} at {length} steps from {step}");
            let mut world = after_run(|disk| disk.fail(step..step + length, fault));
            for disk in crashes(&world.disk, &mut rng, 2 * effort()) {
                world.restarted(disk, &case);
            }
            world.disk.heal();
            world.live_on(&case);
        }
    }
}

#[test]
fn any_step_fails_and_then_the_power_goes() {
    let mut rng = Rng::new(4);
    let steps = after_run(|_| {}).disk.steps();
    for _ in 0..300 * effort() {
        let step = rng.below(steps as usize) as u64;
        let length = 1 + rng.below(6) as u64;
        let stop = step + 1 + rng.below(20) as u64;
        let fault = *rng.pick(&[Fault::Io, Fault::NoSpace]);
        let case = format!("{fault:?} at {length} steps from {step}, stopped after {stop}");
        let world = after_run(|disk| {
            disk.fail(step..step + length, fault);
            disk.stop_after(stop);
        });
        for disk in crashes(&world.disk, &mut rng, 4) {
            world.restarted(disk, &case);
        }
    }
}

#[test]
fn the_disk_is_full_at_any_size() {
    let mut rng = Rng::new(5);
    for sectors in (1..200).step_by(3) {
        let case = format!("a disk of {sectors} sectors");
        let mut world = after_run(|disk| disk.set_capacity(sectors * 512));
        for disk in crashes(&world.disk, &mut rng, 4) {
            world.restarted(disk, &case);
        }
        world.disk.set_capacity(u64::MAX);
        world.live_on(&case);
    }
}
