//! The store between a journal on a disk in memory and a test in the place of the scheduler.

use std::path::PathBuf;
use std::sync::Arc;

use smtpd_engine::time::Time;

use super::*;
use crate::budget::Budget;
use crate::commit::{self, Commit};
use crate::delivery::Kind;
use crate::disk::fault::FaultDisk;
use crate::envelope::{Outcome, Verdict};
use crate::index::tests::Dir;
use crate::ordered::{Changes, Ordered};
use crate::request::{self, Accept, Body, Content};
use crate::scheduler::tests::message;

const START: u64 = 1_700_000_000_000_000;
const RANDOM: u128 = 3 << 96 | 9;
const LIMIT: Duration = Duration::from_secs(20);

/// A queue of three messages for bob and one for a user and a domain.
struct Queue {
    disk: FaultDisk,
    opened: commit::Opened,
}

impl Queue {
    fn new() -> Self {
        let root = PathBuf::from("/q");
        let disk = FaultDisk::new(&root);
        let options = commit::Options::new(RANDOM);
        let opened = Commit::open(Arc::new(disk.clone()), &root, &options).unwrap();
        let mut queue = Self { disk, opened };
        for (number, to) in [(1, &["bob"][..]), (2, &["bob"]), (3, &["bob"]), (4, &["jo", "a.net"])]
        {
            queue.accept(number, to);
        }
        queue
    }

    fn accept(&mut self, number: u32, to: &[&str]) {
        let mut octets = Budget::new(100).buffer();
        assert!(octets.extend(b"text\r\n"));
        self.turn(request::Request::Accept(Accept {
            token: (),
            message: Arc::new(message(number, to)),
            content: Content { dot_lines: false, body: Body::Memory(octets) },
            causes: Vec::new(),
        }));
    }

    fn turn(&mut self, request: request::Request<()>) {
        let mut done = Vec::new();
        self.opened.commit.turn(Time::from_micros(1), &mut vec![request], &mut done);
        assert_eq!(done.len(), 1);
    }

    fn record(&mut self, envelope: EnvelopeId, verdict: Verdict) {
        let lease = self.opened.reader.epoch();
        self.turn(request::Request::Outcome(Outcome { envelope, lease, at: START, verdict }));
    }

    fn live(&self) -> Vec<MessageId> {
        self.opened.reader.behind(None, 100)
    }

    fn in_memory(&self) -> Store {
        Store::in_memory(self.opened.reader.clone(), self.live())
    }

    fn on_disk(&self, dir: &Dir, sequence: u64) -> Store {
        dir.wait_for_locks();
        let ids = Some(self.opened.ids.clone());
        let options = Options { dir: &dir.0, limit: LIMIT, sequence, live: self.live(), ids };
        Store::open(options, self.opened.reader.clone())
    }
}

fn id(number: u32, nth: u32) -> EnvelopeId {
    EnvelopeId::new(MessageId::from_u32(number).unwrap(), nth)
}

fn turn(store: &mut Store, requests: impl IntoIterator<Item = Request>) -> Vec<Answer> {
    let mut answers = Vec::new();
    store.turn(&mut requests.into_iter().collect(), &mut answers);
    answers
}

/// The answers, all of which tell of what has come into the room.
fn filled(answers: &[Answer]) -> Vec<(Kind, u64)> {
    let filled = answers.iter().map(|answer| match answer {
        Answer::Filled { kind, due } => (*kind, *due),
        other => panic!("{other:?}"),
    });
    filled.collect()
}

fn is_lost(answers: &[Answer]) -> bool {
    matches!(answers, [Answer::Lost])
}

/// What is lent at `now` for local delivery, and what is next.
fn claim(store: &mut Store, now: u64) -> (Vec<Lent>, Option<u64>) {
    let crowded = HashSet::new();
    let claim = Claim { kind: Kind::Mda, now, room: 100, per_lane: 100, crowded };
    match turn(store, [Request::Claim(claim)]).into_iter().next() {
        Some(Answer::Lent { kind: Kind::Mda, envelopes, next, .. }) => (envelopes, next),
        other => panic!("{other:?}"),
    }
}

