//! The tasks and the connections of one next hop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;
use smtpd_queue::delivery::{Attempt, Failure};
use smtpd_queue::id::EnvelopeId;

use super::blocks::Path;
use super::names::{About, Answer, Names, Question};
use super::session::Whom;
use super::tally::Kind;
use super::task::{Hop, Recipient, Task};

/// The number of a route.
pub(super) type RouteId = u64;

/// For how long the addresses of a hop are used for new connections without being asked for anew.
/// The resolver remembers them for as long as it may.
const NAMES: Duration = Duration::from_secs(30);

/// For how long it is believed that the DNS does not know them now: the resolver asks no earlier.
pub(super) const UNKNOWN: Duration = Duration::from_secs(5);

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
    /// Since when it waits for a way to be free.
    pub(super) since: Option<Time>,
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
        let Task { from, content, .. } = &self.task;
        if content.utf8_header || from.mailbox().is_some_and(|from| !from.as_str().is_ascii()) {
            // It takes such a server whoever gets it.
            return None;
        }
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
    pub(super) coming: Option<Names>,
    /// When they were asked for.
    asked: Time,
    /// Since when it is known that the DNS does not know them now.
    pub(super) unknown: Option<Time>,
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
    pub(super) turn: usize,
    /// Envelopes that failed because nobody answered.
    pub(super) deferred: VecDeque<EnvelopeId>,
    /// When a server has taken a message last.
    pub(super) delivered: Option<Time>,
    /// A connection is to be opened for a message that is about to come.
    pub(super) wants_spare: bool,
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
    pub(super) fn is_unknown(&self) -> bool {
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
    pub(super) fn ask(&mut self, now: Time, ask: &mut Vec<(About, Question)>) {
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

    pub(super) fn names(&self) -> Option<&Names> {
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
