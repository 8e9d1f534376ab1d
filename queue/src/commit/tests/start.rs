//! Starts: in two stages, with damage of every kind, and what comes of it.

use super::full::full_queue;
use super::*;
use crate::disk::fault::Step;
use crate::disk::read_exact_at;
use crate::wire::tests::Noise;

/// Where a message's record is, and its segment file.
fn record(queue: &Queue, number: u32) -> (PathBuf, usize, usize) {
    let region = queue.opened.commit.table.lock().get(id(number)).unwrap().region();
    (path(region.segment), region.range.start, region.range.len())
}

fn path(segment: u32) -> PathBuf {
    root().join("journal").join(segment::name(segment))
}

fn kept(queue: &Queue) -> Vec<String> {
    let entries = queue.disk.list(&root().join("quarantine")).unwrap();
    entries.into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
}

fn findings(queue: &Queue) -> &[Finding] {
    &queue.opened.recovered.findings
}

/// A message whose content is in a file.
fn accept_large(queue: &mut Queue, number: u32) {
    let mut writer = queue.opened.spool.begin(id(number)).unwrap();
    writer.write(b"content").unwrap();
    let file = queue.opened.spool.finish(writer).unwrap();
    let Request::Accept(mut request) = accept(number, "") else { unreachable!() };
    request.content.body = Body::File(file);
    assert_eq!(refusal(&queue.turn(vec![Request::Accept(request)])), None);
}

/// Segments with one message each, from number 1 on, and one that is being written.
fn segments_of_one(messages: u32) -> Queue {
    let mut queue = Queue::new();
    for number in 1..=messages {
        queue.accept(number, "text");
        // Each start begins a segment.
        queue = queue.crash(false);
    }
    queue
}

#[test]
fn mail_is_accepted_and_settled_before_the_old_is_known() {
    let mut queue = Queue::new();
    (1..=3).for_each(|number| drop(queue.accept(number, "old")));
    accept_large(&mut queue, 4);
    let (mut queue, recovery) = Queue::unread(queue.disk.after_crash(|| false), SEGMENT);
    assert!(!queue.opened.reader.is_complete());
    queue.accept(10, "new");
    queue.accept(11, "passing");
    (0..3).for_each(|nth| drop(queue.settle(11, nth)));
    let large = queue.opened.ids.take().unwrap();
    accept_large(&mut queue, large.as_u32());
    assert!(queue.found(1).is_none() && queue.found(10).is_some());
    // What became of old mail is on record at once.
    let verdict = Verdict::Later { tries: 7, due: 900, error: "early".into() };
    let later = Request::Outcome(outcome(1, 2, verdict));
    assert!(matches!(queue.turn(vec![later])[..], [Done::Recorded(_)]));
    (0..3).for_each(|nth| drop(queue.settle(2, nth)));
    (0..3).for_each(|nth| drop(queue.settle(4, nth)));
    let segments = queue.segments();
    queue.tidy(100);
    assert!(queue.segments() >= segments, "nothing goes before it was read");
    let crashed = queue.crash(false);

    queue.opened.recovered = recovery.run().unwrap();
    assert!(queue.opened.reader.is_complete());
    assert!(queue.opened.spool.open(id(4)).is_err(), "its content goes with it");
    for queue in [&queue, &crashed, &queue.crash(false)] {
        let all = queue.opened.reader.behind(None, 100);
        assert_eq!(all, [id(1), id(3), id(10), large]);
        let found = queue.found(1).unwrap();
        assert_eq!((found.states[0].tries, found.states[2].tries), (0, 7));
        assert_eq!(
            queue.content(large.as_u32()).unwrap(),
            "content",
            "a file of this run is not unused"
        );
        assert!(findings(queue).iter().all(|finding| matches!(finding, Finding::Removed(_))));
    }
    queue.tidy(100);
    assert!(queue.segments() < segments + 2, "tidying goes on");
    assert_eq!(queue.content(3).unwrap(), "old");
}

#[test]
fn content_that_is_being_written_while_the_queue_is_read_stays() {
    let queue = Queue::new();
    let writer = queue.opened.spool.begin(id(7)).unwrap();
    queue.opened.spool.finish(writer).unwrap();
    let (queue, recovery) = Queue::unread(queue.disk.after_crash(|| true), SEGMENT);
    let new = queue.opened.ids.take().unwrap();
    let writer = queue.opened.spool.begin(new).unwrap();
    let removed = queue.opened.spool.path(id(7));
    assert_eq!(recovery.run().unwrap().findings, [Finding::Removed(removed)]);
    queue.opened.spool.finish(writer).unwrap();
    assert!(queue.opened.spool.open(new).is_ok());
}

