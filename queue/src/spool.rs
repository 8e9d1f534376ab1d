//! Content files: mail content that is too big for a journal record, or that found no room
//! in the memory budget.
//!
//! A file holds the content as it is or, when the queue is compressed or encrypted, in frames
//! (`codec/frames.rs`); lengths and checksums that are told are those of the content.
//!
//! `content/MSGID` is written, synced, and its directory synced, before a journal record
//! names it. A file that no record names was never acknowledged and is removed at the next
//! start, so a crash needs no other care. These calls wait for the disk: they belong on the
//! threads of the content pool, never on a reactor.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{Codec, FileKey, Sealer};
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
    codec: Codec,
}

impl Spool {
    /// The content files in `dir`; new ones are sealed by `codec`.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf, codec: Codec) -> Self {
        Self { disk, dir: dir.into(), codec }
    }

    /// Begins the content file of a message. One that is there already is an error: when the
    /// counter of the ids has gone round it may be that of a message which still waits.
    pub fn begin(&self, id: MessageId) -> io::Result<Writer> {
        let file = self.disk.create(&self.path(id))?;
        let (sealer, form) = match self.codec.sealer() {
            Some((sealer, key)) => (Some(sealer), Form::Frames(key)),
            None => (None, Form::Plain),
        };
        let finished = Finished { id, octets: 0, checksum: 0, form };
        Ok(Writer { file, sealer, offset: 0, finished })
    }

    /// Makes the content durable. After an error it is [`Spool::remove`] that is owed.
    pub fn finish(&self, writer: Writer) -> io::Result<Finished> {
        writer.file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(writer.finished)
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
    file: Box<dyn File>,
    /// `None`: the content is written as it is.
    sealer: Option<Sealer>,
    /// Where the file ends.
    offset: u64,
    /// What is known of it so far.
    finished: Finished,
}

impl Writer {
    /// The message whose content this is.
    pub fn id(&self) -> MessageId {
        self.finished.id
    }

    /// Octets of content so far.
    pub fn octets(&self) -> u64 {
        self.finished.octets
    }

    /// Adds `octets` at the end. Large pieces are better: each is a frame when the file is
    /// sealed.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let sealed = self.sealer.as_mut().map(|sealer| sealer.seal(octets));
        let written = sealed.as_deref().unwrap_or(octets);
        self.file.write_at(written, self.offset)?;
        self.offset += written.len() as u64;
        self.finished.octets += octets.len() as u64;
        self.finished.checksum = crc32c::crc32c_append(self.finished.checksum, octets);
        Ok(())
    }
}

/// A content file that is durable and may be named by the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub(crate) id: MessageId,
    /// Octets of the content.
    pub(crate) octets: u64,
    /// CRC-32C of the content.
    pub(crate) checksum: u32,
    pub(crate) form: Form,
}

/// How content lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// In frames, encrypted with this key if there is one.
    Frames(Option<FileKey>),
}
