//! From a commit to a Maildir, all values in one thread, on a disk that loses what was not
//! synced and under a clock that the test turns.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::time::Time;
use smtpd_queue::bounce::About;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{Commit, Opened, Options};
use smtpd_queue::delivery::Report;
use smtpd_queue::disk::fault::{Fault, FaultDisk};
use smtpd_queue::disk::{Disk, read_exact_at};
use smtpd_queue::envelope::{Due, Envelope, Message};
use smtpd_queue::id::{EnvelopeId, Ids};
use smtpd_queue::maildir::Maildirs;
use smtpd_queue::reader::Reader;
use smtpd_queue::request::{Accept, Body, Content, Done, Refusal, Request};
use smtpd_queue::sample;
use smtpd_queue::scheduler::{Clock, Input, Output, Scheduler};
use smtpd_queue::spool::Spool;
use smtpd_queue::store::Store;

const SPOOL: &str = "/var/spool";
const START: u64 = 1_700_000_000_000_000;

/// A queue that was opened and read.
struct Queue {
    commit: Commit,
    ids: Ids,
    reader: Reader,
    spool: Spool,
}

/// A server from commit to Maildir.
struct Node {
    disk: FaultDisk,
    queue: Queue,
    scheduler: Scheduler,
    store: Store,
    maildirs: Maildirs,
    clock: Clock,
    requests: Vec<Request<String>>,
    inputs: Vec<Input>,
    /// Envelopes whose sender would have been told, and with which status.
    bounced: Vec<(Mailbox, String)>,
    /// What was answered: the texts of messages by what their senders heard.
    accepted: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Node {
    /// Starts on what is on the disk.
    fn start(disk: &FaultDisk, clock: Clock) -> io::Result<Self> {
        let all: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = Options { segment: 64 << 10, ..Options::new(7 << 96 | 5) };
        let Opened { commit, recovery, ids, reader, spool, .. } =
            Commit::open(Arc::clone(&all), Path::new(SPOOL), &options)?;
        let live = recovery.run()?.live;
        Ok(Self {
            disk: disk.clone(),
            scheduler: Scheduler::new(Default::default(), reader.destinations(), reader.epoch()),
            store: Store::in_memory(reader.clone(), live),
            maildirs: Maildirs::new(all, Arc::new(reader.clone()), "mx.example.org"),
            queue: Queue { commit, ids, reader, spool },
            clock,
            requests: Vec::new(),
            inputs: Vec::new(),
            bounced: Vec::new(),
            accepted: BTreeSet::new(),
            refused: BTreeSet::new(),
        })
    }

    /// Hands a message to the commit.
    fn submit(&mut self, text: &str, users: &[&str]) {
        // There are none when the journal could not begin a segment: the peer hears 451.
        let Some(id) = self.queue.ids.take() else {
            self.refused.insert(text.into());
            return;
        };
        let envelope = |user: &&str| Envelope {
            ttl: 3600,
            ..sample::local(&format!("{user}@example.org"), user)
        };
        let message = Message {
            ctime: self.clock.unix,
            sender: ReversePath::Null,
            ..sample::message(id, users.iter().map(envelope))
        };
        let mut octets = Budget::new(1 << 20).buffer();
        assert!(octets.extend(format!("Subject: {text}\r\n\r\n{text}\r\n").as_bytes()));
        self.requests.push(Request::Accept(Accept {
            token: text.into(),
            message: Arc::new(message),
            content: Content { dot_lines: false, body: Body::Memory(octets) },
            causes: Vec::new(),
        }));
    }

    /// Goes on until there is nothing to do now, or the power is gone.
    fn run(&mut self) {
        let mut asked = Vec::new();
        let mut answers = Vec::new();
        self.store.turn(&mut asked, &mut answers);
        self.inputs.extend(answers.drain(..).map(Input::Store));
        loop {
            let mut done = Vec::new();
            self.queue.commit.turn(self.clock.mono, &mut self.requests, &mut done);
            done.into_iter().for_each(|done| self.answer(done));
            let mut outputs = Vec::new();
            let idle = self.inputs.is_empty();
            self.scheduler.turn(self.clock, &mut self.inputs, &mut outputs);
            if (idle && outputs.is_empty() && self.requests.is_empty()) || self.disk.is_off() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Deliver(batch) => {
                        let jobs: Vec<_> = batch
                            .jobs
                            .into_iter()
                            .map(|job| {
                                let path =
                                    Path::new("/home").join(job.envelope().dest.local_part());
                                (job, path.join("Maildir"))
                            })
                            .collect();
                        let attempts = self.maildirs.deliver(&jobs);
                        self.inputs.push(Input::Finished(Report { batch: batch.id, attempts }));
                    }
                    Output::Record(outcome) => self.requests.push(Request::Outcome(outcome)),
                    Output::Store(request) => asked.push(request),
                    // As for any message with the null reverse-path: nobody is told.
                    Output::Bounce(notice) => {
                        for About { outcome, status, .. } in notice.about {
                            let mut all = notice.message.envelopes.iter();
                            let envelope = all.find(|one| one.id == outcome.envelope).unwrap();
                            self.bounced.push((envelope.dest.clone(), status.to_string()));
                            self.requests.push(Request::Outcome(outcome));
                        }
                    }
                    Output::Expired(..) | Output::Removed(..) | Output::Administered { .. } => {}
                }
            }
            self.store.turn(&mut asked, &mut answers);
            self.inputs.extend(answers.drain(..).map(Input::Store));
        }
    }

    fn answer(&mut self, done: Done<String>) {
        match done {
            Done::Accepted { token, message, content } => {
                self.accepted.insert(token);
                self.inputs.push(Input::Accepted(message, content));
            }
            // A disk that fails for both leaves it open, which is why the peer hears 421.
            Done::Refused { why: Refusal::Fatal, .. } => {}
            Done::Refused { token, .. } => drop(self.refused.insert(token)),
            Done::Recorded(outcome) => self.inputs.push(Input::Recorded(outcome)),
            Done::Discard(id) => self.queue.spool.remove(id).unwrap(),
            Done::Void(outcome) => self.inputs.push(Input::Void(outcome.envelope)),
            Done::Damaged(id) => self.inputs.push(Input::Damaged(id)),
        }
    }

    /// Lets time pass until the scheduler wants to be asked again, at least this long.
    fn pass(&mut self, at_least: Duration) {
        let wakeup = self.scheduler.next_wakeup(self.clock);
        let wait = wakeup.map_or(at_least, |time| time.saturating_since(self.clock.mono));
        let wait = wait.max(at_least);
        self.clock.unix += wait.as_micros() as u64;
        self.clock.mono = self.clock.mono + wait;
    }

    /// Runs until the queue is empty.
    fn drain(&mut self) {
        self.run();
        for _ in 0..100 {
            if self.queue.reader.messages() == 0 {
                return;
            }
            self.pass(Duration::from_secs(2));
            self.run();
        }
        panic!("the queue does not drain: {:?}", self.list());
    }

    fn list(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for id in self.queue.reader.behind(None, 1000) {
            let found = self.queue.reader.message(id).unwrap().unwrap();
            for (envelope, state) in found.message.envelopes.iter().zip(&found.states) {
                let due = match state.next_try() {
                    Due::At(due) => format!("{}s", (due - self.clock.unix) / 1_000_000),
                    Due::Held => "held".to_owned(),
                };
                let (dest, tries, error) = (&envelope.dest, state.tries, &state.error);
                lines.push(format!("{dest}|{tries}|{due}|{error}"));
            }
        }
        lines
    }
}

