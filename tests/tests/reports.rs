//! Delivery status notifications of the real daemon, and how another program reads them: Python's
//! email package.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use smtpd_tests::program::{Client, Options, Server, TempDir, eventually, messages, repository};

/// The facts that Python reads from a report, or `None` when there is no Python.
///
/// # Panics
/// When it is no report.
fn facts(octets: &[u8]) -> Option<Vec<String>> {
    let script = repository().join("tests/clients/report.py");
    let mut command = Command::new("python3");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("######## SKIPPED: no python3 to read reports with ########");
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(octets).expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n{}", String::from_utf8_lossy(octets));
    let facts = String::from_utf8(output.stdout).expect("text");
    Some(facts.lines().map(str::to_owned).collect())
}

fn crlf(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).expect("a report");
    text.replace('\n', "\r\n").into_bytes()
}

/// The reports that the tests of the queue hold its own to.
#[test]
fn python_reads_every_kind_of_report() {
    let expected = [
        (
            "failed.eml",
            &[
                "Action=failed",
                "Status=5.1.1",
                "Diagnostic-Code=x-local; There is no such user here",
                "Arrival-Date=Sun, 1 Dec 2024 10:00:00 +0100 (CET)",
                "Last-Attempt-Date=Sun, 1 Dec 2024 10:59:50 +0100 (CET)",
                "Original-Type=text/rfc822-headers",
                "Original-Subject=a question",
            ][..],
        ),
        (
            "full.eml",
            &[
                "Original-Envelope-Id=QQ=31+4159",
                "Original-Recipient=rfc822; Bob+x@example.org",
                "Final-Recipient=rfc822; robert@example.com",
                "Remote-MTA=dns; mx.example.com",
                "Diagnostic-Code=smtp; 550 5.1.1 <robert@example.com>: no?such??X-Forged: yes",
                "Original-Type=message/rfc822",
                "Original-Subject=a question",
            ],
        ),
        (
            "expired.eml",
            &[
                "Action=failed",
                "Status=5.4.7",
                "Remote-MTA=dns; [IPv6:2001:db8::25]",
                "Diagnostic-Code=smtp; 451 4.7.1 come back later",
            ],
        ),
        (
            "delayed.eml",
            &[
                "Action=delayed",
                "Status=4.2.2",
                "Will-Retry-Until=Thu, 5 Dec 2024 10:00:00 +0100 (CET)",
                "Status-Type=message/delivery-status",
                "Original-Type=text/rfc822-headers",
            ],
        ),
        (
            "delivered.eml",
            &[
                "Subject=Delivery status notification: delivered",
                "Action=delivered",
                "Status=2.0.0",
                "Original-Envelope-Id=id-1",
                "Original-Recipient=rfc822; carol@example.org",
                "Final-Recipient=rfc822; caroline@example.org",
                "Original-Type=text/rfc822-headers",
                "Original-Subject=a question",
            ],
        ),
        (
            "relayed.eml",
            &[
                "Subject=Delivery status notification: relayed",
                "Action=relayed",
                "Status=2.6.0",
                "Remote-MTA=dns; mx.example.com",
                "Diagnostic-Code=smtp; 250 2.6.0 queued as 4711",
                "Original-Type=text/rfc822-headers",
            ],
        ),
        (
            "smtputf8.eml",
            &[
                "Action=failed",
                "Original-Recipient=utf-8; j\u{fc}rgen@b\u{fc}cher.example",
                "Final-Recipient=utf-8; j\u{fc}rgen@example.org",
                "Diagnostic-Code=smtp; 550 5.1.1 j\u{fc}rgen gibt es nicht?X-Forged: yes",
                "Status-Type=message/global-delivery-status",
                "Original-Type=message/global",
            ],
        ),
        (
            "smtputf8-delayed.eml",
            &[
                "Action=delayed",
                "Status-Type=message/global-delivery-status",
                "Original-Type=message/global-headers",
            ],
        ),
        (
            "smtputf8-delivered.eml",
            &[
                "Action=delivered",
                "Final-Recipient=utf-8; j\u{fc}rgen@example.org",
                "Status-Type=message/global-delivery-status",
                "Original-Type=message/global-headers",
            ],
        ),
    ];
    let folder = repository().join("fixtures/reports");
    let there = fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(there, expected.len(), "every report is read");
    for (name, expected) in expected {
        let Some(facts) = facts(&crlf(&folder.join(name))) else { return };
        for fact in expected.iter().chain(&["To=alice@example.net"]) {
            assert!(facts.iter().any(|one| one == fact), "{name}: no {fact} in {facts:#?}");
        }
    }
}

