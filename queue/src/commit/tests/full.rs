//! A disk that is full.

use super::*;

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
pub(super) fn full_queue(segment: u64) -> (Queue, u32) {
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
