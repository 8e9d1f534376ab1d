//! Labels of relay URLs that their table of credentials does not have.

use crate::action::{Method, Route};
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::table::Backend;
use crate::url::RelayUrl;

pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for action in config.actions() {
        let Method::Relay(relay) = &action.method else { continue };
        let (table, word, by_value) = match relay.route {
            Route::Hosts(table) => (table, "host", false),
            Route::Domains(table) => (table, "domain", true),
            Route::Mx | Route::Backup(_) => continue,
        };
        let position = action.places.of(word).unwrap_or(&action.position);
        for (key, entry) in config.tables.get(table).entries.sorted() {
            let url = if by_value { &entry.value } else { key };
            let Some(label) = RelayUrl::parse(url).ok().and_then(|url| url.label) else { continue };
            let diagnostic = match relay.auth {
                // Of URLs that stand in the line itself the grammar has said so.
                None if !by_value => continue,
                None => Diagnostic::warning(format!("no auth table for the label {label}"))
                    .help("add auth <TABLE>; mail for it waits until then"),
                Some(id) => {
                    let table = config.tables.get(id);
                    let known = matches!(
                        table.backend,
                        Backend::Inline | Backend::File(_) | Backend::Passwd(_)
                    );
                    if !known || table.entries.get(&label).is_some() {
                        continue;
                    }
                    Diagnostic::warning(format!("table \"{}\" has no label {label}", table.name))
                        .help(format!("add a line to it: {label} USER:PASSWORD"))
                }
            };
            found.push(diagnostic.at(position.clone()));
        }
    }
    found
}