fn clock() -> Clock {
    Clock { unix: START, mono: Time::from_micros(9_000_000) }
}

fn disk() -> FaultDisk {
    FaultDisk::new(Path::new(SPOOL))
}

fn folder(user: &str, folder: &str) -> PathBuf {
    Path::new("/home").join(user).join("Maildir").join(folder)
}

/// What is in a folder, by name.
fn mail(disk: &FaultDisk, folder: &Path) -> BTreeMap<String, String> {
    let entries = disk.list(folder).unwrap_or_default();
    let read = |name: String| {
        let file = disk.open(&folder.join(&name)).unwrap();
        let mut octets = vec![0; file.size().unwrap() as usize];
        read_exact_at(&*file, &mut octets, 0).unwrap();
        (name, String::from_utf8(octets).unwrap())
    };
    entries.into_iter().map(|entry| read(entry.name.into_string().unwrap())).collect()
}

fn as_delivered(text: &str, user: &str) -> String {
    format!("Return-Path: <>\nDelivered-To: {user}@example.org\nSubject: {text}\n\n{text}\n")
}

#[test]
fn a_message_is_delivered_to_each_recipient() {
    let disk = disk();
    let mut node = Node::start(&disk, clock()).unwrap();
    node.submit("one", &["bob", "carol"]);
    node.run();
    assert_eq!(node.accepted.len(), 1);
    assert_eq!(node.queue.reader.messages(), 0);
    for user in ["bob", "carol"] {
        let mail = mail(&disk, &folder(user, "new"));
        let (name, text) = mail.first_key_value().unwrap();
        assert_eq!((mail.len(), text), (1, &as_delivered("one", user)));
        assert!(name.starts_with("1700000000.") && name.ends_with(".mx.example.org"), "{name}");
        assert!(
            mail_is_empty(&disk, &folder(user, "tmp"))
                && mail_is_empty(&disk, &folder(user, "cur"))
        );
    }
}

