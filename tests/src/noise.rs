//! Seeded noise: what looks a little like SMTP, and owners that answer anything.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use smtpd_engine::limits;
use smtpd_engine::reply::Reply;
use smtpd_engine::server::{Answer, Demand, Event, Params, Peer, Report, StrayNewline};

use crate::effort;
use crate::rng::Rng;
use crate::transcript::driver::{Driver, Verdict, tls_info};
use crate::transcript::{Piece, What, parse, server_transcripts};

/// Runs `test` with many seeds; the one that fails is named. `HERMES_SEED=N` runs only that one.
///
/// # Panics
/// When `test` does.
pub fn with_seeds(times: usize, test: impl Fn(&mut Rng)) {
    let only = std::env::var("HERMES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 0..(times * effort()) as u64,
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| test(&mut Rng::new(seed)));
        if let Err(panic) = catch_unwind(run) {
            eprintln!("seed {seed} failed");
            resume_unwind(panic);
        }
    }
}

/// Pieces that dialogues are made of, good and bad.
pub const PIECES: [&str; 76] = [
    "EHLO ",
    "HELO ",
    "client.example.com",
    "MAIL FROM:",
    "RCPT TO:",
    "<a@example.com>",
    "<>",
    "<postmaster>",
    "<\"a b\"@example.org>",
    "<@x,@y:z@example.org>",
    "<a@[192.0.2.1]>",
    "<a@[IPv6:::1]>",
    "<a@münchen.example>",
    "<дом@example.org>",
    " SIZE=10",
    " SIZE=99999999999999999999",
    " BODY=8BITMIME",
    " BODY=7BIT",
    " SMTPUTF8",
    " RET=HDRS",
    " ENVID=x+2B",
    " NOTIFY=NEVER",
    " NOTIFY=SUCCESS,DELAY",
    " ORCPT=rfc822;a",
    " AUTH=<>",
    " FOO=BAR",
    "DATA",
    "BDAT 0",
    "BDAT 5",
    "BDAT 10 LAST",
    "BDAT 0 LAST",
    "BDAT 18446744073709551615",
    "RSET",
    "NOOP",
    " argument",
    "HELP",
    "VRFY a",
    "EXPN b",
    "QUIT",
    "STARTTLS",
    "AUTH PLAIN",
    "AUTH LOGIN",
    "AUTH SCRAM-SHA-256",
    "AUTH SCRAM-SHA-256-PLUS biwsbj11c2VyLHI9eA==",
    " AGEAYg==",
    "dXNlcg==",
    "*",
    "=",
    "GET / HTTP/1.1",
    "Subject: x",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    ".",
    "..",
    ".\r\n",
    "\r\n.\r\n",
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    ".\r\r\n",
    " ",
    "\t",
    "\u{7f}",
    "text",
    "Received: x\r\n",
    ":",
    "<",
    ">",
    "@",
    "\"",
];

/// What noise begins with so that it gets past the greeting.
pub const GREETING: &str = "EHLO client.example.com\r\n";
/// And into a transaction.
const TRANSACTION: &str = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n";

/// Half of the sessions have the defaults: under odd settings few get far.
fn params(rng: &mut Rng) -> Params {
    if rng.one_in(2) {
        return Params::default();
    }
    let demand = [Demand::Never, Demand::Offered, Demand::Offered, Demand::Required];
    let mut params = Params {
        max_size: *rng.pick(&[0, 10, 1000, limits::MESSAGE, u64::MAX]),
        max_recipients: *rng.pick(&[0, 1, 3, limits::RECIPIENTS]),
        max_mails: *rng.pick(&[0, 1, limits::MAILS, limits::MAILS]),
        starttls: *rng.pick(&demand),
        auth: *rng.pick(&demand),
        scram: rng.one_in(2),
        dsn: !rng.one_in(4),
        stray_newline: *rng.pick(&[StrayNewline::Reject, StrayNewline::Normalize]),
        report: *rng.pick(&[Report::Nothing, Report::Failures, Report::All]),
        ..Params::default()
    };
    params.ask.starttls = rng.one_in(4);
    params.ask.rset = rng.one_in(4);
    params.ask.noop = rng.one_in(4);
    params.ask.quit = rng.one_in(4);
    params
}

