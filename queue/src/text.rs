//! Texts of others in lines of ours: nothing in them can end a line or speak to a terminal.

use std::fmt::{self, Write};

use smtpd_engine::address::Mailbox;

/// A text with its control characters written as vis(3) writes them in C style: `\n`, `\033`.
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = [0; 4];
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // The separators of lines and paragraphs end lines for some readers.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let mut octets = c.encode_utf8(&mut octets).bytes();
                    octets.try_for_each(|octet| write!(f, "\\{octet:03o}"))?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// An address where upstream prints user and domain around an `@`, so that the null
/// reverse-path is `@`.
pub(crate) struct Address<'a>(pub(crate) Option<&'a Mailbox>);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mailbox) => mailbox.fmt(f),
            None => f.write_char('@'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_line() {
        let text = Visible("a\r\nb\u{1b}[2J\\ü\u{85}\u{2028}").to_string();
        assert_eq!(text, r"a\r\nb\033[2J\\ü\302\205\342\200\250");
    }
}
