//! A journal that is kept small.

use super::*;

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
