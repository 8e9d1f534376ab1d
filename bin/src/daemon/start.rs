//! Starting the daemon, running it, and ending it in order.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use smtpd_config::table::{Backend as Source, Table};
use smtpd_config::{Auth, Config, Listen};
use smtpd_engine::limits;
use smtpd_engine::reply::Reply;
use smtpd_engine::server::Report;
use smtpd_queue::backend::journal::Journal;
use smtpd_queue::backend::{Backend, Sides};
use smtpd_queue::budget::Budget;
use smtpd_queue::commit;
use smtpd_queue::delivery::{Batch, Kind};
use smtpd_queue::disk::{Disk, RealDisk};
use smtpd_queue::lock::Lock;
use smtpd_queue::maildir::Maildirs;
use smtpd_queue::request::{Accept, Refusal};
use smtpd_queue::scheduler::{Input, Scheduler};
use smtpd_reactor::dns::Settings;
use smtpd_reactor::tls::Handshake;
use smtpd_reactor::{ConnId, Inbox, Limits, Listener, Reactor};

use super::auth::Desk;
use super::auth::system::{Here, System, There};
use super::bounces::{self, Bouncer};
use super::clock::wall;
use super::committer;
use super::deliver::Worker;
use super::importing::{Importing, Means};
use super::intake::{Gate, Intake};
use super::machine::Machine;
use super::messages::{Asker, Errand, Message, Order, Request};
use super::operator::Commands;
use super::outside::Lookups;
use super::pool::Pool;
use super::reading::Reading;
use super::relay::trust::Trust;
use super::renewal::Renewal;
use super::scheduling::{self, Outlets};
use super::sessions::{Channels, Sessions};
use super::sockets::{self, system_text};
use super::spooler::{self, Spooler};
use super::tls::Certificates;
use super::users::Remembered;
use super::watched::Watched;
use super::{bounds, destination, lookup, relay, renewal, replies, resolving, threads, tls};
use crate::control::Certificate;
use crate::control::server::Socket;
use crate::keys;
use crate::log;
use crate::log::life;
use crate::log::topic::Topic;
use crate::options::{Mode, Options};
use crate::sys::{self, Signal, Signals};

/// Sessions at once, if the limit on open files allows it.
const SESSIONS: usize = 50_000;

/// Descriptors that are not for sessions: listeners, queue and Maildir files, the index, the log,
/// the control socket's users.
const OTHER_FILES: u64 = 512;

/// Threads that ask table processes: one for each table, up to as many.
const SLOW_LOOKUPS: usize = 8;

/// How long the end waits for the index to be closed; the next start builds it anew otherwise.
const CLOSING: Duration = Duration::from_secs(10);

