//! With TLS: who is trusted, what is resumed, and that nothing said before it counts.

use crate::authority::Authority;
use crate::caller::{Job, Relay, Told, secured};
use crate::hop::{Hop, Peer};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS12;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, ConfigBuilder, ServerConfig, ServerConnection,
    SupportedProtocolVersion, WantsVerifier,
};
use smtpd_engine::client::{Tls, Whom};
use smtpd_reactor::calls::Target;
use smtpd_reactor::tls::{Identity, Policy, Terms};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server with a certificate.
fn server(authority: &Authority, name: &str, year: i32) -> Arc<ServerConfig> {
    let (chain, key) = authority.certify(name, year);
    let config = server_of(ALL_VERSIONS).with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

fn policy(authority: &Authority) -> Policy {
    Policy::trusting(authority.roots(), &Terms::default()).unwrap()
}

fn server_of(
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
}

/// From the banner to a mail under TLS.
fn start_tls(peer: &mut Peer, config: &Arc<ServerConfig>) -> io::Result<()> {
    peer.serve("250-STARTTLS\r\n250-PIPELINING\r\n")?;
    peer.say("220 go on\r\n")?;
    peer.shake_hands(config)?;
    peer.talk("250-PIPELINING\r\n")
}

fn hop(connections: usize, config: &Arc<ServerConfig>) -> Hop {
    let config = Arc::clone(config);
    Hop::serving(connections, move |peer| start_tls(peer, &config))
}

/// The story of one mail, with what was known of TLS when it began.
fn story(relay: &Relay) -> (Option<String>, Vec<Told>) {
    match relay.next() {
        Told::Ready(_, tls) => (tls, relay.story()),
        told => {
            let mut story = vec![told];
            if !matches!(story[0], Told::Closed(_)) {
                story.extend(relay.story());
            }
            (None, story)
        }
    }
}

fn taken() -> Vec<Told> {
    vec![Told::Delivered("250 2.0.0 taken".into()), Told::Closed("quit".into())]
}

#[test]
fn a_certificate_under_a_root_for_the_name_is_trusted() {
    let authority = Authority::new();
    let hop = hop(1, &server(&authority, "hop.example", 2100));
    let relay = Relay::start();
    let policy = policy(&authority);
    relay.call(secured(hop.address, &policy, "hop.example.", Tls::Required), Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));
    assert_eq!(hop.heard(), ["x\r\n.\r\n"]);
    relay.stop();
}

/// Whoever does not verify takes them all; whoever does, none of them.
#[test]
fn a_wrong_certificate_is_refused_or_not_looked_at() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (config, words) in [
        (server(&authority, "other.example", 2100), "not valid for name"),
        (server(&authority, "hop.example", 2020), "expired"),
        (server(&stranger, "hop.example", 2100), "BadSignature"),
    ] {
        let hop = hop(2, &config);
        let relay = Relay::start();
        let trusting = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
        relay.call(trusting, Job::new(&["x\r\n"]));
        let (None, story_of_refusal) = story(&relay) else { panic!("{words}") };
        let [Told::Closed(why)] = &story_of_refusal[..] else { panic!("{story_of_refusal:?}") };
        assert!(why.starts_with("tls: ") && why.contains(words), "{words}: {why}");

        let anyone = Policy::anyone(&Terms::default()).unwrap();
        let target = secured(hop.address, &anyone, "hop.example", Tls::Opportunistic);
        relay.call(target, Job::new(&["x\r\n"]));
        assert_eq!(story(&relay), (Some("TLSv1.3 false".into()), taken()));
        hop.heard();
        relay.stop();
    }
}

#[test]
fn the_older_version_is_spoken_too() {
    let authority = Authority::new();
    let (chain, key) = authority.certify("hop.example", 2100);
    let config = server_of(&[&TLS12]).with_no_client_auth().with_single_cert(chain, key).unwrap();
    let hop = hop(1, &Arc::new(config));
    let relay = Relay::start();
    let target = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (Some("TLSv1.2 true".into()), taken()));
    hop.heard();
    relay.stop();
}

