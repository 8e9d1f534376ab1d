//! A queue on a fault disk, its Maildirs, and what everybody was told.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::codec::{self, Codec, Key};
use smtpd_queue::commit::{Commit, Opened, Options};
use smtpd_queue::delivery::{Attempt, Failure, Job};
use smtpd_queue::disk::Disk;
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::{Agent, Envelope, Message, Outcome, Source, Verdict};
use smtpd_queue::id::{EnvelopeId, Ids, MessageId};
use smtpd_queue::lease::Epoch;
use smtpd_queue::maildir::Maildirs;
use smtpd_queue::reader::{Found, Reader};
use smtpd_queue::recovery::{Finding, Recovery};
use smtpd_queue::request::{Accept, Body, Content, Done, Refusal, Request};
use smtpd_queue::spares::{Filled, Filler};
use smtpd_queue::spool::Spool;

use crate::model::{Answer, Model};

/// Small, so that a short run fills several.
pub const SEGMENT: u64 = 4096;
/// What the journal of an empty queue may have: four spare files, the segment in use, and one that
/// only waits until the next has its header on disk. The last write to a segment may be large.
const EMPTY: u64 = 6 * SEGMENT + 12_000;
const HOST: &str = "mx.example.org";

/// By which the numbers differ that starts are given: by far more than ids are given out.
const RANDOM: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// How a sealed queue is sealed. Its nonces are drawn from the same seed at each start, which the
/// ciphertexts of a test may show.
fn sealing() -> Codec {
    let keys = vec![Key::new(b"0123456789abcdef0123456789abcdef")];
    Codec::new(codec::Options { compress: true, encrypt: true, keys }, &[7; 32])
}

/// The queue directory, which is the administrator's and durable.
pub fn spool() -> PathBuf {
    "/r/spool".into()
}

pub struct World {
    pub disk: FaultDisk,
    /// The queue, unless its disk let it not be opened.
    queue: Option<Queue>,
    maildirs: Option<Maildirs>,
    pub model: Model,
    pub now: Time,
    budget: Budget,
    /// The disk is too small for Maildirs.
    pub small: bool,
    /// The disk has gone bad at some time.
    pub damaged: bool,
    /// Records and content files are compressed and encrypted.
    sealed: bool,
}

/// A queue that was opened.
pub struct Queue {
    commit: Commit,
    ids: Ids,
    reader: Reader,
    spool: Spool,
    filler: Filler,
    /// The second stage of the start, until it is begun.
    recovery: Option<Recovery>,
}

impl Queue {
    /// The second stage of the start: what was in the queue before is found.
    fn read(&mut self) -> io::Result<Vec<Finding>> {
        let recovered = self.recovery.take().map(Recovery::run).transpose()?;
        Ok(recovered.map_or_else(Vec::new, |recovered| recovered.findings))
    }
}

/// A message to be sent.
#[derive(Clone)]
pub struct Draft {
    pub octets: usize,
    pub in_file: bool,
    pub recipients: u32,
    /// The outcomes that become true with it.
    pub causes: Vec<Outcome>,
}

impl Draft {
    pub fn small(recipients: u32) -> Self {
        Self { octets: 40, in_file: false, recipients, causes: Vec::new() }
    }

    pub fn of(octets: usize) -> Self {
        Self { octets, ..Self::small(1) }
    }
}

impl World {
    /// A first start on an empty disk.
    pub fn new(disk: FaultDisk) -> Self {
        Self::with(disk, false)
    }

    /// Likewise, the queue being sealed or not.
    pub fn with(disk: FaultDisk, sealed: bool) -> Self {
        let model = Model::default();
        let budget = Budget::new(1 << 20);
        let mut world = Self {
            disk,
            queue: None,
            maildirs: None,
            model,
            now: Time::default(),
            budget,
            small: false,
            damaged: false,
            sealed,
        };
        if let Ok(queue) = world.start(&world.disk) {
            world.take(queue);
        }
        world
    }

    /// Opens the queue on another disk, and reads what is in it.
    pub fn start(&self, disk: &FaultDisk) -> io::Result<Queue> {
        let mut queue = self.open(disk)?;
        queue.read()?;
        Ok(queue)
    }

    /// The first stage of a start.
    fn open(&self, disk: &FaultDisk) -> io::Result<Queue> {
        let codec = if self.sealed { sealing() } else { Codec::default() };
        // Another number each time, as from the system: where no header is left, one that came
        // again would give ids again.
        let sent = self.model.ids().len() as u128;
        let random = (5 << 96 | 0xfeed_u128).wrapping_add(sent.wrapping_mul(RANDOM));
        let options = Options { segment: SEGMENT, codec, ..Options::new(random) };
        let opened = Commit::open(Arc::new(disk.clone()), &spool(), &options)?;
        let Opened { commit, recovery, ids, reader, spool, filler } = opened;
        Ok(Queue { commit, ids, reader, spool, filler, recovery: Some(recovery) })
    }

