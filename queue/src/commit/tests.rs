mod start;

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

#[test]
fn what_was_accepted_is_there_after_a_crash() {
    let mut queue = Queue::new();
    let done = queue.accept(1, ".one\r\n");
    let [Done::Accepted { token: 1, content, .. }] = &done[..] else { panic!("{done:?}") };
    assert_eq!(content.memory.as_deref().map(|buffer| &**buffer), Some(&b".one\r\n"[..]));
    let queue = queue.crash(false);
    assert_eq!(queue.opened.recovered.live, [id(1)]);
    assert!(!queue.opened.recovered.clean);
    let found = queue.found(1).unwrap();
    assert_eq!(*found.message, message(1, 3));
    assert_eq!(found.states, vec![State::new(found.message.ctime); 3]);
    assert_eq!((found.content.octets, found.content.dot_lines), (6, true));
    assert_eq!(queue.content(1).unwrap(), ".one\r\n");
}

#[test]
fn a_group_is_one_write_and_one_sync() {
    let mut queue = Queue::new();
    let before = queue.disk.steps();
    let done = queue.turn(vec![accept(1, "one"), accept(2, "two"), accept(3, "three")]);
    assert_eq!((done.len(), queue.disk.steps() - before), (3, 2));
}

#[test]
fn settled_envelopes_leave_and_the_others_keep_their_state() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    queue.settle(1, 0);
    let verdict = Verdict::Later { tries: 4, due: 900, error: "busy".into() };
    queue.turn(vec![Request::Outcome(outcome(1, 2, verdict))]);
    for queue in [&queue, &queue.crash(false)] {
        let found = queue.found(1).unwrap();
        let ids: Vec<u32> = found.message.envelopes.iter().map(|e| e.id.nth()).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!((found.states[0].tries, found.states[1].tries), (0, 4));
        assert_eq!(found.states[1].due, Due::At(900));
        assert_eq!(found.states[1].error, "busy");
    }
    queue.settle(1, 1);
    queue.settle(1, 2);
    assert!(queue.found(1).is_none() && queue.crash(false).found(1).is_none());
    let before = queue.disk.steps();
    assert!(matches!(queue.settle(1, 2)[..], [Done::Recorded(_)]), "said again");
    assert_eq!(queue.disk.steps(), before, "and not written again");
    assert_eq!(queue.content(1).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_bounce_and_its_cause_are_one_record() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let Request::Accept(mut bounce) = accept(2, "bounce") else { unreachable!() };
    bounce.causes = (0..3).map(|nth| outcome(1, nth, Verdict::Removed)).collect();
    let before = queue.disk.steps();
    let done = queue.turn(vec![Request::Accept(bounce)]);
    assert_eq!((done.len(), queue.disk.steps() - before), (4, 2));
    let queue = queue.crash(false);
    assert_eq!(queue.opened.recovered.live, [id(2)]);
}

#[test]
fn large_content_is_in_a_file_until_the_message_is_settled() {
    let mut queue = Queue::new();
    let mut writer = queue.opened.spool.begin(id(1)).unwrap();
    writer.write(b"large ").unwrap();
    writer.write(b"content").unwrap();
    let file = queue.opened.spool.finish(writer).unwrap();
    let Request::Accept(mut request) = accept(1, "") else { unreachable!() };
    request.content.body = Body::File(file);
    queue.turn(vec![Request::Accept(request)]);
    let mut queue = queue.crash(false);
    assert_eq!(queue.content(1).unwrap(), "large content");
    queue.settle(1, 0);
    queue.settle(1, 1);
    let done = queue.settle(1, 2);
    let [Done::Recorded(_), Done::Discard(discard)] = done[..] else { panic!("{done:?}") };
    queue.opened.spool.remove(discard).unwrap();
    queue.opened.spool.remove(discard).unwrap();
    assert!(queue.disk.list(&root().join("content")).unwrap().is_empty());
}

