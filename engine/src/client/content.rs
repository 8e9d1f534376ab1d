//! Content on its way out: dots (RFC 5321 section 4.5.2) and chunks (RFC 3030).
//!
//! Content has CR LF line ends, and passes unchanged but for the dots. Should it hold a bare
//! CR or LF all the same, each becomes a CR LF: where a next hop takes one for a line end,
//! a message could be split behind us, and the second half would be somebody's forgery. In
//! chunks nothing can be split, and nothing is changed.

use std::io::Write as _;

use memchr::memchr2_iter;

use crate::limits;
use crate::time::Time;

use super::{NotNow, Session, State};

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const DOT: u8 = b'.';

impl Session {
    /// Takes content off its front, and writes it, until `out` holds
    /// [`limits::BODY_OUTPUT`] octets. What dots add may come on top: content of nothing else
    /// makes it twice as much.
    ///
    /// # Errors
    ///
    /// [`NotNow`] unless the session waits for content.
    pub fn body(
        &mut self,
        content: &mut &[u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Result<(), NotNow> {
        if !self.takes_content() || self.transaction.ending || self.pending.is_some() {
            return Err(NotNow);
        }
        self.since = now;
        let room = limits::BODY_OUTPUT.saturating_sub(out.len()).min(content.len());
        let (run, rest) = content.split_at(room);
        *content = rest;
        if !self.transaction.chunked {
            self.dots.write(run, out);
        } else if !run.is_empty() {
            write!(out, "BDAT {}\r\n", run.len()).expect("a vector takes every octet");
            out.extend_from_slice(run);
            self.transaction.chunks += 1;
        }
        Ok(())
    }

    /// The content is all there: ends it.
    ///
    /// # Errors
    ///
    /// [`NotNow`] unless content is on its way.
    pub fn end_of_data(&mut self, out: &mut Vec<u8>, now: Time) -> Result<(), NotNow> {
        if self.state != State::Content || self.transaction.ending || self.pending.is_some() {
            return Err(NotNow);
        }
        self.transaction.ending = true;
        if self.takes_content() {
            self.finish(out, now);
        }
        Ok(())
    }

    /// The next octets are content.
    pub(super) fn begin_content(&mut self, now: Time) {
        self.dots = Dots::default();
        self.state = State::Content;
        self.since = now;
    }

    /// Writes what ends the content.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, now: Time) {
        if self.transaction.chunked {
            out.extend_from_slice(b"BDAT 0 LAST\r\n");
        } else {
            self.dots.end(out);
        }
        self.state = State::End { told: 0 };
        self.since = now;
    }
}

/// Adds a dot to each line that begins with one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Dots {
    /// At the beginning of a line.
    #[default]
    Line,
    Middle,
    /// Behind a CR whose LF must follow.
    Cr,
}

impl Dots {
    /// Writes a run of content. How it was cut into runs makes no difference.
    fn write(&mut self, run: &[u8], out: &mut Vec<u8>) {
        let Some((&first, &last)) = run.first().zip(run.last()) else { return };
        if *self == Self::Cr && first != LF {
            out.push(LF);
            *self = Self::Line;
        }
        if *self == Self::Line && first == DOT {
            out.push(DOT);
        }
        // Up to here the run was copied.
        let mut copied = 0;
        for at in memchr2_iter(CR, LF, run) {
            let before = if at == 0 { *self == Self::Cr } else { run[at - 1] == CR };
            let behind = run.get(at + 1).copied();
            match (run[at], behind) {
                // Judged at its LF, perhaps in the next run.
                (CR, Some(LF) | None) => continue,
                (CR, Some(_)) => {
                    out.extend_from_slice(&run[copied..=at]);
                    out.push(LF);
                    copied = at + 1;
                }
                _ if before => {}
                _ => {
                    out.extend_from_slice(&run[copied..at]);
                    out.push(CR);
                    copied = at;
                }
            }
            if behind == Some(DOT) {
                out.extend_from_slice(&run[copied..=at]);
                out.push(DOT);
                copied = at + 1;
            }
        }
        out.extend_from_slice(&run[copied..]);
        *self = match last {
            LF => Self::Line,
            CR => Self::Cr,
            _ => Self::Middle,
        };
    }

    /// Ends the last line, if it is not ended, and the data.
    fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Line => b".\r\n",
            Self::Middle => b"\r\n.\r\n",
            Self::Cr => b"\n.\r\n",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As data, whole; and the same however it is cut.
    fn data(content: &[u8]) -> String {
        let all = |runs: &[&[u8]]| {
            let (mut dots, mut out) = (Dots::default(), Vec::new());
            runs.iter().for_each(|run| dots.write(run, &mut out));
            dots.end(&mut out);
            out
        };
        let whole = all(&[content]);
        for one in 0..=content.len() {
            for two in one..=content.len() {
                let cut = all(&[&content[..one], &content[one..two], &content[two..]]);
                assert_eq!(cut.escape_ascii().to_string(), whole.escape_ascii().to_string());
            }
        }
        let octets: Vec<&[u8]> = content.chunks(1).collect();
        assert_eq!(all(&octets), whole);
        whole.escape_ascii().to_string()
    }

    #[test]
    fn dots_are_doubled_at_the_beginning_of_lines() {
        for (content, sent) in [
            ("", r".\r\n"),
            ("a\r\n", r"a\r\n.\r\n"),
            ("a", r"a\r\n.\r\n"),
            (".", r"..\r\n.\r\n"),
            (".\r\n", r"..\r\n.\r\n"),
            ("..\r\n.a\r\na.\r\n\r\n.\r\n", r"...\r\n..a\r\na.\r\n\r\n..\r\n.\r\n"),
            ("a\r\n.", r"a\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(data(content.as_bytes()), sent, "{content:?}");
        }
    }

    #[test]
    fn no_line_end_is_left_that_another_may_read_otherwise() {
        for (content, sent) in [
            ("a\nb", r"a\r\nb\r\n.\r\n"),
            ("a\rb", r"a\r\nb\r\n.\r\n"),
            ("a\n.\nb", r"a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb", r"a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\r\nb", r"a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n.\rb", r"a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n.\n\r", r"a\r\n\r\n..\r\n\r\n.\r\n"),
            ("a\r", r"a\r\n.\r\n"),
            ("\n\n", r"\r\n\r\n.\r\n"),
        ] {
            assert_eq!(data(content.as_bytes()), sent, "{content:?}");
        }
    }
}
