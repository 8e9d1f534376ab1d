//! What senders are told, and what becomes of the envelopes meanwhile.

use super::*;
use crate::bounce::{About, Kind as Report, Notice};
use crate::delivery::Remote;
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
    let [About { outcome, status, remote: None }] = &notice.about[..] else { panic!("{notice:?}") };
    assert_eq!((&outcome.verdict, status.to_string()), (&Verdict::Removed, "5.1.1".into()));
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
    let remote = Some(Arc::new(Remote::new("mx.example.com", "451 4.7.1 come back later")));
    let failure = Failure { remote: remote.clone(), ..Failure::new((4, 7, 1), "451 4.7.1 ...") };
    let outputs = bench.ends(batch(&outputs), &[Attempt::Later(failure)]);
    let [Output::Expired(..), Output::Bounce(notice)] = &outputs[..] else { panic!("{outputs:?}") };
    let about = &notice.about[0];
    assert_eq!((notice.kind, &about.outcome.verdict), (Report::Failed, &Verdict::Removed));
    assert_eq!((about.status.to_string(), &about.remote), ("5.4.7".into(), &remote));
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
fn nobody_waits_to_be_told_of_what_is_not_going_to_be_tried() {
    let mut bench = Bench::new(Options::default());
    bench.scheduler.pause(Kind::Mta);
    let outputs = bench.accept(1, &["bob", "example.com"]);
    let outputs = bench.ends(batch(&outputs), &[failed()]);
    assert_eq!(notice(&outputs).about.len(), 1);
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

fn relayed() -> Attempt {
    Attempt::Relayed(Some(Arc::new(Remote::new("mx.example.com", "250 2.6.0 queued as 1"))))
}

impl Bench {
    /// Takes in a message whose sender asks to be told of success, for all or for none.
    fn asks(&mut self, number: u32, to: &[&str], change: impl Fn(&mut Message)) -> Vec<Output> {
        let mut message = message(number, to);
        for envelope in &mut message.envelopes {
            envelope.notify = Some(Notify { success: true, ..Notify::default() });
        }
        change(&mut message);
        let content = stored(&message);
        self.turn([Input::Accepted(Arc::new(message), content)])
    }
}

#[test]
fn success_is_told_in_one_record_with_the_outcome() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.asks(1, &["bob", "carol", "example.com"], |_| {});
    let [Output::Deliver(mda), Output::Deliver(mta)] = &outputs[..] else { panic!("{outputs:?}") };
    let (mda, mta) = (mda.clone(), mta.clone());
    let outputs = bench.ends(&mda, &[Attempt::Delivered, Attempt::Delivered]);
    assert!(outputs.is_empty(), "the third is being tried: {outputs:?}");
    let outputs = bench.ends(&mta, &[relayed()]);
    let [Output::Bounce(local), Output::Bounce(remote)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((local.kind, local.about.len()), (Report::Delivered, 2));
    assert_eq!((remote.kind, remote.about.len()), (Report::Relayed, 1));
    let all = local.about.iter().chain(&remote.about);
    assert!(all.clone().all(|about| about.outcome.verdict == Verdict::Delivered));
    let told: Vec<_> = all.map(|about| (about.status.to_string(), &about.remote)).collect();
    let Attempt::Relayed(server) = relayed() else { unreachable!() };
    let plain = ("2.0.0".to_owned(), &None);
    assert_eq!(told, [plain.clone(), plain, ("2.6.0".to_owned(), &server)]);
    assert!(bench.scheduler.is_busy());
    let (local, remote) = (local.clone(), remote.clone());
    assert!(bench.told(&local).is_empty() && bench.told(&remote).is_empty());
    assert_eq!((bench.scheduler.memory.ids(), bench.scheduler.is_busy()), (vec![], false));
}

/// Who did not ask, who may not hear, and whom another server tells.
#[test]
fn success_is_told_to_nobody_else() {
    let from = |ip: &'static str| {
        move |message: &mut Message| message.source = Source::Ip(ip.parse().unwrap())
    };
    let mut bench = Bench::new(Options::default());
    bench.scheduler.own_addresses(vec!["192.0.2.25".parse().unwrap()]);
    type Change<'a> = &'a dyn Fn(&mut Message);
    let changes: [(&str, Change<'_>, bool); 10] = [
        ("local", &|_| {}, true),
        ("loopback", &from("127.0.0.1"), true),
        ("mapped", &from("::ffff:127.0.0.1"), true),
        ("own", &from("192.0.2.25"), true),
        ("stranger", &from("192.0.2.26"), false),
        (
            "authenticated",
            &|message| {
                from("192.0.2.26")(message);
                message.username = Some("alice".into());
            },
            true,
        ),
        ("not asked", &|message| message.envelopes[0].notify = None, false),
        ("never", &|message| message.envelopes[0].notify = Some(Notify::default()), false),
        ("null", &|message| message.sender = ReversePath::Null, false),
        ("a report", &|message| message.envelopes[0].internal = true, false),
    ];
    for (number, (name, change, is_told)) in (1..).zip(changes) {
        for attempt in [Attempt::Delivered, relayed(), Attempt::Relayed(None)] {
            let outputs = bench.asks(number, &["bob"], change);
            let outputs = bench.ends(batch(&outputs), std::slice::from_ref(&attempt));
            match &outputs[..] {
                [Output::Bounce(notice)] if is_told && attempt != Attempt::Relayed(None) => {
                    let notice = notice.clone();
                    bench.told(&notice);
                }
                [Output::Record(outcome)] if !is_told || attempt == Attempt::Relayed(None) => {
                    assert_eq!(outcome.verdict, Verdict::Delivered);
                    bench.turn([Input::Recorded(outcome.clone())]);
                }
                other => panic!("{name} {attempt:?}: {other:?}"),
            }
        }
    }
    assert_eq!(bench.scheduler.memory.ids(), []);
}

#[test]
fn success_that_cannot_be_told_is_settled_all_the_same() {
    let mut bench = Bench::new(Options::default());
    let outputs = bench.asks(1, &["bob"], |_| {});
    let outputs = bench.ends(batch(&outputs), &[Attempt::Delivered]);
    let ids: Vec<_> = notice(&outputs).ids().collect();
    let outputs = bench.turn([Input::Unsent(ids)]);
    let [Output::Record(outcome)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(outcome.verdict, Verdict::Delivered);
    assert!(bench.turn([Input::Recorded(outcome.clone())]).is_empty());
    assert_eq!((bench.scheduler.memory.ids(), bench.scheduler.is_busy()), (vec![], false));
}
