//! Record sets and how they are got: from the cache, or from a nameserver.
//!
//! A set that several ask for is asked for once. Its attempts go to one nameserver after the other,
//! in the order of `resolv.conf` but those that were silent lately last, each with a number and a
//! socket of its own. The next attempt begins when the last one's time is over or its nameserver
//! was of no help; the socket of the one before stays open, since its answer may still come. When
//! no nameserver is left to ask, that is the result.

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
    /// Those that wait for their turn.
    waiting: VecDeque<Key>,
    /// The others.
    active: usize,
    timers: BTreeSet<(Time, Key)>,
    wires: Slab<Wire>,
    /// What is to be sent and closed.
    pub wishes: VecDeque<Wish>,
    /// What has become known, and who asked for it.
    pub known: VecDeque<(Key, Arc<Found>, Vec<QueryId>)>,
    /// The last one of them that needed a nameserver found none.
    pub silence: Option<Trouble>,
}

struct Server {
    address: SocketAddr,
    /// Until then it is asked after the others.
    down: Time,
}

struct Lookup {
    askers: Vec<QueryId>,
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
        let server = |address: &SocketAddr| Server { address: *address, down: Time::default() };
        Lookups {
            servers: settings.nameservers.iter().map(server).collect(),
            timeout: settings.timeout,
            attempts: settings.attempts,
            random,
            cache: Cache::default(),
            lookups: BTreeMap::new(),
            waiting: VecDeque::new(),
            active: 0,
            timers: BTreeSet::new(),
            wires: Slab::new(),
            wishes: VecDeque::new(),
            known: VecDeque::new(),
            silence: None,
        }
    }

    /// A record set, if it is known; `asker` will be told it otherwise.
    pub(super) fn find(&mut self, key: &Key, asker: QueryId, now: Time) -> Option<Arc<Found>> {
        if let Some(lookup) = self.lookups.get_mut(key) {
            lookup.askers.push(asker);
            return None;
        }
        if let Some(found) = self.cache.get(key, now) {
            return Some(found);
        }
        let lookup = Lookup {
            askers: vec![asker],
            attempts: [0; limits::NAMESERVERS],
            useless: [false; limits::NAMESERVERS],
            wires: VecDeque::new(),
            deadline: Time::NEVER,
            trouble: Trouble::TimedOut,
        };
        self.lookups.insert(key.clone(), lookup);
        self.waiting.push_back(key.clone());
        self.begin(now);
        None
    }

    /// Begins what waits, as far as there is room.
    fn begin(&mut self, now: Time) {
        while self.active < limits::ACTIVE
            && let Some(key) = self.waiting.pop_front()
        {
            self.active += 1;
            self.attempt(&key, now);
        }
    }

    /// When [`Lookups::see_to_deadlines`] is to be called.
    pub(super) fn next(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn see_to_deadlines(&mut self, now: Time) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
            && let Some((_, key)) = self.timers.pop_first()
        {
            let Some(lookup) = self.lookups.get_mut(&key) else { continue };
            lookup.deadline = Time::NEVER;
            lookup.trouble = Trouble::TimedOut;
            if let Some(wire) = lookup.wires.back().and_then(|wire| self.wires.get(wire.0)) {
                self.servers[wire.server].down = now + limits::DOWN;
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
                self.servers[wire.server].down = Time::default();
                self.silence = None;
                self.useless(on, trouble, now);
            }
            (Reply::Found(found, ttl), _) => {
                self.servers[wire.server].down = Time::default();
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
                if matches!(trouble, Trouble::TimedOut | Trouble::Unreachable) {
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
        self.begin(now);
    }
}