/// What every configuration here begins with.
const HEAD: &str = "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\n\
    daemon user root\nlisten on localhost port $port\n";

/// A configuration in `dir`.
fn configuration(dir: &TempDir, name: &str, text: &str) -> Options {
    let path = dir.path().join(name);
    fs::write(&path, format!("{HEAD}{text}")).expect("written");
    let dir = Some(dir.path().to_owned());
    Options { config: Some(path), dir, ..Options::default() }
}

const ANYBODY: &str = "action \"local\" maildir $dir/mail/%{dest.user} userbase any\n\
    match from any for local action \"local\"\n";

/// A report as it was delivered: what comes below the lines of the delivery.
fn delivered(path: &Path) -> Vec<u8> {
    let text = fs::read(path).expect("a message");
    let text = String::from_utf8(text).expect("ASCII");
    let (first, text) = text.split_once('\n').expect("lines");
    assert_eq!(first, "Return-Path: <>");
    let (second, text) = text.split_once('\n').expect("lines");
    assert!(second.starts_with("Delivered-To: "), "{second}");
    text.replace('\n', "\r\n").into_bytes()
}

/// Sends a message that is found to have been delivered before.
fn send_loop(client: &mut Client, mail: &str, recipients: &[&str], loops: &str) {
    client.expect(mail, "250");
    for rcpt in recipients {
        client.expect(rcpt, "250");
    }
    client.expect("DATA", "354");
    let content = format!("Subject: round\r\nDelivered-To: {loops}\r\n\r\nand round\r\n.");
    client.expect(&content, "250");
}

#[test]
fn what_fails_for_good_goes_back_to_who_wants_to_know() {
    let dir = TempDir::new();
    let server = Server::start(configuration(&dir, "one.conf", ANYBODY));
    let mut client = server.connect();
    client.expect("EHLO c.example", "250");
    let all = ["RCPT TO:<bob@localhost> ORCPT=rfc822;Bob+40x", "RCPT TO:<carol@localhost>"];
    let mail = "MAIL FROM:<alice@localhost> RET=FULL ENVID=Q+2B1";
    send_loop(&mut client, mail, &all, "bob@localhost");
    let never = ["RCPT TO:<bob@localhost> NOTIFY=NEVER", "RCPT TO:<bob@localhost> NOTIFY=SUCCESS"];
    send_loop(&mut client, "MAIL FROM:<alice@localhost>", &never, "bob@localhost");
    send_loop(&mut client, "MAIL FROM:<>", &["RCPT TO:<bob@localhost>"], "bob@localhost");
    let elsewhere = "MAIL FROM:<x@elsewhere.example>";
    send_loop(&mut client, elsewhere, &["RCPT TO:<bob@localhost>"], "bob@localhost");

    let reports = server.wait_for_mail("alice", 1);
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    assert_eq!(server.wait_for_mail("carol", 1).len(), 1);
    assert_eq!((server.maildir("alice").len(), server.maildir("bob").len()), (1, 0));
    server.wait_for_log("no report for");
    server.wait_for_log("warn: queue: no return path!");
    server.wait_for_log("warn: PermFail injecting failure report on message");
    let log = server.log();
    let of_report = log.iter().find(|line| line.starts_with("0000000000000000 smtp envelope"));
    let of_report = of_report.expect("a report is logged as a message");
    assert!(of_report.ends_with("from=<> to=<alice@localhost>"), "{of_report}");

    let Some(facts) = facts(&delivered(&reports[0])) else { return };
    for fact in [
        "To=alice@localhost",
        "Subject=Delivery status notification: failed",
        "Original-Envelope-Id=Q+1",
        "Original-Recipient=rfc822; Bob@x",
        "Final-Recipient=rfc822; bob@localhost",
        "Status=5.4.6",
        "Original-Type=message/rfc822",
        "Original-Subject=round",
    ] {
        assert!(facts.iter().any(|one| one == fact), "no {fact} in {facts:#?}");
    }
    let recipients = facts.iter().filter(|fact| fact.starts_with("Final-Recipient"));
    assert_eq!(recipients.count(), 1, "carol has hers: {facts:#?}");
}

