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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::fault::FaultDisk;
    use crate::wire::tests::Noise;

    fn key(octet: u8) -> FileKey {
        FileKey::new([octet; Key::OCTETS])
    }

    /// The frames of a file whose content comes in these pieces.
    fn sealed(compress: bool, key: Option<&FileKey>, pieces: &[&[u8]]) -> Vec<u8> {
        let mut sealer = Sealer::new(compress, key);
        pieces.iter().flat_map(|piece| sealer.seal(piece)).collect()
    }

    /// The first `length` octets of content, or the error on the way there.
    fn opened(octets: &[u8], key: Option<&FileKey>, length: usize) -> io::Result<Vec<u8>> {
        let disk = FaultDisk::new(Path::new("/"));
        let file = disk.create(Path::new("/file")).unwrap();
        file.write_at(octets, 0).unwrap();
        let mut opener = Opener::new(key);
        let mut content = Vec::new();
        while content.len() < length {
            content.extend(opener.frame(&*file)?);
        }
        Ok(content)
    }

    fn fails(octets: &[u8], key: Option<&FileKey>, length: usize) -> bool {
        opened(octets, key, length).is_err_and(|e| e.kind() == io::ErrorKind::InvalidData)
    }

    #[test]
    fn content_of_any_size_comes_back() {
        let text: Vec<u8> = b"a line of text\r\n".iter().copied().cycle().take(900_000).collect();
        let noise = Noise::new(1).octets(900_000);
        for content in [text, noise] {
            for compress in [false, true] {
                for key in [None, Some(&key(1))] {
                    for pieces in [vec![&content[..]], content.chunks(131_072).collect()] {
                        let octets = sealed(compress, key, &pieces);
                        assert_eq!(opened(&octets, key, content.len()).unwrap(), content);
                        assert!(octets.len() < content.len() + 500);
                    }
                }
            }
        }
        assert!(sealed(true, None, &[&[b'x'; 900_000]]).len() < 9000);
        assert!(sealed(true, None, &[b""]).is_empty());
    }

    #[test]
    fn no_frame_can_be_changed_moved_left_out_or_cut_off() {
        let (one, two, text) = (key(1), key(2), [b'x'; 300]);
        let key = Some(&one);
        let octets = sealed(false, key, &[&text, &text, &text]);
        let frame = octets.len() / 3;
        let frames: Vec<_> = octets.chunks(frame).collect();
        assert!(opened(&octets, key, 900).is_ok());
        for wrong in [
            frames[1..].concat(),
            [frames[0], frames[2], frames[1]].concat(),
            [frames[0], frames[0], frames[2]].concat(),
            frames[..2].concat(),
            octets[..octets.len() - 1].to_vec(),
            sealed(false, Some(&two), &[&text, &text, &text]),
            sealed(false, None, &[&text, &text, &text]),
        ] {
            assert!(fails(&wrong, key, 900));
        }
        for at in 0..octets.len() {
            let mut octets = octets.clone();
            octets[at] ^= 1 << (at % 8);
            assert!(fails(&octets, key, 900), "octet {at}");
        }
    }

    #[test]
    fn noise_is_malformed_and_costs_no_memory() {
        let mut noise = Noise::new(3);
        for round in 0..2000 {
            let mut octets = noise.octets(100);
            // Lengths that are nearly possible.
            octets[3] = 0;
            octets[6..8].copy_from_slice(&[0, if round % 2 == 0 { 0x80 } else { 0 }]);
            assert!(fails(&octets, Some(&key(1)), 1));
            let _ = opened(&octets, None, 1);
        }
        let mut lie = [0xff; 1000];
        lie[4..8].copy_from_slice(&(COMPRESSED | (FRAME as u32 + 1)).to_le_bytes());
        assert!(fails(&lie, None, 1));
    }
}
