//! Whatever comes over a socket: no panic, and nothing believed that was not asked.

use smtpd_reactor::dns::{Answer, Question, Wish};
use smtpd_tests::effort;
use smtpd_tests::rng::Rng;
use smtpd_tests::zone::{STRANGER, Way, Zone};

use crate::world::{World, addresses, client, mx, name};

fn questions() -> [Question; 5] {
    let long = name(&format!("{0}.{0}.{0}", "abcdefgh".repeat(7)));
    [
        mx("example.org"),
        addresses("mx.example.org"),
        client("192.0.2.1"),
        client("2001:db8::1"),
        Question::Addresses(long),
    ]
}

/// Octets where each question should have had its answer; the question ends all the same.
fn fate(rng: &mut Rng, question: Question, reply: impl Fn(&mut Rng, &[u8]) -> Vec<u8>) -> Answer {
    let mut world = World::zone(Zone::default());
    let asked = world.resolver.ask(question, world.now);
    for _ in 0..1000 {
        while let Some(wish) = world.resolver.next_wish() {
            if let Wish::Send { on, message, .. } = wish {
                let octets = reply(rng, &message);
                world.resolver.received(on, &octets, world.now);
            }
        }
        if let Some((query, answer)) = world.resolver.next_answer() {
            assert_eq!(query, asked);
            return answer;
        }
        world.now = world.resolver.deadline().expect("no answer, and nothing to wait for");
        world.resolver.timeout(world.now);
    }
    panic!("a question without an end");
}

#[test]
fn any_octets() {
    let mut rng = Rng::new(0xd15);
    for _ in 0..400 * effort() {
        for question in questions() {
            let kind = rng.below(3);
            fate(&mut rng, question, |rng, message| {
                let length = rng.below(600);
                let mut octets = rng.octets(length);
                // Some get past the header, some past the question.
                let keep = [0, 12, message.len()][kind].min(octets.len());
                octets[..keep].copy_from_slice(&message[..keep]);
                if keep >= 12 {
                    octets[2] |= 0x80;
                    octets[7] = rng.below(4) as u8;
                }
                octets
            });
        }
    }
}

#[test]
fn answers_that_were_changed_on_their_way() {
    let zone = Zone::default()
        .mx("example.org", 10, "mx.example.org")
        .mx("example.org", 20, "alias.example.org")
        .alias("alias.example.org", "mx.example.org")
        .address("mx.example.org", "192.0.2.1")
        .address("mx.example.org", "2001:db8::1")
        .pointer("192.0.2.1", "alias.example.org");
    let mut rng = Rng::new(0xd16);
    for _ in 0..400 * effort() {
        for question in questions() {
            fate(&mut rng, question, |rng, message| {
                let mut octets = zone.replies(message, true).concat();
                for _ in 0..rng.below(4) {
                    let place = rng.below(octets.len());
                    octets[place] = rng.octets(1)[0];
                }
                if rng.one_in(4) {
                    octets.truncate(rng.below(octets.len()));
                }
                octets
            });
        }
    }
}

/// Strangers send from the right address to the right port, and only have to guess: of the
/// 65,536 numbers they try all but the right one, and more than one question.
#[test]
fn strangers_who_do_not_know_the_number() {
    let zone = Zone::default()
        .address("mx.example", &STRANGER.to_string())
        .address("other.example", &STRANGER.to_string());
    let mut world = World::zone(Zone::default().way("mx.example", Way::Silent));
    world.resolver.ask(addresses("mx.example"), world.now);
    let wishes: Vec<_> = std::iter::from_fn(|| world.resolver.next_wish()).collect();
    for wish in wishes {
        let Wish::Send { on, mut message, .. } = wish else { panic!("{wish:?}") };
        let right = [message[0], message[1]];
        for guess in 0..=u16::MAX {
            message[..2].copy_from_slice(&guess.to_be_bytes());
            if message[..2] != right {
                let lie = &zone.replies(&message, true)[0];
                world.resolver.received(on, lie, world.now);
            }
        }
        // The right number, and another question.
        let mut other = right.to_vec();
        other.extend_from_slice(b"\x01\0\0\x01\0\0\0\0\0\0\x05other\x07example\0\0\x01\0\x01");
        world.resolver.received(on, &zone.replies(&other, true)[0], world.now);
    }
    assert_eq!(world.resolver.next_answer(), None);
}

#[test]
fn numbers_are_those_that_were_drawn() {
    let mut world = World::zone(Zone::default());
    for nth in 0..64 {
        world.answer(mx(&format!("{nth}.example")));
    }
    let mut rng = Rng::new(1);
    let drawn: Vec<_> = (0..64).map(|_| rng.next_u64() as u16).collect();
    assert_eq!(world.ids, drawn);
}
