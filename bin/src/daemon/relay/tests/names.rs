//! From domains to addresses, and what the DNS leaves open.

use super::*;

#[test]
fn mx_hosts_come_in_the_order_of_their_preference() {
    let mut world = World::new(7);
    world.mx("example.org", &[(20, "second.example.org"), (10, "first.example.org")]);
    world.host("first.example.org", &["192.0.2.1", "2001:db8::1"]);
    world.host("second.example.org", &["192.0.2.2"]);
    world.send(&mx("example.org"), &["bob@example.org"]);
    for expected in ["192.0.2.1:25", "[2001:db8::1]:25", "192.0.2.2:25"] {
        let connect = world.one();
        assert_eq!(connect.address, address(expected));
        assert!(world.outcomes.is_empty(), "the next address is tried at once");
        world.refuses(&connect);
    }
    assert!(world.outcomes.is_empty(), "they are tried again after a quarter of a minute");
    let (again, seconds) = world.runs_out(&End::Unreachable("Connection refused".into()));
    assert!((45..=60).contains(&seconds), "{seconds}");
    let again: Vec<_> = again.iter().map(|connect| connect.address.to_string()).collect();
    assert_eq!(again[..4], ["192.0.2.1:25", "[2001:db8::1]:25", "192.0.2.2:25", "192.0.2.1:25"]);
    let attempt = world.outcome();
    assert_eq!(
        text(&attempt),
        ('l', "Network error on destination MXs: Connection refused", "4.4.1".into())
    );
}

#[test]
fn equal_hosts_are_shuffled_and_a_better_one_is_waited_for() {
    let mut firsts = HashSet::new();
    for seed in 1..40 {
        let mut world = World::new(seed << 40 | seed);
        world.mx("example.org", &[(10, "a.example.org"), (10, "b.example.org")]);
        world.host("a.example.org", &["192.0.2.1"]);
        world.host("b.example.org", &["192.0.2.2"]);
        world.send(&mx("example.org"), &["bob@example.org"]);
        firsts.insert(world.one().address);
    }
    assert_eq!(firsts.len(), 2);

    let mut world = World::new(7);
    world.mx("example.org", &[(10, "slow.example.org"), (20, "quick.example.org")]);
    world.host("quick.example.org", &["192.0.2.2"]);
    world.slow.insert("slow.example.org".into());
    world.send(&mx("example.org"), &["bob@example.org"]);
    assert!(world.opened.is_empty());
    let (id, _) = world.asked.remove(0);
    world.relay.answered(id, &Answer::Later);
    world.turn();
    assert_eq!(world.one().address, address("192.0.2.2:25"));
}

#[test]
fn what_the_dns_says_decides_between_now_and_never() {
    type Case = (Answer, Option<Answer>, (char, &'static str, &'static str));
    let cases: &[Case] = &[
        (Answer::NoName, None, ('f', "Domain does not exist", "5.4.4")),
        (Answer::NullMx, None, ('f', "Domain does not accept mail", "5.1.10")),
        (Answer::Later, None, ('l', "Temporary failure in MX lookup", "4.4.3")),
        (Answer::NoData, Some(Answer::NoData), ('f', "No MX found for domain", "5.4.4")),
        (Answer::NoData, Some(Answer::Later), ('l', "Temporary failure in MX lookup", "4.4.3")),
        (
            Answer::Mx(vec![(0, "gone.example".into())]),
            None,
            ('l', "No MX found for destination", "4.4.4"),
        ),
        (
            Answer::Mx(vec![(5, "MAIL.example.net".into()), (5, "other.example".into())]),
            None,
            ('f', "Mail for this domain loops back to this server", "5.4.6"),
        ),
    ];
    for (mx_answer, addresses, (letter, words, status)) in cases {
        let mut world = World::new(7);
        world.zone.insert("MX example.org".into(), mx_answer.clone());
        if let Some(addresses) = addresses {
            world.zone.insert("example.org".into(), addresses.clone());
        }
        world.send(&mx("example.org"), &["bob@example.org"]);
        let (_, waited) = world.runs_out(&End::Quit);
        assert_eq!(waited, if *status == "4.4.3" { 10 } else { 0 }, "{words}");
        let attempt = world.outcome();
        assert_eq!(text(&attempt), (*letter, *words, (*status).to_owned()));
        assert!(world.opened.is_empty());
    }
    // A server that the administrator names is never the sender's mistake.
    let mut world = World::new(7);
    world.send(&servers(&["smarthost.example"]), &["bob@example.org"]);
    assert_eq!(text(&world.outcome()), ('l', "Host not found", "4.4.4".into()));
}

