//! The scheduler's thread and that of its store: channels and clocks around two values.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use smtpd_engine::time::Time;
use smtpd_queue::backend::Leases;
use smtpd_queue::bounce::Notice;
use smtpd_queue::delivery::{Batch, Kind};
use smtpd_queue::scheduler::{self, Clock, Input, OrderId, Output, Scheduler};

use super::clock::wall;
use super::messages::{Errand, Message, Order, Request, Shown};
use super::pool::Pool;
use super::threads;
use crate::log::delivery;
use crate::log::topic::{self, Topic};

/// Messages taken for one turn at most.
const TURN: usize = 4096;

/// Where the scheduler's decisions go.
pub struct Outlets {
    /// Those who deliver batches here.
    pub workers: Pool<Batch>,
    /// Has a batch relayed, without waiting.
    pub relay: Box<dyn Fn(Batch) + Send>,
    /// The commit thread.
    pub commit: Sender<Order>,
    /// The store.
    pub store: Sender<Errand>,
    /// The thread that makes reports.
    pub bounces: Sender<Notice>,
    /// Told to the commit thread while too much is in memory.
    pub pressed: Arc<AtomicBool>,
}

/// Starts the scheduler's thread. What it has in memory when it ends goes to the store.
///
/// # Errors
/// When the system starts no more threads.
pub fn start(
    scheduler: Scheduler,
    messages: Receiver<Message>,
    outlets: Outlets,
) -> io::Result<JoinHandle<()>> {
    let shell = Shell {
        scheduler,
        outlets,
        start: Instant::now(),
        inputs: Vec::new(),
        orders: HashMap::new(),
        next_order: 0,
        stopping: None,
        over: false,
    };
    threads::start("scheduler", move || shell.run(&messages))
}

struct Shell {
    scheduler: Scheduler,
    outlets: Outlets,
    start: Instant,
    inputs: Vec<Input>,
    /// Who waits for orders given by hand to be carried out.
    orders: HashMap<OrderId, Sender<usize>>,
    next_order: OrderId,
    /// Who waits for the last attempts or outcomes, and how long.
    stopping: Option<Stopping>,
    over: bool,
}

/// Somebody waits for the scheduler to come to rest.
struct Stopping {
    end: Instant,
    waiting: Sender<()>,
    /// Attempts that are under way are waited for, too, and not only outcomes.
    attempts: bool,
}

