//! One outgoing connection: what it is asked, what it tells, and its end.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpd_config::route::HopTls;
use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure, Remote};
use smtpd_queue::envelope::Message;
use smtpd_queue::scheduler::Clock;

use super::blocks::{Path, Why};
use super::route::{RouteId, Try};
use super::tally::Scopes;
use super::task::{Recipient, Task};
use super::{Relay, SessionId, later};
use crate::log::relay as line;

/// How often a task that met connections which had died while idle is tried again for that.
const STALE: u32 = 5;

/// Messages over one connection after which it makes room for another hop that waits for its place.
const SHARE: u32 = 20;

/// How long nothing is opened when this machine has no room for another connection: descriptors,
/// ports or memory come back when others end.
const NO_ROOM: Duration = Duration::from_secs(1);

/// What a session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin the transaction of [`Relay::current`].
    Mail,
    /// Nothing before this time, unless it is resumed.
    Wait(Time),
    /// Say QUIT.
    Quit,
}

/// What the server of a session can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461): it takes over what the sender wants to be told.
    pub dsn: bool,
}

/// Whom something told is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The recipient of the task in this place.
    One(usize),
    /// All that have no outcome; the session itself when it has no task.
    Rest,
}

/// What a server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has taken the message, with these words.
    Delivered(String),
    /// It has not.
    Failed(Trouble),
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Status and words. Which server it was is added by the relay.
    pub failure: Failure,
    /// What the server said, if it said something.
    pub reply: Option<String>,
    /// It fails whenever it is tried.
    pub permanent: bool,
    /// The server has too much to do: 421 or 4.7.x.
    pub pressed: bool,
    /// Whether another address may do better.
    pub again: Again,
}

/// Whether to try again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No: that was the answer.
    No,
    /// At another address.
    Elsewhere,
    /// Over another connection: this one had died while it was idle, or takes no more messages.
    Stale,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We said QUIT.
    Quit,
    /// For the trouble it has told.
    Failed,
    /// It could not be begun, for a reason on this machine that concerns this way.
    Local(String),
    /// It could not be begun, as this machine has no room for it now.
    NoRoom(String),
    /// Nobody answered.
    Unreachable(String),
    /// TLS could not be begun.
    Tls(String),
    /// The content could not be read.
    Content,
    /// A defect of ours.
    Defect,
    /// The process ends.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) route: RouteId,
    /// The name of the server.
    pub(super) host: Arc<str>,
    pub(super) path: Path,
    /// What it counts in.
    pub(super) scopes: Scopes,
    /// When it was begun.
    begun: Time,
    pub(super) tls: HopTls,
    pub(super) state: State,
    pub(super) task: Option<Try>,
    /// Messages it has taken on.
    mails: u32,
    /// It has been idle: the server may have ended it meanwhile.
    was_idle: bool,
    /// It has been ready.
    pub(super) is_proven: bool,
    /// Its server offers DSN.
    dsn: bool,
    /// The address of this end.
    local: Option<IpAddr>,
    /// Why it ends.
    trouble: Option<Trouble>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It will be ready, and take a task then.
    Coming,
    /// It has a task.
    Busy,
    /// It waits for one until then.
    Idle(Time),
    /// It takes nothing more.
    Ending,
}

impl Session {
    pub(super) fn new(
        route: RouteId,
        host: Arc<str>,
        (path, scopes): (Path, Scopes),
        tls: HopTls,
        begun: Time,
    ) -> Session {
        Session {
            route,
            host,
            path,
            scopes,
            begun,
            tls,
            state: State::Coming,
            task: None,
            mails: 0,
            was_idle: false,
            is_proven: false,
            dsn: false,
            local: None,
            trouble: None,
        }
    }
}

