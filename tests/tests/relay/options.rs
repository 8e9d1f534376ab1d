//! What a relay's options do, as its servers see it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use smtpd_tests::authority::Authority;
use smtpd_tests::program::{Options, Server, TempDir, program, repository};

use crate::send;
use crate::server::{Answer, Told, good, server, tls_server};

/// A server of ours with these lines; mail for `there.example` goes by the action `out`.
fn ours(dir: &TempDir, lines: &str) -> Server {
    let text = format!(
        "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n\
         listen on 127.0.0.1 port $port hostname relay.example\n{lines}\n\
         match from any for domain there.example action \"out\"\n"
    );
    let config = dir.path().join("relay.conf");
    fs::write(&config, text).expect("a configuration");
    Server::start(Options { config: Some(config), ..Options::default() })
}

/// Sends a message, and gives what the server of the test was told of it.
fn carried(relay: &Server, told: &Receiver<Told>) -> Vec<String> {
    send(relay, "alice@example.org", "bob@there.example", b"x: y\r\n\r\n..z\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    told.try_iter().map(|(_, line)| line).collect()
}

fn has(said: &[String], line: &str) -> bool {
    said.iter().any(|one| one == line)
}

/// A map of these lines, made by our makemap.
fn map(dir: &Path, name: &str, lines: &str) -> String {
    let kind: &[&str] = if lines.contains(' ') { &[] } else { &["-t", "set"] };
    let file = dir.join(name);
    fs::write(&file, lines).expect("written");
    let made = Command::new(program("smtpctl")).arg0("makemap").args(kind).arg(&file).status();
    assert!(made.is_ok_and(|status| status.success()), "makemap {name}");
    format!("db:{}.db", file.display())
}

#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    fn answer(line: &str) -> Option<String> {
        match line {
            "LHLO relay.example" => Some("250-store.example\r\n250 PIPELINING".to_owned()),
            "." => Some("250 2.0.0 stored\r\n452 4.2.2 over quota".to_owned()),
            line if line.starts_with("EHLO") => Some("500 5.5.1 this is LMTP".to_owned()),
            line => good(line),
        }
    }
    let (port, told) = server(answer);
    let dir = TempDir::new();
    let relay = ours(&dir, &format!("action \"out\" relay host lmtp://127.0.0.1:{port}"));
    let mut client = relay.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<alice@example.org>", "250");
    client.expect("RCPT TO:<first@there.example>", "250");
    client.expect("RCPT TO:<second@there.example>", "250");
    client.expect("DATA", "354");
    client.expect("x: y\r\n\r\nz\r\n.", "250");
    relay.wait_for_log("result=\"TempFail\" stat=\"452 4.2.2 over quota\"");
    relay.wait_for_log("result=\"Ok\" stat=\"250 2.0.0 stored\"");
    let log = relay.log();
    let of = |part: &str| log.iter().any(|line| line.contains(part) && line.contains(" mta "));
    assert!(of("address=lmtp://127.0.0.1"), "{log:?}");
    assert!(!told.try_iter().any(|(_, line)| line == "STARTTLS"));
    let (_, queue, _) = relay.smtpctl(&["show", "queue"]);
    assert!(queue.contains("second@") && !queue.contains("first@"), "{queue}");
}

#[test]
fn source_addresses_have_names_of_their_own() {
    let (port, told) = server(good);
    let dir = TempDir::new();
    let names = map(dir.path(), "names", "127.0.0.2 two.example\n127.0.0.3 three.example\n");
    let sources = map(dir.path(), "sources", "127.0.0.2\n127.0.0.3\n");
    for (table, lines) in [
        ("{ 127.0.0.2, 127.0.0.3 }", ""),
        ("<sources>", &*format!("table sources \"{sources}\"\n")),
    ] {
        let relay = ours(
            &TempDir::new(),
            &format!(
                "{lines}table names \"{names}\"\nmta limit session-mail-max 1\n\
                 action \"out\" relay host smtp://127.0.0.1:{port} src {table} helo-src <names>"
            ),
        );
        let mut said = carried(&relay, &told);
        said.extend(carried(&relay, &told));
        assert!(has(&said, "EHLO two.example") && has(&said, "EHLO three.example"), "{said:?}");
        relay.wait_for_log(" source=\"127.0.0.2\" ");
        relay.wait_for_log(" source=\"127.0.0.3\" ");
    }
}

#[test]
fn servers_may_stand_in_maps_and_come_from_programs() {
    let (port, told) = server(good);
    let dir = TempDir::new();
    let url = format!("smtp://127.0.0.1:{port}");
    let hosts = map(dir.path(), "hosts", &format!("{url}\n"));
    let by_domain = map(dir.path(), "domains", &format!("there.example {url}\n"));
    let script = repository().join("tests/clients/table.py");
    let log = dir.path().join("questions");
    let process = format!("proc-exec:python3 {} {url} {}", script.display(), log.display());
    for (table, word) in [(hosts, "host"), (by_domain, "domain"), (process, "host")] {
        let lines = format!("table hops \"{table}\"\naction \"out\" relay {word} <hops>");
        let relay = ours(&TempDir::new(), &lines);
        assert!(has(&carried(&relay, &told), "RCPT TO:<bob@there.example>"), "{table}");
    }
    let asked = fs::read_to_string(&log).expect("questions");
    assert!(asked.lines().any(|line| line.contains("|hops|fetch|relayhost|")), "{asked}");
}