impl Shell {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut outputs = Vec::new();
        loop {
            let now = self.now();
            self.scheduler.turn(now, &mut self.inputs, &mut outputs);
            self.carry_out(&mut outputs);
            self.outlets.pressed.store(self.scheduler.is_pressed(), Ordering::Relaxed);
            let scheduler = &self.scheduler;
            let is_at_rest = |stop: &Stopping| match stop.attempts {
                true => !scheduler.is_busy(),
                false => !scheduler.is_recording(),
            };
            let is_over = |stop: &mut Stopping| is_at_rest(stop) || Instant::now() >= stop.end;
            if let Some(stop) = self.stopping.take_if(is_over) {
                let _ = stop.waiting.send(());
            }
            if self.over {
                break;
            }
            match self.wait(messages, now) {
                Ok(message) => {
                    self.receive(message);
                    for message in messages.try_iter().take(TURN) {
                        self.receive(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.scheduler.close(&mut outputs);
        self.carry_out(&mut outputs);
    }

    fn wait(&self, messages: &Receiver<Message>, now: Clock) -> Result<Message, RecvTimeoutError> {
        let wakeup = self.scheduler.next_wakeup(now);
        let wakeup = wakeup.map(|at| at.saturating_since(now.mono));
        let end = self.stopping.as_ref().map(|stop| stop.end);
        let end = end.map(|end| end.saturating_duration_since(Instant::now()));
        match [wakeup, end].into_iter().flatten().min() {
            Some(wait) => messages.recv_timeout(wait),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Inputs(mut inputs) => self.inputs.append(&mut inputs),
            Message::Pause(kind, pause, answer) => {
                let changed = match pause {
                    true => self.scheduler.pause(kind),
                    false => self.scheduler.resume(kind),
                };
                // Whoever asked may have given up waiting.
                let _ = answer.send(changed);
            }
            Message::Administer(envelopes, action, answer) => {
                let id = self.next_order;
                self.next_order += 1;
                self.orders.insert(id, answer);
                let order = scheduler::Order { id, envelopes, action };
                self.inputs.push(Input::Administer(order));
            }
            Message::Show(answer) => {
                let paused = Kind::ALL.into_iter().filter(|kind| self.scheduler.is_paused(*kind));
                let paused = paused.collect();
                let _ = answer.send(Shown { paused, in_flight: self.scheduler.in_flight() });
            }
            Message::Deliver(batch) => self.deliver(batch),
            Message::End => self.over = true,
            Message::Stop(end, waiting) => {
                self.stopping = Some(Stopping { end, waiting, attempts: true });
                for kind in Kind::ALL {
                    self.scheduler.pause(kind);
                }
            }
            Message::Settle(end, waiting) => {
                self.stopping = Some(Stopping { end, waiting, attempts: false });
            }
        }
    }

    fn deliver(&self, batch: Batch) {
        match batch.kind {
            Kind::Mda => self.outlets.workers.push(batch),
            Kind::Mta => (self.outlets.relay)(batch),
        }
    }

    /// Hands on what is to be done. The threads at the other ends outlive this one.
    fn carry_out(&mut self, outputs: &mut Vec<Output>) {
        let mut outcomes = Vec::new();
        for output in outputs.drain(..) {
            match output {
                Output::Deliver(batch) => {
                    let (id, jobs, kind) = (batch.id, batch.jobs.len(), batch.kind.name());
                    let text = format_args!("scheduler: batch {id:016x}: {jobs} for {kind}");
                    topic::trace(Topic::Scheduler, text);
                    self.deliver(batch);
                }
                Output::Record(outcome) => {
                    let (id, verdict) = (outcome.envelope, &outcome.verdict);
                    let text = format_args!("scheduler: evp:{id} {verdict:?}");
                    topic::trace(Topic::Scheduler, text);
                    outcomes.push(Request::Outcome(outcome));
                }
                Output::Bounce(notice) => {
                    let _ = self.outlets.bounces.send(notice);
                }
                Output::Expired(message, id) => delivery::expired(&message, id, wall()),
                Output::Removed(message, id) => delivery::removed(&message, id, wall()),
                Output::Administered { order, changed } => {
                    if let Some(answer) = self.orders.remove(&order) {
                        // Whoever asked may have given up waiting.
                        let _ = answer.send(changed);
                    }
                }
                Output::Store(request) => {
                    let _ = self.outlets.store.send(Errand::Request(request));
                }
            }
        }
        if !outcomes.is_empty() {
            let _ = self.outlets.commit.send(Order::Requests(outcomes));
        }
    }

    fn now(&self) -> Clock {
        let mono = Time::from_micros(self.start.elapsed().as_micros() as u64);
        Clock { unix: wall(), mono }
    }
}

/// Starts the store's thread: reading the journal and opening the index may take long, and nobody
/// waits for it. Ends after [`Errand::Close`], or when there is no store.
///
/// # Errors
/// When the system starts no more threads.
pub fn start_store(
    open: impl FnOnce() -> Option<Box<dyn Leases>> + Send + 'static,
    errands: Receiver<Errand>,
    scheduler: Sender<Message>,
) -> io::Result<JoinHandle<()>> {
    threads::start("store", move || {
        let Some(mut store) = open() else { return };
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        loop {
            store.turn(&mut requests, &mut answers);
            if !answers.is_empty() {
                let inputs = answers.drain(..).map(Input::Store).collect();
                // At the end there may be nobody left to be answered.
                let _ = scheduler.send(Message::Inputs(inputs));
            }
            let mut close = None;
            let first = match store.is_busy() {
                true => errands.try_recv().ok(),
                false => match errands.recv() {
                    Ok(first) => Some(first),
                    Err(_) => return,
                },
            };
            for errand in first.into_iter().chain(errands.try_iter().take(TURN)) {
                match errand {
                    Errand::Request(request) => requests.push(request),
                    Errand::Close(sequence) => close = Some(sequence),
                }
            }
            if let Some(sequence) = close {
                store.turn(&mut requests, &mut answers);
                if let Err(error) = store.close(sequence) {
                    log::warn!("warn: queue: index: {error}");
                }
                return;
            }
        }
    })
}

/// How long the end of the daemon waits for attempts that are under way.
pub const LAST_ATTEMPTS: Duration = Duration::from_secs(20);

/// How long it waits for outcomes, behind those attempts. A report may take one second until all of
/// its message is gathered, and the disk some time.
pub const LAST_OUTCOMES: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use smtpd_queue::bounce::Notice;
    use smtpd_queue::delivery::{Attempt, Report};
    use smtpd_queue::destination::Destinations;
    use smtpd_queue::envelope::{Envelope, Notify};
    use smtpd_queue::id::MessageId;
    use smtpd_queue::lease::Epoch;
    use smtpd_queue::request::Stored;
    use smtpd_queue::sample;
    use smtpd_queue::scheduler::Options;

    /// What is delivered when the daemon is about to end, and is to be told of, must be recorded
    /// before the journal is closed: it would be delivered again.
    #[test]
    fn the_end_waits_for_outcomes_that_are_told_in_a_report() {
        let (begun, batches) = mpsc::channel();
        let worker = move |batch: Batch| begun.send(batch).unwrap();
        let (bounces, notices) = mpsc::channel::<Notice>();
        let (commit, _orders) = mpsc::channel();
        let (store, _errands) = mpsc::channel();
        let outlets = Outlets {
            workers: Pool::start("test", [worker]).unwrap(),
            relay: Box::new(|batch| panic!("relayed: {batch:?}")),
            commit,
            store,
            bounces,
            pressed: Arc::default(),
        };
        let scheduler = Scheduler::new(Options::default(), Destinations::new(5), Epoch::default());
        let (tell, messages) = mpsc::channel();
        let thread = start(scheduler, messages, outlets).unwrap();
        let id = MessageId::from_u32(1).unwrap();
        let notify = Some(Notify { success: true, failure: true, delay: false });
        let told = Envelope { notify, ..sample::local("a@example.org", "a") };
        let message = Arc::new(sample::message(id, [told, sample::local("b@example.org", "b")]));
        let content = Stored { message: id, octets: 1, dot_lines: false, memory: None };
        let input = |input| tell.send(Message::Inputs(vec![input])).unwrap();
        input(Input::Accepted(Arc::clone(&message), content));
        let batch = batches.recv().unwrap();
        assert_eq!(batch.jobs.len(), 2);
        let (answer, stopped) = mpsc::channel();
        tell.send(Message::Stop(Instant::now(), answer)).unwrap();
        stopped.recv().unwrap();

        // One is delivered at the last moment; of the other nothing is heard.
        let attempts = vec![(batch.jobs[0].id, Attempt::Delivered)];
        input(Input::Finished(Report { batch: batch.id, attempts }));
        let (answer, settled) = mpsc::channel();
        tell.send(Message::Settle(Instant::now() + Duration::from_secs(3600), answer)).unwrap();
        let notice = notices.recv().unwrap();
        assert!(settled.try_recv().is_err(), "the report is not on disk");
        input(Input::Recorded(notice.about[0].outcome.clone()));
        settled.recv().unwrap();
        tell.send(Message::End).unwrap();
        thread.join().unwrap();
    }
}
