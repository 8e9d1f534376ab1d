//! Plays every transcript of `fixtures/smtp` (RFC 5321 and its extensions), those of clients with
//! our receiving side and those of servers with our sending side: whole, octet by octet and cut at
//! random places.
//!
//! A failure prints file and line, what was expected and what came, and the conversation so far.
//! `HERMES_TRANSCRIPT=part-of-a-name` plays only those with that name.

use std::path::{Path, PathBuf};

use smtpd_tests::effort;
use smtpd_tests::transcript::client::{self, client_transcripts};
use smtpd_tests::transcript::parse::{load, parse};
use smtpd_tests::transcript::player::{Cut, play, play_every_way};
use smtpd_tests::transcript::{Failure, server_transcripts};

/// Plays of each transcript that are cut at random places.
const RANDOM_CUTS: u64 = 24;

#[test]
fn every_transcript_of_clients_holds_however_it_is_cut() {
    every_one(server_transcripts(), |file, times| {
        load(file).and_then(|transcript| play_every_way(&transcript, times))
    });
}

#[test]
fn every_transcript_of_servers_holds_however_it_is_cut() {
    every_one(client_transcripts(), |file, times| {
        let transcript = client::parse::load(file)?;
        client::player::play_every_way(&transcript, times)
    });
}

fn every_one(
    mut files: Vec<PathBuf>,
    play: impl Fn(&Path, u64) -> Result<(), Failure> + std::panic::RefUnwindSafe,
) {
    let only = std::env::var("HERMES_TRANSCRIPT").unwrap_or_default();
    files.retain(|file| file.to_string_lossy().contains(&only));
    let times = RANDOM_CUTS * effort() as u64;
    let mut failures = String::new();
    let mut failed = 0;
    for file in &files {
        // A panic of the engine is one transcript's failure: the others are still played.
        match std::panic::catch_unwind(|| play(file, times)) {
            Ok(Ok(())) => continue,
            Ok(Err(failure)) => failures += &format!("\n{failure}"),
            Err(_) => failures += &format!("\n{}: panicked, see above\n", file.display()),
        }
        failed += 1;
    }
    assert!(failed == 0, "{failed} of {} transcripts failed:\n{failures}", files.len());
}

#[test]
fn there_are_as_many_as_we_promise() {
    let (clients, servers) = (server_transcripts().len(), client_transcripts().len());
    assert!(clients >= 80 && servers >= 80, "only {clients} and {servers} transcripts");
}

/// The test of the test: each of these differs from the truth in one place, and is found.
#[test]
fn wrong_transcripts_fail_where_they_are_wrong() {
    let good = "# Something is wrong.
S: 220 mx.example.org ESMTP OpenSMTPD
C: EHLO client.example.com
S: 250
C: MAIL FROM:<a@example.com>
C: RCPT TO:<b@example.org>
C: DATA
Q: mail from=<a@example.com>
S: 250 2.0.0 Ok
Q: rcpt to=<b@example.org>
S: 250 2.1.5 Destination address valid: Recipient ok
Q: data
S: 354
C: text
C: .
B: text
Q: end-of-data octets=6
S: 250 2.0.0 {id} Message accepted for delivery
C: RSET
C: QUIT
S: 250 2.0.0 Reset state
S: 221 2.0.0 Bye
E: close
";
    let file = Path::new("made-up.smtp");
    let played = |text: &str| parse(file, text).and_then(|t| play(&t, &Cut::Whole));
    played(good).unwrap_or_else(|failure| panic!("{failure}"));
    let wrong = [
        (2, "S: 220 mx.example.org ESMTP Hermes"),
        (4, "S: 251"),
        (8, "Q: mail from=<b@example.com>"),
        (9, "S: 250 2.0.0 Fine"),
        (9, ""),
        (10, "Q: data"),
        (11, "S: 250 2.1.6"),
        (13, "S: 354\nS: 250"),
        (16, "B: texts"),
        (17, "Q: end-of-data octets=7"),
        (18, "S: 250 2.0.0 Message accepted for delivery"),
        (21, ""),
        (23, ""),
        (23, "E: reset\nE: close"),
    ];
    for (at, line) in wrong {
        let mut lines: Vec<&str> = good.lines().collect();
        lines[at - 1] = line;
        let failure = played(&lines.join("\n")).expect_err(line);
        assert!(failure.line.abs_diff(at) <= 2, "{line:?} in line {at} was found as:\n{failure}");
        assert!(!failure.so_far.is_empty() || at <= 2, "{failure}");
    }
}

