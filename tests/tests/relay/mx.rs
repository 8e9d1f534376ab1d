//! Mail to the domains of a nameserver of the tests, whose mail hosts listen on port 25 of loopback
//! addresses: the way from an MX record to the server that it names.
//!
//! Other addresses of 127.0.0.0/8 than the first, and port 25, take Linux and root; without them
//! these tests say that they were skipped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use smtpd_tests::program::{Options, Server, TempDir, eventually, free_port};
use smtpd_tests::zone::{Nameserver, SERVFAIL, STRANGER, Way, Zone};

use crate::send;
use crate::server::{Told, good, server_at};

/// The nth mail host. Another run on this machine has others.
fn ip(nth: u8) -> Ipv4Addr {
    let id = std::process::id();
    Ipv4Addr::new(127, 100 + (id % 100) as u8, 1 + (id / 100 % 250) as u8, nth)
}

/// Has it listen.
fn mail_host(nth: u8) -> Option<Receiver<Told>> {
    match server_at(SocketAddr::from((ip(nth), 25)), good) {
        Ok(told) => Some(told),
        Err(error) => {
            eprintln!("SKIPPED: no mail host at {} port 25: {error}", ip(nth));
            None
        }
    }
}

fn zone() -> Zone {
    (1..=30).fold(Zone::default(), |zone, nth| {
        zone.address(&format!("mx{nth}.example"), &ip(nth).to_string())
    })
}

/// A server of ours that finds mail hosts by that nameserver.
fn relay(dir: &TempDir, names: &Nameserver) -> Server {
    let nobody = free_port();
    let text = format!(
        "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n\
         resolver 127.0.0.1 port {nobody}\nresolver {} port {}\n\
         listen on 127.0.0.1 port $port\n\
         action \"out\" relay helo relay.example\n\
         action \"second\" relay backup mx mx22.example helo relay.example\n\
         action \"in\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
         match from any for domain \"here.example\" action \"in\"\n\
         match from any for domain \"backup.example\" action \"second\"\n\
         match from any for any action \"out\"\n",
        names.address().ip(),
        names.address().port()
    );
    let config = dir.path().join("mx.conf");
    fs::write(&config, text).expect("a configuration");
    Server::start(Options { config: Some(config), ..Options::default() })
}

/// Waits for what comes of the mail to a domain, and gives the line of the log about it.
fn outcome(relay: &Server, domain: &str) -> String {
    let (mut line, recipient) = (None, format!("to=<bob@{domain}>"));
    eventually(&format!("a delivery {recipient}"), || {
        let log = relay.log();
        line = log.into_iter().find(|line| line.contains("delivery") && line.contains(&recipient));
        line.is_some()
    });
    line.expect("it has just been seen")
}

fn took_mail(told: &Receiver<Told>) -> bool {
    told.try_iter().any(|(_, line)| line == ".")
}

#[test]
fn the_best_host_that_answers_takes_the_mail() {
    let (Some(first), Some(third)) = (mail_host(1), mail_host(3)) else { return };
    // Nobody listens at mx2; mx4 is better, says a stranger.
    let zone = zone()
        .mx("best.example", 20, "mx3.example")
        .mx("best.example", 10, "mx1.example")
        .mx("next.example", 20, "mx3.example")
        .mx("next.example", 10, "mx2.example")
        .alias("other.example", "next.example")
        .address("host.example", &ip(1).to_string())
        .mx("poisoned.example", 10, "poisoned-host.example")
        .address("poisoned-host.example", &ip(3).to_string())
        .way("poisoned.example", Way::Poisoned)
        .way("poisoned-host.example", Way::Poisoned);
    let names = Nameserver::new(zone);
    let dir = TempDir::new();
    let relay = relay(&dir, &names);
    for (domain, host, took) in [
        ("best.example", "mx1.example", &first),
        ("next.example", "mx3.example", &third),
        // An alias of a domain is that domain, and a domain without MX records its own host.
        ("other.example", "mx3.example", &third),
        ("host.example", "host.example", &first),
        ("poisoned.example", "poisoned-host.example", &third),
    ] {
        send(&relay, "alice@here.example", &format!("bob@{domain}"), b"x\r\n");
        let line = outcome(&relay, domain);
        assert!(line.contains("result=\"Ok\"") && line.contains(&format!("({host})")), "{line}");
        assert!(took_mail(took), "{domain}");
        assert!(!took_mail(&first) && !took_mail(&third), "{domain}: one copy");
    }
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let log = relay.log().join("\n");
    assert!(log.contains(&format!("connecting address=smtp://{}:25", ip(2))), "{log}");
    assert!(!log.contains(&STRANGER.to_string()), "{log}");
}

