//! The only door to the file system for journal, content files and Maildirs.
//!
//! It is narrow on purpose: positioned writes, `fdatasync`, `fsync` of a directory, and
//! names. What a caller may rely on after the power went is exactly what [`fault::FaultDisk`]
//! keeps: octets that a later [`File::sync_data`] of the same file covered, and names that a
//! later [`Disk::sync_dir`] of their directory covered; of everything else any part.
//!
//! Errors carry the path and the system's own words.

use std::ffi::OsString;
use std::io;
use std::path::Path;

pub mod fault;
pub mod real;

pub use real::RealDisk;

/// A file system, shared by all threads.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new file (mode 0600) for reading and writing; an error when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading and writing, as it is.
    fn reuse(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Makes a directory (mode 0700); an error when the name is taken.
    fn mkdir(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another name, replacing a file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; an error when the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes away a name. A file that is open can still be read.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Makes the names in a directory durable (POSIX `fsync` of the directory).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Octets that may still be written to the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Offsets are in octets from its start.
pub trait File: Send + Sync {
    /// Writes all of `octets` at `offset`; past the end the file grows. After an error any
    /// part may have been written.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Reads at most `into.len()` octets at `offset`; fewer only at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Lets the system begin to write out what was written, so that a sync of many files waits
    /// for one disk at work instead of for each in turn. Promises nothing.
    fn start_write_back(&self);

    /// Makes the octets written and the size durable (POSIX `fdatasync`).
    ///
    /// After an error nothing is known about what was written since the last sync, not even
    /// when it can be read: the system may have dropped it and have marked it clean.
    fn sync_data(&self) -> io::Result<()>;

    /// Octets in the file.
    fn size(&self) -> io::Result<u64>;

    /// How many names the file has.
    fn links(&self) -> io::Result<u64>;
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path.
    pub name: OsString,
    /// Whether it is a directory itself.
    pub directory: bool,
}

/// Reads exactly `into.len()` octets at `offset`.
pub fn read_exact_at(file: &dyn File, into: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(into, offset)? < into.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Whether an error says that octets are not what they were or cannot be read any more, and not
/// that the system could not look now.
pub fn is_damage(error: &io::Error) -> bool {
    let failed = rustix::io::Errno::IO.raw_os_error();
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error() == Some(failed)
}

/// Makes a directory unless it is there.
pub fn ensure_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.mkdir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