#[test]
fn what_is_delivered_is_told_to_who_asks() {
    let dir = TempDir::new();
    let server = Server::start(configuration(&dir, "one.conf", ANYBODY));
    let mut client = server.connect();
    client.expect("EHLO c.example", "250");
    client.expect("MAIL FROM:<alice@localhost> RET=FULL ENVID=Q+2B2", "250");
    for rcpt in [
        "RCPT TO:<bob@localhost> NOTIFY=SUCCESS ORCPT=rfc822;Bob+40x",
        "RCPT TO:<carol@localhost> NOTIFY=SUCCESS,FAILURE",
        "RCPT TO:<dave@localhost> NOTIFY=FAILURE,DELAY",
        "RCPT TO:<erin@localhost>",
    ] {
        client.expect(rcpt, "250");
    }
    client.expect("DATA", "354");
    client.expect("Subject: hello\r\n\r\nhello\r\n.", "250");
    let reports = server.wait_for_mail("alice", 1);
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    for user in ["alice", "bob", "carol", "dave", "erin"] {
        assert_eq!(server.maildir(user).len(), 1, "{user}");
    }
    let Some(facts) = facts(&delivered(&reports[0])) else { return };
    for (fact, many) in [
        ("Subject=Delivery status notification: delivered", 1),
        ("Original-Envelope-Id=Q+2", 1),
        ("Original-Recipient=rfc822; Bob@x", 1),
        ("Final-Recipient=rfc822; bob@localhost", 1),
        ("Final-Recipient=rfc822; carol@localhost", 1),
        ("Final-Recipient=rfc822; dave@localhost", 0),
        ("Action=delivered", 2),
        ("Status=2.0.0", 2),
        ("Original-Type=text/rfc822-headers", 1),
        ("Original-Subject=hello", 1),
    ] {
        let found = facts.iter().filter(|one| *one == fact).count();
        assert_eq!(found, many, "{fact} in {facts:#?}");
    }
}

/// Rules that know only those users, who have their homes in `dir`.
fn only_users(dir: &TempDir, names: &[&str]) -> String {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let user = |name| format!("{name} = \"{uid}:{gid}:{}/{name}\"", dir.path().display());
    let table = names.iter().map(user).collect::<Vec<_>>().join(", ");
    format!(
        "table users {{ {table} }}\naction \"local\" maildir userbase <users>\n\
         match from any for local action \"local\"\n"
    )
}

#[test]
fn a_user_who_is_removed_after_the_250_sends_the_mail_back() {
    let dir = TempDir::new();
    let users = |names: &[&str]| only_users(&dir, names);
    let both = configuration(&dir, "both.conf", &users(&["alice", "bob", "carol"]));
    let paused = Options { arguments: vec!["-P".into(), "mda".into()], ..both };
    let mut server = Server::start(paused);
    let mut client = server.connect();
    client.expect("EHLO c.example", "250");
    client.expect("MAIL FROM:<alice@localhost>", "250");
    for rcpt in ["bob", "carol"] {
        client.expect(&format!("RCPT TO:<{rcpt}@localhost>"), "250");
    }
    client.expect("DATA", "354");
    client.expect("Subject: hello\r\n\r\nhello\r\n.", "250");
    assert!(server.stop().success());

    let server = Server::start(configuration(&dir, "one.conf", &users(&["alice"])));
    let inbox = dir.path().join("alice/Maildir");
    eventually("a report", || !messages(&inbox).is_empty());
    server.wait_for_log("result=PermFail stat=user bob does not exist");
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    let reports = messages(&inbox);
    assert_eq!(reports.len(), 1, "both are in one report");
    let Some(facts) = facts(&delivered(&reports[0])) else { return };
    let count = |fact: &str| facts.iter().filter(|one| *one == fact).count();
    assert_eq!((count("Action=failed"), count("Status=5.1.1")), (2, 2), "{facts:#?}");
    assert_eq!(count("Original-Type=text/rfc822-headers"), 1);
}

