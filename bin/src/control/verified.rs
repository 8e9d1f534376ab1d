//! What a check of one segment has found, on its way over the control socket.

use std::collections::BTreeSet;

use smtpd_queue::verify::Verified;

use super::limits;
use super::wire::{Malformed, Reader, put_text};

/// Lines about damage that are told of one segment; of more there is only their number.
const LINES: usize = 32;

/// Key ids that are told. Nobody has so many.
const KEYS: usize = 1024;

const _: () = assert!(LINES * (2 + limits::ERROR as usize) < limits::RESPONSE / 2);

/// Appends what was found. Of very many lines the last says how many are left out.
pub(super) fn encode(found: &Verified, out: &mut Vec<u8>) {
    out.extend_from_slice(&found.segment.to_be_bytes());
    for number in [found.records, found.messages, found.envelopes, found.octets] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    // No message is from 1970.
    out.extend_from_slice(&found.oldest.unwrap_or_default().to_be_bytes());
    let keys = found.keys.iter().take(KEYS);
    out.extend_from_slice(&(found.keys.len().min(KEYS) as u16).to_be_bytes());
    keys.for_each(|key| out.extend_from_slice(&key.to_be_bytes()));
    let all = found.damaged.len();
    let told = if all > LINES { LINES - 1 } else { all };
    found.damaged[..told].iter().for_each(|line| put_text(out, line, limits::ERROR));
    if all > told {
        put_text(out, &format!("{} more in that segment", all - told), limits::ERROR);
    }
}

/// Takes what [`encode`] put.
pub(super) fn decode(from: &mut Reader<'_>) -> Result<Verified, Malformed> {
    let segment = from.u32()?;
    let [records, messages, envelopes, octets, oldest] =
        [from.u64()?, from.u64()?, from.u64()?, from.u64()?, from.u64()?];
    let mut keys = BTreeSet::new();
    for _ in 0..from.u16()? {
        keys.insert(from.u32()?);
    }
    let mut damaged = Vec::new();
    while !from.0.is_empty() {
        damaged.push(from.text(limits::ERROR)?.to_owned());
    }
    let oldest = Some(oldest).filter(|oldest| *oldest != 0);
    Ok(Verified { segment, records, messages, envelopes, octets, oldest, damaged, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_arrives_and_too_many_lines_are_counted() {
        let mut found = Verified {
            segment: 7,
            records: 6,
            messages: 5,
            envelopes: u64::MAX,
            octets: 3,
            oldest: Some(2),
            damaged: vec!["one".to_owned(), "two".to_owned()],
            keys: [0, 77].into(),
        };
        let arrived = |found: &Verified| {
            let mut octets = Vec::new();
            encode(found, &mut octets);
            decode(&mut Reader(&octets)).unwrap()
        };
        assert_eq!(arrived(&found), found);
        found.damaged = vec!["x".repeat(5_000); 1_000];
        let lines = arrived(&found).damaged;
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[LINES - 1], "969 more in that segment");
    }
}
