//! The tasks and the connections of one next hop.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smtpd_config::route::HopTls;
use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure};
use smtpd_queue::id::EnvelopeId;
use smtpd_queue::scheduler::Clock;

use super::blocks::Path;
use super::names::{About, Answer, Names, Question, failure};
use super::session::{Session, State, Whom};
use super::task::{Hop, Recipient, Task};
use super::{Connect, Output, Relay};
use crate::log::relay as line;

/// The number of a route.
pub(super) type RouteId = u64;

/// For how long the addresses of a hop are used for new connections without being asked for anew.
/// The resolver remembers them for as long as it may.
const NAMES: Duration = Duration::from_secs(30);

/// Connections that a hop gets before one has been ready.
const FIRST: usize = 2;

/// A task, and how it went so far.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) task: Task,
    /// Which recipients have no outcome.
    open: Vec<bool>,
    /// Addresses that it is not tried at again.
    pub(super) tried: Vec<SocketAddr>,
    /// How many connections were found dead.
    pub(super) stale: u32,
    /// What the last address said.
    pub(super) why: Option<Failure>,
}

impl Try {
    fn new(task: Task) -> Try {
        let open = vec![true; task.recipients.len()];
        Try { task, open, tried: Vec::new(), stale: 0, why: None }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.open.contains(&true)
    }

    /// Takes those out that get an outcome now.
    pub(super) fn settle(&mut self, whom: Whom) -> Vec<Recipient> {
        let is_meant = |nth: &usize| matches!(whom, Whom::Rest) || whom == Whom::One(*nth);
        let all = 0..self.open.len();
        let meant = all.filter(is_meant).filter(|nth| std::mem::take(&mut self.open[*nth]));
        meant.map(|nth| self.task.recipients[nth].clone()).collect()
    }

    /// Forgets those that have an outcome.
    fn compact(&mut self) {
        let mut open = self.open.iter();
        self.task.recipients.retain(|_| open.next() == Some(&true));
        self.open = vec![true; self.task.recipients.len()];
    }

    /// Takes those recipients out that only a server with SMTPUTF8 can be given, if there are
    /// others that need not fail with them.
    pub(super) fn split_off_international(&mut self) -> Option<Try> {
        let is_ascii = |one: &Recipient| one.to.as_str().is_ascii();
        let (plain, others): (Vec<_>, Vec<_>) =
            self.task.recipients.iter().cloned().partition(is_ascii);
        if plain.is_empty() || others.is_empty() {
            return None;
        }
        let of = |recipients| Task { recipients, ..self.task.clone() };
        let (rest, this) = (Try::new(of(others)), Try::new(of(plain)));
        let rest = Try { tried: self.tried.clone(), why: self.why.clone(), ..rest };
        self.open.clone_from(&this.open);
        self.task = this.task;
        Some(rest)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) hop: Arc<Hop>,
    names: Option<Names>,
    /// When they were asked for.
    asked: Time,
    /// How often they were.
    pub(super) round: u64,
    waiting: VecDeque<Try>,
    pub(super) sessions: Vec<u64>,
    /// Sessions that wait for a task.
    pub(super) idle: usize,
    /// Some session has been ready.
    pub(super) is_proven: bool,
    /// How many connections it may have now.
    window: usize,
    /// When the next connection may be opened.
    next_connect: Time,
    /// Which source address is the next.
    turn: usize,
    /// Envelopes that failed because nobody answered.
    deferred: VecDeque<EnvelopeId>,
}

/// What a look for an address gave.
enum Pick {
    Address {
        host: usize,
        path: Path,
    },
    /// An answer of the DNS has to come before.
    Wait,
    /// A connection has to end before, perhaps one of another route.
    Busy,
    None(Attempt),
}

impl Route {
    pub(super) fn new(hop: Arc<Hop>) -> Route {
        Route {
            hop,
            names: None,
            asked: Time::default(),
            round: 0,
            waiting: VecDeque::new(),
            sessions: Vec::new(),
            idle: 0,
            is_proven: false,
            window: FIRST,
            next_connect: Time::default(),
            turn: 0,
            deferred: VecDeque::new(),
        }
    }

