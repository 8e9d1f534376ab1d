//! The accept rate with nothing in the queue, and with much. One daemon for each queue is started
//! and comes to rest; then they are loaded in turn, so that what changes on the machine changes
//! for all of them. Nothing is delivered meanwhile, and what was accepted is removed by no one.

use std::thread;
use std::time::Duration;

use smtpd_tests::program::Server;

use crate::bench::Bench;
use crate::table::{Table, count};

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let options = bench.options;
    let most = options.held(1000, 1_000_000);
    let messages = options.messages(500, 40_000);
    let sizes = [0, most / 10, most];
    let mut servers: Vec<Server> = Vec::new();
    for held in sizes {
        let name = format!("accept-{held}");
        bench.fill(&name, held, &["--due", "far"])?;
        let server = bench.start(&name)?;
        bench.ctl(&server, &["pause", "mta"])?;
        bench.rest(&server)?;
        // What is new is made ready at its first use.
        bench.load(&server, "u@relay.test", options.sessions, messages / 5, 1024)?;
        servers.push(server);
    }
    let mut rates = vec![Vec::new(); servers.len()];
    for run in 0..options.runs {
        // Each is the first in its turn.
        for nth in 0..servers.len() {
            let nth = (nth + run) % servers.len();
            let rate =
                bench.load(&servers[nth], "u@relay.test", options.sessions, messages, 1024)?;
            rates[nth].push(rate);
            thread::sleep(Duration::from_millis(500));
        }
    }
    let medians: Vec<f64> = rates.into_iter().map(median).collect();
    for (held, rate) in sizes.into_iter().zip(&medians) {
        let name = format!("accepted a second with {} held", count(held));
        table.add(name, format!("{rate:.0}"), "");
    }
    for (held, rate) in sizes.into_iter().zip(&medians).skip(1) {
        let name = format!("of the rate with an empty queue, {} held", count(held));
        table.add(name, format!("{:.2}", rate / medians[0]), "at least 0.9");
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
