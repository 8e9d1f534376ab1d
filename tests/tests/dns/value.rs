//! What is answered, and what it costs.

use std::collections::BTreeSet;

use smtpd_reactor::dns::Transport;
use smtpd_tests::zone::{SERVFAIL, STRANGER, Way, Zone};

use crate::world::{Server, World, addresses, client, mx, words};

/// What is answered, in few words.
pub fn say(world: &mut World, question: smtpd_reactor::dns::Question) -> String {
    words(&world.answer(question))
}

#[test]
fn mail_hosts_come_best_first_and_without_those_that_cannot_be() {
    let zone = Zone::default()
        .mx("example.org", 20, "b.example.org")
        .mx("example.org", 10, "MX.example.org")
        .mx("example.org", 20, "a.example.org")
        .mx("example.org", 1, "not a host.example.org")
        .mx("example.org", 0, "localhost")
        .mx("example.org", 0, ".");
    let mut world = World::zone(zone);
    let expected = "10 mx.example.org, 20 b.example.org, 20 a.example.org";
    assert_eq!(say(&mut world, mx("Example.ORG.")), expected);
    assert!(world.is_idle());
}

#[test]
fn a_domain_may_take_no_mail_or_take_it_itself_or_not_be() {
    let zone = Zone::default()
        .mx("null.example", 0, ".")
        .mx("odd.example", 10, "localhost")
        .mx("bad.example", 10, "a b")
        .address("host.example", "192.0.2.1")
        .empty("empty.example");
    let mut world = World::zone(zone);
    for (domain, expected) in [
        ("null.example", "takes no mail"),
        ("odd.example", "takes no mail"),
        ("bad.example", "not now: no mail host has a usable name"),
        ("host.example", "nothing"),
        ("[192.0.2.1]", "nothing"),
        ("localhost", "nothing"),
        ("gone.example", "no such domain"),
    ] {
        assert_eq!(say(&mut world, mx(domain)), expected, "{domain}");
    }
    assert_eq!(say(&mut world, addresses("empty.example")), "nothing");
    assert_eq!(say(&mut world, addresses("gone.example")), "no such domain");
}

#[test]
fn addresses_of_both_families_and_literals_that_need_no_asking() {
    let zone = Zone::default()
        .address("mx.example", "2001:db8::1")
        .address("mx.example", "192.0.2.1")
        .address("mx.example", "192.0.2.2")
        .address("four.example", "192.0.2.4");
    let mut world = World::zone(zone);
    assert_eq!(say(&mut world, addresses("mx.example")), "192.0.2.1, 192.0.2.2, 2001:db8::1");
    assert_eq!(say(&mut world, addresses("four.example")), "192.0.2.4");
    let sent = world.sent.len();
    assert_eq!(say(&mut world, addresses("[192.0.2.9]")), "192.0.2.9");
    assert_eq!(say(&mut world, addresses("[IPv6:2001:db8::9]")), "2001:db8::9");
    assert_eq!(say(&mut world, addresses("a.localhost")), "127.0.0.1, ::1");
    assert_eq!(world.sent.len(), sent);
}

#[test]
fn a_client_has_the_name_that_leads_back_to_it() {
    let zone = Zone::default()
        .pointer("192.0.2.1", "liar.example")
        .pointer("192.0.2.1", "client.example")
        .address("liar.example", "192.0.2.7")
        .address("client.example", "192.0.2.1")
        .pointer("2001:db8::1", "six.example")
        .address("six.example", "2001:db8::1")
        .pointer("192.0.2.2", "liar.example")
        .pointer("192.0.2.3", "broken.example")
        .way("broken.example", Way::Code(SERVFAIL))
        .pointer("192.0.2.4", "a\r\nb.example")
        .pointer("192.0.2.5", "192.0.2.5")
        .pointer("192.0.2.6", "localhost");
    let hosts = "192.0.2.8 hosts.example other.example\n";
    let mut world = World::with(vec![Server::Answers(zone)], "", hosts);
    for (ip, expected) in [
        ("192.0.2.1", "client.example Confirmed"),
        ("::ffff:192.0.2.1", "client.example Confirmed"),
        ("2001:db8::1", "six.example Confirmed"),
        ("192.0.2.2", "liar.example Refuted"),
        ("192.0.2.3", "broken.example Unknown"),
        ("192.0.2.4", "nothing"),
        ("192.0.2.5", "192.0.2.5 Refuted"),
        ("192.0.2.6", "localhost Refuted"),
        ("192.0.2.8", "hosts.example Confirmed"),
        ("192.0.2.9", "no such domain"),
    ] {
        assert_eq!(say(&mut world, client(ip)), expected, "{ip}");
    }
}

