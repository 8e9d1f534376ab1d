//! Relaying: which connections are opened to which servers, which message goes over which of
//! them, and what an attempt comes to.
//!
//! [`Relay`] is a value. Tasks, answers of the DNS and what connections tell go in; what is to be
//! connected, asked and reported comes out of [`Relay::turn`]. It neither reads nor waits: what may
//! take time, as looking up a table or reading content, is done before by the preparers
//! (`prepare`), or beside it. A small batch that needs none of that is prepared by the scheduler's
//! thread.
//!
//! ```text
//!  scheduler --batch--> preparers --tasks--> Relay --connect, ask--> reactor
//!      ^                                      | ^                       |
//!      +------------- reports ----------------+ +--- ready, told, closed, answers
//! ```
//!
//! What it promises:
//!
//! * Every envelope of a task is reported once, as soon as its outcome is known.
//! * A task that meets an address which does not serve it goes to the next one at once, and to no
//!   address twice; what it comes to in the end is what the last one said.
//! * When no way leads anywhere for the moment, as many tasks as are bounded wait for up to a minute
//!   for one to be tried again; the others fail for now.
//! * A message is handed to a connection that waits, before one is opened.
//! * A connection that waits ends when a message of another hop needs its place.
//! * A place that is free goes to the hop that has waited for one longest.
//! * After the final dot nothing is sent again in the same attempt: it may have been taken.
//!
//! | file | holds |
//! |---|---|
//! | `task` | messages and next hops |
//! | `names` | from a hop to addresses |
//! | `route` | the tasks and connections of one hop |
//! | `opening` | which connections are opened, and what waits for one |
//! | `room` | idle connections give way |
//! | `session` | one connection |
//! | `blocks` | ways to servers, and which of them lead nowhere |
//! | `tally` | connections counted by what they have in common |
//! | `rates` | messages counted by minute and hour |
//! | `pace` | how many connections, how fast |
//! | `show`, `title`, `hoststats` | what smtpctl shows |
//! | `prepare` | from a batch to tasks |
//! | `content` | the octets of a message, lent or read in pieces |
//! | `clients` | names of clients of the receiving side, by the same resolver |
//! | `caller`, `start` | the shell: the relay's reactor and its threads |
//! | `trust` | whose certificates are believed |
//! | `told` | from the engine's events to what the relay decides by |

pub mod blocks;
mod caller;
mod clients;
pub mod content;
mod hoststats;
pub mod names;
mod opening;
pub mod pace;
pub mod prepare;
mod rates;
mod room;
mod route;
mod session;
mod show;
pub(super) mod start;
pub mod tally;
pub mod task;
#[cfg(test)]
mod tests;
mod title;
pub mod told;
pub(super) mod trust;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smtpd_config::route::HopTls;
use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure, Report};
use smtpd_queue::id::EnvelopeId;
use smtpd_queue::lanes::BatchId;
use smtpd_queue::scheduler::Clock;

use blocks::Blocks;
use hoststats::HostStats;
use names::{About, Answer, Question};
use rates::Rates;
use route::{Route, RouteId};
use session::Session;
use tally::Tallies;
use task::{Attempts, Hop, Key, Server, Task, Way};

pub use caller::Message;
pub use session::{Again, End, Next, Offers, Told, Trouble, Whom};
pub use show::Item;

/// The number of an outgoing session, as it stands in the log.
pub type SessionId = u64;

/// The number of a question.
pub type QuestionId = u64;

/// Next hops remembered while nothing is to be done for them.
const ROUTES: usize = 10_000;

/// Something to be done.
#[derive(Debug)]
pub enum Output {
    /// Open a connection; it ends with [`Relay::closed`].
    Connect(Connect),
    /// Ask the DNS, and answer with [`Relay::answered`].
    Ask(QuestionId, Question),
    /// Ask [`Relay::ready`] for this idle session.
    Resume(SessionId),
    /// Tell the scheduler.
    Report(Report),
    /// These failed because nobody answered, and now somebody has: they are to be tried at once.
    Schedule(Vec<EnvelopeId>),
}

/// A connection to be opened.
#[derive(Debug)]
pub struct Connect {
    /// Its number.
    pub session: SessionId,
    /// Where to.
    pub address: SocketAddr,
    /// From which address of this machine, if that matters.
    pub source: Option<IpAddr>,
    /// The name of the server.
    pub host: Arc<str>,
    /// The name given with EHLO.
    pub helo: String,
    /// TLS towards it.
    pub tls: HopTls,
    /// Which server of the hop it is, if those are named.
    pub server: Option<usize>,
    /// The hop.
    pub hop: Arc<Hop>,
}

