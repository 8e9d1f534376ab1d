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
use super::names::{About, Answer, Host, Names, Question, failure};
use super::rates::Full;
use super::room::Bound;
use super::session::{Session, State, Whom};
use super::tally::{Kind, Room, Scope, scopes};
use super::task::{Hop, Recipient, Task, Way};
use super::{Connect, Output, Relay};
use crate::log::relay as line;

/// The number of a route.
pub(super) type RouteId = u64;

/// For how long the addresses of a hop are used for new connections without being asked for anew.
/// The resolver remembers them for as long as it may.
const NAMES: Duration = Duration::from_secs(30);

/// For how long it is believed that the DNS does not know them now: the resolver asks no earlier.
const UNKNOWN: Duration = Duration::from_secs(5);

/// Connections that a hop gets before one has been ready.
const FIRST: usize = 2;

/// How long a task waits for a way that leads nowhere to be tried again: for one that has failed
/// once or twice, but for none that has been dead for long. Then it waits in the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same for names that the DNS does not know now: its hiccups are short, and domains that are
/// broken for good are many. It is enough for two more questions whose answers take a second.
const DNS_PATIENCE: Duration = Duration::from_secs(12);

/// How long after a message a hop is thought to take another one.
const WARM: Duration = Duration::from_secs(60);

/// What is said when nothing better is known.
const NOWHERE: &str = "No valid route to destination";

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
    /// Since when it waits for a way to be free.
    since: Option<Time>,
}

impl Try {
    fn new(task: Task) -> Try {
        let open = vec![true; task.recipients.len()];
        Try { task, open, tried: Vec::new(), stale: 0, why: None, since: None }
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
    /// Its servers.
    names: Option<Names>,
    /// The same as they are being asked for.
    coming: Option<Names>,
    /// When they were asked for.
    asked: Time,
    /// Since when it is known that the DNS does not know them now.
    unknown: Option<Time>,
    /// How often they were.
    pub(super) round: u64,
    pub(super) waiting: VecDeque<Try>,
    pub(super) sessions: Vec<u64>,
    /// Sessions that wait for a task.
    pub(super) idle: usize,
    /// Some session has been ready.
    pub(super) is_proven: bool,
    /// How many connections it may have now.
    window: usize,
    /// Which source address is the next.
    turn: usize,
    /// Envelopes that failed because nobody answered.
    deferred: VecDeque<EnvelopeId>,
    /// When a server has taken a message last.
    pub(super) delivered: Option<Time>,
    /// A connection is to be opened for a message that is about to come.
    wants_spare: bool,
    /// The connection that was opened for one.
    pub(super) spare: Option<u64>,
    /// The connection that was idle and is ended to make room for it.
    pub(super) gives_way: Option<u64>,
    /// Its place among those that wait for room.
    pub(super) ticket: Option<u64>,
    /// Why it opens no connection for what waits, and until when, if that is known.
    pub(super) obstacle: Option<(Obstacle, Option<Time>)>,
}

/// Why no connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Names are being asked for.
    Names,
    /// A number of connections is reached, or a pause kept.
    Limit(Kind),
    /// The servers are to get no more connections before they have taken something.
    Care,
    /// All there may be.
    Connections,
    /// Messages of a period.
    Rate,
    /// No way leads anywhere now.
    Blocked,
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
    Busy(Obstacle, Bound),
    /// Time has to pass before.
    Pause(Time, Kind),
    /// No way leads anywhere before this time, or for longer than can be waited for.
    Blocked(Option<Time>, Failure),
    None(Attempt),
}

impl Route {
    pub(super) fn new(hop: Arc<Hop>) -> Route {
        Route {
            hop,
            names: None,
            coming: None,
            asked: Time::default(),
            unknown: None,
            round: 0,
            waiting: VecDeque::new(),
            sessions: Vec::new(),
            idle: 0,
            is_proven: false,
            window: FIRST,
            turn: 0,
            deferred: VecDeque::new(),
            delivered: None,
            wants_spare: false,
            spare: None,
            gives_way: None,
            ticket: None,
            obstacle: None,
        }
    }

    /// Whether the DNS was asked for its servers, and did not know.
    fn is_unknown(&self) -> bool {
        self.names.as_ref().is_some_and(|names| names.unknown().is_some())
    }