#[test]
fn a_flipped_bit_in_the_last_group_costs_one_record_and_names_it() {
    let mut queue = Queue::new();
    queue.accept(1, "before");
    let mut writer = queue.opened.spool.begin(id(3)).unwrap();
    writer.write(b"content").unwrap();
    let file = queue.opened.spool.finish(writer).unwrap();
    let Request::Accept(mut large) = accept(3, "") else { unreachable!() };
    large.content.body = Body::File(file);
    queue.turn(vec![accept(2, "two"), Request::Accept(large), accept(4, "four")]);
    let (file, offset, octets) = record(&queue, 3);
    queue.disk.flip(&file, (offset + 100) * 8);
    let damaged = queue.disk.after_crash(|| true);
    let queue = Queue::on(damaged);
    assert_eq!(queue.opened.recovered.live, [id(1), id(2), id(4)]);
    let [Finding::SetAside(content), Finding::Torn { copy: Some(copy), octets: torn, .. }] =
        findings(&queue)
    else {
        panic!("{:?}", findings(&queue));
    };
    assert_eq!(*torn, octets);
    for (path, length) in [(content, 7), (copy, octets as u64)] {
        assert_eq!(queue.disk.open(path).unwrap().size().unwrap(), length);
    }
    let again = queue.crash(false);
    assert_eq!(again.opened.recovered.live, [id(1), id(2), id(4)]);
    // The name that was taken away may be back; the one in quarantine/ is on disk.
    let removed = |finding: &Finding| matches!(finding, Finding::Removed(_));
    assert!(findings(&again).iter().all(removed), "it was told: {:?}", findings(&again));
    assert_eq!(kept(&again).len(), 2);
}

#[test]
fn a_flipped_bit_in_the_very_last_header_is_named() {
    for bit in 0..48 * 8 {
        let mut queue = Queue::new();
        queue.accept(1, "one");
        queue.accept(2, "two");
        let (file, offset, _) = record(&queue, 2);
        queue.disk.flip(&file, offset * 8 + bit);
        let queue = queue.crash(true);
        assert_eq!(queue.opened.recovered.live, [id(1)], "bit {bit}");
        let [Finding::Torn { copy: Some(_), .. }] = findings(&queue) else {
            panic!("bit {bit}: {:?}", findings(&queue));
        };
        assert_eq!(findings(&queue.crash(true)), [], "bit {bit}");
    }
}

#[test]
fn without_space_for_a_copy_the_file_itself_is_kept() {
    let mut queue = Queue::new();
    (1..=3).for_each(|number| drop(queue.accept(number, "text")));
    let (file, offset, _) = record(&queue, 2);
    queue.disk.flip(&file, (offset + 100) * 8);
    let disk = queue.disk.after_crash(|| true);
    disk.set_capacity(0);
    let mut queue = Queue::on(disk);
    assert_eq!(queue.opened.recovered.live, [id(1), id(3)]);
    let [Finding::Damaged { copy: None, .. }] = findings(&queue) else {
        panic!("{:?}", findings(&queue));
    };
    queue.disk.set_capacity(u64::MAX);
    for number in [1, 3] {
        (0..3).for_each(|nth| drop(queue.settle(number, nth)));
    }
    queue.accept(4, "new");
    queue.tidy(100);
    assert_eq!(kept(&queue), ["00000001"]);
    let mut octet = [0];
    let kept = queue.disk.open(&root().join("quarantine/00000001")).unwrap();
    read_exact_at(&*kept, &mut octet, offset as u64).unwrap();
    assert_eq!(queue.crash(false).opened.recovered.live, [id(4)]);
}

#[test]
fn sectors_that_cannot_be_read_cost_what_is_in_them() {
    let mut queue = Queue::new();
    (1..=9).for_each(|number| drop(queue.accept(number, &"x".repeat(500))));
    let (file, offset, octets) = record(&queue, 5);
    queue.disk.spoil(&file, offset + 600);
    assert!(octets > 600);
    let mut queue = queue.crash(true);
    let live: Vec<_> = queue.opened.recovered.live.clone();
    assert!(live.len() >= 4 && [1, 2, 3, 4].iter().all(|number| live.contains(&id(*number))));
    assert!(!live.contains(&id(5)));
    let unreadable = |finding: &Finding| matches!(finding, Finding::Unreadable { .. });
    assert!(findings(&queue).iter().any(unreadable), "{:?}", findings(&queue));
    for found in live {
        (0..3).for_each(|nth| drop(queue.settle(found.as_u32(), nth)));
    }
    queue.accept(20, "new");
    queue.tidy(100);
    assert!(kept(&queue).contains(&"00000001".to_owned()), "{:?}", kept(&queue));
    assert_eq!(queue.crash(false).opened.recovered.live, [id(20)]);
}

