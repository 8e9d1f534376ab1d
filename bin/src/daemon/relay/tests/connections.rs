//! Messages over connections, from the first to the last of one.

use super::*;

#[test]
fn a_message_goes_over_a_new_connection_and_the_next_over_the_same() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    let ids = world.send(&hop, &["bob@example.org"]);
    let connect = world.one();
    assert_eq!(connect.address, address("192.0.2.1:2525"));
    assert_eq!(world.ready(connect.session), Next::Mail);
    assert_eq!(world.relay.current(connect.session).unwrap().recipients[0].id, ids[0]);
    world.takes(connect.session);
    assert_eq!(world.outcome(), Attempt::Relayed(None));

    let Next::Wait(until) = world.ready(connect.session) else { panic!() };
    assert_eq!(until, world.now.mono + Duration::from_secs(10));
    world.pass(3);
    world.send(&hop, &["carol@example.org"]);
    assert_eq!(world.resumed, [connect.session]);
    // While that one has not asked, the next message does not count on it.
    world.send(&hop, &["dave@example.org"]);
    assert_eq!(world.resumed, [connect.session]);
    let second = world.one();
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.takes(connect.session);
    assert_eq!(world.ready(connect.session), Next::Mail, "the other one is not there yet");
    world.takes(connect.session);
    assert!(matches!(world.ready(second.session), Next::Wait(_)));

    // Nobody needs them for the time of the keep-alive.
    assert!(matches!(world.ready(connect.session), Next::Wait(_)));
    world.pass(10);
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    assert_eq!(world.ready(second.session), Next::Quit);
}

#[test]
fn outcomes_are_told_one_by_one_as_they_become_known() {
    let mut world = World::new(7);
    let ids =
        world.send(&servers(&["192.0.2.1"]), &["a@example.org", "b@example.org", "c@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.told(session, Whom::One(1), trouble((5, 1, 1), "550 5.1.1 no such user", Again::No));
    let (batch, id, attempt) = world.outcomes.remove(0);
    assert_eq!((batch, id), (1, ids[1]));
    assert_eq!(text(&attempt), ('f', "550 5.1.1 no such user", "5.1.1".into()));
    world.takes(session);
    let rest: Vec<_> = world.outcomes.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(rest, [ids[0], ids[2]]);
    world.takes(session);
    assert_eq!(world.outcomes.len(), 2, "each is told of once");
}

#[test]
fn a_connection_that_died_while_idle_is_replaced_silently() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.takes(first.session);
    world.outcome();
    world.ready(first.session);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.ready(first.session), Next::Mail);
    let died = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Stale);
    world.told(first.session, Whom::Rest, died);
    let second = world.one();
    assert_eq!(second.address, first.address);
    world.closed(first.session, &End::Failed);
    world.ready(second.session);
    world.takes(second.session);
    assert_eq!(world.outcome(), Attempt::Relayed(None));
}

#[test]
fn without_smtputf8_only_those_who_need_it_fail() {
    let mut world = World::new(7);
    world.send(&servers(&["192.0.2.1"]), &["a@example.org", "gr\u{fc}n@example.org"]);
    let session = world.one().session;
    assert_eq!(world.ready(session), Next::Mail);
    let task = world.relay.current(session).unwrap();
    assert_eq!(task.recipients.len(), 1);
    assert_eq!(task.recipients[0].to.as_str(), "a@example.org");
    world.takes(session);
    assert_eq!(world.ready(session), Next::Mail);
    let task = world.relay.current(session).unwrap();
    assert_eq!(task.recipients[0].to.as_str(), "gr\u{fc}n@example.org");
}

