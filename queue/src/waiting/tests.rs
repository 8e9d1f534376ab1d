//! The waiting room against a list that is searched.

use super::*;
use crate::id::MessageId;
use crate::ordered::Memory;

fn id(number: u32) -> EnvelopeId {
    EnvelopeId::new(MessageId::from_u32(number).unwrap(), 0)
}

fn put(number: u32, lane: LaneId, due: Due) -> Change {
    Change::Put(Place { envelope: id(number), kind: Kind::Mda, lane, due })
}

fn claim(now: u64, room: usize) -> Claim {
    let crowded = HashSet::new();
    Claim { kind: Kind::Mda, now, room, per_lane: 100, crowded }
}

#[test]
fn what_is_due_is_lent_once() {
    let mut room = Room::new(Memory::new(), None);
    let changes = [put(1, 7, Due::At(10)), put(2, 7, Due::At(20)), put(3, 8, Due::Held)];
    room.apply(&changes).unwrap();
    let claimed = room.claim(&claim(10, 9)).unwrap();
    let expected = Claimed { envelopes: vec![id(1)], next: Some(20), ..Claimed::default() };
    assert_eq!(claimed, expected);
    assert_eq!(room.claim(&claim(19, 9)).unwrap().envelopes, []);
    assert_eq!([1, 2, 3].map(|n| room.has(id(n)).unwrap()), [false, true, true]);
    // Put back, it is lent again; removed while it is lent, it never is.
    room.apply(&[put(1, 7, Due::At(15))]).unwrap();
    assert_eq!(room.claim(&claim(20, 9)).unwrap().envelopes.len(), 2);
    room.apply(&[Change::Remove(id(1)), Change::Remove(id(2))]).unwrap();
    assert_eq!(room.claim(&claim(99, 9)).unwrap(), Claimed::default());
    let keys = Blocks::new(room.into_map().unwrap());
    assert_eq!(written(&keys), 1, "only the held one is left");
}

/// How many keys are written.
fn written<M: Ordered>(keys: &Blocks<M>) -> usize {
    let mut many = 0;
    let count = &mut |_: &[u8]| {
        many += 1;
        true
    };
    keys.walk(&[], &[u8::MAX], count).unwrap();
    many
}

#[test]
fn keys_by_envelope_are_written_late_and_those_of_what_has_left_never() {
    let ids = Ids::new(5, u64::MAX);
    let mut room = Room::new(Memory::new(), Some(ids.clone()));
    room.unwritten.many = 1000;
    for round in 0..100 {
        let new: Vec<_> = (0..100).map(|_| EnvelopeId::new(ids.take().unwrap(), 0)).collect();
        let stays = round == 50;
        let due = Due::At(if stays { 90 } else { 10 });
        let put = |id| Change::Put(Place { envelope: id, kind: Kind::Mda, lane: 7, due });
        room.apply(&new.iter().copied().map(put).collect::<Vec<_>>()).unwrap();
        assert_eq!(room.claim(&claim(20, 100)).unwrap().envelopes.is_empty(), stays);
        assert!(new.iter().all(|id| room.has(*id).unwrap() == stays));
    }
    assert_eq!(written(&room.keys), 101, "a hundred by lane, and the earliest of it");
    assert_eq!(written(&Blocks::new(room.into_map().unwrap())), 201);
}

#[test]
fn one_destination_with_thousands_does_not_hide_the_next() {
    let mut room = Room::new(Memory::new(), None);
    let flood: Vec<_> = (1..=5000).map(|n| put(n, 7, Due::At(u64::from(n)))).collect();
    room.apply(&flood).unwrap();
    room.apply(&[put(9000, 8, Due::At(6000))]).unwrap();
    let first = room.claim(&claim(7000, 1000)).unwrap();
    assert_eq!(first.envelopes.len(), 101, "a hundred of the flood, and the other one");
    assert!(first.envelopes.contains(&id(9000)));
    assert_eq!(first.next, Some(101));
    let crowded = Claim { crowded: HashSet::from([7]), ..claim(7000, 1000) };
    let second = room.claim(&crowded).unwrap();
    assert_eq!(second, Claimed { passed_over: true, ..Claimed::default() });
    assert_eq!(room.claim(&claim(7000, 3)).unwrap().envelopes.len(), 3);
}

#[test]
fn a_due_time_of_another_clock_is_found() {
    let day = micros(LONGEST_WAIT);
    let mut room = Room::new(Memory::new(), None);
    room.apply(&[put(1, 7, Due::At(500 * day)), put(2, 8, Due::At(day))]).unwrap();
    let claimed = room.claim(&claim(5, 9)).unwrap();
    assert_eq!((claimed.envelopes, claimed.next), (vec![id(1)], Some(day)));
}