fn mail_is_empty(disk: &FaultDisk, folder: &Path) -> bool {
    disk.list(folder).unwrap().is_empty()
}

/// The power goes after each step of the run, then again after each fourth step of what comes
/// after it: what was acknowledged is delivered, once in each Maildir, whole; what was refused
/// never is.
#[test]
fn a_power_cut_at_any_step_loses_nothing() {
    let whole = run_until(&disk(), None).disk.steps();
    assert!(whole > 40, "{whole} steps are too few to be the whole run");
    let mut seed = 1_u64;
    let mut keep = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 63 == 0
    };
    for stop in 0..=whole {
        for round in 0..6_u64 {
            let (accepted, refused, after) = match run_until_off(stop) {
                Some(node) => (node.accepted, node.refused, node.disk),
                None => continue,
            };
            let after = match round {
                0 => after.after_crash(|| false),
                1 => after.after_crash(|| true),
                _ => after.after_crash(&mut keep),
            };
            // Once more, while it recovers and delivers.
            after.stop_after(round * 4 + stop % 4);
            if let Ok(mut node) = Node::start(&after, later()) {
                node.run();
            }
            let after = after.after_crash(&mut keep);
            let mut node = Node::start(&after, later()).unwrap();
            node.drain();
            let place = format!("stopped after step {stop}, round {round}");
            check(&after, &accepted, &refused, &place);
        }
    }
}

fn later() -> Clock {
    Clock { unix: START + 30_000_000, mono: Time::from_micros(1) }
}

const MAIL: [(&str, &[&str]); 3] =
    [("one", &["bob"]), ("two", &["bob", "carol"]), ("three", &["carol"])];

fn run_until(disk: &FaultDisk, stop: Option<u64>) -> Node {
    let mut node = Node::start(disk, clock()).unwrap();
    stop.into_iter().for_each(|stop| disk.stop_after(stop));
    for (text, users) in MAIL {
        node.submit(text, users);
        node.run();
    }
    node
}

/// A run that ends when the power goes; `None` when it ended before.
fn run_until_off(stop: u64) -> Option<Node> {
    let disk = disk();
    let started = {
        drop(Node::start(&disk, clock()).unwrap());
        disk.steps()
    };
    let node = run_until(&disk, Some(started + stop));
    node.disk.is_off().then_some(node)
}

fn check(disk: &FaultDisk, accepted: &BTreeSet<String>, refused: &BTreeSet<String>, place: &str) {
    for (text, users) in MAIL {
        for user in users {
            let mail = mail(disk, &folder(user, "new"));
            let expected = as_delivered(text, user);
            let copies = mail.values().filter(|text| **text == expected).count();
            assert!(copies <= 1, "{place}: {copies} of {text} for {user}");
            assert!(!accepted.contains(text) || copies == 1, "{place}: {text} for {user} is lost");
            assert!(!refused.contains(text) || copies == 0, "{place}: {text} was refused");
        }
    }
    for user in ["bob", "carol"] {
        for text in mail(disk, &folder(user, "new")).values() {
            let known = MAIL.iter().any(|(name, _)| *text == as_delivered(name, user));
            assert!(known, "{place}: {text:?} is no message that was sent to {user}");
        }
    }
}

/// Each step fails once, by an error of the device or for want of space: it is tried again
/// until all is delivered, and the state says why it was not.
#[test]
fn an_error_at_any_step_delays_but_loses_nothing() {
    let whole = run_until(&disk(), None).disk.steps();
    for step in 0..whole {
        for fault in [Fault::Io, Fault::NoSpace] {
            let disk = disk();
            drop(Node::start(&disk, clock()).unwrap());
            disk.fail(disk.steps() + step..disk.steps() + step + 1, fault);
            let Ok(mut node) = Node::start(&disk, clock()) else { continue };
            for (text, users) in MAIL {
                node.submit(text, users);
                node.run();
            }
            for line in node.list() {
                assert!(line.contains("|1|10s|") && !line.ends_with('|'), "{line}");
            }
            node.drain();
            check(&disk, &node.accepted, &node.refused, &format!("{fault:?} at step {step}"));
            // What was not synced when it was said to be delivered would be gone now.
            let after = disk.after_crash(|| false);
            check(&after, &node.accepted, &node.refused, &format!("{fault:?} at step {step}, cut"));
        }
    }
}

