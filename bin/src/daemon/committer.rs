//! The commit thread: takes what reactors, content writers and the scheduler want durable, turns
//! [`Commits`], and tells each what came of it.
//!
//! Peers are answered before the scheduler hears of their messages, as they wait. What arrives
//! while the disk syncs is the next group.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use smtpd_engine::server::{Answer, Ticket};
use smtpd_engine::time::Time;
use smtpd_queue::backend::{Commits, Helper};
use smtpd_queue::envelope;
use smtpd_queue::lease;
use smtpd_queue::request::{self, Accept, Done, Refusal, Stored};
use smtpd_queue::scheduler::Input;
use smtpd_queue::spares::Filled;
use smtpd_reactor::{self as reactor, ConnId};

use super::messages::{Asker, Errand, Message, Order, Request, Waiting};
use super::sockets::system_text;
use super::spooler::Spooler;
use super::{replies, threads};
use crate::log::{bounce, session as line};

/// Orders taken for one turn at most. What is more belongs to the next group: a bound on how long
/// the first of a group waits for the writing of the last.
const TURN: usize = 64;

/// How long new messages wait, at most, before it is looked again whether the scheduler has
/// caught up.
const PRESSED: Duration = Duration::from_millis(5);

/// How long the thread that makes spare segments waits after the disk has failed it.
const REST: Duration = Duration::from_secs(10);

/// How many times as long as a piece of a spare segment took the next one is put off. A segment is
/// made in half a second nevertheless. Pieces of 1 MiB one after another made the 99th percentile
/// of a message's way through a daemon just started 6.5 ms instead of 2.4.
const SHARE: u32 = 12;

/// The longest that it is put off, on a disk that is slow for a while.
const BREATH: Duration = Duration::from_millis(100);

/// Whom the commit thread tells what came of a request.
pub struct Listeners {
    /// The reactors' way in.
    pub reactor: reactor::Sender,
    /// The scheduler's.
    pub scheduler: Sender<Message>,
    /// The store's, for what the scheduler is not to hear of first.
    pub store: Sender<Errand>,
    /// For content files that nothing names any more.
    pub spooler: Spooler<ConnId>,
    /// Set while the scheduler has more in memory than it should: accepting waits.
    pub pressed: Arc<AtomicBool>,
}

/// Starts the commit thread, and the one that makes spare segment files for it. The first ends
/// after [`Order::Stop`].
///
/// # Errors
/// When the system starts no more threads.
pub fn start(
    commit: Box<dyn Commits<Asker<ConnId>>>,
    helper: Option<Helper>,
    orders: Receiver<Order>,
    listeners: Listeners,
) -> io::Result<JoinHandle<()>> {
    let (wants, wanted) = mpsc::sync_channel(1);
    if let Some(helper) = helper {
        threads::start("filler", move || fill(helper, &wanted))?;
    }
    let committer = Committer {
        commit,
        listeners,
        wants,
        start: Instant::now(),
        requests: Vec::new(),
        held: Vec::new(),
        done: Vec::new(),
        answers: Vec::new(),
        full: false,
    };
    threads::start("commit", move || committer.run(&orders))
}

struct Committer {
    commit: Box<dyn Commits<Asker<ConnId>>>,
    listeners: Listeners,
    /// Wakes the helper.
    wants: mpsc::SyncSender<()>,
    start: Instant,
    requests: Vec<Request>,
    /// Messages that wait while the scheduler is behind. Outcomes never do, and neither do
    /// reports: it is by them that it catches up.
    held: Vec<Request>,
    done: Vec<Done<Asker<ConnId>>>,
    answers: Vec<(ConnId, Ticket, Answer)>,
    /// The last message was refused for want of space.
    full: bool,
}

