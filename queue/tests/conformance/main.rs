//! What every backend promises, on each of them: the journal on a disk in memory, and the
//! backend in memory.
//!
//! | file | holds |
//! |---|---|
//! | `bench` | a backend that is open, and somebody in the place of the daemon |
//! | `random` | requests from a seed, held against a model |

#![allow(clippy::unwrap_used)] // helpers of tests, which may

mod bench;
mod random;

use std::io::{ErrorKind, Read};

use smtpd_queue::delivery::Kind;
use smtpd_queue::envelope::{Due, Verdict};
use smtpd_queue::lease::Answer;
use smtpd_queue::lease::Request as Asked;
use smtpd_queue::request::{Done, Refusal, Request};
use smtpd_queue::waiting::Change;

use bench::{Bench, START, both, ids};

const S: u64 = 1_000_000;

#[test]
fn what_is_accepted_can_be_read() {
    both(|bench| {
        let (small, content) = bench.accept(&["bob", "a.net"]);
        assert_eq!(content.memory.as_ref().map(|octets| octets.to_vec()), Some(b"text\r\n".into()));
        let large = bench.accept_in_file(&["jo"], &[b"one\r\n", b"two\r\n"]);
        for (id, text, to) in [(small, "text\r\n", 2), (large, "one\r\ntwo\r\n", 1)] {
            let found = bench.reader().message(id).unwrap().unwrap();
            assert_eq!((found.message.envelopes.len(), found.states.len()), (to, to));
            assert_eq!(found.content.octets, text.len() as u64);
            let mut read = String::new();
            bench.reader().open(&found.content).unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
        }
        let mut both = [small, large];
        both.sort();
        assert_eq!(bench.reader().behind(None, 10), both);
        assert_eq!(bench.reader().behind(Some(both[0]), 10), both[1..]);
        assert_eq!(bench.reader().in_files(None, 10), [large]);
        assert_eq!(bench.reader().messages(), 2);
    });
}

#[test]
fn what_is_refused_or_settled_is_not_there() {
    both(|bench| {
        let id = bench.accept_in_file(&["bob"], &[b"text\r\n"]);
        let found = bench.reader().message(id).unwrap().unwrap();
        // The counter of the ids has gone round.
        let again = bench.message(id, &["jo"]);
        let done = bench.commit(vec![Bench::request(again, Vec::new())]);
        assert!(matches!(done[..], [Done::Refused { why: Refusal::Failed, .. }]), "{done:?}");
        let kept = bench.reader().message(id).unwrap().unwrap();
        assert_eq!(kept.message, found.message, "the one before is as it was");
        assert!(bench.contents().begin(id).is_err(), "its content too");
        let done = bench.settle(id, 0);
        assert!(matches!(done[..], [Done::Recorded(_), Done::Discard(of)] if of == id), "{done:?}");
        bench.contents().remove(id).unwrap();
        assert!(bench.reader().message(id).unwrap().is_none());
        let gone = bench.reader().open(&found.content).err().map(|error| error.kind());
        assert_eq!(gone, Some(ErrorKind::NotFound));
        assert_eq!(bench.reader().messages(), 0);
        assert!(matches!(bench.settle(id, 0)[..], [Done::Recorded(_)]), "which changes nothing");
    });
}

#[test]
fn causes_come_with_the_message_or_not_at_all() {
    both(|bench| {
        let (first, _) = bench.accept(&["bob", "jo"]);
        let cause = bench.outcome(first, 0, Verdict::Removed);
        let taken = bench.message(first, &["al"]);
        let done = bench.commit(vec![Bench::request(taken, vec![cause.clone()])]);
        assert!(matches!(done[..], [Done::Refused { .. }]), "{done:?}");
        assert_eq!(bench.left(first), 2, "the cause is as void as the message");
        let report = bench.ids().take().unwrap();
        let message = bench.message(report, &["al"]);
        let done = bench.commit(vec![Bench::request(message, vec![cause])]);
        assert!(matches!(done[..], [Done::Accepted { .. }, Done::Recorded(_)]), "{done:?}");
        assert_eq!((bench.left(first), bench.left(report)), (1, 1));
    });
}

