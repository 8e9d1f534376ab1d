//! Orders given by hand, in every phase of an envelope.

use super::*;

const ID: OrderId = 7;

impl Bench {
    fn order(&mut self, id: EnvelopeId, action: Action) -> Vec<Output> {
        self.turn([Input::Administer(Order { id: ID, envelopes: vec![id], action })])
    }

    /// Gives the order to an envelope that is idle in memory, and has it recorded.
    fn obeyed(&mut self, id: EnvelopeId, action: Action) -> (Verdict, Vec<Output>) {
        let mut outputs = self.order(id, action);
        let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
        assert!(outputs.is_empty(), "it is answered when it is on disk: {outputs:?}");
        (outcome.verdict.clone(), self.turn([Input::Recorded(outcome)]))
    }
}

/// Takes the answer to the order out of what comes; how many it has changed.
fn answer(outputs: &mut Vec<Output>) -> usize {
    let place = outputs.iter().position(|output| matches!(output, Output::Administered { .. }));
    let place = place.unwrap_or_else(|| panic!("not answered: {outputs:?}"));
    let Output::Administered { order: ID, changed } = outputs.remove(place) else {
        panic!("another order")
    };
    changed
}

fn first(number: u32) -> EnvelopeId {
    EnvelopeId::new(MessageId::from_u32(number).unwrap(), 0)
}

#[test]
fn what_is_due_is_paused_with_its_due_time_and_then_goes_on() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.pause(Kind::Mda);
    bench.accept(1, &["bob"]);
    let (verdict, mut outputs) = bench.obeyed(first(1), Action::Hold);
    let state = State { suspended: true, ..State::new(START) };
    assert_eq!(verdict, Verdict::Changed(state.clone()));
    assert_eq!(answer(&mut outputs), 1);
    let place = put(&outputs);
    assert_eq!(place.due, Due::Held, "the store does not lend it");
    bench.scheduler.resume(Kind::Mda);
    assert!(bench.turn([Input::Store(Answer::Stored(place))]).is_empty());
    assert_eq!(bench.scheduler.memory.ids(), []);

    let outputs = bench.order(first(1), Action::Resume);
    let fetch = Request::Fetch(vec![first(1)]);
    assert!(matches!(&outputs[..], [Output::Store(request)] if *request == fetch));
    let lent = bench.lent(first(1), state);
    let fetched = Answer::Fetched { envelopes: vec![lent], absent: vec![] };
    let mut outputs = bench.turn([Input::Store(fetched)]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    assert_eq!(outcome.verdict, Verdict::Changed(State::new(START)));
    let mut outputs = bench.turn([Input::Recorded(outcome)]);
    assert_eq!(answer(&mut outputs), 1);
}

#[test]
fn what_is_due_is_taken_out_and_the_log_is_told_when_that_is_on_disk() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.pause(Kind::Mda);
    bench.accept(1, &["bob", "carol"]);
    let (verdict, mut outputs) = bench.obeyed(first(1), Action::Remove);
    assert_eq!(verdict, Verdict::Removed);
    assert_eq!(answer(&mut outputs), 1);
    assert!(matches!(&outputs[..], [Output::Removed(_, id)] if *id == first(1)), "{outputs:?}");
    bench.scheduler.resume(Kind::Mda);
    let outputs = bench.turn([]);
    assert_eq!(batch(&outputs).jobs[0].id.nth(), 1, "only carol's is left");
}

#[test]
fn what_is_near_is_tried_at_once() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    bench.end(batch(&outputs), later());
    bench.pass(3);
    let (verdict, mut outputs) = bench.obeyed(first(1), Action::Schedule);
    let due = Due::At(bench.now.unix);
    let state =
        State { tries: 1, last_try: START, due, error: "disk full".into(), ..State::new(0) };
    assert_eq!(verdict, Verdict::Changed(state));
    assert_eq!(answer(&mut outputs), 1);
    assert_eq!(batch(&outputs).jobs[0].id, first(1));
}