impl Committer {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut tidy_at = Instant::now();
        let stop = loop {
            let wait = tidy_at.saturating_duration_since(Instant::now());
            let wait = if self.held.is_empty() { wait } else { wait.min(PRESSED) };
            let first = orders.recv_timeout(wait);
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                break None;
            }
            let mut stop = None;
            for order in first.into_iter().chain(orders.try_iter().take(TURN)) {
                match order {
                    Order::Requests(mut requests) => self.requests.append(&mut requests),
                    Order::Stop(answer) => stop = Some(answer),
                }
            }
            if stop.is_some() {
                break stop;
            }
            let worked = !self.requests.is_empty();
            self.turn();
            // After work too: a journal under load fills a segment in less than a second.
            if worked || Instant::now() >= tidy_at {
                let wait = self.commit.tidy(self.now(), &mut self.done);
                self.tell();
                tidy_at = Instant::now() + wait;
            }
            if self.commit.wants_help() {
                let _ = self.wants.try_send(());
            }
        };
        self.requests.append(&mut self.held);
        while !self.requests.is_empty() {
            self.commit_all();
        }
        match self.commit.close() {
            Ok(sequence) => {
                if let Some(stop) = stop {
                    // Whoever asked may have given up waiting.
                    let _ = stop.send(sequence);
                }
            }
            Err(error) => log::warn!("warn: queue: journal: {}", system_text(&error)),
        }
    }

    fn turn(&mut self) {
        if self.listeners.pressed.load(Ordering::Relaxed) {
            let is_from_outside = |request: &mut Request| {
                matches!(
                    request,
                    request::Request::Accept(Accept { token: Asker::Peer(_) | Asker::Tool(_), .. })
                )
            };
            self.held.extend(self.requests.extract_if(.., is_from_outside));
        } else if !self.held.is_empty() {
            // They have waited longer than what has just come.
            self.held.append(&mut self.requests);
            std::mem::swap(&mut self.held, &mut self.requests);
        }
        while !self.requests.is_empty() {
            self.commit_all();
        }
    }

    fn commit_all(&mut self) {
        self.commit.turn(self.now(), &mut self.requests, &mut self.done);
        self.tell();
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// Tells everybody what came of their requests: the log, so that the lines of a session
    /// stand in order; the peers; then the scheduler.
    fn tell(&mut self) {
        for done in &self.done {
            let (asker, reply) = match done {
                Done::Accepted { token, message, content } => {
                    if std::mem::take(&mut self.full) {
                        log::info!("info: queue: space again: accepting messages");
                    }
                    log(token, message, content);
                    (token, replies::accepted(message.id))
                }
                Done::Refused { token, message, why } => {
                    // Once, and not for each message: the sessions' lines tell of those.
                    let was_full = self.full;
                    self.full = *why == Refusal::NoSpace;
                    if !(self.full && was_full) {
                        log::warn!("warn: queue: temporarily rejecting messages: {message}: {why}");
                    }
                    (token, replies::refused(*why))
                }
                Done::Recorded(_) | Done::Void(_) | Done::Discard(_) | Done::Damaged(_) => continue,
            };
            if let Asker::Peer(waiting) = asker {
                self.answers.push((waiting.conn, waiting.ticket, reply.into()));
            }
        }
        self.listeners.reactor.answer_all(self.answers.drain(..));
        let (mut inputs, mut imported) = (Vec::new(), Vec::new());
        for done in self.done.drain(..) {
            inputs.push(match done {
                Done::Accepted { token: Asker::Tool(answer), message, .. } => {
                    imported.push(message.id);
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(Ok(message.id));
                    continue;
                }
                Done::Accepted { message, content, .. } => Input::Accepted(message, content),
                Done::Recorded(outcome) => Input::Recorded(outcome),
                Done::Void(outcome) => Input::Void(outcome.envelope),
                Done::Damaged(message) => Input::Damaged(message),
                Done::Discard(message) => {
                    self.listeners.spooler.remove(message);
                    continue;
                }
                Done::Refused { token: Asker::Report(ids), why, .. } => {
                    bounce::not_sent(&ids, why);
                    Input::Unsent(ids)
                }
                Done::Refused { token: Asker::Tool(answer), why, .. } => {
                    let _ = answer.send(Err(why));
                    continue;
                }
                Done::Refused { token: Asker::Peer(_), .. } => continue,
            });
        }
        if !inputs.is_empty() {
            // The scheduler outlives this thread.
            let _ = self.listeners.scheduler.send(Message::Inputs(inputs));
        }
        if !imported.is_empty() {
            // Behind the states that came with them: those are no outcomes of attempts, which the
            // scheduler would take them for if it had the envelopes by then. The store outlives
            // this thread, too.
            let discover = lease::Request::Discover(imported);
            let _ = self.listeners.store.send(Errand::Request(discover));
        }
    }
}

/// A report and what is imported come from no session; their lines have zero in the place of one.
fn log(asker: &Asker<ConnId>, message: &envelope::Message, content: &Stored) {
    let (session, esmtp) = match asker {
        Asker::Peer(Waiting { ticket, esmtp, .. }) => (ticket.session(), *esmtp),
        Asker::Report(_) | Asker::Tool(_) => (0, true),
    };
    line::message(session, message.id, content.octets, message.envelopes.len(), esmtp);
    for envelope in &message.envelopes {
        line::envelope(session, envelope.id, &message.sender, &envelope.rcpt);
    }
}

/// Makes spare segment files whenever the commit thread finds too few. It leaves the disk to the
/// commits for most of the time: after each piece it rests for some times as long as that took.
fn fill(mut helper: Helper, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        loop {
            let start = Instant::now();
            match helper() {
                Ok(Filled::Some) => std::thread::sleep((start.elapsed() * SHARE).min(BREATH)),
                Ok(Filled::Enough) => break,
                Err(error) => {
                    log::warn!("warn: queue: no spare segment: {}", system_text(&error));
                    std::thread::sleep(REST);
                    break;
                }
            }
        }
    }
}
