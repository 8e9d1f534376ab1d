//! The program smtpctl: reads a command, asks the daemon, prints what it says. What is in the
//! queue it reads by itself when the daemon is down. Under another name it is another program:
//! makemap, newaliases.
//!
//! Exit status: 0 done, 1 refused or failed, 255 not understood; `explain` has its own.

mod convert;
mod encrypt;
mod envelope;
pub mod explain;
mod export;
mod import;
mod language;
mod makemap;
mod offline;
mod online;
mod place;
mod queue;
mod show;
mod verify;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use getopts::ParsingStyle;
use smtpd_queue::id::{EnvelopeId, MessageId};

use crate::control::View;
use crate::control::client::{Client, Error};
use crate::control::entry::QueueEntry;
use crate::control::message::{Request, Response};
use crate::control::order::{Action, Selection, Step};
use crate::options::definition;
use language::{Command, Subject};
use offline::Offline;
use online::Online;
use place::Place;
use queue::Queue;

const USAGE: &str = "usage: smtpctl [-D macro=value] [-f file] [-q directory] [-s socket] \
                     command [argument ...]";

/// Exit status for words that are no command, as upstream.
const NOT_UNDERSTOOD: u8 = 255;

/// Runs what the program is called as, with the arguments behind its name; the exit status.
pub fn run_as(
    name: &OsStr,
    arguments: &[OsString],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    match Path::new(name).file_name().and_then(OsStr::to_str) {
        Some("makemap") => makemap::makemap(arguments, out, err),
        Some("newaliases") => makemap::newaliases(arguments, out, err),
        _ => run(arguments, out, err),
    }
}

/// Runs smtpctl with the arguments behind its name; the exit status.
pub fn run(arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (place, words) = match options(arguments) {
        Ok(given) => given,
        Err(complaint) => {
            let _ = writeln!(err, "smtpctl: {complaint}");
            return 1;
        }
    };
    let command = match language::parse(&words) {
        Ok(command) => command,
        Err(misunderstood) => {
            let _ = writeln!(err, "{misunderstood}");
            return NOT_UNDERSTOOD;
        }
    };
    match obey(command, &place, out, err) {
        Ok(()) => 0,
        // Whoever reads has seen enough: `smtpctl show queue | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            let mut status = 1;
            let _ = match failure {
                Failure::Command(text) if text.is_empty() => writeln!(out, "command failed"),
                Failure::Command(text) => writeln!(out, "command failed: {text}"),
                Failure::Output(error) => writeln!(err, "smtpctl: standard output: {error}"),
                Failure::Client(error) => writeln!(err, "smtpctl: {error}"),
                Failure::Password(text) | Failure::Queue(text) => writeln!(err, "smtpctl: {text}"),
                Failure::Configuration(mistakes) => writeln!(err, "{mistakes}"),
                Failure::Told => Ok(()),
                Failure::Verdict(verdict) => {
                    status = verdict;
                    Ok(())
                }
            };
            status
        }
    }
}

/// The options, and the words of the command behind them.
fn options(arguments: &[OsString]) -> Result<(Place, Vec<String>), String> {
    let mut options = getopts::Options::new();
    options.parsing_style(ParsingStyle::StopAtFirstFree);
    options.optmulti("D", "", "", "");
    for option in ["f", "q", "s"] {
        options.optopt(option, "", "", "");
    }
    let given = options.parse(arguments).map_err(|error| format!("{error}\n{USAGE}"))?;
    let path = |option| given.opt_str(option).map(Into::into);
    let macros = given.opt_strs("D").iter().map(|text| definition(text)).collect::<Result<_, _>>();
    let macros = macros.map_err(|error| format!("{error}\n{USAGE}"));
    let place = Place { socket: path("s"), file: path("f"), macros: macros?, directory: path("q") };
    Ok((place, given.free))
}

/// Why a command was not carried out.
enum Failure {
    /// The daemon was not reached or did not answer.
    Client(Error),
    /// The daemon said no, or the queue does not have it; in the words behind `command failed: `.
    Command(String),
    /// A password of which no hash was made, and why.
    Password(String),
    /// The files of the queue, or of an export, and what is wrong with them.
    Queue(String),
    /// The configuration, with every mistake in it.
    Configuration(String),
    /// The result could not be printed.
    Output(io::Error),
    /// It has been told already.
    Told,
    /// It has been told, and the exit status says it too.
    Verdict(u8),
}