#[test]
fn what_is_in_flight_is_acted_on_when_it_has_failed() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let mut answers = bench.order(first(1), Action::Remove);
    assert_eq!(answer(&mut answers), 1, "nobody waits for the attempt");
    assert!(answers.is_empty());
    let (verdict, outputs) = bench.end(batch(&outputs), Attempt::Held("loop".into()));
    assert_eq!(verdict, Verdict::Removed);
    assert!(matches!(&outputs[..], [Output::Removed(..)]), "{outputs:?}");

    let outputs = bench.accept(2, &["bob"]);
    assert_eq!(answer(&mut bench.order(first(2), Action::Remove)), 1);
    let (verdict, outputs) = bench.end(batch(&outputs), Attempt::Delivered);
    assert_eq!((verdict, outputs.len()), (Verdict::Delivered, 0), "it came too late");

    let outputs = bench.accept(3, &["bob"]);
    assert_eq!(answer(&mut bench.order(first(3), Action::Schedule)), 0, "it is being tried");
    assert_eq!(answer(&mut bench.order(first(3), Action::Hold)), 1);
    assert_eq!(answer(&mut bench.order(first(3), Action::Hold)), 0, "twice is once");
    let (_, mut outputs) = bench.end(batch(&outputs), later());
    let Some(Output::Record(Outcome { verdict: Verdict::Changed(state), .. })) = outputs.pop()
    else {
        panic!("{outputs:?}");
    };
    assert!(state.suspended && state.due == Due::At(START + 10 * S) && state.tries == 1);
}

#[test]
fn what_is_being_recorded_is_acted_on_afterwards() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let Batch { id, jobs, .. } = batch(&outputs);
    let report = Report { batch: *id, attempts: vec![(jobs[0].id, later())] };
    let mut outputs = bench.turn([Input::Finished(report)]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    assert!(bench.order(first(1), Action::Hold).is_empty());
    let mut outputs = bench.turn([Input::Recorded(outcome)]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    let mut outputs = bench.turn([Input::Recorded(outcome)]);
    assert_eq!(answer(&mut outputs), 1);
    assert_eq!(put(&outputs).due, Due::Held);
}

#[test]
fn what_is_on_its_way_to_the_store_is_acted_on_when_it_is_there() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let (_, outputs) = bench.end(batch(&outputs), Attempt::Held("no such action".into()));
    let place = put(&outputs);
    assert!(bench.order(first(1), Action::Remove).is_empty());
    let mut outputs = bench.turn([Input::Store(Answer::Stored(place))]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    let mut outputs = bench.turn([Input::Recorded(outcome)]);
    assert_eq!(answer(&mut outputs), 1);
    let remove = Request::Change(Change::Remove(first(1)), Epoch::new(3));
    assert!(matches!(&outputs[..], [Output::Removed(..), Output::Store(r)] if *r == remove));
}

#[test]
fn what_was_held_for_a_reason_is_tried_again_when_scheduled() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let (_, outputs) = bench.end(batch(&outputs), Attempt::Held("no such action".into()));
    bench.turn([Input::Store(Answer::Stored(put(&outputs)))]);
    bench.pass(3600);
    let held = State { due: Due::Held, tries: 1, ..State::new(START) };
    for (paused, changed) in [(true, 0), (false, 1)] {
        bench.order(first(1), Action::Schedule);
        let lent = bench.lent(first(1), State { suspended: paused, ..held.clone() });
        let fetched = Answer::Fetched { envelopes: vec![lent], absent: vec![] };
        let mut outputs = bench.turn([Input::Store(fetched)]);
        if paused {
            assert_eq!(answer(&mut outputs), changed, "what is paused stays paused");
            let place = put(&outputs);
            bench.turn([Input::Store(Answer::Stored(place))]);
            continue;
        }
        let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
        let mut outputs = bench.turn([Input::Recorded(outcome)]);
        assert_eq!(answer(&mut outputs), changed);
        // Back to the store, which lends it when there is room.
        let place = put(&outputs);
        assert_eq!(place.due, Due::At(bench.now.unix));
        let outputs = bench.turn([Input::Store(Answer::Stored(place))]);
        assert!(matches!(&outputs[..], [Output::Store(Request::Claim(_))]), "{outputs:?}");
    }
}

#[test]
fn an_order_survives_the_loss_of_the_index_and_ends_with_what_is_gone() {
    let mut bench = Bench::new(Options::default());
    bench.order(first(1), Action::Remove);
    let outputs = bench.turn([Input::Store(Answer::Lost)]);
    let fetch = Request::Fetch(vec![first(1)]);
    let again = |output: &Output| matches!(output, Output::Store(r) if *r == fetch);
    assert!(outputs.iter().any(again), "{outputs:?}");
    let fetched = Answer::Fetched { envelopes: vec![], absent: vec![first(1)] };
    assert_eq!(answer(&mut bench.turn([Input::Store(fetched)])), 0);
    let none = Order { id: ID, envelopes: vec![], action: Action::Remove };
    assert_eq!(answer(&mut bench.turn([Input::Administer(none)])), 0);
}
