//! What smtpctl shows of the relay, in upstream's lines (smtpctl(8)): relays with their connectors,
//! hosts, routes, and what came of the last attempts.
//!
//! A list is given piece by piece, from behind the number that a piece ended with, so that a long
//! one keeps the reactor from its work for a moment only. Numbers are given once, so a list that
//! changes meanwhile shows nothing twice.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::net::IpAddr;

use smtpd_engine::time::Time;
use smtpd_queue::scheduler::Clock;

use super::Relay;
use super::route::{Obstacle, Route, RouteId};
use super::session::State;
use super::tally::{Kind, Scope, Tally};
use crate::control::View;
use crate::log::relay::{shown, way};
use crate::log::span::Span;
use crate::log::vis::vis;

/// A line or more about one thing, behind its number.
pub type Item = (u64, String);

impl Relay {
    /// At most so many items of a list, in the order of their numbers, from behind one on.
    #[must_use]
    pub fn show(&self, view: View, after: u64, limit: usize, now: Clock) -> Vec<Item> {
        match view {
            View::Relays => {
                let relays = self.routes.iter().map(|(id, route)| (*id, route));
                let relays = page(relays, after, limit).into_iter();
                relays.map(|(id, route)| (id, self.relay(id, route, now.mono))).collect()
            }
            View::Hosts => self.hosts(after, limit, now.mono),
            View::Routes => self.ways(after, limit, now.mono),
            View::HostStats => {
                let list = self.stats.list(now.unix).map(|(number, domain, at, text)| {
                    (number, (vis(domain.as_bytes()), at, vis(text.as_bytes())))
                });
                let line = |(number, (domain, at, text))| (number, format!("{domain}|{at}|{text}"));
                page(list, after, limit).into_iter().map(line).collect()
            }
        }
    }

    fn hosts(&self, after: u64, limit: usize, now: Time) -> Vec<Item> {
        let mut names: HashMap<IpAddr, (&str, usize)> = HashMap::new();
        for ((_, address), way) in self.blocks.behind(0) {
            let (name, ways) = names.entry(address.ip()).or_default();
            *name = &way.host;
            *ways += 1;
        }
        let hosts = self.tallies.hosts().map(|(address, tally)| (tally.number, (address, tally)));
        let line = |(number, (address, tally)): (u64, (IpAddr, &Tally))| {
            let (name, ways) = names.get(&address).copied().unwrap_or_default();
            let (address, name) = (shown(&address), vis(name.as_bytes()));
            let (many, last) = (tally.connections, since(Some(tally), now));
            (number, format!("{address} {name} refcount={ways} nconn={many} lastconn={last}"))
        };
        page(hosts, after, limit).into_iter().map(line).collect()
    }

    fn ways(&self, after: u64, limit: usize, now: Time) -> Vec<Item> {
        let sessions = self.sessions.values();
        let is_idle = |state| matches!(state, State::Idle(_));
        let idle = sessions.filter(|session| is_idle(session.state)).map(|session| session.path);
        let idle: HashSet<_> = idle.collect();
        let ways = self.blocks.behind(after).take(limit);
        let line = |(path, known): (&super::blocks::Path, &super::blocks::Way)| {
            let blocked = known.blocked_until(now);
            let letters = [
                (!known.answers, 'N'),
                (blocked.is_some(), 'D'),
                (known.penalty > 0, 'Q'),
                (idle.contains(path), 'K'),
            ];
            let letters: String =
                letters.map(|(set, letter)| if set { letter } else { '-' }).iter().collect();
            let (number, way) = (known.number, way(path, &known.host));
            let many = self.tallies.connections(&Scope::Route(*path));
            let (errors, penalty, timeout) = (known.errors, known.penalty, until(blocked, now));
            let line = format!(
                "{number}. {way} {letters} nconn={many} nerror={errors} penalty={penalty} \
                 timeout={timeout}"
            );
            (number, line)
        };
        ways.map(line).collect()
    }

