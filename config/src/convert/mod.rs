//! From the grammar of before 2018 to that of today, with comments and layout where they were.
//!
//! Each statement is written in today's words in its place; what stands between statements, and
//! every operand, is copied octet for octet. [`convert`] then reads what came out and compares it
//! with what went in ([`difference`]): a text that does not mean the same is never given.
//!
//! Where the meaning needs somebody's decision a comment that begins `# convert:` says so, above
//! the line, and the same is told as a note.

mod listen;
mod rule;
mod source;
mod statement;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::config::{ActionId, Config, Dialect};
use crate::diagnostic::Diagnostic;
use crate::grammar;
use crate::lex::{self, Kind, Lexed, Statement};
use crate::meaning::difference;
use crate::surroundings::{Files, Host, ReadAt, Stamp};

use source::Source;

/// A file in today's grammar.
#[derive(Debug)]
pub struct Conversion {
    /// The file.
    pub text: Vec<u8>,
    /// What somebody should decide, in the order of the file.
    pub notes: Vec<Diagnostic>,
}

/// Why there is no conversion.
#[derive(Debug)]
pub enum NotConverted {
    /// The file has mistakes; these are all that was found, with its warnings.
    Mistakes(Vec<Diagnostic>),
    /// It is in today's grammar already.
    IsModern,
    /// What came out does not mean the same: a mistake of this program. Where, in words.
    WouldDiffer(String),
}

/// Converts the configuration file `path`, with the macros of the command line.
///
/// Included files stay included when they have nothing that must change; otherwise their content
/// takes the place of the `include` line.
///
/// # Errors
/// See [`NotConverted`].
pub fn convert(
    path: &str,
    macros: &[(String, String)],
    host: Host,
    files: &dyn Files,
) -> Result<Conversion, NotConverted> {
    let mut lexed = lex::statements(path, macros, files);
    let dialect = grammar::dialect(&lexed.statements);
    if dialect == Dialect::Legacy {
        without_filters(&mut lexed.statements);
    }
    let (config, diagnostics) = grammar::read(lexed, host.clone(), files).finish();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(NotConverted::Mistakes(diagnostics));
    }
    if dialect == Dialect::Modern {
        return Err(NotConverted::IsModern);
    }
    let lexed = lex::statements(path, macros, files);
    let mut converter = Converter::new(&lexed, &config);
    let text = converter.file(0);
    let notes = converter.notes;
    let converted = Converted { path, text: &text, files };
    match crate::load(path, macros, host, &converted) {
        Ok((converted, _)) => match difference(&as_today(config), &converted) {
            None => Ok(Conversion { text, notes }),
            Some(what) => Err(NotConverted::WouldDiffer(what)),
        },
        Err(mistakes) => {
            let mistakes = mistakes.iter().filter(|mistake| mistake.is_error());
            let lines: Vec<String> = mistakes.map(ToString::to_string).collect();
            Err(NotConverted::WouldDiffer(lines.join("\n")))
        }
    }
}

/// Takes away what filters have in a file of before 2018: they speak a protocol of that time, and
/// are an error wherever such a file is used. The conversion leaves them out, with a note.
fn without_filters(statements: &mut Vec<Statement>) {
    statements.retain(|statement| !is_filter(statement));
    for statement in statements {
        // The word is reserved, so that nothing else is written like it.
        while let Some(at) = statement.tokens.iter().position(|token| token.is("filter")) {
            let end = statement.tokens.len().min(at + 2);
            statement.tokens.drain(at..end);
        }
    }
}

fn is_filter(statement: &Statement) -> bool {
    statement.tokens.first().is_some_and(|first| first.is("filter") || first.is("enqueuer"))
}

/// The same configuration without what the translation leaves out on purpose: mail without an
/// `expire` of its own follows `queue ttl`, where before 2018 it kept that of its day.
fn as_today(mut config: Config) -> Config {
    for action in &mut config.actions {
        if action.ttl.is_none() {
            Arc::make_mut(action).ttl_at_submission = false;
        }
    }
    config
}

/// The files with the converted one in its place.
struct Converted<'f> {
    path: &'f str,
    text: &'f [u8],
    files: &'f dyn Files,
}

impl Files for Converted<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match path == Path::new(self.path) {
            true => Ok(Box::new(self.text)),
            false => self.files.open(path),
        }
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        self.files.open_map(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.files.stamp(path)
    }
}

/// What becomes of a statement.
#[derive(Default)]
struct Lines {
    /// Comments for somebody who decides.
    notes: Vec<String>,
    /// Statements; none when it is left out.
    statements: Vec<Vec<u8>>,
}

impl Lines {
    fn one(statement: Vec<u8>) -> Lines {
        Lines { notes: Vec::new(), statements: vec![statement] }
    }
}

