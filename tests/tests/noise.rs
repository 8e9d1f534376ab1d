//! Seeded noise into everything that reads what peers send: no input ends in a panic, and a line
//! always gets a reply or a closed connection.
//!
//! Bounded to a few seconds; `HERMES_LONG=1` tries 50 times as much. A seed that found something
//! is printed; `HERMES_SEED=N` runs only that one.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::address::{HeloName, Mailbox};
use smtpd_engine::dsn::{Notify, Orcpt};
use smtpd_engine::header::{Rewriter, Submission};
use smtpd_engine::limits;
use smtpd_engine::reply::Reply;
use smtpd_engine::server::{Event, Params, Peer};
use smtpd_tests::noise::{GREETING, PIECES, answer, driver, recorded, runs, with_seeds};
use smtpd_tests::rng::Rng;
use smtpd_tests::transcript::driver::{Driver, Question, Verdict};
use smtpd_tests::transcript::player::{Cut, first_difference, parts};
use smtpd_tests::transcript::{Cuts, Entry};

/// The driver asserts the engine's promises; here any panic is a failure. In the end a silent
/// peer's session is over, whatever came before.
#[test]
fn sessions_survive_noise_and_end() {
    let recorded = recorded();
    with_seeds(15_000, |rng| {
        let mut driver = driver(rng);
        let mut answers = Rng::new(rng.next_u64());
        let owner = &mut |question: &Question<'_>| answer(&mut answers, question.event);
        if !rng.one_in(10) {
            driver.run(owner);
        }
        for run in runs(rng, &recorded) {
            for part in parts(&run, &Cut::Random(0), Cuts::Anywhere, rng) {
                driver.send(&run[part], owner);
            }
            if rng.one_in(10) {
                let most = *rng.pick(&[1, 1000, 40_000, 400_000]);
                driver.pass(Duration::from_millis(rng.below(most) as u64), owner);
            }
            if rng.one_in(40) {
                driver.set_pressed(rng.one_in(2));
            }
            if rng.one_in(40) {
                driver.resume();
            }
            if rng.one_in(200) {
                driver.shut_down(owner);
            }
            if driver.is_asking() && rng.one_in(2) {
                let reply = Reply::parse("250 x").expect("a reply").into_owned();
                driver.answer(reply.into(), owner);
            }
        }
        // The end of the data has no clock of its own: the disk answers at last.
        for _ in 0..100 {
            driver.pass(Duration::from_secs(600), owner);
            if driver.is_closed() {
                return;
            }
            let reply = Reply::parse("451 x").expect("a reply").into_owned();
            driver.answer(reply.into(), owner);
        }
        panic!("a silent peer keeps its connection");
    });
}

/// The same noise, the same answers, cut elsewhere: the same log. Cuts stay inside lines, since
/// whether octets wait behind a command is part of what decides (RFC 2920).
#[test]
fn noise_means_the_same_however_it_is_cut() {
    let recorded = recorded();
    with_seeds(8000, |rng| {
        let runs = runs(rng, &recorded);
        let (setting, answers) = (rng.next_u64(), rng.next_u64());
        let play = |cut: &Cut| {
            let mut driver = driver(&mut Rng::new(setting));
            let mut answers = Rng::new(answers);
            let owner = &mut |question: &Question<'_>| answer(&mut answers, question.event);
            driver.run(owner);
            let mut cuts = Rng::new(setting);
            for run in &runs {
                for part in parts(run, cut, Cuts::InsideLines, &mut cuts) {
                    if !driver.send(&run[part], owner) {
                        break;
                    }
                }
                // What was answered `Later`, or wrongly, is answered behind the run.
                while driver.is_asking() {
                    let reply = Reply::parse("550 x").expect("a reply").into_owned();
                    driver.answer(reply.into(), owner);
                }
            }
            driver.log().to_vec()
        };
        let whole = play(&Cut::Whole);
        for cut in [Cut::EachOctet, Cut::Random(1)] {
            if let Some((same, was, is)) = first_difference(&whole, &play(&cut)) {
                let shown = runs.concat().escape_ascii().to_string();
                panic!("cut {cut:?}: whole {was}, now {is}, both:\n{same}\nof {shown}");
            }
        }
    });
}

