//! `queue-bench`: measures what the queue promises (start, space, memory, fairness) on the real
//! daemon, and prints a table with the bound of each figure.
//!
//! ```text
//! queue-bench accept     accept rate with nothing, 100,000 and 1,000,000 envelopes held
//! queue-bench start      exec to banner, recovery behind it, memory, with 1,000,000 envelopes
//! queue-bench show       `smtpctl show queue` of 100,000
//! queue-bench settle     octets written and disk used for messages that come and go
//! queue-bench fair       250 to delivery at an idle destination beside a busy one
//! queue-bench due        how late an envelope is tried among 1,000,000 that are not due
//! queue-bench index      the index while all of 1,000,000 envelopes are lent and put back
//! ```
//!
//! Without options a point is small and takes seconds: that shows that it works, its figures mean
//! nothing. `--full` measures; each point then takes some minutes and some GiB below `--dir`. It
//! needs the programs `smtpd`, `smtpctl`, `queue-fill` and `smtp-load` beside its own, release
//! builds of the same source:
//!
//! ```text
//! cargo build --release -p smtpd -p smtpd-tests --bins
//! target/release/queue-bench --full --dir /var/tmp accept start show fair due index
//! target/release/queue-bench --full --sessions 50 --size 1024 settle
//! ```
//!
//! `bash tests/bench/run.sh queue` does the same. Mail is delivered into Maildirs on /dev/shm that
//! a thread empties, so that what is written to the disk is the queue's alone. Linux. Nothing here
//! asserts a time: the status is 1 only when something did not work.

#![forbid(unsafe_code)]

mod accept;
mod bench;
mod due;
mod fair;
mod index;
mod options;
mod settle;
mod show;
mod sink;
mod start;
mod table;
mod usage;

use std::process::ExitCode;

use bench::Bench;
use options::{Options, Point};
use table::Table;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("queue-bench: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    for point in &options.points {
        let mut table = Table::new(point.name());
        let measured = Bench::new(&options).and_then(|bench| match point {
            Point::Accept => accept::run(&bench, &mut table),
            Point::Start => start::run(&bench, &mut table),
            Point::Show => show::run(&bench, &mut table),
            Point::Settle => settle::run(&bench, &mut table),
            Point::Fair => fair::run(&bench, &mut table),
            Point::Due => due::run(&bench, &mut table),
            Point::Index => index::run(&bench, &mut table),
        });
        print!("{table}");
        if let Err(message) = measured {
            eprintln!("queue-bench: {}: {message}", point.name());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
