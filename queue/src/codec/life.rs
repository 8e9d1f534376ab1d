//! Whole queues that are sealed: from start to start, under other keys, and when somebody who
//! can compute checksums has changed them.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::tests::{codec, codecs, key, with_fitting_sums};
use super::{Codec, Options, key_ids};
use crate::budget::Budget;
use crate::commit::{Commit, Opened, Options as QueueOptions};
use crate::disk::fault::FaultDisk;
use crate::disk::{Disk, read_exact_at};
use crate::encode::tests::message;
use crate::envelope::{Due, Outcome, Verdict};
use crate::id::MessageId;
use crate::reader::Reader;
use crate::record::{HEADER, Header};
use crate::recovery::Finding;
use crate::request::{Accept, Body, Content, Done, Request};
use crate::segment::{self, Segment};
use crate::spool::Spool;

const SECRET: &str = "a text that nobody may read";

struct Life {
    commit: Commit,
    reader: Reader,
    spool: Spool,
}

struct Queue {
    disk: FaultDisk,
    opened: Life,
    findings: Vec<Finding>,
    now: Time,
}

fn root() -> &'static Path {
    Path::new("/q")
}

fn id(number: u32) -> MessageId {
    MessageId::from_u32(number).unwrap()
}

impl Queue {
    fn open(disk: FaultDisk, codec: &Codec) -> io::Result<Self> {
        let options =
            QueueOptions { segment: 16 << 10, codec: codec.clone(), ..QueueOptions::new(77) };
        let Opened { commit, recovery, reader, spool, .. } =
            Commit::open(Arc::new(disk.clone()), root(), &options)?;
        let findings = recovery.run()?.findings;
        let opened = Life { commit, reader, spool };
        Ok(Self { disk, opened, findings, now: Time::from_micros(1) })
    }

    fn new(codec: &Codec) -> Self {
        Self::open(FaultDisk::new(root()), codec).unwrap()
    }

    /// The next start, after the power went.
    fn again(&self, codec: &Codec) -> Self {
        Self::open(self.disk.after_crash(|| false), codec).unwrap()
    }

    fn request(&mut self, request: Request<()>) {
        let (mut requests, mut done) = (vec![request], Vec::new());
        self.opened.commit.turn(self.now, &mut requests, &mut done);
        let taken = matches!(done[..], [Done::Accepted { .. } | Done::Recorded(_)]);
        assert!(taken, "{done:?}");
    }

    /// Takes a message in, in a file if it is said to be large.
    fn accept(&mut self, number: u32, large: bool) {
        let text = text(number, large);
        let body = if large {
            let mut writer = self.opened.spool.begin(id(number)).unwrap();
            text.as_bytes().chunks(100_000).for_each(|piece| writer.write(piece).unwrap());
            Body::File(self.opened.spool.finish(writer).unwrap())
        } else {
            let mut buffer = Budget::new(1 << 20).buffer();
            assert!(buffer.extend(text.as_bytes()));
            Body::Memory(buffer)
        };
        let content = Content { dot_lines: false, body };
        let message = Arc::new(message(number, 3));
        let causes = Vec::new();
        self.request(Request::Accept(Accept { token: (), message, content, causes }));
    }

    /// One recipient has it, another one must wait.
    fn attempt(&mut self, number: u32) {
        let envelopes = message(number, 3).envelopes;
        let later = Verdict::Later { tries: 4, due: 99, error: SECRET.into() };
        for (envelope, verdict) in envelopes.iter().zip([Verdict::Delivered, later]) {
            let outcome = Outcome {
                envelope: envelope.id,
                lease: self.opened.reader.epoch(),
                at: 5,
                verdict,
            };
            self.request(Request::Outcome(outcome));
        }
    }

    /// Lets the commit thread tidy up for some minutes.
    fn tidy(&mut self) -> Vec<Done<()>> {
        let mut done = Vec::new();
        let until = self.now + Duration::from_secs(300);
        while self.now < until {
            let wait = self.opened.commit.tidy(self.now, &mut done);
            self.now = self.now + wait.max(Duration::from_micros(1));
        }
        done
    }

    /// A message that was attempted, and its content.
    fn check(&self, number: u32, large: bool) {
        let found = self.opened.reader.message(id(number)).unwrap().expect("it is in the queue");
        assert_eq!(found.message.envelopes, message(number, 3).envelopes[1..]);
        assert_eq!((found.states[0].tries, found.states[0].due), (4, Due::At(99)));
        assert_eq!((&*found.states[0].error, found.states[1].tries), (SECRET, 0));
        assert_eq!(found.content.octets, text(number, large).len() as u64);
        assert_eq!(self.content(number).unwrap(), text(number, large));
    }