/// The next hop would take others as well.
#[test]
fn only_what_the_terms_allow_is_agreed_on() {
    let authority = Authority::new();
    let relay = Relay::start();
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let (old, new) = (Terms { tls13: false, ..Terms::default() }, Terms::default());
    let small = Terms { suites: vec!["TLS_AES_128_GCM_SHA256"], tls12: false, ..new };
    for (terms, agreed) in [
        (old.clone(), ["TLSv1.2 true", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]),
        (Terms { suites: vec![chacha], ..old }, ["TLSv1.2 true", chacha]),
        (small, ["TLSv1.3 true", "TLS13_AES_128_GCM_SHA256"]),
    ] {
        let config = server(&authority, "hop.example", 2100);
        let hop = Hop::once(move |peer| {
            peer.serve("250-STARTTLS\r\n")?;
            peer.say("220 go on\r\n")?;
            let (_, suite) = peer.shake_hands(&config)?;
            peer.tell(format!("{suite:?}"));
            peer.talk("")
        });
        let policy = Policy::trusting(authority.roots(), &terms).unwrap();
        let target = secured(hop.address, &policy, "hop.example", Tls::Required);
        relay.call(target, Job::new(&["x\r\n"]));
        assert_eq!(story(&relay), (Some(agreed[0].into()), taken()));
        assert_eq!(hop.heard(), [agreed[1], "x\r\n.\r\n"]);
    }
    relay.stop();
    let nothing = Terms { suites: vec![chacha], tls12: false, ..Terms::default() };
    assert!(Policy::anyone(&nothing).is_err());
}

/// Where a next hop asks who we are.
#[test]
fn a_certificate_of_our_own_is_shown() {
    let authority = Authority::new();
    let (chain, key) = authority.certify("hop.example", 2100);
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(authority.roots(), provider).build().unwrap();
    let config = server_of(ALL_VERSIONS)
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let hop = hop(2, &Arc::new(config));
    let relay = Relay::start();
    let (chain, key) = authority.certify("relay.example", 2100);
    let identity = Some(Identity::new(chain, key).unwrap());
    let terms = Terms { identity, ..Terms::default() };
    let known = Policy::trusting(authority.roots(), &terms).unwrap();
    relay.call(secured(hop.address, &known, "hop.example", Tls::Required), Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));

    let unknown = policy(&authority);
    let target = secured(hop.address, &unknown, "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    let (None, story) = story(&relay) else { panic!() };
    // By TLS 1.3 the handshake is over for us when the next hop refuses.
    assert!(!story.iter().any(|told| matches!(told, Told::Delivered(_))), "{story:?}");
    assert_eq!(hop.heard(), ["x\r\n.\r\n"]);
    relay.stop();
}

#[test]
fn tls_may_come_first() {
    let authority = Authority::new();
    let config = server(&authority, "127.0.0.1", 2100);
    let hop = Hop::once(move |peer| {
        peer.shake_hands(&config)?;
        peer.serve("")
    });
    let relay = Relay::start();
    let policy = policy(&authority);
    let target = secured(hop.address, &policy, "127.0.0.1", Tls::Required);
    relay.call(Target { immediate: true, ..target }, Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));
    assert_eq!(hop.heard(), ["x\r\n.\r\n"]);
    relay.stop();
}

/// Through records of every size, in both directions of a full socket.
#[test]
fn long_content_arrives_whole() {
    let content = "0123456789abcdef\r\n".repeat(100_000);
    let authority = Authority::new();
    let hop = hop(1, &server(&authority, "hop.example", 2100));
    let relay = Relay::start();
    let target = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
    relay.call(target, Job::new(&[&content]));
    assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));
    assert!(hop.heard() == [content + ".\r\n"]);
    relay.stop();
}

#[test]
fn a_second_session_is_resumed() {
    let authority = Authority::new();
    let config = server(&authority, "hop.example", 2100);
    let hop = Hop::serving(2, move |peer| {
        peer.serve("250-STARTTLS\r\n")?;
        peer.say("220 go on\r\n")?;
        let (kind, _) = peer.shake_hands(&config)?;
        peer.tell(format!("{kind:?}"));
        peer.talk("")
    });
    let relay = Relay::start();
    let policy = policy(&authority);
    for _ in 0..2 {
        let target = secured(hop.address, &policy, "hop.example", Tls::Required);
        relay.call(target, Job::new(&["x\r\n"]));
        assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));
    }
    assert_eq!(hop.heard(), ["Full", "x\r\n.\r\n", "Resumed", "x\r\n.\r\n"]);
    relay.stop();
}

/// RFC 3207 section 4.2: a reply that somebody put behind the 220 would be taken for one that
/// came under TLS.
#[test]
fn what_comes_behind_the_reply_to_starttls_does_not_count() {
    let authority = Authority::new();
    let config = server(&authority, "hop.example", 2100);
    let hop = Hop::once(move |peer| {
        peer.serve("250-STARTTLS\r\n")?;
        peer.say("220 go on\r\n250-forged.example\r\n250 AUTH PLAIN\r\n")?;
        peer.shake_hands(&config)?;
        let line = peer.line()?;
        peer.tell(line);
        peer.say("250 hop.example\r\n")?;
        peer.talk("")
    });
    let relay = Relay::start();
    let target = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (Some("TLSv1.3 true".into()), taken()));
    assert_eq!(hop.heard(), ["EHLO relay.example", "x\r\n.\r\n"]);
    relay.stop();
}