#[test]
fn after_a_last_segment_that_cannot_be_read_new_mail_counts_and_the_old_may_come_back() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let mut queue = queue.crash(false);
    queue.accept(2, "two");
    let (file, offset, _) = record(&queue, 2);
    let whole = queue.disk.after_crash(|| true);
    let first = queue.opened.ids.take();
    queue.disk.spoil(&file, 0);
    queue.disk.spoil(&file, offset + 60);
    let mut queue = queue.crash(true);
    assert_eq!(queue.opened.recovered.live, [id(1)]);
    assert_ne!(queue.opened.ids.take(), first, "ids of the segment are not given again");
    queue.accept(3, "three");
    // The disk reads it again.
    let size = whole.open(&file).unwrap().size().unwrap();
    let mut octets = vec![0; (size as usize).next_multiple_of(512)];
    whole.open(&file).unwrap().read_at(&mut octets, 0).unwrap();
    queue.disk.reuse(&file).unwrap().write_at(&octets, 0).unwrap();
    let queue = queue.crash(true);
    assert_eq!(queue.opened.recovered.live, [id(1), id(2), id(3)]);
}

#[test]
fn a_damaged_header_costs_nothing_where_others_tell_what_it_said() {
    for number in 1..=4 {
        let queue = segments_of_one(4);
        let file = queue.disk.reuse(&path(number)).unwrap();
        file.write_at(&[0xff; 512], 0).unwrap();
        let mut queue = queue.crash(true);
        assert_eq!(queue.opened.recovered.live, [1, 2, 3, 4].map(id), "{number}");
        assert_eq!(findings(&queue), [], "{number}");
        let new = queue.opened.ids.take().unwrap();
        queue.accept(new.as_u32(), "new");
        assert_eq!(queue.crash(false).opened.recovered.live.len(), 5, "{number}");
    }
}

#[test]
fn the_last_header_may_be_damaged_too() {
    let mut queue = segments_of_one(2);
    queue.accept(3, "three");
    let next = queue.opened.ids.take();
    let (file, ..) = record(&queue, 3);
    queue.disk.reuse(&file).unwrap().write_at(&[0xff; 512], 0).unwrap();
    let queue = queue.crash(true);
    assert_eq!(queue.opened.recovered.live, [1, 2, 3].map(id));
    assert_ne!(queue.opened.ids.take(), next);
}

#[test]
fn neither_the_ids_nor_the_number_of_a_blank_last_segment_are_used_again() {
    for orderly in [false, true] {
        let Queue { disk, opened, .. } = segments_of_one(1);
        if orderly {
            opened.commit.close().unwrap();
        }
        let queue = Queue::on(disk.after_crash(|| true));
        let (last, next) = (queue.opened.commit.journal.active(), queue.opened.ids.take());
        let file = queue.disk.reuse(&path(last.unwrap())).unwrap();
        file.write_at(&[0xff; 512], 0).unwrap();
        let queue = queue.crash(true);
        assert_eq!(queue.opened.recovered.live, [id(1)]);
        assert_ne!(queue.opened.ids.take(), next, "{orderly}");
        assert!(queue.opened.commit.journal.active() > last, "{orderly}");
    }
}

/// What is said about the envelopes of the first messages.
fn states(queue: &Queue, messages: u32) -> Vec<Option<Vec<State>>> {
    (1..=messages).map(|number| Some(queue.found(number)?.states)).collect()
}