#[test]
fn the_file_of_hosts_goes_before_the_nameservers() {
    let zone = Zone::default().address("mx.example", "192.0.2.1");
    let hosts = "198.51.100.1 mx.example inner.example\n";
    let mut world = World::with(vec![Server::Answers(zone)], "", hosts);
    assert_eq!(say(&mut world, addresses("mx.example")), "198.51.100.1");
    assert_eq!(say(&mut world, mx("inner.example")), "nothing");
}

#[test]
fn aliases_are_followed_to_an_end_that_there_is() {
    let mut zone = Zone::default()
        .alias("www.example", "a.example")
        .alias("a.example", "b.example")
        .address("b.example", "192.0.2.1")
        .mx("b.example", 5, "mx.example")
        .alias("dangling.example", "gone.example")
        .alias("round.example", "about.example")
        .alias("about.example", "round.example")
        .alias("half.example", "www.example")
        .way("half.example", Way::Incomplete);
    for nth in 0..20 {
        let (from, to) = (format!("long{nth}.example"), format!("long{}.example", nth + 1));
        zone = zone.alias(&from, &to).way(&from, Way::Incomplete);
    }
    zone = zone.address("long20.example", "192.0.2.1");
    let mut world = World::zone(zone);
    assert_eq!(say(&mut world, addresses("www.example")), "192.0.2.1");
    assert_eq!(say(&mut world, mx("www.example")), "5 mx.example");
    assert_eq!(say(&mut world, addresses("half.example")), "192.0.2.1");
    assert_eq!(say(&mut world, addresses("dangling.example")), "no such domain");
    let endless = "not now: chain of aliases is too long";
    assert_eq!(say(&mut world, mx("round.example")), endless);
    assert_eq!(say(&mut world, addresses("long0.example")), endless);
    assert_eq!(say(&mut world, addresses("long12.example")), "192.0.2.1");
}

#[test]
fn nothing_is_believed_that_was_not_asked() {
    let zone = Zone::default()
        .address("mx.example", "192.0.2.1")
        .way("mx.example", Way::Poisoned)
        .mx("example.org", 10, "mx.example.org")
        .way("example.org", Way::Chatty)
        .address("mx.example.org", "192.0.2.2")
        .address("chatty.example", "192.0.2.3")
        .way("chatty.example", Way::Chatty);
    let mut world = World::zone(zone);
    assert_eq!(say(&mut world, addresses("mx.example")), "192.0.2.1");
    assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
    assert_eq!(say(&mut world, addresses("mx.example.org")), "192.0.2.2");
    assert_eq!(say(&mut world, addresses("chatty.example")), "192.0.2.3");
    for other in ["stranger.example", "elsewhere.example"] {
        assert_ne!(say(&mut world, addresses(other)), STRANGER.to_string());
    }
}

#[test]
fn what_is_too_long_for_a_datagram_comes_over_a_stream() {
    let mut zone = Zone::default().way("big.example", Way::Truncated);
    for nth in 0..60 {
        zone = zone.mx("big.example", nth, &format!("mail-host-with-a-long-name-{nth}.example"));
    }
    let mut world = World::zone(zone);
    let answer = say(&mut world, mx("big.example"));
    assert!(answer.starts_with("0 mail-host-with-a-long-name-0.example, 1 "), "{answer}");
    // The best ones are kept.
    assert_eq!(answer.split(", ").count(), 32);
    assert_eq!(world.sent, [(0, Transport::Udp), (0, Transport::Tcp)]);
    assert!(world.is_idle());
}

