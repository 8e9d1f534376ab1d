//! From the octets of the files to statements: one lexer for both grammars.
//!
//! [`statements`] reads the first file and what it includes, puts macros in place and hands out
//! logical lines of tokens. Every token knows its file, line and column; a token that came out
//! of a macro stands where the macro was used. No octets make it fail otherwise than with a
//! diagnostic, and after one it goes on with the next line.
//!
//! One widening, which upstream refuses and which so changes no file: a word may begin with `/`,
//! `.` or `~` and may contain `%{...}`, so that paths need no quotes.

mod scan;
mod sources;
mod statements;

pub use sources::{Fault, Place, Sources, Span};
pub use statements::{Lexed, Statement, statements};

/// What a token is. Keywords are words: which word is one depends on where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Written without quotes.
    Word,
    /// Written in quotes: never a keyword, never a number.
    Quoted,
    /// Optional minus and digits.
    Number,
    /// One of `( ) { } < > ! = ,` or another character that begins no word.
    Mark(char),
    /// `=>`.
    Arrow,
    /// A line end inside of braces.
    Newline,
}

/// A token and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text, unquoted; empty for marks and line ends.
    pub text: Box<str>,
    /// Where it begins, and how wide it is.
    pub place: Place,
    /// Octets of its file that it was read from. Tokens of one macro all have those of its name,
    /// and begin at the same octet; a line end has none.
    pub span: Span,
}

impl Token {
    /// Whether it is this word, without quotes.
    pub fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && *self.text == *word
    }

    /// As it is shown in a message.
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::Mark(mark) => format!("\"{mark}\""),
            Kind::Arrow => "\"=>\"".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            _ => {
                let mut text: String = self.text.chars().take(60).collect();
                if text.len() < self.text.len() {
                    text.push_str("...");
                }
                format!("\"{text}\"")
            }
        }
    }
}