fn ids(lent: &[Lent]) -> Vec<EnvelopeId> {
    lent.iter().map(|lent| lent.id).collect()
}

fn put(envelope: EnvelopeId, due: u64) -> Request {
    let place = Place { envelope, kind: Kind::Mda, lane: 1, due: Due::At(due) };
    change(Change::Put(place))
}

fn remove(envelope: EnvelopeId) -> Request {
    change(Change::Remove(envelope))
}

fn change(change: Change) -> Request {
    Request::Change(change, commit::Options::new(RANDOM).epoch())
}

#[test]
fn a_new_room_is_filled_with_what_the_scheduler_does_not_know() {
    let queue = Queue::new();
    let mut store = queue.in_memory();
    assert!(is_lost(&turn(&mut store, [])));
    assert!(turn(&mut store, [put(id(1, 0), 0)]).is_empty(), "void, and said once");
    let answers = turn(&mut store, [Request::Known(vec![id(2, 0)])]);
    assert_eq!(filled(&answers), [(Kind::Mda, START), (Kind::Mta, START)]);
    let (mut lent, next) = claim(&mut store, START);
    lent.sort_by_key(|lent| lent.id);
    let mut expected = vec![id(1, 0), id(3, 0), id(4, 0)];
    expected.sort();
    assert_eq!((ids(&lent), next), (expected, None));
    let one = &lent[0];
    assert_eq!(one.state, State::new(START));
    assert_eq!((one.message.id, one.content.octets), (one.id.message(), 6));
    assert!(claim(&mut store, START).0.is_empty(), "they are lent");
}

#[test]
fn what_is_put_is_answered_for_and_comes_back_when_it_is_due() {
    let mut queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    let known = (1..=3).map(|n| id(n, 0)).chain([id(4, 0), id(4, 1)]).collect();
    turn(&mut store, [Request::Known(known)]);
    let later = Verdict::Later { tries: 1, due: START + 9, error: "full".into() };
    queue.record(id(2, 0), later);
    let answers = turn(&mut store, [put(id(2, 0), START + 9)]);
    assert!(matches!(&answers[..], [Answer::Stored(place)] if place.envelope == id(2, 0)));
    assert_eq!(claim(&mut store, START + 8).1, Some(START + 9));
    let (lent, next) = claim(&mut store, START + 9);
    assert_eq!((ids(&lent), next), (vec![id(2, 0)], None));
    assert_eq!((lent[0].state.tries, &*lent[0].state.error), (1, "full"));
}

#[test]
fn what_is_fetched_is_lent_whether_it_is_due_or_not() {
    let mut queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    turn(&mut store, [Request::Known(vec![id(1, 0)])]);
    queue.record(id(2, 0), Verdict::Held { tries: 1, error: "loop".into() });
    queue.record(id(3, 0), Verdict::Delivered);
    let held = Place { envelope: id(2, 0), kind: Kind::Mda, lane: 1, due: Due::Held };
    turn(&mut store, [change(Change::Put(held)), put(id(4, 0), START + 99)]);
    let all = vec![id(1, 0), id(2, 0), id(3, 0), id(4, 0), id(4, 1), id(9, 0)];
    let mut fetch = || match turn(&mut store, [Request::Fetch(all.clone())]).pop() {
        Some(Answer::Fetched { envelopes, absent }) => (ids(&envelopes), absent),
        other => panic!("{other:?}"),
    };
    let expected = vec![id(2, 0), id(4, 0), id(4, 1)];
    assert_eq!(fetch(), (expected, vec![id(1, 0), id(3, 0), id(9, 0)]));
    assert_eq!(fetch(), (vec![], all.clone()), "they are lent");
    assert!(claim(&mut store, START + 100).0.is_empty());
}

