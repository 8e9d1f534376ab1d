//! How many connections and messages, and how fast.

use super::*;

#[test]
fn mx_routes_begin_carefully_and_back_off() {
    let mut world = World::new(7);
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    for _ in 0..30 {
        world.send(&hop, &["a@example.org"]);
    }
    assert_eq!(world.opened.len(), 2);
    let first = world.opened[0].session;
    for more in [3, 4, 5, 5, 5] {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
        assert_eq!(world.opened.len(), more, "five is the limit of a route");
    }
    let busy: Vec<_> = world.opened.iter().map(|one| one.session).skip(1).collect();
    for session in &busy {
        assert_eq!(world.ready(*session), Next::Mail);
    }
    let pressed = |status, again| {
        let failure = Failure::new(status, "421 4.7.0 too many connections");
        Told::Failed(Trouble { failure, reply: None, permanent: false, pressed: true, again })
    };
    world.told(busy[0], Whom::Rest, pressed((4, 7, 0), Again::No));
    world.closed(busy[0], &End::Failed);
    assert_eq!(world.opened.len(), 5, "half of five, and four are there");
    for session in [busy[1], busy[2], busy[3]] {
        world.closed(session, &End::Quit);
    }
    assert!(world.opened.len() <= 6, "{}", world.opened.len());
}

#[test]
fn session_mail_max_and_delays_that_are_written_are_kept() {
    let mut world = World::new(7);
    let delays = only(Kind::Relay, Duration::from_secs(5), Duration::ZERO);
    let pace = Pace { mails: 2, delays, ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    for _ in 0..3 {
        world.send(&hop, &["a@example.org"]);
    }
    let first = world.one().session;
    let alarm = world.relay.deadline().expect("there is to be a second one");
    assert_eq!(alarm, world.now.mono + Duration::from_secs(5));
    for _ in 0..2 {
        assert_eq!(world.ready(first), Next::Mail);
        world.takes(first);
    }
    assert_eq!(world.ready(first), Next::Quit);
    world.pass(5);
    world.turn();
    let second = world.one().session;
    assert_eq!(world.ready(second), Next::Mail);
}

#[test]
fn pauses_are_kept_where_they_are_written() {
    let five = Duration::from_secs(5);
    for kind in Kind::ALL {
        let mut world = World::new(7);
        let pace = Pace { delays: only(kind, five, Duration::ZERO), ..PACE };
        let way = Way::Servers(vec![server("192.0.2.1", HopTls::Never)]);
        let hop = hop(way, "x", pace);
        world.send(&hop, &["a@example.org"]);
        world.one();
        world.send(&hop, &["b@example.org"]);
        assert!(world.opened.is_empty(), "{kind:?}");
        assert_eq!(world.relay.deadline(), Some(world.now.mono + five));
        world.pass(5);
        world.turn();
        assert_eq!(world.opened.len(), 1, "{kind:?}");
    }
    // After the end of the last connection, and only then.
    let mut world = World::new(7);
    let pace = Pace { reconnect_delay: five, ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.opened.len(), 2);
    for connect in std::mem::take(&mut world.opened) {
        world.ready(connect.session);
        world.takes(connect.session);
        world.ready(connect.session);
        world.closed(connect.session, &End::Quit);
    }
    world.pass(1);
    world.send(&hop, &["c@example.org"]);
    assert!(world.opened.is_empty());
    world.pass(4);
    world.turn();
    assert_eq!(world.opened.len(), 1);
}

#[test]
fn no_more_messages_go_in_a_period_than_is_written() {
    let mut world = World::new(7);
    let pace = Pace { rates: [Some(3), None], ..PACE };
    let hop = hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    for _ in 0..4 {
        world.send(&hop, &["a@example.org"]);
    }
    let session = world.opened[0].session;
    for _ in 0..3 {
        assert_eq!(world.ready(session), Next::Mail);
        world.takes(session);
    }
    for session in std::mem::take(&mut world.opened).iter().map(|connect| connect.session) {
        let Next::Wait(_) = world.ready(session) else { panic!("that was the minute's share") };
    }
    let at = world.relay.deadline().expect("a time to go on");
    assert!(at > world.now.mono + Duration::from_secs(59), "{at:?}");
    assert!(world.resumed.is_empty());
    assert_eq!(world.outcomes.len(), 3);
    world.now.mono = at;
    world.turn();
    assert_eq!(world.resumed.len(), 1);

    let mut world = World::new(7);
    let pace = Pace { rates: [None, Some(1)], ..PACE };
    let hop = self::hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    let first = world.send(&hop, &["a@example.org"]);
    let second = world.send(&hop, &["a@example.org"]);
    let session = world.opened[0].session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.pop().unwrap().1, first[0]);
    let (_, id, attempt) = world.outcomes.remove(0);
    assert_eq!(id, second[0]);
    assert_eq!(text(&attempt), ('l', "max-mails-per-hour of x is reached", "4.4.5".into()));
    // It is tried when an hour's share is free, and another one an hour later.
    let not_before = |attempt: &Attempt| match attempt {
        Attempt::Later(failure) => failure.not_before.unwrap(),
        other => panic!("{other:?}"),
    };
    let free = not_before(&attempt);
    let hour = 3600 * 1_000_000;
    assert!(free > world.now.unix + hour && free <= world.now.unix + hour / 10 * 11);
    for _ in 0..2 {
        let task = world.task(&hop, &["a@example.org"]);
        world.relay.take(task);
    }
    world.turn();
    let times: Vec<_> = world.outcomes.drain(..).map(|(_, _, one)| not_before(&one)).collect();
    assert_eq!(times, [free, free + hour]);
    // The next success makes no room for it.
    world.pass(2 * 3600);
    world.send(&hop, &["a@example.org"]);
    let session = world.opened.last().unwrap().session;
    assert_eq!(world.ready(session), Next::Mail);
    world.takes(session);
    assert_eq!(world.outcomes.len(), 1);
    assert_eq!(world.scheduled, []);
}

