//! Messages on many sessions at once, from one thread: a generator that takes little of the
//! machine it shares with the server.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::figures::Figures;
use crate::message::Message;
use crate::options::Options;
use crate::process::{Family, Tracer};
use crate::session::{ReplyTimes, Session, Turn, Work};

/// How often `--maildir` is looked at once everything is accepted.
const LOOK: Duration = Duration::from_millis(5);

/// Sends `--warm` messages that no figure knows of.
pub fn warm_up(options: &Options) -> Result<(), String> {
    if options.warm == 0 {
        return Ok(());
    }
    let before = count_files(options.maildir.as_deref());
    let message = Message::new(options);
    let sessions = options.sessions.min(5);
    let deadline = Instant::now() + options.limit;
    offer(options, &message, sessions, options.warm, deadline)?;
    wait_for_maildir(options, before + options.warm, deadline)
}

/// One run: its figures, or why there are none.
pub fn run(options: &Options) -> Result<Figures, String> {
    let message = Message::new(options);
    let family = Family::of(&options.pids);
    let tracer = options.strace.then(|| Tracer::attach(&family)).transpose()?;
    let before = count_files(options.maildir.as_deref());
    let cpu = family.cpu();
    let deadline = Instant::now() + options.limit;
    let start = Instant::now();
    let times = offer(options, &message, options.sessions, options.messages, deadline)?;
    let accepted = start.elapsed();
    wait_for_maildir(options, before + options.messages, deadline)?;
    let delivered = start.elapsed();
    let cpu = family.cpu().saturating_sub(cpu);

    let messages = options.messages as f64;
    let mut figures = vec![("messages/s".to_owned(), messages / accepted.as_secs_f64())];
    if options.maildir.is_some() {
        figures.push(("delivered/s".into(), messages / delivered.as_secs_f64()));
    }
    if !options.pids.is_empty() {
        figures.push(("cpu us/message".into(), cpu.as_secs_f64() * 1e6 / messages));
    }
    if let Some(tracer) = tracer {
        for (call, count) in tracer.detach()? {
            figures.push((format!("{call}/message"), count as f64 / messages));
        }
    }
    times.dot.figures("dot", &mut figures);
    times.mail.figures("MAIL", &mut figures);
    times.rcpt.figures("RCPT", &mut figures);
    times.data.figures("DATA", &mut figures);
    Ok(figures)
}

/// Has `total` messages accepted on `sessions` sessions. Any refusal ends the run: a figure of
/// messages that were not taken would mean nothing.
fn offer(
    options: &Options,
    message: &Message,
    sessions: usize,
    total: usize,
    deadline: Instant,
) -> Result<ReplyTimes, String> {
    let mut work = Work {
        message,
        next: 0,
        total,
        accepted: 0,
        per_session: options.per_session,
        pipeline: options.pipeline,
        times: ReplyTimes::default(),
    };
    let system = |error: io::Error| format!("poll: {error}");
    let mut poll = Poll::new().map_err(system)?;
    let mut events = Events::with_capacity(1024);
    let mut open: Vec<Option<Session>> = Vec::new();
    for index in 0..sessions.min(total) {
        open.push(Some(connect(options.to, index, &poll)?));
    }
    let mut left = open.len();
    while left > 0 {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(format!("{} of {total} accepted when the time was up", work.accepted));
        }
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled.map_err(system)?,
        }
        for event in &events {
            let Token(index) = event.token();
            let Some(session) = open.get_mut(index).and_then(Option::as_mut) else { continue };
            match session.turn(event.is_readable(), &mut work) {
                Ok(Turn::Waits) => {}
                Ok(Turn::Done) => {
                    let again = work.next < total;
                    open[index] = again.then(|| connect(options.to, index, &poll)).transpose()?;
                    left -= usize::from(!again);
                }
                // The work is done, and this session was not in the middle of any.
                Err(_) if work.next == total && !session.in_transaction() => {
                    open[index] = None;
                    left -= 1;
                }
                Err(error) => return Err(format!("message {}: {error}", work.next)),
            }
        }
    }
    if work.accepted < total {
        return Err(format!("only {} of {total} messages were accepted", work.accepted));
    }
    Ok(work.times)
}

fn connect(to: SocketAddr, index: usize, poll: &Poll) -> Result<Session, String> {
    let failed = |error: io::Error| format!("cannot connect to {to}: {error}");
    let mut socket = TcpStream::connect(to).map_err(failed)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut socket, Token(index), interest).map_err(failed)?;
    // Nagle would hold back the last part of a large message (RFC 1122 section 4.2.3.4).
    socket.set_nodelay(true).map_err(failed)?;
    Ok(Session::new(socket))
}

/// How many files lie in `maildir/new`; a Maildir that is not there yet has none.
fn count_files(maildir: Option<&Path>) -> usize {
    maildir.and_then(|dir| fs::read_dir(dir.join("new")).ok()).map_or(0, Iterator::count)
}

/// Waits until `wanted` files are in the Maildir, if one was named.
fn wait_for_maildir(options: &Options, wanted: usize, deadline: Instant) -> Result<(), String> {
    let Some(maildir) = options.maildir.as_deref() else { return Ok(()) };
    loop {
        let count = count_files(Some(maildir));
        if count >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{count} of {wanted} messages in {}", maildir.display()));
        }
        thread::sleep(LOOK);
    }
}
