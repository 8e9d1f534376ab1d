//! Tables: sets and maps that rules and actions look things up in (table(5)).
//!
//! What is written in the configuration or in a text file is in memory and answers at once.
//! Keys are lower-cased (ASCII) when they are loaded and when they are asked for. How a key
//! matches depends on what it is asked as, see [`Service`].

mod entries;
mod file;
mod matching;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

pub use entries::{Entries, Entry};
pub(crate) use file::{BadLine, parse};

use crate::diagnostic::Position;
use crate::rules::Client;

/// Index of a table of one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub(crate) u32);

/// A table as a condition uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operand {
    /// Which one.
    pub table: TableId,
    /// Its keys are regular expressions.
    pub regex: bool,
}

/// What a key is asked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Local part or address to a list of targets; keys are equal or not.
    Alias,
    /// Domain; entries may have `*` in them.
    Domain,
    /// Login or label to a secret.
    Credentials,
    /// Address in a network.
    NetAddr,
    /// User to `uid:gid:directory`.
    UserInfo,
    /// Source address.
    Source,
    /// Mail address; entries are `user@domain`, `@domain` or `user`, and domains may have `*`.
    MailAddr,
    /// Address to host name.
    AddrName,
    /// User to address patterns.
    MailAddrMap,
    /// Domain to relay URL.
    RelayHost,
    /// Any text.
    String,
    /// Entries are regular expressions.
    Regex,
}

/// What a table holds, as far as it is known before the first look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Keys only.
    List,
    /// Keys and values.
    Map,
    /// An empty file: good for either.
    Empty,
    /// Known to its backend only.
    Dynamic,
}

/// Where a table's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// In the configuration.
    Inline,
    /// A text file, read at start.
    File(PathBuf),
    /// A map made by makemap(8).
    Db(PathBuf),
    /// A table process.
    Process {
        /// What is run.
        name: String,
        /// What it is told.
        parameter: Option<String>,
    },
    /// The system's user database.
    System,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// As declared; `<dynamic:N>` when it is written where it is used.
    pub name: Box<str>,
    /// Where it is declared; `None` for those that are always there.
    pub position: Option<Position>,
    /// Where its content is.
    pub backend: Backend,
    /// What it holds.
    pub shape: Shape,
    /// The content of [`Backend::Inline`] and [`Backend::File`].
    pub entries: Entries,
}

/// Why a look-up has no answer: a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// Longer than [`crate::limits::TABLE_KEY`].
    KeyTooLong,
    /// The table's backend does not work yet.
    NoBackend,
    /// The value is not what it should be.
    BadValue,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupError::KeyTooLong => "lookup key too long",
            LookupError::NoBackend => "the table's backend does not work yet",
            LookupError::BadValue => "the value found cannot be used",
        })
    }
}

/// All tables of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    tables: Vec<Table>,
    names: HashMap<Box<str>, TableId>,
}

impl Tables {
    /// The table of that index.
    pub fn get(&self, id: TableId) -> &Table {
        &self.tables[id.0 as usize]
    }

    /// The table of that name.
    pub fn find(&self, name: &str) -> Option<TableId> {
        self.names.get(name).copied()
    }

    /// Every table in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }

    /// Names of declared tables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name).filter(|name| !name.starts_with('<'))
    }

    /// Adds a table whose name is not there yet.
    pub(crate) fn add(&mut self, table: Table) -> TableId {
        let id = TableId(self.tables.len() as u32);
        self.names.insert(table.name.clone(), id);
        self.tables.push(table);
        id
    }

    /// Name for a table that is written where it is used.
    pub(crate) fn next_anonymous(&self) -> Box<str> {
        format!("<dynamic:{}>", self.tables.len()).into()
    }
}

impl Table {
    /// Whether the key is there. `delimiter` separates sub-addresses.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    pub fn contains(
        &self,
        service: Service,
        key: &str,
        delimiter: char,
    ) -> Result<bool, LookupError> {
        let key = self.key(key)?;
        match service {
            Service::Domain => Ok(self.entries.contains_domain(&key)),
            Service::MailAddr => Ok(self.entries.contains_address(&key, delimiter)),
            Service::Regex => Err(LookupError::NoBackend),
            _ => Ok(self.entries.get(&key).is_some()),
        }
    }

    /// Whether the client's address is equal to an entry or in one's network. The socket is the
    /// key `local`.
    pub fn contains_client(&self, client: Client) -> bool {
        match client {
            Client::Socket => self.entries.get("local").is_some(),
            Client::Ip(ip) => self.entries.contains_ip(ip),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    pub fn value(&self, key: &str) -> Result<Option<&str>, LookupError> {
        let key = self.key(key)?;
        Ok(self.entries.get(&key).map(|entry| &*entry.value))
    }

    fn key<'k>(&self, key: &'k str) -> Result<std::borrow::Cow<'k, str>, LookupError> {
        match self.backend {
            _ if key.len() > crate::limits::TABLE_KEY => Err(LookupError::KeyTooLong),
            Backend::Inline | Backend::File(_) => Ok(lower(key)),
            Backend::Db(_) | Backend::Process { .. } | Backend::System => {
                Err(LookupError::NoBackend)
            }
        }
    }
}

/// Whether a key is an address or a network.
pub(crate) fn is_network(key: &str) -> bool {
    matching::network(key).is_some()
}

/// Lower-cases (ASCII), and copies only when there is something to change.
pub(crate) fn lower(text: &str) -> std::borrow::Cow<'_, str> {
    if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}
