//! Tokens to statements: logical lines, with macros and `include` carried out on the way.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::scan::{Macros, Scanned, Scanner};
use super::sources::{Fault, Place, Sources, Span};
use super::{Kind, Token};
use crate::diagnostic::{Collected, Diagnostic};
use crate::limits;
use crate::surroundings::{Files, read};
use crate::words;

/// One logical line.
#[derive(Debug)]
pub struct Statement {
    /// Its tokens; never empty.
    pub tokens: Vec<Token>,
    /// The place of its end, for "something is missing here".
    pub end: Place,
    /// A mistake in it has been reported: it is only good for what it declares.
    pub broken: bool,
}

impl Statement {
    /// The octets from its first token to its last.
    pub fn span(&self) -> Span {
        let start = self.tokens.first().map_or(0, |token| token.span.start);
        Span { start, end: self.tokens.iter().map(|token| token.span.end).max().unwrap_or(start) }
    }
}

/// A file that was read in the place of a line.
#[derive(Debug)]
pub struct Include {
    /// The first token of the line.
    pub place: Place,
    /// The whole line.
    pub span: Span,
    /// The file that was read.
    pub file: u16,
}

/// All statements of a configuration, or as many as could be read.
#[derive(Debug)]
pub struct Lexed {
    /// In the order in which they are to be read.
    pub statements: Vec<Statement>,
    /// Where files were included, in the same order.
    pub includes: Vec<Include>,
    /// The files.
    pub sources: Sources,
    /// Mistakes, and macros that nobody uses.
    pub diagnostics: Collected,
}

/// Reads the file `path` and all it includes. `macros` are those of the command line: a
/// definition in a file does not override them.
pub fn statements(path: &str, macros: &[(String, String)], files: &dyn Files) -> Lexed {
    let mut reader = Reader {
        files,
        macros: Table::default(),
        open: Vec::new(),
        lexed: Lexed {
            statements: Vec::new(),
            includes: Vec::new(),
            sources: Sources::default(),
            diagnostics: Collected::default(),
        },
        opened: 0,
    };
    for (name, value) in macros {
        let text: Arc<[u8]> = value.as_bytes().into();
        let definition = Definition { text, place: None, used: false, fixed: true };
        reader.macros.0.insert(name.clone(), definition);
    }
    match read(files, Path::new(path), limits::CONFIG_FILE) {
        Ok(octets) => {
            reader.push(path, octets);
        }
        Err(error) => {
            let message = format!("cannot read {path}: {error}");
            reader.lexed.diagnostics.push(Diagnostic::error(message));
        }
    }
    reader.run();
    reader.lexed
}

#[derive(Default)]
struct Table(HashMap<String, Definition>);

struct Definition {
    text: Arc<[u8]>,
    /// Where; `None` for the command line.
    place: Option<Place>,
    used: bool,
    /// Not overridden by a file.
    fixed: bool,
}

impl Macros for Table {
    fn text(&mut self, name: &str) -> Option<Arc<[u8]>> {
        let definition = self.0.get_mut(name)?;
        definition.used = true;
        Some(Arc::clone(&definition.text))
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

struct Reader<'f> {
    files: &'f dyn Files,
    macros: Table,
    /// The file being read last; those that include it below.
    open: Vec<Scanner>,
    lexed: Lexed,
    opened: usize,
}

impl Reader<'_> {
    fn push(&mut self, name: &str, octets: Vec<u8>) -> u16 {
        let (index, octets) = self.lexed.sources.add(name, octets);
        self.open.push(Scanner::new(index, octets));
        self.opened += 1;
        index
    }

    fn run(&mut self) {
        while !self.lexed.diagnostics.is_full()
            && let Some(mut scanner) = self.open.pop()
        {
            let statement = self.statement(&mut scanner);
            for place in scanner.long_strings.drain(..) {
                let warning = Diagnostic::warning("a quoted string goes on over the line end")
                    .help("if that is not meant, a quote is missing in this line");
                self.report(Fault { place, diagnostic: warning });
            }
            match statement {
                Some(statement) => {
                    self.open.push(scanner);
                    self.act(statement);
                }
                // The end of this file: the one that includes it goes on.
                None => continue,
            }
        }
        self.unused();
    }

