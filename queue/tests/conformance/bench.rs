//! A backend that is open, and somebody in the place of the daemon, who keeps no clock and asks
//! one thing after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smtpd_engine::address::ReversePath;
use smtpd_engine::time::Time;
use smtpd_queue::backend::journal::Journal;
use smtpd_queue::backend::memory::Memory;
use smtpd_queue::backend::{Backend, Commits, Contents, Leases, Reads, Sides};
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::Options;
use smtpd_queue::delivery::Kind;
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::{Due, Envelope, Message, Outcome, State, Verdict};
use smtpd_queue::id::{EnvelopeId, Ids, MessageId};
use smtpd_queue::lease::{Answer, Epoch, Request as Asked};
use smtpd_queue::request::{Accept, Body, Content, Done, Request, Stored};
use smtpd_queue::sample;
use smtpd_queue::waiting::{Change, Claim, Place};

pub const START: u64 = 1_700_000_000_000_000;

/// Where the index is: the one thing that is not on the disk in memory.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

enum Kept {
    Journal(FaultDisk, Dir),
    Memory(Memory),
}

/// See the top of the file.
pub struct Bench {
    kept: Kept,
    open: Option<Open>,
    /// How often it was opened.
    times: u64,
    /// What the scheduler would have in memory.
    pub known: BTreeSet<EnvelopeId>,
}

struct Open {
    commit: Box<dyn Commits<()>>,
    leases: Box<dyn Leases>,
    reader: Arc<dyn Reads>,
    contents: Arc<dyn Contents>,
    ids: Ids,
    epoch: Epoch,
}

/// Runs a test on each backend.
pub fn both(test: impl Fn(&mut Bench)) {
    static DIRS: AtomicU64 = AtomicU64::new(0);
    let name = format!("conformance-{}-{}", process::id(), DIRS.fetch_add(1, Ordering::Relaxed));
    let dir = Dir(std::env::temp_dir().join(name));
    fs::create_dir_all(&dir.0).unwrap();
    for kept in [
        Kept::Memory(Memory::new(5 << 96 | 77)),
        Kept::Journal(FaultDisk::new(&dir.0.clone()), dir),
    ] {
        let mut bench = Bench { kept, open: None, times: 0, known: BTreeSet::new() };
        bench.open();
        test(&mut bench);
    }
}

/// The envelopes of a claim.
pub fn ids(answer: &Answer) -> Vec<EnvelopeId> {
    let Answer::Lent { envelopes, .. } = answer else { panic!("{answer:?}") };
    envelopes.iter().map(|lent| lent.id).collect()
}

impl Bench {
    fn open(&mut self) {
        self.times += 1;
        let Sides { commit, leases, reader, contents, ids, epoch, .. } = match &self.kept {
            Kept::Memory(memory) => Backend::open(memory).unwrap(),
            Kept::Journal(disk, dir) => {
                let random = 9 << 96 | u128::from(self.times);
                let options = Options { segment: 64 << 10, ..Options::new(random) };
                let disk = Arc::new(disk.clone());
                Journal { disk, dir: dir.0.clone(), options }.open().unwrap()
            }
        };
        let leases = leases().unwrap();
        assert!(reader.is_complete());
        self.known.clear();
        self.open = Some(Open { commit, leases, reader, contents, ids, epoch });
        self.ask(Vec::new());
    }

    /// An end without warning, and the next start.
    pub fn reopen(&mut self) {
        self.open = None;
        self.open();
    }

    /// An orderly end, for which all that the scheduler has is put back, and the next start.
    pub fn end(&mut self) {
        let (mut puts, mut stored) = (Vec::new(), 0);
        for message in self.reader().behind(None, usize::MAX) {
            let found = self.reader().message(message).unwrap().unwrap();
            for (envelope, state) in found.message.envelopes.iter().zip(&found.states) {
                let place = self.place(message, envelope.id.nth(), state.next_try());
                puts.push(self.change(Change::Put(place)));
                stored += 1;
            }
        }
        assert_eq!(self.ask(puts).len(), stored);
        let Open { commit, leases, .. } = self.open.take().unwrap();
        let mark = commit.close().unwrap();
        leases.close(mark).unwrap();
        self.open();
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().unwrap()
    }

    pub fn reader(&self) -> &dyn Reads {
        &*self.open.as_ref().unwrap().reader
    }

    pub fn contents(&self) -> &dyn Contents {
        &*self.open.as_ref().unwrap().contents
    }

    pub fn ids(&self) -> &Ids {
        &self.open.as_ref().unwrap().ids
    }

    pub fn commit(&mut self, mut requests: Vec<Request<()>>) -> Vec<Done<()>> {
        let mut done = Vec::new();
        while !requests.is_empty() {
            self.opened().commit.turn(Time::from_micros(1), &mut requests, &mut done);
        }
        done
    }