/// Outside of mail data every line, however odd, has a reply, or ends the connection.
#[test]
fn every_line_has_a_reply_or_a_close() {
    with_seeds(15_000, |rng| {
        let mut driver = driver(rng);
        let mut answers = Rng::new(rng.next_u64());
        let owner = &mut |question: &Question<'_>| match question.event {
            // Mail data has no reply for each line: it never begins here.
            Event::Data { .. } => {
                Verdict::Now(Reply::parse("451 x").expect("a reply").into_owned().into())
            }
            event => loop {
                if let Verdict::Now(answer) = answer(&mut answers, event) {
                    break Verdict::Now(answer);
                }
            },
        };
        driver.run(owner);
        for nth in 0..30 {
            let mut line = Vec::new();
            match rng.below(3) {
                0 if nth == 0 => line.extend(GREETING.trim_end().bytes()),
                0 => {
                    let len = rng.below(40);
                    line.extend(rng.octets(len));
                }
                _ => {
                    for _ in 0..rng.below(5) {
                        line.extend(rng.pick(&PIECES).bytes());
                    }
                }
            }
            line.retain(|c| *c != b'\n');
            if line.to_ascii_uppercase().starts_with(b"BDAT") {
                continue;
            }
            line.extend_from_slice(if rng.one_in(20) { b"\n" } else { b"\r\n" });
            let replies = |driver: &Driver| {
                driver.log().iter().filter(|e| matches!(e, Entry::Reply(_))).count()
            };
            let before = replies(&driver);
            driver.send(&line, owner);
            if driver.is_asking() {
                // An answer of a wrong class was refused and the question is still there.
                let reply = Reply::parse("550 x").expect("a reply").into_owned();
                driver.answer(reply.into(), owner);
            }
            if driver.is_closed() {
                return;
            }
            assert!(replies(&driver) > before, "no reply to {}", line.escape_ascii());
        }
    });
}

/// Text that looks like addresses, and text that does not.
fn address_like(rng: &mut Rng) -> String {
    const PARTS: [&str; 24] = [
        "a",
        "user",
        "\"",
        "\\",
        "@",
        ".",
        "..",
        "example",
        "org",
        "[",
        "]",
        "192.0.2.1",
        "IPv6:",
        "::1",
        "münchen",
        "дом",
        "xn--",
        "-",
        "_",
        " ",
        "\r\n",
        "\0",
        "<",
        ":",
    ];
    let mut text = String::new();
    for _ in 0..rng.below(12) {
        if rng.one_in(10) {
            text.extend(char::from_u32(rng.below(0x11_0000) as u32));
        } else if rng.one_in(20) {
            text.push_str(&"x".repeat(rng.below(300)));
        } else {
            text.push_str(PARTS[rng.below(PARTS.len())]);
        }
    }
    text
}

/// A mailbox that can be built can be sent, and read back as itself.
#[test]
fn addresses() {
    with_seeds(150_000, |rng| {
        let text = match rng.below(3) {
            0 => format!("{}@{}", address_like(rng), address_like(rng)),
            1 => format!("user@{}.example", address_like(rng)),
            _ => address_like(rng),
        };
        if let Ok(mailbox) = Mailbox::parse(&text) {
            let written = mailbox.as_str();
            assert!(!written.bytes().any(|c| c.is_ascii_control()), "{text:?} to {written:?}");
            assert!(mailbox.local_part().len() <= limits::LOCAL_PART, "{text:?}");
            assert!(mailbox.domain().len() <= limits::DOMAIN, "{text:?}");
            assert!(mailbox.domain().is_ascii(), "{text:?} to {written:?}");
            let again =
                Mailbox::parse(written).unwrap_or_else(|_| panic!("{text:?} to {written:?}"));
            assert_eq!(again, mailbox);
            assert_eq!(again.as_str(), written, "{text:?}");
            let parts = Mailbox::new(mailbox.local_part(), mailbox.domain());
            assert_eq!(parts.as_ref(), Ok(&mailbox), "{text:?}");
        }
        let len = rng.below(20);
        let octets = rng.octets(len);
        if let Some(name) = HeloName::parse(&octets) {
            assert!(!name.as_str().chars().any(char::is_control));
        }
        let _ = (Notify::parse(&text), Orcpt::parse(&text));
    });
}

