//! Readers, beside the daemon and without one.

use super::*;

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
