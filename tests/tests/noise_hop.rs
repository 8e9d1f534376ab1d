//! Seeded noise from next hops: whatever they say, at whatever cut and hour, no session panics,
//! each recipient has one outcome and no more, and in the end the session is over.
//!
//! Bounded to a few seconds; `HERMES_LONG=1` tries 50 times as much. A seed that found something
//! is printed; `HERMES_SEED=N` runs only that one.

use std::cell::Cell;
use std::time::Duration;

use smtpd_engine::client::{Tls, Wait};
use smtpd_engine::limits;
use smtpd_tests::noise::{mutate, with_seeds};
use smtpd_tests::rng::Rng;
use smtpd_tests::transcript::Cuts;
use smtpd_tests::transcript::client::driver::Driver;
use smtpd_tests::transcript::client::{Message, What, client_transcripts, params, parse};
use smtpd_tests::transcript::player::{Cut, parts};

/// What next hops say, well and badly.
const LINES: [&str; 44] = [
    "220 mx ESMTP\r\n",
    "250 Ok\r\n",
    "250 Ok\r\n",
    "250 Ok\r\n",
    "250 Ok\r\n",
    "250-mx\r\n250 PIPELINING\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
    "250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n",
    "250-mx\r\n250-SIZE 10\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    "354 Go\r\n",
    "354 Go\r\n",
    "334 VXNlcm5hbWU6\r\n",
    "235 Welcome\r\n",
    "221 Bye\r\n",
    "421 Bye\r\n",
    "450 4.2.1 Later\r\n",
    "451-4.3.0 Later\r\n451 4.3.0 still\r\n",
    "452 4.5.3 Too many\r\n",
    "500 What?\r\n",
    "502 5.5.1 No\r\n",
    "530 5.7.0 Must issue a STARTTLS command first\r\n",
    "535 5.7.8 No\r\n",
    "550 5.1.1 No such user\r\n",
    "552 5.2.2 Full\r\n",
    "554 5.7.1 Spam\r\n",
    "250\r\n",
    "250-\r\n",
    "25\r\n",
    "5\r\n",
    "\r\n",
    "650 What?\r\n",
    "250-a\r\n550 b\r\n",
    "HTTP/1.1 400\r\n",
    "250 ",
    "550-",
    "\r",
    "\n",
    "\0",
    "\u{fc}\u{2013}",
    "\x1b[31m",
    "x",
    " ",
    "-",
    "2",
];

/// All that the next hops of the transcripts say, run by run.
fn recorded() -> Vec<Vec<Vec<u8>>> {
    let runs = client_transcripts().into_iter().map(|file| {
        let transcript = parse::load(&file).expect("the transcripts are well formed");
        let acts = transcript.acts.into_iter();
        let said =
            acts.filter_map(|act| if let What::Send(run) = act.what { Some(run) } else { None });
        said.collect::<Vec<_>>()
    });
    // The long ones are about limits; noise is about the rest.
    runs.filter(|runs| runs.iter().map(Vec::len).sum::<usize>() < 5000).collect()
}

fn runs(rng: &mut Rng, recorded: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    if rng.one_in(2) {
        let mut runs = rng.pick(recorded).clone();
        for run in &mut runs {
            if rng.one_in(4) {
                mutate(rng, run);
            }
        }
        return runs;
    }
    let greeting = rng.pick(&LINES[4..9]).as_bytes().to_vec();
    let mut runs = vec![LINES[0].into(), greeting];
    for _ in 0..rng.below(30) {
        let mut run = Vec::new();
        for _ in 0..1 + rng.below(4) {
            run.extend(rng.pick(&LINES).bytes());
        }
        if rng.one_in(20) {
            let len = rng.below(100);
            run.extend(rng.octets(len));
        }
        if rng.one_in(100) {
            run.extend(b"250-x\r\n".repeat(rng.below(3000)));
        }
        runs.push(run);
    }
    runs
}

/// What a next hop answers that means well most of the time. Content has no lines that look
/// like commands.
fn answers(rng: &mut Rng, said: &[u8]) -> Vec<u8> {
    let mut run = Vec::new();
    for line in said.split_inclusive(|c| *c == b'\n') {
        let verb = line.split(|c| matches!(c, b' ' | b'\r')).next().unwrap_or(b"");
        let good: &[&str] = match verb {
            b"EHLO" | b"LHLO" => &LINES[4..9],
            b"HELO" | b"MAIL" | b"RSET" | b"RCPT" | b"BDAT" => &["250 Ok\r\n"],
            b"STARTTLS" => &["220 Go\r\n"],
            b"AUTH" => &["235 Welcome\r\n", "334 VXNlcm5hbWU6\r\n"],
            b"DATA" => &["354 Go\r\n"],
            b"." => &["250 Taken\r\n", "250-Taken\r\n250 as 1234\r\n"],
            b"QUIT" => &["221 Bye\r\n"],
            _ => continue,
        };
        let any = rng.one_in(20);
        run.extend(if any { rng.pick(&LINES) } else { rng.pick(good) }.bytes());
    }
    run
}

