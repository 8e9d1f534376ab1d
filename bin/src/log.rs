//! Log lines: where they go, which are wanted, and that writing them never makes anybody wait.
//!
//! The rest of the program logs through the `log` facade. A line is formatted on the thread that
//! has something to say (and only when its level is wanted), copied into a bounded queue and
//! written by one thread of its own: to standard error with `-d`, else by syslog(3). A full disk
//! behind the log, a terminal stopped with ^S or a syslogd that does not read can therefore hold
//! up that thread alone. What does not fit into the queue is dropped, counted, and the count
//! logged: of the two promises, every line and no pause, a mail server must keep the second.
//!
//! Levels are those of syslog: `Error` is fatal (crit), `Warn` wants somebody to look (err),
//! `Info` is the life of a message, `Debug` comes with `-v` and `smtpctl log verbose`. Lines of
//! level `Warn` and `Debug` get `warn: ` and `debug: ` in front unless they begin with it.
//!
//! Nothing in a line can begin another one: control characters are shown as escapes (see [`vis`]).

pub mod bounce;
pub mod delivery;
pub mod life;
mod queue;
pub mod relay;
pub mod session;
pub mod span;
pub mod topic;
pub mod vis;
mod writer;

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use env_logger::Target;
use log::{Level, LevelFilter, Metadata, Record};

use queue::{Entrance, Queue};
use topic::Topics;
use writer::Sink;

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error, a line for each message and nothing in front of it (`-d`).
    Stderr,
    /// syslog(3), facility mail, with the process id.
    Syslog,
}

/// How long the end of the process waits for lines that are still queued.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The running log. Dropping it writes what is queued, for two seconds at most; so does
/// `log::logger().flush()`.
#[must_use]
pub struct Log {
    queue: Arc<Queue>,
}

/// Starts the log of this process; call it once, after the process has left its terminal, as its
/// thread does not live through a fork. Panics are logged from here on (level `Error`).
///
/// # Errors
/// When the thread cannot be started, or when the process has a log already.
pub fn start(destination: Destination, verbose: bool, topics: Topics) -> io::Result<Log> {
    let queue = Arc::new(Queue::default());
    let lines = env_logger::Builder::new()
        // The crates of the workspace are all named so; of the others only warnings matter.
        .filter_level(LevelFilter::Warn)
        .filter_module("smtpd", LevelFilter::Debug)
        .target(Target::Pipe(Box::new(Entrance(Arc::clone(&queue)))))
        .format(|line, record| {
            // The octet in front says the level; the queue expects it.
            line.write_all(&[record.level() as u8])?;
            let Some(word) = word(record) else { return line.write_fmt(*record.args()) };
            // Only of the whole text it can be told how it begins.
            let text = record.args().to_string();
            let prefix = if text.starts_with(word) { "" } else { word };
            line.write_all(prefix.as_bytes())?;
            line.write_all(text.as_bytes())
        })
        .build();
    log::set_boxed_logger(Box::new(Logger { lines, queue: Arc::clone(&queue) }))
        .map_err(io::Error::other)?;
    set_verbose(verbose);
    topic::set(topics);
    let written = Arc::clone(&queue);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer::run(&written, Sink::open(destination)))?;
    report_panics();
    Ok(Log { queue })
}

/// Says whether debug lines are wanted: `-v`, `smtpctl log verbose` and `log brief`.
pub fn set_verbose(verbose: bool) {
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
}

/// env_logger formats and filters; what its pipe cannot do is to wait until all is written.
struct Logger {
    lines: env_logger::Logger,
    queue: Arc<Queue>,
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.lines.log(record);
    }

    /// Waits until all that was logged before is written, for two seconds at most: for the moment
    /// before the process ends by its own will.
    fn flush(&self) {
        self.queue.flush(LAST_WORDS);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(LAST_WORDS);
        self.queue.close();
    }
}

/// The word of the level, to stand in front of a line unless the line has it already. Traces have
/// none, as upstream's.
fn word(record: &Record<'_>) -> Option<&'static str> {
    match record.level() {
        Level::Warn => Some("warn: "),
        Level::Debug if record.target() != topic::TARGET => Some("debug: "),
        _ => None,
    }
}

/// A panic is caught where it ends a session and ends the process elsewhere; either way it must be
/// in the log, as one line, and not on a standard error that nobody reads.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let what = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("");
        match panic.location() {
            Some(at) => log::error!("panic at {}:{}: {what}", at.file(), at.line()),
            None => log::error!("panic: {what}"),
        }
        log::logger().flush();
    }));
}
