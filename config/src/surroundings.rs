//! What the configuration asks of the machine, as traits and values that the program gives.
//!
//! Nothing in this crate opens a path, asks the resolver or looks up a user by itself: the
//! process that uses it may live in a chroot, and `smtpd -n` in a test has no machine at all.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits;
use crate::table::{LookupError, Query, Service, Table};

/// The files a configuration names: itself, what it includes, its tables.
pub trait Files {
    /// Opens a file for reading, by the name the configuration has for it.
    ///
    /// # Errors
    /// Those of the system; their text ends up in a diagnostic.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>>;

    /// Opens a map, to be read at any place for as long as it is kept. Without a file system
    /// behind it, this is what [`Files::open`] gives.
    ///
    /// # Errors
    /// Those of the system.
    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let mut octets = Vec::new();
        self.open(path)?.take(limits::TABLE_FILE).read_to_end(&mut octets)?;
        Ok(Box::new(octets))
    }

    /// What the file of that name looks like from outside now: another stamp than that of an open
    /// map means that the map has been replaced or written.
    ///
    /// # Errors
    /// Those of the system.
    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.open_map(path)?.stamp()
    }
}

/// An open file that is read in pieces. What is behind its end is
/// [`io::ErrorKind::UnexpectedEof`].
pub trait ReadAt: Send + Sync {
    /// Octets it had when it was opened.
    fn size(&self) -> u64;

    /// Its stamp.
    ///
    /// # Errors
    /// Those of the system.
    fn stamp(&self) -> io::Result<Stamp>;

    /// Fills `octets` with what begins at `place`.
    ///
    /// # Errors
    /// Those of the system, and an end before `octets` are full.
    fn read_exact_at(&self, octets: &mut [u8], place: u64) -> io::Result<()>;
}

/// A file from outside: which one it is, its size, when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device and number of the file; 0 without a file system.
    file: (u64, u64),
    size: u64,
    /// Seconds and nanoseconds since 1970.
    written: (i64, i64),
}

impl ReadAt for File {
    fn size(&self) -> u64 {
        // A device has none; nothing is read of it then.
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        self.metadata().map(|metadata| Stamp::from(&metadata))
    }

    fn read_exact_at(&self, octets: &mut [u8], place: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, octets, place)
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp { file: (0, 0), size: self.size(), written: (0, 0) })
    }

    fn read_exact_at(&self, octets: &mut [u8], place: u64) -> io::Result<()> {
        let end = place.saturating_add(octets.len() as u64);
        if end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        octets.copy_from_slice(&self[place as usize..end as usize]);
        Ok(())
    }
}

impl ReadAt for Box<dyn ReadAt> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn stamp(&self) -> io::Result<Stamp> {
        (**self).stamp()
    }

    fn read_exact_at(&self, octets: &mut [u8], place: u64) -> io::Result<()> {
        (**self).read_exact_at(octets, place)
    }
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

/// What is asked while a recipient is judged, besides users: tables whose content is not in the
/// configuration, lists that aliases include, `.forward`. Must not block where that is not allowed: then it is [`LookupError::Later`].
pub trait Outside: Users {
    /// Whether the table has the key.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    fn contains(&self, table: &Table, query: &Query<'_>) -> Result<bool, LookupError>;

    /// The value of a key.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure.
    fn value(
        &self,
        table: &Table,
        service: Service,
        key: &str,
    ) -> Result<Option<Box<str>>, LookupError>;

    /// The keys of a table whose content is not in the configuration, for those who choose among
    /// all of them. A program gives one at a time, whichever it likes. No more than
    /// [`limits::FETCHED`] are looked at.
    ///
    /// # Errors
    /// When it cannot be said: a temporary failure. So it is where nothing is relayed.
    fn keys(&self, _: &Table, _: Service) -> Result<Vec<Box<str>>, LookupError> {
        Err(LookupError::NoBackend)
    }

    /// The text of a list that an alias includes; empty when it cannot be read, which somebody
    /// should be told of.
    ///
    /// # Errors
    /// [`LookupError::Later`], when it is not read here.
    fn include(&self, path: &str) -> Result<Vec<u8>, LookupError>;

    /// The `.forward` in the home of a user, for whom nothing else stands.
    fn forward(&self, user: &User) -> Forward;
}

/// What a user has of a `.forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// None, or an empty one.
    None,
    /// Its text.
    Text(Vec<u8>),
    /// It is not read here: ask again where waiting is allowed.
    Later,
    /// It cannot be read now.
    Failed,
    /// It must not be followed: a link, not the user's, or others may write it.
    Refused,
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
