//! What senders are told, and what becomes of the envelopes meanwhile.

use super::*;
use crate::bounce::{About, Kind as Report, Notice};
use crate::envelope::Notify;

const NO_USER: (u8, u16, u16) = (5, 1, 1);

fn failed() -> Attempt {
    Attempt::Failed(Failure::new(NO_USER, "user bob does not exist"))
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

impl Bench {
    /// Ends a batch with these attempts, one for each job.
    fn ends(&mut self, batch: &Batch, attempts: &[Attempt]) -> Vec<Output> {
        let attempts = batch.jobs.iter().map(|job| job.id).zip(attempts.iter().cloned());
        let report = crate::delivery::Report { batch: batch.id, attempts: attempts.collect() };
        self.turn([Input::Finished(report)])
    }

    /// The outcomes of a notice are on disk.
    fn told(&mut self, notice: &Notice) -> Vec<Output> {
        let outcomes = notice.about.iter().map(|about| Input::Recorded(about.outcome.clone()));
        self.turn(outcomes.collect::<Vec<_>>())
    }
}

fn notice(outputs: &[Output]) -> &Notice {
    match outputs {
        [Output::Bounce(notice)] => notice,
        other => panic!("not one notice: {other:?}"),
    }
}

#[test]
fn what_fails_for_good_is_told_and_gone_when_that_is_on_disk() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let outputs = bench.ends(batch(&outputs), &[failed()]);
    let notice = notice(&outputs);
    assert_eq!(notice.kind, Report::Failed);
    let [About { outcome, failure }] = &notice.about[..] else { panic!("{notice:?}") };
    assert_eq!((&outcome.verdict, failure.status.to_string()), (&Verdict::Removed, "5.1.1".into()));
    assert!(bench.scheduler.is_busy());
    bench.pass(3600);
    assert!(bench.turn([]).is_empty(), "it is told once");
    assert!(bench.told(notice).is_empty());
    assert_eq!((bench.scheduler.memory.ids(), bench.scheduler.is_busy()), (vec![], false));
    assert_eq!(bench.scheduler.next_wakeup(bench.now), None);
}

#[test]
fn what_expires_by_a_failed_attempt_is_told() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.warn_at(vec![hours(1)]);
    let outputs = bench.accept(1, &["bob"]);
    bench.pass(u64::from(TTL));
    let outputs = bench.ends(batch(&outputs), &[later()]);
    let [Output::Expired(..), Output::Bounce(notice)] = &outputs[..] else { panic!("{outputs:?}") };
    let About { outcome, failure } = &notice.about[0];
    assert_eq!((notice.kind, &outcome.verdict), (Report::Failed, &Verdict::Removed));
    assert_eq!(failure, &Failure::new((5, 4, 7), "Envelope expired: disk full"));
}

#[test]
fn those_of_a_message_that_fail_together_are_told_together() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob", "carol", "example.com"]);
    let [Output::Deliver(mda), Output::Deliver(mta)] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = bench.ends(mda, &[failed(), failed()]);
    assert!(outputs.is_empty(), "the third is being tried: {outputs:?}");
    let wait = bench.scheduler.next_wakeup(bench.now).unwrap().saturating_since(bench.now.mono);
    assert_eq!(wait, Duration::from_secs(1));
    let outputs = bench.ends(mta, &[failed()]);
    assert_eq!(notice(&outputs).about.len(), 3);
    bench.pass(1);
    assert!(bench.turn([]).is_empty(), "there is nothing left to tell");

    let outputs = bench.accept(2, &["bob", "example.com"]);
    let [Output::Deliver(mda), Output::Deliver(mta)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(bench.ends(mda, &[failed()]).is_empty());
    bench.pass(1);
    let outputs = bench.turn([]);
    assert_eq!(notice(&outputs).about.len(), 1, "it has waited long enough");
    let outputs = bench.ends(mta, &[Attempt::Delivered]);
    assert!(matches!(&outputs[..], [Output::Record(_)]), "{outputs:?}");
}

#[test]
fn a_report_that_cannot_be_made_leaves_the_envelope_to_be_tried_again() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let outputs = bench.ends(batch(&outputs), &[failed()]);
    let ids: Vec<_> = notice(&outputs).ids().collect();
    let mut outputs = bench.turn([Input::Unsent(ids.clone())]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    let (due, error) = (START + 10 * S, "user bob does not exist".to_owned());
    assert_eq!(outcome.verdict, Verdict::Later { tries: 1, due, error });
    assert!(bench.turn([Input::Unsent(ids)]).is_empty(), "it is being recorded already");
    assert!(bench.turn([Input::Recorded(outcome)]).is_empty());
    bench.pass(10);
    let outputs = bench.turn([]);
    let outputs = bench.ends(batch(&outputs), &[failed()]);
    bench.told(notice(&outputs));
    assert_eq!(bench.scheduler.memory.ids(), []);
}

