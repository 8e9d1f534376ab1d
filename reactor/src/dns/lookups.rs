//! Record sets and how they are got: from the cache, or from a nameserver.
//!
//! A set that several ask for is asked for once. Its attempts go to one nameserver after the other,
//! in the order of `resolv.conf` but those that were silent lately last, each with a number and a
//! socket of its own. The next attempt begins when the last one's time is over or its nameserver
//! was of no help; the socket of the one before stays open, since its answer may still come. When
//! no nameserver is left to ask, that is the result.
//!
//! Sets that mail needs go before those that only the names of clients need, and the latter never
//! take all the room.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use smtpd_engine::time::Time;

use super::Trouble;
use super::cache::Cache;
use super::limits;
use super::message::{self, Found, Key, Reply};
use super::resolver::{QueryId, Random, Transport, WireId, Wish};
use super::settings::Settings;

pub(super) struct Lookups {
    servers: Vec<Server>,
    timeout: Duration,
    attempts: u8,
    random: Random,
    cache: Cache,
    lookups: BTreeMap<Key, Lookup>,
    /// Those that wait for their turn, the next one first.
    waiting: BTreeMap<Turn, Key>,
    turns: u64,
    /// The others, and those of them that only names need.
    active: usize,
    active_for_names: usize,
    timers: BTreeSet<(Time, Key)>,
    wires: Slab<Wire>,
    /// What is to be sent and closed.
    pub wishes: VecDeque<Wish>,
    /// What has become known, and who asked for it.
    pub known: VecDeque<(Key, Arc<Found>, Vec<QueryId>)>,
    /// The last one of them that mail needed and that needed a nameserver found none.
    pub silence: Option<Trouble>,
}

struct Server {
    address: SocketAddr,
    /// Until then it is asked after the others.
    down: Time,
    /// Its last answer. While it answers others, it is the name that is slow: a stranger's name
    /// must not bring it into disrepute.
    heard: Time,
}

impl Server {
    fn answers(&mut self, now: Time) {
        (self.down, self.heard) = (Time::default(), now);
    }

    fn new(address: &SocketAddr) -> Server {
        Server { address: *address, down: Time::default(), heard: Time::default() }
    }
}

/// What a record set is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Mail that is to be sent.
    Mail,
    /// The name of a client.
    Name,
}

/// Whose turn it is: first what mail needs, then who came first.
type Turn = (Need, u64);

struct Lookup {
    askers: Vec<QueryId>,
    need: Need,
    /// As long as it has not begun.
    turn: Option<Turn>,
    /// Attempts of each nameserver.
    attempts: [u8; limits::NAMESERVERS],
    /// What of each nameserver is not asked again.
    useless: [bool; limits::NAMESERVERS],
    /// Open sockets, the last attempt's behind.
    wires: VecDeque<WireId>,
    /// The end of the last attempt.
    deadline: Time,
    /// What the last attempt came to.
    trouble: Trouble,
}

struct Wire {
    key: Key,
    id: u16,
    transport: Transport,
    server: usize,
}

impl Lookups {
    pub(super) fn new(settings: &Settings, random: Random) -> Lookups {
        Lookups {
            servers: settings.nameservers.iter().map(Server::new).collect(),
            timeout: settings.timeout,
            attempts: settings.attempts,
            random,
            cache: Cache::default(),
            lookups: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: 0,
            active: 0,
            active_for_names: 0,
            timers: BTreeSet::new(),
            wires: Slab::new(),
            wishes: VecDeque::new(),
            known: VecDeque::new(),
            silence: None,
        }
    }

