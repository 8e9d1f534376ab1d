//! The whole server from accept to Maildir in one thread, from a seed.
//!
//! Peers speak SMTP to engine sessions; bin's intake, content writers and delivery workers, the
//! commit, the scheduler and the store are turned when the seed says so, on the fault disk and
//! under clocks that jump. Look-ups are answered late, peers hang up or do not listen, the disk
//! fails, fills up and loses what was not synced, at any step and again during recovery. What was
//! said is held against what is in the Maildirs, after every start and at the end:
//!
//! * a message answered with 250 is there, once, whole, for each of its recipients; until then it
//!   is in the queue;
//! * what was refused, and what was never whole, is not there;
//! * nothing is there that nobody sent;
//! * what was recorded as delivered is never tried again, and no message id comes twice;
//! * an envelope is given up only when its user is gone or it failed after its expiry; its sender
//!   is told if there is a way to him, in one record with that, and nobody is told so of what was
//!   recorded as delivered; where nothing fails or crashes, it is delivered or told, never both;
//! * of each age at which it is late he is told once;
//! * what an administrator has paused is not tried before he lets it go on, what he has taken out is
//!   never tried again, and every order is answered;
//! * no peer waits for ever, all memory is given back, and no content file is left over.
//!
//! Only the threads, channels and sockets of the daemon have no part in it. A seed that fails says
//! so, with what happened last; once mended it belongs into `fixtures/seeds/simulation.txt`.
//! `HERMES_SEED=N` runs that seed alone, `HERMES_LONG=1` fifty times as many.
//!
//! | file | holds |
//! |---|---|
//! | `people` | the configuration and the users |
//! | `mail` | content from the seed, and what must become of it |
//! | `peer` | those who send mail, and what they hear |
//! | `server` | the server: the values that the daemon's threads turn |
//! | `behind` | the queues between its parts |
//! | `connection` | one SMTP session of it, with what is on its way |
//! | `index` | what stands for the index on disk |
//! | `world` | what happens next: clocks, faults, readers of mail; `lives`: ends and starts |
//! | `model` | what was sent and heard, and what must therefore be in the Maildirs |
//! | `tally` | how often what happened |
//! | `trace` | what happened last |

mod behind;
mod connection;
mod index;
mod mail;
mod model;
mod peer;
mod people;
mod server;
mod tally;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use smtpd_tests::effort;

use tally::Tally;
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 600;

fn run(seed: u64) -> Tally {
    let play = || catch_unwind(AssertUnwindSafe(|| World::new(seed).play()));
    play().unwrap_or_else(|panic| {
        // Once more, to tell how it came to it.
        let (_, trace) = trace::of(play);
        trace.lines.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("the simulation failed: run it again with HERMES_SEED={seed}");
        resume_unwind(panic)
    })
}

#[test]
fn what_was_acknowledged_is_delivered_and_nothing_else_is() {
    if let Ok(seed) = std::env::var("HERMES_SEED") {
        let tally = run(seed.parse().expect("HERMES_SEED is a number"));
        println!("{tally:#?}");
        return;
    }
    let written = include_str!("../../../fixtures/seeds/simulation.txt");
    let written = written.lines().filter(|line| !line.starts_with('#'));
    let first = |line: &str| {
        let seed = line.split_whitespace().next()?;
        Some(seed.parse().expect("a line begins with a seed"))
    };
    let seeds: Vec<u64> = written.filter_map(first).collect();
    let mut tally = Tally::default();
    for seed in seeds.into_iter().chain(0..SEEDS * effort() as u64) {
        tally.add(&run(seed));
    }
    println!("{tally:#?}");
    // A simulation in which nothing happens shows nothing.
    tally.assert_all();
}

/// The same seed must do the same, or its number would be worth nothing.
#[test]
fn a_seed_always_does_the_same() {
    for seed in 0..20 {
        let [one, other] = [(); 2].map(|()| trace::of(|| run(seed)).1.number());
        assert_eq!(one, other, "seed {seed}");
    }
}