#[test]
fn one_nameserver_after_the_other_is_asked_until_one_is_of_help() {
    let good = Zone::default().mx("example.org", 10, "mx.example.org");
    let failing = |way| Server::Answers(Zone::default().way("example.org", way));
    for first in [
        failing(Way::Code(SERVFAIL)),
        failing(Way::Bare(1)),
        failing(Way::Code(5)),
        failing(Way::Referral),
        failing(Way::Cut),
        Server::Away,
        Server::Silent,
    ] {
        let mut world = World::new(vec![first.clone(), Server::Answers(good.clone())]);
        let before = world.now;
        assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
        assert_eq!(world.sent, [(0, Transport::Udp), (1, Transport::Udp)]);
        // Only silence costs time, and only once: the next question goes elsewhere.
        let waited = world.now.saturating_since(before).as_secs();
        assert_eq!(waited, if matches!(first, Server::Silent) { 2 } else { 0 });
        say(&mut world, mx("gone.example"));
        let goes_to = world.sent[2].0;
        assert_eq!(goes_to == 1, matches!(first, Server::Silent | Server::Away));
        assert_eq!(world.resolver.silence(), None);
    }
}

#[test]
fn when_no_nameserver_helps_the_answer_is_not_now() {
    let refusing = Server::Answers(Zone::default().way("example.org", Way::Code(5)));
    let mut world = World::new(vec![refusing.clone(), refusing]);
    assert_eq!(say(&mut world, mx("example.org")), "not now: nameserver says REFUSED");
    assert_eq!(world.sent.len(), 2, "a refusal is not asked for again");
    let mut world = World::with(vec![Server::Silent; 2], "options timeout:1 attempts:3\n", "");
    let before = world.now;
    assert_eq!(say(&mut world, mx("example.org")), "not now: no nameserver answers");
    let order: Vec<_> = world.sent.iter().map(|(server, _)| *server).collect();
    assert_eq!(order, [0, 1, 0, 1, 0, 1]);
    assert_eq!(world.now.saturating_since(before).as_secs(), 6);
    assert!(world.resolver.silence().is_some());
    assert!(world.is_idle());
    // For a moment that is known, and nobody is asked.
    assert_eq!(say(&mut world, mx("example.org")), "not now: no nameserver answers");
    assert_eq!(world.sent.len(), 6);
    world.servers[1] = Server::Answers(Zone::default().mx("example.org", 10, "mx.example.org"));
    world.pass(5);
    assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
    assert_eq!(world.resolver.silence(), None);
}

#[test]
fn a_late_answer_to_the_attempt_before_counts() {
    let mut world = World::new(vec![Server::Silent]);
    let asked = world.resolver.ask(mx("example.org"), world.now);
    world.settle();
    let first = world.open()[0];
    let id = world.ids[0];
    world.now = world.resolver.deadline().unwrap();
    world.resolver.timeout(world.now);
    world.settle();
    assert_eq!(world.open().len(), 2);
    let zone = Zone::default().mx("example.org", 10, "mx.example.org");
    let mut question = id.to_be_bytes().to_vec();
    question.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x0f\0\x01");
    world.resolver.received(first, &zone.replies(&question, true)[0], world.now);
    assert_eq!(words(&world.wait_for(asked)), "10 mx.example.org");
    world.settle();
    assert!(world.is_idle());
}

#[test]
fn a_family_that_nobody_answers_for_delays_the_other_by_a_second() {
    // The question for AAAA is sent, and never answered.
    let zone = Zone::default().address("mx.example", "192.0.2.1");
    let mut world = World::zone(zone.clone());
    let asked = world.resolver.ask(addresses("mx.example"), world.now);
    let mut wishes: Vec<_> = std::iter::from_fn(|| world.resolver.next_wish()).collect();
    assert_eq!(wishes.len(), 2);
    let smtpd_reactor::dns::Wish::Send { on, message, .. } = wishes.remove(0) else { panic!() };
    world.resolver.received(on, &zone.replies(&message, true)[0], world.now);
    assert_eq!(world.resolver.next_answer(), None);
    let before = world.now;
    let deadline = world.resolver.deadline().unwrap();
    assert_eq!(deadline.saturating_since(before).as_secs(), 1);
    world.resolver.timeout(deadline);
    let (query, answer) = world.resolver.next_answer().unwrap();
    assert_eq!((query, words(&answer).as_str()), (asked, "192.0.2.1"));
}