#[test]
fn what_is_put_back_is_lent_when_it_is_due() {
    both(|bench| {
        let (one, _) = bench.accept(&["bob", "jo"]);
        let (other, _) = bench.accept(&["al", "a.net"]);
        assert!(ids(&bench.claim(Kind::Mda, START + S, 9)).is_empty(), "we have it ourselves");
        bench.later(one, 0, START + 9 * S);
        bench.later(one, 1, START + 3 * S);
        bench.later(other, 0, START + 6 * S);
        bench.later(other, 1, START + 2 * S);
        assert_eq!(bench.next(Kind::Mda, START), Some(START + 3 * S));
        let lent = bench.claim(Kind::Mda, START + 7 * S, 9);
        let mut due = [Bench::envelope(one, 1), Bench::envelope(other, 0)];
        due.sort();
        assert_eq!(ids(&lent), due);
        let Answer::Lent { envelopes, next, .. } = &lent else { unreachable!() };
        assert_eq!(*next, Some(START + 9 * S));
        assert!(envelopes.iter().all(|lent| lent.state.tries == 1));
        assert!(ids(&bench.claim(Kind::Mda, START + 8 * S, 9)).is_empty(), "lent once");
        assert_eq!(ids(&bench.claim(Kind::Mta, START + 8 * S, 9)), [Bench::envelope(other, 1)]);
    });
}

#[test]
fn a_claim_keeps_to_its_bounds_and_passes_over_the_crowded() {
    both(|bench| {
        let mut all = Vec::new();
        for nth in 0..6 {
            let (id, _) = bench.accept(&[if nth < 4 { "bob" } else { "jo" }]);
            bench.later(id, 0, START + nth * S);
            all.push(Bench::envelope(id, 0));
        }
        let lent = bench.claim_with(START + 9 * S, 3, 2, &[]);
        let expected = [all[0], all[1], all[4]];
        assert!(ids(&lent).iter().all(|id| expected.contains(id)), "{lent:?}");
        let Answer::Lent { envelopes, next, passed_over: false, .. } = &lent else {
            panic!("{lent:?}")
        };
        assert_eq!((envelopes.len(), *next), (3, Some(START + 2 * S)));
        let bob = envelopes.iter().find(|lent| lent.id == all[0]).unwrap();
        let bob = bench.reader().destinations().lane(&bob.message.envelopes[0]);
        let lent = bench.claim_with(START + 9 * S, 9, 9, &[bob]);
        assert!(matches!(lent, Answer::Lent { passed_over: true, next: None, .. }), "{lent:?}");
        assert_eq!(ids(&lent), [all[5]]);
        let lent = bench.claim_with(START + 9 * S, 9, 9, &[]);
        assert!(matches!(lent, Answer::Lent { passed_over: false, next: None, .. }), "{lent:?}");
        assert_eq!(ids(&lent).len(), 2);
    });
}