/// Starts the daemon and runs it to its end.
///
/// # Errors
/// What kept it from starting, in words for an administrator.
pub fn daemon(options: &Options, config: Config, machine: &Machine) -> Result<(), String> {
    let config = Arc::new(config);
    // A core would hold passwords and private keys. Lowering a limit is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let user = daemon_user(&config)?;
    // First of all: it must have nothing of what the daemon opens.
    let system_users = system_users(&config, user.is_some())?;
    let queue = absolute(&config.queue.directory);
    let lock = Lock::take(&queue).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("another smtpd is running on the queue in {}", queue.display())
        }
        _ => system_text(&error),
    })?;
    let codec = keys::codec(&config)?;
    // What is traced must be told; else what the log has a line for.
    let traced = options.topics.contains(Topic::Smtp);
    let report = if traced { Report::All } else { Report::Failures };
    let listeners = bind(&config, machine, report)?;
    let control = Socket::bind(&config.control_socket).map_err(|error| system_text(&error))?;
    let mut watched: Vec<_> = Certificates::files(&config).map(Watched::new).collect();
    watched.iter_mut().for_each(Watched::look);
    let certificates = Certificates::read(&config)?;
    let tls = tls::Current::new(&config, &certificates)?;
    let trust = Trust::new(&config, &certificates)?;
    let certificates = (watched, certificates.in_use());
    let mut names = resolving::Source::new(&config);
    let names = (names.read()?, names);
    if let Some(user) = user {
        drop_privileges(&user, &lock, &queue)?;
    }
    let sessions = session_limits(&config);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let opening = commit::Options { codec, ..commit::Options::new(random()) };
    let journal = Journal { disk: disk.clone(), dir: queue.clone(), options: opening };
    let sides = journal.open().map_err(|error| format!("queue: {}", system_text(&error)))?;
    let signals = Signals::block().map_err(|error| format!("signals: {error}"))?;
    if options.mode == Mode::Daemon {
        sys::daemonise().map_err(|error| format!("daemon: {error}"))?;
    }
    let log = log::start(destination(options.mode), options.verbose, options.topics)
        .map_err(|error| format!("log: {error}"))?;
    life::starting();
    let (tls, relay) = ((tls, certificates), (trust, names));
    let parts = Parts {
        config,
        directory: queue,
        disk,
        sides,
        listeners,
        tls,
        control,
        sessions,
        system_users,
        relay,
    };
    let running = parts.start(options).map_err(|error| {
        let text = format!("start: {}", system_text(&error));
        ::log::error!("fatal: {text}");
        text
    })?;
    wait(&signals, &running.renewal);
    let failed = running.failed.clone();
    running.stop();
    life::exiting();
    drop((lock, log));
    // Whoever watches over the daemon is to start it again.
    match failed.get() {
        Some(what) => Err(format!("the {what} has failed")),
        None => Ok(()),
    }
}

/// Waits for the signal to end.
fn wait(signals: &Signals, renewal: &Renewal) {
    while signals.wait() == Signal::Reload {
        renewal.renew();
        ::log::warn!("warn: a configuration is not reloaded yet: restart smtpd to have it read");
    }
}

/// Whom a process started by root becomes; `None` when there is nothing to change.
fn daemon_user(config: &Config) -> Result<Option<sys::User>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let name = &config.daemon_user;
    match sys::user_by_name(name) {
        Ok(Some(user)) if user.uid == 0 => Ok(None),
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(format!(
            "unknown user {name}: create it, or name another by \"daemon user\" in the configuration"
        )),
        Err(error) => Err(format!("user {name}: {error}")),
    }
}

/// Who knows passwords of system users, which a daemon that will not be root any more must ask of
/// another process; none where nobody can authenticate.
fn system_users(config: &Config, will_drop: bool) -> Result<Option<Arc<dyn System>>, String> {
    let of_system =
        |listen: &Listen| matches!(listen.auth, Auth::Optional(None) | Auth::Require(None));
    if config.listeners.iter().all(|listen| listen.auth == Auth::Never) {
        return Ok(None);
    }
    if will_drop && config.listeners.iter().any(of_system) {
        let there = There::start().map_err(|error| format!("system users: {error}"))?;
        return Ok(Some(Arc::new(there)));
    }
    Ok(Some(Arc::new(Here)))
}

/// Gives the queue to the daemon's user and becomes that user for good.
fn drop_privileges(user: &sys::User, lock: &Lock, queue: &Path) -> Result<(), String> {
    lock.give_to(user.uid, user.gid).map_err(|error| system_text(&error))?;
    // Made by a daemon of another user. Not given away here: what is inside may be links.
    if let Ok(journal) = fs::symlink_metadata(queue.join("journal"))
        && journal.uid() != user.uid
    {
        let (queue, user) = (queue.display(), &user.name);
        return Err(format!("the queue is not {user}'s: run \"chown -RP {user} {queue}\""));
    }
    sys::become_user(user).map_err(|error| format!("cannot become {}: {error}", user.name))
}

/// The daemon's directory may be left later; what it uses must not move with it.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Binds every listener of the configuration, each address once; with the number of its line.
fn bind(
    config: &Config,
    machine: &Machine,
    report: Report,
) -> Result<Vec<(usize, Gate, Listener)>, String> {
    let mut bound = Vec::new();
    for (line, listen) in config.listeners.iter().enumerate() {
        let addresses = listen.addresses(config, machine).map_err(|error| error.to_string())?;
        for address in addresses {
            let listener = sockets::listen_on(address).and_then(Listener::tcp);
            let listener = listener.map_err(|error| format!("{}: {error}", listen.position))?;
            bound.push((line, Gate::new(config, listen, report), listener));
        }
    }
    Ok(bound)
}

