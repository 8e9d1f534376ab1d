//! Tables whose content is elsewhere: text files, maps, processes.

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Position};
use crate::lex::{Fault, Place, Token};
use crate::limits;
use crate::surroundings::{ReadAt, read};
use crate::table::{Backend, BadLine, Entries, Map, Shape, Table, Unusable, parse, parse_passwd};

use super::Reader;
use super::cursor::Parse;

impl Reader<'_> {
    /// A table whose content is elsewhere.
    pub(super) fn backed_table(
        &mut self,
        name: &Token,
        position: Position,
        source: &Token,
    ) -> Parse<Table> {
        let (kind, parameter) = match source.text.split_once(':') {
            _ if source.text.starts_with(['/', '.']) => ("file", Some(&*source.text)),
            Some((kind, parameter)) => (kind, Some(parameter)),
            None => (&*source.text, None),
        };
        // `proc:sqlite:/file` is the earlier way to write `sqlite:/file`.
        let (kind, parameter) = match (kind, parameter) {
            ("proc", Some(rest)) => match rest.split_once(':') {
                Some((kind, parameter)) => (kind, Some(parameter)),
                None => (rest, None),
            },
            other => other,
        };
        let is_path = kind == "proc-exec"
            || parameter.is_none_or(|path| {
                path.starts_with('/') || path.starts_with("./") || path.starts_with("../")
            });
        let needs_path = matches!(kind, "file" | "static" | "db" | "passwd" | "proc-exec");
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
            ("db", Some(path)) => self.open_map(&mut table, path, source.place)?,
            ("passwd", Some(path)) => {
                table.backend = Backend::Passwd(PathBuf::from(path));
                table.shape = Shape::Map;
                table.entries = self.load_passwd(&name.text, path, source.place)?;
            }
            ("", _) => {
                let diagnostic = Diagnostic::error("the table's backend has no name")
                    .help("write file:/path/of/the/file");
                return Err(Fault::new(source.place, diagnostic));
            }
            _ if name.text.contains(|c: char| c.is_control() || c == '|') => {
                let message = "invalid name of a table with a process";
                let help = "it is told to the process in a line of fields: write one without | \
                            and without control characters, such as a tab";
                return Err(Fault::new(name.place, Diagnostic::error(message).help(help)));
            }
            _ => {
                table.backend = Backend::Process {
                    name: kind.to_owned(),
                    parameter: parameter.map(str::to_owned),
                };
            }
        }
        Ok(table)
    }

    /// Looks at a map. Of a Berkeley DB file, which is not read, the source is taken.
    fn open_map(&mut self, table: &mut Table, path: &str, place: Place) -> Parse<()> {
        let source = path.strip_suffix(".db").filter(|source| !source.ends_with('/'));
        let unusable = |what: String, help: String| {
            let message = format!("invalid map {path} for table {}: {what}", table.name);
            Fault::new(place, Diagnostic::error(message).help(help))
        };
        let remake = |source: Option<&str>| match source {
            Some(source) => format!("make it from its source: makemap {source}"),
            None => format!("make it from its source: makemap -o {path} SOURCE"),
        };
        let file = self.files.open_map(Path::new(path));
        let file = file.map_err(|error| unusable(error.to_string(), remake(source)))?;
        if !is_berkeley(&*file) {
            match Map::open(file).map_err(|Unusable { what, .. }| unusable(what, remake(source)))? {
                Map::Memory(entries) => drop(self.maps.insert(table.name.clone(), entries)),
                // Too large to look at every value now.
                Map::File { .. } => {}
            }
            table.backend = Backend::Db(PathBuf::from(path));
            return Ok(());
        }
        let Some((source, entries)) = source.and_then(|source| {
            let entries = self.load(&table.name, source, place);
            Some((source, entries.ok()?))
        }) else {
            let help = match source {
                Some(source) => format!(
                    "write it out with OpenSMTPD's own \"makemap -U {path} > {source}\", and then \
                     \"makemap {source}\" makes the map"
                ),
                None => "write it out with OpenSMTPD's own makemap -U, and make it anew".to_owned(),
            };
            return Err(unusable("it is a Berkeley DB file".to_owned(), help));
        };
        let message = format!("{path} is a Berkeley DB file: {source} is read in its place");
        let help = format!("\"makemap {source}\" makes a map that is noticed when it changes");
        self.report(place, Diagnostic::warning(message).help(help));
        table.backend = Backend::File(PathBuf::from(source));
        (table.shape, table.entries) = entries;
        Ok(())
    }

    /// Reads a table file. Its bad lines are reported where they are.
    fn load(&mut self, name: &str, path: &str, place: Place) -> Parse<(Shape, Entries)> {
        let (shape, entries, bad) = parse(&self.octets(name, path, place)?);
        self.report_lines(path, bad);
        Ok((shape, entries))
    }

    fn load_passwd(&mut self, name: &str, path: &str, place: Place) -> Parse<Entries> {
        let (entries, bad) = parse_passwd(&self.octets(name, path, place)?);
        self.report_lines(path, bad);
        Ok(entries)
    }

    fn octets(&self, name: &str, path: &str, place: Place) -> Parse<Vec<u8>> {
        read(self.files, Path::new(path), limits::TABLE_FILE).map_err(|error| {
            let message = format!("invalid configuration file {path} for table {name}");
            Fault::new(place, Diagnostic::error(message).help(format!("{path}: {error}")))
        })
    }

    fn report_lines(&mut self, path: &str, bad: Vec<BadLine>) {
        for BadLine { line, message } in bad {
            let position = Position { file: path.into(), line, column: 0 };
            self.diagnostics.push(Diagnostic::error(message).at(position));
        }
    }
}

/// Whether a file is one of Berkeley DB: of the library that the BSDs have, whose hash and btree
/// files begin with a number, or of a later one, where it stands behind 12 octets.
fn is_berkeley(file: &dyn ReadAt) -> bool {
    const NUMBERS: [u32; 2] = [0x0006_1561, 0x0005_3162];
    [0, 12].into_iter().any(|place| {
        let mut octets = [0; 4];
        file.read_exact_at(&mut octets, place).is_ok()
            && (NUMBERS.contains(&u32::from_le_bytes(octets))
                || NUMBERS.contains(&u32::from_be_bytes(octets)))
    })
}