    fn take(&mut self, queue: Queue) {
        let disk = Arc::new(self.disk.clone());
        self.maildirs = Some(Maildirs::new(disk, Arc::new(queue.reader.clone()), HOST));
        self.queue = Some(queue);
    }

    /// The world after the first stage of a start on another disk. What is in the queue is not
    /// known yet.
    pub fn begun(&self, disk: FaultDisk, case: &str) -> Self {
        let Self { model, now, budget, small, damaged, sealed, .. } = self;
        let (model, budget) = (model.clone(), budget.clone());
        let (now, small, damaged, sealed) = (*now, *small, *damaged, *sealed);
        let (queue, maildirs) = (None, None);
        let mut after = Self { disk, queue, maildirs, model, now, budget, small, damaged, sealed };
        match after.open(&after.disk) {
            Ok(queue) => after.take(queue),
            Err(error) => assert!(after.disk.is_off(), "{case}: {error}"),
        }
        after
    }

    /// The second stage, unless the power has gone: what is found must be what this world was
    /// told, before and since.
    pub fn read(&mut self, case: &str) {
        let Some(queue) = &mut self.queue else { return };
        match queue.read() {
            Ok(findings) => self.judge_start(&findings, case),
            Err(error) => assert!(self.disk.is_off(), "{case}: {error}"),
        }
    }

    fn judge_start(&self, findings: &[Finding], case: &str) {
        if self.disk.is_off() {
            return;
        }
        if self.damaged {
            return self.check(case);
        }
        let is_torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
        let torn = findings.iter().any(is_torn);
        for finding in findings {
            // What is left of a group may have named the content that is set aside.
            let aside = torn && matches!(finding, Finding::SetAside(_));
            let usual = is_torn(finding) || matches!(finding, Finding::Removed(_));
            assert!(usual || aside, "{case}: a power cut is no damage: {finding}");
        }
        self.check(case);
    }

    /// The world after a start on a disk that a power cut has left, which must hold what this
    /// world was told.
    pub fn restarted(&self, disk: FaultDisk, case: &str) -> Self {
        let (mut after, findings) = self.reopened(disk, case);
        after.judge_start(&findings, case);
        after.resume(case);
        after
    }

    /// The world after a start on another disk, and what that start has found.
    pub fn reopened(&self, disk: FaultDisk, case: &str) -> (Self, Vec<Finding>) {
        let mut after = self.begun(disk, case);
        let queue = after.queue.as_mut().unwrap_or_else(|| panic!("{case}: no power"));
        let findings = queue.read().unwrap_or_else(|error| panic!("{case}: {error}"));
        (after, findings)
    }

    /// Goes on from what a start has found and a check has found right.
    pub fn resume(&mut self, case: &str) {
        let live = self.live();
        for entry in self.disk.list(&spool().join("content")).expect("made by the start") {
            let used = live.iter().any(|found| entry.name == *found.message.id.to_string());
            assert!(used, "{case}: {entry:?} is content of nothing");
        }
        live.iter().for_each(|found| self.model.resume(found));
    }

    /// Holds the queue and the Maildirs against what was told.
    pub fn check(&self, case: &str) {
        let live = self.live();
        let checked = live
            .iter()
            .try_for_each(|found| self.model.judge(found, self.content(found).ok().as_deref()));
        checked.unwrap_or_else(|wrong| panic!("{case}: {wrong}"));
        let there: Vec<EnvelopeId> =
            live.iter().flat_map(|found| &found.message.envelopes).map(|one| one.id).collect();
        let mailbox = |message: &Message, envelope| self.has(message, envelope);
        let checked = self.model.miss(|envelope| there.contains(&envelope), mailbox);
        checked.unwrap_or_else(|wrong| panic!("{case}: {wrong}"));
    }

    /// Goes on after a start: accepts more, delivers all there is, and must end with an empty
    /// queue that stays empty.
    pub fn live_on(&mut self, case: &str) {
        if self.queue.is_none() {
            let queue = self.start(&self.disk).unwrap_or_else(|error| panic!("{case}: {error}"));
            self.take(queue);
        }
        self.tidy(120);
        let before = self.live().len();
        self.accept(&[Draft::small(2), Draft::of(700)]);
        assert_eq!(self.live().len(), before + 2, "{case}: accepts again");
        self.check(case);
        let all: Vec<MessageId> = self.live().iter().map(|found| found.message.id).collect();
        self.deliver(&all);
        self.remove_damaged();
        self.tidy(60);
        assert!(self.live().is_empty(), "{case}: everything is delivered");
        self.check(case);
        if !self.damaged {
            self.check_space(case);
        }
        let after = self.restarted(self.disk.after_crash(|| false), case);
        assert!(after.live().is_empty(), "{case}: and stays so");
    }

