//! What smtpctl shows.

use super::*;

#[test]
fn what_is_shown_are_the_lines_of_upstream() {
    let lines = |world: &World, view| {
        let items = world.relay.show(view, 0, 100, world.now);
        assert!(items.is_sorted_by_key(|(number, _)| *number) && items.len() < 100);
        items.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let mut world = World::new(7);
    for view in View::ALL {
        assert!(lines(&world, view).is_empty());
    }
    let hop = servers(&["192.0.2.1", "192.0.2.2"]);
    world.send(&hop, &["a@Example.org"]);
    let first = world.one();
    assert_eq!(
        lines(&world, View::Routes),
        ["1. [] <-> 192.0.2.1 (192.0.2.1) N--- nconn=1 nerror=0 penalty=0 timeout=-"]
    );
    assert_eq!(
        lines(&world, View::Relays),
        ["[relay:192.0.2.1 192.0.2.2,smtp] refcount=2 ntask=1 nconn=1 lastconn=0s timeout=- \
          wait=\n  connector [] refcount=1 nconn=1 lastconn=0s timeout=- flags="]
    );
    world.pass(2);
    world.refuses(&first);
    world.pass(1);
    let second = world.one();
    world.ready(second.session);
    world.takes(second.session);
    world.ready(second.session);
    assert_eq!(
        lines(&world, View::Routes),
        [
            "1. [] <-> 192.0.2.1 (192.0.2.1) NDQ- nconn=0 nerror=1 penalty=1 timeout=14s",
            "2. [] <-> 192.0.2.2 (192.0.2.2) ---K nconn=1 nerror=0 penalty=0 timeout=-",
        ]
    );
    assert_eq!(
        lines(&world, View::Hosts),
        [
            "192.0.2.1 192.0.2.1 refcount=1 nconn=0 lastconn=3s",
            "192.0.2.2 192.0.2.2 refcount=1 nconn=1 lastconn=1s",
        ]
    );
    let at = world.now.unix / 1_000_000;
    assert_eq!(lines(&world, View::HostStats), [format!("example.org|{at}|250 2.0.0 Ok")]);
    // From behind a number on, and no more than asked for.
    let one = world.relay.show(View::Routes, 0, 1, world.now);
    assert_eq!((one.len(), one[0].0), (1, 1));
    let rest = world.relay.show(View::Routes, 1, 100, world.now);
    assert_eq!((rest.len(), rest[0].0), (1, 2));
    assert!(world.relay.show(View::Hosts, 1_000_000, 100, world.now).is_empty());

    // Nobody answers: until somebody says that the first one does.
    world.closed(second.session, &End::Quit);
    world.send(&hop, &["b@example.org"]);
    let second = world.one();
    world.refuses(&second);
    let relays = lines(&world, View::Relays);
    assert!(relays[0].contains(" ntask=1 nconn=0 lastconn=0s timeout=14s wait=connector\n"));
    assert!(relays[0].ends_with(" timeout=14s flags=ERROR_ROUTE_NET"), "{relays:?}");
    assert!(!world.relay.resume_way(77));
    assert!(world.relay.resume_way(1));
    world.turn();
    assert_eq!(world.one().address, first.address);

    // What keeps a relay from opening connections.
    let mut world = World::new(7);
    world.slow.insert("MX example.org".into());
    world.send(&mx("example.org"), &["a@example.org"]);
    let relays = lines(&world, View::Relays);
    assert!(relays[0].contains(" wait=MX\n") && relays[0].ends_with(" flags=WAIT"), "{relays:?}");
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let hop = self::hop(Way::Servers(vec![server("192.0.2.1", HopTls::Never)]), "x", pace);
    world.send(&hop, &["a@example.org"]);
    world.send(&hop, &["b@example.org"]);
    let relays = lines(&world, View::Relays);
    assert!(relays[1].contains(" wait=limits\n"), "{relays:?}");
    assert!(relays[1].ends_with(" flags=LIMIT_HOST"), "{relays:?}");
}
