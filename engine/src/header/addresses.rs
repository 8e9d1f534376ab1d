//! Addresses without a domain in From, To and Cc (RFC 5322 section 3.4), and another one in From.
//!
//! `bob`, `Bob <bob>` and `bob (Bob)` get a domain; everything else stays as it is, folding
//! and all: addresses that have one, groups, and what is no address.

use crate::address::Mailbox;

/// Adds `field`, a name with its colon and its value, to `out`, with `@domain` behind each
/// address that has none.
pub(super) fn complete(field: &[u8], domain: &str, out: &mut Vec<u8>) {
    let mut done = 0;
    let mut walk = Walk { field, at: 0 };
    walk.until(b":");
    walk.at += 1;
    while walk.at < field.len() {
        let Some(end) = walk.element() else { continue };
        out.extend_from_slice(&field[done..end]);
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
        done = end;
    }
    out.extend_from_slice(&field[done..]);
}

/// Adds `field` to `out` with `address` for the one in it. The name beside it stays; of what is not
/// one address, or none that can be told for sure, nothing does.
pub(super) fn masquerade(field: &[u8], address: &str, out: &mut Vec<u8>) {
    let mut walk = Walk { field, at: 0 };
    walk.until(b":");
    walk.at = (walk.at + 1).min(field.len());
    let value = walk.at;
    match walk.only_address() {
        Some((start, end)) => {
            out.extend_from_slice(&field[..start]);
            out.extend_from_slice(address.as_bytes());
            out.extend_from_slice(&field[end..]);
        }
        None => {
            out.extend_from_slice(&field[..value]);
            for part in [" ", address, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

struct Walk<'f> {
    field: &'f [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.field.get(self.at).copied()
    }

    /// Stands before the next octet that is one of `stops`, or at the end.
    fn until(&mut self, stops: &[u8]) {
        while self.peek().is_some_and(|c| !stops.contains(&c)) {
            self.at += 1;
        }
    }

    /// Walks over one element of the list and the comma behind it. Gives where its local
    /// part ends, if that is all the address it has.
    fn element(&mut self) -> Option<usize> {
        let mut words = 0;
        let mut bare = None;
        let mut angle = None;
        let mut strange = false;
        while let Some(octet) = self.peek() {
            let start = self.at;
            match octet {
                b',' => break,
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'(' => strange |= !self.comment(),
                // A group ends at its semicolon; who writes groups knows his addresses.
                b':' => {
                    strange = true;
                    self.group();
                }
                b'<' => {
                    strange |= angle.is_some();
                    angle = Some(self.angle());
                }
                _ => {
                    self.word();
                    words += 1;
                    bare = self.local_part(start);
                    // A stray special: step over it, or we would stand here for ever.
                    if self.at == start {
                        strange = true;
                        self.at += 1;
                    }
                }
            }
        }
        self.at += 1;
        match angle {
            _ if strange => None,
            Some(end) => end,
            None if words == 1 => bare,
            None => None,
        }
    }

    /// Where the address is, if there is one and nothing that might be another.
    fn only_address(&mut self) -> Option<(usize, usize)> {
        let mut words = 0;
        let mut word = None;
        let mut angle = None;
        while let Some(octet) = self.peek() {
            let start = self.at;
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'(' if !self.comment() => return None,
                b'(' => {}
                // Behind an address in brackets there is nothing but comments.
                b'<' if angle.is_none() => {
                    self.angle();
                    let inner = (start + 1, self.at.checked_sub(1)?);
                    let ends = self.field.get(inner.1) == Some(&b'>') && inner.0 <= inner.1;
                    angle = Some(inner).filter(|_| ends);
                    angle?;
                }
                _ if angle.is_some() => return None,
                _ => {
                    self.word();
                    words += 1;
                    word = Some((start, self.at));
                    if self.at == start {
                        return None;
                    }
                }
            }
        }
        angle.or(word.filter(|_| words == 1))
    }

    /// Atoms, dots, quoted strings and what else stands between blanks.
    fn word(&mut self) {
        loop {
            self.until(b" \t\r\n\",:;<>()");
            if self.peek() != Some(b'"') || !self.quoted() {
                break;
            }
        }
    }

    /// A quoted string; whether it ends.
    fn quoted(&mut self) -> bool {
        self.at += 1;
        while let Some(octet) = self.peek() {
            self.at += if octet == b'\\' { 2 } else { 1 };
            if octet == b'"' {
                return true;
            }
        }
        self.at = self.field.len();
        false
    }

    /// A comment, which may hold others; whether it ends.
    fn comment(&mut self) -> bool {
        let mut depth = 0;
        while let Some(octet) = self.peek() {
            self.at += if octet == b'\\' { 2 } else { 1 };
            match octet {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        self.at = self.field.len();
        false
    }

    /// The members of a group, up to its semicolon.
    fn group(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b'"' => drop(self.quoted()),
                b'(' => drop(self.comment()),
                b';' => {
                    self.at += 1;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }

    /// `<local>`: where the local part ends, if there is nothing else in it.
    fn angle(&mut self) -> Option<usize> {
        self.at += 1;
        let start = self.at;
        loop {
            self.until(b"\">");
            match self.peek()? {
                b'>' => break,
                _ if !self.quoted() => return None,
                _ => {}
            }
        }
        let inner = &self.field[start..self.at];
        self.at += 1;
        let start = start + (inner.len() - inner.trim_ascii_start().len());
        let end = start + inner.trim_ascii().len();
        self.is_local_part(start, end).then_some(end)
    }

    fn local_part(&self, start: usize) -> Option<usize> {
        self.is_local_part(start, self.at).then_some(self.at)
    }

    fn is_local_part(&self, start: usize, end: usize) -> bool {
        let text = self.field.get(start..end).and_then(|text| str::from_utf8(text).ok());
        text.is_some_and(|text| Mailbox::new(text, "localhost").is_ok())
    }
}