    /// A relay, and its connectors in lines of their own.
    fn relay(&self, id: RouteId, route: &Route, now: Time) -> String {
        let tally = self.tallies.get(&Scope::Relay(id));
        let (tasks, many) = (route.waiting.len(), route.sessions.len());
        let busy = route.sessions.iter().filter_map(|id| self.sessions.get(id));
        let busy = busy.filter(|session| session.state == State::Busy).count();
        let (obstacle, at) = route.obstacle.unzip();
        let waits = match obstacle {
            _ if route.is_asking() => "MX",
            Some(Obstacle::Names) | None => "",
            Some(Obstacle::Blocked) => "connector",
            Some(_) => "limits",
        };
        let (refs, last) = (tasks + busy + many, since(tally, now));
        let timeout = until(at.flatten(), now);
        let mut text = format!(
            "{} refcount={refs} ntask={tasks} nconn={many} lastconn={last} timeout={timeout} \
             wait={waits}",
            vis(route.hop.title.as_bytes())
        );
        let sources = route.hop.sources.iter().map(|(source, _)| Some(*source));
        let any = route.hop.sources.is_empty().then_some(None);
        for source in any.into_iter().chain(sources) {
            let tally = self.tallies.get(&Scope::Connector(id, source));
            let many = tally.map_or(0, |tally| tally.connections);
            let flags = match obstacle {
                _ if route.has_no_servers() => "ERROR_MX",
                Some(Obstacle::Names) => "WAIT",
                Some(Obstacle::Blocked) => "ERROR_ROUTE_NET",
                Some(Obstacle::Limit(_) | Obstacle::Rate) if at.flatten().is_some() => "WAIT",
                Some(Obstacle::Limit(Kind::Host)) => "LIMIT_HOST",
                Some(Obstacle::Limit(Kind::Route)) => "LIMIT_ROUTE",
                Some(Obstacle::Limit(Kind::Source)) => "LIMIT_SOURCE",
                Some(Obstacle::Limit(Kind::Connector) | Obstacle::Connections) => "LIMIT_CONN",
                Some(Obstacle::Limit(Kind::Relay) | Obstacle::Care) => "LIMIT_RELAY",
                Some(Obstacle::Limit(Kind::Domain) | Obstacle::Rate) => "LIMIT_DOMAIN",
                None if tally.is_none() => "NEW",
                None => "",
            };
            let source = source.map_or_else(|| "[]".to_owned(), |source| shown(&source));
            // A String takes everything.
            let _ = write!(
                text,
                "\n  connector {source} refcount={many} nconn={many} lastconn={} \
                 timeout={timeout} flags={flags}",
                since(tally, now)
            );
        }
        text
    }

    /// Has a way that is left alone tried whenever there is something for it. False if there is
    /// none with that number.
    pub fn resume_way(&mut self, number: u64) -> bool {
        let Some((path, host)) = self.blocks.resume(number) else { return false };
        crate::log::relay::enabled(&path, host);
        let waiting = self.routes.iter().filter(|(_, route)| !route.waiting.is_empty());
        self.touched.extend(waiting.map(|(id, _)| *id));
        true
    }
}

/// The first of some items behind a number, in the order of their numbers.
fn page<T>(items: impl Iterator<Item = (u64, T)>, after: u64, limit: usize) -> Vec<(u64, T)> {
    let mut items: Vec<_> = items.filter(|(number, _)| *number > after).collect();
    items.sort_unstable_by_key(|(number, _)| *number);
    items.truncate(limit);
    items
}

/// How long ago the last connection was begun.
fn since(tally: Option<&Tally>, now: Time) -> String {
    tally.map_or_else(|| "-".to_owned(), |tally| span(now.saturating_since(tally.begun).as_secs()))
}

/// How long it is until then.
fn until(at: Option<Time>, now: Time) -> String {
    // In whole seconds, and not over before it is.
    at.map_or_else(
        || "-".to_owned(),
        |at| span(at.saturating_since(now).as_micros().div_ceil(1_000_000) as u64),
    )
}

fn span(seconds: u64) -> String {
    Span(seconds).to_string()
}