#[test]
fn what_is_held_is_only_fetched() {
    both(|bench| {
        let (id, _) = bench.accept(&["bob", "jo"]);
        let verdict = Verdict::Held { tries: 2, error: "no such action".into() };
        bench.record(id, 0, verdict);
        bench.put(id, 0, Due::Held);
        assert!(ids(&bench.claim(Kind::Mda, START + 99 * S, 9)).is_empty());
        let wanted = [Bench::envelope(id, 0), Bench::envelope(id, 1)];
        let answers = bench.ask(vec![Asked::Fetch(wanted.into())]);
        let [Answer::Fetched { envelopes, absent }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(absent, &wanted[1..], "that one is ours");
        assert_eq!((envelopes[0].id, envelopes[0].state.tries), (wanted[0], 2));
        let answers = bench.ask(vec![Asked::Fetch(wanted.into())]);
        assert!(matches!(&answers[..], [Answer::Fetched { absent, .. }] if absent == &wanted));
    });
}

#[test]
fn what_came_without_the_scheduler_is_discovered() {
    both(|bench| {
        let (id, _) = bench.accept(&["bob"]);
        let answers = bench.ask(vec![Asked::Discover(vec![id])]);
        let filled = |answer: &Answer| matches!(answer, Answer::Filled { kind: Kind::Mda, due } if *due == START);
        assert!(answers.iter().any(filled), "{answers:?}");
        assert_eq!(ids(&bench.claim(Kind::Mda, START, 9)), [Bench::envelope(id, 0)]);
    });
}

#[test]
fn a_room_that_is_lost_has_all_again_but_what_is_known() {
    both(|bench| {
        let (waits, _) = bench.accept(&["bob"]);
        let (known, _) = bench.accept(&["jo"]);
        bench.later(waits, 0, START + S);
        let before = bench.ask_once(vec![Asked::Rebuild]);
        assert!(matches!(before[..], [Answer::Lost]), "{before:?}");
        let void = bench.change(Change::Remove(Bench::envelope(waits, 0)));
        assert!(bench.ask_once(vec![void]).is_empty(), "nothing is done before");
        let answers = bench.ask(vec![Asked::Known(vec![Bench::envelope(known, 0)])]);
        assert!(
            answers
                .iter()
                .any(|one| matches!(one, Answer::Filled { due, .. } if *due == START + S))
        );
        assert_eq!(ids(&bench.claim(Kind::Mda, START + S, 9)), [Bench::envelope(waits, 0)]);
    });
}

/// What comes late from one who had it open before.
#[test]
fn a_lease_that_is_over_changes_nothing() {
    both(|bench| {
        let (id, _) = bench.accept(&["bob", "jo"]);
        let outcome = bench.outcome(id, 0, Verdict::Delivered);
        let put = bench.change(Change::Put(bench.place(id, 1, Due::At(START + 99 * S))));
        bench.reopen();
        let done = bench.commit(vec![Request::Outcome(outcome.clone())]);
        assert!(matches!(&done[..], [Done::Void(void)] if *void == outcome), "{done:?}");
        let report = bench.ids().take().unwrap();
        let message = bench.message(report, &["al"]);
        let done = bench.commit(vec![Bench::request(message, vec![outcome])]);
        assert!(matches!(done[..], [Done::Void(_), Done::Refused { .. }]), "{done:?}");
        assert!(bench.reader().message(report).unwrap().is_none());
        assert_eq!(bench.left(id), 2);
        let answers = bench.ask(vec![put]);
        assert!(matches!(answers[..], [Answer::Void(of)] if of == Bench::envelope(id, 1)));
        let lent = bench.claim(Kind::Mda, START + S, 9);
        assert_eq!(ids(&lent).len(), 2, "they wait for the one who has it open now");
        assert!(matches!(bench.settle(id, 0)[..], [Done::Recorded(_)]));
        assert_eq!(bench.left(id), 1);
    });
}

#[test]
fn what_was_kept_is_there_at_the_next_start() {
    both(|bench| {
        let (id, _) = bench.accept(&["bob", "jo"]);
        let large = bench.accept_in_file(&["al"], &[b"text\r\n"]);
        bench.settle(id, 0);
        bench.later(id, 1, START + 5 * S);
        bench.later(large, 0, START + 7 * S);
        bench.end();
        assert_eq!((bench.left(id), bench.left(large)), (1, 1));
        assert!(ids(&bench.claim(Kind::Mda, START + 4 * S, 9)).is_empty());
        assert_eq!(ids(&bench.claim(Kind::Mda, START + 5 * S, 9)), [Bench::envelope(id, 1)]);
        assert_eq!(ids(&bench.claim(Kind::Mda, START + 7 * S, 9)), [Bench::envelope(large, 0)]);
        let stored = bench.reader().message(large).unwrap().unwrap().content;
        let mut text = String::new();
        bench.reader().open(&stored).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text\r\n");
    });
}

#[test]
fn no_id_comes_twice() {
    both(|bench| {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            for _ in 0..500 {
                assert!(seen.insert(bench.ids().take().unwrap()));
            }
            bench.accept(&["bob"]);
            bench.reopen();
        }
    });
}