    /// The next logical line, `None` at the end of the file.
    fn statement(&mut self, scanner: &mut Scanner) -> Option<Statement> {
        let mut tokens: Vec<Token> = Vec::new();
        let mut broken = false;
        // The brace that is open, and where to go on if it is never closed.
        let mut brace = None;
        loop {
            let mark = scanner.mark();
            match scanner.next(&mut self.macros) {
                Ok(Scanned::Token(token)) => {
                    match token.kind {
                        Kind::Mark('{') if brace.is_some() => {
                            return self.unclosed(scanner, brace, tokens);
                        }
                        Kind::Mark('{') => brace = Some((token.place, mark)),
                        Kind::Mark('}') => brace = None,
                        _ => {}
                    }
                    tokens.push(token);
                }
                Ok(Scanned::Newline) if brace.is_some() => {
                    let place = scanner.here();
                    let end = scanner.at();
                    let span = Span { start: end.saturating_sub(1), end };
                    tokens.push(Token { kind: Kind::Newline, text: Box::default(), place, span });
                }
                Ok(Scanned::End) if brace.is_some() => {
                    return self.unclosed(scanner, brace, tokens);
                }
                Ok(Scanned::End) if tokens.is_empty() && !broken => return None,
                Ok(end) => {
                    if tokens.is_empty() && !broken {
                        continue;
                    }
                    let end = match (end, tokens.last()) {
                        (_, Some(last)) => Place {
                            offset: last.place.offset + last.place.width,
                            width: 1,
                            ..last.place
                        },
                        (_, None) => scanner.here(),
                    };
                    return Some(Statement { tokens, end, broken });
                }
                Err(fault) => {
                    self.report(*fault);
                    broken = true;
                    if brace.is_none() || self.lexed.diagnostics.is_full() {
                        scanner.skip_line();
                        let end = scanner.here();
                        return Some(Statement { tokens, end, broken });
                    }
                }
            }
        }
    }

    /// A brace that is never closed has swallowed lines: says so, and goes back to the first
    /// line after it that looks like a statement.
    fn unclosed(
        &mut self,
        scanner: &mut Scanner,
        brace: Option<(Place, super::scan::Mark)>,
        mut tokens: Vec<Token>,
    ) -> Option<Statement> {
        let (place, mark) = brace?;
        let diagnostic = Diagnostic::error("the \"{\" that begins here is never closed")
            .help("write a \"}\" after its last element");
        self.report(Fault { place, diagnostic });
        scanner.back_to(mark);
        scanner.skip_line();
        loop {
            let line = scanner.mark();
            match scanner.next(&mut Table::default()) {
                Ok(Scanned::Token(token)) if words::begins_statement(&token.text) => {
                    scanner.back_to(line);
                    break;
                }
                Ok(Scanned::End) => break,
                Ok(Scanned::Newline) => {}
                Ok(Scanned::Token(_)) | Err(_) => scanner.skip_line(),
            }
        }
        tokens.truncate(2);
        Some(Statement { tokens, end: place, broken: true })
    }

    fn report(&mut self, fault: Fault) {
        let Lexed { sources, diagnostics, .. } = &mut self.lexed;
        if diagnostics.wants(fault.diagnostic.severity) {
            diagnostics.push(sources.locate(fault.place, fault.diagnostic));
        }
    }

    /// Macros and includes are carried out here, everything else is for the grammars.
    fn act(&mut self, statement: Statement) {
        let tokens = &statement.tokens;
        let result = match tokens.as_slice() {
            [] => return,
            [_, equals, ..] if equals.kind == Kind::Mark('=') => {
                if statement.broken {
                    Ok(())
                } else {
                    self.define(&statement)
                }
            }
            [first, ..] if first.is("include") => {
                if statement.broken {
                    Ok(())
                } else {
                    self.include(&statement)
                }
            }
            _ => {
                self.lexed.statements.push(statement);
                return;
            }
        };
        if let Err(fault) = result {
            self.report(*fault);
        }
    }

