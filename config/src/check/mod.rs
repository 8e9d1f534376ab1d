//! What no grammar can see: whether the files, users and certificates that a configuration names
//! are there and fit, and whether its rules do what nobody wants (smtpd(8), `-n`).
//!
//! Each family is a function from a [`Config`] and a [`World`] to diagnostics. They are warnings,
//! unless the daemon could not start, and each says what to write instead. A warning must be
//! true: where a family is not sure (a table that is asked only later, a condition it cannot
//! meet) it is silent.

mod backscatter;
mod certificates;
mod credentials;
mod files;
mod listeners;
mod names;
mod reach;
mod relays;
mod stranger;
mod unused;
mod users;
mod values;
mod world;

pub use world::{CertificateFault, Kind, Status, World};

use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Position;
use crate::table::{Backend, Table};

/// What is true of each statement for itself, also when others have mistakes.
pub(crate) fn of_statements(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut found = files::check(config, world);
    found.extend(certificates::check(config, world));
    found.extend(users::check(config, world));
    found.extend(values::check(config));
    found
}

/// What can only be said of a configuration without mistakes.
pub(crate) fn of_the_whole(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut found = listeners::check(config, world);
    found.extend(unused::check(config));
    found.extend(reach::check(config));
    found.extend(credentials::check(config));
    let stranger = stranger::Stranger::new(config, world);
    found.extend(relays::check(config, &stranger));
    found.extend(backscatter::check(config, &stranger));
    found
}

/// Where an entry of a table stands.
fn entry_position(table: &Table, line: u32) -> Option<Position> {
    match (&table.backend, &table.position) {
        (Backend::File(path) | Backend::Passwd(path), _) => {
            Some(Position { file: path.to_string_lossy().into(), line, column: 0 })
        }
        (Backend::Inline, Some(position)) => {
            // The elements of a table that goes over several lines have lines of their own.
            let column = if position.line == line { position.column } else { 0 };
            Some(Position { line, column, ..position.clone() })
        }
        _ => None,
    }
}
