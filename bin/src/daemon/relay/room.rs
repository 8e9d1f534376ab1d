//! Idle connections give way. Hosts, sources and domains are shared by hops: a connection that one
//! hop keeps for its next message is ended when another hop has a message now and is bounded by
//! what both count in.
//!
//! One that has carried some messages is not kept either, as long as others wait for its place.
//!
//! What it promises: no message waits for a connection that does nothing to come to the end of its
//! keep-alive. One connection at a time is ended for a hop, however many messages it has. A place
//! that is free goes to the hop that has waited longest: one that got a place waits behind all others
//! for the next.

use std::collections::{BTreeSet, HashMap};

use super::route::RouteId;
use super::session::State;
use super::tally::{Scope, Scopes};
use super::{Output, Relay, SessionId};

/// What a hop waits for room in: one scope, or all connections of the relay.
pub(super) type Bound = Option<Scope>;

/// Hops that may go on when some connection has ended.
#[derive(Debug, Default)]
pub(super) struct Queue(HashMap<Bound, BTreeSet<RouteId>>);

impl Queue {
    /// A hop waits for room.
    pub(super) fn insert(&mut self, bound: Bound, route: RouteId) {
        self.0.entry(bound).or_default().insert(route);
    }

    /// Whether another hop waits for the end of a connection with these scopes.
    pub(super) fn has_others(&self, scopes: &Scopes, own: RouteId) -> bool {
        let waits =
            |bound| self.0.get(&bound).is_some_and(|routes| routes.iter().any(|id| *id != own));
        !self.0.is_empty() && scopes.iter().cloned().map(Some).chain([None]).any(waits)
    }

    /// Takes out all: a connection has ended. Those of other scopes as well, as they may have
    /// other ways to go.
    pub(super) fn take_all(&mut self) -> BTreeSet<RouteId> {
        self.0.drain().flat_map(|(_, routes)| routes).collect()
    }

    /// Takes out those that a connection with these scopes could make room for.
    pub(super) fn take_for(&mut self, scopes: &Scopes) -> BTreeSet<RouteId> {
        let mut routes = BTreeSet::new();
        if self.0.is_empty() {
            return routes;
        }
        for bound in scopes.iter().cloned().map(Some).chain([None]) {
            routes.append(&mut self.0.remove(&bound).unwrap_or_default());
        }
        routes
    }
}

impl Relay {
    /// A hop with a message finds no room: it waits for a connection to end, and one that is idle
    /// is ended for it. That of a hop without messages rather than another, and of those the one
    /// that would end first.
    pub(super) fn wait_for_room(&mut self, id: RouteId, bound: Bound) {
        let Some(route) = self.routes.get(&id) else { return };
        let has_asked = route.gives_way.is_some_and(|one| self.sessions.contains_key(&one));
        if !has_asked
            && route.may_open()
            && self.tallies.has_idle(bound.as_ref())
            && let Some(idle) = self.least_wanted(bound.as_ref())
        {
            self.end_idle(id, idle);
        }
        if let Some(route) = self.routes.get_mut(&id) {
            route.ticket.get_or_insert_with(|| {
                self.tickets += 1;
                self.tickets
            });
        }
        self.busy.insert(bound, id);
    }

    /// Has these hops look for room again, in the order in which they wait, and before all others.
    pub(super) fn call(&mut self, routes: BTreeSet<RouteId>) {
        for id in routes {
            match self.routes.get(&id).and_then(|route| route.ticket) {
                Some(ticket) => self.called.insert((ticket, id)),
                None => self.touched.insert(id),
            };
        }
    }

    /// The idle connection to be missed least among those that count in a scope.
    fn least_wanted(&self, bound: Option<&Scope>) -> Option<SessionId> {
        let sessions = self.sessions.iter().filter_map(|(id, session)| {
            let State::Idle(until) = session.state else { return None };
            let is_meant = bound.is_none_or(|scope| session.scopes.contains(scope));
            is_meant.then_some((id, session.route, until))
        });
        let rank = |(id, route, until): &(&SessionId, RouteId, _)| {
            let has_work = self.routes.get(route).is_some_and(|route| !route.waiting.is_empty());
            (has_work, *until, **id)
        };
        sessions.min_by_key(rank).map(|(id, ..)| *id)
    }

    /// Has an idle connection say QUIT, for a hop.
    fn end_idle(&mut self, for_whom: RouteId, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.state = State::Ending;
        self.tallies.busy_again(&session.scopes);
        if let Some(route) = self.routes.get_mut(&session.route) {
            route.idle -= 1;
        }
        if let Some(route) = self.routes.get_mut(&for_whom) {
            route.gives_way = Some(id);
        }
        // It asks what to do next, and is told to end.
        self.outputs.push(Output::Resume(id));
    }
}
