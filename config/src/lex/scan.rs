//! Characters to tokens: words, numbers, quotes, marks, comments, joined lines, macros.

use std::sync::Arc;

use super::sources::{Fault, Place, Span};
use super::{Kind, Token};
use crate::diagnostic::Diagnostic;
use crate::limits;

/// What a macro stands for; asked when `$name` is met.
pub(super) trait Macros {
    /// The text of that name.
    fn text(&mut self, name: &str) -> Option<Arc<[u8]>>;
    /// Names that are defined.
    fn names(&self) -> Vec<String>;
}

/// What comes next in a file.
pub(super) enum Scanned {
    Token(Token),
    /// A line end outside of a token.
    Newline,
    End,
}

/// Reads one file.
pub(super) struct Scanner {
    file: u16,
    octets: Arc<[u8]>,
    at: usize,
    line: u32,
    line_start: usize,
    expansion: Option<Expansion>,
    /// Where the token that is being read begins.
    start: usize,
    /// Strings that went over the end of a line: legal, and mostly a forgotten quote.
    pub long_strings: Vec<Place>,
}

/// A macro that is being read. Macros do not nest, so there is one at most.
struct Expansion {
    text: Arc<[u8]>,
    at: usize,
    place: Place,
    /// Where its name begins.
    start: usize,
}

/// Where a scanner stands, to come back to it.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    line: u32,
    line_start: usize,
}

impl Scanner {
    pub fn new(file: u16, octets: Arc<[u8]>) -> Scanner {
        // A byte order mark is no part of the text.
        let at = if octets.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let long_strings = Vec::new();
        Scanner {
            file,
            octets,
            at,
            line: 1,
            line_start: 0,
            expansion: None,
            start: 0,
            long_strings,
        }
    }

