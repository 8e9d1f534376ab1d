//! The program smtpctl: reads a command, asks the daemon, prints what it says.
//!
//! Exit status: 0 done, 1 refused or failed, 255 not understood.

mod language;
mod show;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use getopts::ParsingStyle;
use smtpd_queue::id::MessageId;

use crate::control::DEFAULT_SOCKET;
use crate::control::client::{Client, Error};
use crate::control::message::{Request, Response};
use language::Command;

const USAGE: &str = "usage: smtpctl [-s socket] command [argument ...]";

/// Exit status for words that are no command, as upstream.
const NOT_UNDERSTOOD: u8 = 255;

/// Runs smtpctl with the arguments behind its name; the exit status.
pub fn run(arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut options = getopts::Options::new();
    options.parsing_style(ParsingStyle::StopAtFirstFree);
    options.optopt("s", "", "", "");
    let given = match options.parse(arguments) {
        Ok(given) => given,
        Err(error) => {
            let _ = writeln!(err, "smtpctl: {error}\n{USAGE}");
            return 1;
        }
    };
    let command = match language::parse(&given.free) {
        Ok(command) => command,
        Err(misunderstood) => {
            let _ = writeln!(err, "{misunderstood}");
            return NOT_UNDERSTOOD;
        }
    };
    let socket = PathBuf::from(given.opt_str("s").unwrap_or_else(|| DEFAULT_SOCKET.to_owned()));
    let result = Client::connect(&socket)
        .map_err(Failure::from)
        .and_then(|mut client| obey(command, &mut client, out));
    match result {
        Ok(()) => 0,
        // Whoever reads has seen enough: `smtpctl show queue | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            match failure {
                Failure::Command(text) if text.is_empty() => {
                    let _ = writeln!(out, "command failed");
                }
                Failure::Command(text) => {
                    let _ = writeln!(out, "command failed: {text}");
                }
                Failure::Output(error) => {
                    let _ = writeln!(err, "smtpctl: standard output: {error}");
                }
                Failure::Client(error) => {
                    let _ = writeln!(err, "smtpctl: {error}");
                    if let (Error::NotRunning, Command::ShowQueue(_)) = (&error, command) {
                        let _ = writeln!(
                            err,
                            "smtpctl: the queue cannot be shown without the daemon yet"
                        );
                    }
                }
            }
            1
        }
    }
}

enum Failure {
    /// The daemon was not reached or did not answer.
    Client(Error),
    /// The daemon said no; its words.
    Command(String),
    /// What it said could not be printed.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

fn obey(command: Command, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
    let request = match command {
        Command::Log { verbose } => Request::Log { verbose },
        Command::Pause(system) => Request::Pause(system),
        Command::Resume(system) => Request::Resume(system),
        Command::ShowQueue(message) => return show_queue(message, client, out),
        Command::ShowStatistics => Request::Statistics,
        Command::ShowStatus => Request::Status,
    };
    match client.ask(&request)? {
        Response::Done => Ok(writeln!(out, "command succeeded")?),
        Response::Status { version, status } => Ok(show::status(out, status, &version)?),
        Response::Statistics(values) => Ok(show::statistics(out, values)?),
        Response::Failed(text) => Err(Failure::Command(text)),
        _ => Err(Error::Incompatible.into()),
    }
}

/// Prints page by page, so that a long queue costs neither side memory.
fn show_queue(
    message: Option<MessageId>,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let entries = match client.ask(&Request::QueuePage { after, message })? {
            Response::Queue(entries) => entries,
            Response::Failed(text) => return Err(Failure::Command(text)),
            _ => return Err(Error::Incompatible.into()),
        };
        // Pages go upwards, or this would never end.
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        if after.is_some_and(|after| last <= after) {
            return Err(Error::Incompatible.into());
        }
        after = Some(last);
        let now = unix_seconds();
        for entry in &entries {
            show::queue_entry(out, entry, now)?;
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