#[test]
fn a_damaged_content_file_is_noticed_before_its_end() {
    let queue = Queue::new();
    let mut writer = queue.opened.spool.begin(id(1)).unwrap();
    writer.write(b"content").unwrap();
    let file = queue.opened.spool.finish(writer).unwrap();
    let Request::Accept(mut request) = accept(1, "") else { unreachable!() };
    request.content.body = Body::File(file);
    let mut queue = queue;
    queue.turn(vec![Request::Accept(request)]);
    queue.disk.flip(&queue.opened.spool.path(id(1)), 9);
    assert_eq!(queue.content(1).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn content_that_no_record_names_goes_at_the_next_start() {
    let queue = Queue::new();
    let writer = queue.opened.spool.begin(id(7)).unwrap();
    queue.opened.spool.finish(writer).unwrap();
    let path = queue.opened.spool.path(id(7));
    let queue = queue.crash(true);
    assert_eq!(queue.opened.recovered.findings, [Finding::Removed(path)]);
    assert!(queue.disk.list(&root().join("content")).unwrap().is_empty());
}

#[test]
fn a_failed_sync_refuses_for_good_and_writes_the_outcomes_again() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let sync = queue.disk.steps() + 1;
    queue.disk.fail(sync..sync + 1, Fault::Io);
    let outcome = Request::Outcome(outcome(1, 0, Verdict::Delivered));
    let done = queue.turn(vec![accept(2, "two"), outcome]);
    assert_eq!(refusal(&done), Some(Refusal::Failed));
    assert!(done.iter().any(|done| matches!(done, Done::Recorded(_))));
    queue.accept(3, "three");
    for keep in [true, false] {
        let queue = queue.crash(keep);
        assert_eq!(queue.opened.recovered.live, [id(1), id(3)]);
        assert_eq!(queue.found(1).unwrap().message.envelopes.len(), 2);
        assert_eq!(queue.opened.recovered.findings, []);
    }
}

#[test]
fn when_the_abort_fails_too_nothing_is_promised_until_the_disk_works_again() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let sync = queue.disk.steps() + 1;
    queue.disk.fail(sync..sync + 4, Fault::Io);
    let settled = Request::Outcome(outcome(1, 0, Verdict::Delivered));
    let done = queue.turn(vec![accept(2, "two"), settled]);
    assert_eq!(refusal(&done), Some(Refusal::Fatal));
    assert_eq!(done.len(), 1, "the outcome is owed");
    assert_eq!(refusal(&queue.accept(3, "three")), Some(Refusal::Failed), "not handed over");
    let done = queue.tidy(10);
    assert!(matches!(done[..], [Done::Recorded(_)]), "{done:?}");
    assert_eq!(refusal(&queue.accept(4, "four")), None);
    assert_eq!(queue.crash(true).opened.recovered.live, [id(1), id(4)]);
}

#[test]
fn content_of_an_uncertain_message_stays_until_its_abort_is_on_disk() {
    let mut queue = Queue::new();
    let mut writer = queue.opened.spool.begin(id(1)).unwrap();
    writer.write(b"content").unwrap();
    let file = queue.opened.spool.finish(writer).unwrap();
    let Request::Accept(mut request) = accept(1, "") else { unreachable!() };
    request.content.body = Body::File(file);
    let sync = queue.disk.steps() + 1;
    queue.disk.fail(sync..sync + 4, Fault::Io);
    let done = queue.turn(vec![Request::Accept(request)]);
    assert!(matches!(done[..], [Done::Refused { why: Refusal::Fatal, .. }]), "{done:?}");
    // The record may be there after a crash.
    let after = queue.crash(true);
    assert_eq!(after.content(1).unwrap(), "content");
    let done = queue.tidy(10);
    assert!(matches!(done[..], [Done::Discard(one)] if one == id(1)), "{done:?}");
}

#[test]
fn octets_that_a_failed_sync_left_behind_are_not_trusted_by_the_next_process() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let sync = queue.disk.steps() + 1;
    queue.disk.fail(sync..sync + 9, Fault::Io);
    assert_eq!(refusal(&queue.accept(2, "two")), Some(Refusal::Fatal));
    // It is killed: the record can be read, but nothing makes the system write it.
    let queue = Queue::on(queue.disk.after_kill());
    assert_eq!(queue.opened.recovered.live, [id(1), id(2)]);
    assert_eq!(queue.crash(false).opened.recovered.live, [id(1), id(2)]);
}