/// A session with settings and a peer of any kind.
#[must_use]
pub fn driver(rng: &mut Rng) -> Driver {
    let ips = ["192.0.2.1", "2001:db8::1", "127.0.0.1"];
    let peer = match rng.below(4) {
        0 => Peer::Local,
        nth => Peer::Ip(ips[nth - 1].parse().expect("an address")),
    };
    let tls = rng.one_in(3).then(tls_info);
    Driver::new(Arc::new(params(rng)), peer, tls)
}

/// An answer of any kind, mostly one that fits.
#[must_use]
pub fn answer(rng: &mut Rng, event: &Event<'_>) -> Verdict {
    const ANY: [&str; 14] = [
        "220 x",
        "235 x",
        "250 x",
        "221 x",
        "334 cj1mb28=",
        "354 x",
        "421 x",
        "450 4.2.0 x",
        "451 x",
        "452 4.3.1 x",
        "500 x",
        "535 x",
        "550 5.1.1 x",
        "599 x",
    ];
    let text = match event {
        _ if rng.one_in(25) => *rng.pick(&ANY),
        Event::Connected { .. } => "220 x",
        Event::Auth { .. } => "235 x",
        Event::Data { .. } => "354 x",
        _ => "250 x",
    };
    if rng.one_in(15) {
        return Verdict::Later;
    }
    let reply = Reply::parse(text).expect("a reply").into_owned();
    Verdict::Now(Answer { close: rng.one_in(100), ..reply.into() })
}

/// Everything that the transcripts' peers send, run by run.
#[must_use]
pub fn recorded() -> Vec<Vec<Vec<u8>>> {
    let mut recorded = Vec::new();
    for file in server_transcripts() {
        let transcript = parse::load(&file).expect("the transcripts are well formed");
        let mut runs = Vec::new();
        for act in transcript.acts {
            let What::Send(pieces) = act.what else { continue };
            let mut run = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Line(line) => run.extend(line.bytes().chain(*b"\r\n")),
                    Piece::Octets(octets) => run.extend(octets),
                }
            }
            runs.push(run);
        }
        // The long ones are about limits; noise is about the rest.
        if runs.iter().map(Vec::len).sum::<usize>() < 5000 {
            recorded.push(runs);
        }
    }
    recorded
}

/// What a peer might send, run by run: transcripts with changes, dialogues of random pieces
/// that begin well, or random octets.
#[must_use]
pub fn runs(rng: &mut Rng, recorded: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    if rng.one_in(3) {
        let mut runs = rng.pick(recorded).clone();
        for run in &mut runs {
            if rng.one_in(4) {
                mutate(rng, run);
            }
        }
        return runs;
    }
    let mut runs = Vec::new();
    if !rng.one_in(8) {
        runs.push(GREETING.into());
    }
    for _ in 0..rng.below(12) {
        match rng.below(10) {
            0 => {
                let len = rng.below(100);
                runs.push(rng.octets(len));
            }
            1..4 => runs.push(TRANSACTION.into()),
            4 | 5 => runs.push(b"DATA\r\n".into()),
            6 => {
                let mut chunk = TRANSACTION.to_owned();
                for last in ["", "", " LAST"] {
                    let octets = rng.below(30);
                    chunk += &format!("BDAT {octets}{last}\r\n{}", &"a.\r\n".repeat(8)[..octets]);
                }
                let mut chunk = chunk.into_bytes();
                if rng.one_in(2) {
                    mutate(rng, &mut chunk);
                }
                runs.push(chunk);
            }
            _ => {
                let mut run = String::new();
                for _ in 0..1 + rng.below(20) {
                    run.push_str(PIECES[rng.below(PIECES.len())]);
                }
                if !rng.one_in(5) {
                    run.push_str("\r\n");
                }
                runs.push(run.into());
            }
        }
    }
    runs
}

/// Changes, removes, adds and doubles some octets.
pub fn mutate(rng: &mut Rng, octets: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(8) {
        if octets.is_empty() {
            return;
        }
        let at = rng.below(octets.len());
        match rng.below(5) {
            0 => octets[at] = rng.next_u64().to_le_bytes()[0],
            1 => drop(octets.remove(at)),
            2 => octets.insert(at, *rng.pick(b"\r\n.\0 <>@:;=\"\\")),
            3 => octets.truncate(at),
            _ => {
                let to = at + rng.below(octets.len() - at);
                let copy = octets[at..to].to_vec();
                let to = rng.below(octets.len());
                octets.splice(to..to, copy);
            }
        }
    }
}