#[test]
fn all_who_ask_the_same_share_one_question() {
    let zone = Zone::default().mx("example.org", 10, "mx.example.org");
    let mut world = World::zone(zone);
    let asked: BTreeSet<_> =
        (0..100).map(|_| world.resolver.ask(mx("example.org"), world.now)).collect();
    world.settle();
    let answers: BTreeSet<_> =
        std::iter::from_fn(|| world.resolver.next_answer()).map(|(query, _)| query).collect();
    assert_eq!(answers, asked);
    assert_eq!(world.sent.len(), 1);
}

#[test]
fn answers_last_as_long_as_they_say() {
    let mut zone = Zone::default().mx("example.org", 10, "mx.example.org");
    zone.ttl = 100;
    let mut world = World::zone(zone.clone());
    for (pass, sent) in [(0, 1), (99, 1), (1, 2)] {
        world.pass(pass);
        assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
        assert_eq!(world.sent.len(), sent);
    }
    // What is not lasts as long as the SOA says, and without one for those who ask now.
    for (pass, sent) in [(0, 3), (59, 3), (1, 4)] {
        world.pass(pass);
        assert_eq!(say(&mut world, mx("gone.example")), "no such domain");
        assert_eq!(world.sent.len(), sent);
    }
    zone.negative = None;
    zone.ttl = 0;
    let mut world = World::zone(zone);
    for sent in [2, 4] {
        assert_eq!(say(&mut world, mx("gone.example")), "no such domain");
        assert_eq!(say(&mut world, mx("example.org")), "10 mx.example.org");
        assert_eq!(world.sent.len(), sent);
    }
}

#[test]
fn mail_goes_on_for_a_day_while_the_dns_is_down() {
    let mut zone = Zone::default()
        .mx("example.org", 10, "mx.example.org")
        .address("mx.example.org", "192.0.2.1")
        .pointer("192.0.2.1", "mx.example.org");
    zone.ttl = 100;
    let mut world = World::zone(zone);
    let ask = |world: &mut World| {
        [mx("example.org"), addresses("mx.example.org"), client("192.0.2.1")]
            .map(|question| say(world, question))
    };
    ask(&mut world);
    world.servers = vec![Server::Silent];
    world.pass(24 * 3600 - 60);
    let [hosts, host, name] = ask(&mut world);
    assert_eq!((&*hosts, &*host), ("10 mx.example.org", "192.0.2.1"));
    // What a stranger is called is not worth believing for so long.
    assert_eq!(name, "not now: no nameserver answers");
    // Nobody waits for nameservers again and again.
    let sent = world.sent.len();
    say(&mut world, mx("example.org"));
    assert_eq!(world.sent.len(), sent);
    world.pass(300);
    assert_eq!(ask(&mut world)[0], "not now: no nameserver answers");
}

#[test]
fn a_flood_of_questions_opens_few_sockets_and_each_is_answered() {
    let mut world = World::new(vec![Server::Silent]);
    let domain = |nth: usize| format!("{nth}.example");
    for nth in 0..30_000 {
        world.resolver.ask(mx(&domain(nth)), world.now);
    }
    let mut answers = 0;
    while let Some(deadline) = world.resolver.deadline() {
        world.settle();
        world.now = deadline;
        world.resolver.timeout(deadline);
        while world.resolver.next_answer().is_some() {
            answers += 1;
        }
    }
    world.settle();
    assert_eq!(answers, 30_000);
    assert!(world.most_open <= 256, "{}", world.most_open);
    assert!(world.is_idle());
}
