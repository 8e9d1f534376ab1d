//! From statements to a [`Config`]: which grammar, what is declared, what the statements say.
//!
//! The grammars share the lexer, the statement reader below, tables and listeners; they differ
//! in their other statements ([`modern`], [`legacy`]). A statement with a mistake is given up at
//! the mistake and the next one is read; what it would have declared counts as declared, so that
//! one mistake gives one diagnostic.

mod action;
mod backend;
mod cursor;
mod filter;
mod legacy;
mod legacy_rule;
mod listen;
mod matching;
mod modern;
mod shared;
mod table;
mod tls;
mod values;
mod widened;

use std::collections::{HashMap, HashSet};

use crate::config::{Config, Dialect, Inactive};
use crate::diagnostic::{Collected, Diagnostic, Position};
use crate::lex::{Fault, Kind, Lexed, Place, Sources, Statement};
use crate::places::Places;
use crate::surroundings::{Files, Host};
use crate::table::Entries;
use crate::words;

use cursor::Cursor;

/// What declares names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Table,
    Action,
    Filter,
    Proc,
    Wrapper,
    Pki,
    Ca,
}

/// Reads statements into a configuration.
pub(crate) struct Reader<'a> {
    pub config: Config,
    pub diagnostics: Collected,
    pub sources: Sources,
    files: &'a dyn Files,
    dialect: Dialect,
    /// Names whose declaration has a mistake: using them is not another one.
    broken: HashSet<(Name, String)>,
    /// First declaration of each name in the whole file, to say "it is declared below".
    declared: HashMap<(Name, String), Place>,
    legacy: legacy::Pending,
    /// The content of maps that are small enough to look at, by the table's name.
    maps: HashMap<Box<str>, Entries>,
}

/// What was read.
pub(crate) struct Read {
    /// Only good when no diagnostic is an error; else all that could be read.
    pub config: Config,
    /// Mistakes and warnings.
    pub diagnostics: Collected,
    /// The files, to show lines of them.
    pub sources: Sources,
}

