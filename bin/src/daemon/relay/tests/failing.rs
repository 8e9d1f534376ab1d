//! Servers that fail, and what becomes of the messages for them.

use super::*;

#[test]
fn smarthosts_are_tried_in_their_order_and_one_that_fails_is_left_alone() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["bob@example.org"]);
    let first = world.one();
    assert_eq!(first.address, address("192.0.2.1:2525"));
    world.refuses(&first);
    let second = world.one();
    assert_eq!(second.address, address("192.0.2.2:2525"));
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    world.pass(10);
    assert_eq!(world.ready(second.session), Next::Quit);
    world.closed(second.session, &End::Quit);
    world.send(&hop, &["bob@example.org"]);
    assert_eq!(world.one().address, second.address, "15 seconds have not passed");
    world.pass(5);
    world.send(&servers(&["192.0.2.1"]), &["bob@example.org"]);
    let again = world.one();
    assert_eq!(again.address, first.address);
    // The second time in a row it is left alone for as long; after a success, not at all.
    world.refuses(&again);
    world.pass(14);
    world.send(&servers(&["192.0.2.1"]), &["bob@example.org"]);
    assert!(world.opened.is_empty());
    world.pass(1);
    world.turn();
    assert_eq!(world.opened.len(), 2, "for both that waited");
    assert!(world.opened.iter().all(|connect| connect.address == first.address));
}

#[test]
fn what_failed_because_nobody_answered_is_tried_when_somebody_does() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["bob@example.org"]);
    world.runs_out(&End::Unreachable("Connection refused".into()));
    assert!(matches!(world.outcome(), Attempt::Later(_)));
    world.pass(20);
    world.send(&hop, &["carol@example.org"]);
    let connect = world.one();
    world.ready(connect.session);
    assert!(world.scheduled.is_empty());
    world.takes(connect.session);
    assert_eq!(world.scheduled, ids);
}

#[test]
fn a_server_that_hangs_up_in_a_transaction_gets_the_message_once() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@example.org", "b@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.told(first.session, Whom::One(0), trouble((4, 2, 1), "451 4.2.1 later", Again::No));
    assert!(matches!(world.outcomes.remove(0), (1, _, Attempt::Later(_))));
    let lost = || trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
    world.told(first.session, Whom::Rest, lost());
    let second = world.one();
    assert_eq!(second.address, address("192.0.2.2:2525"), "at once, while the first is closing");
    world.closed(first.session, &End::Failed);
    world.ready(second.session);
    let left = &world.relay.current(second.session).unwrap().recipients;
    assert_eq!(left.len(), 1, "the one that has an outcome is not sent again");
    assert_eq!(left[0].to.as_str(), "b@example.org");
    world.told(second.session, Whom::Rest, lost());
    world.closed(second.session, &End::Failed);
    assert_eq!(text(&world.outcome()), ('l', "Connection closed unexpectedly", "4.4.2".into()));
    assert!(world.opened.is_empty());
}

#[test]
fn tls_that_does_not_work_is_done_without_for_an_hour_where_it_may_be() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(first.tls, HopTls::Opportunistic);
    world.closed(first.session, &End::Tls("no protocol in common".into()));
    let second = world.one();
    assert_eq!((second.address, second.tls), (first.address, HopTls::Never));
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    world.closed(second.session, &End::Quit);
    world.pass(3500);
    world.send(&hop, &["a@example.org"]);
    let third = world.one();
    assert_eq!(third.tls, HopTls::Never);
    world.closed(third.session, &End::Unreachable("x".into()));
    world.pass(101);
    world.send(&hop, &["a@example.org"]);
    assert_eq!(world.opened.len(), 2, "also for the one that has waited");
    assert!(world.opened.iter().all(|connect| connect.tls == HopTls::Opportunistic));

    let mut world = World::new(7);
    let required = server("192.0.2.1", HopTls::Required { verify: true });
    world.send(&self::hop(Way::Servers(vec![required]), "tls", PACE), &["a@example.org"]);
    let (all, seconds) = world.runs_out(&End::Tls("certificate has expired".into()));
    assert_eq!(seconds, 0, "that does not pass by waiting");
    assert!(all.iter().all(|one| one.tls == HopTls::Required { verify: true }), "never in clear");
    let attempt = world.outcome();
    assert!(text(&attempt).1.ends_with("certificate has expired"), "{attempt:?}");
}

#[test]
fn a_machine_without_descriptors_blames_no_server() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    // Two that are opened together, of which one finds no room.
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let (first, second) = (world.opened.remove(0).session, world.opened.remove(0).session);
    world.closed(second, &End::NoRoom("Too many open files".into()));
    world.closed(first, &End::NoRoom("Too many open files".into()));
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    // Nobody else is any better off.
    world.send(&servers(&["192.0.2.2"]), &["c@example.org"]);
    assert!(world.opened.is_empty());
    assert_eq!(world.relay.deadline(), Some(world.now.mono + Duration::from_secs(1)));
    world.pass(1);
    world.turn();
    assert_eq!(world.opened.len(), 3);
    let (all, seconds) = world.runs_out(&End::NoRoom("Too many open files".into()));
    assert!((50..=61).contains(&seconds) && all.len() > 100, "{seconds} {}", all.len());
    world.pass(1);
    world.turn();
    assert!(world.outcomes.len() <= 3);
    for (.., attempt) in &world.outcomes {
        assert_eq!(text(attempt), ('l', "Too many open files", "4.3.0".into()));
    }
}