impl Relay {
    /// A session can begin a transaction; its own address is `local`. The first time this says
    /// that greeting, TLS and AUTH are over.
    pub fn ready(
        &mut self,
        id: SessionId,
        local: Option<IpAddr>,
        offers: Offers,
        now: Clock,
    ) -> Next {
        let Some(session) = self.sessions.get_mut(&id) else { return Next::Quit };
        let Some(route) = self.routes.get_mut(&session.route) else { return Next::Quit };
        self.touched.insert(session.route);
        if !mem::replace(&mut session.is_proven, true) {
            (session.local, session.dsn) = (local, offers.dsn);
            route.is_proven = true;
            if self.blocks.free(&session.path) {
                line::enabled(&session.path, &session.host);
            }
        }
        let pace = route.hop.pace;
        let last = mem::replace(&mut session.state, State::Coming);
        if let State::Idle(_) = last {
            route.idle -= 1;
            self.tallies.busy_again(&session.scopes);
        }
        let has_its_share =
            session.mails >= SHARE && self.busy.has_others(&session.scopes, session.route);
        if has_its_share {
            // What it has waiting comes behind the others.
            route.ticket = None;
        }
        if last == State::Ending || has_its_share || session.mails >= pace.mails {
            session.state = State::Ending;
            return Next::Quit;
        }
        // All recipients have an outcome, or it would not be ready.
        debug_assert!(session.task.as_ref().is_none_or(Try::is_over));
        session.task = None;
        route.spare.take_if(|spare| *spare == id);
        if session.mails > 0 && !pace.mail_delay.is_zero() && last == State::Busy {
            return Next::Wait(now.mono + pace.mail_delay);
        }
        let rate = self.rates.full(&route.hop.key.place, pace.rates, now.mono);
        let next = if rate.is_none() { route.next_for(&session.path) } else { None };
        if let Some(mut one) = next {
            self.rates.count(&route.hop.key.place, pace.rates, now.mono);
            if !offers.smtputf8
                && let Some(others) = one.split_off_international()
            {
                route.push_front(others);
            }
            session.state = State::Busy;
            session.mails += 1;
            session.task = Some(one);
            return Next::Mail;
        }
        let keep_until = match last {
            State::Idle(until) => until,
            _ => now.mono + pace.keep_alive,
        };
        // One idle connection is enough for servers that may be anybody's.
        let is_enough = pace.careful && route.idle > 0 && !matches!(last, State::Idle(_));
        if now.mono >= keep_until || is_enough {
            session.state = State::Ending;
            return Next::Quit;
        }
        route.idle += 1;
        self.tallies.idle(&session.scopes);
        // It gives way to those who wait for room.
        let waiting = self.busy.take_for(&session.scopes);
        session.was_idle = true;
        session.state = State::Idle(keep_until);
        self.call(waiting);
        Next::Wait(keep_until)
    }

    /// The task whose transaction a session is to begin, or has open.
    #[must_use]
    pub fn current(&self, id: SessionId) -> Option<&Task> {
        self.sessions.get(&id)?.task.as_ref().map(|one| &one.task)
    }

