//! The resolver as a value: questions go in, answers come out, and between them octets and time.
//!
//! What is to be sent comes out as a [`Wish`], what has come in goes to [`Resolver::received`].
//! Each question is answered once, at the latest when all attempts of all nameservers are over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use smtpd_engine::time::Time;

use super::limits;
use super::lookups::{Lookups, Need};
use super::message::Key;
use super::plan::{self, Known, Step};
use super::settings::Settings;
use super::{Answer, Question, Trouble};

/// Where the numbers of questions come from. They must not be guessed: it is they and the ports
/// that keep strangers from answering.
pub type Random = Box<dyn FnMut() -> u16 + Send>;

/// A question that was asked; never another one of the same resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(u64);

/// A socket of the resolver's, a small number that is used again once it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub usize);

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram there, the answer another.
    Udp,
    /// A connection for one question and its answer, each with its length before it (RFC 1035
    /// section 4.2.2).
    Tcp,
}

/// What the resolver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This message sent over a new socket, from a port that nobody can guess, and what comes
    /// from that address alone given to [`Resolver::received`].
    Send {
        /// The socket's number.
        on: WireId,
        /// The nameserver.
        to: SocketAddr,
        /// How.
        transport: Transport,
        /// The message, without a length.
        message: Vec<u8>,
    },
    /// This socket closed.
    Close(WireId),
}

/// The resolver.
pub struct Resolver {
    settings: Settings,
    lookups: Lookups,
    queries: BTreeMap<QueryId, Query>,
    /// When the questions that could be answered are no longer patient.
    patience: BTreeSet<(Time, QueryId)>,
    answers: VecDeque<(QueryId, Answer)>,
    last: u64,
    /// Questions about names of clients.
    names: usize,
}

struct Query {
    question: Question,
    need: Need,
    known: Known,
    asked: Vec<Key>,
    patience: Option<Time>,
}

impl Resolver {
    /// A resolver with an empty cache.
    #[must_use]
    pub fn new(settings: Settings, random: Random) -> Resolver {
        Resolver {
            lookups: Lookups::new(&settings, random),
            settings,
            queries: BTreeMap::new(),
            patience: BTreeSet::new(),
            answers: VecDeque::new(),
            last: 0,
            names: 0,
        }
    }

    /// Asks. The answer may be there at once; it is always [`Resolver::next_answer`] that gives it.
    pub fn ask(&mut self, question: Question, now: Time) -> QueryId {
        self.last += 1;
        let id = QueryId(self.last);
        let need = match question {
            Question::Name(_) => Need::Name,
            Question::Mx(_) | Question::Addresses(_) => Need::Mail,
        };
        let is_busy = self.queries.len() >= limits::QUESTIONS
            || (need == Need::Name && self.names >= limits::QUESTIONS_FOR_NAMES);
        if is_busy {
            self.answers.push_back((id, Answer::Temporary(Trouble::Busy)));
            return id;
        }
        self.names += usize::from(need == Need::Name);
        let (known, asked) = (Vec::new(), Vec::new());
        self.queries.insert(id, Query { question, need, known, asked, patience: None });
        self.go_on(id, true, now);
        id
    }

    /// Nobody waits for this answer any more: it is not given, unless it is there already.
    pub fn forget(&mut self, id: QueryId) {
        let Some(query) = self.end(id) else { return };
        for key in &query.asked {
            self.lookups.forget(key, id);
        }
    }

    fn end(&mut self, id: QueryId) -> Option<Query> {
        let query = self.queries.remove(&id)?;
        if let Some(at) = query.patience {
            self.patience.remove(&(at, id));
        }
        self.names -= usize::from(query.need == Need::Name);
        Some(query)
    }

    /// Other nameservers and hosts count from now on. What is being asked is asked anew.
    pub fn set(&mut self, settings: Settings, now: Time) {
        self.lookups.set(&settings, now);
        self.settings = settings;
    }

    /// An answer that has not been given yet.
    pub fn next_answer(&mut self) -> Option<(QueryId, Answer)> {
        self.answers.pop_front()
    }

    /// Whether [`Resolver::next_answer`] has one.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next thing to be done, in this order.
    pub fn next_wish(&mut self) -> Option<Wish> {
        self.lookups.wishes.pop_front()
    }

    /// Whether [`Resolver::next_wish`] has one.
    pub(super) fn has_wishes(&self) -> bool {
        !self.lookups.wishes.is_empty()
    }

    /// Octets came over a socket: a datagram, or a whole message of a stream. What does not answer
    /// the question is passed over.
    pub fn received(&mut self, on: WireId, octets: &[u8], now: Time) {
        self.lookups.received(on, octets, now);
        self.tell(now);
    }

    /// A socket could not be opened or written to, or nothing will come from it.
    pub fn broken(&mut self, on: WireId, now: Time) {
        self.lookups.broken(on, now);
        self.tell(now);
    }

    /// When [`Resolver::timeout`] is to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let patience = self.patience.first().map(|(at, _)| *at);
        self.lookups.next().into_iter().chain(patience).min()
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Time) {
        self.lookups.see_to_deadlines(now);
        self.tell(now);
        while let Some((at, id)) = self.patience.first().copied()
            && at <= now
        {
            self.patience.pop_first();
            self.go_on(id, false, now);
        }
    }

    /// Why the last question that needed a nameserver found none: the DNS is gone.
    #[must_use]
    pub fn silence(&self) -> Option<Trouble> {
        self.lookups.silence
    }

    /// Tells the questions what has become known.
    fn tell(&mut self, now: Time) {
        while let Some((key, found, askers)) = self.lookups.known.pop_front() {
            for id in askers {
                if let Some(query) = self.queries.get_mut(&id) {
                    query.known.push((key.clone(), found.clone()));
                    self.go_on(id, true, now);
                }
            }
        }
    }

    fn go_on(&mut self, id: QueryId, patient: bool, now: Time) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        loop {
            match plan::step(&query.question, &self.settings, &query.known, patient) {
                Step::Answer(answer) => {
                    self.end(id);
                    self.answers.push_back((id, answer));
                    return;
                }
                Step::Wants { keys, patient } => {
                    if patient && query.patience.is_none() {
                        let at = now + limits::OTHER_FAMILY;
                        query.patience = Some(at);
                        self.patience.insert((at, id));
                    }
                    let before = query.known.len();
                    for key in keys {
                        if !query.asked.contains(&key) {
                            query.asked.push(key.clone());
                            let found = self.lookups.find(&key, (id, query.need), now);
                            query.known.extend(found.map(|found| (key, found)));
                        }
                    }
                    if query.known.len() == before {
                        return;
                    }
                }
            }
        }
    }
}
