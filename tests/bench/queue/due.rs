//! How late envelopes are tried that become due among many that do not, and the memory that takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use smtpd_queue::codec::Keys;
use smtpd_queue::disk::RealDisk;
use smtpd_queue::envelope::Due;
use smtpd_queue::reader::Reader;

use crate::bench::Bench;
use crate::sink::Sink;
use crate::table::{Table, count, mib};
use crate::usage;

/// Envelopes that become due within ten minutes.
const NEAR: usize = 3000;

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let far = bench.options.held(1000, 1_000_000);
    let watched = Duration::from_secs(if bench.options.full { 60 } else { 5 });
    bench.fill("due", NEAR, &["--kind", "local", "--destinations", "3000", "--due", "near"])?;
    let due = due_times(bench)?;
    bench.fill("due", far, &["--due", "far"])?;
    let sink = Sink::new(bench.mail());
    let (seen, (now, most), from) = thread::scope(|scope| {
        let taker = scope.spawn(|| sink.run("", |_| true));
        let watched = (|| {
            let server = bench.start("due")?;
            bench.rest(&server)?;
            let from = SystemTime::now();
            thread::sleep(watched);
            Ok((usage::memory(server.id())?, from))
        })();
        sink.stop();
        let seen = taker.join().expect("no panic in it");
        watched.map(|(memory, from)| (seen, memory, from))
    })
    .map_err(|error: String| error)?;
    let mut times = Vec::new();
    let mut early = 0;
    let until = from + watched - Duration::from_secs(2);
    for (id, due) in &due {
        // What was due before belongs to the start.
        if *due < from || *due > until {
            continue;
        }
        let came = seen.iter().find(|(name, _)| name.contains(id.as_str()));
        let Some((_, came)) = came else { return Err(format!("{id} was due and did not come")) };
        match came.duration_since(*due) {
            Ok(late) => times.push(late),
            Err(_) => early += 1,
        }
    }
    table.times(&format!("late, among {}", count(far)), times, "at most 1 s");
    table.add("early", count(early), "none");
    table.add("resident then", mib(now), "at most 300 MiB");
    table.add("resident at the most", mib(most), "");
    Ok(())
}

/// When the envelopes in the queue become due.
fn due_times(bench: &Bench<'_>) -> Result<HashMap<String, SystemTime>, String> {
    let spool = bench.dir("due").join("spool");
    let failed = |error: std::io::Error| format!("{}: {error}", spool.display());
    let (reader, recovered) =
        Reader::offline(Arc::new(RealDisk), &spool, &Keys::default()).map_err(failed)?;
    let mut due = HashMap::new();
    for id in recovered.live {
        let Some(found) = reader.message(id).map_err(failed)? else { continue };
        for (envelope, state) in found.message.envelopes.iter().zip(&found.states) {
            if let Due::At(at) = state.due {
                due.insert(envelope.id.to_string(), UNIX_EPOCH + Duration::from_micros(at));
            }
        }
    }
    Ok(due)
}
