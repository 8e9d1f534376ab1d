//! Messages that come and go: what was written to the disk for each octet received, and how much
//! of the disk the queue takes. Messages that cannot be delivered are sent in between, so that they
//! lie in every part of the journal; they are tried again until they wait in the index.
//!
//! The process's own count (`write_bytes`) takes a page for written as a whole, and a large folio
//! for all of its pages, although a file system writes only the blocks that were changed. So what
//! the device was given is shown, too; nobody else should be writing to it meanwhile.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::program::Server;

use crate::bench::Bench;
use crate::sink::Sink;
use crate::table::{Table, count, mib, seconds};
use crate::usage;

/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the queue may take to be delivered, and to give back the disk.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a message may cost beside its octets.
const BESIDE: u64 = 1024;
/// Who has no Maildir.
const DEFERRED: &str = "deferred";

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let options = bench.options;
    let messages = options.messages(2000, 1_000_000);
    let between = options.held(20, 1000);
    let server = bench.start("settle")?;
    let spool = bench.dir("settle").join("spool");
    // No Maildir can be made where a file is.
    fs::write(bench.maildir(DEFERRED), "").map_err(|error| error.to_string())?;
    bench.rest(&server)?;
    let before = usage::written(server.id())?;
    let device_before = usage::written_to_device(&spool);
    let sink = Sink::new(bench.mail());
    let use_of = |part: &str| usage::disk(&spool.join(part));
    let mut most = [0; 3];
    let mut look = || {
        for (most, part) in most.iter_mut().zip(["journal", "index", "."]) {
            *most = use_of(part).max(*most);
        }
    };
    let begun = Instant::now();
    let (sessions, size) = (options.sessions, options.size);
    let accepted = thread::scope(|scope| {
        let taker = scope.spawn(|| sink.run("", |_| false));
        let sender =
            scope.spawn(|| bench.load(&server, "sink@bench.test", sessions, messages, size));
        let deferred = scope.spawn(|| defer(&server, &sink, between, messages, size));
        while !sender.is_finished() || !deferred.is_finished() {
            look();
            thread::sleep(LOOK);
        }
        let rate = sender.join().expect("no panic in it");
        let settled = rate.and_then(|rate| {
            deferred.join().expect("no panic in it")?;
            sink.wait(messages, PATIENCE).map(|()| rate)
        });
        sink.stop();
        drop(taker.join());
        settled
    })?;
    let all = begun.elapsed();
    let rest = bench.rest(&server)?;
    look();
    let written = usage::written(server.id())? - before;
    let device = usage::written_to_device(&spool);
    let received = ((messages + between) * size) as u64;
    let beside = (messages + between) as u64 * BESIDE;

    let what = format!("{} of {size} octets, {sessions} sessions", count(messages));
    table.add(format!("accepted a second: {what}"), format!("{accepted:.0}"), "");
    table.add("until all were delivered", seconds(all), "");
    table.add("and the daemon at rest", seconds(rest), "");
    let mut row = |who: &str, written: u64| {
        let each = written / (messages + between) as u64;
        table.add(format!("written for a message, octets, {who}"), count(each as usize), "");
        let ratio = written.saturating_sub(beside) as f64 / received as f64;
        let name = format!("beside 1 KiB a message, for an octet received, {who}");
        table.add(name, format!("{ratio:.2}"), "at most 1.3 over 50 sessions");
    };
    row("write_bytes", written);
    if let (Some(before), Some(now)) = (device_before, device) {
        row("the device", now - before);
    }
    for (most, part) in most.into_iter().zip(["journal", "index", "all"]) {
        table.add(format!("disk used at the most, {part}"), mib(most), "");
    }
    let name = format!("disk used in the end, {} deferred left", count(between));
    table.add(name, mib(use_of(".")), "at most 256 MiB");
    table.add("of which index", mib(use_of("index")), "");
    let left = bench.ctl(&server, &["show", "queue"])?.lines().count();
    if left != between {
        return Err(format!("{left} envelopes are left, not {between}"));
    }
    Ok(())
}

/// Sends messages that stay, evenly among those that go.
fn defer(
    server: &Server,
    sink: &Sink,
    count: usize,
    among: usize,
    size: usize,
) -> Result<(), String> {
    let begun = Instant::now();
    let content = format!("Subject: deferred\r\n\r\n{}\r\n", "x".repeat(size.min(900)));
    let to = format!("{DEFERRED}@bench.test");
    let mut client = server.connect();
    client.expect("EHLO client.test", "250");
    for nth in 0..count {
        while sink.taken() < nth * (among / count) && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let reply = client.message("bench@client.test", &to, content.as_bytes());
        if !reply.starts_with("250") {
            return Err(format!("a deferred message was answered {reply}"));
        }
    }
    Ok(())
}
