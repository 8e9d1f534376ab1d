//! Runs from a seed. Each has several lives; in each of them the disk may be small, writes, syncs
//! and names may fail, and the system may forget what a failed sync has left in its memory. A life
//! ends by a signal or a power cut that loses any part of what was not synced and tears sectors;
//! then the disk may have gone bad, and the start may be cut short as well. In the end the disk is
//! well, all that is left is delivered, and the queue is empty and small.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use smtpd_queue::disk::fault::{Fault, FaultDisk, Left, Step};
use smtpd_tests::effort;
use smtpd_tests::rng::Rng;

use crate::damage::{self, Damage};
use crate::script::random_run;
use crate::world::{SEGMENT, World, spool};

/// Seeds of an ordinary run.
const SEEDS: u64 = 1000;

/// What may happen to steps.
const FAULTS: [(Step, Fault); 5] = [
    (Step::Any, Fault::Io),
    (Step::Any, Fault::NoSpace),
    (Step::Write, Fault::NoSpace),
    (Step::Write, Fault::Io),
    (Step::Sync, Fault::Io),
];

/// Lets some of the next steps fail.
fn plan_faults(disk: &FaultDisk, rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let fails = disk.steps() + rng.below(200) as u64;
        // One; a sync with its abort; that and the next attempt, and more.
        let length = *rng.pick(&[1, 1, 2, 3, 5, 8, 30]);
        let (which, fault) = *rng.pick(&FAULTS);
        disk.fail_some(fails..fails + length, which, fault);
    }
}

/// The disk as the next start finds it.
fn left_over(disk: &FaultDisk, rng: &mut Rng) -> FaultDisk {
    let odds = 1 + rng.below(9);
    match rng.below(4) {
        0 => {
            disk.evict(|| rng.one_in(3));
            disk.after_kill()
        }
        1 => disk.after_torn_crash(|| match rng.below(10) {
            0..3 => Left::Torn(8 * rng.below(64)),
            die if die < odds => Left::Kept,
            _ => Left::Lost,
        }),
        _ => disk.after_crash(|| rng.below(10) < odds),
    }
}

/// Starts that come to nothing, because the power goes again or the disk fails.
fn failed_starts(world: &World, mut disk: FaultDisk, rng: &mut Rng) -> FaultDisk {
    for _ in 0..rng.below(3) {
        if rng.one_in(2) {
            disk.stop_after(rng.below(20) as u64);
        } else {
            let step = rng.below(12) as u64;
            let (which, fault) = *rng.pick(&FAULTS);
            disk.fail_some(step..step + 1 + rng.below(3) as u64, which, fault);
        }
        // Whether it comes up or not.
        drop(world.start(&disk));
        disk = left_over(&disk, rng);
    }
    disk
}

/// One run.
fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let disk = FaultDisk::new(&spool());
    let small = rng.one_in(6);
    if small {
        disk.set_capacity(SEGMENT * (7 + rng.below(10) as u64));
    }
    let mut world = World::with(disk, rng.one_in(4));
    world.small = small;
    world.fill();
    let lives = 2 + rng.below(3);
    for life in 0..lives {
        let case = format!("HERMES_SEED={seed}, life {life}");
        world.disk.stop_after(world.disk.steps() + 20 + rng.below(230) as u64);
        // Each failure may cost a segment file, and the reserve of a full disk has two: so a disk
        // that is small does not fail as well. A seed in eight only loses power.
        if !small && !seed.is_multiple_of(8) {
            plan_faults(&world.disk, &mut rng);
        }
        random_run(&mut world, &mut rng);
        let disk = left_over(&world.disk, &mut rng);
        let disk = if small { disk } else { failed_starts(&world, disk, &mut rng) };
        let damage = rng.one_in(4).then(|| {
            let bad = disk.after_kill();
            (Damage::draw(&bad, &mut rng), bad)
        });
        let whole = world.restarted(disk, &case);
        world = match damage {
            None => whole,
            Some((damage, bad)) => {
                let case = format!("{case}, {damage:?}");
                damage::restarted(&world, &whole, bad, &damage, &case)
            }
        };
        // As in the daemon, before much else happens.
        world.fill();
    }
    let case = format!("HERMES_SEED={seed}, the end");
    world.disk.set_capacity(u64::MAX);
    world.live_on(&case);
}

#[test]
fn random_runs() {
    if let Ok(seed) = std::env::var("HERMES_SEED") {
        return run(seed.parse().expect("HERMES_SEED is a number"));
    }
    let seeds = SEEDS * effort() as u64;
    let next = AtomicU64::new(0);
    let failed = Mutex::new(BTreeSet::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if catch_unwind(|| run(seed)).is_err() {
                failed.lock().expect("a set").insert(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner().expect("a set");
    assert!(failed.is_empty(), "{} of {seeds} seeds failed: {failed:?}", failed.len());
}
