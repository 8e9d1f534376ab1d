//! Opens files that may be anything: only regular ones are read, links are not followed, a fifo
//! does not stop us, and nothing is read beyond a bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::transfer::arriving;

/// Octets of a content at the most.
pub const CONTENT: u64 = arriving::LONGEST;

/// Opens a regular file of at most `longest` octets.
///
/// # Errors
/// The system's, or what it is instead.
pub fn open(path: &Path, longest: u64) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(
            |error| match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => other("is a link"),
                _ => error,
            },
        )?;
    let found = file.metadata()?;
    match (found.is_file(), found.len() <= longest) {
        (false, _) => Err(other("is no regular file")),
        (true, false) => Err(other("is too large")),
        (true, true) => Ok(file),
    }
}

/// Reads a whole file of at most `longest` octets.
///
/// # Errors
/// As [`open`], and when it grows beyond that.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    open(path, longest)?.take(longest + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > longest { Err(other("is too large")) } else { Ok(octets) }
}

fn other(text: &str) -> io::Error {
    io::Error::other(text)
}
