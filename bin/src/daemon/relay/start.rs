//! The relay's threads: preparers, readers of content, and the reactor with the connections.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use smtpd_config::Config;
use smtpd_queue::backend::Reads;
use smtpd_queue::budget::Budget;
use smtpd_queue::delivery::{Batch, Kind};
use smtpd_queue::scheduler::Input;
use smtpd_reactor::calls::{Inbox, Limits, Reactor, Sender};
use smtpd_reactor::dns::{Settings, Sockets};

use super::caller::{Message, Reading, Shell};
use super::clients::Clients;
use super::prepare::{Prepared, Preparer, Soon};
use super::trust::Trust;
use super::{Bounds, Relay};
use crate::daemon::bounds;
use crate::daemon::clock::wall;
use crate::daemon::messages;
use crate::daemon::outside::Lookups;
use crate::daemon::pool::Pool;
use crate::daemon::resolving;
use crate::daemon::threads;
use crate::daemon::users::Remembered;

/// Threads that prepare batches: what waits for a table or the disk must not hold up the others.
const PREPARERS: usize = 8;

/// Threads that read content.
const READERS: usize = 4;

/// Octets of messages that preparers have read whole; what finds no room is read in pieces.
const MEMORY: usize = 32 << 20;

/// Of the envelopes that are being relayed, one in so many may wait for a way that leads nowhere now:
/// few enough not to be in the way of the others.
const HELD: usize = 3;

/// How long a stop waits for mails under way: the scheduler has waited for them already.
const GRACE: Duration = Duration::from_secs(2);

/// What preparers do.
pub enum Work {
    /// Prepare these.
    Batch(Batch),
    /// A message is about to come: have a connection opened for it.
    Soon(Soon),
}

/// The way of batches into the relay.
pub struct Entrance {
    preparers: Arc<Pool<Work>>,
    /// Prepares what takes no waiting, on the thread that has it: a new message then reaches its
    /// connection one thread sooner.
    here: Preparer<Remembered>,
    relay: Sender<Message>,
}

impl Entrance {
    /// Has a batch relayed. This never waits.
    pub fn take(&self, batch: Batch) {
        match self.here.at_once(&batch, wall()) {
            Some(tasks) => self.relay.send(Message::Tasks(tasks)),
            None => self.preparers.push(Work::Batch(batch)),
        }
    }

    /// Those who prepare what may have to wait.
    pub fn preparers(&self) -> Arc<Pool<Work>> {
        self.preparers.clone()
    }
}

/// What the relay is made of.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Whom it trusts.
    pub trust: Trust,
    /// How names are resolved, and where that is written.
    pub names: (Settings, resolving::Source),
    /// Tables.
    pub outside: Lookups,
    /// What is known of them without waiting.
    pub memory: Remembered,
    /// Reads content.
    pub reader: Arc<dyn Reads>,
    /// Hears what comes of everything.
    pub scheduler: mpsc::Sender<messages::Message>,
    /// The receiving sessions, whose clients have names.
    pub sessions: smtpd_reactor::Sender,
    /// For whatever has to look random.
    pub random: fn() -> u128,
}

/// The relay's reactor.
pub struct Running {
    sender: Sender<Message>,
    thread: JoinHandle<()>,
    _watch: resolving::Watch,
}

impl Running {
    /// The way to ask it.
    pub fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// Says that the process is about to end: what only waits there is given back to the queue.
    pub fn warn(&self) {
        self.sender.send(Message::Ending);
    }

    /// Ends it: connections say QUIT.
    pub fn stop(self) {
        self.sender.stop();
        // A panic has been logged.
        let _ = self.thread.join();
    }
}

impl Parts {
    /// Starts the threads. `failed` is called when the reactor cannot go on.
    ///
    /// # Errors
    /// What the system denies.
    pub fn start(
        self,
        failed: impl FnOnce(&io::Error) + Send + 'static,
    ) -> io::Result<(Entrance, Running)> {
        let Parts { config, trust, names, outside, memory, reader, scheduler, sessions, random } =
            self;
        let inbox = Inbox::new()?;
        let sender = inbox.sender();
        let readers = (0..READERS).map(|_| {
            let (reader, relay) = (reader.clone(), sender.clone());
            move |(feed, conn): Reading| {
                feed.fill(&*reader);
                relay.resume(conn);
            }
        });
        let readers = Pool::start("content", readers)?;
        let budget = Budget::new(MEMORY);
        let here = Preparer::new(config.clone(), memory, reader.clone(), budget.clone());
        let preparers = (0..PREPARERS).map(|_| {
            let (outside, reader) = (outside.clone(), reader.clone());
            let preparer = Preparer::new(config.clone(), outside, reader, budget.clone());
            let (relay, scheduler) = (sender.clone(), scheduler.clone());
            move |work: Work| {
                let batch = match work {
                    Work::Batch(batch) => batch,
                    Work::Soon(soon) => {
                        if let Some(hop) = preparer.soon(&soon) {
                            relay.send(Message::Soon(hop));
                        }
                        return;
                    }
                };
                let Prepared { tasks, report, local } = preparer.prepare(&batch, wall());
                if !tasks.is_empty() {
                    relay.send(Message::Tasks(tasks));
                }
                // At the end there may be nobody left to be told.
                if !report.attempts.is_empty() {
                    let inputs = vec![Input::Finished(report)];
                    let _ = scheduler.send(messages::Message::Inputs(inputs));
                }
                if !local.is_empty() {
                    let batch = Batch { kind: Kind::Mda, jobs: local, ..batch };
                    let _ = scheduler.send(messages::Message::Deliver(batch));
                }
            }
        });
        let preparers = Arc::new(Pool::start("prepare", preparers)?);
        let entrance = Entrance { preparers, here, relay: sender.clone() };
        let limits = Limits { grace: GRACE, ..Limits::default() };
        let bounds = Bounds {
            deferred: config.mta.max_deferred as usize,
            held: bounds::options(&config).share() / HELD,
            connections: limits.connections,
        };
        let relay = Relay::new(random() as u64, bounds);
        let shell = Shell::new(relay, trust, scheduler, readers, Clients::new(sessions));
        let (settings, written) = names;
        let names = Sockets::new(settings, Box::new(move || random() as u16));
        let relay = sender.clone();
        let watch = resolving::watch(written, move |names| relay.send(Message::Names(names)))?;
        let reactor = Reactor::new(inbox, limits, names, shell);
        let thread = threads::start("relay", move || {
            if let Err(error) = reactor.run() {
                failed(&error);
            }
        })?;
        Ok((entrance, Running { sender, thread, _watch: watch }))
    }
}