#[test]
fn a_way_that_cannot_be_begun_is_left_alone_while_others_are_busy() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@example.org"]);
    let busy = world.one().session;
    assert_eq!(world.ready(busy), Next::Mail);
    world.send(&hop, &["b@example.org"]);
    for _ in 0..2 {
        let session = world.one().session;
        world.closed(session, &End::Local("Too many open files".into()));
    }
    assert!(world.opened.is_empty(), "each way is tried once");
    assert!(world.outcomes.is_empty(), "the other one may take it yet");
    world.takes(busy);
    assert_eq!(world.ready(busy), Next::Mail);
    world.takes(busy);
    assert_eq!(world.outcomes.len(), 2);
    assert!(world.outcomes.iter().all(|(.., attempt)| *attempt == Attempt::Relayed(None)));
}

#[test]
fn what_a_server_dropped_is_not_tried_at_its_next_success() {
    for is_told in [true, false] {
        let mut world = World::new(7);
        let hop = servers(&["192.0.2.1"]);
        world.send(&hop, &["a@example.org"]);
        let first = world.one().session;
        assert_eq!(world.ready(first), Next::Mail);
        let end = if is_told {
            let lost = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
            world.told(first, Whom::Rest, lost);
            End::Failed
        } else {
            End::Content
        };
        world.closed(first, &end);
        assert!(matches!(world.outcome(), Attempt::Later(_)));
        world.send(&hop, &["b@example.org"]);
        let second = world.one().session;
        assert_eq!(world.ready(second), Next::Mail);
        world.takes(second);
        assert_eq!(world.outcome(), Attempt::Relayed(None));
        assert!(world.scheduled.is_empty(), "{end:?}");
    }
}

#[test]
fn no_more_waits_for_a_dead_server_than_is_bounded() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    for _ in 0..BOUNDS.held - 11 {
        world.send(&hop, &["b@example.org"]);
    }
    // What waits for other servers counts as well.
    let other = servers(&["192.0.2.2"]);
    world.send(&other, &["c@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    for _ in 0..9 {
        world.send(&other, &["c@example.org"]);
    }
    assert!(world.outcomes.is_empty());
    let over = world.send(&hop, &["d@example.org"]);
    assert_eq!(world.outcomes.remove(0).1, over[0]);
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    world.pass(15);
    world.turn();
    let session = world.opened[0].session;
    while world.ready(session) == Next::Mail {
        world.takes(session);
    }
    assert_eq!(world.outcomes.len(), BOUNDS.held - 10, "all that waited for the first");
    assert_eq!(world.scheduled, over, "and it is not forgotten");
}

#[test]
fn a_task_that_was_dropped_waits_for_the_others() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    let ids = world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.refuses(&first);
    let second = world.one();
    assert_eq!(world.ready(second.session), Next::Mail);
    let lost = || trouble((4, 4, 2), "Connection closed unexpectedly", Again::Elsewhere);
    world.told(second.session, Whom::Rest, lost());
    world.closed(second.session, &End::Failed);
    assert!(world.outcomes.is_empty(), "the first one is only left alone");
    world.pass(15);
    world.turn();
    assert_eq!(world.opened[0].address, first.address);
    world.runs_out(&End::Unreachable("Connection refused".into()));
    assert_eq!(text(&world.outcome()), ('l', "Connection closed unexpectedly", "4.4.2".into()));
    world.pass(60);
    world.send(&hop, &["b@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.scheduled, ids, "it never came to the first one");
}

#[test]
fn what_waits_for_better_times_is_given_back_when_the_process_is_about_to_end() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let connect = world.one();
    world.refuses(&connect);
    assert!(world.outcomes.is_empty());
    world.relay.end();
    world.turn();
    assert!(matches!(world.outcome(), Attempt::Later(_)));
    world.send(&hop, &["a@example.org"]);
    assert!(matches!(world.outcome(), Attempt::Later(_)));
}

#[test]
fn what_is_scheduled_has_been_reported_before() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.refuses(&first);
    world.pass(15);
    world.turn();
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.remove(0).1, ids[0]);
    // Both in one turn: one fails for want of a server, and another session has a success.
    let envelope = ids[0];
    world.relay.report(9, envelope, Attempt::Later(Failure::new((4, 4, 1), "refused")));
    world.relay.outputs.push(Output::Schedule(vec![envelope]));
    let mut outputs = Vec::new();
    world.relay.turn(world.now, &mut outputs);
    let [Output::Report(report), Output::Schedule(scheduled)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((report.attempts[0].0, &scheduled[..]), (envelope, &[envelope][..]));
}