#[test]
fn a_journal_that_is_used_stays_small() {
    let mut queue = Queue::new();
    queue.fill();
    // These stay, in what will be the oldest segments.
    for number in 1..=5 {
        queue.accept(number, "stays");
        queue.settle(number, 0);
        queue.turn(vec![Request::Outcome(outcome(
            number,
            1,
            Verdict::Held { tries: number, error: "held".into() },
        ))]);
    }
    for number in 100..700 {
        queue.accept(number, &"x".repeat(300));
        (0..3).for_each(|nth| drop(queue.settle(number, nth)));
        queue.tidy(1);
        assert!(queue.segments() < 9, "{} at {number}", queue.segments());
    }
    queue.tidy(60);
    assert!(queue.segments() <= 5);
    let spares = queue.disk.list(&root().join("journal")).unwrap().len() - queue.segments();
    assert!((RESERVE..=5).contains(&spares), "{spares}");
    for queue in [&queue, &queue.crash(false)] {
        for number in 1..=5 {
            let found = queue.found(number).unwrap();
            assert_eq!(found.message.envelopes.len(), 2);
            assert_eq!((found.states[0].due, found.states[0].tries), (Due::Held, number));
            assert_eq!(queue.content(number).unwrap(), "stays");
        }
        assert_eq!(queue.opened.reader.messages(), 5);
    }
}

#[test]
fn a_segment_that_is_settled_while_it_is_being_emptied_holds_nothing_up() {
    // More than is read of one in a single call.
    let mut queue = Queue::with(FaultDisk::new(&root()), 3 << 19);
    let mut number = 10;
    // About a segment of mail that comes and goes.
    let mut busy = |queue: &mut Queue| {
        for _ in 0..8 {
            number += 1;
            queue.accept(number, &"x".repeat(200 << 10));
            (0..3).for_each(|nth| drop(queue.settle(number, nth)));
        }
    };
    queue.accept(1, "settled soon");
    busy(&mut queue);
    queue.accept(2, "stays");
    (0..8).for_each(|_| busy(&mut queue));
    assert!(queue.segments() > 8);
    queue.opened.commit.tidy(queue.now, &mut Vec::<Done<u32>>::new());
    (0..3).for_each(|nth| drop(queue.settle(1, nth)));
    queue.tidy(5);
    assert!(queue.segments() < 4, "{}", queue.segments());
    assert_eq!(queue.content(2).unwrap(), "stays");
}

#[test]
fn a_full_disk_refuses_mail_and_can_be_drained() {
    let disk = FaultDisk::new(&root());
    disk.set_capacity(12 * SEGMENT);
    let mut queue = Queue::on(disk);
    queue.fill();
    let full = (1..1000).find(|number| refusal(&queue.accept(*number, &"x".repeat(900))).is_some());
    let full = full.expect("the disk is not that large");
    assert!(full > 40, "{full}");
    assert_eq!(refusal(&queue.accept(full, "")), None, "a small one may still fit");
    assert_eq!(refusal(&queue.accept(2000, &"x".repeat(900))), Some(Refusal::NoSpace));
    assert!(queue.opened.commit.spares.count() >= RESERVE);
    for number in 1..full {
        for nth in 0..3 {
            let done = queue.settle(number, nth);
            assert!(matches!(done[..], [Done::Recorded(_)]), "{number}: {done:?}");
        }
        queue.tidy(1);
    }
    queue.tidy(100);
    assert_eq!(refusal(&queue.accept(2001, &"x".repeat(900))), None);
    assert_eq!(queue.crash(false).opened.recovered.live, [id(full), id(2001)]);
}