impl Read {
    /// Adds what was found about the configuration when it was read.
    pub fn add(&mut self, found: Vec<Diagnostic>) {
        for diagnostic in found {
            let diagnostic = self.sources.show(diagnostic);
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// The configuration, and the diagnostics in the order of the files; those of table files and
    /// of none last.
    pub fn finish(self) -> (Config, Vec<Diagnostic>) {
        let Read { config, diagnostics, sources } = self;
        let diagnostics = diagnostics.sorted(|diagnostic| match &diagnostic.position {
            Some(at) => (sources.order(&at.file), at.file.to_string(), at.line, at.column),
            None => (usize::MAX, String::new(), 0, 0),
        });
        (config, diagnostics)
    }
}

/// Reads all statements.
pub(crate) fn read(lexed: Lexed, host: Host, files: &dyn Files) -> Read {
    let Lexed { statements, sources, diagnostics, .. } = lexed;
    let evidence = evidence(&statements);
    let dialect = evidence.dialect();
    let mut reader = Reader {
        config: Config::new(dialect, host),
        diagnostics,
        sources,
        files,
        dialect,
        broken: HashSet::new(),
        declared: HashMap::new(),
        legacy: legacy::Pending::default(),
        maps: HashMap::new(),
    };
    if let Evidence { legacy: Some(legacy), modern: Some(modern) } = evidence {
        reader.mixed(legacy, modern, &statements);
    }
    reader.note_declarations(&statements);
    for statement in &statements {
        if reader.diagnostics.is_full() {
            break;
        }
        reader.statement(statement);
    }
    if !reader.diagnostics.has_errors() {
        reader.finish();
    }
    let Reader { config, diagnostics, sources, .. } = reader;
    Read { config, diagnostics, sources }
}

/// The grammar that a file is in.
pub(crate) fn dialect(statements: &[Statement]) -> Dialect {
    evidence(statements).dialect()
}

fn order(place: Place) -> (u16, u32) {
    (place.file, place.line)
}

/// The first statement that only the one or the other grammar has.
struct Evidence {
    legacy: Option<Place>,
    modern: Option<Place>,
}

impl Evidence {
    fn dialect(&self) -> Dialect {
        match (self.legacy, self.modern) {
            (Some(legacy), Some(modern)) if order(legacy) < order(modern) => Dialect::Legacy,
            (Some(_), None) => Dialect::Legacy,
            (_, _) => Dialect::Modern,
        }
    }
}

fn evidence(statements: &[Statement]) -> Evidence {
    let mut evidence = Evidence { legacy: None, modern: None };
    for statement in statements {
        let place = statement.tokens.first().map(|token| token.place);
        match dialect_of(statement) {
            Some(Dialect::Legacy) => evidence.legacy = evidence.legacy.or(place),
            Some(Dialect::Modern) => evidence.modern = evidence.modern.or(place),
            None => {}
        }
    }
    evidence
}

/// The grammar that alone has a statement like this one.
fn dialect_of(statement: &Statement) -> Option<Dialect> {
    let [first, rest @ ..] = statement.tokens.as_slice() else {
        return None;
    };
    if first.kind != Kind::Word {
        return None;
    }
    let has = |words: &[&str]| rest.iter().any(|token| words.iter().any(|word| token.is(word)));
    let (legacy, modern) = match &*first.text {
        "listen" => (
            has(&["certificate", "ssl", "secure", "mask-source", "dsn-notify", "dsn-ret"]),
            has(&["mask-src", "protocols", "groups", "proxy-v2"]),
        ),
        "pki" | "ca" => (has(&["certificate", "dhparams"]), has(&["cert"])),
        // A key may be any word.
        "queue" => (rest.get(1).is_some_and(|token| token.is("key")), has(&["ttl"])),
        word => (
            words::ONLY_LEGACY.iter().any(|(known, _)| *known == word),
            words::ONLY_MODERN.iter().any(|(known, _)| *known == word),
        ),
    };
    match (legacy, modern) {
        (true, false) => Some(Dialect::Legacy),
        (false, true) => Some(Dialect::Modern),
        _ => None,
    }
}

impl Reader<'_> {
    /// Says once that the grammars are mixed: at the first line that is not of the grammar of
    /// the one before, with what to write instead.
    fn mixed(&mut self, legacy: Place, modern: Place, statements: &[Statement]) {
        let (first, second) =
            if order(legacy) < order(modern) { (legacy, modern) } else { (modern, legacy) };
        let (named, other) = if first == legacy {
            ("of before 2018", words::ONLY_MODERN)
        } else {
            ("of today", words::ONLY_LEGACY)
        };
        let word = statements
            .iter()
            .filter_map(|statement| statement.tokens.first())
            .find(|token| token.place == second)
            .map_or("", |token| &token.text);
        let first = self.sources.position(first);
        let (message, help) = match other.iter().find(|(known, _)| *known == word) {
            Some((_, instead)) => (
                format!(
                    "no {word} in a file of the grammar {named}, and {first} is a line of that"
                ),
                format!("in that grammar: {instead}"),
            ),
            None => (
                format!("not a {word} line of the grammar {named}, and {first} is a line of that"),
                "write the whole configuration in one of the two grammars".to_owned(),
            ),
        };
        self.report(second, Diagnostic::error(message).help(help));
    }

    fn note_declarations(&mut self, statements: &[Statement]) {
        for statement in statements {
            let [first, second, rest @ ..] = statement.tokens.as_slice() else {
                continue;
            };
            let (kind, name) = match (&*first.text, rest.first()) {
                ("table", _) => (Name::Table, second),
                ("action", _) => (Name::Action, second),
                ("filter", _) => (Name::Filter, second),
                ("proc", _) => (Name::Proc, second),
                ("pki", _) => (Name::Pki, second),
                ("ca", _) => (Name::Ca, second),
                ("mda", Some(name)) if second.is("wrapper") => (Name::Wrapper, name),
                _ => continue,
            };
            let key = (kind, name.text.to_string());
            if statement.broken {
                self.broken.insert(key.clone());
            }
            self.declared.entry(key).or_insert(name.place);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        if statement.broken {
            return;
        }
        // A line of the other grammar is read as such, for the mistakes in it; that it is of the
        // other grammar has been said once.
        let dialect = dialect_of(statement).unwrap_or(self.dialect);
        let mut cursor = Cursor::new(statement, dialect);
        let result = match dialect {
            Dialect::Modern => self.modern(&mut cursor),
            Dialect::Legacy => self.legacy(&mut cursor),
        };
        if let Err(fault) = result {
            let Fault { place, diagnostic } = *fault;
            self.report(place, diagnostic);
            if let [first, second, ..] = statement.tokens.as_slice() {
                let kind = match &*first.text {
                    "table" => Name::Table,
                    "action" => Name::Action,
                    "filter" => Name::Filter,
                    "proc" => Name::Proc,
                    "pki" => Name::Pki,
                    "ca" => Name::Ca,
                    _ => return,
                };
                self.broken.insert((kind, second.text.to_string()));
            }
        }
    }

    fn report(&mut self, place: Place, diagnostic: Diagnostic) {
        if self.diagnostics.wants(diagnostic.severity) {
            let diagnostic = self.sources.locate(place, diagnostic);
            self.diagnostics.push(diagnostic);
        }
    }

    fn position(&self, place: Place) -> Position {
        self.sources.position(place)
    }

    fn places(&self, seen: &cursor::Seen) -> Places {
        let mut places = Places::default();
        for (word, place) in seen.iter() {
            places.add(word, self.position(place));
        }
        places
    }

    /// Keeps where a directive of which there is one stands.
    fn note_place(&mut self, word: &'static str, place: Place) {
        let position = self.position(place);
        self.config.places.add(word, position);
    }

    /// Notes what is configured and does not work yet; once for a line and a reason.
    fn inactive(&mut self, place: Place, what: &str) {
        let position = self.position(place);
        let known = self.config.inactive.last();
        if known.is_some_and(|k| k.what == what && k.position.line == position.line) {
            return;
        }
        let warning = Diagnostic::warning(what).help("smtpd does not start with this line");
        self.report(place, warning);
        self.config.inactive.push(Inactive { position, what: what.to_owned() });
    }

    /// The mistake that a name is not declared, or only below.
    fn undeclared<'n>(
        &self,
        kind: Name,
        name: &str,
        place: Place,
        message: String,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Box<Fault> {
        let mut diagnostic = Diagnostic::error(message);
        if let Some(below) = self.declared.get(&(kind, name.to_owned())) {
            let line = self.position(*below);
            diagnostic = diagnostic.help(format!("it is declared below, at {line}: move it up"));
        }
        Fault::new(place, diagnostic.nearest(name, known))
    }

    fn is_broken(&self, kind: Name, name: &str) -> bool {
        self.broken.contains(&(kind, name.to_owned()))
    }

    /// What can only be said when all is read.
    fn finish(&mut self) {
        self.finish_legacy();
        self.check_pki();
        self.check_suites();
        if self.config.srs.as_ref().is_some_and(|srs| srs.key.is_empty()) {
            let place = self.config.places.of("srs ttl").or(self.config.places.of("srs key"));
            let mistake = Diagnostic::error("srs without a key").help("add srs key \"SECRET\"");
            let mistake = match place.cloned() {
                Some(position) => self.sources.show(mistake.at(position)),
                None => mistake,
            };
            self.diagnostics.push(mistake);
        }
        self.warn_of_widened_rules();
        if self.config.matches.is_empty() {
            self.diagnostics.push(Diagnostic::error("no rules, nothing to do").help(
                match self.dialect {
                    Dialect::Modern => "write at least one match line",
                    Dialect::Legacy => "write at least one accept line",
                },
            ));
        }
    }
}