    /// Whether a session has been kept for the message it has: after another one, or from before
    /// it was there.
    #[must_use]
    pub fn is_kept(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.mails > 1 || session.was_idle)
    }

    /// A session tells of its task, or of itself.
    pub fn told(&mut self, id: SessionId, whom: Whom, mut told: Told, now: Clock) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Told::Failed(Trouble { failure, reply: Some(reply), .. }) = &mut told {
            failure.remote = Some(Arc::new(Remote::new(&session.host, reply)));
        }
        let route_id = session.route;
        self.touched.insert(route_id);
        if let (Some(route), Told::Failed(trouble)) = (self.routes.get_mut(&route_id), &told)
            && (trouble.pressed || trouble.again == Again::Elsewhere)
        {
            route.slow_down();
        }
        let Some(mut one) = session.task.take() else {
            if let Told::Failed(trouble) = told {
                session.trouble = Some(trouble);
            }
            return;
        };
        let is_stale = match &told {
            Told::Failed(trouble) if whom == Whom::Rest && trouble.again != Again::No => {
                session.trouble = Some(trouble.clone());
                trouble.again == Again::Stale && one.stale < STALE
            }
            told => {
                if let (Whom::Rest, Told::Failed(trouble)) = (whom, told) {
                    session.trouble = Some(trouble.clone());
                }
                self.settle(id, &mut one, whom, told, now);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.task = Some(one);
                }
                return;
            }
        };
        // The connection is lost, and the rest of the task with it.
        session.state = State::Ending;
        let Some(trouble) = &session.trouble else { return };
        match is_stale {
            true => one.stale += 1,
            false => one.tried.push(session.path.1),
        }
        one.why = Some(trouble.failure.clone());
        self.put_back(route_id, one);
    }

    /// What is left of a task goes to another connection.
    fn put_back(&mut self, route: RouteId, one: Try) {
        if !one.is_over()
            && let Some(route) = self.routes.get_mut(&route)
        {
            route.push_front(one);
        }
    }

    /// Reports outcomes.
    fn settle(&mut self, id: SessionId, one: &mut Try, whom: Whom, told: &Told, now: Clock) {
        let Some(session) = self.sessions.get(&id) else { return };
        let attempt = match told {
            Told::Delivered(reply) => {
                let is_last = !session.dsn && asks_for_success(&one.task.message);
                let remote = is_last.then(|| Arc::new(Remote::new(&session.host, reply)));
                Attempt::Relayed(remote)
            }
            Told::Failed(Trouble { failure, permanent: true, .. }) => {
                Attempt::Failed(failure.clone())
            }
            Told::Failed(Trouble { failure, .. }) => Attempt::Later(failure.clone()),
        };
        let stat = match told {
            Told::Delivered(text) => text,
            Told::Failed(trouble) => &trouble.failure.text,
        };
        let (local, relay) = (session.local, (session.path.1.ip(), &*session.host));
        let route_id = session.route;
        for Recipient { batch, id: envelope, to } in one.settle(whom) {
            let delivery = line::Delivery {
                session: id,
                message: &one.task.message,
                envelope,
                source: local,
                relay: Some(relay),
                attempt: &attempt,
                stat,
            };
            line::delivery(&delivery, now.unix);
            self.stats.note(to.domain(), stat, now.unix);
            self.reports.entry(batch).or_default().push((envelope, attempt.clone()));
        }
        if attempt.is_success()
            && let Some(route) = self.routes.get_mut(&route_id)
        {
            let deferred = route.speed_up(now.mono);
            if !deferred.is_empty() {
                self.outputs.push(super::Output::Schedule(deferred));
            }
        }
    }

    /// A session is over.
    pub fn closed(&mut self, id: SessionId, end: &End, now: Clock) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let State::Idle(_) = session.state {
            self.tallies.busy_again(&session.scopes);
        }
        self.tallies.end(&session.scopes, now.mono);
        let Session { route: route_id, path, host, mails, is_proven, task, .. } = session;
        self.touched.insert(route_id);
        let waiting = self.busy.take_all();
        self.call(waiting);
        self.is_stopping |= *end == End::Stopped;
        if let Some(route) = self.routes.get_mut(&route_id) {
            route.sessions.retain(|one| *one != id);
            route.spare.take_if(|spare| *spare == id);
            if let State::Idle(_) = session.state {
                route.idle -= 1;
            }
        }
        let told = session.trouble.as_ref().map(|trouble| &trouble.failure);
        let failure = match end {
            End::Quit | End::Stopped => None,
            End::Failed => {
                Some(told.cloned().unwrap_or_else(|| later("the connection was closed")))
            }
            End::Local(text) | End::NoRoom(text) => Some(later(text)),
            End::Unreachable(text) => Some(super::names::failure((4, 4, 1), text)),
            End::Tls(text) => Some(super::names::failure((4, 7, 5), text)),
            End::Content => Some(later("the message cannot be read now")),
            End::Defect => Some(later("a defect of ours: see the log")),
        };
        let is_stale = session.trouble.as_ref().is_some_and(|one| one.again == Again::Stale);
        match &failure {
            Some(_) if is_stale => line::disconnected(id, "idle", mails),
            Some(failure) => line::error(id, &failure.text),
            None => line::disconnected(id, "quit", mails),
        }
        if let (false, Some(failure)) = (is_proven, &failure) {
            match end {
                End::Tls(_) if session.tls == HopTls::Opportunistic => {
                    line::downgrade(id);
                    self.blocks.speak_in_clear(path.1, now.mono);
                }
                // Nothing is known of the server.
                End::NoRoom(_) => self.no_room = Some((now.mono + NO_ROOM, failure.clone())),
                _ => {
                    let has_told = session.trouble.as_ref().map(|trouble| trouble.again);
                    let why = Why {
                        failure: match end {
                            End::Local(_) => failure.clone(),
                            _ => on_the_way(failure),
                        },
                        may_pass: match end {
                            End::Unreachable(_) => true,
                            _ => has_told.is_some_and(|again| again != Again::No),
                        },
                    };
                    let wait = self.blocks.block(path, why, session.begun, now.mono);
                    if let Some(wait) = wait {
                        line::disabled(&path, &host, wait);
                    }
                    if let Some(route) = self.routes.get_mut(&route_id) {
                        route.slow_down();
                    }
                }
            }
        }
        let Some(mut one) = task.filter(|_| *end != End::Stopped) else { return };
        let failure = failure.unwrap_or_else(|| later("the connection was closed"));
        one.tried.push(path.1);
        match end {
            End::Content | End::Defect => self.fail(one, &Attempt::Later(failure), false, now),
            _ => {
                one.why = Some(failure);
                self.put_back(route_id, one);
            }
        }
    }
}

/// Why a way is not gone, in upstream's words.
fn on_the_way(failure: &Failure) -> Failure {
    let text = format!("Network error on destination MXs: {}", failure.text);
    Failure { text, ..failure.clone() }
}

/// Whether the sender asks to be told of success of some recipient (RFC 3461 section 4.1).
fn asks_for_success(message: &Message) -> bool {
    message.envelopes.iter().any(|one| one.notify.is_some_and(|notify| notify.success))
}