    /// Removes what cannot be delivered, as an administrator does.
    fn remove_damaged(&mut self) {
        let left = self.live();
        let envelopes = left.iter().flat_map(|found| &found.message.envelopes);
        let ids: Vec<EnvelopeId> = envelopes.map(|envelope| envelope.id).collect();
        assert!(ids.is_empty() || self.damaged, "{ids:?} cannot be delivered");
        let removed = ids.iter().map(|id| self.outcome(id.message(), id.nth(), Verdict::Removed));
        self.record(removed.collect());
    }

    /// An empty queue has given back the disk.
    fn check_space(&self, case: &str) {
        let octets = self.disk.octets(&spool().join("journal"));
        assert!(octets <= EMPTY, "{case}: {octets} octets of journal in an empty queue");
    }

    /// What is in the queue.
    pub fn live(&self) -> Vec<Found> {
        let Some(queue) = &self.queue else { return Vec::new() };
        let ids = self.model.ids();
        let found = ids.into_iter().filter_map(|id| queue.reader.message(id).expect("readable"));
        let found: Vec<Found> = found.collect();
        assert_eq!(found.len(), queue.reader.messages(), "something was never sent");
        found
    }

    /// The content of a message that was found.
    pub fn content(&self, found: &Found) -> io::Result<Vec<u8>> {
        let queue = self.queue.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut content = Vec::new();
        queue.reader.open(&found.content)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Whether the Maildir of an envelope has its message, whole.
    fn has(&self, message: &Message, envelope: EnvelopeId) -> bool {
        let dir = maildir(message, envelope).join("new");
        let wanted = format!(".{envelope}.{HOST}");
        let Ok(entries) = self.disk.list(&dir) else { return false };
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        let name = names.into_iter().find(|name| name.ends_with(&wanted));
        let Some(content) = self.model.content(message.id) else { return false };
        name.is_some_and(|name| {
            let file = self.disk.open(&dir.join(name)).expect("listed");
            let mut octets = vec![0; file.size().expect("open") as usize];
            file.read_at(&mut octets, 0).expect("open");
            let text = String::from_utf8(octets).expect("text");
            let stored = String::from_utf8(content.to_vec()).expect("text");
            text.ends_with(&stored.replace("\r\n", "\n"))
        })
    }

    /// Accepts messages in one group; gives the ids of those that were acknowledged.
    pub fn accept(&mut self, drafts: &[Draft]) -> Vec<MessageId> {
        let mut requests = Vec::new();
        for draft in drafts {
            requests.extend(self.draft(draft));
        }
        self.turn(requests)
    }

    fn draft(&mut self, draft: &Draft) -> Option<Request<()>> {
        let queue = self.queue.as_mut()?;
        let id = queue.ids.take()?;
        let line = format!(".line of {id}\r\n");
        let content = line.repeat(draft.octets / line.len() + 1).into_bytes();
        let message = Arc::new(message(id, self.now, draft.recipients));
        let body = if draft.in_file {
            let mut writer = queue.spool.begin(id).ok()?;
            let pieces = content.chunks(1000).try_for_each(|piece| writer.write(piece));
            // As for a transaction that ends here: nothing was handed over.
            let Ok(finished) = pieces.and_then(|()| queue.spool.finish(writer)) else {
                let _ = queue.spool.remove(id);
                return None;
            };
            Body::File(finished)
        } else {
            let mut buffer = self.budget.buffer();
            assert!(buffer.extend(&content), "the budget is large enough");
            Body::Memory(buffer)
        };
        self.model.sends(&message, &content);
        let causes = draft.causes.clone();
        causes.iter().for_each(|cause| self.model.hands_over(cause));
        let content = Content { dot_lines: true, body };
        Some(Request::Accept(Accept { token: (), message, content, causes }))
    }

    /// Hands over what became of some envelopes.
    pub fn record(&mut self, outcomes: Vec<Outcome>) {
        outcomes.iter().for_each(|outcome| self.model.hands_over(outcome));
        self.turn(outcomes.into_iter().map(Request::Outcome).collect());
    }

    /// An outcome for the `nth` envelope of a message.
    pub fn outcome(&self, message: MessageId, nth: u32, verdict: Verdict) -> Outcome {
        let (at, lease) = (self.now.as_micros(), self.lease());
        Outcome { envelope: EnvelopeId::new(message, nth), lease, at, verdict }
    }

    /// Without a queue nothing comes of it.
    fn lease(&self) -> Epoch {
        self.queue.as_ref().map(|queue| queue.reader.epoch()).unwrap_or_default()
    }

    fn turn(&mut self, mut requests: Vec<Request<()>>) -> Vec<MessageId> {
        self.now = self.now + Duration::from_millis(1);
        let Some(queue) = &mut self.queue else { return Vec::new() };
        let mut done = Vec::new();
        while !requests.is_empty() {
            queue.commit.turn(self.now, &mut requests, &mut done);
        }
        self.hear(done)
    }

    fn hear(&mut self, done: Vec<Done<()>>) -> Vec<MessageId> {
        let mut accepted = Vec::new();
        for done in done {
            match done {
                Done::Accepted { message, .. } => {
                    self.model.answered(message.id, Answer::Acknowledged);
                    accepted.push(message.id);
                }
                Done::Refused { message, why: Refusal::Fatal, .. } => {
                    self.model.answered(message, Answer::None);
                }
                Done::Refused { message, .. } => self.model.answered(message, Answer::Refused),
                Done::Recorded(outcome) => self.model.recorded(&outcome),
                Done::Discard(id) => {
                    let queue = self.queue.as_ref().expect("it answers");
                    // As in the daemon, where a failure is a log line.
                    let _ = queue.spool.remove(id);
                }
                Done::Void(outcome) => panic!("nobody else has {}", outcome.envelope),
                Done::Damaged(id) => {
                    assert!(self.damaged, "{id} is said to be damaged");
                    self.model.damage(id);
                }
            }
        }
        accepted
    }

    /// Lets the commit thread tidy up for so many seconds.
    pub fn tidy(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.now < until && !self.disk.is_off() {
            let Some(queue) = &mut self.queue else { return };
            let mut done = Vec::new();
            let wait = queue.commit.tidy(self.now, &mut done);
            self.now = self.now + wait.max(Duration::from_millis(1));
            self.hear(done);
        }
    }

    /// Makes spare segments.
    pub fn fill(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        while matches!(queue.filler.fill(), Ok(Filled::Some)) {}
    }

    /// Delivers what is left of some messages into Maildirs, in one batch.
    pub fn deliver(&mut self, ids: &[MessageId]) {
        let Some(queue) = &self.queue else { return };
        let mut batch = Vec::new();
        for id in ids {
            // A disk without power reads nothing.
            let Ok(Some(found)) = queue.reader.message(*id) else { continue };
            for envelope in &found.message.envelopes {
                let (message, content) = (found.message.clone(), found.content.clone());
                let target = maildir(&message, envelope.id);
                batch.push((Job { message, id: envelope.id, content, again: true }, target));
            }
        }
        let Some(maildirs) = &mut self.maildirs else { return };
        let mut outcomes = Vec::new();
        for (envelope, attempt) in maildirs.deliver(&batch) {
            let verdict = match attempt {
                Attempt::Delivered | Attempt::Relayed(_) => {
                    self.model.delivered(envelope);
                    Verdict::Delivered
                }
                Attempt::Later(Failure { text: error, .. }) => {
                    Verdict::Later { tries: 1, due: self.now.as_micros() + 10, error }
                }
                Attempt::Failed(Failure { text: error, .. }) | Attempt::Held(error) => {
                    Verdict::Held { tries: 1, error }
                }
            };
            let (at, lease) = (self.now.as_micros(), self.lease());
            outcomes.push(Outcome { envelope, lease, at, verdict });
        }
        self.record(outcomes);
    }
}

/// Two Maildirs, so that a batch meets both.
fn maildir(message: &Message, envelope: EnvelopeId) -> PathBuf {
    let user = (message.id.as_u32() ^ envelope.nth()) % 2;
    Path::new("/r/mail").join(format!("user{user}"))
}

fn message(id: MessageId, now: Time, recipients: u32) -> Message {
    let envelope = |nth| {
        let rcpt = Mailbox::parse(&format!("user{nth}@example.org")).expect("an address");
        Envelope {
            id: EnvelopeId::new(id, nth),
            dest: rcpt.clone(),
            rcpt,
            internal: false,
            action: "local".into(),
            agent: Agent::Mda { user: format!("user{nth}") },
            ttl: 345_600,
            notify: None,
            orcpt: None,
        }
    };
    Message {
        id,
        ctime: 1_700_000_000_000_000 + now.as_micros(),
        sender: ReversePath::Null,
        source: Source::Local,
        helo: "localhost".into(),
        hostname: "localhost".into(),
        smtpname: HOST.into(),
        tag: String::new(),
        username: None,
        tls: false,
        smtputf8: false,
        ret: None,
        envid: None,
        envelopes: (0..recipients).map(envelope).collect(),
    }
}