#[test]
fn starts_on_a_full_disk_leave_the_reserve_to_outcomes() {
    let disk = FaultDisk::new(&root());
    disk.set_capacity(12 * SEGMENT);
    let mut queue = Queue::on(disk);
    queue.fill();
    let full = (1..1000).find(|number| refusal(&queue.accept(*number, &"x".repeat(900))).is_some());
    let full = full.expect("the disk is not that large");
    // Somebody else takes the rest.
    let (other, space) = (root().join("other"), queue.disk.space(&root()).unwrap());
    queue.disk.create(&other).unwrap().write_at(&vec![0; space as usize], 0).unwrap();
    let segments = queue.segments();
    for round in 0..10 {
        assert_eq!(refusal(&queue.accept(2000, "")), Some(Refusal::NoSpace), "{round}");
        queue.tidy(20);
        if round % 2 == 0 {
            queue = queue.crash(true);
        } else {
            let sequence = queue.opened.commit.close().unwrap();
            queue = Queue::on(queue.disk);
            assert_eq!(queue.opened.recovered.sequence, sequence);
        }
        assert_eq!(queue.opened.commit.spares.count(), RESERVE, "{round}");
        assert!(queue.segments() <= segments, "{round}");
    }
    for number in 1..full {
        (0..3).for_each(|nth| drop(queue.settle(number, nth)));
        queue.tidy(1);
    }
    queue.tidy(100);
    assert_eq!(refusal(&queue.accept(2001, &"x".repeat(900))), None);
    assert_eq!(queue.crash(false).opened.recovered.live, [id(2001)]);
}

/// A queue that holds as many messages as its disk has room for, beside which somebody else has
/// taken the rest, and how many those are.
fn full_queue(segment: u64) -> (Queue, u32) {
    let disk = FaultDisk::new(&root());
    disk.set_capacity(12 * segment);
    let mut queue = Queue::with(disk, segment);
    let mut is_refused = |number: &u32| {
        while let Ok(Filled::Some) = queue.opened.filler.fill() {}
        refusal(&queue.accept(*number, &"x".repeat(900))).is_some()
    };
    let full = (1..1000).find(|number| is_refused(number));
    let (other, space) = (root().join("other"), queue.disk.space(&root()).unwrap());
    queue.disk.create(&other).unwrap().write_at(&vec![0; space as usize], 0).unwrap();
    (queue, full.expect("the disk is not that large") - 1)
}

/// Settles a message, however long its outcomes must wait for space.
fn settle_in_time(queue: &mut Queue, number: u32) {
    let mut open: Vec<u32> = (0..3).collect();
    let mut done: Vec<_> = open.iter().flat_map(|nth| queue.settle(number, *nth)).collect();
    for _ in 0..10 {
        done.extend(queue.tidy(20));
        open.retain(|nth| {
            !done.iter().any(|done| {
            matches!(done, Done::Recorded(it) if it.envelope == EnvelopeId::new(id(number), *nth))
        })
        });
        if open.is_empty() {
            return;
        }
    }
    panic!("{number}: no space for {open:?}");
}

#[test]
fn a_full_queue_is_drained_however_often_it_starts() {
    // How often it starts, between so many messages; and whether some stay to the end.
    for (starts, messages, stay) in [(1, 1, 0), (3, 1, 0), (1, 7, 0), (1, 1, 5), (2, 3, 9)] {
        let case = format!("{starts} starts after {messages} messages, one in {stay} stays");
        let (mut queue, all) = full_queue(SEGMENT);
        let stays = |number: &u32| number.is_multiple_of(stay);
        for number in (1..=all).filter(|number| !stays(number)) {
            settle_in_time(&mut queue, number);
            if number % messages == 0 {
                for start in 0..starts {
                    queue = queue.crash((number + start) % 2 == 0);
                }
            }
        }
        queue.tidy(200);
        let left: Vec<_> = (1..=all).filter(stays).map(id).collect();
        let mut there = queue.crash(false).opened.recovered.live;
        there.sort_unstable();
        assert_eq!(there, left, "{case}");
        assert_eq!(refusal(&queue.accept(2001, &"x".repeat(900))), None, "{case}");
        (1..=all).filter(stays).for_each(|number| settle_in_time(&mut queue, number));
        queue.tidy(200);
        assert_eq!(queue.crash(false).opened.recovered.live, [id(2001)], "{case}");
        let spares = queue.opened.commit.spares.count();
        assert!(spares >= RESERVE, "{case}: {spares}");
    }
}

