//! `table` statements, and the operands `"one"`, `{ a, b }`, `<name>` of all other statements.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtpd_engine::address::is_host_name;

use crate::account;
use crate::alias::{self, Target};
use crate::diagnostic::{Diagnostic, Position};
use crate::lex::{Fault, Kind, Place, Token};
use crate::limits;
use crate::surroundings::read;
use crate::table::{Backend, BadLine, Entries, Operand, Shape, Table, TableId, parse};

use super::cursor::{Cursor, Parse};
use super::{Name, Reader};

/// Which tables a word takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Keys.
    List,
    /// Keys, perhaps with values that are not looked at.
    Keys,
    /// Keys with values.
    Map,
}

impl Reader<'_> {
    /// `table NAME ...`
    pub(super) fn table(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let name = cursor.string("a table name")?;
        let position = self.position(name.place);
        if let Some(known) = self.config.tables.find(&name.text) {
            let mut diagnostic =
                Diagnostic::error(format!("table \"{}\" already defined", name.text));
            if let Some(first) = &self.config.tables.get(known).position {
                diagnostic = diagnostic.help(format!("it is defined at {first}"));
            }
            return Err(Fault::new(name.place, diagnostic));
        }
        let table = if cursor.peek().is_some_and(|token| token.kind == Kind::Mark('{')) {
            let (shape, entries) = self.values(cursor)?;
            Table {
                name: name.text.clone(),
                position: Some(position),
                backend: Backend::Inline,
                shape,
                entries,
            }
        } else {
            let source = cursor.string("a file, a backend or \"{\"")?;
            self.backed_table(name, position, source)?
        };
        cursor.finish()?;
        self.config.tables.add(table);
        Ok(())
    }

    /// A table whose content is elsewhere.
    fn backed_table(&mut self, name: &Token, position: Position, source: &Token) -> Parse<Table> {
        let (kind, parameter) = match source.text.split_once(':') {
            _ if source.text.starts_with(['/', '.']) => ("file", Some(&*source.text)),
            Some((kind, parameter)) => (kind, Some(parameter)),
            None => (&*source.text, None),
        };
        let is_path = parameter.is_none_or(|path| {
            path.starts_with('/') || path.starts_with("./") || path.starts_with("../")
        });
        let needs_path = matches!(kind, "file" | "static" | "db");
        if !is_path || (needs_path && parameter.is_none()) {
            let message = format!("invalid backend parameter for table: {}", name.text);
            let diagnostic =
                Diagnostic::error(message).help(format!("write {kind}:/path/of/the/file"));
            return Err(Fault::new(source.place, diagnostic));
        }
        let mut table = Table {
            name: name.text.clone(),
            position: Some(position),
            backend: Backend::Inline,
            shape: Shape::Dynamic,
            entries: Entries::default(),
        };
        match (kind, parameter) {
            ("file" | "static", Some(path)) => {
                table.backend = Backend::File(PathBuf::from(path));
                (table.shape, table.entries) = self.load(&name.text, path, source.place)?;
            }
            ("db", Some(path)) => {
                table.backend = Backend::Db(PathBuf::from(path));
                let text = path.strip_suffix(".db").unwrap_or(path);
                let what = format!("db: tables do not work yet; write file:{text}");
                self.inactive(source.place, &what);
            }
            ("", _) => {
                let diagnostic = Diagnostic::error("the table's backend has no name")
                    .help("write file:/path/of/the/file");
                return Err(Fault::new(source.place, diagnostic));
            }
            _ => {
                table.backend = Backend::Process {
                    name: kind.to_owned(),
                    parameter: parameter.map(str::to_owned),
                };
                let what = format!("table processes do not work yet (backend \"{kind}\")");
                self.inactive(source.place, &what);
            }
        }
        Ok(table)
    }

    /// Reads a table file. Its bad lines are reported where they are.
    fn load(&mut self, name: &str, path: &str, place: Place) -> Parse<(Shape, Entries)> {
        let octets = read(self.files, Path::new(path), limits::TABLE_FILE).map_err(|error| {
            let message = format!("invalid configuration file {path} for table {name}");
            Fault::new(place, Diagnostic::error(message).help(format!("{path}: {error}")))
        })?;
        let (shape, entries, bad) = parse(&octets);
        for BadLine { line, message } in bad {
            let position = Position { file: path.into(), line, column: 0 };
            self.diagnostics.push(Diagnostic::error(message).at(position));
        }
        Ok((shape, entries))
    }

    /// `{ a, b }` or `{ a = b, c = d }`.
    fn values(&mut self, cursor: &mut Cursor<'_>) -> Parse<(Shape, Entries)> {
        let mut entries = Entries::default();
        let mut shape = None;
        let mut twice = Vec::new();
        let open = cursor.place();
        if !cursor.eat_mark('{') {
            return Err(cursor.missing("\"{\""));
        }
        cursor.skip_newlines();
        while !cursor.eat_mark('}') {
            let key = cursor.string("an element or \"}\"")?;
            let line = key.place.line;
            let equals = cursor
                .peek()
                .filter(|token| token.kind == Kind::Arrow || token.kind == Kind::Mark('='));
            let this = if equals.is_some() { Shape::Map } else { Shape::List };
            if *shape.get_or_insert(this) != this {
                let message = "keys with values and keys without in one table";
                let diagnostic = Diagnostic::error(message)
                    .help("write key = value for all of them, or for none");
                return Err(Fault::new(key.place, diagnostic));
            }
            let known = if equals.is_some() {
                cursor.advance();
                let value = cursor.string("a value")?;
                entries.insert(&key.text, &value.text, line)
            } else {
                entries.insert(&key.text, "", line)
            };
            if known {
                twice.push(key);
            }
            // A comma, line ends, both or neither stand between two elements.
            let lines = cursor.skip_newlines();
            if cursor.eat_mark(',') {
                if lines {
                    let diagnostic = Diagnostic::error("a line begins with a comma")
                        .help("write the comma at the end of the line before, or none");
                    return Err(Fault::new(key.place, diagnostic));
                }
                cursor.skip_newlines();
            }
        }
        for key in twice {
            let message =
                format!("{} stands twice in this table; the last one counts", key.shown());
            self.report(key.place, Diagnostic::warning(message));
        }
        match shape {
            Some(shape) => Ok((shape, entries)),
            None => Err(Fault::error(open, "a table without elements")),
        }
    }

    /// A table operand.
    pub(super) fn operand(
        &mut self,
        cursor: &mut Cursor<'_>,
        what: &str,
        takes: Takes,
    ) -> Parse<TableId> {
        let place = cursor.place();
        let id = match cursor.peek() {
            Some(token) if token.kind == Kind::Mark('<') => {
                cursor.advance();
                let name = cursor.string("a table name")?;
                if !cursor.eat_mark('>') {
                    return Err(cursor.missing("\">\""));
                }
                self.reference(name)?
            }
            Some(token) if token.kind == Kind::Mark('{') => {
                let (shape, entries) = self.values(cursor)?;
                self.anonymous(place, shape, entries)
            }
            _ => {
                let token = cursor.string(&format!("a value for {what}"))?;
                let mut entries = Entries::default();
                entries.insert(&token.text, "", token.place.line);
                self.anonymous(place, Shape::List, entries)
            }
        };
        let fits = match self.config.tables.get(id).shape {
            Shape::List => takes != Takes::Map,
            Shape::Map => takes != Takes::List,
            Shape::Empty | Shape::Dynamic => true,
        };
        if !fits && !self.is_broken(Name::Table, &self.config.tables.get(id).name) {
            let name = &self.config.tables.get(id).name;
            let message = format!("table \"{name}\" may not be used for {what} lookups");
            let help = match takes {
                Takes::Map => "it has keys only; a table of key = value is needed",
                _ => "it has values; a list of keys is needed",
            };
            return Err(Fault::new(place, Diagnostic::error(message).help(help)));
        }
        Ok(id)
    }

    pub(super) fn anonymous(&mut self, place: Place, shape: Shape, entries: Entries) -> TableId {
        let position = Some(self.position(place));
        let name = self.config.tables.next_anonymous();
        let table = Table { name, position, backend: Backend::Inline, shape, entries };
        self.config.tables.add(table)
    }

    fn reference(&mut self, name: &Token) -> Parse<TableId> {
        if let Some(id) = self.config.tables.find(&name.text) {
            return Ok(id);
        }
        let table = if self.is_broken(Name::Table, &name.text) {
            // Its declaration has been complained about; anything will do in its place.
            Some((Backend::Inline, Shape::Dynamic, Entries::default()))
        } else {
            self.predefined(&name.text)
        };
        let Some((backend, shape, entries)) = table else {
            let known = self.config.tables.names();
            let message = format!("no such table: {}", name.text);
            let instead = match &*name.text {
                "localnames" => Some("the names of this machine are meant by for local"),
                "localhost" => Some("the addresses of this machine are meant by from local"),
                "anyhost" => Some("every address is meant by from any"),
                "anydestination" => Some("every domain is meant by for any"),
                _ => None,
            };
            if let Some(instead) = instead {
                return Err(Fault::new(name.place, Diagnostic::error(message).help(instead)));
            }
            return Err(self.undeclared(Name::Table, &name.text, name.place, message, known));
        };
        let name = name.text.clone();
        Ok(self.config.tables.add(Table { name, position: None, backend, shape, entries }))
    }

    /// The tables that are always there. Their names have the angle brackets in them, so they
    /// are written `<"<localnames>">`; only `<getpwnam>` is written as it is.
    fn predefined(&self, name: &str) -> Option<(Backend, Shape, Entries)> {
        if name == "getpwnam" || name == "<getpwnam>" {
            return Some((Backend::System, Shape::Dynamic, Entries::default()));
        }
        let host = &self.config.host;
        let addresses = host.addresses.iter().map(|ip| match ip.is_ipv6() {
            true => format!("[{ip}]"),
            false => ip.to_string(),
        });
        let keys: Vec<String> = match name {
            "<localnames>" => {
                ["localhost".to_owned(), host.name.clone()].into_iter().chain(addresses).collect()
            }
            "<localhost>" => std::iter::once("local".to_owned()).chain(addresses).collect(),
            "<anyhost>" => ["local", "0.0.0.0/0", "::/0"].map(str::to_owned).to_vec(),
            "<anydestination>" => vec!["*".to_owned()],
            _ => return None,
        };
        let mut entries = Entries::default();
        for key in keys {
            entries.insert(&key, "", 0);
        }
        Some((Backend::Inline, Shape::List, entries))
    }

    /// An operand that may be regular expressions.
    pub(super) fn pattern(
        &mut self,
        cursor: &mut Cursor<'_>,
        what: &str,
        takes: Takes,
    ) -> Parse<Operand> {
        let place = cursor.place();
        let regex = cursor.dialect == crate::config::Dialect::Modern && cursor.eat("regex");
        let takes = if regex { Takes::List } else { takes };
        let table = self.operand(cursor, what, takes)?;
        if regex {
            self.inactive(place, "regular expressions do not work yet");
        }
        Ok(Operand { table, regex })
    }

    /// The keys of a table that is in memory, to check them; nothing for others.
    pub(super) fn keys(&self, id: TableId) -> Vec<(String, u32)> {
        let entries = &self.config.tables.get(id).entries;
        entries.sorted().into_iter().map(|(key, entry)| (key.to_owned(), entry.line)).collect()
    }

    /// Looks at every value of a table of aliases, so that a wrong one is told now and not to
    /// the first who writes to it.
    pub(super) fn check_alias_values(&mut self, id: TableId) {
        let table = self.config.tables.get(id);
        let file = self.value_file(id);
        let mut found = Vec::new();
        for (key, entry) in table.entries.sorted() {
            let diagnostic = match alias::parse(&entry.value) {
                Err(bad) => Diagnostic::error(format!("alias {key}: {bad}")),
                Ok(targets) => {
                    let what = targets.iter().find_map(|target| match target {
                        Target::Include(_) => Some("include lists"),
                        Target::Filter(_) => Some("commands"),
                        Target::File(_) => Some("files"),
                        _ => None,
                    });
                    let Some(what) = what else { continue };
                    Diagnostic::warning(format!("alias {key}: {what} do not work yet"))
                        .help("mail for it is refused for the time being (451)")
                }
            };
            let line = entry.line;
            found.push(diagnostic.at(Position { file: file.clone(), line, column: 0 }));
        }
        self.report_values(found);
    }

    /// The same for a table of users.
    pub(super) fn check_user_values(&mut self, id: TableId) {
        let file = self.value_file(id);
        let mut found = Vec::new();
        for (key, entry) in self.config.tables.get(id).entries.sorted() {
            if account::parse(key, &entry.value).is_none() {
                let message = format!("user {key}: {} is not uid:gid:directory", entry.value);
                let position = Position { file: file.clone(), line: entry.line, column: 0 };
                found.push(Diagnostic::error(message).at(position));
            }
        }
        self.report_values(found);
    }

    fn report_values(&mut self, found: Vec<Diagnostic>) {
        for diagnostic in found {
            // Several actions may use one table.
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// The file in which the values of a table stand.
    fn value_file(&self, id: TableId) -> Arc<str> {
        let table = self.config.tables.get(id);
        match (&table.backend, &table.position) {
            (Backend::File(path), _) => path.to_string_lossy().into(),
            (_, Some(position)) => Arc::clone(&position.file),
            _ => "".into(),
        }
    }

    /// Warns of keys that can match nothing.
    pub(super) fn check_keys(
        &mut self,
        id: TableId,
        place: Place,
        good: fn(&str) -> bool,
        help: &str,
    ) {
        for (key, _) in self.keys(id) {
            if !good(&key) {
                let message = format!("\"{key}\" can match nothing here");
                self.report(place, Diagnostic::warning(message).help(help));
            }
        }
    }
}

/// Whether a key can be a domain or a pattern of one.
pub(super) fn can_be_domain(key: &str) -> bool {
    let name = key.replace('*', "a");
    !key.is_ascii() || is_host_name(&name) || key.starts_with('[')
}