#[test]
fn servers_that_share_the_mail_get_as_much_each() {
    let all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let balanced = || {
        let way = Way::Servers(all.map(|host| server(host, HopTls::Never)).into());
        let (helo, sources) = ("mail.example.net".into(), Vec::new());
        let (key, title) = (key("all"), String::new());
        let pace = PACE;
        let (family, chunking, balance) = (None, false, true);
        Arc::new(Hop { key, title, way, balance, helo, sources, family, chunking, pace })
    };
    // One after the other, over connections that are kept; and over new ones.
    for is_kept in [true, false] {
        let mut world = World::new(7);
        let hop = balanced();
        let mut addresses: HashMap<SessionId, SocketAddr> = HashMap::new();
        let mut taken: HashMap<SocketAddr, u32> = HashMap::new();
        for _ in 0..30 {
            world.send(&hop, &["a@example.org"]);
            let session = match world.resumed.pop() {
                Some(session) => session,
                None => {
                    let connect = world.one();
                    addresses.insert(connect.session, connect.address);
                    connect.session
                }
            };
            assert_eq!(world.ready(session), Next::Mail);
            world.takes(session);
            *taken.entry(addresses[&session]).or_default() += 1;
            assert!(matches!(world.ready(session), Next::Wait(_)));
            if !is_kept {
                world.closed(session, &End::Quit);
            }
            world.pass(1);
        }
        assert_eq!(taken.into_values().collect::<Vec<_>>(), [10, 10, 10], "{is_kept}");
        assert!(!is_kept || addresses.len() == 3);
    }
    // All at once, and one of them is dead.
    let mut world = World::new(7);
    let hop = balanced();
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(world.ready(first.session), Next::Mail);
    for _ in 0..5 {
        world.send(&hop, &["a@example.org"]);
    }
    let mut opened: Vec<_> = world.opened.iter().map(|connect| connect.address).collect();
    opened.push(first.address);
    opened.sort();
    let twice = all.map(|host| address(&format!("{host}:2525")));
    assert_eq!(opened, [twice[0], twice[0], twice[1], twice[1], twice[2], twice[2]]);
    let dead = world.opened.remove(0);
    world.refuses(&dead);
    assert_eq!(world.opened.iter().filter(|one| one.address == dead.address).count(), 1);
    assert_eq!(world.opened.len(), 5, "another one in its place");
}