    /// Whether its servers are being asked for, and nobody knows them yet.
    pub(super) fn is_asking(&self) -> bool {
        self.names.is_none() && self.coming.is_some()
    }

    /// Whether it is known that there is no server, or not known where.
    pub(super) fn has_no_servers(&self) -> bool {
        self.names().is_some_and(|names| names.failure().is_some())
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

    /// Asks for its servers, if nobody has of late; adds what is to be asked.
    fn ask(&mut self, now: Time, ask: &mut Vec<(About, Question)>) {
        let is_old = match self.is_unknown() {
            true => now.saturating_since(*self.unknown.get_or_insert(now)) >= UNKNOWN,
            false => now.saturating_since(self.asked) >= NAMES,
        };
        if self.coming.is_some() || self.names.is_some() && !is_old {
            return;
        }
        // Beside connections that work the names of before will do until the others are there.
        if self.sessions.is_empty() {
            self.names = None;
        }
        self.coming = Some(Names::new(&self.hop, ask));
        (self.asked, self.round, self.unknown) = (now, self.round + 1, None);
        self.settle_names();
    }

    pub(super) fn answered(
        &mut self,
        round: u64,
        about: About,
        answer: &Answer,
        random: &mut dyn FnMut() -> u64,
        ask: &mut Vec<(About, Question)>,
    ) {
        if let Some(names) = self.coming.as_mut().filter(|_| round == self.round) {
            names.answered(&self.hop, about, answer, random, ask);
            self.settle_names();
        }
    }

    /// Takes over names that have been asked for, once all is known.
    fn settle_names(&mut self) {
        let Some(new) = self.coming.take_if(|names| names.is_settled()) else { return };
        // What cannot be known now was known before.
        let is_worse = matches!(new.failure(), Some(Attempt::Later(_)));
        if !is_worse || self.names.is_none() {
            self.names = Some(new);
        }
    }

    fn names(&self) -> Option<&Names> {
        self.names.as_ref().or(self.coming.as_ref())
    }

    /// A message was taken. Gives those that were put off because nobody answered.
    pub(super) fn speed_up(&mut self, now: Time) -> Vec<EnvelopeId> {
        self.delivered = Some(now);
        if self.window <= self.sessions.len() {
            self.window += 1;
        }
        self.deferred.drain(..).collect()
    }

    /// A server has too much to do, or does not answer.
    pub(super) fn slow_down(&mut self) {
        self.window = (self.window.min(self.sessions.len()) / 2).max(1);
    }

    /// Whether it may have another connection, whatever the limits.
    pub(super) fn may_open(&self) -> bool {
        let most = match (self.hop.pace.careful, self.is_proven) {
            (true, _) => self.window,
            (false, true) => usize::MAX,
            (false, false) => FIRST,
        };
        self.sessions.len() < most
    }
}

impl Relay {
    /// Does what is to be done for a route.
    pub(super) fn advance(&mut self, id: RouteId, now: Clock) {
        self.held.remove(&id);
        let Some(route) = self.routes.get_mut(&id) else { return };
        route.obstacle = None;
        // A message that has come opens a connection of its own.
        let is_before = std::mem::take(&mut route.wants_spare) && route.waiting.is_empty();
        if route.waiting.is_empty() {
            route.ticket = None;
        }
        if self.is_stopping || route.waiting.is_empty() && !is_before {
            return;
        }
        let mut ask = Vec::new();
        route.ask(now.mono, &mut ask);
        let (place, rates) = (route.hop.key.place.clone(), route.hop.pace.rates);
        self.ask(id, ask);
        if let Some(full) = self.rates.full(&place, rates, now.mono) {
            return self.wait_for_share(id, full, now);
        }
        if is_before {
            return self.connect_before(id, now);
        }
        self.spread(id, now);
        let coming = self.resume(id);
        self.connect(id, coming, now);
    }

    /// A message for a hop is about to come: opens a connection, if it takes messages of late and
    /// no connection is free.
    pub fn preconnect(&mut self, hop: &Hop, now: Clock) {
        let Some(id) = self.by_key.get(&hop.key) else { return };
        let Some(route) = self.routes.get_mut(id) else { return };
        let last = route.delivered.map(|at| now.mono.saturating_since(at));
        let is_free = |one: &u64| {
            let state = self.sessions.get(one).map(|session| session.state);
            matches!(state, Some(State::Idle(_) | State::Coming))
        };
        if !self.is_ending
            && last.is_some_and(|last| last <= WARM)
            && route.waiting.is_empty()
            && route.spare.is_none()
            && !route.sessions.iter().any(is_free)
        {
            route.wants_spare = true;
            self.touched.insert(*id);
        }
    }