#[test]
fn a_report_that_cannot_be_delivered_ends_with_a_line_of_the_log() {
    let dir = TempDir::new();
    let users = |names: &[&str]| only_users(&dir, names);
    // Alice cannot be delivered to for now, so that the report about bob waits.
    fs::create_dir(dir.path().join("alice")).expect("a folder");
    fs::write(dir.path().join("alice/Maildir"), "").expect("a file in its place");
    let mut server = Server::start(configuration(&dir, "both.conf", &users(&["alice", "bob"])));
    let mut client = server.connect();
    client.expect("EHLO c.example", "250");
    send_loop(
        &mut client,
        "MAIL FROM:<alice@localhost>",
        &["RCPT TO:<bob@localhost>"],
        "bob@localhost",
    );
    server.wait_for_log("from=<> to=<alice@localhost> user=alice");
    let queue = || server.smtpctl(&["show", "queue"]).1;
    eventually("the report alone waits", || queue().lines().count() == 1);
    let report = queue().split('|').next().expect("its id").to_owned();
    server.stop();

    let gone = configuration(&dir, "gone.conf", &users(&["carol"]));
    let arguments = vec!["-T".to_owned(), "bounce".to_owned()];
    let server = Server::start(Options { arguments, ..gone });
    let (status, out, err) = server.smtpctl(&["schedule", "all"]);
    assert!(status.success(), "{out}{err}");
    server.wait_for_log(&format!("queue: double bounce! evpid={report} to=<alice@localhost>"));
    server.wait_for_log(&format!("bounce: {}: failed: nobody is told about 1", &report[..8]));
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    let reports = server.log().iter().filter(|line| line.contains("smtp message")).count();
    assert_eq!(reports, 0, "there is no report about a report");
}

#[test]
fn late_mail_is_told_of_once_and_given_up_when_it_expires() {
    let dir = TempDir::new();
    let text = format!("bounce warn-interval 5s\nqueue ttl 5s\n{ANYBODY}");
    // Something else has the place of the Maildir.
    fs::create_dir(dir.path().join("mail")).expect("a folder");
    fs::write(dir.path().join("mail/bob"), "").expect("a file");
    let mut server = Server::start(configuration(&dir, "one.conf", &text));
    let mut client = server.connect();
    client.expect("EHLO c.example", "250");
    let sent = client.message("alice@localhost", "bob@localhost", b"Subject: hello\r\n\r\n");
    assert!(sent.starts_with("250"), "{sent}");
    let late = server.wait_for_mail("alice", 1);
    server.kill();

    let server = Server::start(configuration(&dir, "one.conf", &text));
    server.wait_for_log("stat=Envelope expired");
    let all = server.wait_for_mail("alice", 2);
    eventually("an empty queue", || server.smtpctl(&["show", "queue"]).1.is_empty());
    assert_eq!(server.maildir("alice").len(), 2);
    let failed = all.iter().find(|path| !late.contains(path)).expect("another");
    let Some(facts_late) = facts(&delivered(&late[0])) else { return };
    let has = |facts: &[String], fact: &str| facts.iter().any(|one| one == fact);
    assert!(
        has(&facts_late, "Action=delayed") && has(&facts_late, "Status=4.2.1"),
        "{facts_late:?}"
    );
    let facts_failed = facts(&delivered(failed)).expect("there was a Python");
    assert!(has(&facts_failed, "Action=failed") && has(&facts_failed, "Status=5.4.7"));
}
