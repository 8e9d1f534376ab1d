//! Tables: sets and maps that rules and actions look things up in (table(5)).
//!
//! What is written in the configuration or in a text file is in memory and answers at once.
//! Keys are lower-cased (ASCII) when they are loaded and when they are asked for. How a key
//! matches depends on what it is asked as, see [`Service`].

mod db;
mod entries;
mod file;
mod matching;
mod passwd;
mod patterns;
mod regexes;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

pub use db::Maps;
pub(crate) use db::{Map, Unusable};
pub use entries::{Entries, Entry};
pub(crate) use file::parse;
pub use file::{BadLine, scan};
pub(crate) use passwd::{hash as passwd_hash, parse as parse_passwd, value as passwd_value};
pub(crate) use regexes::mistake as regex_mistake;

use crate::diagnostic::Position;
use crate::limits;
use crate::rules::Client;
use crate::surroundings::Outside;

/// Begins the names of tables that are written where they are used. Nobody declares such a name.
const ANONYMOUS: &str = "<dynamic:";

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
    /// Login and password, `user:password`, which only a table process judges.
    Auth,
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

impl Service {
    /// Whether entries may be more than keys to be equal to.
    fn has_patterns(self) -> bool {
        matches!(self, Service::Domain | Service::MailAddr | Service::NetAddr | Service::Regex)
    }
}

/// A question to a table.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// What the key is asked as.
    pub service: Service,
    /// The key as it came.
    pub key: &'q str,
    /// Characters that separate a user from a sub-address.
    pub delimiters: &'q str,
    /// `*.example.org` takes domains at any depth below.
    pub deep: bool,
}

impl Query<'_> {
    /// The key as it is looked up.
    fn lower(&self) -> Result<Cow<'_, str>, LookupError> {
        bounded(self.key)
    }

    /// The user without a sub-address.
    fn bare<'u>(&self, user: &'u str) -> &'u str {
        bare(user, self.delimiters)
    }
}

/// The user without a sub-address, which begins at the first of the delimiters.
pub(crate) fn bare<'u>(user: &'u str, delimiters: &str) -> &'u str {
    user.split(|c| delimiters.chars().any(|delimiter| delimiter == c)).next().unwrap_or(user)
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
    /// Users in the format of passwd(5), read at start.
    Passwd(PathBuf),
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
    /// The content of [`Backend::Inline`], [`Backend::File`] and [`Backend::Passwd`].
    pub entries: Entries,
}

/// Why a look-up has no answer: a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// Longer than [`crate::limits::TABLE_KEY`].
    KeyTooLong,
    /// The table's backend does not work yet.
    NoBackend,
    /// The table is not one that can be asked that.
    NoService,
    /// The value is not what it should be.
    BadValue,
    /// The table cannot be read or does not answer; the log tells.
    Failed,
    /// The table is not asked here: ask again where waiting is allowed.
    Later,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LookupError::KeyTooLong => "lookup key too long",
            LookupError::NoBackend => "the table's backend does not work yet",
            LookupError::NoService => "the table cannot be asked that",
            LookupError::BadValue => "the value found cannot be used",
            LookupError::Failed => "the table cannot be read or does not answer",
            LookupError::Later => "the table is not asked on this thread",
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

    /// The same, each with its index.
    pub(crate) fn with_ids(&self) -> impl Iterator<Item = (TableId, &Table)> {
        self.tables.iter().enumerate().map(|(at, table)| (TableId(at as u32), table))
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
        format!("{ANONYMOUS}{}>", self.tables.len()).into()
    }
}

impl Table {
    /// Whether it is written where it is used.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.name.starts_with(ANONYMOUS)
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    pub fn contains(&self, query: &Query<'_>, outside: &dyn Outside) -> Result<bool, LookupError> {
        match self.backend {
            Backend::Inline | Backend::File(_) | Backend::Passwd(_) => {
                Ok(self.entries.contains(query, &query.lower()?))
            }
            Backend::Db(_) | Backend::Process { .. } => outside.contains(self, query),
            Backend::System => Err(LookupError::NoBackend),
        }
    }

    /// Whether the client's address is equal to an entry or in one's network. The socket is the
    /// key `local`.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    pub fn contains_client(
        &self,
        client: Client,
        outside: &dyn Outside,
    ) -> Result<bool, LookupError> {
        if let (Client::Ip(ip), Backend::Inline | Backend::File(_) | Backend::Passwd(_)) =
            (client, &self.backend)
        {
            return Ok(self.entries.contains_ip(ip));
        }
        let key = client_text(client);
        let query = Query { service: Service::NetAddr, key: &key, delimiters: "", deep: false };
        self.contains(&query, outside)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    pub fn value(
        &self,
        service: Service,
        key: &str,
        outside: &dyn Outside,
    ) -> Result<Option<Cow<'_, str>>, LookupError> {
        match self.backend {
            Backend::Inline | Backend::File(_) => {
                bounded(key)?;
                let entry = self.entries.find(service, key);
                Ok(entry.map(|entry| Cow::Borrowed(&*entry.value)))
            }
            Backend::Passwd(_) => {
                bounded(key)?;
                let Some(entry) = self.entries.find(service, key) else { return Ok(None) };
                Ok(passwd::value(service, key, &entry.value)?.map(Cow::Owned))
            }
            Backend::Db(_) | Backend::Process { .. } => {
                let value = outside.value(self, service, key)?;
                Ok(value.map(|value| Cow::Owned(value.into())))
            }
            Backend::System => Err(LookupError::NoBackend),
        }
    }
}

/// A client as it is looked up: its address, an IPv6 one in brackets, or `local`.
pub(crate) fn client_text(client: Client) -> Cow<'static, str> {
    match client {
        Client::Socket => "local".into(),
        Client::Ip(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_string().into(),
            IpAddr::V6(ip) => format!("[{ip}]").into(),
        },
    }
}

/// The key as it is looked up: lower-case, of a length that a table can have.
fn bounded(key: &str) -> Result<Cow<'_, str>, LookupError> {
    if key.len() > limits::TABLE_KEY {
        return Err(LookupError::KeyTooLong);
    }
    Ok(lower(key))
}

/// Whether a key is an address or a network.
pub(crate) fn is_network(key: &str) -> bool {
    matching::network(key).is_some()
}

/// Lower-cases (ASCII), and copies only when there is something to change.
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}
