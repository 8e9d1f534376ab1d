//! Mail and outcomes on a disk that works.

use super::*;

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
fn a_large_group_is_cut() {
    let mut queue = Queue::new();
    let mut requests: Vec<_> = (1..=20).map(|n| accept(n, &"x".repeat(250_000))).collect();
    let mut done = Vec::new();
    queue.opened.commit.turn(queue.now, &mut requests, &mut done);
    assert_eq!((done.len(), requests.len()), (16, 4));
    assert_eq!(queue.turn(requests).len(), 4);
    assert_eq!(queue.crash(false).opened.recovered.live.len(), 20);
}
