//! Writes and syncs that fail.

use super::*;

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
