//! `queue verify`: reads every record and every content and says what is there and what is
//! damaged.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::Failure;
use super::queue::Queue;

/// All that was found.
#[derive(Default)]
struct Sum {
    records: u64,
    messages: u64,
    envelopes: u64,
    octets: u64,
    oldest: Option<u64>,
    damaged: u64,
    keys: BTreeSet<u32>,
}

/// Checks the whole queue; fails when something is damaged, which is told line by line.
pub fn verify(
    queue: &mut dyn Queue,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let mut sum = Sum::default();
    let mut damaged = |sum: &mut Sum, line: &str| {
        sum.damaged += 1;
        let _ = writeln!(err, "smtpctl: {line}");
    };
    // What is written while this goes on would keep it from ever ending.
    let (mut after, mut end) = (0, None);
    while let (last, Some(found)) = queue.verify(after)? {
        sum.records += found.records;
        sum.messages += found.messages;
        sum.envelopes += found.envelopes;
        sum.octets += found.octets;
        sum.oldest = sum.oldest.into_iter().chain(found.oldest).min();
        sum.keys.extend(&found.keys);
        found.damaged.iter().for_each(|line| damaged(&mut sum, line));
        after = found.segment;
        if after >= *end.get_or_insert(last) {
            break;
        }
    }
    let mut last = None;
    loop {
        let files = queue.in_files(last)?;
        let Some(next) = files.last() else { break };
        last = Some(*next);
        for id in files {
            match queue.content(id, &mut io::sink()) {
                Ok(()) => {}
                Err(Failure::Queue(text) | Failure::Command(text)) => {
                    // One that was settled meanwhile has no content to be damaged.
                    if queue.document(id).is_ok_and(|found| found.is_some()) {
                        damaged(&mut sum, &text);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    queue.ensure_undisturbed()?;
    let Sum { records, messages, envelopes, octets, oldest, damaged, keys } = sum;
    let oldest = oldest.map_or_else(String::new, |oldest| (oldest / 1_000_000).to_string());
    let keys = keys.iter().filter(|key| **key != 0).map(|key| format!("{key:08x}"));
    let keys = keys.collect::<Vec<_>>().join(",");
    write!(
        out,
        "messages={messages}\nenvelopes={envelopes}\nbytes={octets}\noldest={oldest}\n\
         records={records}\nkeys={keys}\ndamaged={damaged}\n"
    )?;
    if damaged > 0 { Err(Failure::Told) } else { Ok(()) }
}