#[test]
fn lines_that_mean_nothing_are_refused() {
    let file = Path::new("made-up.smtp");
    for (line, text) in [
        (1, "S: 220\nC: QUIT"),
        (2, "# About\nlistner: tls"),
        (2, "# About\ncompare: roughly"),
        (2, "# About\npeer: somebody"),
        (3, "# About\nS: 220\nlistener: tls"),
        (3, "# About\nS: 220\nD: 220"),
        (3, "# About\nS: 220\nT: soon"),
        (3, "# About\nS: 220\nX: explode"),
        (3, "# About\nS: 220\nC| \\q"),
        (3, "# About\nS: 220\nC< no-such-file"),
        (3, "# About\nQ: connected\nA: perhaps"),
        (3, "# About\nS: 220\nA: later"),
        (3, "# About\nS: 220\nQ*2: mail"),
        (1, "# About nothing at all"),
    ] {
        let failure = parse(file, text).expect_err(text);
        assert_eq!(failure.line, line, "{text:?}: {failure}");
    }
    let unknown = parse(file, "# About\nlistener: tls-maybe\nS: 220").expect("it parses");
    let failure = play(&unknown, &Cut::Whole).expect_err("there is no such option");
    assert_eq!(failure.line, 2);
}

/// The same for the sending side: each differs from the truth in one place, and is found.
#[test]
fn wrong_transcripts_of_servers_fail_where_they_are_wrong() {
    let good = "# Something is wrong.
S: 220 mx
C: EHLO client.example.com
S: 250-mx
S: 250 PIPELINING
E: caller
M: from=<> to=<a@example.org>
C: MAIL FROM:<>
C: RCPT TO:<a@example.org>
C: DATA
S: 250 Ok
S: 250 Ok
S: 354 Go
E: content
B: .text
C: ..text
X: end
C: .
S: 550 5.7.1 No
E: failed rest permanent 5.7.1 550 5.7.1 No
E: caller
X: quit
C: QUIT
T: 10s
E: close
";
    let file = Path::new("made-up.smtp");
    let played = |text: &str| {
        let transcript = client::parse::parse(file, text)?;
        client::player::play(&transcript, &Cut::Whole)
    };
    played(good).unwrap_or_else(|failure| panic!("{failure}"));
    let wrong = [
        (2, "S: 554 mx"),
        (3, "C: HELO client.example.com"),
        (5, "S: 250 SIZE"),
        (6, ""),
        (7, "M: from=<> to=<b@example.org>"),
        (10, ""),
        (12, "S: 450 No"),
        (13, ""),
        (14, "E: content\nE: close"),
        (16, "C: .text"),
        (20, "E: failed rest temporary 4.7.1 550 5.7.1 No"),
        (20, ""),
        (22, "X: hang-up"),
        (24, "T: 9s"),
        (25, "E: close\nS: 250 Ok"),
    ];
    for (at, line) in wrong {
        let mut lines: Vec<&str> = good.lines().collect();
        lines[at - 1] = line;
        let failure = played(&lines.join("\n")).expect_err(line);
        assert!(failure.line.abs_diff(at) <= 4, "{line:?} in line {at} was found as:\n{failure}");
    }
    for (line, text) in [
        (1, "S: 220"),
        (1, "# About nothing at all"),
        (2, "# About\nsession: tls-maybe\nS: 220 x"),
        (2, "# About\nsession: auth=user\nS: 220 x"),
        (3, "# About\nS: 220 x\nQ: mail"),
        (3, "# About\nS: 220 x\nX: explode"),
        (3, "# About\nS: 220 x\nM: from=<>"),
        (3, "# About\nS: 220 x\nM: to=<a@example.org> sice=3"),
        (3, "# About\nS: 220 x\nE*2: caller"),
    ] {
        let failure = played(text).expect_err(text);
        assert_eq!(failure.line, line, "{text:?}: {failure}");
    }
}
