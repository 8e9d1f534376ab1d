//! How fast the commit thread makes mail durable on the disk of this machine, and what a
//! message costs in processor time.
//!
//! ```text
//! cargo run --release -p smtpd-queue --example commit_rate [DIRECTORY [SECONDS]]
//! ```
//!
//! Groups of 1, 16 and 50 messages of 1 KiB are written and synced one after the other, each
//! settled a few groups later, so that segments are used again as in a server that keeps up.
//! First into segments that grow, then into spare ones. DIRECTORY (default: the current one)
//! should be on the disk in question.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{Commit, Opened, Options};
use smtpd_queue::disk::RealDisk;
use smtpd_queue::envelope::{Agent, Envelope, Message, Outcome, Source, Verdict};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::request::{Accept, Body, Content, Done, Request};
use smtpd_queue::spares::Filled;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let dir = dir.join(format!("commit-rate-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    for (how, spares) in [("growing", false), ("spare", true)] {
        for group in [1, 16, 50] {
            let queue = dir.join(format!("{how}-{group}"));
            std::fs::create_dir(&queue)?;
            let figures = measure(&queue, group, spares, Duration::from_secs(seconds))?;
            println!("{how:8} segments, groups of {group:2}: {figures}");
        }
    }
    std::fs::remove_dir_all(&dir)
}

/// Commits for so long, and says how fast.
fn measure(dir: &Path, group: usize, spares: bool, time: Duration) -> std::io::Result<String> {
    let options = Options::new(u128::from(std::process::id()) << 96 | 7);
    let Opened { mut commit, recovery, ids, reader, mut filler, .. } =
        Commit::open(Arc::new(RealDisk), dir, &options)?;
    recovery.run()?;
    let lease = reader.epoch();
    while spares && filler.fill()? == Filled::Some {}
    let budget = Budget::new(1 << 26);
    let start = Instant::now();
    let now = || Time::from_micros(start.elapsed().as_micros() as u64);
    let mut waiting: VecDeque<EnvelopeId> = VecDeque::new();
    let (mut requests, mut done) = (Vec::new(), Vec::new());
    let mut times = Vec::new();
    let (mut spent, mut messages) = (Duration::ZERO, 0);
    while start.elapsed() < time {
        let accepts = (0..group).filter_map(|_| Some(accept(ids.take()?, &budget)));
        requests.extend(accepts);
        let settled = waiting.drain(..waiting.len().saturating_sub(4 * group).min(group));
        requests.extend(settled.map(|envelope| {
            Request::Outcome(Outcome { envelope, lease, at: 1, verdict: Verdict::Delivered })
        }));
        let (begin, busy) = (Instant::now(), processor());
        commit.turn(now(), &mut requests, &mut done);
        times.push(begin.elapsed());
        for done in done.drain(..) {
            if let Done::Accepted { message, .. } = done {
                waiting.push_back(message.envelopes[0].id);
                messages += 1;
            }
        }
        commit.tidy(now(), &mut done);
        spent += processor() - busy;
    }
    times.sort_unstable();
    let rate = messages as f64 / start.elapsed().as_secs_f64();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_micros();
    let cost = spent.as_micros() as f64 / messages as f64;
    let (half, most) = (at(0.5), at(0.99));
    Ok(format!("{rate:7.0} messages/s, turn {half} us (p99 {most}), {cost:.1} us each"))
}

/// Processor time of this thread, the system's part included; zero where it is not told.
fn processor() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn accept(id: MessageId, budget: &Budget) -> Request<()> {
    let mailbox = |text| Mailbox::parse(text).expect("an address");
    let mut buffer = budget.buffer();
    assert!(buffer.extend(&[b'x'; 1024]), "the budget is large enough");
    let rcpt = mailbox("recipient@example.org");
    let envelope = Envelope {
        id: EnvelopeId::new(id, 0),
        dest: rcpt.clone(),
        rcpt,
        internal: false,
        action: "local_mail".into(),
        agent: Agent::Mda { user: "recipient".into() },
        ttl: 345_600,
        notify: None,
        orcpt: None,
    };
    let message = Arc::new(Message {
        id,
        ctime: 1_700_000_000_000_000,
        sender: ReversePath::Mailbox(mailbox("sender@example.com")),
        source: Source::Ip([192, 0, 2, 1].into()),
        helo: "client.example.com".into(),
        hostname: "client.example.com".into(),
        smtpname: "mx.example.org".into(),
        tag: String::new(),
        username: None,
        tls: false,
        smtputf8: false,
        ret: None,
        envid: None,
        envelopes: vec![envelope],
    });
    let content = Content { dot_lines: false, body: Body::Memory(buffer) };
    Request::Accept(Accept { token: (), message, content, causes: Vec::new() })
}
