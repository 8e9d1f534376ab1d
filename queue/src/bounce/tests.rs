//! Reports as they are written; whole ones stand in `fixtures/reports`.

use std::fs;
use std::path::Path;

use super::*;
use crate::delivery::SUCCESS;
use crate::encode::tests::message as any_message;
use crate::envelope::{Notify, Ret, Source};
use crate::id::MessageId;
use crate::sample;

const NO_USER: Enhanced = Enhanced { class: 5, subject: 1, detail: 1 };
const FULL: Enhanced = Enhanced { class: 4, subject: 2, detail: 2 };
const CTIME: u64 = 1_733_043_600_000_000;

const CONTENT: &[u8] = b"Received: from c (<unknown> [192.0.2.1])\r\n\tby mx.example.org; now\r\n\
    From: Alice <alice@example.net>\r\nSubject: a question\r\n\r\n.\r\n--not-a-boundary\r\nlast";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn message(to: &[(&str, &str)]) -> Message {
    let id = MessageId::from_u32(0x1a).unwrap();
    let envelope = |(rcpt, dest): &(&str, &str)| Envelope {
        rcpt: mailbox(rcpt),
        ..sample::local(dest, "bob")
    };
    Message {
        ctime: CTIME,
        source: Source::Ip("192.0.2.1".parse().unwrap()),
        helo: "c".into(),
        hostname: "<unknown>".into(),
        smtpname: "mx.example.org".into(),
        ..sample::message(id, to.iter().map(envelope))
    }
}

/// A server elsewhere, and what it said.
fn remote(reply: &str) -> Remote {
    Remote::new("mx.example.com", reply)
}

/// What a report tells of its recipients: a status, and another server that gave it.
type Told<'a> = (Enhanced, Option<&'a Remote>);

fn written(message: &Message, kind: Kind, told: Told<'_>, content: &[u8]) -> String {
    let octets = content.len() as u64;
    let original = Original::read(message, kind, &mut &*content, octets).unwrap();
    report(message, kind, told, &original)
}

fn report(
    message: &Message,
    kind: Kind,
    (status, remote): Told<'_>,
    original: &Original,
) -> String {
    let at = CTIME + 3_590_000_000;
    let recipients =
        message.envelopes.iter().map(|envelope| Recipient { envelope, status, remote, at });
    let octets = Report {
        kind,
        to: address(message).unwrap(),
        message,
        recipients: &recipients.collect::<Vec<_>>(),
        original,
        id: MessageId::from_u32(0x2b).unwrap(),
        now: CTIME + 3_600_000_000,
        zone: (3600, "CET"),
    }
    .octets();
    assert!(octets.split(|octet| *octet == b'\n').all(|line| line.len() < 1000));
    String::from_utf8(octets).unwrap()
}