/// What MAIL and RCPT take for an address is one everywhere else too.
#[test]
fn paths() {
    let peer = Peer::Ip("192.0.2.1".parse().expect("an address"));
    let params = Arc::new(Params::default());
    let taken = Cell::new(0);
    with_seeds(5000, |rng| {
        let mut driver = Driver::new(params.clone(), peer, None);
        let owner = &mut |question: &Question<'_>| {
            let (path, reply) = match question.event {
                Event::Connected { .. } => (None, "220 x"),
                Event::Mail { from, .. } => (*from, "250 x"),
                Event::Rcpt { to, .. } => (Some(*to), "250 x"),
                _ => (None, "250 x"),
            };
            if let Some(path) = path {
                taken.set(taken.get() + 1);
                let mailbox = path.to_mailbox("mx.example.org");
                let again = Mailbox::parse(mailbox.as_str());
                assert_eq!(again.as_ref(), Ok(&mailbox), "{path:?}");
            }
            Verdict::Now(Reply::parse(reply).expect("a reply").into_owned().into())
        };
        driver.run(owner);
        driver.send(GREETING.as_bytes(), owner);
        let mut address = || match rng.below(3) {
            0 => format!("{}@{}", address_like(rng), address_like(rng)),
            1 => format!("user@{}.example", address_like(rng)),
            _ => address_like(rng),
        };
        let (from, to) = (address(), address());
        driver.send(format!("MAIL FROM:<{from}> SMTPUTF8\r\n").as_bytes(), owner);
        driver.send(b"RSET\r\nMAIL FROM:<> SMTPUTF8\r\n", owner);
        driver.send(format!("RCPT TO:<{to}>\r\n").as_bytes(), owner);
    });
    assert!(taken.get() > 0, "no address was taken");
}

/// A reply that can be built is one line that can be sent.
#[test]
fn replies() {
    with_seeds(20_000, |rng| {
        let mut text = rng.pick(&["", "250 ", "550 5.1.1 ", "421 4.7", "25", "999 "]).to_string();
        let len = *rng.pick(&[0, 10, 700]);
        text.push_str(&String::from_utf8_lossy(&rng.octets(len)));
        if rng.one_in(3) {
            text.push_str("\r\n250 second line");
        }
        if let Ok(reply) = Reply::parse(&text) {
            let mut out = Vec::new();
            reply.write(&mut out);
            assert!(out.len() <= 512, "{} octets", out.len());
            let line = out.strip_suffix(b"\r\n").expect("a line");
            assert!(line.iter().all(|c| matches!(c, b' '..=b'~')), "{}", line.escape_ascii());
            assert!((200..=599).contains(&reply.code()));
        }
    });
}

/// Something like the header and body of a message, with CR LF line ends as `Body` lends them.
fn message_like(rng: &mut Rng) -> Vec<u8> {
    const PARTS: [&str; 30] = [
        "From: ",
        "To: ",
        "Cc: ",
        "BCC: ",
        "bcc:",
        "Received: ",
        "Date: ",
        "Message-ID: ",
        "Subject: ",
        "a@example.com",
        "user",
        "<user>",
        "\"A, B\" <a>",
        "(comment)",
        "(",
        ")",
        "\"",
        "\\",
        ", ",
        "; ",
        "group: a, b;",
        ":",
        " ",
        "\t",
        "\r\n",
        "\r\n",
        "\r\n ",
        "\r\n\t",
        "\r\n\r\n",
        "ünï",
    ];
    let mut message = Vec::new();
    for _ in 0..rng.below(50) {
        message.extend(rng.pick(&PARTS).bytes());
    }
    if rng.one_in(30) {
        message.extend(b"X: ".iter().copied().chain(std::iter::repeat_n(b'x', 70_000)));
    }
    message.extend(b"\r\n");
    message
}

fn rewritten(mut rewriter: Rewriter, message: &[u8], cut: &Cut, rng: &mut Rng) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    for part in parts(message, cut, Cuts::Anywhere, rng) {
        rewriter.push(&message[part], &mut out);
    }
    rewriter.finish(&mut out);
    (out, rewriter.hops())
}

/// Mail in transit passes unchanged; a submitted message is made complete once, whatever its runs.
#[test]
fn headers() {
    let submission = || {
        Rewriter::submission(Submission {
            domain: "example.org".into(),
            date: "Sun, 01 Dec 2024 10:00:00 +0100 (CET)".into(),
            masquerade: None,
            message_id: "<0123456789abcdef@example.org>".into(),
        })
    };
    with_seeds(8000, |rng| {
        let message = message_like(rng);
        let (passed, hops) = rewritten(Rewriter::pass(), &message, &Cut::Random(0), rng);
        assert_eq!(passed.escape_ascii().to_string(), message.escape_ascii().to_string());
        let (whole, fewer_hops) = rewritten(submission(), &message, &Cut::Whole, rng);
        // A submitted header ends at the first line that is none; in transit it ends at the empty
        // line only.
        assert!(fewer_hops <= hops, "{fewer_hops} > {hops}: {}", message.escape_ascii());
        let (cut, _) = rewritten(submission(), &message, &Cut::Random(0), rng);
        let shown = message.escape_ascii();
        assert_eq!(cut.escape_ascii().to_string(), whole.escape_ascii().to_string(), "{shown}");
        let (again, _) = rewritten(submission(), &whole, &Cut::Whole, rng);
        assert_eq!(again.escape_ascii().to_string(), whole.escape_ascii().to_string(), "{shown}");
    });
}
