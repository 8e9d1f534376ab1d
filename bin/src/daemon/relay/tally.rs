//! Connections counted by everything that `mta limit` bounds them by: hosts, routes, sources,
//! connectors, relays and domains (smtpd.conf(5)).
//!
//! One connection counts in six scopes. What a scope has room for is not remembered here: the
//! numbers come with the question, as they may differ by domain.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::blocks::Path;
use super::pace::Pace;
use super::route::RouteId;

/// Scopes remembered that have no connection; more are forgotten, the oldest first.
const MANY: usize = 20_000;

/// What connections have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The address that they lead to.
    Host(IpAddr),
    /// Both ends.
    Route(Path),
    /// This end, where the system does not choose it.
    Source(Option<IpAddr>),
    /// The hop and this end.
    Connector(RouteId, Option<IpAddr>),
    /// The hop.
    Relay(RouteId),
    /// The domain, or the name of the server where that is written.
    Domain(Arc<str>),
}

/// The scopes by their place in a [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `max-conn-per-host`
    Host,
    /// `max-conn-per-route`
    Route,
    /// `max-conn-per-source`
    Source,
    /// `max-conn-per-connector`
    Connector,
    /// `max-conn-per-relay`
    Relay,
    /// `max-conn-per-domain`
    Domain,
}

impl Kind {
    /// All, in the order of their places.
    pub const ALL: [Kind; 6] =
        [Kind::Host, Kind::Route, Kind::Source, Kind::Connector, Kind::Relay, Kind::Domain];

    /// The scope of this kind.
    pub(super) fn of(self, scopes: &Scopes) -> &Scope {
        let [host, route, source, connector, relay, domain] = scopes;
        match self {
            Kind::Host => host,
            Kind::Route => route,
            Kind::Source => source,
            Kind::Connector => connector,
            Kind::Relay => relay,
            Kind::Domain => domain,
        }
    }
}

/// The scopes of one connection, in the order of [`Kind::ALL`].
pub(super) type Scopes = [Scope; 6];

/// The scopes that a connection of a route would count in.
pub(super) fn scopes(route: RouteId, path: Path, domain: &Arc<str>) -> Scopes {
    let (source, address) = path;
    [
        Scope::Host(address.ip()),
        Scope::Route(path),
        Scope::Source(source),
        Scope::Connector(route, source),
        Scope::Relay(route),
        Scope::Domain(Arc::clone(domain)),
    ]
}

/// Whether another connection may be opened; the sooner, the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Now.
    Now,
    /// When this time has come.
    At(Time, Kind),
    /// When some connection has ended.
    Full(Kind),
}

/// What is counted of one scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// Names it in lists; no two have the same.
    pub(super) number: u64,
    /// Connections that are there or being opened.
    pub(super) connections: usize,
    /// Those of them that are idle.
    idle: usize,
    /// When the last one was begun.
    pub(super) begun: Time,
    /// When the last one ended, if one has.
    ended: Option<Time>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    tallies: HashMap<Scope, Tally>,
    next: u64,
    /// All connections.
    pub(super) connections: usize,
    /// Those of them that are idle.
    idle: usize,
}

impl Tallies {
    /// A connection is begun.
    pub(super) fn begin(&mut self, scopes: &Scopes, now: Time) {
        self.make_room();
        self.connections += 1;
        for scope in scopes {
            let next = &mut self.next;
            let tally = self.tallies.entry(scope.clone()).or_insert_with(|| {
                *next += 1;
                Tally { number: *next, connections: 0, idle: 0, begun: now, ended: None }
            });
            tally.connections += 1;
            tally.begun = now;
        }
    }

    /// A connection that was begun is over.
    pub(super) fn end(&mut self, scopes: &Scopes, now: Time) {
        self.connections -= 1;
        for scope in scopes {
            if let Some(tally) = self.tallies.get_mut(scope) {
                tally.connections -= 1;
                tally.ended = Some(now);
            }
        }
    }

    /// A connection is idle.
    pub(super) fn idle(&mut self, scopes: &Scopes) {
        self.idle += 1;
        for scope in scopes {
            if let Some(tally) = self.tallies.get_mut(scope) {
                tally.idle += 1;
            }
        }
    }

    /// A connection that was idle is no longer.
    pub(super) fn busy_again(&mut self, scopes: &Scopes) {
        self.idle -= 1;
        for scope in scopes {
            if let Some(tally) = self.tallies.get_mut(scope) {
                tally.idle -= 1;
            }
        }
    }

    /// Whether a connection is idle, of a scope or of all.
    pub(super) fn has_idle(&self, scope: Option<&Scope>) -> bool {
        let many = scope.map_or(self.idle, |scope| self.get(scope).map_or(0, |tally| tally.idle));
        many > 0
    }

    /// What is known of a scope.
    pub(super) fn get(&self, scope: &Scope) -> Option<&Tally> {
        self.tallies.get(scope)
    }

    /// How many connections a scope has.
    pub(super) fn connections(&self, scope: &Scope) -> usize {
        self.get(scope).map_or(0, |tally| tally.connections)
    }

    /// The hosts that connections were begun to.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (IpAddr, &Tally)> {
        self.tallies.iter().filter_map(|(scope, tally)| match scope {
            Scope::Host(address) => Some((*address, tally)),
            _ => None,
        })
    }

    /// Whether a connection with these scopes may be opened as far as this pace says.
    pub(super) fn room(&self, scopes: &Scopes, pace: &Pace, now: Time) -> Room {
        let mut pause: Option<(Time, Kind)> = None;
        for ((scope, kind), (most, delay)) in
            scopes.iter().zip(Kind::ALL).zip(pace.most.into_iter().zip(pace.delays))
        {
            let Some(tally) = self.tallies.get(scope) else { continue };
            if most.is_some_and(|most| tally.connections >= most) {
                return Room::Full(kind);
            }
            let mut at = tally.begun + delay;
            if let (Kind::Route, 0, Some(ended)) = (kind, tally.connections, tally.ended) {
                at = at.max(ended + pace.reconnect_delay);
            }
            if delay.max(pace.reconnect_delay) > Duration::ZERO && at > now {
                pause = pause.max(Some((at, kind)));
            }
        }
        pause.map_or(Room::Now, |(at, kind)| Room::At(at, kind))
    }

    fn make_room(&mut self) {
        if self.tallies.len() < MANY {
            return;
        }
        let mut unused: Vec<_> = self.tallies.values().filter(|one| one.connections == 0).collect();
        unused.sort_unstable_by_key(|one| (one.begun, one.number));
        // Half of them, so that this is not done for each connection.
        let Some(last) = unused.get(unused.len() / 2).map(|one| (one.begun, one.number)) else {
            return;
        };
        self.tallies.retain(|_, one| one.connections > 0 || (one.begun, one.number) > last);
    }
}
