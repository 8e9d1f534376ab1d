//! The scheduler for a long time, from a seed, with a store that loses its room now and then,
//! workers and a commit that take their time, clocks that jump, and an administrator who orders
//! this and that.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ordered::Memory as Map;
use crate::waiting::Room;

/// Messages of one run.
const TOTAL: usize = 400;

/// Each envelope is delivered exactly once or taken out, none is lost, none is tried while it is
/// paused, and memory keeps its bound.
#[test]
fn every_envelope_is_settled_exactly_once() {
    let mut met = Met::default();
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.play();
        world.end();
        let Met { removed, paused, late, fetched, lost } = world.met;
        met.removed += removed;
        met.paused += paused;
        met.late += late;
        met.fetched += fetched;
        met.lost += lost;
    }
    // A run in which nothing happens shows nothing.
    let Met { removed, paused, late, fetched, lost } = met;
    let all = [removed, paused, late, fetched, lost];
    assert!(all.iter().all(|often| *often > 20), "{all:?}");
}

/// How often what happened.
#[derive(Default)]
struct Met {
    removed: usize,
    paused: usize,
    /// Orders to take out that came too late.
    late: usize,
    fetched: usize,
    lost: usize,
}

struct World {
    seed: u64,
    random: u64,
    bench: Bench,
    inputs: Vec<Input>,
    /// The journal: all envelopes that are not settled, and how they stand.
    journal: BTreeMap<EnvelopeId, State>,
    room: Room<Map>,
    /// What is to be put into a room that was lost.
    lost: Option<Vec<EnvelopeId>>,
    to_store: Vec<Request>,
    to_commit: Vec<Outcome>,
    flying: Vec<Batch>,
    delivered: BTreeMap<EnvelopeId, usize>,
    accepted: u32,
    next_order: OrderId,
    /// Orders that are not answered.
    orders: BTreeMap<OrderId, (EnvelopeId, Action)>,
    /// What was taken out or paused by orders that were answered.
    removed: BTreeSet<EnvelopeId>,
    paused: BTreeSet<EnvelopeId>,
    met: Met,
}

