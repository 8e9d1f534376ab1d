//! `smtp-load`: measures an SMTP server from outside, and the disk below it.
//!
//! `send` offers messages on many sessions from one thread and prints messages a second, how long
//! each reply took and, given the server's process id, what a message cost; `idle` holds sessions
//! and prints the memory of each; `disk` measures what the server cannot beat. Nothing here
//! asserts a time: it prints, `run.sh` beside it runs the standard points.

#![forbid(unsafe_code)]

mod disk;
mod figures;
mod idle;
mod message;
mod options;
mod process;
mod send;
mod session;

use std::process::ExitCode;

use figures::{Report, Summary};
use options::{Mode, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("smtp-load: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    match measure(&options) {
        Ok(report) => {
            print!("{}", if options.json { report.json() } else { report.table() });
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("smtp-load: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for as often as was asked for.
fn measure(options: &Options) -> Result<Report, String> {
    let mut summary = Summary::new(options.point());
    match options.mode {
        Mode::Send => {
            send::warm_up(options)?;
            for _ in 0..options.runs {
                summary.add(send::run(options)?);
            }
        }
        Mode::Idle => summary.add(idle::run(options)?),
        Mode::Disk => return disk::run(options),
    }
    Ok(Report::of(vec![summary]))
}