#[test]
fn mail_that_a_reader_has_taken_is_not_delivered_again() {
    for flags in ["", ":2,S", ",S=100:2,"] {
        let run = |stop: Option<u64>| {
            let disk = disk();
            let mut node = Node::start(&disk, clock()).unwrap();
            stop.into_iter().for_each(|stop| disk.stop_after(stop));
            node.submit("one", &["bob"]);
            node.run();
            disk
        };
        // The last two steps write and sync the outcome: the power goes before them.
        let stop = run(None).steps() - 2;
        let after = run(Some(stop)).after_crash(|| true);
        let (new, cur) = (folder("bob", "new"), folder("bob", "cur"));
        let (name, _) = mail(&after, &new).pop_first().unwrap();
        after.rename(&new.join(&name), &cur.join(format!("{name}{flags}"))).unwrap();
        let mut node = Node::start(&after, later()).unwrap();
        assert_eq!(node.queue.reader.messages(), 1, "the outcome was lost");
        node.drain();
        assert_eq!((mail(&after, &new).len(), mail(&after, &cur).len()), (0, 1), "{flags}");
        // The reader may not have synced what it did; that it counted was synced by us.
        assert_eq!(mail(&after.after_crash(|| false), &cur).len(), 1, "{flags}");
    }
}

#[test]
fn a_loop_fails_for_good() {
    let mut node = Node::start(&disk(), clock()).unwrap();
    node.submit("loop\r\nDelivered-To: BOB@example.org", &["bob", "carol"]);
    node.run();
    assert_eq!(node.list(), [""; 0]);
    let bob = Mailbox::parse("bob@example.org").unwrap();
    assert_eq!(node.bounced, [(bob, "5.4.6".to_owned())], "carol has hers");
    assert!(mail_is_empty(&node.disk, &folder("bob", "tmp")));
}

#[test]
fn what_expires_is_given_up_for_good() {
    let disk = disk();
    let mut node = Node::start(&disk, clock()).unwrap();
    node.submit("one", &["bob"]);
    // Something else has the name of the directory.
    disk.mkdir(Path::new("/home")).unwrap();
    drop(disk.create(Path::new("/home/bob")).unwrap());
    node.run();
    assert!(node.list()[0].contains("|1|10s|/home/bob"), "{:?}", node.list());
    while node.bounced.is_empty() {
        node.pass(Duration::from_secs(1));
        node.run();
    }
    assert!(node.clock.unix >= START + 3600 * 1_000_000);
    assert_eq!(node.bounced[0].1, "5.4.7");
    let mut node = Node::start(&disk, node.clock).unwrap();
    node.run();
    assert_eq!(node.list(), [""; 0]);
    assert_eq!(node.scheduler.next_wakeup(node.clock), None);
}

#[test]
fn large_content_passes_through_in_pieces() {
    let disk = disk();
    let mut node = Node::start(&disk, clock()).unwrap();
    let line = format!("{}\r\n", "x".repeat(98));
    let text = line.repeat(9000);
    let id = node.queue.ids.take().unwrap();
    let mut file = node.queue.spool.begin(id).unwrap();
    let content = format!("Subject: large\r\n\r\n{text}");
    for piece in content.as_bytes().chunks(70_001) {
        file.write(piece).unwrap();
    }
    let finished = node.queue.spool.finish(file).unwrap();
    node.submit("small", &["bob"]);
    let Some(Request::Accept(accept)) = node.requests.last_mut() else { unreachable!() };
    let mut message = Message::clone(&accept.message);
    message.id = id;
    message.envelopes[0].id = EnvelopeId::new(id, 0);
    accept.message = Arc::new(message);
    accept.content.body = Body::File(finished);
    node.drain();
    let expected = format!(
        "Return-Path: <>\nDelivered-To: bob@example.org\n{}",
        content.replace("\r\n", "\n")
    );
    assert!(mail(&disk, &folder("bob", "new")).into_values().eq([expected]));
}

#[test]
fn content_is_read_from_the_journal_after_the_first_attempt() {
    let disk = disk();
    let mut node = Node::start(&disk, clock()).unwrap();
    node.submit("one", &["bob"]);
    let path = Path::new("/home");
    drop(disk.create(path).unwrap());
    node.run();
    disk.unlink(path).unwrap();
    let id = node.queue.reader.behind(None, 1)[0];
    let stored = node.queue.reader.message(id).unwrap().unwrap().content;
    let mut text = String::new();
    node.queue.reader.open(&stored).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "Subject: one\r\n\r\none\r\n");
    node.drain();
    assert!(mail(&disk, &folder("bob", "new")).into_values().eq([as_delivered("one", "bob")]));
}
