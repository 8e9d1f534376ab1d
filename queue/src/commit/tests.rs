//! A queue on a disk in memory, that ends, begins and fails as each test says.

mod accepting;
mod damage;
mod failing;
mod full;
mod reading;
mod start;
mod tidy;

use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::budget::Budget;
use crate::codec::Keys;
use crate::disk::fault::{Fault, FaultDisk};
use crate::encode::tests::message;
use crate::envelope::{Due, State, Verdict};
use crate::id::EnvelopeId;
use crate::recovery::Finding;
use crate::request::Stored;
use crate::segment;
use crate::spares::{Filled, RESERVE};

/// A queue on a disk in memory, with small segments.
struct Queue {
    disk: FaultDisk,
    opened: Life,
    now: Time,
}

/// A queue that was opened, and what was found when it had been read.
struct Life {
    commit: Commit,
    recovered: Recovered,
    ids: Ids,
    reader: Reader,
    spool: Spool,
    filler: Filler,
}

const SEGMENT: u64 = 8192;
const RANDOM: u128 = 0x1234_5678 << 96 | 99;

fn root() -> PathBuf {
    "/q".into()
}

impl Queue {
    fn new() -> Self {
        Self::on(FaultDisk::new(&root()))
    }

    fn on(disk: FaultDisk) -> Self {
        Self::with(disk, SEGMENT)
    }

    fn with(disk: FaultDisk, segment: u64) -> Self {
        let (mut queue, recovery) = Self::unread(disk, segment);
        queue.opened.recovered = recovery.run().unwrap();
        queue
    }

    /// A queue in the first stage of its start.
    fn unread(disk: FaultDisk, segment: u64) -> (Self, Recovery) {
        let options = Options { segment, ..Options::new(RANDOM) };
        let opened = Commit::open(Arc::new(disk.clone()), &root(), &options).unwrap();
        let Opened { commit, recovery, ids, reader, spool, filler } = opened;
        let recovered =
            Recovered { live: Vec::new(), sequence: 0, clean: false, findings: Vec::new() };
        let opened = Life { commit, recovered, ids, reader, spool, filler };
        (Self { disk, opened, now: Time::from_micros(1) }, recovery)
    }

    /// The disk after the power went, with all that was not synced lost or kept.
    fn crash(&self, keep: bool) -> Self {
        Self::on(self.disk.after_crash(|| keep))
    }

    fn turn(&mut self, mut requests: Vec<Request<u32>>) -> Vec<Done<u32>> {
        let mut done = Vec::new();
        while !requests.is_empty() {
            self.opened.commit.turn(self.now, &mut requests, &mut done);
        }
        done
    }

    /// Lets the commit thread tidy up for a while.
    fn tidy(&mut self, seconds: u64) -> Vec<Done<u32>> {
        let mut done = Vec::new();
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until {
            let wait = self.opened.commit.tidy(self.now, &mut done);
            self.now = self.now + wait.max(Duration::from_micros(1));
        }
        done
    }

    fn accept(&mut self, number: u32, text: &str) -> Vec<Done<u32>> {
        self.turn(vec![accept(number, text)])
    }

    fn settle(&mut self, number: u32, recipient: u32) -> Vec<Done<u32>> {
        self.turn(vec![Request::Outcome(outcome(number, recipient, Verdict::Delivered))])
    }

    fn found(&self, number: u32) -> Option<crate::reader::Found> {
        self.opened.reader.message(id(number)).unwrap()
    }

    fn content(&self, number: u32) -> io::Result<String> {
        let stored = Stored { message: id(number), octets: 0, dot_lines: false, memory: None };
        let mut text = String::new();
        self.opened.reader.open(&stored)?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn segments(&self) -> usize {
        let entries = self.disk.list(&root().join("journal")).unwrap();
        entries.iter().filter(|entry| segment::number(&entry.name).is_some()).count()
    }

    fn fill(&mut self) {
        while self.opened.filler.fill().unwrap() == Filled::Some {}
    }
}

fn id(number: u32) -> MessageId {
    MessageId::from_u32(number).unwrap()
}

/// A message with three recipients.
fn accept(number: u32, text: &str) -> Request<u32> {
    let mut buffer = Budget::new(1 << 20).buffer();
    assert!(buffer.extend(text.as_bytes()));
    let content = Content { dot_lines: text.starts_with('.'), body: Body::Memory(buffer) };
    let message = Arc::new(message(number, 3));
    Request::Accept(Accept { token: number, message, content, causes: Vec::new() })
}

fn outcome(number: u32, recipient: u32, verdict: Verdict) -> Outcome {
    Outcome {
        envelope: EnvelopeId::new(id(number), recipient),
        lease: Options::new(RANDOM).epoch(),
        at: 500,
        verdict,
    }
}

fn refusal(done: &[Done<u32>]) -> Option<Refusal> {
    done.iter().find_map(|done| match done {
        Done::Refused { why, .. } => Some(*why),
        _ => None,
    })
}