/// As many sessions as the system allows descriptors for, up to a bound of ours.
fn session_limits(config: &Config) -> Limits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Not being allowed to is no misfortune: then there are fewer sessions.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Large messages on their way in take a file beside their socket, but not all at once.
    let others = OTHER_FILES.max(files / 8);
    let sessions = files.saturating_sub(others).max(files / 2).min(SESSIONS as u64);
    Limits {
        sessions: usize::try_from(sessions).unwrap_or(SESSIONS),
        sessions_per_source: config.smtp.max_conn_per_src,
        ..Limits::default()
    }
}

/// A random number; std seeds its hash maps with the system's randomness.
fn random() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

/// All there is before the first thread starts.
struct Parts {
    config: Arc<Config>,
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    sides: Sides<Asker<ConnId>>,
    listeners: Vec<(usize, Gate, Listener)>,
    /// How TLS is spoken there, and the certificates: their files, and when they end.
    tls: (tls::Current, (Vec<Watched>, Vec<Certificate>)),
    control: Socket,
    sessions: Limits,
    /// Who knows passwords of system users; none where nobody can authenticate.
    system_users: Option<Arc<dyn System>>,
    /// Whom the relay trusts, and how it resolves names.
    relay: (Trust, (Settings, resolving::Source)),
}

/// What it is that has failed, so that the daemon cannot go on.
type Failed = Arc<OnceLock<&'static str>>;

/// Ends the daemon for a reason that the log tells.
fn give_up(what: &'static str, error: &io::Error, failed: &Failed) {
    ::log::error!("fatal: {what}: {}", system_text(error));
    let _ = failed.set(what);
    sys::ask_to_stop();
}

/// The daemon's threads.
struct Running {
    control: crate::control::server::Server,
    reactor: (smtpd_reactor::Sender, JoinHandle<()>),
    /// What has ended by itself.
    failed: Failed,
    relay: relay::start::Running,
    renewal: Renewal,
    scheduler: (mpsc::Sender<Message>, JoinHandle<()>),
    commit: (mpsc::Sender<Order>, JoinHandle<()>),
    store: (mpsc::Sender<Errand>, JoinHandle<()>),
    /// Which have programs of their own.
    lookups: Lookups,
}

