//! The files that were read, to show a line of them below a diagnostic.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Position, shown_line};

/// Words of lines that are never shown: behind all of one of these a key stands.
const SECRET: [&[&str]; 2] = [&["encryption"], &["srs", "key"]];

/// A place in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the file.
    pub file: u16,
    /// Line, counted from 1.
    pub line: u32,
    /// Octet in that line, counted from 0.
    pub offset: u32,
    /// Octets.
    pub width: u32,
}

/// Octets of a file, counted from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first of them.
    pub start: usize,
    /// The first behind them.
    pub end: usize,
}

/// A mistake and its place.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, yet without a position.
    pub diagnostic: Diagnostic,
}

impl Fault {
    /// A mistake there.
    pub fn new(place: Place, diagnostic: Diagnostic) -> Box<Fault> {
        Box::new(Fault { place, diagnostic })
    }

    /// A mistake that needs no more words than its message.
    pub fn error(place: Place, message: impl Into<String>) -> Box<Fault> {
        Fault::new(place, Diagnostic::error(message))
    }
}

/// The files that were read.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    octets: Arc<[u8]>,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Sources {
    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, octets: Vec<u8>) -> (u16, Arc<[u8]>) {
        let starts = std::iter::once(0)
            .chain(octets.iter().enumerate().filter(|(_, o)| **o == b'\n').map(|(at, _)| at + 1))
            .collect();
        let octets: Arc<[u8]> = octets.into();
        let index = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push(Source { name: name.into(), octets: Arc::clone(&octets), starts });
        (index, octets)
    }

    /// The octets of a file.
    pub fn octets(&self, file: u16) -> &[u8] {
        self.files.get(usize::from(file)).map_or(&[], |source| &source.octets)
    }

    /// The name of a file.
    pub fn name(&self, file: u16) -> &str {
        self.files.get(usize::from(file)).map_or("", |source| &source.name)
    }

    /// The place in the words of a diagnostic.
    pub fn position(&self, place: Place) -> Position {
        let Some(source) = self.files.get(usize::from(place.file)) else {
            return Position { file: "".into(), line: place.line, column: 0 };
        };
        let before = self.line(place);
        let before = &before[..before.len().min(place.offset as usize)];
        let column = String::from_utf8_lossy(before).chars().count() as u32 + 1;
        Position { file: Arc::clone(&source.name), line: place.line, column }
    }

    /// Which of the files that is, counted from 0; a high number for another file.
    pub fn order(&self, name: &str) -> usize {
        let at = self.files.iter().position(|file| *file.name == *name);
        at.unwrap_or(usize::MAX - 1)
    }

    /// Puts the place, its line and the caret to a diagnostic. A line that may hold a key of the
    /// queue or of SRS is not shown, and passwords in it are stars.
    pub fn locate(&self, place: Place, diagnostic: Diagnostic) -> Diagnostic {
        let line = self.line(place);
        let has = |word: &&str| line.windows(word.len()).any(|part| part == word.as_bytes());
        if diagnostic.secret || SECRET.iter().any(|words| words.iter().all(has)) {
            return diagnostic.at(self.position(place));
        }
        let from = line.len().min(place.offset as usize);
        let to = line.len().min(from + place.width as usize);
        let width = String::from_utf8_lossy(&line[from..to]).chars().count() as u32;
        diagnostic.at(self.position(place)).shows(shown_line(&masked(line)), width)
    }

    /// The same for a diagnostic that has its position already; the caret goes below the word
    /// there. One of another file than those read stays as it is.
    pub fn show(&self, diagnostic: Diagnostic) -> Diagnostic {
        let Some(position) = diagnostic.position.clone().filter(|p| p.column > 0) else {
            return diagnostic;
        };
        let Some(file) = self.files.iter().position(|file| *file.name == *position.file) else {
            return diagnostic;
        };
        let start = Place { file: file as u16, line: position.line, offset: 0, width: 1 };
        let line = String::from_utf8_lossy(self.line(start));
        let before: usize =
            line.chars().take(position.column as usize - 1).map(char::len_utf8).sum();
        let width = word_width(line.get(before..).unwrap_or(""));
        self.locate(Place { offset: before as u32, width, ..start }, diagnostic)
    }

    fn line(&self, place: Place) -> &[u8] {
        let Some(source) = self.files.get(usize::from(place.file)) else {
            return &[];
        };
        let start = source.starts.get(place.line.saturating_sub(1) as usize);
        let rest = &source.octets[start.copied().unwrap_or(source.octets.len())..];
        let end = rest.iter().position(|o| *o == b'\n').unwrap_or(rest.len());
        rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])
    }
}

/// Octets of the word or the quoted string that a text begins with.
fn word_width(text: &str) -> u32 {
    let mut characters = text.char_indices();
    let end = match characters.next() {
        Some((_, quote @ ('"' | '\''))) => {
            characters.find(|(_, c)| *c == quote).map(|(at, _)| at + 1)
        }
        _ => characters.find(|(_, c)| c.is_whitespace() || "{}<>,=".contains(*c)).map(|(at, _)| at),
    };
    end.unwrap_or(text.len()) as u32
}

/// The line with stars for what may be a password: in a value behind `=`, all behind the colon of
/// `user:password`, and all of a hash. URLs, and numbers as in `uid:gid:directory`, are none.
fn masked(line: &[u8]) -> Vec<u8> {
    let mut masked = line.to_vec();
    let mut at = 0;
    while let Some(equals) = masked[at..].iter().position(|octet| *octet == b'=') {
        let is_before = |octet: &u8| b"=> \t\"'".contains(octet);
        let skipped = masked[at + equals..].iter().take_while(|octet| is_before(octet)).count();
        let start = at + equals + skipped;
        let ends = |octet: &u8| b" \t\"',}".contains(octet);
        let length = masked[start..].iter().position(ends);
        let end = length.map_or(masked.len(), |length| start + length);
        let value = &mut masked[start..end];
        let secret = match value.iter().position(|octet| *octet == b':') {
            _ if value.first() == Some(&b'$') && value.len() > 8 => Some(0),
            Some(colon)
                if !value[colon..].starts_with(b"://")
                    && !value[..colon].iter().all(u8::is_ascii_digit) =>
            {
                Some(colon + 1)
            }
            _ => None,
        };
        if let Some(secret) = secret {
            // One star for a character, so that the caret stays where it is.
            for octet in &mut value[secret..] {
                *octet = if octet.is_ascii() { b'*' } else { *octet };
            }
        }
        at = end.max(at + equals + 1);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn passwords_are_stars() {
        for (line, shown) in [
            ("table s { label = \"joe:secret\" }", "table s { label = \"joe:******\" }"),
            ("table s { a => joe:x, b=ann:yy }", "table s { a => joe:*, b=ann:** }"),
            ("joe = \"$2b$10$abcdefgh\"", "joe = \"***************\""),
            ("x = smtp+tls://label@host:587", "x = smtp+tls://label@host:587"),
            ("joe = 1001:1001:/home/joe", "joe = 1001:1001:/home/joe"),
            ("m = $macro", "m = $macro"),
            ("a = joe:", "a = joe:"),
            ("=", "="),
            ("a = b:c = d:e", "a = b:* = d:*"),
        ] {
            assert_eq!(String::from_utf8_lossy(&masked(line.as_bytes())), shown);
        }
    }
}