#[test]
fn a_server_is_told_who_we_are_as_it_can_take_it() {
    fn login(line: &str) -> Option<String> {
        match line {
            "AUTH LOGIN" => Some("334 VXNlcm5hbWU6".to_owned()),
            "YWxpY2U=" => Some("334 UGFzc3dvcmQ6".to_owned()),
            "czNjOnJldA==" => Some("235 2.7.0 ok".to_owned()),
            line if line.starts_with("EHLO") => {
                Some("250-s.example\r\n250-STARTTLS\r\n250 AUTH LOGIN CRAM-MD5".to_owned())
            }
            "STARTTLS" => Some("220 go on".to_owned()),
            line => good(line),
        }
    }
    fn token(line: &str) -> Option<String> {
        match line {
            // user=alice %x01 auth=Bearer ya29.tok:en %x01 %x01
            "AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB5YTI5LnRvazplbgEB" => {
                Some("235 2.7.0 ok".to_owned())
            }
            line if line.starts_with("EHLO") => {
                Some("250-s.example\r\n250-STARTTLS\r\n250 AUTH PLAIN XOAUTH2".to_owned())
            }
            line => login(line),
        }
    }
    let authority = Authority::new();
    let dir = TempDir::new();
    let root = dir.path().join("root.pem");
    fs::write(&root, &authority.root).expect("written");
    let secrets = "pass alice:s3c:ret\ntoken xoauth2:alice:ya29.tok:en\n";
    let secrets = map(dir.path(), "secrets", secrets);
    let cases: [(Answer, &str, &str); 2] =
        [(login, "pass", "AUTH LOGIN"), (token, "token", "AUTH XOAUTH2")];
    for (answer, label, command) in cases {
        let (port, told) = tls_server(answer, authority.server("127.0.0.1", false));
        let relay = ours(
            &TempDir::new(),
            &format!(
                "table secrets \"{secrets}\"\nca house cert \"{}\"\n\
                 action \"out\" relay host smtp+tls://{label}@127.0.0.1:{port} auth <secrets> \
                 ca house",
                root.display()
            ),
        );
        let said = carried(&relay, &told);
        assert!(said.iter().any(|line| line.starts_with(command)) && has(&said, "."), "{said:?}");
        let log = relay.log().join("\n");
        assert!(!log.contains("s3c") && !log.contains("ya29"), "{log}");
    }
}

#[test]
fn content_goes_in_chunks_where_that_is_asked_for() {
    fn chunks(line: &str) -> Option<String> {
        match line.starts_with("EHLO") {
            true => Some("250-s.example\r\n250-PIPELINING\r\n250 CHUNKING".to_owned()),
            false => good(line),
        }
    }
    let (port, told) = server(chunks);
    for (option, verb) in [("", "DATA"), ("chunking", "BDAT ")] {
        let lines = format!("action \"out\" relay host smtp://127.0.0.1:{port} {option}");
        let relay = ours(&TempDir::new(), &lines);
        let said = carried(&relay, &told);
        let is_verb = |line: &String| line.starts_with(verb) && !line.starts_with("DATA ");
        assert!(said.iter().any(is_verb), "{said:?}");
        // A dot at the beginning of a line is doubled in the one and not in the other.
        let last = if option.is_empty() { "DATA ..z" } else { "CHUNK .z" };
        assert!(has(&said, last), "{said:?}");
    }
}

#[test]
fn forwarded_mail_comes_back_through_us() {
    let (port, told) = server(good);
    let relay = ours(
        &TempDir::new(),
        &format!(
            "srs key \"sesame\"\n\
             action \"in\" maildir $dir/mail/%{{dest.user}} userbase any alias {{ fwd = \
             bob@there.example }}\n\
             action \"out\" relay host smtp://127.0.0.1:{port} srs mail-from \"@own.example\"\n\
             match from any for domain here.example action \"in\"\n\
             match from local for any action \"out\"\n"
        ),
    );
    send(&relay, "alice@example.org", "fwd@here.example", b"x: y\r\n\r\nz\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let said: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
    let mail = said.iter().find_map(|line| line.strip_prefix("MAIL FROM:<")).expect("MAIL");
    let sender = mail.split('>').next().expect("an address").to_owned();
    assert!(sender.starts_with("SRS0=") && sender.ends_with("=example.org=alice@here.example"));
    assert!(has(&said, "RCPT TO:<bob@there.example>"), "{said:?}");

    // What is not forwarded is no matter of it.
    assert!(carried(&relay, &told).iter().any(|line| line.starts_with("MAIL FROM:<alice@own")));

    // A report comes back, and nothing else does.
    let mut client = relay.connect();
    client.expect("EHLO there.example", "250");
    let reply = client.message("", &sender, b"Subject: failed\r\n\r\nz\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let said: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
    assert!(has(&said, "RCPT TO:<alice@example.org>"), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("MAIL FROM:<>")), "{said:?}");

    client.expect("MAIL FROM:<>", "250");
    let forged = sender.replace("=alice@", "=eve@");
    client.expect(&format!("RCPT TO:<{forged}>"), "250");
    relay.wait_for_log("SRS failed to decode: SRS0=");
}
