//! smtpd(8): from the command line to the end.
//!
//! Order of the start: the configuration is read and checked; the queue's lock is taken, and its
//! keys are asked for, before anything is bound; sockets are bound before privileges are dropped;
//! the end of the journal is read before anything is accepted. The rest of it is read meanwhile, on
//! the store's thread, and then the index is opened: nobody waits for it, but the mail that was in
//! the queue.
//!
//! ```text
//!  reactor --(content)--> content writers --+
//!     ^  \--(recipients)--> lookup          |
//!     |                        |            v
//!     +------- answers --------+---------- commit <----- outcomes ----- scheduler <--> store
//!                                           |                            ^     |
//!                                           +--------- messages ---------+     v
//!                                                                     delivery workers
//! ```
//!
//! `intake`, `writer`, `deliver` and `lookup` are values, as those of the queue are: the simulation
//! runs them in one thread, without any of the shells around them.
//!
//! Order of the end (SIGTERM, SIGINT): no new sessions, 421 to the idle; no new attempts, those
//! under way finish; the journal is closed; the index is closed, to be trusted by the next start.

pub mod auth;
pub mod bounces;
mod bounds;
pub mod clock;
mod committer;
pub mod deliver;
mod importing;
pub mod intake;
pub mod lookup;
pub(crate) mod machine;
pub mod messages;
mod operator;
mod orders;
pub(crate) mod outside;
mod pool;
mod reading;
pub mod relay;
mod renewal;
pub mod replies;
mod resolving;
mod scheduling;
mod sessions;
pub(crate) mod sockets;
mod spooler;
mod start;
mod table_process;
mod threads;
pub mod tls;
pub(crate) mod users;
mod watched;
pub mod writer;

use std::path::Path;
use std::process::ExitCode;

use smtpd_config::Config;

use crate::check;
use crate::log::Destination;
use crate::options::{DEFAULT_FILE, Mode, Options};
use machine::{Machine, QUICKSTART_NAME};

/// Runs the daemon, or checks the configuration, as the command line says.
pub fn run(options: &Options) -> ExitCode {
    let machine = match Machine::new() {
        Ok(machine) => machine,
        Err(error) => return complain(&format!("interfaces: {error}")),
    };
    let path = match &options.file {
        Some(file) => file.to_string_lossy(),
        // Somebody tries the program out. A daemon in the background, or a check, is about a
        // file that should be there.
        None if options.mode == Mode::Debug && !Path::new(DEFAULT_FILE).exists() => {
            eprintln!("smtpd: there is no {DEFAULT_FILE}: using the built-in quickstart");
            QUICKSTART_NAME.into()
        }
        None => DEFAULT_FILE.into(),
    };
    if options.mode == Mode::Check {
        return check::run(options, &path, machine);
    }
    let config = match smtpd_config::load(&path, &options.macros, machine.host(), &machine) {
        Ok((config, _)) => config,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{mistake}");
            }
            return ExitCode::FAILURE;
        }
    };
    if refuse_inactive(&config) {
        return ExitCode::FAILURE;
    }
    match start::daemon(options, config, &machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// What is configured and would silently not happen: the daemon does not start with it.
fn refuse_inactive(config: &Config) -> bool {
    for inactive in config.inactive() {
        eprintln!("{}: {}", inactive.position, inactive.what);
    }
    !config.inactive().is_empty()
}

fn complain(error: &str) -> ExitCode {
    eprintln!("smtpd: {error}");
    ExitCode::FAILURE
}

/// Where the log of a process in this mode goes.
fn destination(mode: Mode) -> Destination {
    match mode {
        Mode::Debug | Mode::Check => Destination::Stderr,
        Mode::Daemon | Mode::Foreground => Destination::Syslog,
    }
}
