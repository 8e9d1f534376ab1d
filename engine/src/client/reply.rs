//! The replies of a next hop: how they are read, bounded, and written as one line
//! (RFC 5321 section 4.2).
//!
//! A reply stays in the caller's input until it is whole, and is lent from there. It is
//! cut out by length before anything is looked at; what a next hop says can be neither a
//! second line nor a control character of a log, a report or a queue file.

use std::fmt;

use memchr::memchr;

use crate::limits;
use crate::reply::{Enhanced, split_enhanced};

/// A reply of a next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply<'i> {
    code: u16,
    /// All its lines, with their ends.
    octets: &'i [u8],
}

impl<'i> Reply<'i> {
    /// The reply code, 200 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first digit of the code.
    #[must_use]
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// The enhanced status code of the first line, if it has one that fits the code.
    #[must_use]
    pub fn enhanced(&self) -> Option<Enhanced> {
        let line = self.lines().next()?;
        let word = line.split(|c| *c == b' ').next()?;
        split_enhanced(self.code, str::from_utf8(word).ok()?).map(|(enhanced, _)| enhanced)
    }

    /// The texts of the lines: what stands behind code and mark.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'i [u8]> + use<'i> {
        let lines = self.octets.split_inclusive(|c| *c == b'\n');
        lines.map(|line| without_end(line).get(4..).unwrap_or(b""))
    }

    /// The code and the texts of `lines`, joined by blanks. An enhanced code that is there
    /// again is left out.
    fn join(&self, lines: usize, to: &mut impl fmt::Write) -> fmt::Result {
        write!(to, "{}", self.code)?;
        let mut first: Option<&[u8]> = None;
        for mut text in self.lines().skip(lines) {
            let word = text.split(|c| *c == b' ').next().unwrap_or(b"");
            match first {
                None if !text.is_empty() => first = Some(word),
                Some(enhanced) if enhanced == word && self.enhanced().is_some() => {
                    text = &text[word.len()..];
                }
                _ => {}
            }
            let text = text.trim_ascii();
            if !text.is_empty() {
                to.write_char(' ')?;
                write_printable(text, to)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reply<'_> {
    /// One line of at most [`limits::HOP_STATUS`] octets: the first line whole, of the
    /// others the texts; only the last line when all together are too long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = Length(0);
        self.join(0, &mut length)?;
        let skipped = if length.0 > limits::HOP_STATUS { self.lines().count() - 1 } else { 0 };
        self.join(skipped, f)
    }
}

/// Counts what is written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Writes what is printable. A tab is a blank, an octet of anything else a question mark.
fn write_printable(text: &[u8], to: &mut impl fmt::Write) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            to.write_char(match c {
                '\t' => ' ',
                c if c.is_control() => '?',
                c => c,
            })?;
        }
        for _ in chunk.invalid() {
            to.write_char('?')?;
        }
    }
    Ok(())
}

/// Why octets are no reply, or none that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Garble {
    /// A line of more than [`limits::HOP_LINE`] octets.
    Line,
    /// More than [`limits::HOP_REPLY`] octets.
    Endless,
    /// A line does not begin with a code from 200 to 599, or a line of a reply with one of
    /// another class than the line before.
    Code,
    /// The code is of a class that answers nothing we said, as 250 to DATA.
    Class,
    /// It came before we asked.
    Early,
}

impl fmt::Display for Garble {
    /// In upstream's words, where it has some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "Bad response: line too long",
            Self::Endless => "Input too long",
            Self::Code => "Bad response: reply code out of range",
            Self::Class => "Bad response: not a reply to this command",
            Self::Early => "Remote host sent too much data",
        })
    }
}

/// Reads a reply off the front of the input.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Where the line begins that is not all there.
    line: u32,
    /// Octets known to hold no further line end.
    searched: u32,
    /// Of the line before.
    code: u16,
}

impl Reader {
    /// Takes the reply, when it is all there. What is found depends on the octets alone,
    /// and not on how they were cut.
    pub(super) fn read<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Reply<'i>>, Garble> {
        let shown: &'i [u8] = input;
        loop {
            let start = shown.len().min(self.line as usize);
            let from = shown.len().min(self.searched as usize);
            let Some(end) = memchr(b'\n', &shown[from..]).map(|at| from + at) else {
                // The last octet may be the CR of the line's end.
                if shown.len() - start > limits::HOP_LINE + 1 {
                    return Err(Garble::Line);
                }
                self.searched = shown.len() as u32;
                return Ok(None);
            };
            let line = without_end(&shown[start..=end]);
            if line.len() > limits::HOP_LINE {
                return Err(Garble::Line);
            }
            let (code, last) = code(line).ok_or(Garble::Code)?;
            if start > 0 && code / 100 != self.code / 100 {
                return Err(Garble::Code);
            }
            if last {
                let (octets, rest) = shown.split_at(end + 1);
                *input = rest;
                *self = Self::default();
                return Ok(Some(Reply { code, octets }));
            }
            // Judged where a line begins, so that the longest line always fits.
            if end + 1 > limits::HOP_REPLY - (limits::HOP_LINE + 2) {
                return Err(Garble::Endless);
            }
            *self = Self { line: end as u32 + 1, searched: end as u32 + 1, code };
        }
    }
}

/// The code of a line, and whether the line is the last of its reply (RFC 5321 section
/// 4.2.1). A code without a text is a reply, too: section 4.2 asks clients to take it.
fn code(line: &[u8]) -> Option<(u16, bool)> {
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    match line {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
            Some((100 * a + 10 * b + c, last))
        }
        _ => None,
    }
}

