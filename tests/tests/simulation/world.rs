//! What happens next, by the seed: who is turned, how the clocks go, when the disk fails.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smtpd_config::Config;
use smtpd_engine::time::Time;
use smtpd_queue::disk::Disk;
use smtpd_queue::disk::fault::{Fault, FaultDisk};
use smtpd_queue::scheduler::Clock;
use smtpd_tests::rng::Rng;

use crate::model::{Model, Tally, USERS, maildir};
use crate::node::{Node, SPOOL, Whims, config};
use crate::peer::Peer;

/// How often something happens before everything comes to its end.
const ACTS: RangeInclusive<usize> = 200..=1200;

/// Peers that are there at once.
const PEERS: usize = 5;

/// See the module.
pub struct World {
    rng: Rng,
    whims: Rc<Whims>,
    config: Arc<Config>,
    clock: Clock,
    disk: FaultDisk,
    node: Node,
    peers: BTreeMap<u64, Peer>,
    connections: u64,
    model: Model,
    /// The disk fails, or fills up, now and then.
    fails: bool,
    /// The power goes now and then.
    crashes: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let whims = Whims::new(rng.next_u64());
        let config = config();
        let disk = FaultDisk::new(Path::new(SPOOL));
        let node = Node::start(&disk, &config, &whims, &mut rng).expect("nothing fails yet");
        let mono = Time::from_micros(rng.next_u64() >> 20);
        Self {
            whims,
            config,
            clock: Clock { unix: 1_700_000_000_000_000, mono },
            disk,
            node,
            peers: BTreeMap::new(),
            connections: 0,
            model: Model::default(),
            fails: rng.one_in(2),
            crashes: rng.one_in(2),
            rng,
        }
    }

    /// Everything, up to the last look into the Maildirs.
    pub fn play(mut self) -> Tally {
        let acts = ACTS.start() + self.rng.below(ACTS.end() - ACTS.start());
        for _ in 0..acts {
            self.act();
            if self.disk.is_off() {
                self.restart(true);
            }
        }
        self.calm();
        self.drain();
        if self.crashes {
            self.restart(true);
            self.calm();
            self.drain();
        }
        self.model.check(&self.disk);
        self.model.tally
    }

    fn act(&mut self) {
        let Self { node, rng, model, clock, .. } = self;
        match rng.below(100) {
            0..6 => self.connect(),
            6..36 => self.send(),
            36..46 => drop(self.hear()),
            46..48 => drop(node.look_up(*clock, rng, model)),
            48..56 => self.commit(),
            56..59 => node.tidy(*clock, model),
            59..66 => drop(node.write_content(*clock, model)),
            66..76 => drop(node.schedule(*clock)),
            76..82 => drop(node.deliver(*clock, rng, model)),
            82..85 => drop(node.turn_store()),
            85..91 => {
                let micros = rng.below(2_000_000) as u64;
                self.pass(Duration::from_micros(micros));
            }
            91..93 => self.pass_until_something_is_due(),
            93 => self.step_wall_clock(),
            94..96 => self.read_mail(),
            96..98 if self.fails => self.fail(),
            98 if self.crashes => {
                let steps = self.disk.steps() + self.rng.below(30) as u64;
                self.disk.stop_after(steps);
            }
            99 if self.crashes && self.rng.one_in(4) => self.restart(false),
            _ => {}
        }
    }

    /// A group is committed; now and then its sync fails, and perhaps the abort after it. What is
    /// refused then must stay refused, also when the server ends at once.
    fn commit(&mut self) {
        let fails = self.fails && self.rng.one_in(3) && self.node.has_messages();
        if fails {
            let sync = self.disk.steps() + 1;
            let steps = *self.rng.pick(&[1, 1, 1, 2, 4]);
            self.disk.fail(sync..sync + steps, Fault::Io);
        }
        self.node.commit(self.clock, &mut self.model);
        if fails && self.crashes && self.rng.one_in(2) {
            let power = self.rng.one_in(2);
            self.restart(power);
        }
    }

    fn connect(&mut self) {
        if self.peers.len() < PEERS {
            self.connections += 1;
            self.node.connect(self.connections, self.clock.mono, &mut self.rng);
            self.peers.insert(self.connections, Peer::new(&mut self.rng, &mut self.model));
        }
    }

    /// Some peer sends something, or the session takes it.
    fn send(&mut self) {
        let Some(conn) = self.some_peer() else { return };
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.is_done() {
            // What has arrived by then may be taken first.
            if self.rng.one_in(2) {
                self.node.run(conn, self.clock);
            }
            self.model.tally.hung_up += u64::from(peer.is_fed_up());
            self.part(conn);
            return;
        }
        if let Some(octets) = peer.send(&mut self.rng, &mut self.model) {
            self.node.receive(conn, &octets);
        }
        if self.rng.one_in(2) {
            self.node.run(conn, self.clock);
        }
    }

    /// Some peer hears what was said.
    fn hear(&mut self) -> bool {
        let Some(conn) = self.some_peer() else { return false };
        self.hear_all(conn)
    }

    fn hear_all(&mut self, conn: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let (octets, closed) = self.node.heard(conn);
        peer.hear(&octets, &mut self.model);
        if closed {
            self.part(conn);
        }
        closed || !octets.is_empty()
    }

    fn part(&mut self, conn: u64) {
        self.peers.remove(&conn);
        self.node.hang_up(conn);
    }

    fn some_peer(&mut self) -> Option<u64> {
        let nth = self.rng.below(self.peers.len().max(1));
        self.peers.keys().nth(nth).copied()
    }

    fn pass(&mut self, time: Duration) {
        self.clock.unix += time.as_micros() as u64;
        self.clock.mono = self.clock.mono + time;
        self.node.time_passes(self.clock);
    }

    fn pass_until_something_is_due(&mut self) {
        if let Some(at) = self.node.next_deadline(self.clock) {
            self.pass(at.saturating_since(self.clock.mono));
        }
    }

    /// Somebody sets the wall clock, by two days at most.
    fn step_wall_clock(&mut self) {
        let step = self.rng.below(2 * 86_400) as u64 * 1_000_000;
        match self.rng.one_in(2) {
            true => self.clock.unix += step,
            false => self.clock.unix -= step,
        }
    }

    /// Somebody reads mail: what is in `new` goes to `cur`, in an order that loses none.
    fn read_mail(&mut self) {
        let user = *self.rng.pick(&USERS);
        let (new, cur) = (maildir(user).join("new"), maildir(user).join("cur"));
        let Ok(entries) = self.disk.list(&new) else { return };
        let Some(entry) = entries.first() else { return };
        let mut name = entry.name.clone();
        name.push(":2,S");
        let moved = self.disk.link(&new.join(&entry.name), &cur.join(name));
        let moved = moved.and_then(|()| self.disk.sync_dir(&cur));
        if moved.and_then(|()| self.disk.unlink(&new.join(&entry.name))).is_ok() {
            self.model.tally.read += 1;
        }
    }

    /// The disk fails for a while, fills up, or has space again.
    fn fail(&mut self) {
        let from = self.disk.steps() + self.rng.below(10) as u64;
        let until = from + 1 + self.rng.below(6) as u64;
        match self.rng.below(5) {
            0 => self.disk.fail(from..until, Fault::NoSpace),
            1 => self.disk.set_capacity(self.rng.below(1 << 20) as u64),
            2 => self.disk.set_capacity(u64::MAX),
            _ => self.disk.fail(from..until, Fault::Io),
        }
    }

    /// The power goes, or the process is killed; and all begins again with what is on the disk.
    fn restart(&mut self, power: bool) {
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            // What was said may have left before.
            if self.rng.one_in(2) {
                self.hear_all(conn);
            }
        }
        self.peers.clear();
        match power {
            true => self.model.tally.crashed += 1,
            false => self.model.tally.killed += 1,
        }
        let odds = 1 + self.rng.below(9);
        self.disk = match power {
            true => self.disk.after_crash(|| self.rng.below(10) < odds),
            false => self.disk.after_kill(),
        };
        loop {
            if self.crashes && self.rng.one_in(3) {
                self.disk.stop_after(self.rng.below(20) as u64);
            }
            let started = Node::start(&self.disk, &self.config, &self.whims, &mut self.rng);
            match started {
                Ok(node) => {
                    self.node = node;
                    return;
                }
                Err(_) if self.disk.is_off() => {
                    self.model.tally.stopped_starting += 1;
                    self.disk = self.disk.after_crash(|| self.rng.below(10) < odds);
                }
                Err(_) => self.disk.set_capacity(u64::MAX),
            }
        }
    }

    /// Nothing fails any more, and all peers come to their end.
    fn calm(&mut self) {
        self.disk.heal();
        self.disk.set_capacity(u64::MAX);
        self.disk.stop_after(u64::MAX);
        self.whims.end();
        let mut idle = 0;
        while !self.peers.is_empty() {
            let mut busy = self.turn_all();
            for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                self.node.run(conn, self.clock);
                busy |= self.hear_all(conn);
                let Some(peer) = self.peers.get_mut(&conn) else { continue };
                if peer.is_done() {
                    self.part(conn);
                    busy = true;
                } else if let Some(octets) = peer.send(&mut self.rng, &mut self.model) {
                    self.node.receive(conn, &octets);
                    busy = true;
                }
            }
            idle = if busy { 0 } else { idle + 1 };
            assert!(idle < 10, "{} peers wait for ever", self.peers.len());
            if !busy {
                self.pass(Duration::from_secs(1));
            }
        }
    }

    /// Lets time pass until the queue is empty.
    fn drain(&mut self) {
        for _ in 0..2000 {
            while self.turn_all() {}
            if self.node.reader.messages() == 0 {
                assert_eq!(self.node.budget.used(), 0, "memory that nobody gave back");
                return;
            }
            self.pass(Duration::from_secs(1));
            self.pass_until_something_is_due();
        }
        panic!("{} messages stay in the queue", self.node.reader.messages());
    }

    /// Turns everything once. False when nothing had anything to do.
    fn turn_all(&mut self) -> bool {
        let Self { node, rng, model, clock, .. } = self;
        let looked_up = node.look_up(*clock, rng, model);
        let written = node.write_content(*clock, model);
        let committed = node.commit(*clock, model);
        node.tidy(*clock, model);
        let scheduled = node.schedule(*clock);
        let delivered = node.deliver(*clock, rng, model);
        let asked = node.turn_store();
        looked_up || written || committed || scheduled || delivered || asked
    }
}