#[test]
fn what_is_fetched_and_cannot_be_read_stays_where_it_is() {
    let queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    turn(&mut store, [Request::Known(vec![])]);
    let octet = (512 + 48 + 4) * 8;
    queue.disk.flip(&PathBuf::from("/q/journal/00000001"), octet);
    let answers = turn(&mut store, [Request::Fetch(vec![id(1, 0)])]);
    assert!(matches!(&answers[..], [Answer::Fetched { envelopes, absent }]
        if envelopes.is_empty() && *absent == [id(1, 0)]));
    queue.disk.flip(&PathBuf::from("/q/journal/00000001"), octet);
    assert_eq!(claim(&mut store, START).0.len(), 4);
}

#[test]
fn a_large_room_is_filled_in_pieces_and_answers_in_between() {
    let mut queue = Queue::new();
    (5..2000).for_each(|number| queue.accept(number, &["bob"]));
    let mut store = Store::in_memory(queue.opened.reader.clone(), queue.opened.reader.in_order());
    turn(&mut store, []);
    assert!(!store.is_busy(), "nothing is put before the scheduler has said what it has");
    let answers = turn(&mut store, [Request::Known(vec![id(1, 0), id(1999, 0)])]);
    assert!(filled(&answers).contains(&(Kind::Mda, START)));
    assert!(store.is_busy());
    // What is there already can be claimed, and what is not there can be fetched.
    let mut lent = ids(&claim(&mut store, START).0);
    assert!(lent.contains(&id(2, 0)) && !lent.contains(&id(1, 0)));
    let fetch = vec![id(1, 0), id(1990, 0), id(1999, 0)];
    let fetched = turn(&mut store, [Request::Fetch(fetch)]);
    let [Answer::Fetched { envelopes, absent }, ..] = &fetched[..] else { panic!("{fetched:?}") };
    assert_eq!((ids(envelopes), &absent[..]), (vec![id(1990, 0)], &[id(1, 0), id(1999, 0)][..]));
    lent.push(id(1990, 0));
    // One that is put meanwhile is where it was put.
    let later = Verdict::Later { tries: 1, due: START + 9, error: "full".into() };
    queue.record(id(2, 0), later);
    turn(&mut store, [put(id(2, 0), START + 9)]);
    lent.retain(|lent| *lent != id(2, 0));
    while store.is_busy() {
        turn(&mut store, []);
    }
    for _ in 0..30 {
        lent.extend(ids(&claim(&mut store, START + 8).0));
    }
    let all: HashSet<_> = lent.iter().copied().collect();
    assert_eq!((lent.len(), all.len()), (1996, 1996), "all but three, and none twice");
    assert_eq!(ids(&claim(&mut store, START + 9).0), [id(2, 0)]);
}