impl World {
    fn new(seed: u64) -> Self {
        let options = Options { memory: 60, per_lane: 20, ..Options::default() };
        Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            bench: Bench::new(options),
            inputs: Vec::new(),
            journal: BTreeMap::new(),
            room: Room::new(Map::new(), None),
            lost: None,
            to_store: Vec::new(),
            to_commit: Vec::new(),
            flying: Vec::new(),
            delivered: BTreeMap::new(),
            accepted: 0,
            next_order: 0,
            orders: BTreeMap::new(),
            removed: BTreeSet::new(),
            paused: BTreeSet::new(),
            met: Met::default(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn play(&mut self) {
        let mut acts = 0;
        while (self.accepted as usize) < TOTAL || !self.is_over() {
            acts += 1;
            let seed = self.seed;
            assert!(acts < 400_000, "seed {seed}: stuck with {:?}", self.journal);
            match self.random(14) {
                0..=2 if (self.accepted as usize) < TOTAL => self.accept(),
                3 | 4 if !self.flying.is_empty() => self.report(),
                5 | 6 => self.commit(),
                7 if self.random(40) == 0 && self.lost.is_none() => self.lose(),
                7 | 8 => self.turn_store(),
                9 if self.random(50) == 0 => {
                    self.bench.now.unix = START + self.random(3 * 24 * 3600) * S;
                }
                10 | 11 if self.accepted > 0 => self.order(),
                _ => self.pass(),
            }
            self.turn();
            if acts % 10 == 0 {
                assert!(self.bench.scheduler.memory.ids().len() < 300, "seed {seed}");
            }
        }
    }

    /// Whether nothing is left but what is paused, and nothing is under way.
    fn is_over(&self) -> bool {
        let idle = self.to_commit.is_empty() && self.flying.is_empty() && self.inputs.is_empty();
        let idle = idle && self.to_store.is_empty() && self.lost.is_none();
        idle && self.orders.is_empty() && self.journal.values().all(|state| state.suspended)
    }

    fn accept(&mut self) {
        self.accepted += 1;
        let users = ["bob", "carol", "dave", "eve", "example.com"];
        let to = users[(self.random(25) as f64).sqrt() as usize];
        let message = Arc::new(message(self.accepted, &[to]));
        self.bench.messages.insert(message.id, Arc::clone(&message));
        self.journal.insert(message.envelopes[0].id, State::new(message.ctime));
        let content = stored(&message);
        self.inputs.push(Input::Accepted(message, content));
    }

    /// A batch has been tried, or a part of it. Some fail for good and are held, until they are
    /// scheduled.
    fn report(&mut self) {
        let one = self.random(self.flying.len() as u64) as usize;
        let Batch { id: batch, kind, mut jobs } = self.flying.swap_remove(one);
        let rest = jobs.split_off(1 + self.random(jobs.len() as u64) as usize);
        if !rest.is_empty() {
            self.flying.push(Batch { id: batch, kind, jobs: rest });
        }
        let mut attempts = Vec::new();
        for job in jobs {
            let attempt = match self.random(9) {
                0..=2 => later(),
                3 => Attempt::Held("no".into()),
                _ => {
                    *self.delivered.entry(job.id).or_insert(0) += 1;
                    Attempt::Delivered
                }
            };
            attempts.push((job.id, attempt));
        }
        self.inputs.push(Input::Finished(Report { batch, attempts }));
    }

    fn commit(&mut self) {
        for outcome in self.to_commit.drain(..) {
            match State::after(&outcome) {
                Some(state) => self.journal.insert(outcome.envelope, state),
                None => self.journal.remove(&outcome.envelope),
            };
            self.inputs.push(Input::Recorded(outcome));
        }
    }

    fn lose(&mut self) {
        self.met.lost += 1;
        self.room = Room::new(Map::new(), None);
        self.lost = Some(self.journal.keys().copied().collect());
        self.inputs.push(Input::Store(Answer::Lost));
    }

    fn lent(&self, id: EnvelopeId) -> Option<Lent> {
        let message = Arc::clone(&self.bench.messages[&id.message()]);
        let (content, state) = (stored(&message), self.journal.get(&id)?.clone());
        Some(Lent { message, id, state, content })
    }

    fn place(&self, id: EnvelopeId) -> Option<Place> {
        let due = self.journal.get(&id)?.next_try();
        let envelope = &self.bench.messages[&id.message()].envelopes[0];
        let lane = Destinations::new(5).lane(envelope);
        Some(Place { envelope: id, kind: envelope.agent.kind(), lane, due })
    }

    fn turn_store(&mut self) {
        for request in mem::take(&mut self.to_store) {
            match request {
                Request::Known(known) => {
                    let live = self.lost.take().expect("it was lost");
                    for id in live.iter().filter(|id| !known.contains(id)) {
                        if let Some(place) = self.place(*id) {
                            self.room.apply(&[Change::Put(place)]).unwrap();
                        }
                    }
                }
                Request::Discover(_) | Request::Rebuild => panic!("the scheduler asks for neither"),
                _ if self.lost.is_some() => {}
                Request::Change(change, _) => {
                    self.room.apply(&[change]).unwrap();
                    if let Change::Put(place) = change {
                        self.inputs.push(Input::Store(Answer::Stored(place)));
                    }
                }
                Request::Fetch(ids) => {
                    let here = |id: &EnvelopeId| self.room.has(*id).unwrap();
                    let (here, absent): (Vec<_>, _) = ids.into_iter().partition(here);
                    let envelopes: Vec<_> = here.iter().filter_map(|id| self.lent(*id)).collect();
                    self.met.fetched += envelopes.len();
                    for id in here {
                        self.room.apply(&[Change::Remove(id)]).unwrap();
                    }
                    self.inputs.push(Input::Store(Answer::Fetched { envelopes, absent }));
                }
                Request::Claim(claim) => {
                    let mut claimed = self.room.claim(&claim).unwrap();
                    // As the store does: what the journal says of them counts.
                    let waits = |id: &EnvelopeId| {
                        self.journal.get(id).is_some_and(|state| state.next_try() == Due::Held)
                    };
                    for id in claimed.envelopes.extract_if(.., |id| waits(id)) {
                        let place = self.place(id).expect("it is in the journal");
                        self.room.apply(&[Change::Put(place)]).unwrap();
                    }
                    self.inputs.push(Input::Store(Answer::Lent {
                        kind: claim.kind,
                        envelopes: claimed
                            .envelopes
                            .iter()
                            .filter_map(|id| self.lent(*id))
                            .collect(),
                        next: claimed.next,
                        passed_over: claimed.passed_over,
                    }));
                }
            }
        }
    }

    fn pass(&mut self) {
        let Some(wakeup) = self.bench.scheduler.next_wakeup(self.bench.now) else { return };
        let wait = wakeup.saturating_since(self.bench.now.mono);
        let wait = wait.min(Duration::from_secs(self.random(100))) + Duration::from_millis(1);
        self.bench.now.unix += wait.as_micros() as u64;
        self.bench.now.mono = self.bench.now.mono + wait;
    }

    /// Somebody orders something of one envelope, and nothing more of it before that is answered;
    /// in the end, that all be tried which was held for a reason.
    fn order(&mut self) {
        let ending = self.accepted as usize == TOTAL;
        let nth = 1 + self.random(u64::from(self.accepted)) as u32;
        let mut id = EnvelopeId::new(MessageId::from_u32(nth).unwrap(), 0);
        let mut action = match self.random(8) {
            0 => Action::Remove,
            1..=3 => Action::Hold,
            4 | 5 => Action::Resume,
            _ => Action::Schedule,
        };
        let held = |(_, state): &(&EnvelopeId, &State)| state.due == Due::Held && !state.suspended;
        if let Some((held, _)) = self.journal.iter().find(held).filter(|_| ending) {
            (id, action) = (*held, Action::Schedule);
        } else if ending {
            return;
        }
        if self.orders.values().any(|(other, _)| *other == id) {
            return;
        }
        self.next_order += 1;
        self.orders.insert(self.next_order, (id, action));
        if action == Action::Resume {
            self.paused.remove(&id);
        }
        let order = Order { id: self.next_order, envelopes: vec![id], action };
        self.inputs.push(Input::Administer(order));
    }

    fn turn(&mut self) {
        let mut outputs = Vec::new();
        self.bench.scheduler.turn(self.bench.now, &mut self.inputs, &mut outputs);
        for output in outputs {
            let seed = self.seed;
            match output {
                Output::Deliver(batch) => {
                    for job in &batch.jobs {
                        let id = job.id;
                        assert!(!self.removed.contains(&id), "seed {seed}: {id} was removed");
                        assert!(!self.paused.contains(&id), "seed {seed}: {id} is paused");
                    }
                    self.flying.push(batch);
                }
                Output::Record(outcome) => self.to_commit.push(outcome),
                Output::Store(request) => self.to_store.push(request),
                Output::Expired(_, id) => panic!("seed {seed}: {id} expired"),
                Output::Bounce(notice) => panic!("seed {seed}: {notice:?}"),
                Output::Removed(_, id) => {
                    assert!(!self.journal.contains_key(&id), "seed {seed}: {id} is still there");
                    assert!(!self.delivered.contains_key(&id), "seed {seed}: {id} was delivered");
                    self.met.removed += 1;
                }
                Output::Administered { order, changed } => self.administered(order, changed),
            }
        }
    }

    fn administered(&mut self, order: OrderId, changed: usize) {
        let (id, action) = self.orders.remove(&order).expect("it is answered once");
        let is_flying = self.flying.iter().any(|batch| batch.jobs.iter().any(|job| job.id == id));
        // What was tried when the order came may be on its way to the disk now.
        let reported = self.to_commit.iter().any(|outcome| outcome.envelope == id)
            || self.inputs.iter().any(|input| matches!(input, Input::Finished(_)));
        match action {
            _ if changed == 0 => {}
            Action::Hold => {
                self.met.paused += 1;
                let state = self.journal.get(&id);
                let kept = state.is_none_or(|state| state.suspended) || is_flying || reported;
                assert!(kept, "seed {}: {id} is not paused: {state:?}", self.seed);
                self.paused.insert(id);
            }
            Action::Remove => {
                let late = self.journal.contains_key(&id);
                assert!(!late || is_flying || reported, "seed {}: {id} is there", self.seed);
                self.met.late += usize::from(late);
                self.removed.insert(id);
            }
            Action::Resume | Action::Schedule => {}
        }
    }

    /// What is left is paused. Everything else is delivered, once, or was taken out.
    fn end(&self) {
        let seed = self.seed;
        let twice: Vec<_> = self.delivered.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "seed {seed}: {twice:?}");
        for id in self.journal.keys() {
            assert!(self.paused.contains(id), "seed {seed}: {id} waits for nobody");
        }
        let settled = self.delivered.len() + self.met.removed;
        assert_eq!(settled + self.journal.len(), TOTAL, "seed {seed}");
    }
}