#[test]
fn mail_that_is_tried_again_does_not_use_up_the_reserve() {
    // As much as several segments take is said about a few messages that cannot go yet.
    const LARGE: u64 = 8 * SEGMENT;
    let (mut queue, all) = full_queue(LARGE);
    let mut written = 0;
    for round in 0..80 {
        for number in (1..=all).filter(|number| number % 10 == 0) {
            written += 100;
            let verdict = Verdict::Later { tries: round, due: 900, error: "busy".into() };
            queue.turn(vec![Request::Outcome(outcome(number, round % 3, verdict))]);
            queue.tidy(20);
        }
        if round % 8 == 7 {
            queue = Queue::with(queue.disk.after_crash(|| true), LARGE);
        }
    }
    assert!(written > 5 * LARGE, "{written}");
    (1..=all).for_each(|number| settle_in_time(&mut queue, number));
    queue.tidy(200);
    assert_eq!(refusal(&queue.accept(2001, &"x".repeat(900))), None);
    assert_eq!(queue.opened.reader.messages(), 1);
}

#[test]
fn ids_are_never_given_twice() {
    let mut taken = std::collections::HashSet::new();
    let mut queue = Queue::new();
    for round in 0..6 {
        for _ in 0..100 {
            assert!(taken.insert(queue.opened.ids.take().unwrap()));
        }
        if round % 2 == 0 {
            let Queue { disk, opened, .. } = queue;
            let sequence = opened.commit.close().unwrap();
            let next = opened.ids.take();
            queue = Queue::on(disk);
            assert!(queue.opened.recovered.clean);
            assert_eq!(queue.opened.recovered.sequence, sequence);
            assert_eq!(queue.opened.ids.take(), next, "none is left out after an orderly end");
            taken.extend(next);
        } else {
            queue = queue.crash(true);
            assert!(!queue.opened.recovered.clean);
        }
    }
}

#[test]
fn the_last_header_on_disk_stays_while_the_next_one_fails() {
    let mut queue = Queue::new();
    let taken = queue.opened.ids.take();
    queue.accept(1, "one");
    (0..3).for_each(|nth| drop(queue.settle(1, nth)));
    // There is a spare file now, so the next segment begins: its name, its header, its sync.
    queue.fill();
    let sync = queue.disk.steps() + 2;
    queue.disk.fail(sync..sync + 1, Fault::Io);
    queue.tidy(60);
    let queue = queue.crash(false);
    let next = queue.opened.ids.take();
    assert!(next.is_some() && next != taken, "it is known which ids were given");
}

#[test]
fn an_idle_queue_reserves_more_ids_in_time() {
    let mut queue = Queue::new();
    for _ in 0..3 {
        for _ in 0..crate::id::BLOCK / 2 + 1 {
            queue.opened.ids.take().unwrap();
        }
        queue.tidy(1);
    }
}

#[test]
fn a_damaged_record_costs_no_other() {
    for bit in (0..8 * 300).step_by(37) {
        let mut queue = Queue::new();
        (1..=3).for_each(|number| drop(queue.accept(number, "text")));
        let place = |number| queue.opened.commit.table.lock().get(id(number)).unwrap().place;
        assert!(place(3).offset - place(2).offset > 300);
        let place = place(2);
        let path = root().join("journal").join(segment::name(place.segment));
        queue.disk.flip(&path, place.offset as usize * 8 + bit);
        let again = queue.crash(false);
        let live = &again.opened.recovered.live;
        let findings = &again.opened.recovered.findings;
        // The last octets of a record are unused.
        if live.len() == 2 {
            assert_eq!(*live, [id(1), id(3)]);
            let [Finding::Damaged { octets, copy: Some(copy), .. }] = &findings[..] else {
                panic!("{findings:?}");
            };
            let kept = again.disk.open(copy).unwrap();
            assert_eq!(kept.size().unwrap(), *octets as u64);
            let third = again.crash(false);
            assert_eq!(third.opened.recovered.live, *live);
        } else {
            assert_eq!((live.len(), findings.len()), (3, 0), "bit {bit}");
        }
    }
}

