//! Anything in any order, from a seed.

use super::*;

/// Servers and names that do anything in any order: every envelope is told of once, nothing waits
/// for ever, and no bound is passed.
#[test]
fn whatever_happens_every_envelope_has_one_outcome() {
    let long = std::env::var("HERMES_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 1..=200 * long {
        random_world(seed);
    }
}

fn random_world(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| crate::daemon::relay::next_random(&mut state) % below;
    let mut world = World::new(seed);
    world.mx("example.org", &[(10, "a.example"), (10, "b.example"), (20, "c.example")]);
    world.host("a.example", &["192.0.2.1", "2001:db8::1"]);
    world.host("b.example", &["192.0.2.2"]);
    world.zone.insert("c.example".into(), Answer::Later);
    world.host("smart.example", &["192.0.2.3", "192.0.2.4"]);
    let most = only(Kind::Host, Some(2), None);
    let shared = |place| bounded(place, &["192.0.2.6"], "192.0.2.101", most);
    let hops = [
        mx("example.org"),
        servers(&["smart.example", "192.0.2.5"]),
        mx("nowhere.example"),
        shared("one"),
        shared("other"),
    ];
    let mut sent: HashSet<EnvelopeId> = HashSet::new();
    // What each open session waits for: whether it has been ready, and until when it is idle.
    let mut open: Vec<(SessionId, bool)> = Vec::new();
    for round in 0..400 {
        match random(6) {
            0 if round < 250 => {
                let hop = &hops[random(5) as usize];
                let to = ["a@example.org", "b@example.org", "\u{e4}@example.org"];
                sent.extend(world.send(hop, &to[..1 + random(3) as usize]));
            }
            1 => world.pass(random(20)),
            2 if random(4) == 0 => world.relay.preconnect(&hops[random(5) as usize], world.now),
            _ if !open.is_empty() => {
                let place = random(open.len() as u64) as usize;
                let (session, is_busy) = open[place];
                if !is_busy && random(4) > 0 {
                    let next = world.ready(session);
                    open[place].1 = next == Next::Mail;
                    if next == Next::Quit {
                        world.closed(session, &End::Quit);
                        open.swap_remove(place);
                    }
                } else if is_busy && random(4) > 0 {
                    let many = world.relay.current(session).unwrap().recipients.len() as u64;
                    let one = Whom::One(random(many) as usize);
                    match random(4) {
                        0 => world.told(session, one, trouble((5, 1, 1), "550 no", Again::No)),
                        1 => {
                            world.told(
                                session,
                                Whom::Rest,
                                trouble((4, 0, 0), "450 no", Again::No),
                            );
                            open[place].1 = false;
                        }
                        _ => {
                            world.takes(session);
                            open[place].1 = false;
                        }
                    }
                } else {
                    if is_busy {
                        let again = [Again::No, Again::Elsewhere, Again::Stale][random(3) as usize];
                        world.told(session, Whom::Rest, trouble((4, 4, 2), "lost", again));
                    }
                    let ends = [
                        End::Failed,
                        End::Unreachable("refused".into()),
                        End::Tls("bad".into()),
                        End::Local("no certificate".into()),
                        End::NoRoom("no files".into()),
                    ];
                    world.closed(session, &ends[random(5) as usize]);
                    open.swap_remove(place);
                }
            }
            _ => {}
        }
        world.turn();
        open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
        assert!(open.len() <= 25);
    }
    // From here on all servers are good.
    for _ in 0..2000 {
        let Some((session, is_busy)) = open.pop() else {
            if world.relay.deadline().is_none() {
                break;
            }
            world.pass(5);
            world.turn();
            open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
            continue;
        };
        match is_busy {
            true => {
                world.takes(session);
                open.insert(0, (session, false));
            }
            false => match world.ready(session) {
                Next::Mail => open.push((session, true)),
                Next::Wait(_) => {
                    world.pass(1);
                    open.insert(0, (session, false));
                }
                Next::Quit => world.closed(session, &End::Quit),
            },
        }
        open.extend(world.opened.drain(..).map(|connect| (connect.session, false)));
    }
    let told: Vec<_> = world.outcomes.iter().map(|(_, id, _)| *id).collect();
    let once: HashSet<_> = told.iter().copied().collect();
    assert_eq!(told.len(), once.len(), "seed {seed}: told of twice");
    let lost: Vec<_> = sent.difference(&once).collect();
    assert!(lost.is_empty(), "seed {seed}: {lost:?}: {:?}", world.relay);
    assert!(world.relay.sessions.is_empty());
    assert_eq!(world.relay.tallies.connections, 0);
    assert!(!world.relay.tallies.has_idle(None));
}