/// Somebody in the middle who answers EHLO and STARTTLS before they were sent would have them sent
/// under TLS, and each reply there taken for that to another command.
#[test]
fn no_command_from_before_the_handshake_is_sent_under_tls() {
    let authority = Authority::new();
    let config = server(&authority, "hop.example", 2100);
    let hop = Hop::once(move |peer| {
        peer.say("220 a\r\n250-a\r\n250 STARTTLS\r\n220 go on\r\n")?;
        peer.shake_hands(&config)?;
        let line = peer.line()?;
        peer.tell(line);
        Ok(())
    });
    let relay = Relay::start();
    let target = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    let (_, story) = story(&relay);
    let [Told::Closed(why)] = &story[..] else { panic!("{story:?}") };
    assert!(why.contains("before it was sent"), "{why}");
    assert!(hop.heard().is_empty());
    relay.stop();
}

#[test]
fn a_handshake_that_fails_is_told_as_that() {
    let relay = Relay::start();
    for (said, words) in [("", "Connection closed unexpectedly"), ("what?\r\n", "")] {
        let hop = Hop::once(move |peer| {
            peer.serve("250-STARTTLS\r\n")?;
            peer.say("220 go on\r\n")?;
            peer.wait_for_hello()?;
            peer.say(said)
        });
        let policy = Policy::anyone(&Terms::default()).unwrap();
        let target = secured(hop.address, &policy, "hop.example", Tls::Opportunistic);
        relay.call(target, Job::new(&["x\r\n"]));
        let (_, story) = story(&relay);
        let [Told::Closed(why)] = &story[..] else { panic!("{story:?}") };
        assert!(why.starts_with("tls: ") && why.contains(words), "{why}");
        hop.heard();
    }
    relay.stop();
}

#[test]
fn without_starttls_opportunity_is_clear_and_a_demand_fails() {
    let hop = Hop::serving(2, |peer| peer.serve(""));
    let relay = Relay::start();
    let policy = Policy::anyone(&Terms::default()).unwrap();
    let target = secured(hop.address, &policy, "hop.example", Tls::Opportunistic);
    relay.call(target, Job::new(&["x\r\n"]));
    assert_eq!(story(&relay), (None, taken()));
    let target = secured(hop.address, &policy, "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    let (_, story) = story(&relay);
    assert!(matches!(story[..], [Told::Failed(Whom::Rest, _), Told::Closed(_)]), "{story:?}");
    assert_eq!(hop.heard(), ["x\r\n.\r\n"]);
    relay.stop();
}

/// A next hop that goes without a word of TLS says the same as one that hangs up in the clear.
#[test]
fn a_cut_under_tls_is_a_hang_up() {
    let authority = Authority::new();
    let config = server(&authority, "hop.example", 2100);
    let hop = Hop::once(move |peer| {
        peer.serve("250-STARTTLS\r\n")?;
        peer.say("220 go on\r\n")?;
        peer.shake_hands(&config)?;
        peer.line()?;
        peer.say("250 hop.example\r\n")
    });
    let relay = Relay::start();
    let target = secured(hop.address, &policy(&authority), "hop.example", Tls::Required);
    relay.call(target, Job::new(&["x\r\n"]));
    let (_, story) = story(&relay);
    let [Told::Failed(Whom::Rest, words), Told::Closed(_)] = &story[..] else {
        panic!("{story:?}")
    };
    assert_eq!(words, "Connection closed unexpectedly");
    hop.heard();
    relay.stop();
}

/// Why a handshake may run on the reactor: the longest that a client works in one piece, with
/// all signatures verified. In a release build, on a machine with nothing else to do.
#[test]
#[ignore = "a measurement"]
fn handshake() {
    let authority = Authority::new();
    let server = server(&authority, "hop.example", 2100);
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    // Each handshake in full.
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let mut longest: Vec<_> = (0..500)
        .map(|_| {
            let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
            let begin = Instant::now();
            let name = ServerName::try_from("hop.example").unwrap();
            let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut longest = begin.elapsed();
            while client.is_handshaking() || server.is_handshaking() {
                let mut octets = Vec::new();
                client.write_tls(&mut octets).unwrap();
                server.read_tls(&mut &octets[..]).unwrap();
                server.process_new_packets().unwrap();
                octets.clear();
                server.write_tls(&mut octets).unwrap();
                let begin = Instant::now();
                client.read_tls(&mut &octets[..]).unwrap();
                client.process_new_packets().unwrap();
                longest = longest.max(begin.elapsed());
            }
            longest
        })
        .collect();
    longest.sort();
    println!("median {:?}, worst {:?}", longest[250], longest[499]);
    assert!(longest[250] < Duration::from_millis(1));
}
