//! A statement being read, token by token, and the mistakes found in it.

use crate::config::Dialect;
use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Kind, Place, Statement, Token};
use crate::value;
use crate::words;
use std::time::Duration;

/// A statement is given up at its first mistake.
pub(super) type Parse<T> = Result<T, Box<Fault>>;

/// Where in a statement the reader is.
pub(super) struct Cursor<'s> {
    tokens: &'s [Token],
    next: usize,
    end: Place,
    pub dialect: Dialect,
}

impl<'s> Cursor<'s> {
    pub fn new(statement: &'s Statement, dialect: Dialect) -> Cursor<'s> {
        Cursor { tokens: &statement.tokens, next: 0, end: statement.end, dialect }
    }

    pub fn peek(&self) -> Option<&'s Token> {
        self.tokens.get(self.next)
    }

    pub fn advance(&mut self) -> Option<&'s Token> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token)
    }

    /// Where the next token is, or the end of the statement.
    pub fn place(&self) -> Place {
        self.peek().map_or(self.end, |token| token.place)
    }

    pub fn at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Takes the next token if it is this word without quotes.
    pub fn eat(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(word));
        self.next += usize::from(found);
        found
    }

    /// Takes the next token if it is this mark.
    pub fn eat_mark(&mut self, mark: char) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == Kind::Mark(mark));
        self.next += usize::from(found);
        found
    }

    /// Whether the next token could be a name.
    pub fn string_follows(&self) -> bool {
        self.peek().is_some_and(|token| match token.kind {
            Kind::Quoted => true,
            Kind::Word => !words::is_reserved(self.dialect, &token.text),
            _ => false,
        })
    }

    /// Whether the next token could be a name that may be left out: none of the words that can
    /// stand in its place. Not all of these are reserved in files of before 2018.
    pub fn name_follows(&self, words: &[&'static str]) -> bool {
        self.string_follows() && !self.peek().is_some_and(|t| words.iter().any(|word| t.is(word)))
    }

    /// A mistake at the next token.
    pub fn fault(&self, message: impl Into<String>) -> Box<Fault> {
        Fault::new(self.place(), Diagnostic::error(message))
    }

    /// The mistake that something is missing before the next token.
    pub fn missing(&self, what: &str) -> Box<Fault> {
        let message = match self.peek() {
            Some(token) => format!("{what} is needed here, not {}", token.shown()),
            None => format!("{what} is missing at the end of the line"),
        };
        self.fault(message)
    }

    /// A name or value: a word that is no keyword, or anything in quotes.
    pub fn string(&mut self, what: &str) -> Parse<&'s Token> {
        match self.peek() {
            Some(token) if token.kind == Kind::Quoted => {}
            Some(token) if token.kind == Kind::Word => {
                if words::is_reserved(self.dialect, &token.text) {
                    let mut fault = self.missing(what);
                    fault.diagnostic = fault.diagnostic.help(format!(
                        "{0} is a keyword; if it is meant as {what}, write \"{0}\" in quotes",
                        token.text
                    ));
                    return Err(fault);
                }
            }
            Some(token) if token.kind == Kind::Number => {
                let mut fault = self.missing(what);
                // In 10/8 the number ends before the slash, as upstream has it.
                let rest = self.tokens.get(self.next + 1).filter(|rest| {
                    let end = token.place.offset + token.place.width;
                    rest.place == Place { offset: end, width: rest.place.width, ..token.place }
                });
                let rest = rest.map_or("", |rest| &rest.text);
                let help = format!("write it in quotes: \"{}{rest}\"", token.text);
                fault.diagnostic = fault.diagnostic.help(help);
                return Err(fault);
            }
            Some(token) if matches!(token.kind, Kind::Mark('@' | '*' | '[' | '-' | '%' | '|')) => {
                let mut fault = self.missing(what);
                fault.diagnostic = fault
                    .diagnostic
                    .help("a word begins with a letter, a digit or one of : _ / . ~; write others in quotes");
                return Err(fault);
            }
            Some(token)
                if matches!(token.kind, Kind::Mark('\u{2018}'..='\u{201f}' | '«' | '»')) =>
            {
                let mut fault = self.missing(what);
                fault.diagnostic = fault.diagnostic.help("quotes are straight here: \" or '");
                return Err(fault);
            }
            Some(token) if token.kind == Kind::Mark('<') => {
                let mut fault = self.missing(what);
                let help = "only where a table is used its name stands in angle brackets";
                fault.diagnostic = fault.diagnostic.help(help);
                return Err(fault);
            }
            _ => return Err(self.missing(what)),
        }
        self.next += 1;
        Ok(&self.tokens[self.next - 1])
    }

    /// A number from `least` to what a limit can hold.
    pub fn number(&mut self, what: &str, least: u32) -> Parse<u32> {
        let Some(token) = self.peek().filter(|token| token.kind == Kind::Number) else {
            return Err(self.missing(&format!("a number for {what}")));
        };
        let Some(value) = token.text.parse().ok().filter(|n: &u32| *n >= least) else {
            let mut fault = self.fault(format!("invalid number: {}", token.text));
            fault.diagnostic =
                fault.diagnostic.help(format!("{what} is a number from {least} to {}", u32::MAX));
            return Err(fault);
        };
        self.next += 1;
        Ok(value)
    }

    /// A delay like `4d`.
    pub fn delay(&mut self, what: &str) -> Parse<Duration> {
        let place = self.place();
        let help = "write a number and one of s, m, h, d, as in 4d";
        let wrong = |text: &str| {
            Fault::new(place, Diagnostic::error(format!("invalid {what}: {text}")).help(help))
        };
        if let Some(token) = self.peek().filter(|token| token.kind == Kind::Number) {
            return Err(wrong(&token.text));
        }
        let token = self.string(what)?;
        value::delay(&token.text).ok_or_else(|| wrong(&token.text))
    }

    /// A size like `35M`.
    pub fn size(&mut self, what: &str) -> Parse<u64> {
        let token = match self.peek() {
            Some(token) if token.kind == Kind::Number => {
                self.next += 1;
                token
            }
            _ => self.string(what)?,
        };
        value::size(&token.text).ok_or_else(|| {
            let message = format!("invalid size: {}", token.text);
            let help = "write a number, perhaps with one of K, M, G, T, as in 35M";
            Fault::new(token.place, Diagnostic::error(message).help(help))
        })
    }

    /// One of these words, `None` at the end of the statement.
    pub fn word(&mut self, known: &[&'static str]) -> Parse<Option<(&'static str, Place)>> {
        let Some(token) = self.peek() else {
            return Ok(None);
        };
        let found = known.iter().find(|word| token.is(word));
        match found {
            Some(word) => {
                self.next += 1;
                Ok(Some((*word, token.place)))
            }
            None => Err(self.unknown(known)),
        }
    }

    /// One of these words, which must be there.
    pub fn needed_word(&mut self, known: &[&'static str]) -> Parse<(&'static str, Place)> {
        match self.word(known)? {
            Some(found) => Ok(found),
            None => Err(self.unknown(known)),
        }
    }

    /// What was meant by a mark that does not stand where it should.
    fn slip(&self) -> Option<String> {
        let token = self.peek()?;
        let before = self.next.checked_sub(1).and_then(|at| self.tokens.get(at));
        match token.kind {
            Kind::Mark('!') => match (self.dialect, before) {
                (Dialect::Modern, Some(word)) => {
                    Some(format!("the ! stands before the condition: !{} ...", word.text))
                }
                _ => None,
            },
            Kind::Mark(',') => Some("one in a line, or several in braces: { a, b }".to_owned()),
            Kind::Mark('>') => Some("a table is written with both brackets: <name>".to_owned()),
            Kind::Mark('-' | ';') if before.is_none() => Some("a comment begins with #".to_owned()),
            Kind::Word if before.is_none() && token.text.starts_with("//") => {
                Some("a comment begins with #".to_owned())
            }
            _ => None,
        }
    }

    /// The word before the next token, if it is none of the keywords.
    fn before(&self) -> Option<&'s str> {
        let token = self.next.checked_sub(1).and_then(|at| self.tokens.get(at))?;
        let name = token.kind == Kind::Word && !words::is_reserved(self.dialect, &token.text);
        name.then_some(&token.text)
    }

    /// The mistake that none of these words is next.
    pub fn unknown(&self, known: &[&'static str]) -> Box<Fault> {
        let (message, written) = match self.peek() {
            Some(token) if token.kind == Kind::Quoted && known.contains(&&*token.text) => {
                let mut fault = self.fault(format!("{} is in quotes here", token.shown()));
                fault.diagnostic = fault.diagnostic.help("a keyword is written without quotes");
                return fault;
            }
            Some(token) => (format!("{} is not known here", token.shown()), &*token.text),
            None => ("something is missing at the end of the line".to_owned(), ""),
        };
        let mut fault = self.fault(message);
        let mut diagnostic = fault.diagnostic.expects(known);
        if let Some(slip) = self.slip() {
            diagnostic = diagnostic.help(slip);
        } else if let Some(instead) = words::instead(self.dialect, written)
            && (written != "accept" || known.contains(&"action"))
        {
            diagnostic = diagnostic.help(instead);
        } else if let Some(before) = self.before()
            && let Some(instead) = words::instead(self.dialect, before)
        {
            // It is no keyword here, so it was taken for a name.
            diagnostic = diagnostic.help(format!("\"{before}\" before it is {instead}"));
        }
        fault.diagnostic = diagnostic.nearest(written, known.iter().copied());
        fault
    }

    /// The text before the next token and that token in one, if that is good: what was meant
    /// where a blank broke a text in two.
    pub fn joined(&self, before: &str, good: impl Fn(&str) -> bool) -> Option<String> {
        let rest = self.peek().filter(|t| matches!(t.kind, Kind::Word | Kind::Number))?;
        let joined = format!("{before}{}", rest.text);
        good(&joined).then_some(joined)
    }

    /// Nothing more may follow.
    pub fn finish(&mut self) -> Parse<()> {
        match self.peek() {
            None => Ok(()),
            Some(token) => {
                let mut fault = self.fault(format!("{} is too much here", token.shown()));
                fault.diagnostic = fault.diagnostic.expects(["the end of the line"]);
                Err(fault)
            }
        }
    }

    /// Skips line ends inside of braces.
    pub fn skip_newlines(&mut self) -> bool {
        let from = self.next;
        while self.peek().is_some_and(|token| token.kind == Kind::Newline) {
            self.next += 1;
        }
        self.next > from
    }
}

/// Options that were seen: each may stand once.
#[derive(Default)]
pub(super) struct Seen(Vec<(&'static str, Place)>);

impl Seen {
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|(seen, _)| *seen == word)
    }

    pub fn once(&mut self, word: &'static str, place: Place, of: &str) -> Parse<()> {
        if self.has(word) {
            let message = format!("{word} already specified for this {of}");
            return Err(Fault::error(place, message));
        }
        self.0.push((word, place));
        Ok(())
    }

    /// For an option that may stand several times.
    pub fn note(&mut self, word: &'static str, place: Place) {
        self.0.push((word, place));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Place)> {
        self.0.iter().copied()
    }

    pub fn place(&self, word: &str) -> Option<Place> {
        self.0.iter().find(|(seen, _)| *seen == word).map(|(_, place)| *place)
    }
}