#[test]
fn what_a_failed_group_left_behind_the_place_where_a_full_disk_is_written_on_never_counts() {
    const LARGE: u64 = 4 * SEGMENT;
    let later = |number, nth, tries| {
        let error = "x".repeat(600);
        let verdict = Verdict::Later { tries, due: 900, error };
        Request::Outcome(outcome(number, nth, verdict))
    };
    let (queue, all) = full_queue(LARGE);
    // The last segment of a life: a group that is on disk, and one whose sync fails, and so does
    // the header of the next segment.
    let mut queue = Queue::with(queue.disk.after_kill(), LARGE);
    queue.turn(vec![later(all, 0, 1)]);
    let last = queue.opened.commit.journal.active().unwrap();
    queue.disk.fail_some(0..u64::MAX, Step::Sync, Fault::Io);
    queue.turn((1..=4).map(|number| later(number, 0, 2)).collect());
    queue.tidy(1);
    let (mut resumed, mut behind) = (0, 0);
    for seed in 0..300 {
        let mut noise = Noise::new(seed);
        let disk = queue.disk.after_crash(|| noise.below(3) > 0);
        let mut next = Queue::with(disk, LARGE);
        let before = states(&next, all);
        let is_torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
        let torn = findings(&next).iter().any(is_torn);
        // As long as the first record of the group: what follows begins where the second did.
        next.turn(vec![later(5, 0, 3)]);
        if next.opened.commit.journal.active() != Some(last) {
            continue;
        }
        resumed += 1;
        behind += u32::from(torn);
        let mut expected = before;
        expected[4] = states(&next, 5).pop().unwrap();
        assert_eq!(expected[4].as_ref().unwrap()[0].tries, 3, "{seed}");
        for keep in [false, true] {
            let again = Queue::with(next.disk.after_crash(|| keep), LARGE);
            assert_eq!(states(&again, all), expected, "{seed}");
        }
    }
    assert!(resumed > 20 && behind > 5, "{resumed} resumed, {behind} over torn octets");
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    for number in 2..=3 {
        for how in ["removed", "empty", "truncated"] {
            let queue = segments_of_one(4);
            let file = path(number);
            let mut head = vec![0; if how == "empty" { 0 } else { 700 }];
            queue.disk.open(&file).unwrap().read_at(&mut head, 0).unwrap();
            queue.disk.unlink(&file).unwrap();
            if how != "removed" {
                queue.disk.create(&file).unwrap().write_at(&head, 0).unwrap();
            }
            let queue = queue.crash(true);
            let others = [1, 2, 3, 4].into_iter().filter(|other| *other != number).map(id);
            assert_eq!(queue.opened.recovered.live, others.collect::<Vec<_>>(), "{how}");
            let missing = |finding: &Finding| matches!(finding, Finding::Missing { .. });
            assert!(findings(&queue).iter().any(missing), "{how}: {:?}", findings(&queue));
        }
    }
}

#[test]
fn a_later_format_is_an_error_before_anything_is_touched() {
    let queue = segments_of_one(2);
    let mut header = [0; 512];
    queue.disk.open(&path(2)).unwrap().read_at(&mut header, 0).unwrap();
    // Both copies, each with its checksum.
    for at in [0, 256] {
        header[at + 8] = 99;
        let sum = crc32c::crc32c(&header[at..at + 48]);
        header[at + 48..at + 52].copy_from_slice(&sum.to_le_bytes());
    }
    queue.disk.reuse(&path(2)).unwrap().write_at(&header, 0).unwrap();
    let disk = queue.disk.after_crash(|| true);
    let error = Commit::open(Arc::new(disk.clone()), &root(), &Options::new(1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(disk.steps(), 0);
}

#[test]
fn a_message_whose_id_was_given_again_is_set_aside() {
    // The counter has gone round: an old message still waits, and nobody has read it yet.
    for crash in [false, true] {
        let mut queue = Queue::new();
        queue.accept(1, "the old one");
        queue.accept(2, "another");
        let (_, _, octets) = record(&queue, 1);
        let (mut queue, recovery) = Queue::unread(queue.disk.after_crash(|| false), SEGMENT);
        queue.accept(1, "the new one");
        match crash {
            true => queue = queue.crash(false),
            false => queue.opened.recovered = recovery.run().unwrap(),
        }
        assert_eq!(queue.content(1).unwrap(), "the new one");
        let [Finding::Replaced { message, copy: Some(copy) }] = findings(&queue) else {
            panic!("{:?}", findings(&queue));
        };
        assert_eq!(*message, id(1));
        let mut kept = vec![0; octets];
        read_exact_at(&*queue.disk.open(copy).unwrap(), &mut kept, 0).unwrap();
        assert!(kept.windows(11).any(|window| window == b"the old one"));
        let queue = queue.crash(false);
        assert_eq!((findings(&queue), queue.opened.reader.messages()), (&[][..], 2));
        assert_eq!(queue.content(1).unwrap(), "the new one");
    }
}

#[test]
fn a_disk_that_keeps_failing_is_asked_less_and_less_often() {
    let mut queue = Queue::new();
    queue.accept(1, "one");
    let from = queue.disk.steps();
    queue.disk.fail(from..u64::MAX, Fault::Io);
    queue.settle(1, 0);
    queue.tidy(60);
    let attempts = queue.disk.steps() - from;
    assert!((5..20).contains(&attempts), "{attempts} in a minute");
    queue.disk.heal();
    let done = queue.tidy(20);
    assert!(matches!(done[..], [Done::Recorded(_)]), "{done:?}");
}
