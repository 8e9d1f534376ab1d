//! Tables of a hundred thousand entries, in the configuration and in a file: how long they take to
//! be read, and how long a look-up in them.

use std::fmt::Write;
use std::time::{Duration, Instant};

use smtpd_config::load;
use smtpd_config::table::{Query, Service};
use smtpd_tests::paper::Paper;

use crate::Figure;

const ENTRIES: usize = 100_000;

/// Look-ups of one run, so that the clock does not count.
const LOOK_UPS: usize = 10_000;

/// Where the file stands on the machine of paper.
const FILE: &str = "/etc/mail/domains";

pub(crate) fn run() -> Result<Vec<Figure>, String> {
    let mut file = String::new();
    for nth in 0..ENTRIES {
        // Every tenth is a pattern.
        let star = if nth % 10 == 0 { "*." } else { "" };
        let _ = writeln!(file, "{star}d{nth}.example");
    }
    let quoted: Vec<_> = file.lines().map(|domain| format!("\"{domain}\"")).collect();
    let inline = configuration(&format!("{{ {} }}", quoted.join(", ")));
    let elsewhere = configuration(&format!("file:{FILE}"));
    let inline = figures(["100,000 entries inline", "a look-up in them"], &inline, "")?;
    let elsewhere = figures(["100,000 entries in a file", "a look-up in them"], &elsewhere, &file)?;
    Ok(inline.into_iter().chain(elsewhere).collect())
}

fn configuration(source: &str) -> String {
    format!(
        "table domains {source}\naction \"local\" maildir\n\
         match from any for domain <domains> action \"local\"\n"
    )
}

fn figures(
    [reading, asking]: [&'static str; 2],
    text: &str,
    file: &str,
) -> Result<Vec<Figure>, String> {
    let machine = Paper::with([("smtpd.conf", text.as_bytes()), (FILE, file.as_bytes())]);
    let read = || {
        load("smtpd.conf", &[], Paper::host(), &machine)
            .map_err(|mistakes| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>())
    };
    let mut readings = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let config = read()?;
        readings.push(began.elapsed());
        drop(config);
    }
    let (config, _) = read()?;
    let id = config.tables.find("domains").ok_or("no table")?;
    let table = config.tables.get(id);
    // One in three is there by its name, one below a pattern, and one is not there.
    let keys: Vec<_> = (0..LOOK_UPS)
        .map(|nth| match nth % 3 {
            0 => (format!("d{}.example", nth * 10 + 1), true),
            1 => (format!("mx.a.d{}.example", nth * 10), true),
            _ => (format!("d{nth}.example.org"), false),
        })
        .collect();
    let mut answers = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        for (key, expected) in &keys {
            let query = Query { service: Service::Domain, key, delimiters: "+", deep: true };
            if table.contains(&query, &machine) != Ok(*expected) {
                return Err(format!("{key} is answered otherwise"));
            }
        }
        answers.push(began.elapsed() / LOOK_UPS as u32);
    }
    Ok(vec![
        Figure { name: reading, runs: readings, bound: Duration::from_secs(1) },
        Figure { name: asking, runs: answers, bound: Duration::from_micros(5) },
    ])
}