#[test]
fn in_memory_it_does_what_it_should() {
    conforms(Memory::new(), 3000);
}

/// The same as a list that is searched, over `rounds` random rounds.
pub(crate) fn conforms(map: impl Ordered, rounds: u64) {
    let mut seed = 1;
    let mut random = |below: u64| {
        seed = u64::wrapping_mul(seed, 6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    // Of some of the messages that were given ids.
    let ids = Ids::new(9, u64::MAX);
    let new = || EnvelopeId::new(ids.take().expect("there are enough"), 0);
    let mut envelopes: Vec<_> = (0..200).map(|_| new()).collect();
    let open = |map| {
        let mut room = Room::new(map, Some(ids.clone()));
        // A few rounds of writing are under way at all times.
        room.unwritten.many = 30;
        room
    };
    let mut room = open(map);
    let mut model: BTreeMap<EnvelopeId, Place> = BTreeMap::new();
    for round in 0..rounds {
        let now = round * 10;
        let known = &mut envelopes[random(200) as usize];
        if !model.contains_key(known) {
            *known = new();
        }
        let changes: Vec<_> = (0..random(5))
            .map(|_| {
                let envelope = envelopes[random(200) as usize];
                let kind = Kind::ALL[envelope.as_u64() as usize % 2];
                let lane = random(6).pow(2) % 7;
                let due = match random(5) {
                    0 => return Change::Remove(envelope),
                    1 => Due::Held,
                    _ => Due::At(now + random(400)),
                };
                Change::Put(Place { envelope, kind, lane, due })
            })
            .collect();
        for change in &changes {
            match change {
                Change::Put(place) => {
                    model.insert(place.envelope, *place);
                }
                Change::Remove(id) => {
                    model.remove(id);
                }
            }
        }
        room.apply(&changes).unwrap();
        let kind = Kind::ALL[random(2) as usize];
        let (most, per_lane) = (1 + random(20) as usize, 1 + random(4) as usize);
        let crowded = (0..random(3)).map(|_| random(7)).collect();
        let claim = Claim { kind, now, room: most, per_lane, crowded };
        let claimed = room.claim(&claim).unwrap();
        check(&claim, &claimed, &model);
        model.retain(|id, _| !claimed.envelopes.contains(id));
        assert!(envelopes.iter().all(|id| room.has(*id).unwrap() == model.contains_key(id)));
        if round % 100 == 99 {
            let keys = Blocks::new(room.into_map().unwrap());
            let waiting = model.values().filter_map(|place| match place.due {
                Due::At(due) => Some((place.kind, place.lane, due)),
                Due::Held => None,
            });
            let lanes: BTreeSet<_> = waiting.clone().map(|(kind, lane, _)| (kind, lane)).collect();
            assert_eq!(written(&keys), model.len() + waiting.count() + lanes.len());
            room = open(keys.into_map());
        }
    }
}

/// Whether this is what a claim may give, when `model` has what waited before.
fn check(claim: &Claim, claimed: &Claimed, model: &BTreeMap<EnvelopeId, Place>) {
    let mut lanes: BTreeMap<LaneId, Vec<(u64, EnvelopeId)>> = BTreeMap::new();
    for place in model.values().filter(|place| place.kind == claim.kind) {
        if let Due::At(due) = place.due {
            lanes.entry(place.lane).or_default().push((due, place.envelope));
        }
    }
    let mut lent = 0;
    let mut next = None;
    let mut passed_over = false;
    for (lane, mut waiting) in lanes {
        waiting.sort_unstable();
        let due = waiting.iter().filter(|(due, _)| *due <= claim.now).count();
        if claim.crowded.contains(&lane) {
            passed_over |= due > 0;
            assert!(waiting.iter().all(|(_, id)| !claimed.envelopes.contains(id)));
            continue;
        }
        let most = due.min(claim.per_lane);
        let taken: Vec<_> =
            waiting.iter().filter(|(_, id)| claimed.envelopes.contains(id)).collect();
        assert!(taken.len() <= most);
        assert!(taken.iter().zip(&waiting).all(|(one, other)| *one == other), "in order");
        assert!(taken.len() == most || claimed.envelopes.len() == claim.room);
        lent += taken.len();
        let left = waiting.get(taken.len()).map(|(due, _)| *due);
        next = [next, left].into_iter().flatten().min();
    }
    assert_eq!(lent, claimed.envelopes.len());
    assert!(lent <= claim.room);
    assert_eq!(claimed.next, next);
    // With no room left it does not look at everything.
    assert!(claimed.passed_over == passed_over || lent == claim.room);
}