/// Each age once, in order, before the attempt that would come after it; the state remembers.
#[test]
fn the_sender_of_late_mail_is_told_at_each_age_once() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.warn_at(vec![Duration::from_secs(5), Duration::from_secs(8), hours(1)]);
    let outputs = bench.accept(1, &["bob"]);
    let outputs = bench.ends(batch(&outputs), &[later()]);
    let first = notice(&outputs);
    assert_eq!(first.kind, Report::Delayed(Duration::from_secs(5)));
    let Verdict::Changed(state) = &first.about[0].outcome.verdict else { panic!("{first:?}") };
    let error = "disk full".to_owned();
    let due = Due::At(START + 10 * S);
    let expected = State { tries: 1, last_try: START, due, error, suspended: false, told: 5 };
    assert_eq!(*state, expected);
    // The second age has passed as well by then.
    let outputs = bench.told(first);
    let second = notice(&outputs);
    assert_eq!(second.kind, Report::Delayed(Duration::from_secs(8)));
    let Verdict::Changed(state) = &second.about[0].outcome.verdict else { panic!("{second:?}") };
    assert_eq!(*state, State { told: 8, ..expected });
    assert!(bench.told(second).is_empty());
    bench.pass(10);
    let outputs = bench.turn([]);
    let mut outputs = bench.ends(batch(&outputs), &[later()]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    let Verdict::Changed(state) = &outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!((state.tries, state.due, state.told), (2, Due::At(START + 40 * S), 8));
    bench.turn([Input::Recorded(outcome)]);

    bench.pass(3500);
    let outputs = bench.turn([]);
    let outputs = bench.ends(batch(&outputs), &[later()]);
    assert_eq!(notice(&outputs).kind, Report::Delayed(hours(1)));
    let outputs = bench.told(notice(&outputs));
    let place = put(&outputs);
    // A hold keeps what was told, too, and so does who schedules by hand.
    let state = State { told: 3600, due: place.due, ..State::new(START) };
    bench.turn([Input::Store(Answer::Stored(place))]);
    let outputs = bench.turn([bench.lend(place.envelope, state)]);
    let mut outputs = bench.ends(batch(&outputs), &[Attempt::Held("no action".into())]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    let Verdict::Changed(state) = &outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!((state.due, state.told, &*state.error), (Due::Held, 3600, "no action"));
}

#[test]
fn nobody_is_told_of_a_delay_who_does_not_want_to_know() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.warn_at(vec![Duration::from_secs(5)]);
    let never = |message: &mut Message| message.envelopes[0].notify = Some(Notify::default());
    let null = |message: &mut Message| message.sender = ReversePath::Null;
    for (number, change) in [(1, never as fn(&mut Message)), (2, null)] {
        let mut message = message(number, &["bob"]);
        change(&mut message);
        let content = stored(&message);
        let outputs = bench.turn([Input::Accepted(Arc::new(message), content)]);
        let (verdict, _) = bench.end(batch(&outputs), later());
        assert!(matches!(verdict, Verdict::Later { .. }), "{verdict:?}");
    }
}

#[test]
fn a_delay_that_cannot_be_told_is_told_with_the_next_failure() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.warn_at(vec![Duration::from_secs(5)]);
    let outputs = bench.accept(1, &["bob"]);
    let outputs = bench.ends(batch(&outputs), &[later()]);
    let ids = notice(&outputs).ids().collect();
    let mut outputs = bench.turn([Input::Unsent(ids)]);
    let Some(Output::Record(outcome)) = outputs.pop() else { panic!("{outputs:?}") };
    bench.turn([Input::Recorded(outcome)]);
    bench.pass(10);
    let outputs = bench.turn([]);
    let outputs = bench.ends(batch(&outputs), &[later()]);
    assert_eq!(notice(&outputs).kind, Report::Delayed(Duration::from_secs(5)));
}

#[test]
fn an_order_by_hand_waits_for_the_report() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.accept(1, &["bob"]);
    let outputs = bench.ends(batch(&outputs), &[failed()]);
    let notice = notice(&outputs);
    let envelopes = notice.ids().collect();
    let order = Order { id: 1, envelopes, action: Action::Remove };
    assert!(bench.turn([Input::Administer(order)]).is_empty());
    let outputs = bench.told(notice);
    let too_late = |output: &Output| matches!(output, Output::Administered { changed: 0, .. });
    assert!(outputs.len() == 1 && too_late(&outputs[0]), "{outputs:?}");
}