struct Converter<'c> {
    lexed: &'c Lexed,
    config: &'c Config,
    /// Names of the actions that are written.
    actions: HashMap<ActionId, String>,
    /// Certificates and trust anchors that are declared.
    pki: HashSet<String>,
    ca: HashSet<String>,
    /// Those whose declaration had to come earlier than it did.
    moved: HashSet<String>,
    moved_ca: HashSet<String>,
    /// Somebody may authenticate, and then counts as local.
    has_auth: bool,
    /// It has words that only releases before 5.4.1 have.
    is_oldest: bool,
    notes: Vec<Diagnostic>,
}

impl<'c> Converter<'c> {
    fn new(lexed: &'c Lexed, config: &'c Config) -> Converter<'c> {
        Converter {
            lexed,
            config,
            actions: HashMap::new(),
            pki: HashSet::new(),
            ca: HashSet::new(),
            moved: HashSet::new(),
            moved_ca: HashSet::new(),
            has_auth: config.has_auth(),
            is_oldest: lexed.statements.iter().any(rule::is_oldest),
            notes: Vec::new(),
        }
    }

    /// A file in today's words.
    fn file(&mut self, file: u16) -> Vec<u8> {
        enum Item<'l> {
            Statement(&'l Statement),
            Include(u16),
        }
        let lexed = self.lexed;
        let statements = lexed.statements.iter().filter_map(|statement| {
            let first = statement.tokens.first()?;
            (first.place.file == file).then(|| (statement.span(), Item::Statement(statement)))
        });
        let includes = lexed.includes.iter().filter(|include| include.place.file == file);
        let includes = includes.map(|include| (include.span, Item::Include(include.file)));
        let mut items: Vec<_> = statements.chain(includes).collect();
        items.sort_by_key(|(span, _)| span.start);

        let octets = lexed.sources.octets(file);
        let line_end: &[u8] = if octets.contains(&b'\r') { b"\r\n" } else { b"\n" };
        let mut out = Vec::with_capacity(octets.len() * 2);
        let mut at = 0;
        for (span, item) in items {
            // Several statements of one macro, with line ends from the command line.
            if span.start < at {
                continue;
            }
            out.extend_from_slice(&octets[at..span.start]);
            at = span.end;
            let written = &octets[span.start..span.end];
            let indent = indent_of(&octets[..span.start]);
            let lines = match item {
                Item::Include(included) => self.included(included, written),
                Item::Statement(statement) => self.statement(statement, file),
            };
            if lines.statements.is_empty() && lines.notes.is_empty() {
                continue;
            }
            let notes = lines.notes.iter().map(|note| format!("# convert: {note}").into_bytes());
            let mut all: Vec<Vec<u8>> = notes.collect();
            match lines.statements.is_empty() {
                true => all.extend(commented(written)),
                false => all.extend(lines.statements),
            }
            out.extend(all.join([line_end, indent].concat().as_slice()));
        }
        out.extend_from_slice(&octets[at..]);
        out
    }

    /// The `include` line, or what the file holds.
    fn included(&mut self, file: u16, line: &[u8]) -> Lines {
        let before = self.lexed.sources.octets(file);
        let mut after = self.file(file);
        if after == before {
            return Lines::one(line.to_vec());
        }
        while after.last().is_some_and(u8::is_ascii_whitespace) {
            after.pop();
        }
        let name = self.lexed.sources.name(file);
        let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Lines {
            notes: vec![format!("what follows was included from \"{name}\"")],
            statements: vec![after],
        }
    }

    /// Tells somebody to decide something about a statement.
    fn note(&mut self, lines: &mut Lines, statement: &Statement, message: &str, help: &str) {
        let Some(first) = statement.tokens.first() else { return };
        let text = if help.is_empty() { message.to_owned() } else { format!("{message}; {help}") };
        if !lines.notes.contains(&text) {
            lines.notes.push(text);
            let mut note = Diagnostic::warning(message);
            if !help.is_empty() {
                note = note.help(help);
            }
            self.notes.push(self.lexed.sources.locate(first.place, note));
        }
    }

    fn source<'s>(&self, statement: &'s Statement, file: u16) -> Source<'s>
    where
        'c: 's,
    {
        Source { octets: self.lexed.sources.octets(file), tokens: &statement.tokens }
    }
}

/// The blanks in front of a statement, when there is nothing else before it in its line.
fn indent_of(before: &[u8]) -> &[u8] {
    let line = before.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    let indent = &before[line..];
    if indent.iter().all(|octet| matches!(octet, b' ' | b'\t')) { indent } else { b"" }
}

/// A statement as comments.
fn commented(statement: &[u8]) -> Vec<Vec<u8>> {
    let lines = statement.split(|octet| *octet == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut comment = [b"# ", line].concat();
        // At the end of a line it would join the next one to the comment.
        if comment.last() == Some(&b'\\') {
            comment.push(b' ');
        }
        comment
    });
    lines.collect()
}

/// Whether a token is a string in the place where it stands, and a keyword today.
fn becomes_keyword(token: &lex::Token) -> bool {
    use crate::words::is_reserved;
    token.kind == Kind::Word
        && is_reserved(Dialect::Modern, &token.text)
        && !is_reserved(Dialect::Legacy, &token.text)
}
