//! The scheduler alone, with a test in the place of commit, store and workers.

mod fair;
mod orders;
mod reports;
mod whole;

use std::collections::HashMap;

use smtpd_engine::address::{Mailbox, ReversePath};

use super::*;
use crate::envelope::{Envelope, Source};
use crate::sample;

const S: u64 = 1_000_000;
const START: u64 = 1_700_000_000 * S;
const TTL: u32 = 4 * 24 * 3600;

/// A message for these users of example.org; a name with a dot is a domain to relay to.
pub(crate) fn message(number: u32, to: &[&str]) -> Message {
    let id = MessageId::from_u32(number).unwrap();
    let envelope = |to: &&str| {
        let envelope = match to.contains('.') {
            true => sample::relayed(&format!("any@{to}")),
            false => sample::local(&format!("{to}@example.org"), to),
        };
        Envelope { rcpt: Mailbox::parse("any@example.org").unwrap(), ..envelope }
    };
    sample::message(id, to.iter().map(envelope))
}

fn stored(message: &Message) -> Stored {
    Stored { message: message.id, octets: 100, dot_lines: false, memory: None }
}

/// A scheduler and both clocks.
struct Bench {
    scheduler: Scheduler,
    now: Clock,
    messages: HashMap<MessageId, Arc<Message>>,
}

impl Bench {
    fn new(options: Options) -> Self {
        let now = Clock { unix: START, mono: Time::from_micros(77 * S) };
        let scheduler = Scheduler::new(options, Destinations::new(5), Epoch::new(3));
        let mut bench = Self { scheduler, now, messages: HashMap::new() };
        let outputs = bench.turn([]);
        let claims = |output: &Output| matches!(output, Output::Store(Request::Claim(_)));
        assert!(outputs.len() == 2 && outputs.iter().all(claims), "what is left in the store?");
        let empty = |kind| Answer::Lent { kind, envelopes: vec![], next: None, passed_over: false };
        assert!(bench.turn(Kind::ALL.map(|kind| Input::Store(empty(kind)))).is_empty());
        bench
    }

    fn turn(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.scheduler.turn(self.now, &mut inputs.into_iter().collect(), &mut outputs);
        outputs
    }

    fn pass(&mut self, seconds: u64) {
        self.now.unix += seconds * S;
        self.now.mono = self.now.mono + Duration::from_secs(seconds);
    }

    fn accept(&mut self, number: u32, to: &[&str]) -> Vec<Output> {
        let message = Arc::new(message(number, to));
        self.messages.insert(message.id, Arc::clone(&message));
        let content = stored(&message);
        self.turn([Input::Accepted(message, content)])
    }

    /// Ends a batch of one with this attempt, and has the outcome recorded.
    fn end(&mut self, batch: &Batch, attempt: Attempt) -> (Verdict, Vec<Output>) {
        let attempts = batch.jobs.iter().map(|job| (job.id, attempt.clone())).collect();
        let mut outputs = self.turn([Input::Finished(Report { batch: batch.id, attempts })]);
        let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
        (outcome.verdict.clone(), self.turn([Input::Recorded(outcome)]))
    }

    fn lent(&self, id: EnvelopeId, state: State) -> Lent {
        let message = Arc::clone(&self.messages[&id.message()]);
        let content = stored(&message);
        Lent { message, id, state, content }
    }

    fn lend(&self, id: EnvelopeId, state: State) -> Input {
        let lent = self.lent(id, state);
        let kind = envelope(&lent.message, id).agent.kind();
        let envelopes = vec![lent];
        Input::Store(Answer::Lent { kind, envelopes, next: None, passed_over: false })
    }
}

fn batch(outputs: &[Output]) -> &Batch {
    match outputs {
        [Output::Deliver(batch)] => batch,
        other => panic!("not one batch: {other:?}"),
    }
}

fn put(outputs: &[Output]) -> Place {
    match outputs {
        [Output::Store(Request::Change(Change::Put(place), _))] => *place,
        other => panic!("not one put: {other:?}"),
    }
}

fn later() -> Attempt {
    Attempt::Later(Failure::new((4, 3, 1), "disk full"))
}

