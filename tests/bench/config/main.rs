//! `config-bench`: measures what the configuration promises, and prints each figure beside its
//! bound.
//!
//! ```text
//! config-bench decide    a ruleset of 1,000 rules decides
//! config-bench tables    100,000 entries are read, and looked up
//! config-bench check     smtpd -n of an ordinary file, from exec to exit
//! ```
//!
//! Without a point, all of them. `check` needs the program `smtpd` beside its own; for figures that
//! mean something, both are release builds:
//!
//! ```text
//! cargo build --release -p smtpd -p smtpd-tests --bins
//! target/release/config-bench
//! ```
//!
//! Nothing here asserts a time: the status is 1 only when something did not work.

#![forbid(unsafe_code)]

mod check;
mod decide;
mod tables;

use std::process::ExitCode;
use std::time::Duration;

/// One figure: the median and the worst of its runs, and what is promised.
pub(crate) struct Figure {
    name: &'static str,
    runs: Vec<Duration>,
    bound: Duration,
}

impl Figure {
    fn print(mut self) {
        self.runs.sort_unstable();
        let median = self.runs[self.runs.len() / 2];
        let worst = self.runs[self.runs.len() - 1];
        println!(
            "{:<44} median {:>10.1?}   worst of {} {:>10.1?}   promised {:?}",
            self.name,
            median,
            self.runs.len(),
            worst,
            self.bound
        );
    }
}

fn main() -> ExitCode {
    let mut points: Vec<String> = std::env::args().skip(1).collect();
    if points.is_empty() {
        points = ["decide", "tables", "check"].map(str::to_owned).to_vec();
    }
    for point in points {
        let figures = match point.as_str() {
            "decide" => decide::run(),
            "tables" => tables::run(),
            "check" => check::run(),
            _ => Err(format!("no point {point}; there are decide, tables and check")),
        };
        match figures {
            Ok(figures) => figures.into_iter().for_each(Figure::print),
            Err(error) => {
                eprintln!("config-bench: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