/// A line without CR LF, or LF alone, which clients take as well.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<Option<String>, Garble> {
        let mut whole = octets;
        let outcome = Reader::default().read(&mut whole).map(|r| r.map(|r| r.to_string()));
        // Octet by octet it comes to the same, at the same place.
        let mut reader = Reader::default();
        let mut cut = Ok(None);
        for end in 0..=octets.len() {
            let mut input = &octets[..end];
            cut = reader.read(&mut input).map(|r| r.map(|r| r.to_string()));
            if cut != Ok(None) {
                assert!(input.is_empty() || cut.is_err());
                break;
            }
        }
        assert_eq!(cut, outcome);
        outcome
    }

    fn text(octets: impl AsRef<[u8]>) -> String {
        read(octets.as_ref()).expect("a reply").expect("a whole one")
    }

    #[test]
    fn lines_are_joined() {
        assert_eq!(text("250 ok\r\n"), "250 ok");
        assert_eq!(text("250\r\n"), "250");
        assert_eq!(text("250 ok\n"), "250 ok");
        assert_eq!(text("250-\r\n250\r\n"), "250");
        assert_eq!(
            text("550-5.1.1 No such user.\r\n550 5.1.1  Try again\r\n"),
            "550 5.1.1 No such user. Try again"
        );
        assert_eq!(text("550-no code\r\n550-\r\n550 no more\r\n"), "550 no code no more");
        assert_eq!(text("550-foo a\r\n550 foo b\r\n"), "550 foo a foo b");
        // The code of the last line counts.
        assert_eq!(text("550-a\r\n554 b\r\n"), "554 a b");
    }

    #[test]
    fn nothing_but_text_comes_out() {
        assert_eq!(
            text(b"550 a\0b\rc\x1b[31m\td\xff\xc3\xbc\x7f\r\n"),
            "550 a?b?c?[31m d??".replace("??", "?\u{fc}?")
        );
        // The last line, shorter than a code and its blank, of CVE-2020-8794.
        assert_eq!(read(b"553-\r\n553\r\n").unwrap().as_deref(), Some("553"));
        assert_eq!(read(b"553-x\r\n5\r\n"), Err(Garble::Code));
        assert_eq!(read(b"553-x\r\n\r\n"), Err(Garble::Code));
    }

    #[test]
    fn what_is_no_reply() {
        for bad in [
            "",
            "\r\n",
            "25\r\n",
            "250x\r\n",
            "250_x\r\n",
            "199 x\r\n",
            "600 x\r\n",
            "-50 x\r\n",
            "HTTP/1.1 400\r\n",
            " 250 x\r\n",
            "250-a\r\n550 b\r\n",
            "250-a\r\n b\r\n",
        ] {
            let expected = if bad.is_empty() { Ok(None) } else { Err(Garble::Code) };
            assert_eq!(read(bad.as_bytes()), expected, "{bad:?}");
        }
        for part in ["2", "250", "250 ok", "250 ok\r", "250-ok\r\n", "250-ok\r\n250"] {
            assert_eq!(read(part.as_bytes()), Ok(None), "{part:?}");
        }
    }

    #[test]
    fn everything_has_a_bound() {
        let line = |n: usize| format!("550 {}\r\n", "x".repeat(n - 4));
        assert_eq!(text(line(limits::HOP_LINE)).len(), limits::HOP_STATUS);
        assert_eq!(read(line(limits::HOP_LINE + 1).as_bytes()), Err(Garble::Line));
        assert_eq!(read(&[b'x'; limits::HOP_LINE + 1]), Ok(None));
        assert_eq!(read(&[b'x'; limits::HOP_LINE + 2]), Err(Garble::Line));
        assert_eq!(read(&b"250-x\r\n".repeat(10_000)), Err(Garble::Endless));
        // The longest reply there is has a longest line at the end.
        let first = limits::HOP_REPLY - (limits::HOP_LINE + 2);
        let mut longest = b"550-x\r\n".repeat(first / 7);
        longest.extend(line(limits::HOP_LINE).bytes());
        assert!(longest.len() <= limits::HOP_REPLY && longest.len() > limits::HOP_REPLY - 7);
        assert_eq!(text(&longest).len(), limits::HOP_STATUS);
    }

    #[test]
    fn too_much_text_is_the_last_line() {
        let long = format!("550-5.7.1 {}\r\n", "x".repeat(1500));
        assert_eq!(text(format!("{long}550 5.7.1 end\r\n")).len(), 4 + 6 + 1500 + 4);
        assert_eq!(text(format!("{long}{long}550 5.7.1 end\r\n")), "550 5.7.1 end");
    }

    #[test]
    fn enhanced_codes_fit_the_code() {
        let of = |octets: &'static str| {
            let mut input = octets.as_bytes();
            let reply = Reader::default().read(&mut input).unwrap().unwrap();
            reply.enhanced().map(|enhanced| enhanced.to_string())
        };
        assert_eq!(of("550 5.1.1 no\r\n").as_deref(), Some("5.1.1"));
        assert_eq!(of("550-5.1.1\r\n550 no\r\n").as_deref(), Some("5.1.1"));
        for none in
            ["550 4.1.1 no\r\n", "550 no\r\n", "550\r\n", "354 3.0.0 go\r\n", "550 5.1.1\u{fc}\r\n"]
        {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