    /// Whether it can be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sessions.is_empty()
    }

    pub(super) fn push(&mut self, task: Task) {
        self.hop = Arc::clone(&task.hop);
        self.waiting.push_back(Try::new(task));
    }

    pub(super) fn push_front(&mut self, mut one: Try) {
        one.compact();
        self.waiting.push_front(one);
    }

    /// The next task that may be tried at this address.
    pub(super) fn next_for(&mut self, path: &Path) -> Option<Try> {
        let place = self.waiting.iter().position(|one| !one.tried.contains(&path.1))?;
        self.waiting.remove(place)
    }

    pub(super) fn answered(
        &mut self,
        round: u64,
        about: About,
        answer: &Answer,
        random: &mut dyn FnMut() -> u64,
        ask: &mut Vec<(About, Question)>,
    ) {
        if let Some(names) = self.names.as_mut().filter(|_| round == self.round) {
            names.answered(&self.hop, about, answer, random, ask);
        }
    }

    /// A message was taken. Gives those that were put off because nobody answered.
    pub(super) fn speed_up(&mut self) -> Vec<EnvelopeId> {
        self.window = (self.window + 1).min(self.hop.pace.connections);
        self.deferred.drain(..).collect()
    }

    /// A server has too much to do, or does not answer.
    pub(super) fn slow_down(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// How many connections it may have.
    fn most(&self) -> usize {
        let most = self.hop.pace.connections;
        match (self.hop.pace.careful, self.is_proven) {
            (true, _) => self.window.min(most),
            (false, true) => most,
            (false, false) => FIRST.min(most),
        }
    }
}

