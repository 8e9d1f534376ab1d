//! `smtpctl show queue` of many envelopes, from its exec to its end.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::table::{Table, count, millis};

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let held = bench.options.held(1000, 100_000);
    bench.fill("show", held, &["--due", "far"])?;
    let server = bench.start("show")?;
    bench.rest(&server)?;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..bench.options.runs {
        let begun = Instant::now();
        let queue = bench.ctl(&server, &["show", "queue"])?;
        times.push(begun.elapsed());
        let lines = queue.lines().count();
        if lines != held {
            return Err(format!("{lines} of {held} envelopes are shown"));
        }
    }
    table.add(format!("the first, of {}", count(held)), millis(times[0]), "under a second");
    times.sort_unstable();
    let name = format!("median of {}", bench.options.runs);
    table.add(name, millis(times[times.len() / 2]), "under a second");
    Ok(())
}
