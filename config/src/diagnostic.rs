//! What is wrong with a configuration, where, and what to write instead.
//!
//! A diagnostic prints as upstream's line `file:line: message`, which old tools read, and
//! below it the line with a caret, what was expected there and the nearest known word.
//! Nothing here knows a grammar: the readers say what they expected.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::limits;

/// A place in a configuration file or a table file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The file as it was named on the command line or by `include`.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1; 0 when the whole line is meant.
    pub column: u32,
}

impl fmt::Display for Position {
    /// `file:line`, as every old tool expects it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The file may be one that an `include` names.
        for character in self.file.chars() {
            f.write_char(if character.is_control() { '?' } else { character })?;
        }
        write!(f, ":{}", self.line)
    }
}

/// Whether the configuration can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// Read and understood, yet worth a look.
    Warning,
    /// Nothing to change, but to know: `-W` does not mind it.
    Note,
}

/// One mistake or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// An error, or only a warning.
    pub severity: Severity,
    /// Where; `None` when it is about no place of a file (a file that cannot be opened).
    pub position: Option<Position>,
    /// What is wrong, in one line.
    pub message: String,
    /// The line itself, without its end and not longer than [`limits::SHOWN_LINE`].
    pub line: Option<Arc<str>>,
    /// Characters of that line which the caret underlines, at least 1.
    pub width: u32,
    /// What may stand there.
    pub expected: Vec<String>,
    /// What to write, in a sentence.
    pub help: Option<String>,
    /// The line holds a secret.
    pub(crate) secret: bool,
}

impl Diagnostic {
    /// An error without a place; the readers add one.
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            position: None,
            message: one_line(message.into()),
            line: None,
            width: 1,
            expected: Vec::new(),
            help: None,
            secret: false,
        }
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message) }
    }

    /// A note without a place.
    pub fn note(message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Note, ..Diagnostic::error(message) }
    }

    /// Whether the configuration cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(crate) fn at(mut self, position: Position) -> Diagnostic {
        self.position = Some(position);
        self
    }

    pub(crate) fn shows(mut self, line: Arc<str>, width: u32) -> Diagnostic {
        self.line = Some(line);
        self.width = width.max(1);
        self
    }

    /// Its line is never shown, since there is a secret in it.
    pub(crate) fn secret(mut self) -> Diagnostic {
        self.secret = true;
        self
    }

    pub(crate) fn expects<S: AsRef<str>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.expected = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(one_line(help.into()));
        self
    }

    /// Adds "did you mean" when `written` looks like a slip of one of `known`.
    pub(crate) fn nearest<'a>(
        self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Diagnostic {
        match nearest(written, known) {
            Some(word) if self.help.is_none() => self.help(format!("did you mean \"{word}\"?")),
            _ => self,
        }
    }
}

/// The diagnostics of a run, so many of each kind as a reader can use.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    all: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Collected {
    /// Whether another one of that kind would be kept; finding its line may cost something.
    pub fn wants(&self, severity: Severity) -> bool {
        match severity {
            Severity::Error => self.errors <= limits::DIAGNOSTICS,
            Severity::Warning | Severity::Note => self.warnings <= limits::DIAGNOSTICS,
        }
    }

    /// Whether there are so many errors that reading on makes no sense.
    pub fn is_full(&self) -> bool {
        !self.wants(Severity::Error)
    }

    /// Whether the configuration cannot be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub fn contains(&self, diagnostic: &Diagnostic) -> bool {
        self.all.contains(diagnostic)
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.wants(diagnostic.severity) {
            return;
        }
        match diagnostic.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning | Severity::Note => self.warnings += 1,
        }
        self.all.push(diagnostic);
    }

    /// All of them by `key`, and in the end what was left out.
    pub fn sorted<K: Ord>(mut self, key: impl FnMut(&Diagnostic) -> K) -> Vec<Diagnostic> {
        self.all.sort_by_cached_key(key);
        let mut left = [limits::DIAGNOSTICS; 2];
        self.all.retain(|diagnostic| {
            let left = &mut left[usize::from(diagnostic.is_error())];
            let keep = *left > 0;
            *left -= usize::from(keep);
            keep
        });
        if self.errors > limits::DIAGNOSTICS {
            self.all.push(Diagnostic::error("too many mistakes, the rest is not read"));
        }
        if self.warnings > limits::DIAGNOSTICS {
            self.all.push(Diagnostic::warning("too many warnings, the rest is not shown"));
        }
        self.all
    }
}

/// What was read may hold a line end or a terminal's control sequence; a message may not.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    } else {
        text
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        })?;
        f.write_str(&self.message)?;
        if let (Some(position), Some(line)) = (&self.position, &self.line) {
            let margin = format!("{}:{}", position.line, position.column);
            write!(f, "\n  {margin} | {line}")?;
            if position.column > 0 {
                let before = position.column as usize - 1;
                let blank: String =
                    line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let carets = "^".repeat(self.width as usize);
                write!(f, "\n  {:1$} | {blank}{carets}", "", margin.len())?;
            }
        }
        if !self.expected.is_empty() {
            write!(f, "\n  expected: {}", self.expected.join(", "))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  {help}")?;
        }
        Ok(())
    }
}

/// The line as it is shown: no control characters but tabs, and not without end.
pub(crate) fn shown_line(octets: &[u8]) -> Arc<str> {
    let cut = &octets[..octets.len().min(limits::SHOWN_LINE)];
    let text = String::from_utf8_lossy(cut);
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { '?' } else { c })
        .collect::<String>()
        .into()
}

/// The known word a slip away from what was written: at most one edit in three characters.
fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a word of hundreds of characters, and the comparison is quadratic.
    let length = written.chars().count();
    if !(2..=40).contains(&length) {
        return None;
    }
    let written = written.to_ascii_lowercase();
    known
        .into_iter()
        .filter(|word| word.chars().count().abs_diff(length) <= 2)
        .map(|word| {
            let edits = distance(&written, &word.to_ascii_lowercase());
            // Of equals the one of the same length: letters change places more often.
            (edits, word.chars().count().abs_diff(length), word)
        })
        .filter(|(edits, ..)| *edits <= length.div_ceil(3).min(3))
        .min()
        .map(|(.., word)| word)
}

/// Edits between two words; two neighbours that changed places are one edit.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut edits = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                edits = edits.min(before[j - 2] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["maildir", "mbox", "lmtp", "relay", "mda"];
        assert_eq!(nearest("maidlir", known), Some("maildir"));
        assert_eq!(nearest("mailder", known), Some("maildir"));
        assert_eq!(nearest("RELAY", known), Some("relay"));
        assert_eq!(nearest("form", ["for", "from"]), Some("from"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn the_first_line_is_what_old_tools_read() {
        let position = Position { file: "smtpd.conf".into(), line: 3, column: 2 };
        let text = Diagnostic::error("bad\nword")
            .at(position)
            .shows(shown_line(b"\tfoo\x1b bar"), 3)
            .expects(["a", "b"])
            .to_string();
        assert_eq!(
            text,
            "smtpd.conf:3: bad?word\n  3:2 | \tfoo? bar\n      | \t^^^\n  expected: a, b"
        );
    }
}
