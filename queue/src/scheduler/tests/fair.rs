//! A flood for slow destinations, and what the others notice of it: in virtual time, with a store,
//! a commit and workers that take their time.

use std::collections::BTreeMap;

use super::*;
use crate::ordered::Memory as Map;
use crate::waiting::Room;

/// Microseconds.
const MS: u64 = 1000;
const STORE: u64 = 5 * MS;
const COMMIT: u64 = 3 * MS;
const QUICK: u64 = 3 * MS;

enum Event {
    Accept(Vec<String>),
    Input(Input),
    Turn,
}

struct World {
    bench: Bench,
    start: Clock,
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
    room: Room<Map>,
    states: HashMap<EnvelopeId, State>,
    accepted: u32,
    /// How long a batch with a slow destination takes, and whether it then fails for now.
    slow: (u64, bool),
    /// The longest way of a message that is not for a slow destination, and how many there were.
    longest: u64,
    quick: usize,
    accepted_at: HashMap<EnvelopeId, u64>,
    most: usize,
}

impl World {
    fn new(options: Options, slow: (u64, bool)) -> Self {
        let bench = Bench::new(options);
        Self {
            start: bench.now,
            bench,
            events: BTreeMap::new(),
            next: 0,
            room: Room::new(Map::new(), None),
            states: HashMap::new(),
            accepted: 0,
            slow,
            longest: 0,
            quick: 0,
            accepted_at: HashMap::new(),
            most: 0,
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.next += 1;
        self.events.insert((time, self.next), event);
    }

    fn run(&mut self, until: u64) {
        while let Some(((time, _), event)) = self.events.pop_first() {
            if time > until {
                return;
            }
            self.bench.now.unix = self.start.unix + time;
            self.bench.now.mono = self.start.mono + Duration::from_micros(time);
            let inputs = match event {
                Event::Accept(to) => to.iter().map(|to| self.accept(to, time)).collect(),
                Event::Input(input) => vec![input],
                Event::Turn => vec![],
            };
            let outputs = self.bench.turn(inputs);
            for output in outputs {
                self.carry_out(output, time);
            }
            self.most = self.most.max(self.bench.scheduler.memory.len(Kind::Mda));
            if let Some(wakeup) = self.bench.scheduler.next_wakeup(self.bench.now) {
                let wait = wakeup.saturating_since(self.bench.now.mono).as_micros() as u64;
                let at = time + wait;
                if self.events.first_key_value().is_none_or(|((first, _), _)| *first > at) {
                    self.at(at, Event::Turn);
                }
            }
        }
    }

    fn accept(&mut self, to: &str, time: u64) -> Input {
        self.accepted += 1;
        let message =
            Arc::new(Message { ctime: self.bench.now.unix, ..message(self.accepted, &[to]) });
        self.bench.messages.insert(message.id, Arc::clone(&message));
        let id = message.envelopes[0].id;
        self.states.insert(id, State::new(message.ctime));
        self.accepted_at.insert(id, time);
        let content = stored(&message);
        Input::Accepted(message, content)
    }

    fn carry_out(&mut self, output: Output, time: u64) {
        match output {
            Output::Deliver(batch) => self.deliver(&batch, time),
            Output::Record(outcome) => {
                if let Some(state) = State::after(&outcome) {
                    self.states.insert(outcome.envelope, state);
                }
                self.at(time + COMMIT, Event::Input(Input::Recorded(outcome)));
            }
            Output::Store(Request::Change(change, _)) => {
                self.room.apply(&[change]).unwrap();
                if let Change::Put(place) = change {
                    self.at(time + STORE, Event::Input(Input::Store(Answer::Stored(place))));
                }
            }
            Output::Store(Request::Claim(claim)) => {
                let claimed = self.room.claim(&claim).unwrap();
                let lent = |id: &EnvelopeId| self.bench.lent(*id, self.states[id].clone());
                let answer = Answer::Lent {
                    kind: claim.kind,
                    envelopes: claimed.envelopes.iter().map(lent).collect(),
                    next: claimed.next,
                    passed_over: claimed.passed_over,
                };
                self.at(time + STORE, Event::Input(Input::Store(answer)));
            }
            other => panic!("{other:?}"),
        }
    }

    /// A batch takes as long as its slowest destination.
    fn deliver(&mut self, batch: &Batch, time: u64) {
        let is_slow = |job: &Job| job.envelope().dest.local_part().starts_with("slow");
        let (takes, fails) = match batch.jobs.iter().any(is_slow) {
            true => self.slow,
            false => (QUICK, false),
        };
        let mut attempts = Vec::new();
        for job in &batch.jobs {
            if !is_slow(job) {
                self.quick += 1;
                self.longest = self.longest.max(time - self.accepted_at[&job.id]);
            }
            let fails = fails && is_slow(job);
            attempts.push((job.id, if fails { later() } else { Attempt::Delivered }));
        }
        let report = Report { batch: batch.id, attempts };
        self.at(time + takes, Event::Input(Input::Finished(report)));
    }
}

/// So many envelopes for `many` destinations, ten in each millisecond, and each ten
/// milliseconds one for somebody else: the longest time before one of those is tried, in
/// milliseconds.
fn flood(size: u64, many: u64, slow: (u64, bool)) -> u64 {
    let mut world = World::new(Options::default(), slow);
    for ms in 0..size / 10 {
        let to = (0..10).map(|n| format!("slow{}", (ms * 10 + n) % many));
        world.at(ms * MS, Event::Accept(to.collect()));
    }
    let idle = size / 100;
    for n in 0..idle {
        world.at(n * 10 * MS + 7, Event::Accept(vec![format!("idle{n}")]));
    }
    world.run(size / 10 * MS + 500 * MS);
    assert_eq!(world.quick as u64, idle, "all are tried in time");
    let Options { memory, .. } = Options::default();
    assert!(world.most < 2 * memory, "{} in memory", world.most);
    world.longest / MS
}

/// What is promised is 50 ms from the 250 to the attempt.
#[test]
fn a_flood_for_one_delays_nobody_else() {
    let slow = flood(100_000, 1, (800 * MS, false));
    assert!(slow <= 30, "slow: {slow} ms");
    let failing = flood(20_000, 1, (20 * MS, true));
    assert!(failing <= 45, "slow and failing: {failing} ms");
    let hanging = flood(20_000, 1, (3_600_000 * MS, false));
    assert!(hanging <= 30, "hanging: {hanging} ms");
}

#[test]
fn floods_for_several_at_once_delay_nobody_else() {
    let options = Options::default();
    let slow = flood(20_000, 3, (800 * MS, false));
    assert!(slow <= 30, "slow: {slow} ms");
    // As many as there are workers for in one half.
    let many = options.mda.batches as u64 / 4;
    let hanging = flood(20_000, many, (3_600_000 * MS, false));
    assert!(hanging <= 30, "{many} hanging: {hanging} ms");
}