#[test]
fn a_backup_relays_to_better_hosts_only_and_literals_need_no_dns() {
    let mut world = World::new(7);
    let hosts = [
        (10, "first.example.org"),
        (20, "backup.example.net"),
        (20, "x.example.org"),
        (30, "y.example.org"),
    ];
    world.mx("example.org", &hosts);
    for (nth, (_, host)) in hosts.iter().enumerate() {
        world.host(host, &[&format!("192.0.2.{}", nth + 1)]);
    }
    let better_than = BetterThan::Primary("backup.example.net".into());
    let tls = HopTls::Opportunistic;
    let way = Way::Mx { domain: "example.org".into(), better_than, tls };
    world.send(&hop(way, "example.org", CAREFUL), &["bob@example.org"]);
    let connect = world.one();
    assert_eq!(connect.address, address("192.0.2.1:25"));
    world.refuses(&connect);
    assert!(world.opened.is_empty());

    for (domain, expected) in [
        ("[192.0.2.9]", "192.0.2.9:25"),
        ("[ipv6:2001:db8::9]", "[2001:db8::9]:25"),
        ("[2001:db8::7]", "[2001:db8::7]:25"),
    ] {
        world.send(&mx(domain), &["bob@example.org"]);
        assert_eq!(world.one().address, address(expected));
    }
    world.send(&mx("[x-tag:what]"), &["bob@example.org"]);
    assert_eq!(text(&world.outcome()), ('f', "Invalid domain name", "5.1.2".into()));
}

#[test]
fn names_are_asked_anew_while_a_connection_is_kept_busy() {
    let mut world = World::new(7);
    world.host("smart.example", &["192.0.2.1"]);
    let pace = Pace { most: only(Kind::Host, Some(1), None), ..PACE };
    let way = Way::Servers(vec![server("smart.example", HopTls::Never)]);
    let hop = hop(way, "smart.example", pace);
    world.send(&hop, &["a@example.org"]);
    let first = world.one();
    assert_eq!(world.ready(first.session), Next::Mail);
    // The resolver has no answer: the addresses of before will do.
    world.pass(31);
    world.slow.insert("smart.example".into());
    world.send(&hop, &["b@example.org"]);
    let (question, _) = world.asked.remove(0);
    world.relay.answered(question, &Answer::Later);
    world.turn();
    assert!(world.opened.is_empty() && world.outcomes.is_empty());
    world.pass(31);
    world.send(&hop, &["b@example.org"]);
    let (question, _) = world.asked.remove(0);
    assert!(world.opened.is_empty(), "one address takes one connection");
    world.relay.answered(question, &Answer::Addresses(vec!["192.0.2.2".parse().unwrap()]));
    world.turn();
    assert_eq!(world.one().address, address("192.0.2.2:2525"));
    assert!(world.asked.is_empty());
}

#[test]
fn what_the_dns_does_not_know_for_a_moment_is_asked_again_soon() {
    let mut world = World::new(7);
    world.slow.insert("MX example.org".into());
    world.host("mx.example.org", &["192.0.2.1"]);
    let hop = mx("example.org");
    world.send(&hop, &["a@example.org"]);
    // The time counts from the answer, which itself may have taken long.
    world.pass(6);
    let answer = |world: &mut World, answer: &Answer| {
        let (question, _) = world.asked.remove(0);
        world.relay.answered(question, answer);
        world.turn();
    };
    answer(&mut world, &Answer::Later);
    world.pass(4);
    world.send(&hop, &["b@example.org"]);
    assert!(world.outcomes.is_empty() && world.asked.is_empty());
    assert_eq!(world.relay.deadline(), Some(world.now.mono + Duration::from_secs(1)));
    world.pass(1);
    world.turn();
    assert_eq!(world.asked.len(), 1);
    answer(&mut world, &Answer::Mx(vec![(10, "mx.example.org".into())]));
    assert_eq!(world.opened.len(), 2);
    assert!(world.opened.iter().all(|one| one.address == address("192.0.2.1:25")));
    assert!(world.outcomes.is_empty());

    // One that comes when nobody waits any more is asked for as well.
    let mut world = World::new(7);
    world.zone.insert("MX example.org".into(), Answer::Later);
    world.send(&hop, &["a@example.org"]);
    world.runs_out(&End::Quit);
    world.outcome();
    world.mx("example.org", &[(10, "mx.example.org")]);
    world.host("mx.example.org", &["192.0.2.1"]);
    world.pass(5);
    world.send(&hop, &["b@example.org"]);
    assert_eq!(world.one().address, address("192.0.2.1:25"));
}