/// Whatever is claimed, fetched, put and settled while a room is filled: in the end every envelope
/// is lent once, at its time, and nothing else is left.
#[test]
fn what_happens_while_a_room_is_filled_counts() {
    const MANY: u32 = 12_000;
    let mut queue = Queue::new();
    let users = ["bob", "jo", "eva", "tim"];
    (5..=MANY).for_each(|number| queue.accept(number, &[users[number as usize % 4]]));
    let mut store = Store::in_memory(queue.opened.reader.clone(), queue.opened.reader.in_order());
    turn(&mut store, []);
    let known: Vec<_> = (1..=MANY).filter(|n| n % 1000 == 0).map(|n| id(n, 0)).collect();
    turn(&mut store, [Request::Known(known.clone())]);
    let mut lent: HashSet<_> = known.into_iter().collect();
    let mut put_back = HashSet::new();
    let mut seed = 5_u64;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as u32 % below
    };
    let mut requests = Vec::new();
    let mut turns = 0;
    while store.is_busy() {
        turns += 1;
        let wanted: HashSet<_> = (0..40).map(|_| id(1 + random(MANY), 0)).collect();
        requests.push(Request::Fetch(wanted.into_iter().collect()));
        let crowded = HashSet::new();
        let claim = Claim { kind: Kind::Mda, now: START, room: 40, per_lane: 10, crowded };
        requests.push(Request::Claim(claim));
        let answers = turn(&mut store, requests.drain(..));
        let got = answers.iter().flat_map(|answer| match answer {
            Answer::Fetched { envelopes, .. } | Answer::Lent { envelopes, .. } => ids(envelopes),
            _ => Vec::new(),
        });
        for id in got {
            assert!(put_back.remove(&id) || lent.insert(id), "{id} was lent twice");
            match random(3) {
                // It is settled, and the store need not hear of it.
                0 => queue.record(id, Verdict::Delivered),
                // It is put back.
                1 => {
                    let verdict = Verdict::Later { tries: 1, due: START + 9, error: "full".into() };
                    queue.record(id, verdict);
                    requests.push(put(id, START + 9));
                    put_back.insert(id);
                }
                // It was put into the store and taken out again.
                _ => requests.extend([put(id, START + 9), remove(id)]),
            }
        }
    }
    turn(&mut store, requests);
    assert!(turns > 25, "in {turns} turns");
    for now in [START + 8, START + 9] {
        loop {
            let claimed = ids(&claim(&mut store, now).0);
            if claimed.is_empty() {
                break;
            }
            for id in claimed {
                let is_back = now == START + 9 && put_back.remove(&id);
                assert!(is_back || lent.insert(id), "{id} was lent twice");
            }
        }
    }
    assert!(put_back.is_empty());
    assert_eq!(lent.len(), MANY as usize);
}

#[test]
fn what_came_without_the_scheduler_is_discovered() {
    let mut queue = Queue::new();
    let mut store = queue.in_memory();
    // While it is lost, too.
    queue.accept(5, &["bob"]);
    turn(&mut store, [Request::Discover(vec![id(5, 0).message()])]);
    let known = (1..=3).map(|n| id(n, 0)).chain([id(4, 0), id(4, 1)]).collect();
    turn(&mut store, [Request::Known(known)]);
    assert_eq!(filled(&turn(&mut store, [])), [(Kind::Mda, START)]);
    queue.accept(6, &["bob"]);
    let messages = vec![id(6, 0).message(), id(7, 0).message()];
    let answers = turn(&mut store, [Request::Discover(messages)]);
    assert_eq!(filled(&answers), [(Kind::Mda, START)]);
    let mut lent = ids(&claim(&mut store, START).0);
    lent.sort();
    let mut expected = vec![id(5, 0), id(6, 0)];
    expected.sort();
    assert_eq!(lent, expected);
}

#[test]
fn a_room_is_rebuilt_when_somebody_asks() {
    let queue = Queue::new();
    let dir = Dir::new("rebuilt");
    let mut store = queue.on_disk(&dir, 5);
    turn(&mut store, []);
    turn(&mut store, [Request::Known(vec![])]);
    assert!(is_lost(&turn(&mut store, [Request::Rebuild])));
    assert!(dir.0.join("1").is_dir() && !dir.0.join("0").exists());
    turn(&mut store, [Request::Known(vec![id(1, 0)])]);
    assert_eq!(claim(&mut store, START).0.len(), 3);
    store.close(6).unwrap();
    assert!(turn(&mut queue.on_disk(&dir, 6), []).is_empty(), "nothing is lost");
}

#[test]
fn the_journal_counts_where_the_room_says_otherwise() {
    let mut queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    turn(&mut store, [Request::Known(vec![])]);
    // The last process ended before the room heard of these.
    queue.record(id(1, 0), Verdict::Delivered);
    queue.record(id(2, 0), Verdict::Held { tries: 1, error: "loop".into() });
    queue.record(id(3, 0), Verdict::Later { tries: 1, due: START + 5, error: "full".into() });
    let (lent, next) = claim(&mut store, START);
    assert_eq!((ids(&lent), next), (vec![id(4, 0)], Some(START + 5)));
    assert_eq!(ids(&claim(&mut store, START + 5).0), [id(3, 0)]);
    let (lent, next) = claim(&mut store, u64::MAX);
    assert!(lent.is_empty() && next.is_none(), "the others are settled, held or lent");
}

