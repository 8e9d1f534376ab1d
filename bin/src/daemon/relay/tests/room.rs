//! Connections that hops share, and whose turn it is for one.

use super::*;

#[test]
fn hops_that_share_an_address_wait_for_each_other() {
    let mut world = World::new(7);
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let way = || Way::Servers(vec![server("192.0.2.1", HopTls::Never)]);
    let (one, other) = (hop(way(), "one", pace), hop(way(), "other", pace));
    world.send(&one, &["a@example.org"]);
    world.send(&other, &["b@example.org"]);
    let first = world.one();
    world.ready(first.session);
    world.takes(first.session);
    assert!(world.opened.is_empty());
    world.closed(first.session, &End::Quit);
    let second = world.one();
    world.ready(second.session);
    world.takes(second.session);
    assert_eq!(world.outcomes.len(), 2);
}

#[test]
fn connections_are_bounded_by_what_hops_share() {
    let to = bounded;
    // Of each: the scope, the second hop, and whether it finds room beside one of the first.
    let (a, b) = ("192.0.2.101", "192.0.2.102");
    let cases = [
        (Kind::Host, "2", "192.0.2.1", b, false),
        (Kind::Host, "2", "192.0.2.2", a, true),
        (Kind::Route, "2", "192.0.2.1", a, false),
        (Kind::Route, "2", "192.0.2.1", b, true),
        (Kind::Source, "2", "192.0.2.2", a, false),
        (Kind::Source, "2", "192.0.2.2", b, true),
        (Kind::Connector, "1", "192.0.2.1", a, false),
        (Kind::Connector, "2", "192.0.2.1", a, true),
        (Kind::Relay, "1", "192.0.2.1", a, false),
        (Kind::Relay, "2", "192.0.2.1", a, true),
        (Kind::Domain, "2", "192.0.2.1", b, false),
        (Kind::Domain, "2", "192.0.2.2", a, true),
    ];
    for (kind, place, host, source, has_room) in cases {
        let mut world = World::new(7);
        let most = only(kind, Some(1), None);
        world.send(&to("1", &["192.0.2.1"], a, most), &["a@example.org"]);
        let first = world.one();
        world.send(&to(place, &[host], source, most), &["b@example.org"]);
        assert_eq!(!world.opened.is_empty(), has_room, "{kind:?} {host} {source}");
        if !has_room {
            // That is so until the connection is over.
            world.ready(first.session);
            world.takes(first.session);
            world.closed(first.session, &End::Quit);
            assert_eq!(world.opened.len(), 1, "{kind:?}");
        }
    }
    // A number that one server has reached is no reason not to go to the next.
    let mut world = World::new(7);
    let most = only(Kind::Host, Some(1), None);
    let hop = to("1", &["192.0.2.1", "192.0.2.2"], a, most);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let opened: Vec<_> = world.opened.iter().map(|one| one.address).collect();
    assert_eq!(opened, [address("192.0.2.1:2525")], "in order: it is busy, not dead");
}

#[test]
fn an_idle_connection_gives_way_to_a_message_of_another_hop() {
    let (a, b) = ("192.0.2.101", "192.0.2.102");
    // Of each: the scope, and a hop that shares it. Idle before the message comes, and after.
    let cases = [
        (Kind::Host, "192.0.2.1", b),
        (Kind::Route, "192.0.2.1", a),
        (Kind::Source, "192.0.2.2", a),
        (Kind::Domain, "192.0.2.1", b),
    ];
    let both = cases.into_iter().flat_map(|case| [(case, true), (case, false)]);
    for ((kind, host, source), before) in both {
        let mut world = World::new(7);
        let most = only(kind, Some(1), None);
        let other = bounded("2", &[host], source, most);
        world.send(&bounded("1", &["192.0.2.1"], a, most), &["a@example.org"]);
        let first = world.one().session;
        assert_eq!(world.ready(first), Next::Mail);
        if !before {
            world.send(&other, &["b@example.org"]);
            assert!(world.resumed.is_empty(), "{kind:?}: it does something");
        }
        world.takes(first);
        assert!(matches!(world.ready(first), Next::Wait(_)));
        if before {
            assert!(world.resumed.is_empty(), "{kind:?}: nobody waits");
            world.send(&other, &["b@example.org"]);
        }
        assert_eq!(world.resumed, [first], "{kind:?} {before}");
        // It takes no other message.
        world.send(&bounded("1", &["192.0.2.1"], a, most), &["c@example.org"]);
        assert_eq!(world.ready(first), Next::Quit);
        assert!(world.opened.is_empty());
        world.closed(first, &End::Quit);
        let second = world.one();
        assert_eq!(world.ready(second.session), Next::Mail);
        world.takes(second.session);
        assert_eq!(world.outcomes.len(), 2);
    }
    // One that shares nothing which is full stays.
    let mut world = World::new(7);
    let most = only(Kind::Host, Some(1), None);
    world.send(&bounded("1", &["192.0.2.1"], a, most), &["a@example.org"]);
    let idle = world.one().session;
    world.ready(idle);
    world.takes(idle);
    assert!(matches!(world.ready(idle), Next::Wait(_)));
    let other = bounded("2", &["192.0.2.2"], a, most);
    world.send(&other, &["b@example.org"]);
    world.send(&other, &["b@example.org"]);
    world.send(&bounded("3", &["192.0.2.2"], a, most), &["c@example.org"]);
    assert!(world.resumed.is_empty());
}

