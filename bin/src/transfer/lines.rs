//! Content as the queue has it: every line ends in CR LF.
//!
//! What another server kept with LF, or somebody wrote with an editor, is completed; what has CR
//! LF already stays octet for octet.

/// Makes CR LF of a LF that stands alone, piece by piece.
#[derive(Default)]
pub struct Lines {
    /// The last octet was a CR.
    cr: bool,
    /// Something stands on the last line, and it has not ended.
    open: bool,
    /// Some line begins with a dot.
    pub dot_lines: bool,
}

impl Lines {
    /// Appends a piece of content to `out`.
    pub fn take(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            self.dot_lines |= !self.open && line[0] == b'.';
            let Some(text) = line.strip_suffix(b"\n") else {
                out.extend_from_slice(line);
                (self.open, self.cr) = (true, line.ends_with(b"\r"));
                continue;
            };
            out.extend_from_slice(text);
            let has_cr = if text.is_empty() { self.cr } else { text.ends_with(b"\r") };
            out.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            (self.open, self.cr) = (false, false);
        }
    }

    /// Completes the last line.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.open) {
            out.extend_from_slice(if self.cr { b"\n" } else { b"\r\n" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_cr_lf_wherever_they_are_cut() {
        let cases: [(&[u8], &[u8], bool); 7] = [
            (b"", b"", false),
            (b"a\n.b\n", b"a\r\n.b\r\n", true),
            (b"a\r\n\r\nb.\r\n", b"a\r\n\r\nb.\r\n", false),
            (b"a\rb\r\r\n\n", b"a\rb\r\r\n\r\n", false),
            (b"open", b"open\r\n", false),
            (b".", b".\r\n", true),
            (b"a\r", b"a\r\n", false),
        ];
        for (octets, expected, dots) in cases {
            for cut in 0..=octets.len() {
                let (mut lines, mut out) = (Lines::default(), Vec::new());
                lines.take(&octets[..cut], &mut out);
                lines.take(&octets[cut..], &mut out);
                lines.end(&mut out);
                assert_eq!((out.as_slice(), lines.dot_lines), (expected, dots), "{octets:?} {cut}");
            }
        }
    }
}