/// Compares with the file of that name; `HERMES_UPDATE=1` writes it.
fn is(name: &str, report: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/reports").join(name);
    let lines = report.replace("\r\n", "\n");
    assert!(
        !lines.contains('\r') && report.matches('\n').count() == report.matches("\r\n").count()
    );
    if std::env::var_os("HERMES_UPDATE").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn what_failed_comes_back_with_its_header() {
    let message = message(&[("bob@example.org", "bob@example.org")]);
    is("failed.eml", &written(&message, Kind::Failed, (NO_USER, None), CONTENT));
}

#[test]
fn the_whole_message_comes_back_with_all_that_its_sender_gave() {
    let mut message = message(&[
        ("bob@example.org", "robert@example.com"),
        ("\"c d\"@example.org", "carol@example.org"),
    ]);
    (message.ret, message.envid) = (Some(Ret::Full), Some("QQ+3D31+2B4159".into()));
    message.envelopes[0].orcpt = Some("rfc822;Bob+2Bx@example.org".into());
    let remote = remote("550 5.1.1 <robert@example.com>: no\tsuch\r\nX-Forged: yes");
    is("full.eml", &written(&message, Kind::Failed, (NO_USER, Some(&remote)), CONTENT));
}

#[test]
fn what_is_late_is_told_with_its_age_and_how_long_it_is_tried() {
    let mut message = message(&[("bob@example.org", "bob@example.org")]);
    message.ret = Some(Ret::Full);
    let kind = Kind::Delayed(Duration::from_secs(4 * 3600));
    is("delayed.eml", &written(&message, kind, (FULL, None), CONTENT));
}

#[test]
fn smtputf8_has_types_of_its_own() {
    let mut message = message(&[("j\u{fc}rgen@b\u{fc}cher.example", "j\u{fc}rgen@example.org")]);
    message.smtputf8 = true;
    message.ret = Some(Ret::Full);
    message.envelopes[0].orcpt = Some("utf-8;j\u{fc}rgen@b\u{fc}cher.example".into());
    let content = "Subject: gr\u{fc}\u{df}e\r\n\r\nhallo\r\n".as_bytes();
    let remote = remote("550 5.1.1 j\u{fc}rgen gibt es nicht\u{2028}X-Forged: yes");
    is("smtputf8.eml", &written(&message, Kind::Failed, (NO_USER, Some(&remote)), content));
    let late = Kind::Delayed(Duration::from_secs(4 * 3600));
    is("smtputf8-delayed.eml", &written(&message, late, (FULL, None), content));
    is("smtputf8-delivered.eml", &written(&message, Kind::Delivered, (SUCCESS, None), content));
}

#[test]
fn what_another_server_put_off_until_it_expired_comes_back_with_its_words() {
    let message = message(&[("bob@example.org", "bob@example.org")]);
    let remote = Remote::new("2001:db8::25", "451 4.7.1 come back later");
    is("expired.eml", &written(&message, Kind::Failed, (EXPIRED, Some(&remote)), CONTENT));
}

#[test]
fn success_is_told_with_the_header() {
    let mut message = message(&[
        ("bob@example.org", "bob@example.org"),
        ("carol@example.org", "caroline@example.org"),
    ]);
    (message.ret, message.envid) = (Some(Ret::Full), Some("id-1".into()));
    message.envelopes[1].orcpt = Some("rfc822;carol@example.org".into());
    is("delivered.eml", &written(&message, Kind::Delivered, (SUCCESS, None), CONTENT));
    let remote = remote("250 2.6.0 queued as 4711");
    let told = (remote.success(), Some(&remote));
    is("relayed.eml", &written(&message, Kind::Relayed, told, CONTENT));
}

#[test]
fn a_server_elsewhere_is_named_and_quoted_within_bounds() {
    for (host, name) in [
        ("mx.example.org", "mx.example.org"),
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
    ] {
        assert_eq!(Remote::new(host, "250 ok").host(), name);
    }
    let long = Remote::new(&"h".repeat(1000), &format!("550 {}", "\u{fc}".repeat(1000)));
    assert_eq!((long.host().len(), long.reply().len()), (255, 512));
    for (reply, status) in [
        ("250 2.6.0 queued", "2.6.0"),
        ("250 2.6.0", "2.6.0"),
        ("250 ok", "2.0.0"),
        ("250", "2.0.0"),
        ("250 5.1.1 odd", "2.0.0"),
        ("", "2.0.0"),
    ] {
        assert_eq!(remote(reply).success().to_string(), status, "{reply}");
    }
}

#[test]
fn an_ascii_report_stays_ascii_whatever_was_said() {
    let mut message = message(&[("bob@example.org", "bob@example.org")]);
    message.envelopes[0].orcpt = Some("utf-8;j\u{fc}rgen@example.org".into());
    let remote = remote("500 gr\u{fc}\u{df}e");
    let report = written(&message, Kind::Failed, (NO_USER, Some(&remote)), b"\r\n");
    assert!(report.is_ascii());
    assert!(report.contains("\r\nOriginal-Recipient: utf-8; j\\x{FC}rgen@example.org\r\n"));
    assert!(report.contains("\r\nDiagnostic-Code: smtp; 500 gr\\x{FC}\\x{DF}e\r\n"), "{report}");
}

#[test]
fn nothing_that_was_stored_can_add_a_line() {
    let mut message = message(&[("bob@example.org", "bob@example.org")]);
    // As no peer can give it to us, but a queue that was moved in may have it.
    message.envid = Some("a\r\nX-Forged: 1".into());
    message.smtpname = "mx\r\nX-Forged: 2".into();
    message.envelopes[0].orcpt = Some("rfc822;b\r\nX-Forged: 3".into());
    message.helo = "c\r\nX-Forged: 4".into();
    let remote = Remote::new("mx\r\nX-Forged: 5", "no\r\nX-Forged: 6\n\n");
    let report = written(&message, Kind::Failed, (NO_USER, Some(&remote)), CONTENT);
    assert!(!report.contains("\r\nX-Forged"), "{report}");
    assert!(report.contains("From: Mailer Daemon <MAILER-DAEMON@localhost>"));
}

#[test]
fn the_boundary_is_one_that_nobody_else_wrote() {
    let mut message = message(&[("--report-0000002b-1@example.org", "bob@example.org")]);
    message.ret = Some(Ret::Full);
    let content = b"Subject: x\r\n\r\n--report-0000002b-0\r\n--report-0000002b-2--\r\n";
    let report = written(&message, Kind::Failed, (NO_USER, None), content);
    assert!(report.contains("boundary=\"report-0000002b-3\""), "{report}");
    assert_eq!(report.matches("\r\n--report-0000002b-3\r\n").count(), 3);
}

#[test]
fn what_is_returned_is_bounded() {
    let plain = message(&[("bob@example.org", "bob@example.org")]);
    let full = Message { ret: Some(Ret::Full), ..plain.clone() };
    let read = |message: &Message, kind, content: &[u8]| {
        Original::read(message, kind, &mut &*content, content.len() as u64).unwrap()
    };
    let failed = |message: &Message, content: &[u8]| read(message, Kind::Failed, content);
    let header = |octets: &[u8]| Original::Header(octets.to_vec());

    let mut content = b"Subject: x\r\n\r\n".to_vec();
    content.resize(RETURNED - 1, b'x');
    assert_eq!(failed(&full, &content), Original::Whole(content.clone()));
    assert_eq!(failed(&plain, &content), header(b"Subject: x\r\n"));
    let delayed = Kind::Delayed(Duration::from_secs(1));
    for kind in [delayed, Kind::Delivered, Kind::Relayed] {
        assert_eq!(read(&full, kind, &content), header(b"Subject: x\r\n"));
    }
    content.push(b'x');
    assert_eq!(failed(&full, &content), header(b"Subject: x\r\n"));

    let long = b"A: b\r\n".repeat(20_000);
    let Original::Header(octets) = failed(&plain, &long) else { panic!("not a header") };
    assert!(octets.len() <= RETURNED && octets.len() > RETURNED - 6);
    assert!(octets.ends_with(b"A: b\r\n"));

    assert_eq!(failed(&plain, b"\r\nbody"), header(b""));
    assert_eq!(failed(&plain, b"A: b\r\nC: d"), header(b"A: b\r\nC: d"));
    assert_eq!(failed(&plain, &vec![b'x'; RETURNED + 1]), header(b""), "no line ends");
}

#[test]
fn the_largest_report_fits_into_a_record() {
    let domain = ["x".repeat(63), "x".repeat(63), "x".repeat(63), "x".repeat(63)].join(".");
    let address = format!("{}@{domain}", "a".repeat(255));
    let to = vec![(&*address, &*address); RECIPIENTS];
    let mut message = message(&to);
    message.ret = Some(Ret::Full);
    message.smtpname = domain;
    message.sender = ReversePath::Mailbox(mailbox(&address));
    message.envid = Some("e".repeat(100));
    for envelope in &mut message.envelopes {
        envelope.orcpt = Some(format!("rfc822;{}", "a".repeat(493)));
    }
    let domain = message.smtpname.clone();
    let remote = Remote::new(&domain, &"\u{1f4e7}".repeat(2000));
    let content = vec![b'x'; RETURNED - 1];
    let late = Kind::Delayed(Duration::from_secs(1));
    for kind in [Kind::Delivered, Kind::Relayed, Kind::Failed, late] {
        let report = report(&message, kind, (NO_USER, Some(&remote)), &Original::Nothing);
        assert!(report.len() <= RECIPIENTS * RECIPIENT, "{}", report.len());
    }
    let octets = Original::read(&message, Kind::Failed, &mut &*content, content.len() as u64);
    assert!(matches!(octets, Ok(Original::Whole(_))));
}

#[test]
fn no_report_leads_to_another() {
    let mut message = message(&[("bob@example.org", "bob@example.org")]);
    assert_eq!(address(&message), Ok(&mailbox("alice@example.net")));
    message.sender = ReversePath::Null;
    assert_eq!(address(&message), Err(Nobody::NoReturnPath));
    message.envelopes[0].internal = true;
    assert_eq!(address(&message), Err(Nobody::DoubleBounce));
}

#[test]
fn who_said_when_to_hear_hears_only_then() {
    let mut envelope = any_message(1, 1).envelopes.remove(0);
    let late = Kind::Delayed(Duration::from_secs(1));
    let mut heard = |notify| {
        envelope.notify = notify;
        assert_eq!(wants(&envelope, Kind::Delivered), wants(&envelope, Kind::Relayed));
        [Kind::Failed, late, Kind::Delivered].map(|kind| wants(&envelope, kind))
    };
    assert_eq!(heard(None), [true, true, false]);
    assert_eq!(heard(Some(Notify::default())), [false; 3], "NEVER");
    assert_eq!(heard(Some(Notify { success: true, ..Notify::default() })), [false, false, true]);
    assert_eq!(heard(Some(Notify { failure: true, ..Notify::default() })), [true, false, false]);
    assert_eq!(heard(Some(Notify { delay: true, ..Notify::default() })), [false, true, false]);
}

#[test]
fn each_age_is_told_once_and_before_the_attempt_behind_it() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let ages = [hours(1), hours(6), hours(48)];
    let due = |of: u64| CTIME + of * 3_600_000_000;
    let told = |of, told| passed(&ages, CTIME, due(of), hours(told));
    assert_eq!(passed(&ages, CTIME, due(1) - 1, hours(0)), None);
    assert_eq!(told(1, 0), Some(hours(1)));
    assert_eq!(told(5, 1), None);
    assert_eq!(told(60, 0), Some(hours(1)), "in their order");
    assert_eq!(told(60, 1), Some(hours(6)));
    assert_eq!(told(60, 6), Some(hours(48)));
    assert_eq!(told(60, 48), None);
    assert_eq!(passed(&[], CTIME, due(60), hours(0)), None);
    assert_eq!(passed(&ages, CTIME, CTIME - 1, hours(0)), None, "the clock was set back");
}
