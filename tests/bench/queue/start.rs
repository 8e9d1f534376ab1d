//! How long a start takes, and what it takes: first on the queue as it was left in order, then as
//! a crash leaves it.

use crate::bench::Bench;
use crate::table::{Table, count, mib, millis, seconds};
use crate::usage;

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let held = bench.options.held(1000, 1_000_000);
    // An index is made by the first run.
    bench.fill("start", held, &["--due", "far"])?;
    let mut server = bench.start("start")?;
    bench.rest(&server)?;
    for (how, signal) in [("in order", "TERM"), ("by kill -9", "KILL")] {
        server.signal(signal);
        server.wait();
        server = bench.start("start")?;
        let behind = bench.rest(&server)?;
        let (now, most) = usage::memory(server.id())?;
        let name = |what: &str| format!("{what}, {} held, ended {how}", count(held));
        table.add(name("exec to banner"), millis(server.banner), "at most 50 ms");
        table.add(name("until at rest behind it"), seconds(behind), "");
        table.add(name("resident then"), mib(now), "at most 300 MiB");
        table.add(name("resident at the most"), mib(most), "");
    }
    Ok(())
}
