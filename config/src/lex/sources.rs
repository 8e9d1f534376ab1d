//! The files that were read, to show a line of them below a diagnostic.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Position, shown_line};

/// The word behind which the keys of the queue stand.
const SECRET: &[u8] = b"encryption";

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
    /// queue is not shown.
    pub fn locate(&self, place: Place, diagnostic: Diagnostic) -> Diagnostic {
        let line = self.line(place);
        if diagnostic.secret || line.windows(SECRET.len()).any(|word| word == SECRET) {
            return diagnostic.at(self.position(place));
        }
        let from = line.len().min(place.offset as usize);
        let to = line.len().min(from + place.width as usize);
        let width = String::from_utf8_lossy(&line[from..to]).chars().count() as u32;
        diagnostic.at(self.position(place)).shows(shown_line(line), width)
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