impl Failure {
    fn absent(id: MessageId) -> Failure {
        Failure::Command(format!("message {id} is not in the queue"))
    }
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

fn obey(
    command: Command,
    place: &Place,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let request = match command {
        Command::Convert(file) => return convert::file(&file, &place.macros, out, err),
        Command::Encrypt { scram, text } => {
            return encrypt::encrypt(text.as_deref(), scram, out);
        }
        Command::Log { verbose } => Request::Log { verbose },
        Command::ResumeRoute(number) => Request::ResumeRoute(number),
        Command::ShowRelay(view) => return show_relay(view, &mut connect(place)?, out),
        Command::Pause(system) => Request::Pause(system),
        Command::Resume(system) => Request::Resume(system),
        Command::ShowStatistics => Request::Statistics,
        Command::ShowStatus => Request::Status,
        Command::UpdatePki => Request::UpdatePki,
        Command::Order(action, selection) => {
            return order(action, selection, &mut connect(place)?, out);
        }
        Command::Explain(words) => return explain::explain(&words, place, out),
        Command::ShowQueue(message) => return show_queue(message, &mut *queue(place, err)?, out),
        Command::ShowEnvelope(id) => return show_envelope(id, &mut *queue(place, err)?, out),
        Command::ShowMessage(id) => {
            return queue(place, err)?.content(id, &mut show::WithLf::new(out));
        }
        Command::Discover(subject) => return discover(subject, &mut *queue(place, err)?, out),
        Command::Rebuild => {
            queue(place, err)?.rebuild()?;
            return Ok(writeln!(out, "command succeeded")?);
        }
        // It tells by itself what is unusual.
        Command::Verify => return verify::verify(&mut *queue(place, &mut io::sink())?, out, err),
        Command::Import(from) => {
            return import::directory(&from, place, running(place)?, out, err);
        }
        Command::MoveIn { from, key } => {
            return import::opensmtpd(&from, key.as_deref(), place, running(place)?, out, err);
        }
        Command::Export(directory) => {
            return export::export(&mut *queue(place, err)?, &directory, out, err);
        }
    };
    match connect(place)?.ask(&request)? {
        Response::Done => Ok(writeln!(out, "command succeeded")?),
        Response::Status { version, status } => {
            Ok(show::status(out, &status, &version, unix_seconds())?)
        }
        Response::Statistics(values) => Ok(show::statistics(out, values)?),
        _ => Err(Error::Incompatible.into()),
    }
}

fn connect(place: &Place) -> Result<Online, Failure> {
    Ok(Online(Client::connect(&place.socket()?)?))
}

/// The daemon, if one runs.
fn running(place: &Place) -> Result<Option<Online>, Failure> {
    match connect(place) {
        Err(Failure::Client(Error::NotRunning)) => Ok(None),
        online => online.map(Some),
    }
}

/// The queue: through the daemon, or without one when none runs. What is unusual about the files
/// is told.
fn queue(place: &Place, err: &mut dyn Write) -> Result<Box<dyn Queue>, Failure> {
    if let Some(online) = running(place)? {
        return Ok(Box::new(online));
    }
    let offline = Offline::open(&place.directory()?, place.config_for_keys()?.as_ref())?;
    for finding in &offline.recovered.findings {
        let _ = writeln!(err, "smtpctl: warning: {finding}");
    }
    Ok(Box::new(offline))
}

/// Goes through the queue step by step; what was done before a step that fails stays done.
fn order(
    action: Action,
    selection: Selection,
    online: &mut Online,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut changed = 0;
    let mut after = None;
    loop {
        let request = Request::Order { action, selection: selection.clone(), after };
        let Response::Step(step) = online.ask(&request)? else {
            return Err(Error::Incompatible.into());
        };
        changed += u64::from(step.changed);
        match step {
            Step { next: None, .. } => return Ok(show::ordered(out, action, changed)?),
            // Steps go upwards, or this would never end.
            Step { next, .. } if next <= after => return Err(Error::Incompatible.into()),
            Step { next, .. } => after = next,
        }
    }
}

/// Prints page by page, so that a long queue costs neither side memory. The next page is asked
/// for while one is printed.
fn show_queue(
    message: Option<MessageId>,
    queue: &mut dyn Queue,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let is_running = queue.is_running();
    let (pages, to_print) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let mut after = None;
            loop {
                let entries = queue.page(after, message)?;
                let Some(last) = entries.last() else { return Ok(()) };
                after = Some(last.id);
                // Whoever prints no more says why.
                if pages.send(entries).is_err() {
                    return Ok(());
                }
            }
        });
        for entries in to_print {
            let now = is_running.then(unix_seconds);
            for entry in &entries {
                show::queue_entry(out, entry, now)?;
            }
        }
        asking.join().unwrap_or_else(|defect| resume_unwind(defect))
    })
}

/// Prints a list of the relay, piece by piece.
fn show_relay(view: View, online: &mut Online, out: &mut dyn Write) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let Response::Relay(items) = online.ask(&Request::Relay(view, after))? else {
            return Err(Error::Incompatible.into());
        };
        let Some((last, _)) = items.last() else { return Ok(()) };
        // Numbers go upwards, or this would never end.
        if *last <= after {
            return Err(Error::Incompatible.into());
        }
        after = *last;
        for (_, text) in items {
            writeln!(out, "{text}")?;
        }
    }
}

/// What of a message is in the queue, with all of it scheduled by a daemon.
fn discover(subject: Subject, queue: &mut dyn Queue, out: &mut dyn Write) -> Result<(), Failure> {
    let mut found = 0;
    let mut after = None;
    loop {
        let entries = queue.page(after, Some(subject.message()))?;
        let Some(last) = entries.last() else { break };
        after = Some(last.id);
        let is_meant = |entry: &&QueueEntry| match subject {
            Subject::Envelope(id) => entry.id == id,
            Subject::Message(_) => true,
        };
        found += entries.iter().filter(is_meant).count();
    }
    if found > 0 {
        queue.discover(subject.message())?;
    }
    let plural = if found == 1 { "" } else { "s" };
    Ok(writeln!(out, "{found} envelope{plural} discovered")?)
}

fn show_envelope(
    id: EnvelopeId,
    queue: &mut dyn Queue,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let document = queue.document(id.message())?;
    let found = document.as_ref().and_then(|document| {
        let part = document.envelopes.iter().find(|part| part.id == Some(id))?;
        Some((document, part))
    });
    let Some((document, part)) = found else {
        return Err(Failure::Command(format!("envelope {id} is not in the queue")));
    };
    Ok(envelope::show(out, document, part)?)
}

/// Copies content; `failure` says what to make of an error in reading it.
fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    failure: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(octets) => to.write_all(&piece[..octets])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failure(error)),
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
