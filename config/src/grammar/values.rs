//! Looking at what tables hold, so that a wrong value is told now and not to the first who is
//! looked up.

use std::path::Path;
use std::sync::Arc;

use crate::account;
use crate::alias::{self, Target};
use crate::diagnostic::{Diagnostic, Position};
use crate::lex::Place;
use crate::limits;
use crate::surroundings::read;
use crate::table::{Backend, Entries, Service, TableId, passwd_value, regex_mistake};

use super::Reader;

impl Reader<'_> {
    /// What a table holds, as far as it is in memory.
    pub(super) fn content(&self, id: TableId) -> &Entries {
        let table = self.config.tables.get(id);
        match table.backend {
            Backend::Db(_) => self.maps.get(&table.name).unwrap_or(&table.entries),
            _ => &table.entries,
        }
    }

    /// Looks at every value of a table of aliases, so that a wrong one is told now and not to
    /// the first who writes to it.
    pub(super) fn check_alias_values(&mut self, id: TableId) {
        let mut found = Vec::new();
        for (key, entry) in self.content(id).sorted() {
            let targets = alias::parse(&entry.value).unwrap_or_default();
            for target in targets {
                let Target::Include(path) = target else { continue };
                if let Err(error) = read(self.files, Path::new(&path), limits::ALIAS_INCLUDE) {
                    let warning = Diagnostic::warning(format!("alias {key}: {path}: {error}"));
                    let warning = warning.help("a list that cannot be read is passed over");
                    found.push(warning.at(self.value_position(id, entry.line)));
                }
            }
            let diagnostic = match alias::parse(&entry.value) {
                Err(bad) => Diagnostic::error(format!("alias {key}: {bad}")),
                Ok(targets) => {
                    let what = targets.iter().find_map(|target| match target {
                        Target::Filter(_) => Some("commands"),
                        Target::File(_) => Some("files"),
                        _ => None,
                    });
                    let Some(what) = what else { continue };
                    Diagnostic::warning(format!("alias {key}: {what} do not work yet"))
                        .help("mail for it is refused for the time being (451)")
                }
            };
            found.push(diagnostic.at(self.value_position(id, entry.line)));
        }
        self.report_values(found);
    }

    /// The same for a table of users.
    pub(super) fn check_user_values(&mut self, id: TableId) {
        let mut found = Vec::new();
        for (key, entry) in self.content(id).sorted() {
            let is_passwd = matches!(self.config.tables.get(id).backend, Backend::Passwd(_));
            let value = match is_passwd {
                true => passwd_value(Service::UserInfo, key, &entry.value).ok().flatten(),
                false => Some(entry.value.to_string()),
            };
            if value.is_none_or(|value| account::parse(key, &value).is_none()) {
                // The line of a passwd file has a secret in it.
                let message = match is_passwd {
                    true => format!("user {key}: no uid, gid and directory"),
                    false => format!("user {key}: {} is not uid:gid:directory", entry.value),
                };
                found.push(Diagnostic::error(message).at(self.value_position(id, entry.line)));
            }
        }
        self.report_values(found);
    }

    /// Compiles regular expressions. One that is none would match nothing, and nobody would know.
    pub(super) fn check_regexes(&mut self, id: TableId, place: Place) {
        let mut found = Vec::new();
        let content = self.content(id);
        for (key, _) in content.sorted() {
            if let Some(mistake) = regex_mistake(key) {
                let message = format!("not a regular expression: {key}");
                found.push(Diagnostic::error(message).help(mistake));
            }
        }
        content.compile();
        found.into_iter().for_each(|mistake| self.report(place, mistake));
    }

    fn report_values(&mut self, found: Vec<Diagnostic>) {
        for diagnostic in found {
            // Several actions may use one table.
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }

    /// Where a value of a table is written; for maps, which have no lines, where the table is.
    fn value_position(&self, id: TableId, line: u32) -> Position {
        let table = self.config.tables.get(id);
        let file: Arc<str> = match (&table.backend, &table.position) {
            (Backend::File(path) | Backend::Passwd(path), _) => path.to_string_lossy().into(),
            (Backend::Db(_), Some(position)) => return position.clone(),
            (_, Some(position)) => Arc::clone(&position.file),
            _ => "".into(),
        };
        Position { file, line, column: 0 }
    }
}