#[test]
fn a_new_envelope_goes_at_once_and_leaves_nothing_behind() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let batch = batch(&outputs);
    assert!(!batch.jobs[0].again);
    assert_eq!(bench.scheduler.in_flight(), HashMap::from([(batch.jobs[0].id, START)]));
    let (verdict, outputs) = bench.end(batch, Attempt::Delivered);
    assert_eq!(verdict, Verdict::Delivered);
    assert!(outputs.is_empty(), "the store never heard of it: {outputs:?}");
    assert_eq!(bench.scheduler.memory.ids(), []);
    assert_eq!(bench.scheduler.next_wakeup(bench.now), None);
}

/// Servers of many domains that never greet must not keep local mail waiting.
#[test]
fn neither_kind_takes_the_room_of_the_other() {
    let limits = Limits { batches: usize::MAX, brisk: usize::MAX, ..Options::default().mda };
    let options = Options { inflight: 400, mda: limits, mta: limits, ..Options::default() };
    let tried = |outputs: Vec<Output>, kind: Kind| {
        let of_kind = |output: &Output| match output {
            Output::Deliver(batch) if batch.kind == kind => batch.jobs.len(),
            other => panic!("{other:?}"),
        };
        outputs.iter().map(of_kind).sum::<usize>()
    };
    for (flood, other) in [(Kind::Mta, Kind::Mda), (Kind::Mda, Kind::Mta)] {
        let mut bench = Bench::new(options);
        let name = |kind, n| match kind {
            Kind::Mta => format!("d{n}.example"),
            Kind::Mda => format!("u{n}"),
        };
        let mut flying = 0;
        for n in 1..=500 {
            flying += tried(bench.accept(n, &[&name(flood, n)]), flood);
        }
        assert_eq!(flying, 300, "{flood:?}");
        flying = 0;
        for n in 501..=700 {
            flying += tried(bench.accept(n, &[&name(other, n)]), other);
        }
        assert_eq!(flying, 100, "{other:?}, and no more than all together may be");
        assert_eq!(bench.scheduler.in_flight().len(), 400);
    }
}

#[test]
fn an_outcome_is_acted_upon_only_when_it_is_on_disk() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let Batch { id, jobs, .. } = batch(&outputs);
    let report = Report { batch: *id, attempts: vec![(jobs[0].id, later())] };
    bench.turn([Input::Finished(report)]);
    bench.pass(3600);
    assert!(bench.turn([]).is_empty());
    assert_eq!(bench.scheduler.next_wakeup(bench.now), None);
}

/// An attempt that was none says when there may be one; the back-off is what it was.
#[test]
fn what_may_not_be_tried_yet_counts_as_no_attempt() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let (_, rest) = bench.end(batch(&outputs), later());
    assert!(rest.is_empty());
    bench.pass(10);
    let outputs = bench.turn([]);
    let until = bench.now.unix + 20 * S;
    let busy = Failure { not_before: Some(until), ..Failure::new((4, 4, 5), "used up") };
    let (verdict, _) = bench.end(batch(&outputs), Attempt::Later(busy));
    assert_eq!(verdict, Verdict::Later { tries: 1, due: until, error: "used up".into() });
    bench.pass(20);
    let outputs = bench.turn([]);
    let (verdict, _) = bench.end(batch(&outputs), later());
    assert!(matches!(verdict, Verdict::Later { tries: 2, .. }), "{verdict:?}");
}

