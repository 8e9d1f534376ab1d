//! What a stored message looks like in a Maildir: LF line ends, and two trace lines first.
//!
//! Both parts work on octets cut anywhere, so that large content passes through in pieces.

use std::mem;

use smtpd_engine::address::{Mailbox, ReversePath};

/// The two lines that final delivery adds before the stored header: the reverse-path of the
/// transaction (RFC 5321 section 4.4) and the address delivered to, by which loops are seen.
///
/// Upstream leaves out Return-Path when the reverse-path is null. Here it is `<>` then, as
/// RFC 5321 demands and as those who must not answer bounces look for it.
pub(super) fn trace_lines(sender: &ReversePath, dest: &Mailbox) -> Vec<u8> {
    format!("Return-Path: <{sender}>\nDelivered-To: {dest}\n").into_bytes()
}

/// Turns CR LF into LF. Other octets, a bare CR among them, stay as they are.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    /// The last octet seen was a CR that is not written yet.
    cr: bool,
}

impl LineEnds {
    /// Appends `octets` to `out`.
    pub(super) fn convert(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        if !octets.is_empty() && mem::take(&mut self.cr) && octets[0] != b'\n' {
            out.push(b'\r');
        }
        while let Some(at) = memchr::memchr(b'\r', octets) {
            let (before, rest) = octets.split_at(at);
            out.extend_from_slice(before);
            octets = &rest[1..];
            match octets.first() {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.cr = true,
            }
        }
        out.extend_from_slice(octets);
    }

    /// Appends what was held back at the end of the content.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self.cr {
            out.push(b'\r');
        }
    }
}

const FIELD: &[u8] = b"delivered-to:";

/// More octets than a matching line can need: field name, address and some blanks. What is
/// longer is not a line that a mail server wrote.
const LINE: usize = 1024;

/// Looks for a `Delivered-To` field that names the address now delivered to: a loop.
#[derive(Debug)]
pub(super) struct LoopCheck<'a> {
    dest: &'a str,
    /// The line that a cut has left unfinished, up to [`LINE`] octets.
    line: Vec<u8>,
    in_header: bool,
}

impl<'a> LoopCheck<'a> {
    /// A check at the start of the stored header.
    pub(super) fn new(dest: &'a Mailbox) -> Self {
        Self { dest: dest.as_str(), line: Vec::new(), in_header: true }
    }

    /// Whether the header goes on; after its end there is nothing more to look at.
    pub(super) fn in_header(&self) -> bool {
        self.in_header
    }

    /// Looks at the next octets of the stored content. True: the message has been here.
    pub(super) fn finds(&mut self, mut octets: &[u8]) -> bool {
        while self.in_header {
            let Some(end) = memchr::memchr(b'\n', octets) else {
                let room = LINE - self.line.len();
                self.line.extend_from_slice(&octets[..octets.len().min(room)]);
                return false;
            };
            let (line, rest) = octets.split_at(end);
            octets = &rest[1..];
            let found = if self.line.is_empty() {
                self.is_ours(line)
            } else {
                let mut whole = mem::take(&mut self.line);
                let room = LINE - whole.len();
                whole.extend_from_slice(&line[..line.len().min(room)]);
                self.is_ours(&whole)
            };
            if found {
                return true;
            }
        }
        false
    }

    fn is_ours(&mut self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.in_header = !line.is_empty();
        let Some((name, value)) = line.split_at_checked(FIELD.len()) else { return false };
        name.eq_ignore_ascii_case(FIELD)
            && value.trim_ascii().eq_ignore_ascii_case(self.dest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut ends = LineEnds::default();
        pieces.iter().for_each(|piece| ends.convert(piece, &mut out));
        ends.finish(&mut out);
        out
    }

    fn at_every_cut(content: &[u8], check: impl Fn(&[&[u8]])) {
        for cut in 0..=content.len() {
            let (one, two) = content.split_at(cut);
            check(&[one, two]);
            check(&[one, b"", two]);
        }
        check(&content.chunks(1).collect::<Vec<_>>());
    }

    #[test]
    fn only_cr_lf_becomes_lf_wherever_it_is_cut() {
        at_every_cut(b"a\r\nb\rc\r\r\n\r\n\n.\r\n\r", |pieces| {
            assert_eq!(convert(pieces), b"a\nb\rc\r\n\n\n.\n\r");
        });
    }

    #[test]
    fn finds_a_loop_wherever_it_is_cut() {
        let dest = Mailbox::parse("Bob@example.org").unwrap();
        let seen = |content: &[u8], expected: bool| {
            at_every_cut(content, |pieces| {
                let mut check = LoopCheck::new(&dest);
                assert_eq!(pieces.iter().any(|piece| check.finds(piece)), expected);
            });
        };
        seen(b"A: b\r\nDELIVERED-to: bob@Example.ORG \r\n\r\nbody\r\n", true);
        seen(b"Delivered-To:bob@example.org\r\n", true);
        seen(b"Delivered-To: bobo@example.org\r\n\r\n", false);
        seen(b"X-Delivered-To: bob@example.org\r\n\r\n", false);
        seen(b"A: b\r\n\r\nDelivered-To: bob@example.org\r\n", false);
    }

    #[test]
    fn a_line_of_any_length_takes_bounded_memory() {
        let dest = Mailbox::parse("bob@example.org").unwrap();
        let mut check = LoopCheck::new(&dest);
        assert!((0..1000).all(|_| !check.finds(&[b'x'; 1000])));
        assert!(check.line.capacity() <= 2 * LINE);
        assert!(!check.finds(b"\r\nDelivered-To:"));
        assert!(check.finds(b" bob@example.org\r\n"));
    }

    #[test]
    fn the_null_reverse_path_is_written() {
        let dest = Mailbox::parse("bob@example.org").unwrap();
        let lines = trace_lines(&ReversePath::Null, &dest);
        assert_eq!(lines, b"Return-Path: <>\nDelivered-To: bob@example.org\n");
    }
}