fn driver(rng: &mut Rng) -> Driver {
    let words = [
        &[][..],
        &["chunking"],
        &["lmtp", "no-tls"],
        &["lmtp", "chunking"],
        &["smtps", "auth=user:pass"],
        &["smtps", "token=user:token"],
        &["auth=user:pass"],
        &["max-failures=1"],
    ];
    let words: Vec<String> = rng.pick(&words).iter().map(ToString::to_string).collect();
    let (mut params, immediate) = params(&words).expect("the words are known");
    if rng.one_in(4) {
        params.tls = *rng.pick(&[Tls::Never, Tls::Opportunistic, Tls::Required]);
    }
    Driver::new(params, immediate)
}

/// What the caller does when it is his turn.
fn call(rng: &mut Rng, driver: &mut Driver, mails: &[Message], content: &[u8]) {
    for _ in 0..3 {
        let done = match driver.wait() {
            Some(Wait::Caller) if rng.one_in(10) => driver.quit(),
            Some(Wait::Caller) => driver.mail(rng.pick(mails)),
            Some(Wait::Content) if rng.one_in(2) => driver.end_of_data(),
            Some(Wait::Content) => {
                let len = rng.below(content.len());
                driver.body(&content[..len])
            }
            Some(Wait::Tls) => {
                driver.tls_started();
                Ok(())
            }
            Some(Wait::Input) | None => return,
        };
        // Without PIPELINING the second run of content has to wait.
        assert!(done.is_ok() || driver.wait() == Some(Wait::Input), "what it waited for");
    }
}

fn mails() -> Vec<Message> {
    let mail = |line: &str| {
        let text = format!("# A mail\nM: {line}\n");
        let transcript = parse::parse("made-up.smtp".as_ref(), &text).expect("it is well formed");
        match transcript.acts.into_iter().last().map(|act| act.what) {
            Some(What::Mail(message)) => message,
            other => panic!("{other:?} is no mail"),
        }
    };
    vec![
        mail("from=<a@example.com> to=<b@example.org> size=5 8bit ret=full envid=x"),
        mail("from=<> to=<b@example.org> to=<c@example.org> notify=never to=<d@example.org>"),
        mail("from=<a@example.com> to=<jürgen@example.org> to=<b@example.org>"),
        mail("from=<a@example.com> to=<b@example.org> size=99999"),
    ]
}

/// The driver asserts the engine's promises; here any panic is a failure.
#[test]
fn sessions_survive_any_next_hop() {
    let (recorded, mails) = (recorded(), mails());
    let content = b"Subject: x\r\n\r\n.text\r\n.\r\na\nb\rc\r\n".repeat(9);
    let delivered = Cell::new(0);
    with_seeds(20_000, |rng| {
        let mut driver = driver(rng);
        driver.run();
        let willing = rng.one_in(2);
        let mut noise = runs(rng, &recorded).into_iter();
        for round in 0..40 {
            let run = match round {
                0 if willing => b"220 mx ESMTP\r\n".to_vec(),
                _ if willing => answers(rng, &driver.said()),
                _ => match noise.next() {
                    Some(run) => run,
                    None => break,
                },
            };
            for part in parts(&run, &Cut::Random(0), Cuts::Anywhere, rng) {
                if driver.wait().is_none() {
                    return;
                }
                driver.send(&run[part]);
                let told = driver.told();
                delivered
                    .set(delivered.get() + told.iter().filter(|t| t.contains("delivered")).count());
                if rng.one_in(3) {
                    call(rng, &mut driver, &mails, &content);
                }
            }
            call(rng, &mut driver, &mails, &content);
            if rng.one_in(10) {
                let most = *rng.pick(&[1, 1000, 40_000, 400_000]);
                driver.pass(Duration::from_millis(rng.below(most) as u64));
            }
            if rng.one_in(300) && driver.wait().is_some() {
                driver.hang_up();
            }
        }
        // A next hop that says no more keeps no message.
        match driver.wait() {
            Some(Wait::Caller) => driver.quit().expect("it waits for the caller"),
            Some(Wait::Tls) => driver.hang_up(),
            _ => {}
        }
        driver.pass(limits::HOP_END_TIME);
        assert_eq!(driver.wait(), None, "a silent next hop keeps the session");
    });
    assert!(delivered.get() > 1000, "only {} messages were taken", delivered.get());
}

/// The same octets, cut elsewhere, come to the same where the caller does nothing but wait.
#[test]
fn noise_means_the_same_however_it_is_cut() {
    let recorded = recorded();
    let mails = mails();
    with_seeds(6000, |rng| {
        let runs = runs(rng, &recorded);
        let setting = rng.next_u64();
        let play = |cut: &Cut| {
            let mut choices = Rng::new(setting);
            let mut driver = driver(&mut choices);
            let mut cuts = Rng::new(setting);
            driver.run();
            let mut came = Vec::new();
            for run in &runs {
                for part in parts(run, cut, Cuts::Anywhere, &mut cuts) {
                    if driver.wait().is_none() || !driver.send(&run[part]) {
                        break;
                    }
                }
                let (said, told) = (driver.said(), driver.told());
                came.push((said.escape_ascii().to_string(), told, driver.wait()));
                // Content is one run: of several, chunks are made as it was cut.
                call(&mut choices, &mut driver, &mails, b"text\r\n.\r\n");
            }
            came
        };
        let whole = play(&Cut::Whole);
        for cut in [Cut::EachOctet, Cut::Random(1)] {
            assert_eq!(play(&cut), whole, "{cut:?} of {}", runs.concat().escape_ascii());
        }
    });
}