#[test]
fn what_needs_smtputf8_as_a_whole_stays_whole() {
    for is_sender in [false, true] {
        let mut world = World::new(7);
        let hop = servers(&["192.0.2.1"]);
        let mut task = world.task(&hop, &["a@example.org", "gr\u{fc}n@example.org"]);
        match is_sender {
            true => {
                task.from = ReversePath::Mailbox(Mailbox::parse("gr\u{fc}n@example.net").unwrap());
            }
            false => task.content.utf8_header = true,
        }
        world.relay.take(task);
        world.turn();
        let session = world.one().session;
        assert_eq!(world.ready(session), Next::Mail);
        assert_eq!(world.relay.current(session).unwrap().recipients.len(), 2);
    }
}

#[test]
fn an_idle_connection_that_takes_a_message_unasked_is_kept_afterwards() {
    let mut world = World::new(7);
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let first = world.opened[0].session;
    for _ in 0..2 {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
    }
    assert!(matches!(world.ready(first), Next::Wait(_)));
    // The second connection is about to take this one, and the first comes before it.
    world.send(&hop, &["c@example.org"]);
    assert!(world.resumed.is_empty());
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)), "no other one is idle");
}

#[test]
fn nothing_is_opened_once_the_process_ends() {
    let mut world = World::new(7);
    let hop = servers(&["192.0.2.1"]);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let opened: Vec<_> = world.opened.drain(..).collect();
    assert_eq!(world.ready(opened[0].session), Next::Mail);
    for connect in opened {
        world.closed(connect.session, &End::Stopped);
    }
    world.send(&hop, &["c@example.org"]);
    assert!(world.opened.is_empty());
    assert!(world.outcomes.is_empty(), "they stay in the queue");
}

#[test]
fn a_connection_is_opened_before_its_message_where_one_will_be_needed() {
    let soon = |world: &mut World, hop: &Arc<Hop>| {
        world.relay.preconnect(hop, world.now);
        world.turn();
    };
    let mut world = World::new(7);
    world.host("smart.example", &["192.0.2.1"]);
    let hop = servers(&["smart.example"]);
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "nothing is known of that hop");
    world.send(&hop, &["a@example.org"]);
    let first = world.one().session;
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "it has taken nothing yet");
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)));
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "one is idle");
    world.pass(10);
    assert_eq!(world.ready(first), Next::Quit);
    world.closed(first, &End::Quit);

    // Names that are too old are asked for first, and the message finds the connection.
    world.pass(45);
    world.slow.insert("smart.example".into());
    soon(&mut world, &hop);
    assert!(world.opened.is_empty());
    let (question, _) = world.asked.remove(0);
    world.relay.answered(question, &Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]));
    world.turn();
    let second = world.one().session;
    soon(&mut world, &hop);
    assert!(world.opened.is_empty(), "one for each hop");
    world.send(&hop, &["b@example.org"]);
    assert!(world.opened.is_empty());
    assert_eq!(world.ready(second), Next::Mail);
    world.takes(second);
    assert_eq!(world.ready(second), Next::Wait(world.now.mono + PACE.keep_alive));
    world.pass(10);
    world.ready(second);
    world.closed(second, &End::Quit);

    // Without a message it comes to its end; and if the server ends it, nobody is to blame.
    for dies in [false, true] {
        soon(&mut world, &hop);
        let spare = world.one().session;
        assert!(matches!(world.ready(spare), Next::Wait(_)));
        if dies {
            world.send(&hop, &["c@example.org"]);
            assert_eq!(world.resumed.pop(), Some(spare));
            assert_eq!(world.ready(spare), Next::Mail);
            assert!(world.relay.is_kept(spare), "it may have died while it was idle");
            let died = trouble((4, 4, 2), "Connection closed unexpectedly", Again::Stale);
            world.told(spare, Whom::Rest, died);
            let last = world.one().session;
            world.closed(spare, &End::Failed);
            assert_eq!(world.ready(last), Next::Mail);
            world.takes(last);
        } else {
            world.pass(10);
            assert_eq!(world.ready(spare), Next::Quit);
            world.closed(spare, &End::Quit);
        }
    }
    // A minute after the last message nobody counts on the next one.
    world.pass(61);
    soon(&mut world, &hop);
    assert!(world.opened.is_empty());
}
