//! Which connections are opened for the tasks of a hop, and what becomes of tasks for which there
//! is none: they wait, here or in the queue, or end.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smtpd_config::route::HopTls;
use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure};
use smtpd_queue::scheduler::Clock;

use super::blocks::Path;
use super::names::{Host, failure};
use super::rates::Full;
use super::room::Bound;
use super::route::{Obstacle, Route, RouteId, Try, UNKNOWN};
use super::session::{Session, State, Whom};
use super::tally::{Kind, Room, Scope, scopes};
use super::task::{Hop, Recipient, Way};
use super::{Connect, Output, Relay};
use crate::log::relay as line;

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