impl Connect {
    /// The server, if the configuration names it.
    #[must_use]
    pub fn named(&self) -> Option<&Server> {
        match (&self.hop.way, self.server) {
            (Way::Servers(servers), Some(nth)) => servers.get(nth),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Relay {
    routes: HashMap<RouteId, Route>,
    by_key: HashMap<Key, RouteId>,
    next_route: RouteId,
    sessions: HashMap<SessionId, Session>,
    next_session: SessionId,
    tallies: Tallies,
    rates: Rates,
    blocks: Blocks,
    stats: HostStats,
    /// Until when this machine has no room for connections, and what it says.
    no_room: Option<(Time, Failure)>,
    /// Tasks that wait for a way that leads nowhere now, by their routes.
    held: BTreeMap<RouteId, usize>,
    /// Which route asks, in which of its rounds, and what about.
    questions: HashMap<QuestionId, (RouteId, u64, About)>,
    next_question: QuestionId,
    /// Routes that something has happened to.
    touched: BTreeSet<RouteId>,
    /// Routes that may go on when some connection has ended.
    busy: room::Queue,
    /// Those of them that look for room now, by how long they have waited.
    called: BTreeSet<(u64, RouteId)>,
    /// The last place that was given to a route that waits for room.
    tickets: u64,
    /// Routes that may go on at a time.
    alarms: BTreeSet<(Time, RouteId)>,
    reports: BTreeMap<BatchId, Attempts>,
    outputs: Vec<Output>,
    random: u64,
    bounds: Bounds,
    /// The process is about to end: nothing waits for better times.
    is_ending: bool,
    /// The process ends: nothing is begun any more.
    is_stopping: bool,
}

/// What the whole relay is held to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Envelopes of a hop that does not answer which are tried again as soon as it does.
    pub deferred: usize,
    /// Tasks that wait for ways that lead nowhere now.
    pub held: usize,
    /// Connections at once.
    pub connections: usize,
}

impl Relay {
    /// A relay without anything to do. `seed` makes session numbers and the order of equal hosts
    /// differ from those of other processes.
    #[must_use]
    pub fn new(seed: u64, bounds: Bounds) -> Relay {
        Relay {
            routes: HashMap::new(),
            by_key: HashMap::new(),
            next_route: 1,
            sessions: HashMap::new(),
            next_session: seed,
            tallies: Tallies::default(),
            rates: Rates::default(),
            blocks: Blocks::default(),
            stats: HostStats::default(),
            no_room: None,
            held: BTreeMap::new(),
            questions: HashMap::new(),
            next_question: 0,
            touched: BTreeSet::new(),
            busy: room::Queue::default(),
            called: BTreeSet::new(),
            tickets: 0,
            alarms: BTreeSet::new(),
            reports: BTreeMap::new(),
            outputs: Vec::new(),
            random: seed | 1,
            bounds,
            is_ending: false,
            is_stopping: false,
        }
    }

    /// A message is to be relayed. It counts by the hop of today: what the last task says of the
    /// hop holds for all of its key.
    pub fn take(&mut self, task: Task) {
        let id = match self.by_key.get(&task.hop.key) {
            Some(id) => *id,
            None => self.add_route(&task.hop),
        };
        if let Some(route) = self.routes.get_mut(&id) {
            route.push(task);
            self.touched.insert(id);
        }
    }

    fn add_route(&mut self, hop: &Arc<Hop>) -> RouteId {
        if self.routes.len() >= ROUTES {
            let idle = self.routes.iter().filter(|(_, route)| route.is_idle());
            let idle: Vec<_> = idle.map(|(id, route)| (*id, route.hop.key.clone())).collect();
            for (id, key) in idle {
                self.routes.remove(&id);
                self.by_key.remove(&key);
            }
        }
        let id = self.next_route;
        self.next_route += 1;
        self.by_key.insert(hop.key.clone(), id);
        self.routes.insert(id, Route::new(Arc::clone(hop)));
        id
    }

    /// The process is about to end: what waits for better times fails for now.
    pub fn end(&mut self) {
        self.is_ending = true;
        let waiting = self.routes.iter().filter(|(_, route)| !route.waiting.is_empty());
        self.touched.extend(waiting.map(|(id, _)| *id));
    }

    /// The DNS has answered.
    pub fn answered(&mut self, question: QuestionId, answer: &Answer) {
        let Some((id, round, about)) = self.questions.remove(&question) else { return };
        let Some(route) = self.routes.get_mut(&id) else { return };
        let mut ask = Vec::new();
        let random = &mut self.random;
        route.answered(round, about, answer, &mut || next_random(random), &mut ask);
        self.ask(id, ask);
        self.touched.insert(id);
    }

    fn ask(&mut self, id: RouteId, ask: Vec<(About, Question)>) {
        let Some(round) = self.routes.get(&id).map(|route| route.round) else { return };
        for (about, question) in ask {
            let number = self.next_question;
            self.next_question += 1;
            self.questions.insert(number, (id, round, about));
            self.outputs.push(Output::Ask(number, question));
        }
    }

    /// Adds to `outputs` what is to be done now. Reports come first: what is to be scheduled may
    /// have failed in the same turn.
    pub fn turn(&mut self, now: Clock, outputs: &mut Vec<Output>) {
        while let Some((at, id)) = self.alarms.first().copied()
            && at <= now.mono
        {
            self.alarms.remove(&(at, id));
            self.touched.insert(id);
        }
        while let Some((_, id)) = self.called.pop_first() {
            self.touched.remove(&id);
            self.advance(id, now);
        }
        while let Some(id) = self.touched.pop_first() {
            self.advance(id, now);
        }
        let reports = std::mem::take(&mut self.reports);
        let report = |(batch, attempts)| Output::Report(Report { batch, attempts });
        outputs.extend(reports.into_iter().map(report));
        outputs.append(&mut self.outputs);
    }

    /// When [`Relay::turn`] is to be called if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The outcome of one envelope.
    fn report(&mut self, batch: BatchId, id: EnvelopeId, attempt: Attempt) {
        self.reports.entry(batch).or_default().push((id, attempt));
    }
}

/// The next number of a xorshift sequence.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A failure for now of something that is neither a recipient nor a server.
fn later(text: &str) -> Failure {
    names::failure((4, 3, 0), text)
}