    fn define(&mut self, statement: &Statement) -> Result<(), Box<Fault>> {
        let (name, value) = match statement.tokens.as_slice() {
            [name, _, value] if is_string(name) && (is_string(value) || is_number(value)) => {
                (name, value)
            }
            [name, ..] if !is_string(name) => {
                let diagnostic = Diagnostic::error("a macro needs a name before the \"=\"");
                return Err(Fault::new(name.place, diagnostic));
            }
            [_, _, _, extra, ..] => {
                let diagnostic =
                    Diagnostic::error("a macro has one value").help("write all of it in quotes");
                return Err(Fault::new(extra.place, diagnostic));
            }
            [_, _, value] => {
                let message = format!("a macro cannot have the value {}", value.shown());
                let diagnostic = Diagnostic::error(message).help("write it in quotes");
                return Err(Fault::new(value.place, diagnostic));
            }
            _ => {
                let diagnostic =
                    Diagnostic::error("a macro needs a value after the \"=\"").help("write \"\"");
                return Err(Fault::new(statement.end, diagnostic));
            }
        };
        if name.text.chars().any(char::is_whitespace) {
            let diagnostic = Diagnostic::error("macro name cannot contain whitespace");
            return Err(Fault::new(name.place, diagnostic));
        }
        if self.macros.0.get(&*name.text).is_some_and(|known| known.fixed) {
            return Ok(());
        }
        let definition = Definition {
            text: value.text.as_bytes().into(),
            place: Some(name.place),
            used: false,
            fixed: false,
        };
        self.macros.0.insert(name.text.to_string(), definition);
        Ok(())
    }

    fn include(&mut self, statement: &Statement) -> Result<(), Box<Fault>> {
        let path = match statement.tokens.as_slice() {
            [_, path] if is_string(path) => path,
            [_, _, extra, ..] => {
                let diagnostic = Diagnostic::error("include takes one file name");
                return Err(Fault::new(extra.place, diagnostic));
            }
            _ => {
                let diagnostic = Diagnostic::error("include needs a file name")
                    .help("write include \"/path/of/the/file\"");
                return Err(Fault::new(statement.end, diagnostic));
            }
        };
        let fail = |why: String| {
            let message = format!("failed to include file {}", path.text);
            Fault::new(path.place, Diagnostic::error(message).help(why))
        };
        if self.open.len() >= limits::INCLUDE_DEPTH {
            let depth = limits::INCLUDE_DEPTH;
            return Err(fail(format!("more than {depth} files include each other: a circle?")));
        }
        if self.opened >= limits::INCLUDED_FILES {
            return Err(fail(format!("more than {} files are included", limits::INCLUDED_FILES)));
        }
        match read(self.files, Path::new(&*path.text), limits::CONFIG_FILE) {
            Ok(octets) => {
                let file = self.push(&path.text, octets);
                let place = statement.tokens[0].place;
                self.lexed.includes.push(Include { place, span: statement.span(), file });
                Ok(())
            }
            Err(error) => Err(fail(error.to_string())),
        }
    }

    fn unused(&mut self) {
        let mut unused: Vec<(&String, Option<Place>)> = self
            .macros
            .0
            .iter()
            .filter(|(_, definition)| !definition.used)
            .map(|(name, definition)| (name, definition.place))
            .collect();
        unused.sort_by_key(|(name, place)| (place.map(|p| (p.file, p.line)), *name));
        for (name, place) in unused {
            let warning = Diagnostic::warning(format!("macro '{name}' not used"));
            self.lexed.diagnostics.push(match place {
                Some(place) => self.lexed.sources.locate(place, warning),
                None => warning.help("it is defined by -D on the command line"),
            });
        }
    }
}

fn is_string(token: &Token) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

fn is_number(token: &Token) -> bool {
    token.kind == Kind::Number
}