    /// Opens a connection for a message that is about to come, if nothing is against it.
    fn connect_before(&mut self, id: RouteId, now: Clock) {
        let Some(route) = self.routes.get(&id) else { return };
        let (wants, session) = match self.pick(id, route, (&[], None), now.mono) {
            // The answer comes back here.
            Pick::Wait => (true, None),
            Pick::Address { host, path } if route.may_open() => {
                (false, self.open(id, host, path, now))
            }
            _ => (false, None),
        };
        if let Some(route) = self.routes.get_mut(&id) {
            (route.wants_spare, route.spare) = (wants, session);
        }
    }

    /// Where servers share the mail, opens a connection to each that has none, before one that waits
    /// at another takes what is for it.
    fn spread(&mut self, id: RouteId, now: Clock) {
        let Some(route) = self.routes.get(&id).filter(|route| route.hop.balance) else { return };
        let state = |one: &&u64| self.sessions.get(one).map(|session| session.state);
        let coming = route.sessions.iter().filter(|one| state(one) == Some(State::Coming)).count();
        for place in coming..route.waiting.len() {
            let Some(route) = self.routes.get(&id) else { return };
            let Some(one) = route.waiting.get(place) else { return };
            let found = self.pick(id, route, (&one.tried, one.why.as_ref()), now.mono);
            let Pick::Address { host, path } = found else { return };
            if !route.may_open() || self.sessions_to(route, path.1) > 0 {
                return;
            }
            self.open(id, host, path, now);
        }
    }

    /// How many sessions of a route lead to an address.
    fn sessions_to(&self, route: &Route, address: SocketAddr) -> usize {
        let sessions = route.sessions.iter().filter_map(|one| self.sessions.get(one));
        sessions.filter(|session| session.path.1 == address).count()
    }

    /// Hands tasks to sessions that wait; gives how many sessions are about to take one.
    fn resume(&mut self, id: RouteId) -> usize {
        let Some(route) = self.routes.get_mut(&id) else { return 0 };
        let state = |one: &u64| self.sessions.get(one).map(|session| session.state);
        let coming = |one: &&u64| state(one) == Some(State::Coming);
        let mut coming = route.sessions.iter().filter(coming).count();
        if route.idle == 0 {
            return coming;
        }
        // Those that were busy last first: the others may come to their end unused. Where servers
        // share the mail, the one that has waited longest.
        let mut sessions = route.sessions.clone();
        match route.hop.balance {
            true => sessions.sort_by_key(|one| match state(one) {
                Some(State::Idle(until)) => Some(until),
                _ => None,
            }),
            false => sessions.reverse(),
        }
        for session_id in &sessions {
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
                self.tallies.busy_again(&session.scopes);
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
            let obstacle = match self.pick(id, route, (&one.tried, one.why.as_ref()), now.mono) {
                Pick::Address { host, path } if route.may_open() => {
                    self.open(id, host, path, now);
                    place += 1;
                    continue;
                }
                Pick::Address { .. } => (Obstacle::Care, None),
                Pick::Wait => (Obstacle::Names, None),
                Pick::Busy(why, bound) => {
                    self.wait_for_room(id, bound);
                    (why, None)
                }
                Pick::Pause(at, kind) => {
                    self.alarms.insert((at, id));
                    (Obstacle::Limit(kind), Some(at))
                }
                // Those that were tried somewhere come first, so the rest are in the same case,
                // however many they are.
                Pick::Blocked(until, _) if self.serves(route, one) && one.tried.is_empty() => {
                    (Obstacle::Blocked, until)
                }
                Pick::None(_) if self.serves(route, one) && one.tried.is_empty() => return,
                Pick::Blocked(..) | Pick::None(_) if self.serves(route, one) => {
                    place += 1;
                    continue;
                }
                Pick::Blocked(until, why) => {
                    let patience = if route.is_unknown() { DNS_PATIENCE } else { PATIENCE };
                    let end = one.since.unwrap_or(now.mono) + patience;
                    match until.filter(|until| *until <= end && !self.is_ending) {
                        None => self.drop_at(id, place, &Attempt::Later(why), true, now),
                        Some(until) if one.tried.is_empty() => {
                            let obstacle = (Obstacle::Blocked, until);
                            for one in self.hold(id, place, true, obstacle, now) {
                                self.fail(one, &Attempt::Later(why.clone()), true, now);
                            }
                            return;
                        }
                        Some(until) => {
                            self.alarms.insert((until, id));
                            self.wait_from(id, place, now.mono);
                            place += 1;
                        }
                    }
                    continue;
                }
                Pick::None(attempt) => {
                    let is_untried = one.tried.is_empty();
                    self.drop_at(id, place, &attempt, is_untried, now);
                    continue;
                }
            };
            if let Some(route) = self.routes.get_mut(&id) {
                route.obstacle = Some(obstacle);
            }
            return;
        }
    }

