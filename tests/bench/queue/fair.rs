//! A destination that has much mail, and one that has none: while the mail of the first is
//! delivered, one message at a time goes to the second. Measured from the moment its 250 was read
//! to that at which it is seen in the Maildir, which is looked at all the time.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::sink::{Sink, names};
use crate::table::{Table, count};

/// How long a message may take before it is lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two of them, and how often the Maildir is looked at.
const PAUSE: Duration = Duration::from_millis(10);
const LOOK: Duration = Duration::from_micros(200);

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let busy = bench.options.held(2000, 100_000);
    bench.fill("fair", busy, &["--kind", "local", "--destinations", "1", "--due", "now"])?;
    let sink = Sink::new(bench.mail());
    let new = bench.maildir("idle").join("new");
    let (times, behind) = thread::scope(|scope| {
        let taker = scope.spawn(|| sink.run("idle", |_| false));
        let probed = (|| {
            let server = bench.start("fair")?;
            let mut client = server.connect();
            client.expect("EHLO client.test", "250");
            let mut times = Vec::new();
            let begun = Instant::now();
            // One in any case; the last ones that find nothing else being delivered do not count.
            while times.is_empty() || sink.taken() < busy {
                let reply = client.message("b@client.test", "idle@bench.test", b"x\r\n");
                let accepted = Instant::now();
                if !reply.starts_with("250") {
                    return Err(format!("a message was answered {reply}"));
                }
                let name = loop {
                    if let Some(name) = names(&new).pop() {
                        break name;
                    }
                    if accepted.elapsed() > PATIENCE {
                        return Err("a message to the idle destination does not come".to_owned());
                    }
                    thread::sleep(LOOK);
                };
                times.push(accepted.elapsed());
                fs::remove_file(new.join(name)).map_err(|error| error.to_string())?;
                thread::sleep(PAUSE);
            }
            Ok((times, begun.elapsed()))
        })();
        sink.stop();
        drop(taker.join());
        probed
    })?;
    let rate = busy as f64 / behind.as_secs_f64();
    let name = format!("the busy one of {}, delivered a second", count(busy));
    table.add(name, format!("{rate:.0}"), "");
    table.times("250 to delivery at the idle one", times, "at most 50 ms");
    Ok(())
}
