//! The relay with real programs on loopback: ours into ours, and into servers that do as each test
//! says.

mod article;
mod loops;
mod mx;
mod options;
mod server;
mod tls;

use std::fs;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use server::{Told, good, server};
use smtpd_tests::program::{Options, Server, TempDir, eventually, free_port};

/// A server of ours that relays everything to these URLs.
fn relay_to(dir: &TempDir, urls: &[String], more: &str) -> Server {
    relay_to_with(dir, "", urls, more)
}

/// The same with lines above its own.
fn relay_to_with(dir: &TempDir, above: &str, urls: &[String], more: &str) -> Server {
    let urls: Vec<_> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    let text = format!(
        "{above}queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\n\
         daemon user root\n\
         bounce warn-interval 4h\n\
         table hops {{ {} }}\n\
         listen on 127.0.0.1 port $port hostname relay.example\n\
         action \"out\" relay host <hops> helo relay.example {more}\n\
         action \"in\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
         match from any for domain \"here.example\" action \"in\"\n\
         match from any for any action \"out\"\n",
        urls.join(", ")
    );
    let config = dir.path().join("relay.conf");
    fs::write(&config, text).expect("a configuration");
    Server::start(Options { config: Some(config), ..Options::default() })
}

fn send(server: &Server, from: &str, to: &str, content: &[u8]) {
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    let reply = client.message(from, to, content);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn ours_into_ours() {
    let target = Server::quickstart();
    let dir = TempDir::new();
    let relay = relay_to(&dir, &[format!("smtp://localhost:{}", target.address.port())], "");
    let lines: String = (0..20_000).map(|n| format!("line {n} of a large message\r\n")).collect();
    for (to, body) in [("first", "..dot\r\n..\r\n\u{1}x\r\n"), ("second", lines.as_str())] {
        // What has none over loopback gets them (RFC 6409 section 8).
        let header = "Subject: x\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@x>";
        let content = format!("{header}\r\n\r\n{body}");
        send(&relay, "alice@example.org", &format!("{to}@localhost"), content.as_bytes());
        let mail = fs::read_to_string(&target.wait_for_mail(to, 1)[0]).expect("the message");
        let expected = content.replace("\r\n..", "\r\n.").replace("\r\n", "\n");
        assert!(mail.ends_with(&format!("\n{expected}")), "{to}: {mail:.900}");
        assert!(mail.contains("from relay.example"), "{mail:.600}");
    }
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let log = relay.log().join("\n");
    for part in [" mta connecting address=smtp://127.0.0.1:", " mta connected", "result=\"Ok\""] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(log.matches("mta connecting").count(), 1, "one connection for both: {log}");
}

#[test]
fn one_bad_recipient_bounces_and_the_others_go_on() {
    fn answer(line: &str) -> Option<String> {
        match line.contains("<bad@") {
            true => Some("550 5.1.1 no such user here".to_owned()),
            false => good(line),
        }
    }
    let (port, told) = server(answer);
    let dir = TempDir::new();
    let relay = relay_to(&dir, &[format!("smtp://127.0.0.1:{port}")], "");
    let mut client = relay.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<alice@here.example> RET=HDRS ENVID=id-1", "250");
    client.expect("RCPT TO:<good@there.example> NOTIFY=SUCCESS,FAILURE", "250");
    client.expect("RCPT TO:<bad@there.example> ORCPT=rfc822;bad@there.example", "250");
    client.expect("DATA", "354");
    client.expect("Subject: x\r\n\r\nbody\r\n.", "250");
    let bounce = fs::read_to_string(&relay.wait_for_mail("alice", 1)[0]).expect("a bounce");
    for part in [
        "Original-Envelope-Id: id-1\n",
        "Original-Recipient: rfc822; bad@there.example\n\
         Final-Recipient: rfc822; bad@there.example\nAction: failed\nStatus: 5.1.1\n\
         Remote-MTA: dns; [127.0.0.1]\nDiagnostic-Code: smtp; 550 5.1.1 no such user here\n\
         Last-Attempt-Date: ",
        "bad@there.example: [127.0.0.1] said: 550 5.1.1 no such user here\n",
    ] {
        assert!(bounce.contains(part), "{part}: {bounce}");
    }
    assert!(!bounce.contains("good@there.example"), "{bounce}");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let told: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
    for line in [
        "MAIL FROM:<alice@here.example> RET=HDRS ENVID=id-1",
        "RCPT TO:<good@there.example> NOTIFY=SUCCESS,FAILURE",
        "DATA body",
    ] {
        assert!(told.iter().any(|one| one == line), "{line}: {told:?}");
    }
}

/// A server that offers DSN tells the sender itself, and the other knows nothing of it.
#[test]
fn what_a_server_without_dsn_has_taken_is_told_as_relayed() {
    fn plain(line: &str) -> Option<String> {
        good(line).map(|reply| reply.replace("250-DSN\r\n", ""))
    }
    for (answer, is_told) in [(plain as server::Answer, true), (good, false)] {
        let (port, told) = server(answer);
        let dir = TempDir::new();
        let relay = relay_to(&dir, &[format!("smtp://127.0.0.1:{port}")], "");
        let mut client = relay.connect();
        client.expect("EHLO client.example", "250");
        client.expect("MAIL FROM:<alice@here.example> RET=FULL ENVID=id-1", "250");
        client.expect("RCPT TO:<bob@there.example> NOTIFY=SUCCESS ORCPT=rfc822;Bob@x", "250");
        client.expect("RCPT TO:<carol@there.example>", "250");
        client.expect("DATA", "354");
        client.expect("Subject: x\r\n\r\nbody\r\n.", "250");
        relay.wait_for_log("to=<bob@there.example>");
        relay.wait_for_empty_queue(Duration::from_secs(20));
        let told: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
        let rcpt = "RCPT TO:<bob@there.example> NOTIFY=SUCCESS ORCPT=rfc822;Bob@x";
        assert_eq!(told.iter().any(|line| line == rcpt), !is_told, "{told:?}");
        assert_eq!(relay.maildir("alice").len(), usize::from(is_told));
        if !is_told {
            continue;
        }
        let notice = fs::read_to_string(&relay.maildir("alice")[0]).expect("a notice");
        let part = "Original-Recipient: rfc822; Bob@x\nFinal-Recipient: rfc822; bob@there.example\n\
            Action: relayed\nStatus: 2.0.0\nRemote-MTA: dns; [127.0.0.1]\n\
            Diagnostic-Code: smtp; 250 2.0.0 taken as 4711\nLast-Attempt-Date: ";
        assert!(notice.contains(part), "{notice}");
        assert!(notice.contains("Original-Envelope-Id: id-1\n"), "{notice}");
        assert!(!notice.contains("carol") && !notice.contains("\nbody"), "{notice}");
    }
}

#[test]
fn what_is_put_off_is_tried_again() {
    fn answer(line: &str) -> Option<String> {
        match line.starts_with("RCPT") {
            true => Some("451 4.7.1 greylisted, come back later".to_owned()),
            false => good(line),
        }
    }
    let (port, told) = server(answer);
    let dir = TempDir::new();
    let relay = relay_to(&dir, &[format!("smtp://127.0.0.1:{port}")], "");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_log("result=\"TempFail\" stat=\"451 4.7.1 greylisted, come back later\"");
    let tries = |told: &Receiver<Told>| {
        told.try_iter().filter(|(_, line)| line.starts_with("RCPT")).count()
    };
    let mut many = tries(&told);
    assert_eq!(many, 1);
    // The log is told before the queue.
    eventually("the reason in the queue", || {
        relay.smtpctl(&["show", "queue"]).1.contains("greylisted")
    });
    let (status, _, error) = relay.smtpctl(&["schedule", "all"]);
    assert!(status.success(), "{error}");
    eventually("another attempt", || {
        many += tries(&told);
        many == 2
    });
}

#[test]
fn the_next_server_is_tried_at_once() {
    fn busy(_: &str) -> Option<String> {
        Some("421 4.3.2 too busy".to_owned())
    }
    fn hangs_up(line: &str) -> Option<String> {
        if line == "DATA" { None } else { good(line) }
    }
    let dead = free_port();
    let ((busy, _), (hangs_up, _), (good, told)) = (server(busy), server(hangs_up), server(good));
    let dir = TempDir::new();
    let urls = [dead, busy, hangs_up, good].map(|port| format!("smtp://127.0.0.1:{port}"));
    let relay = relay_to(&dir, &urls, "");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    assert!(told.try_iter().any(|(_, line)| line == "."));
    let log = relay.log().join("\n");
    assert_eq!(log.matches(" mta delivery ").count(), 1, "{log}");
    assert!(log.contains("result=\"Ok\" stat=\"250 2.0.0 taken as 4711\""), "{log}");
}

#[test]
fn smtpctl_shows_where_mail_goes() {
    let (dead, (port, _)) = (free_port(), server(good));
    let dir = TempDir::new();
    let urls = [dead, port].map(|port| format!("smtp://127.0.0.1:{port}"));
    let relay = relay_to(&dir, &urls, "");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let show = |what| {
        let (status, out, error) = relay.smtpctl(&["show", what]);
        assert!(status.success(), "{what}: {error}");
        out
    };
    let relays = show("relays");
    let begin = format!("[relay:127.0.0.1+127.0.0.1,port={dead},smtp,mx,heloname=relay.example] ");
    assert!(relays.starts_with(&begin), "{relays}");
    assert!(relays.contains("\n  connector [] refcount=1 nconn=1 lastconn="), "{relays}");
    let hosts = show("hosts");
    assert!(hosts.starts_with("127.0.0.1 127.0.0.1 refcount=2 nconn=1 lastconn="), "{hosts}");
    let stats = show("hoststats");
    assert!(stats.starts_with("there.example|"), "{stats}");
    assert!(stats.ends_with("|250 2.0.0 taken as 4711\n"), "{stats}");
    let routes = show("routes");
    let disabled = routes.lines().find(|line| line.contains(" NDQ- ")).expect("a dead one");
    assert!(routes.lines().any(|line| line.contains(" ---K nconn=1 ")), "{routes}");
    let number = disabled.split('.').next().expect("a number");
    let (status, _, error) = relay.smtpctl(&["resume", "route", number]);
    assert!(status.success(), "{error}");
    assert!(!show("routes").contains('D'));
    assert!(show("status").contains("\nDNS running\n"));
}

#[test]
fn with_preconnect_the_connection_comes_before_the_message() {
    let connections = |told: &[Told]| told.iter().filter(|(_, line)| line == "CONNECT").count();
    for is_on in [true, false] {
        let (port, told) = server(good);
        let dir = TempDir::new();
        let above = format!(
            "mta limit session-keepalive 1\n{}",
            if is_on { "mta preconnect\n" } else { "" }
        );
        let relay = relay_to_with(&dir, &above, &[format!("smtp://127.0.0.1:{port}")], "");
        let mut all: Vec<Told> = Vec::new();
        send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
        eventually("the first connection ends", || {
            all.extend(told.try_iter());
            all.contains(&(0, "QUIT".to_owned()))
        });
        let mut client = relay.connect();
        client.expect("EHLO client.example", "250");
        client.expect("MAIL FROM:<alice@here.example>", "250");
        client.expect("RCPT TO:<bob@there.example>", "250");
        if is_on {
            eventually("a connection without a message", || {
                all.extend(told.try_iter());
                all.iter().any(|(nth, line)| *nth == 1 && line.starts_with("EHLO"))
            });
        }
        client.expect("DATA", "354");
        client.expect("Subject: second\r\n\r\nbody\r\n.", "250");
        relay.wait_for_empty_queue(Duration::from_secs(20));
        all.extend(told.try_iter());
        assert!(all.contains(&(1, "DATA Subject: second".to_owned())), "{all:?}");
        // One that nobody uses comes to its end.
        eventually("the second connection ends", || {
            all.extend(told.try_iter());
            all.contains(&(1, "QUIT".to_owned()))
        });
        client.expect("MAIL FROM:<alice@here.example>", "250");
        client.expect("RCPT TO:<bob@there.example>", "250");
        client.expect("RSET", "250");
        if is_on {
            eventually("the third connection ends", || {
                all.extend(told.try_iter());
                all.contains(&(2, "QUIT".to_owned()))
            });
        }
        client.expect("QUIT", "221");
        all.extend(told.try_iter());
        assert_eq!(connections(&all), if is_on { 3 } else { 2 }, "{all:?}");
    }
}

#[test]
fn servers_share_the_mail_where_that_is_written() {
    let ((one, told_one), (other, told_other)) = (server(good), server(good));
    let dir = TempDir::new();
    let urls = [one, other].map(|port| format!("smtp://127.0.0.1:{port}"));
    let relay = relay_to(&dir, &urls, "balance");
    for nth in 0..10 {
        send(&relay, "alice@here.example", &format!("u{nth}@there.example"), b"x\r\n");
        relay.wait_for_empty_queue(Duration::from_secs(20));
    }
    for told in [told_one, told_other] {
        assert_eq!(told.try_iter().filter(|(_, line)| line == ".").count(), 5);
    }
}

#[test]
fn what_demands_tls_does_not_go_without() {
    let (port, told) = server(good);
    let dir = TempDir::new();
    let relay = relay_to(&dir, &[format!("smtp+tls://127.0.0.1:{port}")], "tls no-verify");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_log("TLS required but not supported by remote host");
    relay.wait_for_log("result=\"TempFail\"");
    assert!(!told.try_iter().any(|(_, line)| line.starts_with("MAIL")));
}

#[test]
fn many_messages_share_connections_that_end_in_order() {
    let (port, told) = server(good);
    let dir = TempDir::new();
    let mut relay = relay_to(&dir, &[format!("smtp://127.0.0.1:{port}")], "");
    let mut client = relay.connect();
    client.expect("EHLO client.example", "250");
    for n in 0..100 {
        let reply = client.message("a@here.example", &format!("u{n}@d{n}.example"), b"x\r\n");
        assert!(reply.starts_with("250"), "{reply}");
    }
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let begun = Instant::now();
    assert!(relay.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "idle connections are not waited for");
    let told: Vec<_> = told.try_iter().collect();
    let quits = told.iter().filter(|(_, line)| line == "QUIT").count();
    assert!(quits > 0, "{told:?}");
    assert_eq!(told.iter().filter(|(_, line)| line == ".").count(), 100);
    let connections = told.iter().map(|(nth, _)| nth + 1).max().unwrap_or(0);
    assert!(connections <= 20, "{connections}");
}