    /// A task that waits ends.
    fn drop_at(&mut self, id: RouteId, place: usize, attempt: &Attempt, again: bool, now: Clock) {
        let route = self.routes.get_mut(&id);
        if let Some(one) = route.and_then(|route| route.waiting.remove(place)) {
            self.fail(one, attempt, again, now);
        }
    }

    /// Notes since when a task waits for a way, and those behind it.
    fn wait_from(&mut self, id: RouteId, place: usize, now: Time) {
        let Some(route) = self.routes.get_mut(&id) else { return };
        let behind = route.waiting.range_mut(place..);
        behind.rev().take_while(|one| one.since.is_none()).for_each(|one| one.since = Some(now));
    }

    /// The messages of a period are used up. The share of a minute is waited for here, by as many
    /// tasks as may; the others wait in the queue, each as long as it takes to be in its turn.
    fn wait_for_share(&mut self, id: RouteId, full: Full, now: Clock) {
        let Full { until, period, most, word } = full;
        // It comes back within eleven tenths of a minute.
        let is_near = until <= now.mono + PATIENCE + PATIENCE / 10;
        let rest = self.hold(id, 0, is_near, (Obstacle::Rate, until), now);
        let Some(route) = self.routes.get(&id) else { return };
        let why = failure((4, 4, 5), format!("{word} of {} is reached", route.hop.key.place));
        let first = until.saturating_since(now.mono);
        for (nth, one) in (route.waiting.len()..).zip(rest) {
            let periods = u32::try_from(nth / most.max(1) as usize).unwrap_or(u32::MAX);
            let wait = first.saturating_add(period.saturating_mul(periods)).as_micros();
            let at = now.unix.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX));
            let why = Failure { not_before: Some(at), ..why.clone() };
            // A success makes nothing of it free.
            self.fail(one, &Attempt::Later(why), false, now);
        }
    }

    /// Lets the tasks from a place on wait until a time, if they may and as many as may; gives the
    /// others.
    fn hold(
        &mut self,
        id: RouteId,
        place: usize,
        may_wait: bool,
        (obstacle, until): (Obstacle, Time),
        now: Clock,
    ) -> VecDeque<Try> {
        let others: usize = self.held.values().sum();
        let room = match may_wait && !self.is_ending {
            true => self.bounds.held.saturating_sub(others),
            false => 0,
        };
        let Some(route) = self.routes.get_mut(&id) else { return VecDeque::new() };
        let rest = route.waiting.split_off(room.max(place).min(route.waiting.len()));
        if !route.waiting.is_empty() {
            route.obstacle = Some((obstacle, Some(until)));
            self.held.insert(id, route.waiting.len());
            self.alarms.insert((until, id));
        }
        if obstacle == Obstacle::Blocked {
            self.wait_from(id, place, now.mono);
        }
        rest
    }

    /// Whether some session may take the task yet.
    fn serves(&self, route: &Route, one: &Try) -> bool {
        route
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .any(|session| session.state != State::Ending && !one.tried.contains(&session.path.1))
    }

    /// Where a task may be tried next that was tried at these addresses, for the last time with that
    /// failure.
    fn pick(
        &self,
        id: RouteId,
        route: &Route,
        (tried, why): (&[SocketAddr], Option<&Failure>),
        now: Time,
    ) -> Pick {
        let (hop, Some(names)) = (&route.hop, route.names()) else { return Pick::Wait };
        if let Some(why) = names.unknown() {
            // Perhaps it is known in a moment.
            return match route.coming {
                Some(_) => Pick::Wait,
                None => Pick::Blocked(Some(route.unknown.unwrap_or(now) + UNKNOWN), why.clone()),
            };
        }
        if let Some(attempt) = names.failure() {
            return Pick::None(attempt.clone());
        }
        let mut why = why.cloned();
        let mut blocked: Option<Option<Time>> = None;
        let usable = |host: &Host, address: SocketAddr| {
            if tried.contains(&address) {
                return None;
            }
            let mut best: Option<(Room, Path)> = None;
            for source in sources(hop, address, route.turn) {
                let path = (source, address);
                if let Some((until, block)) = self.blocks.why(&path, now) {
                    why.get_or_insert_with(|| block.failure.clone());
                    let until = block.may_pass.then_some(until);
                    blocked = Some([blocked.flatten(), until].into_iter().flatten().min());
                    continue;
                }
                let room = self.tallies.room(&scopes(id, path, hop.domain(host)), &hop.pace, now);
                if best.is_none_or(|(least, _)| room < least) {
                    best = Some((room, path));
                }
            }
            let (room, path) = best?;
            let rank = match (&hop.way, host.server) {
                // By turns, as far as they have as many.
                (Way::Servers(all), Some(nth)) if hop.balance => {
                    let turn = (nth + all.len() - route.turn % all.len()) % all.len();
                    (self.sessions_to(route, address), turn)
                }
                _ => (self.tallies.connections(&Scope::Host(address.ip())), 0),
            };
            Some(((room, rank), path))
        };
        match (names.first(hop.family, usable), blocked) {
            (Ok((host, (Room::Full(kind), _), path)), _) => {
                let scopes = names.host(host).map(|host| scopes(id, path, hop.domain(host)));
                let bound = scopes.map(|scopes| kind.of(&scopes).clone());
                Pick::Busy(Obstacle::Limit(kind), bound)
            }
            (Ok((_, (Room::At(at, kind), _), _)), _) => Pick::Pause(at, kind),
            (Ok((host, (Room::Now, _), path)), _) => match &self.no_room {
                Some((until, why)) if *until > now => Pick::Blocked(Some(*until), why.clone()),
                _ if self.tallies.connections >= self.bounds.connections => {
                    Pick::Busy(Obstacle::Connections, None)
                }
                _ => Pick::Address { host, path },
            },
            (Err(true), _) => Pick::Wait,
            (Err(false), Some(until)) => {
                Pick::Blocked(until, why.unwrap_or_else(|| failure((4, 4, 4), NOWHERE)))
            }
            (Err(false), None) => {
                Pick::None(Attempt::Later(why.unwrap_or_else(|| failure((4, 4, 4), NOWHERE))))
            }
        }
    }

    fn open(&mut self, id: RouteId, host: usize, path: Path, now: Clock) -> Option<u64> {
        let route = self.routes.get_mut(&id)?;
        let host = route.names().and_then(|names| names.host(host))?;
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
        let (name, server) = (Arc::clone(&host.name), host.server);
        let scopes = scopes(id, path, hop.domain(host));
        route.sessions.push(session);
        route.turn = route.turn.wrapping_add(1);
        route.ticket = None;
        self.blocks.go(path, &name, now.mono);
        self.tallies.begin(&scopes, now.mono);
        let own = Session::new(id, Arc::clone(&name), (path, scopes), tls, now.mono);
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
        Some(session)
    }

    /// A task ends without a session. With `again`, it failed because nobody was there to take it,
    /// and is to be tried when somebody is.
    pub(super) fn fail(&mut self, mut one: Try, attempt: &Attempt, again: bool, now: Clock) {
        let stat = match attempt {
            Attempt::Later(failure) | Attempt::Failed(failure) => &failure.text,
            Attempt::Held(text) => text,
            Attempt::Delivered | Attempt::Relayed(_) => return,
        };
        for Recipient { batch, id: envelope, to } in one.settle(Whom::Rest) {
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
            self.stats.note(to.domain(), stat, now.unix);
            self.report(batch, envelope, attempt.clone());
            if let Attempt::Later(_) = attempt
                && again
                && let Some(id) = self.by_key.get(&one.task.hop.key)
                && let Some(route) = self.routes.get_mut(id)
                && route.deferred.len() < self.bounds.deferred
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
