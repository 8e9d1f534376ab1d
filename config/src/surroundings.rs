//! What the configuration asks of the machine, as traits and values that the program gives.
//!
//! Nothing in this crate opens a path, asks the resolver or looks up a user by itself: the
//! process that uses it may live in a chroot, and `smtpd -n` in a test has no machine at all.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files a configuration names: itself, what it includes, its tables.
pub trait Files {
    /// Opens a file for reading, by the name the configuration has for it.
    ///
    /// # Errors
    /// Those of the system; their text ends up in a diagnostic.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>>;
}

/// What a host is called and reached by, sampled once at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// The server name: banner, `for local`, the domain of local parts.
    pub name: String,
    /// Every address of every interface; `from local` and `for local` know them.
    pub addresses: Vec<IpAddr>,
}

/// Where listeners can be bound. Addresses carry port 0; IPv6 ones may carry a scope.
pub trait Interfaces {
    /// The addresses of the interface, or (where the system knows such) of the interface group,
    /// with that name. Empty when there is none.
    fn interface(&self, name: &str) -> Vec<SocketAddr>;

    /// The addresses of a host name.
    ///
    /// # Errors
    /// When the resolver has no answer; an empty answer is one.
    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// A system user, or an entry of a `userbase` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Box<str>,
    /// User id deliveries run as.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// The system's user database, with a cache in front of it.
pub trait Users {
    /// Looks up a login name. Must not block: what is not in the cache is [`Lookup::Later`]
    /// on a thread that may not wait.
    fn user(&self, name: &str) -> Lookup;
}

/// The answer of a user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// There is such a user.
    Found(Arc<User>),
    /// There is none.
    None,
    /// Not known here and now: ask again where waiting is allowed.
    Later,
    /// The database could not be asked: a temporary failure.
    Error,
}

/// Reads a whole file, but not more than `limit` octets of it.
pub(crate) fn read(files: &dyn Files, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    files.open(path)?.take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        let message = format!("larger than {limit} octets");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(octets)
}