    /// Where the file goes on; not to be kept while a macro is being read.
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, line: self.line, line_start: self.line_start }
    }

    pub fn back_to(&mut self, mark: Mark) {
        self.expansion = None;
        (self.at, self.line, self.line_start) = (mark.at, mark.line, mark.line_start);
    }

    /// Goes to the beginning of the next line of the file.
    pub fn skip_line(&mut self) {
        self.expansion = None;
        while let Some(octet) = self.bump() {
            if octet == b'\n' {
                break;
            }
        }
    }

    /// Octets read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The place of what comes next.
    pub fn here(&self) -> Place {
        match &self.expansion {
            Some(expansion) => expansion.place,
            None => Place {
                file: self.file,
                line: self.line,
                offset: (self.at - self.line_start) as u32,
                width: 1,
            },
        }
    }

    fn peek(&self) -> Option<u8> {
        self.peek_at(0)
    }

    /// The octet `ahead` further on; the text of a macro and what follows it are one.
    fn peek_at(&self, ahead: usize) -> Option<u8> {
        let mut ahead = ahead;
        if let Some(expansion) = &self.expansion {
            let left = &expansion.text[expansion.at..];
            if let Some(octet) = left.get(ahead) {
                return Some(*octet);
            }
            ahead -= left.len();
        }
        self.octets.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        if let Some(expansion) = &mut self.expansion {
            if let Some(octet) = expansion.text.get(expansion.at) {
                expansion.at += 1;
                return Some(*octet);
            }
            self.expansion = None;
        }
        let octet = *self.octets.get(self.at)?;
        self.at += 1;
        if octet == b'\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        Some(octet)
    }

    /// Drops a macro that has been read to its end, so that what follows has its own place.
    fn leave_expansion(&mut self) {
        if self.expansion.as_ref().is_some_and(|e| e.at == e.text.len()) {
            self.expansion = None;
        }
    }

    /// Length of a backslash and the line end it joins, if that is what comes next.
    fn joint(&self) -> Option<usize> {
        match (self.peek(), self.peek_at(1), self.peek_at(2)) {
            (Some(b'\\'), Some(b'\n'), _) => Some(2),
            (Some(b'\\'), Some(b'\r'), Some(b'\n')) => Some(3),
            _ => None,
        }
    }

    fn skip_blanks(&mut self) {
        let mut comment = false;
        loop {
            self.leave_expansion();
            if let Some(length) = self.joint() {
                for _ in 0..length {
                    self.bump();
                }
                continue;
            }
            match self.peek() {
                Some(b'\r') if self.peek_at(1) == Some(b'\n') => {}
                Some(b'\n') | None => return,
                Some(b' ' | b'\t') => {}
                Some(b'#') => comment = true,
                Some(_) if comment => {}
                Some(_) => return,
            }
            self.bump();
        }
    }

    /// The next token. After a fault the scanner stands behind it.
    pub fn next(&mut self, macros: &mut dyn Macros) -> Result<Scanned, Box<Fault>> {
        self.skip_blanks();
        while self.expansion.is_none() && self.peek() == Some(b'$') {
            self.expand(self.here(), macros)?;
            self.skip_blanks();
        }
        let place = self.here();
        self.start = self.expansion.as_ref().map_or(self.at, |expansion| expansion.start);
        let Some(octet) = self.peek() else {
            return Ok(Scanned::End);
        };
        match octet {
            b'\n' => {
                self.bump();
                Ok(Scanned::Newline)
            }
            b'"' | b'\'' => self.quoted(place, octet),
            b'=' => {
                self.bump();
                let arrow = self.peek() == Some(b'>');
                if arrow {
                    self.bump();
                }
                let kind = if arrow { Kind::Arrow } else { Kind::Mark('=') };
                Ok(self.token(kind, Box::default(), place))
            }
            _ if self.number_ahead() > 0 => {
                let length = self.number_ahead();
                let text: Vec<u8> = (0..length).filter_map(|_| self.bump()).collect();
                self.finish(Kind::Number, text, place)
            }
            _ if self.word_begins() => self.word(place),
            _ => {
                let character = self.character();
                if character.is_control() || character == char::REPLACEMENT_CHARACTER {
                    let message = format!("octet 0x{octet:02x} outside of quotes");
                    return Err(Fault::new(place, Diagnostic::error(message)));
                }
                Ok(self.token(Kind::Mark(character), Box::default(), place))
            }
        }
    }

    /// Takes one character, of as many octets as it has.
    fn character(&mut self) -> char {
        let Some(first) = self.bump() else {
            return char::REPLACEMENT_CHARACTER;
        };
        let mut octets = vec![first];
        while octets.len() < 4 && self.peek().is_some_and(|o| o & 0xc0 == 0x80) {
            octets.extend(self.bump());
        }
        let text = std::str::from_utf8(&octets).ok().and_then(|text| text.chars().next());
        text.unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn token(&self, kind: Kind, text: Box<str>, place: Place) -> Scanned {
        let mut place = place;
        if self.expansion.is_none() && place.file == self.file && place.line == self.line {
            let end = (self.at - self.line_start) as u32;
            place.width = end.saturating_sub(place.offset).max(1);
        }
        let span = Span { start: self.start, end: self.at };
        Scanned::Token(Token { kind, text, place, span })
    }

    fn finish(&self, kind: Kind, text: Vec<u8>, place: Place) -> Result<Scanned, Box<Fault>> {
        if text.len() > limits::WORD {
            let diagnostic = Diagnostic::error("string too long")
                .help(format!("at most {} octets", limits::WORD));
            return Err(Fault::new(place, diagnostic));
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(self.token(kind, text.into(), place)),
            Err(_) => {
                let diagnostic = Diagnostic::error("a string that is not UTF-8")
                    .help("save the file as UTF-8; only in comments anything is allowed");
                Err(Fault::new(place, diagnostic))
            }
        }
    }

    /// Reads `$name` and goes on in its text.
    fn expand(&mut self, place: Place, macros: &mut dyn Macros) -> Result<(), Box<Fault>> {
        let start = self.at;
        self.bump();
        let mut name = String::new();
        while let Some(octet) = self.peek()
            && (octet.is_ascii_alphanumeric() || octet == b'_')
            && name.len() < limits::WORD
        {
            self.bump();
            name.push(char::from(octet));
        }
        let place = Place { width: 1 + name.len() as u32, ..place };
        match macros.text(&name) {
            Some(text) => {
                self.expansion = Some(Expansion { text, at: 0, place, start });
                Ok(())
            }
            None => {
                let names = macros.names();
                let diagnostic = Diagnostic::error(format!("macro '{name}' not defined"))
                    .nearest(&name, names.iter().map(String::as_str));
                Err(Fault::new(place, diagnostic))
            }
        }
    }

    fn quoted(&mut self, place: Place, quote: u8) -> Result<Scanned, Box<Fault>> {
        self.bump();
        let begun = self.mark();
        let mut text = Vec::new();
        let mut lines = false;
        loop {
            if let Some(length) = self.joint() {
                for _ in 0..length {
                    self.bump();
                }
                continue;
            }
            match self.bump() {
                Some(octet) if octet == quote => break,
                Some(b'\\')
                    if self.peek().is_some_and(|o| o == quote || o == b' ' || o == b'\t') =>
                {
                    text.extend(self.bump());
                }
                Some(b'\n') => lines = true,
                Some(b'\r') if self.peek() == Some(b'\n') => {}
                Some(0) => {
                    let place = Place { width: 1, ..place };
                    let diagnostic = Diagnostic::error("a NUL inside of quotes");
                    return Err(Fault::new(place, diagnostic));
                }
                Some(octet) if text.len() <= limits::WORD => text.push(octet),
                // Too long: a forgotten quote would swallow the rest of the file.
                over => {
                    let message = if over.is_none() {
                        "the quote that begins here is never closed"
                    } else {
                        "string too long"
                    };
                    let diagnostic = Diagnostic::error(message)
                        .help(format!("add a {} at its end", char::from(quote)));
                    // Go on in the line after the one where it began.
                    self.back_to(begun);
                    return Err(Fault::new(place, diagnostic));
                }
            }
        }
        if lines {
            self.long_strings.push(place);
        }
        self.finish(Kind::Quoted, text, place)
    }

    /// Octets of the number that comes next, 0 when none does.
    fn number_ahead(&self) -> usize {
        let minus = usize::from(self.peek() == Some(b'-'));
        let mut length = minus;
        while length <= 20 && self.peek_at(length).is_some_and(|o| o.is_ascii_digit()) {
            length += 1;
        }
        let ends = self.peek_at(length).is_none_or(|octet| {
            octet.is_ascii_whitespace() || matches!(octet, b')' | b',' | b'/' | b'}' | b'=')
        });
        if length > minus && ends { length } else { 0 }
    }

    fn word_begins(&self) -> bool {
        self.peek().is_some_and(|octet| {
            octet.is_ascii_alphanumeric() || matches!(octet, b':' | b'_' | b'/' | b'.' | b'~')
        }) || self.specifier_ahead().is_some()
    }

    /// Length of a `%{...}` that comes next.
    fn specifier_ahead(&self) -> Option<usize> {
        if self.peek() != Some(b'%') || self.peek_at(1) != Some(b'{') {
            return None;
        }
        for length in 2..limits::FORMAT_TOKEN {
            match self.peek_at(length)? {
                b'}' => return Some(length + 1),
                octet if octet.is_ascii_graphic() && !matches!(octet, b'{' | b'"' | b'\'') => {}
                _ => return None,
            }
        }
        None
    }

    fn word(&mut self, place: Place) -> Result<Scanned, Box<Fault>> {
        let mut text = Vec::new();
        while text.len() <= limits::WORD {
            if self.joint().is_some() {
                break;
            }
            if let Some(length) = self.specifier_ahead() {
                for _ in 0..length {
                    text.extend(self.bump());
                }
                continue;
            }
            match self.peek() {
                Some(octet)
                    if octet.is_ascii_graphic()
                        && !matches!(
                            octet,
                            b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'!' | b'=' | b'#' | b','
                        ) =>
                {
                    text.extend(self.bump());
                }
                _ => break,
            }
        }
        self.finish(Kind::Word, text, place)
    }
}
