//! What clients are called: the real program, a nameserver of the tests, and clients with addresses
//! of their own on loopback.
//!
//! Other addresses of 127.0.0.0/8 than the first take Linux; without them these tests say that they
//! were skipped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use smtpd_tests::program::{Client, Options, Server, TempDir};
use smtpd_tests::zone::{Nameserver, Way, Zone, reverse};

/// The nth client. /etc/hosts knows none of them.
fn ip(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, 1, nth)
}

fn text(nth: u8) -> String {
    ip(nth).to_string()
}

fn start(dir: &TempDir, names: &Nameserver, rules: &str) -> Server {
    let text = format!(
        "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n\
         resolver {} port {}\n\
         listen on 127.0.0.1 port $port\n\
         action \"in\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
         {rules}match from any for any action \"in\"\n",
        names.address().ip(),
        names.address().port()
    );
    let config = dir.path().join("names.conf");
    fs::write(&config, text).expect("a configuration");
    Server::start(Options { config: Some(config), ..Options::default() })
}

/// The nth client's session, its banner read.
fn client(server: &Server, nth: u8) -> Option<Client> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    if let Err(error) = bind(&socket, &SocketAddr::from((ip(nth), 0))) {
        eprintln!("SKIPPED: no client at {}: {error}", ip(nth));
        return None;
    }
    connect(&socket, &server.address).expect("the server accepts");
    let mut client = Client::new(TcpStream::from(socket));
    assert!(client.reply().starts_with("220 "));
    Some(client)
}

fn never(zone: Zone, nth: u8) -> Zone {
    zone.way(&reverse(ip(nth).into()), Way::Silent)
}

/// Has the client send a message, in one write from MAIL to DATA, and gives what was delivered.
fn delivered(server: &Server, client: &mut Client, user: &str) -> String {
    client.expect("EHLO client.example", "250");
    let flight = format!("MAIL FROM:<a@x.example>\r\nRCPT TO:<{user}@x.example>\r\nDATA\r\n");
    client.send(flight.as_bytes()).expect("it is taken");
    for code in ["250", "250", "354"] {
        let reply = client.reply();
        assert!(reply.starts_with(code), "{reply}");
    }
    client.expect("Subject: x\r\n\r\nx\r\n.", "250");
    fs::read_to_string(&server.wait_for_mail(user, 1)[0]).expect("the message")
}

#[test]
fn names_stand_in_the_log_and_in_messages() {
    let zone = never(Zone::default(), 4)
        .pointer(&text(1), "Good.Example")
        .address("good.example", &text(1))
        .pointer(&text(2), "claimed.example")
        .address("claimed.example", "192.0.2.1");
    let names = Nameserver::new(zone);
    let dir = TempDir::new();
    let server = start(&dir, &names, "");
    // Nobody will say what that one is called.
    let begun = Instant::now();
    let Some(mut slow) = client(&server, 4) else { return };
    slow.expect("EHLO client.example", "250");
    slow.expect("MAIL FROM:<a@x.example>", "250");
    slow.expect("RCPT TO:<slow@x.example>", "250");
    slow.send(b"DATA\r\n").expect("it is taken");
    for (nth, host, written) in [
        (1, "good.example", "good.example"),
        // What an address's owner only claims goes into the log, and not into messages.
        (2, "claimed.example", "<unknown>"),
        (3, "<unknown>", "<unknown>"),
    ] {
        let Some(mut client) = client(&server, nth) else { return };
        let message = delivered(&server, &mut client, &format!("user{nth}"));
        let from = format!("\nReceived: from client.example ({written} [{}])\n", ip(nth));
        assert!(message.contains(&from), "{message}");
        server.wait_for_log(&format!("smtp connected address={} host={host}", ip(nth)));
    }
    let reply = slow.reply();
    assert!(reply.starts_with("354"), "{reply}");
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(4), "{waited:?}");
    slow.expect("Subject: x\r\n\r\nx\r\n.", "250");
    let message = fs::read_to_string(&server.wait_for_mail("slow", 1)[0]).expect("the message");
    assert!(message.contains(&format!("(<unknown> [{}])", ip(4))), "{message}");
    let log = server.log();
    let lines = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    assert_eq!(lines(&format!("connected address={} host=<unknown>", ip(4))), 1, "{log:?}");
}

#[test]
fn rules_see_the_name_and_wait_for_it() {
    let zone = never(Zone::default(), 13)
        .pointer(&text(11), "dyn11.bad.example")
        .pointer(&text(12), "mail.good.example")
        .pointer(&text(15), "mail.good.example")
        .address("mail.good.example", &text(15));
    let names = Nameserver::new(zone);
    let dir = TempDir::new();
    let rules = "match from rdns \"*.bad.example\" for any reject\n\
                 match !from rdns for domain \"named.example\" reject\n\
                 match from rdns \"*.good.example\" for domain \"friends.example\" action \"in\"\n\
                 match from any for domain \"friends.example\" reject\n";
    let server = start(&dir, &names, rules);
    for (nth, domain, code) in [
        (11, "x.example", "550"),
        (12, "x.example", "250"),
        (12, "named.example", "250"),
        // Only a name that leads back to the client lets it in.
        (12, "friends.example", "550"),
        (15, "friends.example", "250"),
        (14, "x.example", "250"),
        (14, "named.example", "550"),
        // Who has no name in time has none.
        (13, "x.example", "250"),
    ] {
        let Some(mut client) = client(&server, nth) else { return };
        client.expect("EHLO client.example", "250");
        client.expect("MAIL FROM:<a@x.example>", "250");
        client.expect(&format!("RCPT TO:<user@{domain}>"), code);
        client.expect("DATA", if code == "250" { "354" } else { "503" });
    }
}

#[test]
fn what_is_logged_before_the_name_is_known_comes_behind_the_connection() {
    let names = Nameserver::new(never(never(Zone::default(), 21), 22));
    let dir = TempDir::new();
    let server = start(&dir, &names, "");
    let Some(mut refused) = client(&server, 21) else { return };
    refused.expect("NONSENSE", "500");
    let Some(gone) = client(&server, 22) else { return };
    drop(gone);
    for (nth, next) in [(21, " smtp failed-command "), (22, " smtp disconnected ")] {
        let connected = format!(" smtp connected address={} host=<unknown>", ip(nth));
        server.wait_for_log(&connected);
        let log = server.log();
        let told = log.iter().find(|line| line.contains(&connected)).expect("it is told");
        let id = told.split(' ').next().expect("an id");
        server.wait_for_log(&format!("{id}{next}"));
        let log = server.log();
        let first = log.iter().find(|line| line.starts_with(id));
        assert_eq!(first, Some(told));
    }
}
