//! Names of strangers beside mail, and nameservers that change.

use smtpd_reactor::dns::{QueryId, Settings};
use smtpd_tests::zone::{Way, Zone, reverse};

use crate::value::say;
use crate::world::{Server, World, addresses, client, mx, words};

/// Addresses whose names a nameserver never tells.
fn strangers() -> impl Iterator<Item = String> {
    (0..200).map(|nth| format!("198.51.100.{nth}"))
}

fn world() -> World {
    let zone = Zone::default().mx("example.org", 10, "mx.example.org");
    World::zone(
        strangers().fold(zone, |zone, ip| {
            zone.way(&reverse(ip.parse().expect("an address")), Way::Silent)
        }),
    )
}

fn ask_for_all(world: &mut World) -> Vec<QueryId> {
    strangers().map(|ip| world.resolver.ask(client(&ip), world.now)).collect()
}

#[test]
fn mail_does_not_wait_for_the_names_of_strangers() {
    let mut world = world();
    ask_for_all(&mut world);
    world.settle();
    let before = (world.now, world.sent.len());
    assert!(before.1 < 128, "room is left: {}", before.1);
    assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
    assert_eq!((world.now, world.sent.len()), (before.0, before.1 + 1));
    assert_eq!(world.resolver.silence(), None);
}

#[test]
fn a_name_that_mail_needs_too_is_asked_for_at_once() {
    let mut world = world();
    if let Server::Answers(zone) = &mut world.servers[0] {
        let named = zone.clone().pointer("192.0.2.1", "mx.example");
        *zone = named.address("mx.example", "192.0.2.1");
    }
    let name = world.resolver.ask(client("192.0.2.1"), world.now);
    ask_for_all(&mut world);
    // Whether the name leads back is a question that waits behind the others, until mail asks it.
    world.settle();
    assert_eq!(world.resolver.next_answer(), None);
    let host = world.resolver.ask(addresses("mx.example"), world.now);
    world.settle();
    let answers: Vec<_> = std::iter::from_fn(|| world.resolver.next_answer()).collect();
    let answers: Vec<_> = answers.iter().map(|(query, answer)| (*query, words(answer))).collect();
    let expected = [(name, "mx.example Confirmed"), (host, "192.0.2.1")];
    assert_eq!(answers, expected.map(|(query, words)| (query, words.to_owned())));
}

#[test]
fn what_nobody_waits_for_any_more_is_not_asked() {
    let mut world = world();
    let asked = ask_for_all(&mut world);
    world.settle();
    let begun = world.sent.len();
    asked.into_iter().for_each(|query| world.resolver.forget(query));
    while let Some(deadline) = world.resolver.deadline() {
        world.now = deadline;
        world.resolver.timeout(deadline);
        world.settle();
    }
    assert!(world.is_idle());
    assert_eq!(world.sent.len(), 3 * begun, "those that had begun, with each attempt");
    assert_eq!(world.resolver.next_answer(), None);
    // Names are no sign that the DNS is gone.
    assert_eq!(world.resolver.silence(), None);
}

#[test]
fn a_slow_name_is_not_the_nameservers_fault() {
    let slow = reverse("192.0.2.1".parse().expect("an address"));
    let zone = Zone::default()
        .mx("one.example", 1, "mx.example")
        .mx("two.example", 2, "mx.example")
        .way(&slow, Way::Silent);
    let mut world = World::new(vec![Server::Answers(zone.clone()), Server::Answers(zone)]);
    world.resolver.ask(client("192.0.2.1"), world.now);
    world.settle();
    world.pass(1);
    assert_eq!(say(&mut world, mx("one.example")), "1 mx.example");
    world.pass(1);
    world.resolver.timeout(world.now);
    world.settle();
    assert_eq!(say(&mut world, mx("two.example")), "2 mx.example");
    let order: Vec<_> = world.sent.iter().map(|(server, _)| *server).collect();
    assert_eq!(order, [0, 0, 1, 0]);
}

#[test]
fn other_nameservers_are_asked_what_is_still_open() {
    let zone = Zone::default().mx("example.org", 10, "mx.example.org");
    let mut world = World::new(vec![Server::Silent, Server::Answers(zone)]);
    let only = |nth: u8, hosts: &str| {
        Settings::read(format!("nameserver 192.0.2.{nth}\n").as_bytes(), hosts.as_bytes())
    };
    world.resolver.set(only(53, ""), world.now);
    let before = world.now;
    let asked = world.resolver.ask(mx("example.org"), before);
    world.settle();
    world.resolver.set(only(53, "192.0.2.9 host.example\n"), before);
    world.settle();
    assert_eq!(world.sent.len(), 1, "the same nameserver is not asked again");
    assert_eq!(say(&mut world, client("192.0.2.9")), "host.example Confirmed");
    world.resolver.set(only(54, ""), before);
    assert_eq!(words(&world.wait_for(asked)), "10 mx.example.org");
    assert_eq!(world.now, before);
    let order: Vec<_> = world.sent.iter().map(|(server, _)| *server).collect();
    assert_eq!(order, [0, 1]);
    world.settle();
    assert!(world.is_idle());
}
