//! What happens next, by the seed: who is turned, how the clocks go, when the disk fails.

mod lives;

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
use smtpd_queue::schedule::LONGEST_WAIT;
use smtpd_queue::scheduler::Clock;
use smtpd_tests::rng::Rng;

use crate::model::Model;
use crate::peer::Peer;
use crate::people::{USERS, Whims, config, maildir};
use crate::server::{SPOOL, Server};
use crate::tally::Tally;
use crate::trace::note;
use lives::End;

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
    server: Server,
    peers: BTreeMap<u64, Peer>,
    connections: u64,
    model: Model,
    /// The disk fails, or fills up, now and then.
    fails: bool,
    /// The server ends without warning now and then.
    crashes: bool,
    /// An administrator is there, with a dice of his own: the other seeds do what they did before
    /// there was one.
    administrator: Option<Rng>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let whims = Whims::new(rng.next_u64());
        // Mostly nothing expires while clocks jump.
        let config = config(if rng.one_in(3) { 2 } else { 24_000 });
        let disk = FaultDisk::new(Path::new(SPOOL));
        let server = Server::start(&disk, &config, &whims, &mut rng).expect("nothing fails yet");
        let mono = Time::from_micros(rng.next_u64() >> 20);
        Self {
            whims,
            config,
            clock: Clock { unix: 1_700_000_000_000_000, mono },
            disk,
            server,
            peers: BTreeMap::new(),
            connections: 0,
            model: Model::default(),
            fails: rng.one_in(2),
            crashes: rng.one_in(2),
            administrator: Some(Rng::new(!seed)).filter(|_| seed % 2 == 1),
            rng,
        }
    }

    /// Everything, up to the last look into the Maildirs.
    pub fn play(mut self) -> Tally {
        let acts = ACTS.start() + self.rng.below(ACTS.end() - ACTS.start());
        for _ in 0..acts {
            // What has nothing to do is passed over, within reason.
            (0..20).any(|_| self.act());
            if let Some(rng) = &mut self.administrator {
                match rng.below(60) {
                    0..2 => self.server.order(rng, &mut self.model),
                    2 if rng.one_in(3) => self.server.pause(&mut self.model),
                    _ => {}
                }
            }
            if self.disk.is_off() {
                let power = self.rng.below(3) > 0;
                self.crash(if power { End::Power } else { End::Killed });
            }
        }
        self.calm();
        self.drain();
        self.check_content_files();
        if self.crashes {
            self.crash(End::Power);
            self.calm();
            self.drain();
        }
        self.restart();
        self.drain();
        self.model.check(&self.disk, !self.fails && !self.crashes);
        self.model.tally
    }

    /// Something happens; false when there was nothing to do.
    fn act(&mut self) -> bool {
        let Self { server, rng, model, clock, .. } = self;
        match rng.below(200) {
            0..12 => return self.connect(),
            12..72 => return self.send(),
            72..92 => return self.hear(),
            92..96 => return server.look_up(*clock, rng, model),
            96..112 => return self.commit(),
            112..118 => server.tidy(*clock, model),
            118..132 => return server.write_content(*clock, rng, model),
            132..152 => return server.schedule(*clock, model),
            152..164 => return self.deliver(),
            164..170 => return server.turn_store(model),
            170..182 => {
                let micros = rng.below(2_000_000) as u64;
                self.pass(Duration::from_micros(micros));
            }
            182..185 => self.pass_until_something_is_due(),
            185 => self.step_wall_clock(),
            186..190 => return self.read_mail(),
            190..194 if self.fails => self.fail(),
            194 if self.crashes && self.rng.one_in(2) => {
                let steps = self.disk.steps() + self.rng.below(30) as u64;
                self.disk.stop_after(steps);
            }
            195 if self.crashes && self.rng.one_in(4) => self.crash(End::Killed),
            196 if self.rng.one_in(6) => self.restart(),
            197 if self.rng.one_in(4) => {
                note(|| "a user leaves".to_owned());
                self.whims.leave();
            }
            198..200 => return self.server.bounce(self.clock, &mut self.rng, &mut self.model),
            _ => return false,
        }
        true
    }

    /// A group is committed; now and then its sync fails, and perhaps the abort after it. What is
    /// refused then must stay refused, also when the server ends at once.
    fn commit(&mut self) -> bool {
        let fails = self.fails && self.rng.one_in(3) && self.server.has_messages();
        if fails {
            let sync = self.disk.steps() + 1;
            let steps = *self.rng.pick(&[1, 1, 1, 2, 4]);
            note(|| format!("the sync fails, and {steps} steps"));
            self.disk.fail(sync..sync + steps, Fault::Io);
        }
        let committed = self.server.commit(self.clock, &mut self.model);
        if fails && self.crashes && self.rng.one_in(2) {
            // The content files of what was refused may go first.
            while self.rng.one_in(2) {
                self.server.write_content(self.clock, &mut self.rng, &mut self.model);
            }
            let end = *self.rng.pick(&[End::Power, End::Killed]);
            self.crash(end);
        }
        committed
    }

    /// A batch is tried. Some read their mail at once, before anybody has heard that it is
    /// delivered.
    fn deliver(&mut self) -> bool {
        let tried = self.server.deliver(self.clock, &mut self.rng, &mut self.model);
        if tried && self.rng.one_in(4) {
            for _ in 0..4 {
                self.read_mail();
            }
            if self.crashes && self.rng.one_in(4) && !self.disk.is_off() {
                self.crash(End::Power);
            }
        }
        tried
    }

    fn connect(&mut self) -> bool {
        let room = self.peers.len() < PEERS;
        if room {
            self.connections += 1;
            let peer = Peer::new(&mut self.rng, &mut self.model);
            self.server.connect(self.connections, peer.manner, self.clock.mono);
            self.peers.insert(self.connections, peer);
        }
        room
    }

    /// Some peer sends something, or the session takes it.
    fn send(&mut self) -> bool {
        let Some(conn) = self.some_peer() else { return false };
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        if peer.is_done() {
            // What has arrived by then may be taken first.
            if self.rng.one_in(2) {
                self.server.run(conn, self.clock);
            }
            self.model.tally.hung_up += u64::from(peer.is_fed_up());
            self.part(conn);
            return true;
        }
        let octets = peer.send(&mut self.rng, &mut self.model);
        let sends = octets.is_some();
        if let Some(octets) = octets {
            note(|| {
                let shown = octets[..octets.len().min(200)].escape_ascii();
                format!("peer {conn} sends {} octets: {shown}", octets.len())
            });
            self.server.receive(conn, &octets);
        }
        if self.rng.one_in(2) {
            self.server.run(conn, self.clock);
        }
        sends
    }

    /// Some peer hears what was said.
    fn hear(&mut self) -> bool {
        let Some(conn) = self.some_peer() else { return false };
        self.hear_all(conn)
    }

    fn hear_all(&mut self, conn: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let (octets, closed) = self.server.heard(conn);
        if !octets.is_empty() {
            note(|| format!("peer {conn} hears {}", octets.escape_ascii()));
        }
        peer.hear(&octets, &mut self.model);
        if closed {
            self.part(conn);
        }
        closed || !octets.is_empty()
    }

    fn part(&mut self, conn: u64) {
        note(|| format!("peer {conn} is gone"));
        self.peers.remove(&conn);
        self.server.hang_up(conn);
    }

    fn some_peer(&mut self) -> Option<u64> {
        let nth = self.rng.below(self.peers.len().max(1));
        self.peers.keys().nth(nth).copied()
    }

    fn pass(&mut self, time: Duration) {
        self.clock.unix += time.as_micros() as u64;
        self.clock.mono = self.clock.mono + time;
        self.server.time_passes(self.clock);
    }

    fn pass_until_something_is_due(&mut self) {
        if let Some(at) = self.server.next_deadline(self.clock) {
            let time = at.saturating_since(self.clock.mono);
            note(|| format!("{time:?} pass"));
            self.pass(time);
        }
    }

    /// Somebody sets the wall clock, by two days at most.
    fn step_wall_clock(&mut self) {
        let step = self.rng.below(2 * 86_400) as u64 * 1_000_000;
        match self.rng.one_in(2) {
            true => self.clock.unix += step,
            false => self.clock.unix -= step,
        }
        note(|| format!("the wall clock is set to {}", self.clock.unix));
    }

    /// Somebody reads mail: what is in `new` goes to `cur`, in an order that loses none.
    fn read_mail(&mut self) -> bool {
        let user = *self.rng.pick(&USERS);
        let (new, cur) = (maildir(user).join("new"), maildir(user).join("cur"));
        let Ok(entries) = self.disk.list(&new) else { return false };
        let Some(entry) = entries.last() else { return false };
        let mut name = entry.name.clone();
        name.push(":2,S");
        let moved = self.disk.link(&new.join(&entry.name), &cur.join(&name));
        let moved = moved.and_then(|()| self.disk.sync_dir(&cur));
        let moved = moved.and_then(|()| self.disk.unlink(&new.join(&entry.name)));
        if moved.and_then(|()| self.disk.sync_dir(&new)).is_ok() {
            note(|| format!("{user} has read {}", name.display()));
            self.model.read(entry.name.to_string_lossy().into_owned());
        }
        true
    }

    /// The disk fails for a while, fills up, or has space again.
    fn fail(&mut self) {
        let from = self.disk.steps() + self.rng.below(10) as u64;
        let until = from + 1 + self.rng.below(6) as u64;
        note(|| format!("the disk fails or fills up about step {from}"));
        match self.rng.below(5) {
            0 => self.disk.fail(from..until, Fault::NoSpace),
            1 => self.disk.set_capacity(self.rng.below(1 << 20) as u64),
            2 => self.disk.set_capacity(u64::MAX),
            _ => self.disk.fail(from..until, Fault::Io),
        }
    }

    /// Nothing fails any more, and all peers come to their end.
    fn calm(&mut self) {
        note(|| "calm".to_owned());
        self.disk.heal();
        self.disk.set_capacity(u64::MAX);
        self.disk.stop_after(u64::MAX);
        self.whims.end();
        let mut idle = 0;
        while !self.peers.is_empty() {
            if self.administrator.is_some() {
                self.server.let_go(&mut self.model);
            }
            let mut busy = self.turn_all();
            for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                self.server.run(conn, self.clock);
                busy |= self.hear_all(conn);
                let Some(peer) = self.peers.get_mut(&conn) else { continue };
                if peer.is_done() {
                    self.part(conn);
                    busy = true;
                } else if let Some(octets) = peer.send(&mut self.rng, &mut self.model) {
                    self.server.receive(conn, &octets);
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

    /// Lets time pass until nothing is in the queue any more.
    fn drain(&mut self) {
        // One whose due time is of a clock that was set back since may have others of its
        // destination before it.
        let end = self.clock.mono + 3 * LONGEST_WAIT;
        // A disk that failed is left alone for some seconds; then it is told what does not count.
        self.pass(Duration::from_secs(20));
        while self.clock.mono < end {
            self.server.tidy(self.clock, &mut self.model);
            if self.administrator.is_some() {
                self.server.let_go(&mut self.model);
            }
            while self.turn_all() {}
            if self.server.is_drained() {
                assert_eq!(self.server.used(), 0, "memory that nobody gave back");
                return;
            }
            self.pass(Duration::from_secs(1));
            self.pass_until_something_is_due();
        }
        panic!("mail waits for days, or for ever");
    }

    /// No content file is left over but those that the disk did not let go.
    fn check_content_files(&self) {
        let files = self.disk.list(&Path::new(SPOOL).join("content")).expect("it is there");
        for file in files {
            let name = file.name.to_string_lossy();
            let given_up = self.server.given_up.iter().any(|id| id.to_string() == name);
            assert!(given_up, "the content file {name} is left over");
        }
    }

    /// Turns everything once. False when nothing had anything to do.
    fn turn_all(&mut self) -> bool {
        let Self { server, rng, model, clock, .. } = self;
        let looked_up = server.look_up(*clock, rng, model);
        let written = server.write_content(*clock, rng, model);
        let committed = server.commit(*clock, model);
        server.tidy(*clock, model);
        let scheduled = server.schedule(*clock, model);
        let delivered = server.deliver(*clock, rng, model);
        let told = server.bounce(*clock, rng, model);
        let asked = server.turn_store(model);
        looked_up || written || committed || scheduled || delivered || told || asked
    }
}
