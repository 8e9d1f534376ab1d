//! Content files that are compressed or encrypted: one frame behind the other, each of which
//! can be opened when it has been read.
//!
//! ```text
//! 0  octets of the body          8  the body: octets of the content or an LZ4 block of them,
//! 4  octets of the content,         and behind it, when the file is encrypted, the tag (16)
//!    bit 31: compressed
//! ```
//!
//! Each file has a key of its own, so the number of the frame is its nonce: frames of another
//! file, or in another order, do not open. That none is missing at the end is known from the
//! facts of the message, which say how many octets of content there are; they are sealed, too.

use std::io;

use super::key::{Key, NONCE, TAG};
use super::{FileKey, lz4};
use crate::disk::{File, read_exact_at};
use crate::wire::{Malformed, Take};

/// Octets of content in a frame at the most: what a reader holds in memory.
const FRAME: usize = 256 << 10;
const HEADER: usize = 8;
const COMPRESSED: u32 = 1 << 31;

/// Makes frames of the content of one file.
pub(crate) struct Sealer {
    compress: bool,
    key: Option<Key>,
    frames: u64,
}

impl Sealer {
    /// A sealer for a new file.
    pub(super) fn new(compress: bool, key: Option<&FileKey>) -> Self {
        Self { compress, key: key.map(FileKey::key), frames: 0 }
    }

    /// The next octets of the file, in frames.
    pub(crate) fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let frames = content.len().div_ceil(FRAME);
        let mut octets = Vec::with_capacity(content.len() + frames * (HEADER + TAG));
        for content in content.chunks(FRAME) {
            self.frame(content, &mut octets);
        }
        octets
    }

    fn frame(&mut self, content: &[u8], octets: &mut Vec<u8>) {
        let smaller = if self.compress { lz4::compress(content, 0) } else { None };
        let body = smaller.as_deref().unwrap_or(content);
        let mark = if smaller.is_some() { COMPRESSED } else { 0 };
        let tag = if self.key.is_some() { TAG } else { 0 };
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&((body.len() + tag) as u32).to_le_bytes());
        header[4..].copy_from_slice(&(content.len() as u32 | mark).to_le_bytes());
        octets.extend_from_slice(&header);
        let begin = octets.len();
        octets.extend_from_slice(body);
        if let Some(key) = &self.key {
            let tag = key.encrypt(&nonce(self.frames), &header, &mut octets[begin..]);
            octets.extend_from_slice(&tag);
        }
        self.frames += 1;
    }
}

/// Reads frames from the beginning of a file.
pub(crate) struct Opener {
    key: Option<Key>,
    frames: u64,
    /// Where the next frame begins.
    offset: u64,
}

impl Opener {
    /// An opener for a file with that key.
    pub(crate) fn new(key: Option<&FileKey>) -> Self {
        Self { key: key.map(FileKey::key), frames: 0, offset: 0 }
    }

    /// The content of the next frame, which is never empty. `InvalidData` when there is none,
    /// or none that is ours.
    pub(crate) fn frame(&mut self, file: &dyn File) -> io::Result<Vec<u8>> {
        let mut header = [0; HEADER];
        read(file, &mut header, self.offset)?;
        let mut take = Take(&header);
        let (length, content) = (take.u32()? as usize, take.u32()?);
        let compressed = content & COMPRESSED != 0;
        let content = (content & !COMPRESSED) as usize;
        let tag = if self.key.is_some() { TAG } else { 0 };
        let body = length.checked_sub(tag).ok_or(Malformed)?;
        // Compressed only if smaller, so the one bound is good for both.
        let fits = if compressed { body < content } else { body == content };
        if !fits || content > FRAME || content == 0 {
            return Err(Malformed.into());
        }
        let mut octets = vec![0; length];
        read(file, &mut octets, self.offset + HEADER as u64)?;
        if let Some(key) = &self.key {
            let (text, tag) = octets.split_last_chunk_mut::<TAG>().ok_or(Malformed)?;
            key.decrypt(&nonce(self.frames), &header, text, tag)?;
            octets.truncate(body);
        }
        self.offset += (HEADER + length) as u64;
        self.frames += 1;
        if compressed { Ok(lz4::expand(&octets, content)?) } else { Ok(octets) }
    }
}

/// A file that ends too early is damaged.
fn read(file: &dyn File, octets: &mut [u8], offset: u64) -> io::Result<()> {
    read_exact_at(file, octets, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Malformed.into(),
        _ => error,
    })
}

fn nonce(frame: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[..8].copy_from_slice(&frame.to_le_bytes());
    nonce
}
