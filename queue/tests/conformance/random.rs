//! Requests from a seed, held against a model: what is in the queue, who has it, when it is due.

use std::collections::{BTreeMap, BTreeSet};

use smtpd_queue::delivery::Kind;
use smtpd_queue::envelope::{Due, State, Verdict};
use smtpd_queue::id::EnvelopeId;
use smtpd_queue::lease::Request as Asked;

use crate::bench::{Bench, START, both, ids};

const S: u64 = 1_000_000;

/// Seeds for each backend.
const SEEDS: u64 = 20;

/// The generator splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31) % bound
    }
}

/// How every envelope should stand, and which are ours.
#[derive(Default)]
struct Model {
    states: BTreeMap<EnvelopeId, State>,
    ours: BTreeSet<EnvelopeId>,
}

impl Model {
    /// What waits and is due at this time.
    fn due(&self, now: u64) -> Vec<EnvelopeId> {
        let waits = self.states.iter().filter(|(id, _)| !self.ours.contains(id));
        let due = waits.filter(|(_, state)| matches!(state.next_try(), Due::At(due) if due <= now));
        due.map(|(id, _)| *id).collect()
    }

    fn some(&self, rng: &mut Rng) -> Option<EnvelopeId> {
        let nth = rng.below(self.ours.len().max(1) as u64) as usize;
        self.ours.iter().nth(nth).copied()
    }
}

fn act(bench: &mut Bench, model: &mut Model, rng: &mut Rng, now: &mut u64) {
    *now += rng.below(3 * S);
    match rng.below(12) {
        0..4 => {
            let all = ["bob", "jo", "al", "eve"];
            let to = &all[..1 + rng.below(4) as usize];
            let id = match rng.below(3) {
                0 => bench.accept_in_file(to, &[b"text\r\n"]),
                _ => bench.accept(to).0,
            };
            for nth in 0..to.len() as u32 {
                let id = Bench::envelope(id, nth);
                model.states.insert(id, State::new(START));
                model.ours.insert(id);
            }
        }
        4..7 => {
            let Some(id) = model.some(rng) else { return };
            let (tries, error) = (1 + rng.below(5) as u32, "no".to_owned());
            let verdict = match rng.below(4) {
                0 => Verdict::Delivered,
                1 => Verdict::Held { tries, error },
                _ => Verdict::Later { tries, due: *now + rng.below(20 * S), error },
            };
            let outcome = bench.outcome(id.message(), id.nth(), verdict.clone());
            bench.record(id.message(), id.nth(), verdict);
            match State::after(&outcome) {
                Some(state) => {
                    let due = state.next_try();
                    model.states.insert(id, state);
                    bench.put(id.message(), id.nth(), due);
                }
                None => drop(model.states.remove(&id)),
            }
            model.ours.remove(&id);
        }
        7..10 => {
            let room = 1 + rng.below(6) as usize;
            let due = model.due(*now);
            let lent = ids(&bench.claim(Kind::Mda, *now, room));
            assert!(lent.iter().all(|id| due.contains(id)), "{lent:?} of {due:?}");
            assert_eq!(lent.len(), room.min(due.len()), "as many as there is room for");
            model.ours.extend(lent);
        }
        10 => {
            bench.known = model.ours.clone();
            bench.ask(vec![Asked::Rebuild]);
        }
        _ if rng.below(4) == 0 => {
            if rng.below(2) == 0 {
                bench.end()
            } else {
                bench.reopen()
            }
            // Whoever had them is gone.
            model.ours.clear();
        }
        _ => {}
    }
}

#[test]
fn requests_from_a_seed_leave_what_the_model_says() {
    for seed in 0..SEEDS {
        both(|bench| {
            let (mut model, mut rng, mut now) = (Model::default(), Rng(seed), START);
            for _ in 0..60 {
                act(bench, &mut model, &mut rng, &mut now);
            }
            let mut messages = BTreeSet::new();
            for (id, state) in &model.states {
                assert_eq!(bench.state(*id).as_ref(), Some(state), "{id}, seed {seed}");
                messages.insert(id.message());
            }
            let listed = bench.reader().behind(None, usize::MAX);
            assert!(listed.iter().eq(&messages), "seed {seed}");
            let all: usize = listed.iter().map(|id| bench.left(*id)).sum();
            assert_eq!(all, model.states.len(), "seed {seed}");
        });
    }
}