impl Relay {
    /// Does what is to be done for a route.
    pub(super) fn advance(&mut self, id: RouteId, now: Clock) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        if self.is_stopping || route.waiting.is_empty() {
            return;
        }
        let is_old = now.mono.saturating_since(route.asked) >= NAMES;
        if route.names.is_none() || (is_old && route.sessions.is_empty()) {
            let mut ask = Vec::new();
            route.names = Some(Names::new(&route.hop, &mut ask));
            (route.asked, route.round) = (now.mono, route.round + 1);
            self.ask(id, ask);
        }
        let coming = self.resume(id);
        self.connect(id, coming, now);
    }

    /// Hands tasks to sessions that wait; gives how many sessions are about to take one.
    fn resume(&mut self, id: RouteId) -> usize {
        let Some(route) = self.routes.get_mut(&id) else { return 0 };
        let state = |one: &u64| self.sessions.get(one).map(|session| session.state);
        let coming = |one: &&u64| state(one) == Some(State::Coming);
        let mut coming = route.sessions.iter().filter(coming).count();
        // Those that were busy last first: the others may come to their end unused.
        for session_id in route.sessions.iter().rev() {
            let Some(session) = self.sessions.get_mut(session_id) else { continue };
            if coming >= route.waiting.len() {
                break;
            }
            let fits = route.waiting.iter().any(|one| !one.tried.contains(&session.path.1));
            if let State::Idle(_) = session.state
                && fits
            {
                session.state = State::Coming;
                route.idle -= 1;
                coming += 1;
                self.outputs.push(Output::Resume(*session_id));
            }
        }
        coming
    }

    /// Opens connections for the tasks that no session is about to take, and ends those for which
    /// there is nobody.
    fn connect(&mut self, id: RouteId, mut place: usize, now: Clock) {
        loop {
            let Some(route) = self.routes.get(&id) else { return };
            let Some(one) = route.waiting.get(place) else { return };
            match self.pick(route, one, now.mono) {
                Pick::Wait => return,
                Pick::Busy => {
                    self.busy.insert(id);
                    return;
                }
                // Those that were tried somewhere come first, so the rest are in the same case,
                // however many they are.
                Pick::None(_) if self.serves(route, one) && one.tried.is_empty() => return,
                Pick::None(_) if self.serves(route, one) => place += 1,
                Pick::None(attempt) => {
                    let route = self.routes.get_mut(&id);
                    let Some(one) = route.and_then(|route| route.waiting.remove(place)) else {
                        return;
                    };
                    self.fail(one, &attempt, now);
                }
                Pick::Address { .. } if route.sessions.len() >= route.most() => return,
                Pick::Address { .. } if now.mono < route.next_connect => {
                    self.alarms.insert((route.next_connect, id));
                    return;
                }
                Pick::Address { host, path } => {
                    self.open(id, host, path, now);
                    place += 1;
                }
            }
        }
    }

    /// Whether some session may take the task yet.
    fn serves(&self, route: &Route, one: &Try) -> bool {
        route
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .any(|session| session.state != State::Ending && !one.tried.contains(&session.path.1))
    }

    /// Where a task may be tried next.
    fn pick(&self, route: &Route, one: &Try, now: Time) -> Pick {
        let (hop, Some(names)) = (&route.hop, &route.names) else { return Pick::Wait };
        if let Some(attempt) = names.failure() {
            return Pick::None(attempt.clone());
        }
        let mut why = one.why.clone();
        let usable = |_: usize, address: SocketAddr| {
            if one.tried.contains(&address) {
                return None;
            }
            let sources = sources(hop, address, route.turn);
            let mut free =
                sources.filter(|source| match self.blocks.why(&(*source, address), now) {
                    Some(blocked) => {
                        let text = format!("Network error on destination MXs: {}", blocked.text);
                        why.get_or_insert(Failure { status: blocked.status, text });
                        false
                    }
                    None => true,
                });
            let source = free.next()?;
            let many = self.connections.get(&address.ip()).copied().unwrap_or(0);
            Some((many >= hop.pace.per_address, many, source))
        };
        match names.first(hop.family, usable) {
            Ok((_, _, (true, ..))) => Pick::Busy,
            Err(true) => Pick::Wait,
            Ok((host, address, (false, _, source))) => {
                Pick::Address { host, path: (source, address) }
            }
            Err(false) => {
                let nowhere = "No valid route to destination";
                let why = why.unwrap_or_else(|| failure((4, 4, 4), nowhere));
                Pick::None(Attempt::Later(why))
            }
        }
    }

    fn open(&mut self, id: RouteId, host: usize, path: Path, now: Clock) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        let Some(host) = route.names.as_ref().and_then(|names| names.host(host)) else { return };
        let hop = Arc::clone(&route.hop);
        let tls = match host.tls {
            HopTls::Opportunistic if self.blocks.is_in_clear(path.1, now.mono) => HopTls::Never,
            tls => tls,
        };
        let helo = hop.sources.iter().find(|(source, _)| Some(*source) == path.0);
        let helo = helo.map_or_else(|| hop.helo.clone(), |(_, helo)| helo.clone());
        // A Weyl sequence, begun at random: no number comes twice, and neighbours look unrelated.
        self.next_session = self.next_session.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let session = self.next_session;
        route.sessions.push(session);
        route.turn = route.turn.wrapping_add(1);
        route.next_connect = now.mono + hop.pace.connect_delay;
        *self.connections.entry(path.1.ip()).or_default() += 1;
        let (name, server) = (host.name.clone(), host.server);
        let own = Session::new(id, name.clone(), path, tls);
        self.sessions.insert(session, own);
        let connect = Connect {
            session,
            address: path.1,
            source: path.0,
            host: name,
            helo,
            tls,
            server,
            hop,
        };
        line::connecting(&connect);
        self.outputs.push(Output::Connect(connect));
    }

    /// Ends what waits, if no session is there to take it.
    pub(super) fn give_up(&mut self, id: RouteId, why: &Failure, now: Clock) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        if route.sessions.is_empty() {
            for one in std::mem::take(&mut route.waiting) {
                self.fail(one, &Attempt::Later(why.clone()), now);
            }
        }
    }

    /// A task ends without a session.
    pub(super) fn fail(&mut self, mut one: Try, attempt: &Attempt, now: Clock) {
        let stat = match attempt {
            Attempt::Later(failure) | Attempt::Failed(failure) => &failure.text,
            Attempt::Held(text) => text,
            Attempt::Delivered => return,
        };
        for Recipient { batch, id: envelope, .. } in one.settle(Whom::Rest) {
            let message = &one.task.message;
            let delivery = line::Delivery {
                session: 0,
                message,
                envelope,
                source: None,
                relay: None,
                attempt,
                stat,
            };
            line::delivery(&delivery, now.unix);
            self.report(batch, envelope, attempt.clone());
            // What a server was given and did not take is no matter of its answering again.
            if let Attempt::Later(_) = attempt
                && one.tried.is_empty()
                && let Some(id) = self.by_key.get(&one.task.hop.key)
                && let Some(route) = self.routes.get_mut(id)
                && route.deferred.len() < self.max_deferred
            {
                route.deferred.push_back(envelope);
            }
        }
    }
}

/// The source addresses from which an address is reached, in turn.
fn sources(hop: &Hop, to: SocketAddr, turn: usize) -> impl Iterator<Item = Option<IpAddr>> {
    let fits = move |(source, _): &&(IpAddr, String)| source.is_ipv4() == to.is_ipv4();
    let many = hop.sources.iter().filter(fits).count();
    let skip = turn.checked_rem(many).unwrap_or(0);
    let sources = hop.sources.iter().filter(fits).cycle().skip(skip).take(many);
    let any = hop.sources.is_empty().then_some(None);
    any.into_iter().chain(sources.map(|(source, _)| Some(*source)))
}