    fn content(&self, number: u32) -> io::Result<String> {
        let found = self.opened.reader.message(id(number))?.expect("it is in the queue");
        let mut text = String::new();
        self.opened.reader.open(&found.content)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Everything below a directory.
    fn octets(&self, dir: &str) -> Vec<u8> {
        let dir = root().join(dir);
        let mut all = Vec::new();
        for entry in self.disk.list(&dir).unwrap() {
            let file = self.disk.open(&dir.join(entry.name)).unwrap();
            let begin = all.len();
            all.resize(begin + file.size().unwrap() as usize, 0);
            read_exact_at(&*file, &mut all[begin..], 0).unwrap();
        }
        all
    }

    fn shows(&self, dir: &str, word: &str) -> bool {
        self.octets(dir).windows(word.len()).any(|octets| octets == word.as_bytes())
    }

    /// Changes the first record of the first segment, and gives it the checksums that fit.
    fn tamper(&self, change: impl Fn(&mut [u8], &Header)) {
        let file = self.disk.reuse(&root().join("journal").join(segment::name(1))).unwrap();
        let mut octets = vec![0; file.size().unwrap() as usize];
        read_exact_at(&*file, &mut octets, 0).unwrap();
        let generation = Segment::decode(&octets, 1).unwrap().generation();
        let record = &mut octets[segment::HEADER as usize..];
        let header = Header::decode(record, generation).unwrap();
        change(&mut record[HEADER..], &header);
        with_fitting_sums(record);
        file.write_at(&octets, 0).unwrap();
        file.sync_data().unwrap();
    }
}

fn text(number: u32, large: bool) -> String {
    format!("{number}: {SECRET}\r\n").repeat(if large { 20_000 } else { 30 })
}

#[test]
fn mail_is_there_after_a_loss_of_power_however_it_is_sealed() {
    for codec in codecs() {
        let mut queue = Queue::new(&codec);
        for (number, large) in [(1, false), (2, true)] {
            queue.accept(number, large);
            queue.attempt(number);
        }
        for dir in ["journal", "content"] {
            assert!(queue.shows(dir, SECRET) || codec.key_id() != 0);
            assert!(!queue.shows(dir, SECRET) || codec.key_id() == 0, "{dir} can be read");
        }
        assert!(!queue.shows("journal", "example.org") || codec.key_id() == 0);
        let queue = queue.again(&codec);
        assert_eq!(queue.findings, []);
        queue.check(1, false);
        queue.check(2, true);
    }
}

#[test]
fn a_large_message_is_copied_with_all_it_has() {
    for codec in codecs() {
        let mut queue = Queue::new(&codec);
        queue.accept(1, true);
        queue.attempt(1);
        // Settled at once, so that the journal becomes wasteful.
        for number in 2..200 {
            queue.accept(number, false);
            for envelope in message(number, 3).envelopes {
                let (lease, verdict) = (queue.opened.reader.epoch(), Verdict::Removed);
                let outcome = Outcome { envelope: envelope.id, lease, at: 5, verdict };
                queue.request(Request::Outcome(outcome));
            }
        }
        assert!(queue.tidy().is_empty());
        let first = root().join("journal").join(segment::name(1));
        assert!(queue.disk.open(&first).is_err(), "it was not emptied");
        let queue = queue.again(&codec);
        assert_eq!(queue.findings, []);
        queue.check(1, true);
    }
}

#[test]
fn mail_that_waits_is_sealed_again_until_the_old_key_is_not_needed() {
    let [old, both, new] = [&['a'][..], &['b', 'a'], &['b']].map(|keys| codec(true, keys));
    let none = Options { compress: false, encrypt: false, keys: vec![key('b')] };
    let none = Codec::new(none, &[7; 32]);
    let mut queue = Queue::new(&Codec::default());
    queue.accept(1, false);
    queue.attempt(1);
    for (codec, after, number) in [(&old, &old, 2), (&both, &new, 3), (&none, &Codec::default(), 4)]
    {
        queue = queue.again(codec);
        queue.accept(number, true);
        queue.attempt(number);
        assert!(queue.tidy().is_empty());
        assert_eq!(key_ids(&queue.disk, root()).unwrap(), [codec.key_id()].into());
        queue = queue.again(after);
        assert_eq!(queue.findings, []);
        queue.check(1, false);
        (2..=number).for_each(|number| queue.check(number, true));
    }
}

#[test]
fn facts_that_were_changed_are_damage() {
    let codec = codec(false, &['k']);
    let mut queue = Queue::new(&codec);
    queue.accept(1, false);
    queue.accept(2, false);
    queue.attempt(2);
    queue.tamper(|body, _| body[10] ^= 1);
    let queue = queue.again(&codec);
    let [Finding::Damaged { segment: 1, copy: Some(copy), .. }] = &queue.findings[..] else {
        panic!("{:?}", queue.findings);
    };
    assert!(queue.disk.open(copy).is_ok(), "it is kept");
    assert!(queue.opened.reader.message(id(1)).unwrap().is_none());
    queue.check(2, false);
}

#[test]
fn content_that_was_changed_is_never_given() {
    let codec = codec(true, &['k']);
    let mut queue = Queue::new(&codec);
    queue.accept(1, false);
    queue.accept(2, false);
    queue.attempt(2);
    queue.tamper(|body, header| body[header.facts as usize + 3] ^= 1);
    let mut queue = queue.again(&codec);
    assert_eq!(queue.content(1).unwrap_err().kind(), ErrorKind::InvalidData);
    queue.check(2, false);
    // Sealed under another key, it is found and set aside.
    queue = queue.again(&super::tests::codec(true, &['n', 'k']));
    let done = queue.tidy();
    assert!(matches!(done[..], [Done::Damaged(message)] if message == id(1)), "{done:?}");
    queue.check(2, false);
}