#[test]
fn one_idle_connection_at_a_time_is_ended_for_a_hop_that_waits() {
    // Three are idle.
    let a = "192.0.2.101";
    let most = only(Kind::Source, Some(3), None);
    let mut world = World::new(7);
    for place in ["1", "2", "3"] {
        world.send(&bounded(place, &["192.0.2.1"], a, most), &["a@example.org"]);
        let session = world.opened.last().unwrap().session;
        assert_eq!(world.ready(session), Next::Mail);
        world.takes(session);
        world.pass(1);
    }
    let idle: Vec<_> = world.opened.drain(..).map(|one| one.session).collect();
    for session in [idle[1], idle[2], idle[0]] {
        assert!(matches!(world.ready(session), Next::Wait(_)));
        world.pass(1);
    }
    // Two messages of one hop: one connection, that which would have ended first.
    let four = bounded("4", &["192.0.2.1"], a, most);
    world.send(&four, &["b@example.org"]);
    world.send(&four, &["b@example.org"]);
    assert_eq!(world.resumed, [idle[1]]);
    // Another hop: another one.
    world.send(&bounded("5", &["192.0.2.1"], a, most), &["c@example.org"]);
    assert_eq!(world.resumed, [idle[1], idle[2]]);
    assert_eq!(world.ready(idle[1]), Next::Quit);
    world.closed(idle[1], &End::Quit);
    let session = world.one().session;
    // Now for the second message of that hop.
    assert_eq!(world.resumed, [idle[1], idle[2], idle[0]]);
    assert_eq!(world.ready(session), Next::Mail);

    // All connections there may be.
    let mut world = World::new(7);
    world.relay = Relay::new(7, Bounds { connections: 1, ..BOUNDS });
    world.send(&servers(&["192.0.2.1"]), &["a@example.org"]);
    let first = world.one().session;
    assert_eq!(world.ready(first), Next::Mail);
    world.takes(first);
    assert!(matches!(world.ready(first), Next::Wait(_)));
    world.send(&servers(&["192.0.2.2"]), &["b@example.org"]);
    assert_eq!(world.resumed, [first]);
    assert_eq!(world.ready(first), Next::Quit);
    world.closed(first, &End::Quit);
    assert_eq!(world.one().address, address("192.0.2.2:2525"));
}

#[test]
fn many_domains_of_one_mail_host_wait_for_no_keep_alive() {
    let mut world = World::new(7);
    world.host("mx.example.net", &["192.0.2.1"]);
    for nth in 0..20 {
        let domain = format!("d{nth}.example");
        world.mx(&domain, &[(10, "mx.example.net")]);
        world.send(&mx(&domain), &[&format!("a@{domain}")]);
    }
    assert_eq!(world.opened.len(), 5, "the limit of a route");
    let (mut open, mut ended) = (0, 0);
    while !world.opened.is_empty() || !world.resumed.is_empty() {
        for connect in std::mem::take(&mut world.opened) {
            open += 1;
            assert!(open <= 5);
            assert_eq!(world.ready(connect.session), Next::Mail);
            world.takes(connect.session);
            assert!(matches!(world.ready(connect.session), Next::Wait(_)));
        }
        for session in std::mem::take(&mut world.resumed) {
            assert_eq!(world.ready(session), Next::Quit);
            open -= 1;
            world.closed(session, &End::Quit);
            ended += 1;
        }
    }
    // Time has not passed.
    assert_eq!(world.outcomes.len(), 20);
    assert_eq!((open, ended), (5, 15), "those that nobody needs the place of are kept");
}

#[test]
fn a_free_place_goes_to_the_hop_that_has_waited_longest() {
    // One place, and hops of whom the first has work without end.
    let most = only(Kind::Host, Some(1), None);
    let pace = Pace { mails: 1, ..PACE };
    let hop = |place| {
        let hop = bounded(place, &["192.0.2.1"], "192.0.2.101", most);
        let pace = Pace { most, ..pace };
        Arc::new(Hop { pace, ..Arc::into_inner(hop).unwrap() })
    };
    let mut world = World::new(7);
    let (bulk, second, third) = (hop("bulk"), hop("second"), hop("third"));
    // Known in this order, waiting in another one.
    let mut order = Vec::new();
    for one in [&bulk, &second, &third] {
        world.send(one, &["a@example.org"]);
    }
    for round in 0..8 {
        let connect = world.one();
        order.push(connect.hop.key.place.to_string());
        assert_eq!(world.ready(connect.session), Next::Mail);
        world.send(&bulk, &["a@example.org"]);
        if round == 2 {
            world.send(&third, &["c@example.org"]);
            world.send(&second, &["b@example.org"]);
        }
        world.takes(connect.session);
        assert_eq!(world.ready(connect.session), Next::Quit);
        world.closed(connect.session, &End::Quit);
    }
    assert_eq!(order, ["bulk", "second", "third", "bulk", "third", "second", "bulk", "bulk"]);
}

#[test]
fn a_connection_that_others_wait_for_takes_no_more_than_its_share() {
    let most = only(Kind::Host, Some(1), None);
    let hop = |place| bounded(place, &["192.0.2.1"], "192.0.2.101", most);
    let (bulk, urgent) = (hop("bulk"), hop("urgent"));
    let mut world = World::new(7);
    for _ in 0..100 {
        world.send(&bulk, &["a@example.org"]);
    }
    let connect = world.one();
    for _ in 0..30 {
        assert_eq!(world.ready(connect.session), Next::Mail, "nobody else waits");
        world.takes(connect.session);
    }
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.send(&urgent, &["b@example.org"]);
    world.takes(connect.session);
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    let connect = world.one();
    assert_eq!(&*connect.hop.key.place, "urgent");
    assert_eq!(world.ready(connect.session), Next::Mail);
    world.takes(connect.session);
    // It has nothing more, and the others have.
    assert!(matches!(world.ready(connect.session), Next::Wait(_)));
    assert_eq!(world.ready(connect.session), Next::Quit);
    world.closed(connect.session, &End::Quit);
    assert_eq!(&*world.one().hop.key.place, "bulk");
}