#[test]
fn a_damaged_message_is_held_and_keeps_nobody_waiting() {
    let queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    turn(&mut store, [Request::Known(vec![])]);
    // The facts of the first record: behind the header of the segment and its own.
    queue.disk.flip(&PathBuf::from("/q/journal/00000001"), (512 + 48 + 4) * 8);
    let (lent, next) = claim(&mut store, START);
    assert!(!ids(&lent).contains(&id(1, 0)));
    assert_eq!((lent.len(), next), (3, None));
}

#[test]
fn an_index_that_was_closed_in_order_is_used_again() {
    let queue = Queue::new();
    let dir = Dir::new("store");
    let mut store = queue.on_disk(&dir, 5);
    assert!(is_lost(&turn(&mut store, [])));
    let known = vec![id(1, 0), id(2, 0)];
    turn(&mut store, [Request::Known(known)]);
    turn(&mut store, [put(id(1, 0), START)]);
    store.close(6).unwrap();

    let mut store = queue.on_disk(&dir, 6);
    assert!(turn(&mut store, []).is_empty(), "nothing is lost");
    let lent = ids(&claim(&mut store, START).0);
    assert!(lent.len() == 3 && lent.contains(&id(1, 0)) && !lent.contains(&id(2, 0)));
    drop(store);

    let mut store = queue.on_disk(&dir, 6);
    assert!(is_lost(&turn(&mut store, [])), "the last process did not close it");
    turn(&mut store, [Request::Known(vec![])]);
    assert_eq!(claim(&mut store, START).0.len(), 4);
}

#[test]
fn a_room_that_is_not_filled_yet_is_not_trusted_later() {
    let queue = Queue::new();
    let dir = Dir::new("unfilled");
    queue.on_disk(&dir, 5).close(6).unwrap();
    assert!(is_lost(&turn(&mut queue.on_disk(&dir, 6), [])));
}

#[test]
fn without_a_directory_for_the_index_it_works_in_memory() {
    let queue = Queue::new();
    let dir = Dir::new("nowhere");
    std::fs::write(&dir.0, b"a file").unwrap();
    let below = Dir(dir.0.join("index"));
    let mut store = queue.on_disk(&below, 5);
    assert!(is_lost(&turn(&mut store, [])));
    turn(&mut store, [Request::Known(vec![])]);
    assert_eq!(claim(&mut store, START).0.len(), 4);
    store.close(6).unwrap();
}

/// A map whose disk fails with every change.
#[derive(Debug)]
struct Broken;

impl Ordered for Broken {
    fn floor(&self, _: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        Ok(None)
    }

    fn walk(&self, _: &[u8], _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> io::Result<()> {
        Ok(())
    }

    fn apply(&mut self, _: Changes) -> io::Result<()> {
        Err(io::Error::other("no space left"))
    }

    fn close(self: Box<Self>, _: Seal) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_index_that_fails_is_replaced_by_one_in_memory() {
    let queue = Queue::new();
    let mut store = queue.in_memory();
    turn(&mut store, []);
    store.fit(Box::new(Broken));
    // Filling it fails: it is lost again at once, and filled in memory.
    assert!(is_lost(&turn(&mut store, [Request::Known(vec![])])));
    turn(&mut store, [Request::Known(vec![id(1, 0)])]);
    assert_eq!(claim(&mut store, START).0.len(), 3);

    store.fit(Box::new(Broken));
    // The put is not answered, so the scheduler keeps the envelope and puts it again.
    assert!(is_lost(&turn(&mut store, [put(id(1, 0), START)])));
    let answers = turn(&mut store, [Request::Known(vec![id(1, 0)]), put(id(1, 0), START)]);
    assert!(matches!(answers[0], Answer::Stored(_)));
    assert_eq!(claim(&mut store, START).0.len(), 4);
}