    /// One turn of the lease side.
    pub fn ask_once(&mut self, mut requests: Vec<Asked>) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.opened().leases.turn(&mut requests, &mut answers);
        answers
    }

    /// As many turns as it wants; should the room be lost, it is told what is known here.
    pub fn ask(&mut self, mut requests: Vec<Asked>) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            self.opened().leases.turn(&mut requests, &mut answers);
            if answers.iter().any(|answer| matches!(answer, Answer::Lost)) {
                answers.retain(|answer| !matches!(answer, Answer::Lost));
                requests.push(Asked::Known(self.known.iter().copied().collect()));
            } else if !self.opened().leases.is_busy() {
                return answers;
            }
        }
    }

    pub fn envelope(message: MessageId, nth: u32) -> EnvelopeId {
        EnvelopeId::new(message, nth)
    }

    /// A message for these users and domains.
    pub fn message(&self, id: MessageId, to: &[&str]) -> Message {
        let envelope = |to: &&str| {
            let envelope = match to.contains('.') {
                true => sample::relayed(&format!("x@{to}")),
                false => sample::local(&format!("{to}@example.org"), to),
            };
            Envelope { ttl: 3600, ..envelope }
        };
        let message = sample::message(id, to.iter().map(envelope));
        Message { ctime: START, sender: ReversePath::Null, ..message }
    }

    /// A small message to be accepted.
    pub fn request(message: Message, causes: Vec<Outcome>) -> Request<()> {
        let mut octets = Budget::new(100).buffer();
        assert!(octets.extend(b"text\r\n"));
        let content = Content { dot_lines: false, body: Body::Memory(octets) };
        Request::Accept(Accept { token: (), message: Arc::new(message), content, causes })
    }

    pub fn accept(&mut self, to: &[&str]) -> (MessageId, Stored) {
        let id = self.ids().take().unwrap();
        let message = self.message(id, to);
        let mut done = self.commit(vec![Self::request(message, Vec::new())]);
        match done.pop() {
            Some(Done::Accepted { content, .. }) if done.is_empty() => (id, content),
            other => panic!("{other:?} after {done:?}"),
        }
    }

    pub fn accept_in_file(&mut self, to: &[&str], pieces: &[&[u8]]) -> MessageId {
        let id = self.ids().take().unwrap();
        let mut writing = self.contents().begin(id).unwrap();
        pieces.iter().for_each(|piece| writing.write(piece).unwrap());
        let body = Body::File(writing.finish().unwrap());
        let (message, causes) = (Arc::new(self.message(id, to)), Vec::new());
        let content = Content { dot_lines: false, body };
        let done =
            self.commit(vec![Request::Accept(Accept { token: (), message, content, causes })]);
        assert!(matches!(done[..], [Done::Accepted { .. }]), "{done:?}");
        id
    }

    pub fn outcome(&self, message: MessageId, nth: u32, verdict: Verdict) -> Outcome {
        let lease = self.open.as_ref().unwrap().epoch;
        Outcome { envelope: EnvelopeId::new(message, nth), lease, at: START, verdict }
    }

    pub fn record(&mut self, message: MessageId, nth: u32, verdict: Verdict) -> Vec<Done<()>> {
        let outcome = self.outcome(message, nth, verdict);
        self.commit(vec![Request::Outcome(outcome)])
    }

    pub fn settle(&mut self, message: MessageId, nth: u32) -> Vec<Done<()>> {
        self.record(message, nth, Verdict::Delivered)
    }

    /// The first attempt failed; the envelope goes to the store.
    pub fn later(&mut self, message: MessageId, nth: u32, due: u64) {
        let done =
            self.record(message, nth, Verdict::Later { tries: 1, due, error: "full".into() });
        assert!(matches!(done[..], [Done::Recorded(_)]), "{done:?}");
        self.put(message, nth, Due::At(due));
    }

    pub fn put(&mut self, message: MessageId, nth: u32, due: Due) {
        let place = self.place(message, nth, due);
        let put = self.change(Change::Put(place));
        let answers = self.ask(vec![put]);
        assert!(matches!(answers[..], [Answer::Stored(at)] if at == place), "{answers:?}");
    }

    pub fn place(&self, message: MessageId, nth: u32, due: Due) -> Place {
        let found = self.reader().message(message).unwrap().unwrap();
        let id = EnvelopeId::new(message, nth);
        let envelope = found.message.envelopes.iter().find(|one| one.id == id).unwrap();
        let lane = self.reader().destinations().lane(envelope);
        Place { envelope: id, kind: envelope.agent.kind(), lane, due }
    }

    pub fn change(&self, change: Change) -> Asked {
        Asked::Change(change, self.open.as_ref().unwrap().epoch)
    }

    pub fn claim(&mut self, kind: Kind, now: u64, room: usize) -> Answer {
        let claim = Claim { kind, now, room, per_lane: room, crowded: Default::default() };
        self.ask(vec![Asked::Claim(claim)]).pop().unwrap()
    }

    pub fn claim_with(
        &mut self,
        now: u64,
        room: usize,
        per_lane: usize,
        crowded: &[u64],
    ) -> Answer {
        let crowded = crowded.iter().copied().collect();
        let claim = Claim { kind: Kind::Mda, now, room, per_lane, crowded };
        self.ask(vec![Asked::Claim(claim)]).pop().unwrap()
    }

    /// When something is due, by a claim to which nothing is.
    pub fn next(&mut self, kind: Kind, now: u64) -> Option<u64> {
        match self.claim(kind, now, 1) {
            Answer::Lent { envelopes, next, .. } if envelopes.is_empty() => next,
            other => panic!("{other:?}"),
        }
    }

    /// How many envelopes of a message are not settled.
    pub fn left(&self, message: MessageId) -> usize {
        let found = self.reader().message(message).unwrap();
        found.map_or(0, |found| found.message.envelopes.len())
    }

    /// How an envelope stands.
    pub fn state(&self, id: EnvelopeId) -> Option<State> {
        let found = self.reader().message(id.message()).unwrap()?;
        let nth = found.message.envelopes.iter().position(|one| one.id == id)?;
        Some(found.states[nth].clone())
    }
}
