//! `table` statements, and the operands `"one"`, `{ a, b }`, `<name>` of all other statements.

use smtpd_engine::address::is_host_name;

use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Kind, Place, Token};
use crate::table::{Backend, Entries, Operand, Shape, Table, TableId};

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
        not_in_brackets(name)?;
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
                if takes != Takes::Map
                    && token.kind == Kind::Word
                    && self.config.tables.find(&token.text).is_some()
                {
                    let message = format!("{} is also the name of a table", token.shown());
                    let help = format!("write <{}> if that is meant, or quotes", token.text);
                    self.report(token.place, Diagnostic::warning(message).help(help));
                }
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
            let table = self.config.tables.get(id);
            let name = &table.name;
            if name.starts_with("<dynamic:") {
                let (message, help) = match table.entries.sorted().as_slice() {
                    [(key, _)] if takes == Takes::Map => (
                        format!("\"{key}\" may not be used for {what} lookups"),
                        format!("write <{key}> for the table of that name"),
                    ),
                    _ if takes == Takes::Map => (
                        format!("a list may not be used for {what} lookups"),
                        "write { key = value, ... }, or the name of a table: <name>".to_owned(),
                    ),
                    _ => (
                        format!("a map may not be used for {what} lookups"),
                        "write { key, ... }, or the name of a table: <name>".to_owned(),
                    ),
                };
                return Err(Fault::new(place, Diagnostic::error(message).help(help)));
            }
            let message = format!("table \"{name}\" may not be used for {what} lookups");
            let help = match takes {
                Takes::Map => "it has keys only; a table of key = value is needed",
                _ => "it has values; a list of keys is needed",
            };
            return Err(Fault::new(place, Diagnostic::error(message).help(help)));
        }
        let is_passwd = matches!(self.config.tables.get(id).backend, Backend::Passwd(_));
        if is_passwd && !matches!(what, "auth" | "userbase") {
            let name = &self.config.tables.get(id).name;
            let message = format!("table \"{name}\" may not be used for {what} lookups");
            let help = "a passwd: table has users and their secrets: for auth and userbase";
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
            self.check_regexes(table, place);
        }
        Ok(Operand { table, regex })
    }

    /// The keys of a table that is in memory, to check them; nothing for others.
    pub(super) fn keys(&self, id: TableId) -> Vec<(String, u32)> {
        self.content(id)
            .sorted()
            .into_iter()
            .map(|(key, entry)| (key.to_owned(), entry.line))
            .collect()
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

/// Angle brackets are part of the names of what is always there, and of what has no name.
pub(super) fn not_in_brackets(name: &Token) -> Parse<()> {
    match name.text.starts_with('<') {
        true => Err(Fault::error(name.place, "a name that is declared does not begin with \"<\"")),
        false => Ok(()),
    }
}

/// Whether a key can be a domain or a pattern of one.
pub(super) fn can_be_domain(key: &str) -> bool {
    let name = key.replace('*', "a");
    !key.is_ascii() || is_host_name(&name) || key.starts_with('[')
}
