//! What has been imported into a queue, so that doing it again does not double anything: the file
//! `imported` in the queue directory, a line for each message.
//!
//! A message is known by the name it had where it came from, the checksum of its content and its
//! length. The line is written when the message is in the journal; should the machine stop between
//! the two, the message itself is found in the queue.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// See the module.
pub struct Imported {
    known: HashSet<String>,
    file: File,
}

impl Imported {
    /// Reads what is known, and makes the file if there is none.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(queue: &Path) -> io::Result<Imported> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file =
            options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(queue.join("imported"))?;
        let lines = BufReader::new(&file).lines();
        // A line that was cut is not known, so its message would be imported again.
        Ok(Imported { known: lines.collect::<Result<_, _>>()?, file })
    }

    /// How a message is known.
    #[must_use]
    pub fn line(name: &str, checksum: u32, octets: u64) -> String {
        format!("{name} {checksum:08x} {octets}")
    }

    /// Whether it has been imported.
    #[must_use]
    pub fn has(&self, line: &str) -> bool {
        self.known.contains(line)
    }

    /// Notes that it has been.
    ///
    /// # Errors
    /// Those of the file.
    pub fn note(&mut self, line: String) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.known.insert(line);
        Ok(())
    }

    /// Puts what was noted on disk.
    ///
    /// # Errors
    /// Those of the file.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