#[test]
fn a_domain_without_a_mail_host_is_told_of_at_once_or_waited_for() {
    let zone = zone()
        .mx("null.example", 0, ".")
        .empty("nothing.example")
        .mx("broken.example", 10, "broken-host.example")
        .way("broken-host.example", Way::Code(SERVFAIL))
        .way("servfail.example", Way::Code(SERVFAIL));
    let names = Nameserver::new(zone);
    let dir = TempDir::new();
    let relay = relay(&dir, &names);
    let mut bounces = 0;
    for (domain, status, text) in [
        ("null.example", Some("5.1.10"), "Domain does not accept mail"),
        ("gone.example", Some("5.4.4"), "Domain does not exist"),
        ("nothing.example", Some("5.4.4"), "No MX found for domain"),
        ("servfail.example", None, "Temporary failure in MX lookup"),
        ("broken.example", None, "Temporary failure in MX lookup"),
    ] {
        send(&relay, "alice@here.example", &format!("bob@{domain}"), b"x\r\n");
        let line = outcome(&relay, domain);
        let result = if status.is_some() { "PermFail" } else { "TempFail" };
        assert!(line.contains(&format!("result=\"{result}\"")) && line.contains(text), "{line}");
        if let Some(status) = status {
            bounces += 1;
            let all = relay.wait_for_mail("alice", bounces);
            let about = |text: &String| text.contains(&format!("bob@{domain}"));
            let mut all = all.iter().map(|path| fs::read_to_string(path).expect("a bounce"));
            let bounce = all.find(about).expect("one about it");
            assert!(bounce.contains(&format!("Status: {status}")), "{bounce}");
        }
    }
}

#[test]
fn hosts_that_are_no_better_than_we_are_not_tried() {
    let (Some(worse), Some(better)) = (mail_host(23), mail_host(21)) else { return };
    let names = Nameserver::new(zone());
    let dir = TempDir::new();
    let relay = relay(&dir, &names);
    let mut client = relay.connect();
    let own = client.expect("HELO client.example", "250");
    let own = own.split(' ').nth(1).expect("our own name").to_owned();
    // Nobody listens at mx29.
    names.set(
        zone()
            .mx("ours.example", 10, "mx29.example")
            .mx("ours.example", 20, &own)
            .mx("ours.example", 20, "mx23.example")
            .mx("ours.example", 30, "mx23.example")
            .mx("loop.example", 10, &own)
            .mx("loop.example", 20, "mx23.example")
            .mx("backup.example", 10, "mx21.example")
            .mx("backup.example", 20, "mx22.example")
            .mx("backup.example", 30, "mx23.example"),
    );
    // That one waits for its only host to come back.
    send(&relay, "alice@here.example", "bob@ours.example", b"x\r\n");
    relay.wait_for_log(&format!("Disabling route [] <-> {} (mx29.example)", ip(29)));
    for (domain, result) in [("loop.example", "PermFail"), ("backup.example", "Ok")] {
        send(&relay, "alice@here.example", &format!("bob@{domain}"), b"x\r\n");
        let line = outcome(&relay, domain);
        assert!(line.contains(&format!("result=\"{result}\"")), "{line}");
    }
    assert!(took_mail(&better));
    assert_eq!(worse.try_iter().count(), 0, "nobody has called");
    let log = relay.log().join("\n");
    assert!(log.contains("Mail for this domain loops back to this server"), "{log}");
}

/// Five connections at a time lead to one address: those that wait for the next message of their
/// domain, ten seconds each, give way to the other domains.
#[test]
fn domains_of_one_mail_host_do_not_wait_for_each_others_idle_connections() {
    let Some(told) = mail_host(5) else { return };
    let domain = |nth| format!("d{nth}.example");
    let zone = (1..=20).fold(zone(), |zone, nth| zone.mx(&domain(nth), 10, "mx5.example"));
    let names = Nameserver::new(zone);
    let dir = TempDir::new();
    let relay = relay(&dir, &names);
    let mut client = relay.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<alice@here.example>", "250");
    for nth in 1..=20 {
        client.expect(&format!("RCPT TO:<bob@{}>", domain(nth)), "250");
    }
    client.expect("DATA", "354");
    let begun = Instant::now();
    client.expect("Subject: x\r\n\r\nx\r\n.", "250");
    relay.wait_for_empty_queue(Duration::from_secs(60));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let told: Vec<_> = told.try_iter().collect();
    let many = |what: &str| told.iter().filter(|(_, line)| line == what).count();
    assert_eq!((many("CONNECT"), many(".")), (20, 20), "{told:?}");
    // Two may end for the same message, but never one for none.
    assert!((15..=19).contains(&many("QUIT")), "{told:?}");
}