    /// A record set, if it is known; `asker` will be told it otherwise.
    pub(super) fn find(
        &mut self,
        key: &Key,
        (asker, need): (QueryId, Need),
        now: Time,
    ) -> Option<Arc<Found>> {
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.askers.push(asker);
            if need < lookup.need
                && let Some(turn) = &mut lookup.turn
            {
                self.waiting.remove(turn);
                *turn = (need, turn.1);
                lookup.need = need;
                self.waiting.insert(*turn, key.clone());
                self.begin(now);
            }
            return None;
        }
        if let Some(found) = self.cache.get(key, now) {
            return Some(found);
        }
        self.turns += 1;
        let turn = (need, self.turns);
        let lookup = Lookup {
            askers: vec![asker],
            need,
            turn: Some(turn),
            attempts: [0; limits::NAMESERVERS],
            useless: [false; limits::NAMESERVERS],
            wires: VecDeque::new(),
            deadline: Time::NEVER,
            trouble: Trouble::TimedOut,
        };
        self.lookups.insert(key.clone(), lookup);
        self.waiting.insert(turn, key.clone());
        self.begin(now);
        None
    }

    /// Somebody no longer asks for a record set. One that has begun goes on: the next who asks
    /// may know it then.
    pub(super) fn forget(&mut self, key: &Key, asker: QueryId) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        lookup.askers.retain(|one| *one != asker);
        if lookup.askers.is_empty()
            && let Some(turn) = lookup.turn
        {
            self.waiting.remove(&turn);
            self.lookups.remove(key);
        }
    }

    /// Asks these nameservers from now on. What is being asked is asked of them anew.
    pub(super) fn set(&mut self, settings: &Settings, now: Time) {
        let same = self.servers.iter().map(|server| &server.address).eq(&settings.nameservers);
        (self.timeout, self.attempts) = (settings.timeout, settings.attempts);
        if same {
            return;
        }
        self.servers = settings.nameservers.iter().map(Server::new).collect();
        let begun = self.lookups.iter().filter(|(_, lookup)| lookup.turn.is_none());
        for key in begun.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            lookup.attempts = [0; limits::NAMESERVERS];
            lookup.useless = [false; limits::NAMESERVERS];
            for on in std::mem::take(&mut lookup.wires) {
                self.close(&key, on);
            }
            self.attempt(&key, now);
        }
    }

    /// Begins what waits, as far as there is room.
    fn begin(&mut self, now: Time) {
        while self.active < limits::ACTIVE
            && let Some(next) = self.waiting.first_entry()
            && (next.key().0 == Need::Mail || self.active_for_names < limits::ACTIVE_FOR_NAMES)
        {
            let ((need, _), key) = next.remove_entry();
            if let Some(lookup) = self.lookups.get_mut(&key) {
                lookup.turn = None;
            }
            self.active += 1;
            self.active_for_names += usize::from(need == Need::Name);
            self.attempt(&key, now);
        }
    }

    /// When [`Lookups::see_to_deadlines`] is to be called.
    pub(super) fn next(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn see_to_deadlines(&mut self, now: Time) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now)
            && let Some((at, key)) = self.timers.pop_first()
        {
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            lookup.deadline = Time::NEVER;
            lookup.trouble = Trouble::TimedOut;
            if let Some(wire) = lookup.wires.back().and_then(|wire| self.wires.get(wire.0)) {
                let server = &mut self.servers[wire.server];
                if at.saturating_since(server.heard) >= self.timeout {
                    server.down = now + limits::DOWN;
                }
            }
            self.attempt(&key, now);
        }
    }

    /// Octets came for a question.
    pub(super) fn received(&mut self, on: WireId, octets: &[u8], now: Time) {
        let Some(wire) = self.wires.get(on.0) else { return };
        match (message::read(octets, wire.id, &wire.key), wire.transport) {
            (Reply::Foreign, Transport::Udp) => {}
            (Reply::Truncated, Transport::Udp) => {
                let (key, server) = (wire.key.clone(), wire.server);
                self.close(&key, on);
                self.send(&key, server, Transport::Tcp, now);
            }
            // A stream has one message to give.
            (Reply::Foreign | Reply::Truncated, Transport::Tcp) => {
                self.useless(on, Trouble::Garbled, now);
            }
            (Reply::Failed(trouble), _) => {
                self.servers[wire.server].answers(now);
                self.silence = None;
                self.useless(on, trouble, now);
            }
            (Reply::Found(found, ttl), _) => {
                self.servers[wire.server].answers(now);
                self.silence = None;
                let (key, found) = (wire.key.clone(), Arc::new(found));
                self.cache.put(&key, &found, ttl, now);
                self.finish(&key, found, now);
            }
        }
    }

    /// A question cannot be sent, or no answer will come.
    pub(super) fn broken(&mut self, on: WireId, now: Time) {
        let Some(wire) = self.wires.get(on.0) else { return };
        self.servers[wire.server].down = now + limits::DOWN;
        self.useless(on, Trouble::Unreachable, now);
    }

    /// A nameserver has been of no help. The next attempt begins, unless it has already.
    fn useless(&mut self, on: WireId, trouble: Trouble, now: Time) {
        let Some(wire) = self.wires.get(on.0) else { return };
        let (key, server) = (wire.key.clone(), wire.server);
        let Some(lookup) = self.lookups.get_mut(&key) else { return };
        lookup.useless[server] = true;
        lookup.trouble = trouble;
        let is_last = lookup.wires.back() == Some(&on);
        self.close(&key, on);
        if is_last {
            self.attempt(&key, now);
        }
    }

    /// Asks the nameserver whose turn it is, or gives up.
    fn attempt(&mut self, key: &Key, now: Time) {
        let Some(lookup) = self.lookups.get(key) else { return };
        let may = |nth: &usize| !lookup.useless[*nth] && lookup.attempts[*nth] < self.attempts;
        let next = (0..self.servers.len())
            .filter(may)
            .min_by_key(|nth| (lookup.attempts[*nth], self.servers[*nth].down > now, *nth));
        match next {
            Some(server) => self.send(key, server, Transport::Udp, now),
            None => {
                let trouble = lookup.trouble;
                let is_silent = matches!(trouble, Trouble::TimedOut | Trouble::Unreachable);
                if is_silent && lookup.need == Need::Mail {
                    self.silence = Some(trouble);
                }
                let failed = Arc::new(Found::Failed(trouble));
                let found = self.cache.put_failure(key, &failed, now);
                self.finish(key, found, now);
            }
        }
    }

    fn send(&mut self, key: &Key, server: usize, transport: Transport, now: Time) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        if transport == Transport::Udp {
            lookup.attempts[server] += 1;
        }
        let id = (self.random)();
        let on = WireId(self.wires.insert(Wire { key: key.clone(), id, transport, server }));
        lookup.wires.push_back(on);
        let oldest =
            lookup.wires.front().copied().filter(|_| lookup.wires.len() > limits::WIRES_EACH);
        self.timers.remove(&(lookup.deadline, key.clone()));
        lookup.deadline = now + self.timeout;
        self.timers.insert((lookup.deadline, key.clone()));
        if let Some(oldest) = oldest {
            self.close(key, oldest);
        }
        let message = message::question(id, key);
        let to = self.servers[server].address;
        self.wishes.push_back(Wish::Send { on, to, transport, message });
    }

    fn close(&mut self, key: &Key, on: WireId) {
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.wires.retain(|wire| *wire != on);
        }
        self.wires.try_remove(on.0);
        self.wishes.push_back(Wish::Close(on));
    }

    fn finish(&mut self, key: &Key, found: Arc<Found>, now: Time) {
        let Some(lookup) = self.lookups.remove(key) else { return };
        self.timers.remove(&(lookup.deadline, key.clone()));
        for on in lookup.wires {
            self.close(key, on);
        }
        self.known.push_back((key.clone(), found, lookup.askers));
        self.active -= 1;
        self.active_for_names -= usize::from(lookup.need == Need::Name);
        self.begin(now);
    }
}