#[test]
fn the_second_attempt_waits_in_memory_and_the_fourth_in_the_store() {
    let mut bench = Bench::new(Options::default());
    let mut outputs = bench.accept(1, &["bob"]);
    for (tries, due) in [(1, 10), (2, 40)] {
        let (verdict, rest) = bench.end(batch(&outputs), later());
        let due = START + due * S;
        assert_eq!(verdict, Verdict::Later { tries, due, error: "disk full".into() });
        assert!(rest.is_empty());
        let wakeup = bench.scheduler.next_wakeup(bench.now).unwrap();
        let wait = wakeup.saturating_since(bench.now.mono).as_secs();
        bench.pass(wait - 1);
        assert!(bench.turn([]).is_empty());
        bench.pass(1);
        assert_eq!(bench.now.unix, due);
        outputs = bench.turn([]);
        assert!(batch(&outputs).jobs[0].again);
        bench.pass(5);
    }
    bench.pass(860);
    let (_, outputs) = bench.end(batch(&outputs), later());
    let place = put(&outputs);
    assert_eq!(place.due, Due::At(START + 1000 * S));
    // Memory keeps it until the store says that it has it.
    assert_eq!(bench.scheduler.memory.ids(), [place.envelope]);
    assert!(bench.turn([Input::Store(Answer::Stored(place))]).is_empty());
    assert_eq!(bench.scheduler.memory.ids(), []);

    let wakeup = bench.scheduler.next_wakeup(bench.now).unwrap();
    bench.pass(wakeup.saturating_since(bench.now.mono).as_secs());
    let outputs = bench.turn([]);
    let [Output::Store(Request::Claim(claim))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((claim.kind, claim.now), (Kind::Mda, START + 1000 * S));
    assert!(bench.turn([]).is_empty(), "it asks once");
    let state = State { tries: 3, due: place.due, ..State::new(START) };
    let outputs = bench.turn([bench.lend(place.envelope, state)]);
    let (_, outputs) = bench.end(batch(&outputs), Attempt::Delivered);
    assert!(outputs.is_empty(), "what is lent is no longer in the store: {outputs:?}");
}

#[test]
fn what_cannot_be_tried_is_held_with_its_reason() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let (verdict, outputs) =
        bench.end(batch(&outputs), Attempt::Held("no action named \"x\"".into()));
    assert_eq!(verdict, Verdict::Held { tries: 1, error: "no action named \"x\"".into() });
    assert_eq!(put(&outputs).due, Due::Held);
}

#[test]
fn what_expired_while_the_machine_was_off_is_tried_before_it_is_given_up() {
    let mut bench = Bench::new(Options::default());
    bench.pass(30 * 24 * 3600);
    let outputs = bench.accept(1, &["bob"]);
    let (verdict, _) = bench.end(batch(&outputs), Attempt::Delivered);
    assert_eq!(verdict, Verdict::Delivered);
}

#[test]
fn a_pause_stops_one_kind_only() {
    let mut bench = Bench::new(Options::default());
    assert!(bench.scheduler.pause(Kind::Mda));
    assert!(!bench.scheduler.pause(Kind::Mda), "it is paused already");
    let outputs = bench.accept(1, &["bob", "example.com"]);
    assert_eq!(batch(&outputs).kind, Kind::Mta);
    assert!(bench.turn([]).is_empty());
    assert!(bench.scheduler.resume(Kind::Mda));
    assert!(!bench.scheduler.resume(Kind::Mda));
    assert_eq!(batch(&bench.turn([])).kind, Kind::Mda);
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_in_memory_and_repeats_nothing() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    bench.end(batch(&outputs), later());
    bench.now.unix -= 365 * 24 * 3600 * S;
    assert!(bench.turn([]).is_empty());
    bench.pass(9);
    assert!(bench.turn([]).is_empty());
    bench.pass(1);
    let outputs = bench.turn([]);
    let (verdict, _) = bench.end(batch(&outputs), later());
    let Verdict::Later { due, .. } = verdict else { panic!("{verdict:?}") };
    assert!(due > bench.now.unix, "the time that was acted on is not due again");
    assert!(due <= bench.now.unix + 40 * S, "the new clock counts");
}

#[test]
fn a_clock_that_is_set_back_makes_it_look_into_the_store() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    bench.pass(1000);
    let (_, outputs) = bench.end(batch(&outputs), later());
    bench.turn([Input::Store(Answer::Stored(put(&outputs)))]);
    bench.now.unix -= 365 * 24 * 3600 * S;
    let outputs = bench.turn([]);
    assert!(matches!(&outputs[..], [Output::Store(Request::Claim(_))]), "{outputs:?}");
}

#[test]
fn a_clock_that_is_set_back_is_seen_also_by_what_is_on_its_way_to_the_store() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    bench.pass(1000);
    let (_, outputs) = bench.end(batch(&outputs), later());
    let place = put(&outputs);
    bench.now.unix -= 365 * 24 * 3600 * S;
    assert!(bench.turn([]).is_empty(), "the store is not known to have anything");
    let outputs = bench.turn([Input::Store(Answer::Stored(place))]);
    assert!(matches!(&outputs[..], [Output::Store(Request::Claim(_))]), "{outputs:?}");
}

