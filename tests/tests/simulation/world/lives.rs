//! How one process of the server ends and the next begins.

use smtpd_queue::budget::Budget;

use super::World;
use crate::server::Server;
use crate::trace::note;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The power goes: any part of what was not synced is lost.
    Power,
    /// It is killed: what was written can be read.
    Killed,
}

impl World {
    /// The server ends without warning, and all begins again with what is on the disk.
    pub(super) fn crash(&mut self, end: End) {
        note(|| format!("{end:?} after step {}", self.disk.steps()));
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            // What was said may have left before.
            if self.rng.one_in(2) {
                self.hear_all(conn);
            }
        }
        self.peers.clear();
        let odds = 1 + self.rng.below(9);
        match end {
            End::Power => {
                self.model.tally.crashed += 1;
                self.disk = self.disk.after_crash(|| self.rng.below(10) < odds);
            }
            End::Killed => {
                self.model.tally.killed += 1;
                self.disk = self.disk.after_kill();
            }
        }
        while self.crashes && self.rng.one_in(3) {
            // And again during the start.
            self.disk.stop_after(self.rng.below(20) as u64);
            if self.start() {
                return;
            }
            self.model.tally.stopped_starting += 1;
            self.disk = self.disk.after_crash(|| self.rng.below(10) < odds);
        }
        while !self.start() {
            self.disk.set_capacity(u64::MAX);
        }
    }

    /// Begins anew on the disk; false when that did not let it. All memory of the last process
    /// is given back, and what was promised is still there.
    fn start(&mut self) -> bool {
        let started = Server::start(&self.disk, &self.config, &self.whims, &mut self.rng);
        let Ok(mut server) = started else { return false };
        // Mostly it is read later, while mail is taken in.
        if self.rng.one_in(3) && server.read().is_err() {
            return false;
        }
        let budgets = self.server.budgets.clone();
        self.server = server;
        self.model.starts();
        note(|| "a start".to_owned());
        let used = budgets.iter().map(Budget::used).sum::<usize>();
        assert_eq!(used, 0, "memory that nobody gave back");
        if !self.disk.is_off() && self.server.has_read() {
            self.model.check_meanwhile(&self.disk, |id| self.server.has(id));
        }
        true
    }

    /// The server is told to end, does so in order, and is started again. Nothing is lost then,
    /// also of what nobody has been told.
    pub(super) fn restart(&mut self) {
        note(|| "the server is told to end".to_owned());
        self.server.shut_down(self.clock);
        let mut turns = 0;
        while self.turn_all() && turns < 100 && !self.disk.is_off() {
            turns += 1;
            for conn in self.peers.keys().copied().collect::<Vec<_>>() {
                self.hear_all(conn);
            }
        }
        let closed = !self.disk.is_off() && self.server.close();
        if !closed {
            return self.crash(End::Killed);
        }
        for conn in self.peers.keys().copied().collect::<Vec<_>>() {
            self.part(conn);
        }
        while !self.start() {
            if self.disk.is_off() {
                return self.crash(End::Power);
            }
            self.disk.set_capacity(u64::MAX);
        }
        if self.server.has_read() {
            assert!(self.server.clean || self.fails, "an orderly end is recognised");
        }
        self.model.tally.ended += 1;
    }
}
