//! What the checks ask of the machine, beyond what reading a configuration asks.

use std::io;
use std::path::Path;

use crate::surroundings::{Files, Interfaces, Outside};

/// The machine that a configuration is checked for. Every question may take its time.
pub trait World: Files + Interfaces {
    /// Users, and tables that are not in memory, on a thread that may wait.
    fn outside(&self) -> &dyn Outside;

    /// What a path names, symbolic links followed.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::NotFound`] when there is nothing.
    fn status(&self, path: &Path) -> io::Result<Status>;

    /// What is wrong with a certificate chain and its key (PEM). `names` are those that the
    /// server shows with it.
    fn certificate(&self, chain: &[u8], key: &[u8], names: &[String]) -> Vec<CertificateFault>;
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// File, directory or something else.
    pub kind: Kind,
    /// Permission bits, as in chmod(2).
    pub mode: u32,
    /// The owner's user id.
    pub owner: u32,
}

/// Kinds of what a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A socket, a device, ...
    Other,
}

/// What can be wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// No certificate in the file, or one that cannot be read; in words.
    Certificate(String),
    /// No private key in the file, or one that cannot be read; in words.
    Key(String),
    /// The key is another one's.
    Mismatch,
    /// Not valid any more, since so many seconds.
    Expired(u64),
    /// Valid for so many seconds only, and that is soon over.
    Expires(u64),
    /// Not valid before so many seconds from now.
    NotYet(u64),
    /// Made for other names than this one.
    Name(String),
}