impl Parts {
    fn start(self, options: &Options) -> io::Result<Running> {
        let Parts {
            config,
            directory,
            disk,
            sides,
            listeners,
            tls,
            control,
            sessions,
            system_users,
            relay,
        } = self;
        let ((tls, (files, in_use)), (trust, names)) = (tls, relay);
        let lines = listeners.iter().map(|(line, ..)| *line).collect();
        let (gates, listeners): (Vec<_>, Vec<_>) =
            listeners.into_iter().map(|(_, gate, listener)| (gate, listener)).unzip();
        let Sides { commit, leases, reader, contents, ids, epoch, helper } = sides;
        let inbox = Inbox::new()?;
        let reactor = inbox.sender();
        let (to_commit, orders) = mpsc::channel();
        let (to_scheduler, messages) = mpsc::channel();
        let (to_store, errands) = mpsc::channel();
        let pressed = Arc::new(AtomicBool::new(false));
        let failed = Failed::default();

        // The queue.
        let content = Content { reactor: reactor.clone(), commit: to_commit.clone() };
        let (spooler, _) = Spooler::start(&contents, &content)?;
        let committed = committer::Listeners {
            reactor: reactor.clone(),
            scheduler: to_scheduler.clone(),
            store: to_store.clone(),
            spooler: spooler.clone(),
            pressed: pressed.clone(),
        };
        let commit = committer::start(commit, helper, orders, committed)?;

        // Delivery.
        let memory = Remembered::default();
        let users = Lookups::new(memory.clone());
        let bounds = bounds::options(&config);
        let mut schedule = Scheduler::new(bounds, reader.destinations(), epoch);
        for system in &options.paused {
            match system {
                crate::control::System::Mda => schedule.pause(Kind::Mda),
                crate::control::System::Mta => schedule.pause(Kind::Mta),
                crate::control::System::Smtp => continue,
            };
        }
        let uid = geteuid().as_raw();
        let workers = (0..bounds.mda.batches).map(|_| {
            let maildirs = Maildirs::new(disk.clone(), reader.clone(), &config.host.name);
            let mut worker = Worker::new(config.clone(), users.clone(), maildirs, uid);
            let scheduler = to_scheduler.clone();
            move |batch: Batch| {
                let (report, jobs) = worker.deliver(&batch, wall);
                // At the end there may be nobody left to be told.
                let _ = scheduler.send(Message::Inputs(vec![Input::Finished(report)]));
                if !jobs.is_empty() {
                    let batch = Batch { kind: Kind::Mta, jobs, ..batch };
                    let _ = scheduler.send(Message::Deliver(batch));
                }
            }
        });
        let pool = Pool::start("deliver", workers)?;
        // What the relay asks of the system was read before privileges were dropped.
        let relay = relay::start::Parts {
            config: config.clone(),
            trust,
            names,
            outside: users.clone(),
            memory: memory.clone(),
            reader: reader.clone(),
            scheduler: to_scheduler.clone(),
            sessions: reactor.clone(),
            random,
        };
        let has_failed = failed.clone();
        let (entrance, relay) = relay.start(move |error| give_up("relay", error, &has_failed))?;
        let preparers = entrance.preparers();
        let renew = renewal::renew(config.clone(), tls.clone(), relay.sender());
        let renewal = Renewal::start(files, in_use, renew)?;
        schedule.warn_at(config.bounce_warn.clone());
        schedule.own_addresses(config.host.addresses.clone());
        let (to_bounces, notices) = mpsc::channel();
        let own = (reader.clone(), ids.clone(), Budget::new(bounces::MEMORY));
        let bouncer = Bouncer::new(config.clone(), users.clone(), own);
        bounces::start(bouncer, notices, to_commit.clone(), to_scheduler.clone())?;
        let outlets = Outlets {
            workers: pool,
            relay: Box::new(move |batch| entrance.take(batch)),
            commit: to_commit.clone(),
            store: to_store.clone(),
            bounces: to_bounces,
            pressed,
        };
        let scheduler = scheduling::start(schedule, messages, outlets)?;

        // Sessions.
        let lookup = {
            let reactor = reactor.clone();
            let is_slow = |table: &&Table| matches!(table.backend, Source::Process { .. });
            let slow = config.tables.iter().filter(is_slow).count().min(SLOW_LOOKUPS);
            let answer = move |conn, ticket, reply: Reply<'static>| {
                reactor.answer(conn, ticket, reply.into());
            };
            lookup::start((users.quick(), users.clone()), slow, answer)?
        };
        let importing = Means {
            config: config.clone(),
            outside: users.clone(),
            reader: reader.clone(),
            lease: epoch,
            ids: ids.clone(),
            spooler: spooler.clone(),
            commit: to_commit.clone(),
            directory,
        };
        let has_failed = failed.clone();
        let auth = system_users.map(|system_users| {
            system_users.when_gone(Box::new(move |error| give_up("auth", error, &has_failed)));
            let reactor = reactor.clone();
            let answer = move |conn, ticket, reply: Reply<'static>| {
                reactor.answer(conn, ticket, reply.into());
            };
            Desk::start(users.clone(), system_users, answer)
        });
        let channels = Channels {
            auth: auth.transpose()?,
            commit: to_commit.clone(),
            whole: Vec::new(),
            spooler,
            lookup,
            preparers,
            resolver: relay.sender(),
            clients: Vec::new(),
        };
        let budget = Budget::new(limits::CONTENT_MEMORY);
        let seed = random() as u64;
        let intake = Intake::new(config, gates, (ids, budget), memory, seed, channels);
        let handshakes = {
            let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
            let worker = || {
                let reactor = reactor.clone();
                move |work: Handshake| reactor.computed(work.run())
            };
            Pool::start("handshake", (0..threads).map(|_| worker()))?
        };
        let sessions_of = Sessions::new(intake, handshakes, (tls, lines));
        let tls = sessions_of.counts();
        let serving = Reactor::new(inbox, listeners, sessions, sessions_of)?;
        let stats = serving.stats();
        let smtp_paused = options.paused.contains(&crate::control::System::Smtp);
        if smtp_paused {
            reactor.pause(true);
        }
        let has_failed = failed.clone();
        let serve = threads::start("reactor", move || {
            if let Err(error) = serving.run() {
                give_up("reactor", &error, &has_failed);
            }
        })?;
        // Last, as reading the journal takes the processor from the first peers.
        let has_failed = failed.clone();
        let open_leases =
            move || leases().map_err(|error| give_up("queue", &error, &has_failed)).ok();
        let store = scheduling::start_store(open_leases, errands, to_scheduler.clone())?;

        let control = control.serve(Box::new(Commands {
            scheduler: to_scheduler.clone(),
            store: to_store.clone(),
            reactor: reactor.clone(),
            relay: relay.sender(),
            renewal: renewal.clone(),
            smtp_paused: Arc::new(AtomicBool::new(smtp_paused)),
            stats,
            tls,
            importing: Importing::new(importing),
            reading: Reading::new(reader),
            start: Instant::now(),
        }))?;
        Ok(Running {
            control,
            reactor: (reactor, serve),
            failed,
            relay,
            renewal,
            scheduler: (to_scheduler, scheduler),
            commit: (to_commit, commit),
            store: (to_store, store),
            lookups: users,
        })
    }
}

