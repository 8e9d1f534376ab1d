//! What judging a recipient asks besides the configuration: users, maps, included lists.
//!
//! A reactor asks [`Remembered`], which knows users that somebody has waited for and no table but
//! those in memory. Threads that may wait ask [`Lookups`].

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use smtpd_config::table::{Backend, LookupError, Query, Service, Table};
use smtpd_config::{Files, Forward, Lookup, Maps, Outside, User, Users, limits};
use zeroize::Zeroizing;

use super::machine::Opener;
use super::table_process::Processes;
use super::users::{Remembered, System};
use crate::log::topic::{self, Topic};
use crate::log::vis::vis;

/// What a reactor asks: it never waits.
impl Outside for Remembered {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Later)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Later)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Later)
    }

    /// Read in the user's name only, which comes with delivery in it.
    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

/// What threads that may wait ask.
#[derive(Clone)]
pub struct Lookups {
    users: System,
    maps: Arc<Maps>,
    processes: Arc<Processes>,
    /// Table processes are not asked: one that hangs must not hold up those who need none.
    is_quick: bool,
}

impl Lookups {
    /// With users that are remembered in `memory`.
    #[must_use]
    pub fn new(memory: Remembered) -> Lookups {
        let tell = |path: &Path, what: &str| log::warn!("warn: table: {}: {what}", path.display());
        Lookups {
            users: System(memory),
            maps: Arc::new(Maps::new(Box::new(Opener), tell)),
            processes: Arc::default(),
            is_quick: false,
        }
    }

    /// Ends all table processes.
    pub fn end(&self) {
        self.processes.end();
    }

    /// Whether a table process that judges logins by itself says that this is the user's password.
    ///
    /// # Errors
    /// [`LookupError::NoService`] when the table is not of that kind; else when it cannot be said.
    pub fn authenticate(
        &self,
        table: &Table,
        user: &str,
        password: &[u8],
    ) -> Result<bool, LookupError> {
        let Backend::Process { .. } = &table.backend else { return Err(LookupError::NoService) };
        // Its end would not be found again, and its beginning be that of another user's password.
        let (false, Ok(password)) = (user.contains(':'), std::str::from_utf8(password)) else {
            return Err(LookupError::NoService);
        };
        let mut key = Zeroizing::new(String::with_capacity(user.len() + 1 + password.len()));
        key.extend([user, ":", password]);
        let answer = self.processes.check(table, Service::Auth, &key);
        let shown = answer.map(|is_right| if is_right { "right" } else { "wrong" });
        if shown != Err(LookupError::NoService) {
            trace(table, user, shown);
        }
        answer
    }

    /// The same without table processes: what needs one is [`LookupError::Later`].
    #[must_use]
    pub fn quick(&self) -> Lookups {
        Lookups { is_quick: true, ..self.clone() }
    }
}

impl Users for Lookups {
    fn user(&self, name: &str) -> Lookup {
        self.users.user(name)
    }
}

impl Outside for Lookups {
    fn contains(&self, table: &Table, query: &Query<'_>) -> Result<bool, LookupError> {
        let answer = match &table.backend {
            Backend::Db(path) => self.maps.contains(path, query),
            Backend::Process { .. } if self.is_quick => return Err(LookupError::Later),
            Backend::Process { .. } => {
                self.processes.check(table, query.service, &query.key.to_ascii_lowercase())
            }
            _ => Err(LookupError::NoBackend),
        };
        let shown = answer.map(|found| if found { "found" } else { "none" });
        trace(table, query.key, shown);
        answer
    }

    fn value(
        &self,
        table: &Table,
        service: Service,
        key: &str,
    ) -> Result<Option<Box<str>>, LookupError> {
        let answer = match &table.backend {
            Backend::Db(path) => self.maps.value(path, service, key),
            Backend::Process { .. } if self.is_quick => return Err(LookupError::Later),
            Backend::Process { .. } => {
                self.processes.lookup(table, service, &key.to_ascii_lowercase())
            }
            _ => Err(LookupError::NoBackend),
        };
        // Not the value: it may be a secret.
        let shown = answer.as_ref().map(|value| if value.is_some() { "found" } else { "none" });
        trace(table, key, shown.map_err(|error| *error));
        answer
    }

    fn keys(&self, table: &Table, service: Service) -> Result<Vec<Box<str>>, LookupError> {
        let answer = match &table.backend {
            Backend::Db(path) => self.maps.keys(path),
            Backend::Process { .. } if self.is_quick => return Err(LookupError::Later),
            Backend::Process { .. } => {
                self.processes.fetch(table, service).map(|one| one.into_iter().collect())
            }
            _ => Err(LookupError::NoBackend),
        };
        let shown = answer.as_ref().map(|keys| if keys.is_empty() { "none" } else { "found" });
        trace(table, "(any)", shown.map_err(|error| *error));
        answer
    }

    fn include(&self, path: &str) -> Result<Vec<u8>, LookupError> {
        let read = || -> io::Result<Vec<u8>> {
            let mut octets = Vec::new();
            let file = Opener.open(Path::new(path))?;
            file.take(limits::ALIAS_INCLUDE + 1).read_to_end(&mut octets)?;
            if octets.len() as u64 > limits::ALIAS_INCLUDE {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(octets)
        };
        Ok(read().unwrap_or_else(|error| {
            log::warn!("warn: failed to open include file \"{path}\": {error}");
            Vec::new()
        }))
    }

    /// Read in the user's name only, which comes with delivery in it.
    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

fn trace(table: &Table, key: &str, answer: Result<&str, LookupError>) {
    if topic::on(Topic::Lookup) {
        let (name, key) = (&table.name, vis(key.as_bytes()));
        match answer {
            Ok(text) => {
                topic::trace(Topic::Lookup, format_args!("lookup: table {name}: {key} -> {text}"));
            }
            Err(error) => {
                topic::trace(Topic::Lookup, format_args!("lookup: table {name}: {key}: {error}"));
            }
        }
    }
}
