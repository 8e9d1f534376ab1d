//! The power goes while mail comes in and goes out: queue and Maildirs lie on a real file system
//! that is shut down without a flush of its log, so that what was not synced is gone. Then the
//! daemon is killed, the file system recovers, and a new daemon starts on what is left.
//!
//! What was answered with 250 is in a Maildir then, or comes there, whole and under one name; what
//! was refused does not (RFC 5321 section 6.1). `smtpd_tests::crash` says what is checked, and the
//! program `crash-test` cuts the power a hundred times. The power cuts of `power_cut`, on a
//! simulated disk, are far more and worse; these show that a real file system keeps what is relied
//! upon there.

use std::process;

use smtpd_tests::crash::{End, World};
use smtpd_tests::effort;
use smtpd_tests::mount::{Kind, skip};
use smtpd_tests::program::TempDir;

/// Power cuts on each file system.
const ROUNDS: usize = 10;

/// Messages that are acknowledged before each, about.
const MESSAGES: usize = 200;

fn power_cuts(test: &str, kind: Kind) {
    let parent = TempDir::new();
    let dir = parent.path().join("disk");
    let mut world = match World::new(End::Power(kind), dir, None, process::id().into()) {
        Ok(world) => world,
        Err(why) => return skip(test, &why),
    };
    for round in 0..ROUNDS * effort().min(10) {
        world.round(MESSAGES);
        // Often the power goes again while what is left is being delivered.
        if round % 3 == 0 {
            world.check();
        }
    }
    world.check();
    eprintln!("{test}: {:?}, {:?}", world.sums(), world.tally());
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_xfs() {
    power_cuts("what_was_acknowledged_survives_power_cuts_on_xfs", Kind::Xfs);
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_ext4() {
    power_cuts("what_was_acknowledged_survives_power_cuts_on_ext4", Kind::Ext4);
}