#[test]
fn a_lost_header_is_made_up_for_by_that_of_another_segment() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let mut queue = queue.crash(false);
    queue.accept(2, "two");
    let first = root().join("journal").join(segment::name(1));
    queue.disk.reuse(&first).unwrap().write_at(&[0; 512], 0).unwrap();
    let queue = queue.crash(true);
    assert_eq!(queue.opened.recovered.live, [id(1), id(2)]);
    assert_eq!(queue.content(1).unwrap(), "one");
}

#[test]
fn a_journal_without_any_header_is_kept_for_somebody_to_look_at() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let first = root().join("journal").join(segment::name(1));
    let file = queue.disk.reuse(&first).unwrap();
    file.write_at(&[0; 512], 0).unwrap();
    let size = file.size().unwrap();
    let mut queue = queue.crash(true);
    let [Finding::Damaged { copy: Some(copy), .. }] = &queue.opened.recovered.findings[..] else {
        panic!("{:?}", queue.opened.recovered.findings);
    };
    assert_eq!(queue.disk.open(copy).unwrap().size().unwrap(), size);
    queue.accept(2, "two");
    assert_eq!(queue.crash(false).opened.recovered.live, [id(2)]);
}

#[test]
fn a_message_that_cannot_be_copied_is_set_aside() {
    let mut queue = Queue::new();
    queue.accept(1, "stays");
    queue.accept(2, "is damaged");
    let place = queue.opened.commit.table.lock().get(id(2)).unwrap().place;
    let path = root().join("journal").join(segment::name(place.segment));
    queue.disk.flip(&path, place.offset as usize * 8 + 500);
    let mut damaged = Vec::new();
    for number in 100..400 {
        queue.accept(number, &"x".repeat(300));
        (0..3).for_each(|nth| drop(queue.settle(number, nth)));
        damaged.extend(queue.tidy(1));
    }
    assert!(matches!(damaged[..], [Done::Damaged(two)] if two == id(2)), "{damaged:?}");
    let kept = root().join("quarantine").join(segment::name(place.segment));
    assert!(queue.disk.open(&kept).is_ok());
    assert_eq!(queue.crash(false).opened.recovered.live, [id(1)]);
}

#[test]
fn tools_read_a_queue_and_leave_it_as_it_is() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let before = queue.disk.steps();
    let (reader, recovered) =
        Reader::offline(Arc::new(queue.disk.clone()), &root(), &Keys::default()).unwrap();
    assert_eq!(recovered.live, [id(1)]);
    assert_eq!(reader.message(id(1)).unwrap().unwrap().message.envelopes.len(), 3);
    assert_eq!(queue.disk.steps(), before);
}

#[test]
fn many_read_at_once_are_what_they_are_one_by_one() {
    let mut queue = Queue::new();
    for number in 1..=400 {
        queue.accept(number, &"x".repeat(number as usize * 7 % 900));
        let later = Verdict::Later { tries: 1, due: u64::from(number), error: "full".into() };
        queue.turn(vec![Request::Outcome(outcome(1 + number / 2, number % 3, later))]);
        if number % 50 == 0 {
            (0..3).for_each(|nth| drop(queue.settle(number, nth)));
        }
    }
    let ids: Vec<_> = (1..=401).chain([7, 3]).map(id).collect();
    let all = queue.opened.reader.all(&ids);
    assert!(all.iter().map(|(id, _)| *id).eq(ids.iter().copied()));
    let mut found = 0;
    for (id, all) in all {
        let (all, one) = (all.unwrap(), queue.opened.reader.message(id).unwrap());
        found += usize::from(one.is_some());
        let parts = |one: crate::reader::Found| (one.message, one.states, one.content.octets);
        assert_eq!(all.map(parts), one.map(parts));
    }
    assert_eq!(found, 394);
}

#[test]
fn a_large_group_is_cut() {
    let mut queue = Queue::new();
    let mut requests: Vec<_> = (1..=20).map(|n| accept(n, &"x".repeat(250_000))).collect();
    let mut done = Vec::new();
    queue.opened.commit.turn(queue.now, &mut requests, &mut done);
    assert_eq!((done.len(), requests.len()), (16, 4));
    assert_eq!(queue.turn(requests).len(), 4);
    assert_eq!(queue.crash(false).opened.recovered.live.len(), 20);
}
