//! Text that somebody else chose, made fit for one line: vis(3) in its C style.
//!
//! A peer that sends a line break, a terminal escape or a text direction mark must not be able to
//! add a line to the log, hide one, or end a quoted value. Printable UTF-8 stays readable.

use std::fmt::{self, Display, Formatter, Write};

/// Octets from outside as printable text; shows itself without allocating.
///
/// `\` becomes `\\`, control characters `\n`, `\r`, `\t` or octal (`\033`), as do octets that are
/// not UTF-8 and characters that are invisible or turn the text around.
#[must_use]
pub fn vis(octets: &[u8]) -> Vis<'_> {
    Vis { octets, quoted: false }
}

/// The same between double quotes: a quote inside becomes `\"`.
#[must_use]
pub fn vis_quoted(octets: &[u8]) -> Vis<'_> {
    Vis { octets, quoted: true }
}

/// See [`vis`] and [`vis_quoted`].
#[derive(Clone, Copy, Debug)]
pub struct Vis<'a> {
    octets: &'a [u8],
    quoted: bool,
}

impl Display for Vis<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.quoted {
            f.write_char('"')?;
        }
        for chunk in self.octets.utf8_chunks() {
            Escape { to: f, quoted: self.quoted }.write_str(chunk.valid())?;
            octal(f, chunk.invalid())?;
        }
        if self.quoted { f.write_char('"') } else { Ok(()) }
    }
}

/// As [`vis`], for anything that can be shown, such as an address.
#[must_use]
pub fn vis_shown<T: Display>(value: T) -> VisShown<T> {
    VisShown(value)
}

/// See [`vis_shown`].
#[derive(Clone, Copy, Debug)]
pub struct VisShown<T>(T);

impl<T: Display> Display for VisShown<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escape { to: f, quoted: false }, "{}", self.0)
    }
}

struct Escape<'a, 'f> {
    to: &'a mut Formatter<'f>,
    quoted: bool,
}

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let special = c == '\\' || c == '"' && self.quoted || hidden(c);
            if !special {
                continue;
            }
            let end = at + c.len_utf8();
            self.to.write_str(&text[plain..at])?;
            match c {
                '\\' => self.to.write_str("\\\\")?,
                '"' => self.to.write_str("\\\"")?,
                '\n' => self.to.write_str("\\n")?,
                '\r' => self.to.write_str("\\r")?,
                '\t' => self.to.write_str("\\t")?,
                _ => octal(self.to, &text.as_bytes()[at..end])?,
            }
            plain = end;
        }
        self.to.write_str(&text[plain..])
    }
}

/// Control characters (also those above ASCII), line and paragraph separators, and format
/// characters that have no width or change the direction of what follows.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

fn octal(f: &mut Formatter<'_>, octets: &[u8]) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "\\{octet:03o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sends_stays_on_its_line() {
        let cases: &[(&[u8], &str)] = &[
            (b"MAIL FROM:<a@example.org>", "MAIL FROM:<a@example.org>"),
            (b"", ""),
            (b"a\r\nb\tc\0", r"a\r\nb\tc\000"),
            (b"say \"x\\\"", r#"say "x\\""#),
            (b"\x1b]0;title\x07\x7f", r"\033]0;title\007\177"),
            ("gr\u{fc}n \u{7530}".as_bytes(), "gr\u{fc}n \u{7530}"),
            (b"\xff\xc3", r"\377\303"),
            ("\u{85}\u{2028}\u{202e}x".as_bytes(), r"\302\205\342\200\250\342\200\256x"),
        ];
        for (octets, shown) in cases {
            assert_eq!(vis(octets).to_string(), *shown);
        }
        assert_eq!(vis_quoted(b"say \"x\\\"").to_string(), r#""say \"x\\\"""#);
        assert_eq!(vis_shown(format_args!("<{}>", "a\n")).to_string(), r"<a\n>");
    }

    #[test]
    fn no_octets_at_all_make_a_control_character() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                let shown = vis(&[first, second]).to_string();
                assert!(!shown.chars().any(char::is_control), "{first} {second}");
            }
        }
    }
}