impl Running {
    fn stop(self) {
        let Running { control, reactor, relay, scheduler, commit, store, lookups, .. } = self;
        drop(control);
        reactor.0.stop();
        let _ = reactor.1.join();
        relay.warn();
        let settle = |message: fn(Instant, mpsc::Sender<()>) -> Message, time| {
            let (answer, settled) = mpsc::channel();
            let _ = scheduler.0.send(message(Instant::now() + time, answer));
            let _ = settled.recv();
        };
        settle(Message::Stop, scheduling::LAST_ATTEMPTS);
        relay.stop();
        // What the relay has told last must be on disk before the commit thread ends, if only with
        // the report about it: mail that was taken would be sent again.
        settle(Message::Settle, scheduling::LAST_OUTCOMES);
        let (answer, synced) = mpsc::channel();
        let _ = commit.0.send(Order::Stop(answer));
        let _ = commit.1.join();
        // Only now: what the commit thread took last must be known to the scheduler, or the index
        // would be closed without it and trusted by the next start.
        let _ = scheduler.0.send(Message::End);
        let _ = scheduler.1.join();
        lookups.end();
        let Ok(sequence) = synced.try_recv() else { return };
        let _ = store.0.send(Errand::Close(sequence));
        let end = Instant::now() + CLOSING;
        while !store.1.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the content writers tell.
#[derive(Clone)]
struct Content {
    reactor: smtpd_reactor::Sender,
    commit: mpsc::Sender<Order>,
}

impl spooler::Listener<ConnId> for Content {
    fn resume(&self, conn: ConnId) {
        self.reactor.resume(conn);
    }

    fn commit(&self, accept: Accept<Asker<ConnId>>) {
        // The commit thread outlives the reactor, and so all whose answer it owes.
        let _ = self.commit.send(Order::Requests(vec![Request::Accept(accept)]));
    }

    fn refuse(&self, asker: Asker<ConnId>, why: Refusal) {
        match asker {
            Asker::Peer(waiting) => {
                let reply = replies::refused(why);
                self.reactor.answer(waiting.conn, waiting.ticket, reply.into());
            }
            Asker::Tool(answer) => {
                // Whoever asked may have given up waiting.
                let _ = answer.send(Err(why));
            }
            Asker::Report(_) => unreachable!("reports are in memory"),
        }
    }
}
