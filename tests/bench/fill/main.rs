//! `queue-fill`: fills a queue with deferred mail, as a daemon would have left it, for
//! measurements of a start and of a server with a full queue.
//!
//! Everything goes through the same commit as in the daemon, in groups as large as one takes, so
//! that a million messages are a matter of seconds. The envelopes name actions of
//! `peers/hermes/smtpd.conf`; a daemon with that configuration finds the queue in `DIR` when it
//! is started with `-D dir=` and the directory above, DIR being called `spool`.

#![forbid(unsafe_code)]

mod mail;
mod options;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{self, Commit, Opened};
use smtpd_queue::disk::RealDisk;
use smtpd_queue::lock::Lock;
use smtpd_queue::request::{Accept, Body, Content, Done, Request};
use smtpd_queue::spool::{self, Spool};

use mail::Mail;
use options::Options;

/// Messages handed over at once; the commit makes as many groups of them as it must.
const TOGETHER: usize = 2048;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("queue-fill: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    match fill(&options) {
        Ok(()) => {
            let seconds = start.elapsed().as_secs_f64();
            println!("{} messages in {seconds:.1} s", options.messages);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("queue-fill: {}: {error}", options.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn fill(options: &Options) -> io::Result<()> {
    let _lock = Lock::take(&options.dir)?;
    let half = || u128::from(RandomState::new().build_hasher().finish());
    let random = half() << 64 | half();
    let opened = Commit::open(Arc::new(RealDisk), &options.dir, &commit::Options::new(random))?;
    let Opened { mut commit, ids, reader, spool, .. } = opened;
    let lease = reader.epoch();
    let budget = Budget::new(usize::MAX);
    let mut mail = Mail::new(options);
    let mut octets = Vec::new();
    let mut left = options.messages;
    let mut attempts = VecDeque::new();
    let (mut requests, mut done) = (Vec::new(), Vec::new());
    while left > 0 || !attempts.is_empty() {
        // What the first attempts left is known once the messages are in the queue.
        requests.extend(attempts.drain(..).map(Request::Outcome));
        for _ in 0..left.min(TOGETHER) {
            let id = ids.take().ok_or(io::ErrorKind::StorageFull)?;
            let message = mail.message(id);
            mail.content(id, &mut octets);
            let body = match octets.len() > spool::INLINE {
                true => in_file(&spool, id, &octets)?,
                false => in_memory(&budget, &octets),
            };
            let content = Content { dot_lines: false, body };
            let causes = Vec::new();
            requests.push(Request::Accept(Accept { token: (), message, content, causes }));
        }
        left -= left.min(TOGETHER);
        while !requests.is_empty() {
            commit.turn(Time::default(), &mut requests, &mut done);
            for done in done.drain(..) {
                match done {
                    Done::Accepted { message, .. } => {
                        attempts.extend(mail.attempts(&message, lease))
                    }
                    Done::Refused { why, .. } => return Err(io::Error::other(why.to_string())),
                    Done::Recorded(_) | Done::Void(_) | Done::Discard(_) | Done::Damaged(_) => {}
                }
            }
        }
    }
    if options.close {
        commit.close()?;
    }
    Ok(())
}

fn in_memory(budget: &Budget, octets: &[u8]) -> Body {
    let mut buffer = budget.buffer();
    assert!(buffer.extend(octets), "the budget has no bound");
    Body::Memory(buffer)
}

fn in_file(spool: &Spool, id: smtpd_queue::id::MessageId, octets: &[u8]) -> io::Result<Body> {
    let mut writer = spool.begin(id)?;
    writer.write(octets)?;
    spool.finish(writer).map(Body::File)
}