#[test]
fn a_flood_for_one_fills_neither_memory_nor_the_way_of_others() {
    let options = Options { memory: 500, per_lane: 100, ..Options::default() };
    let mut bench = Bench::new(options);
    let mut puts = 0;
    for number in 1..=300 {
        puts +=
            bench.accept(number, &["bob"]).iter().filter(|o| matches!(o, Output::Store(_))).count();
    }
    // Two batches began when the first two came; a hundred wait for their turn.
    assert_eq!(puts, 300 - 2 - 100);
    let outputs = bench.accept(999, &["carol"]);
    assert!(outputs.is_empty(), "two batches are under way and not late: {outputs:?}");
    bench.pass(1);
    // Both of bob's batches are late now; carol does not wait for them.
    let outputs = bench.turn([]);
    let Batch { jobs, .. } = batch(&outputs);
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].envelope().dest.local_part(), "carol");
}

#[test]
fn content_is_kept_for_the_first_attempt_within_its_bound() {
    let budget = crate::budget::Budget::new(1 << 20);
    let mut bench = Bench::new(Options { content: 250, ..Options::default() });
    bench.scheduler.pause(Kind::Mda);
    let mut kept = Vec::new();
    for number in 1..=3 {
        let mut buffer = budget.buffer();
        assert!(buffer.extend(&[b'x'; 100]));
        let message = Arc::new(message(number, &["bob"]));
        let memory = Arc::new(buffer);
        kept.push(Arc::downgrade(&memory));
        let content = Stored { memory: Some(memory), ..stored(&message) };
        bench.turn([Input::Accepted(message, content)]);
    }
    let alive =
        |kept: &Vec<std::sync::Weak<_>>| kept.iter().filter(|one| one.strong_count() > 0).count();
    assert_eq!(alive(&kept), 2, "a third would pass 250 octets");
    bench.scheduler.resume(Kind::Mda);
    let outputs = bench.turn([]);
    let Batch { id, jobs, .. } = batch(&outputs);
    let attempts = jobs.iter().map(|job| (job.id, later())).collect();
    let report = Report { batch: *id, attempts };
    drop(outputs);
    bench.turn([Input::Finished(report)]);
    assert_eq!(alive(&kept), 0, "the first attempt is over");
}

#[test]
fn what_is_known_of_a_batch_does_not_wait_for_the_rest() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["quick.example", "slow.example"]);
    let Batch { id, jobs, .. } = batch(&outputs);
    let part = |nth: usize, attempt| {
        Input::Finished(Report { batch: *id, attempts: vec![(jobs[nth].id, attempt)] })
    };
    let outputs = bench.turn([part(0, Attempt::Delivered)]);
    let [Output::Record(outcome)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((outcome.envelope, &outcome.verdict), (jobs[0].id, &Verdict::Delivered));
    assert!(bench.turn([Input::Recorded(outcome.clone())]).is_empty());
    assert_eq!(bench.scheduler.memory.ids(), [jobs[1].id], "the other one is under way");
    assert!(bench.turn([part(0, later())]).is_empty(), "it has ended");

    let outputs = bench.turn([part(1, later())]);
    let [Output::Record(outcome)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(bench.turn([Input::Recorded(outcome.clone())]).len() == 1, "to the store");
    assert!(!bench.scheduler.is_busy());
}

#[test]
fn a_report_of_an_earlier_attempt_says_nothing_about_this_one() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let first = batch(&outputs).clone();
    bench.end(&first, later());
    bench.pass(10);
    let outputs = bench.turn([]);
    assert_ne!(batch(&outputs).id, first.id);
    let attempts = vec![(first.jobs[0].id, Attempt::Delivered)];
    assert!(bench.turn([Input::Finished(Report { batch: first.id, attempts })]).is_empty());
    assert!(bench.scheduler.is_busy());
}

#[test]
fn a_message_that_was_damaged_is_not_tried_again() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob", "carol"]);
    let batch = batch(&outputs);
    assert!(bench.turn([Input::Damaged(batch.jobs[0].message.id)]).is_empty());
    let attempts = batch.jobs.iter().map(|job| (job.id, later())).collect();
    assert!(bench.turn([Input::Finished(Report { batch: batch.id, attempts })]).is_empty());
    assert_eq!(bench.scheduler.memory.ids(), []);
}
