//! Content files: mail content that is too big for a journal record, or that found no room
//! in the memory budget.
//!
//! `content/MSGID` is written, synced, and its directory synced, before a journal record
//! names it. A file that no record names was never acknowledged and is removed at the next
//! start, so a crash needs no other care. These calls wait for the disk: they belong on the
//! threads of the content pool, never on a reactor.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::id::MessageId;

/// Content of more octets than this goes to a file: copying it once more into the journal
/// and reading past it when space is reclaimed would cost more than the file's two syncs.
pub const INLINE: usize = 256 << 10;

/// Makes and removes content files.
#[derive(Clone)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
}

impl Spool {
    /// The content files in `dir`.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir: dir.into() }
    }

    /// Begins the content file of a message. One that is there already is an error: when the
    /// counter of the ids has gone round it may be that of a message which still waits.
    pub fn begin(&self, id: MessageId) -> io::Result<Writer> {
        let file = self.disk.create(&self.path(id))?;
        Ok(Writer { id, file, octets: 0, checksum: 0 })
    }

    /// Makes the content durable. After an error it is [`Spool::remove`] that is owed.
    pub fn finish(&self, writer: Writer) -> io::Result<Finished> {
        writer.file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        let Writer { id, octets, checksum, .. } = writer;
        Ok(Finished { id, octets, checksum })
    }

    /// Removes the content file of a message that was refused, given up or settled. Should the
    /// name come back after a crash, the next start removes it.
    pub fn remove(&self, id: MessageId) -> io::Result<()> {
        match self.disk.unlink(&self.path(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn open(&self, id: MessageId) -> io::Result<Box<dyn File>> {
        self.disk.open(&self.path(id))
    }

    pub(crate) fn path(&self, id: MessageId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}

/// A content file that is being written.
pub struct Writer {
    id: MessageId,
    file: Box<dyn File>,
    octets: u64,
    checksum: u32,
}

impl Writer {
    /// The message whose content this is.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Octets written.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds `octets` at the end.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.file.write_at(octets, self.octets)?;
        self.octets += octets.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, octets);
        Ok(())
    }
}

/// A content file that is durable and may be named by the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    pub(crate) id: MessageId,
    pub(crate) octets: u64,
    pub(crate) checksum: u32,
}
