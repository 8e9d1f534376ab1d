//! What the disk gives back is not what was written.

use super::*;

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
