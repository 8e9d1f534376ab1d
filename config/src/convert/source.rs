//! The words of a statement as they are written: with quotes, macros, comments in braces and lines
//! that go on.

use crate::Dialect;
use crate::lex::{Kind, Span, Token};
use crate::print::quote;
use crate::words::is_reserved;

use super::becomes_keyword;

/// A statement and the file it is in.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub octets: &'s [u8],
    pub tokens: &'s [Token],
}

/// A few words of a statement, with what stands before them in the file.
#[derive(Clone)]
pub(super) struct Piece {
    gap: Vec<u8>,
    text: Vec<u8>,
}

impl Piece {
    /// Words that stand nowhere in the file.
    pub fn new(text: impl Into<Vec<u8>>) -> Piece {
        Piece { gap: b" ".to_vec(), text: text.into() }
    }

    /// The words.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same place, other words.
    pub fn with(&self, text: impl Into<Vec<u8>>) -> Piece {
        Piece { gap: self.gap.clone(), text: text.into() }
    }
}

/// A statement of pieces.
pub(super) fn join(first: impl Into<Vec<u8>>, pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().fold(first.into(), |mut line, piece| {
        line.extend_from_slice(&piece.gap);
        line.extend_from_slice(&piece.text);
        line
    })
}

impl<'s> Source<'s> {
    pub fn token(&self, at: usize) -> Option<&'s Token> {
        self.tokens.get(at)
    }

    /// Whether that word, without quotes, stands there.
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|token| token.is(word))
    }

    pub fn is_mark(&self, at: usize, mark: char) -> bool {
        self.token(at).is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    /// Whether a name stands there, where it may be left out: none of these words, and none that is
    /// reserved.
    pub fn is_name(&self, at: usize, words: &[&str]) -> bool {
        self.token(at).is_some_and(|token| match token.kind {
            Kind::Quoted => true,
            Kind::Word => {
                !is_reserved(Dialect::Legacy, &token.text) && !words.contains(&&*token.text)
            }
            _ => false,
        })
    }

    /// Where the operand that begins there ends.
    pub fn operand_end(&self, at: usize) -> usize {
        let close = match self.token(at).map(|token| token.kind) {
            Some(Kind::Mark('<')) => '>',
            Some(Kind::Mark('{')) => '}',
            _ => return at + 1,
        };
        (at..self.tokens.len())
            .find(|at| self.is_mark(*at, close))
            .map_or(self.tokens.len(), |at| at + 1)
    }

    /// What comes before a word: blanks, and perhaps a line end that is joined there.
    fn gap(&self, at: usize) -> Vec<u8> {
        let between = at.checked_sub(1).and_then(|before| {
            let (before, this) = (self.token(before)?.span, self.token(at)?.span);
            self.octets.get(before.end..this.start)
        });
        match between {
            Some(gap) if !gap.is_empty() => gap.to_vec(),
            _ => b" ".to_vec(),
        }
    }

    /// A piece in the place of the word there.
    pub fn piece(&self, at: usize, text: impl Into<Vec<u8>>) -> Piece {
        Piece { gap: self.gap(at), text: text.into() }
    }

    /// Another keyword in the place of the word at `at`, and the operand from `from` to `to`.
    pub fn renamed(&self, at: usize, keyword: &str, from: usize, to: usize) -> Piece {
        let mut text = keyword.as_bytes().to_vec();
        if from < to {
            text.extend(self.gap(from));
            text.extend(self.verbatim(from, to));
        }
        self.piece(at, text)
    }

    /// Tokens that are names and values, as they are written; those that would be keywords today
    /// in quotes.
    pub fn verbatim(&self, from: usize, to: usize) -> Vec<u8> {
        self.write(from, to, becomes_keyword)
    }

    /// Tokens as they are written.
    pub fn unchanged(&self, from: usize, to: usize) -> Vec<u8> {
        self.write(from, to, |_| false)
    }

    fn write(&self, from: usize, to: usize, needs_quotes: fn(&Token) -> bool) -> Vec<u8> {
        let to = to.min(self.tokens.len());
        let mut out = Vec::new();
        let mut before: Option<Span> = None;
        let mut at = from;
        while at < to {
            // The tokens of one macro have one beginning.
            let start = self.tokens[at].span.start;
            let same = |token: &&Token| token.span.start == start;
            let first = at - self.tokens[..at].iter().rev().take_while(same).count();
            let behind = at + self.tokens[at..].iter().take_while(same).count();
            let group = &self.tokens[first..behind];
            let span = Span { start, end: group.iter().map(|t| t.span.end).max().unwrap_or(start) };
            match before {
                Some(before) if before.end <= start => {
                    out.extend_from_slice(&self.octets[before.end..start]);
                }
                Some(_) => out.push(b' '),
                None => {}
            }
            let part = &self.tokens[at..behind.min(to)];
            if part.len() == group.len() && !part.iter().any(needs_quotes) {
                out.extend_from_slice(&self.octets[span.start..span.end]);
            } else {
                let words: Vec<String> = part.iter().map(|t| spelled(t, needs_quotes)).collect();
                out.extend(words.join(" ").into_bytes());
            }
            before = Some(span);
            at = behind;
        }
        out
    }
}

/// A token of a macro that is not written as such any more.
fn spelled(token: &Token, needs_quotes: fn(&Token) -> bool) -> String {
    match token.kind {
        Kind::Quoted => quote(&token.text),
        Kind::Word if needs_quotes(token) => quote(&token.text),
        Kind::Word | Kind::Number => token.text.to_string(),
        Kind::Mark(mark) => mark.to_string(),
        Kind::Arrow => "=>".to_owned(),
        Kind::Newline => String::new(),
    }
}
