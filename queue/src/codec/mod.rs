//! How the queue lies on disk: compressed, encrypted, both, or neither.
//!
//! A record has two parts, the facts and the content, that are sealed each by itself, so that
//! a list of the queue opens no content. Compression (LZ4) comes before encryption
//! (XChaCha20-Poly1305); a part that would not become smaller stays as it is. The record's
//! checksums are those of the sealed octets, so that damage is told from a wrong key without
//! any key.
//!
//! ```text
//! compressed   length (4 octets), LZ4 block
//! encrypted    ciphertext of that or of the plain octets, tag (16), nonce (24)
//! ```
//!
//! The tag also covers what the part is, the record's kind and flags, and for content the
//! message it belongs to: a content cannot be put into the record of another message. Content
//! files are sealed in frames (`frames.rs`).
//!
//! Several keys can be given: the first one encrypts, every one opens. A record names its key by
//! a number derived from it.

mod frames;
mod fresh;
mod key;
mod lz4;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::id::MessageId;
use crate::segment::{self, Segment};
use crate::wire::{Malformed, Take};

pub(crate) use frames::{Opener, Sealer};
pub(crate) use fresh::FileKey;
use fresh::Fresh;
pub use key::Key;
use key::{NONCE, TAG};

/// Octets by which an encrypted part is longer.
pub(crate) const OVERHEAD: usize = NONCE + TAG;
/// Parts of fewer octets are not worth compressing: there is next to nothing to be gained.
const SHORT: usize = 256;

/// How a queue is to be written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Compress what becomes smaller by it.
    pub compress: bool,
    /// Encrypt, with the first key.
    pub encrypt: bool,
    /// All of them open what is read.
    pub keys: Vec<Key>,
}

/// The keys that open what is in a queue. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<[Key]>);

/// Seals and opens. Cheap to clone; all clones draw on the same nonces.
#[derive(Clone, Debug, Default)]
pub struct Codec {
    compress: bool,
    keys: Keys,
    /// There is one when the first key encrypts.
    fresh: Option<Arc<Fresh>>,
}

/// What is being sealed, and where it belongs. None of it can be changed unnoticed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The facts of a record.
    Facts {
        /// The record's kind.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
    /// The content in a message's record.
    Content(MessageId),
}

impl Keys {
    /// These keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys.into())
    }

    /// Whether what names this key can be opened; zero is the name of none.
    pub fn has(&self, id: u32) -> bool {
        id == 0 || self.0.iter().any(|key| key.id() == id)
    }

    /// Fails when a segment was written under a key that is not among these.
    pub(crate) fn check(&self, segment: &Segment) -> io::Result<()> {
        if self.has(segment.sealed) {
            return Ok(());
        }
        let missing = MissingKey { segment: segment.number, key: segment.sealed };
        Err(io::Error::new(io::ErrorKind::PermissionDenied, missing))
    }

    /// A number that keeps the lanes of the queue secret from who has the disk but no key.
    pub(crate) fn lanes(&self) -> u64 {
        self.0.first().map_or(0, |key| u64::from_le_bytes(*key.derive(b"lanes")))
    }

    /// Opens a part that names the key `id`. What is opened has at most `most` octets.
    pub(crate) fn open<'a>(
        &self,
        id: u32,
        compressed: bool,
        part: Part,
        sealed: &'a [u8],
        most: usize,
    ) -> Result<Cow<'a, [u8]>, Malformed> {
        let opened = match id {
            0 => Cow::Borrowed(sealed),
            _ => Cow::Owned(self.decrypt(id, &part.facts(compressed), sealed)?),
        };
        if !compressed {
            return if opened.len() <= most { Ok(opened) } else { Err(Malformed) };
        }
        let mut take = Take(&opened);
        let length = take.u32()? as usize;
        if length > most {
            return Err(Malformed);
        }
        lz4::expand(take.0, length).map(Cow::Owned)
    }

    /// Two keys may have the same name, if hardly ever, so each is tried.
    fn decrypt(&self, id: u32, about: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (rest, nonce) = sealed.split_last_chunk::<NONCE>().ok_or(Malformed)?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or(Malformed)?;
        let keys = self.0.iter().filter(|key| key.id() == id);
        keys.filter_map(|key| {
            let mut text = text.to_vec();
            key.decrypt(nonce, about, &mut text, tag).ok().map(|()| text)
        })
        .next()
        .ok_or(Malformed)
    }
}

impl Codec {
    /// A codec with these options. `seed` is what nobody can guess, and another at every
    /// start: nonces and the keys of content files come from it. From the same seed come the
    /// same nonces, which is for tests alone.
    pub fn new(options: Options, seed: &[u8; 32]) -> Self {
        let Options { compress, encrypt, keys } = options;
        let fresh = (encrypt && !keys.is_empty()).then(|| Arc::new(Fresh::new(seed)));
        Self { compress, keys: Keys::new(keys), fresh }
    }

    /// The keys it opens with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The name of the key it seals with; zero when there is none.
    pub(crate) fn key_id(&self) -> u32 {
        self.fresh.as_ref().and(self.keys.0.first()).map_or(0, Key::id)
    }

    /// What a new content file is sealed with, and the key of its own that its facts must keep;
    /// `None` when files are written as they are.
    pub(crate) fn sealer(&self) -> Option<(Sealer, Option<FileKey>)> {
        let key = self.fresh.as_ref().map(|fresh| fresh.file_key());
        (self.compress || key.is_some()).then(|| (Sealer::new(self.compress, key.as_ref()), key))
    }

    /// Seals what stands in `octets` from `begin` on, in place. Says whether it has been
    /// compressed.
    pub(crate) fn seal(&self, octets: &mut Vec<u8>, begin: usize, part: Part) -> bool {
        let compressed = self.compress(octets, begin);
        if let (Some(key), Some(fresh)) = (self.keys.0.first(), &self.fresh) {
            let nonce = fresh.nonce();
            let tag = key.encrypt(&nonce, &part.facts(compressed), &mut octets[begin..]);
            octets.extend_from_slice(&tag);
            octets.extend_from_slice(&nonce);
        }
        compressed
    }

    fn compress(&self, octets: &mut Vec<u8>, begin: usize) -> bool {
        let plain = &octets[begin..];
        if !self.compress || plain.len() < SHORT {
            return false;
        }
        let Some(smaller) = lz4::compress(plain, 4) else { return false };
        let length = u32::try_from(plain.len()).expect("it is part of a record");
        octets.truncate(begin);
        octets.extend_from_slice(&length.to_le_bytes());
        octets.extend_from_slice(&smaller);
        true
    }
}

impl Part {
    /// The octets that the tag covers beside the sealed ones.
    fn facts(self, compressed: bool) -> [u8; 8] {
        let [a, b, c, d] = match self {
            Self::Facts { .. } => [0; 4],
            Self::Content(message) => message.as_u32().to_le_bytes(),
        };
        let (letter, kind, flags) = match self {
            Self::Facts { kind, flags } => (b'f', kind, flags),
            Self::Content(_) => (b'c', 0, 0),
        };
        [letter, kind, flags, u8::from(compressed), a, b, c, d]
    }
}

/// A segment was written under a key that is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingKey {
    segment: u32,
    key: u32,
}

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = segment::name(self.segment);
        write!(
            f,
            "journal/{segment} is encrypted with a key that is not configured (its mark is {:08x}): \
             add a line \"queue encryption\" with it",
            self.key
        )
    }
}

impl std::error::Error for MissingKey {}

/// The names of the keys that a queue is written under, without opening it; zero stands for
/// what is not encrypted. A key whose name is missing here is not needed any more.
///
/// # Errors
/// Those of the disk.
pub fn key_ids(disk: &dyn Disk, dir: &Path) -> io::Result<BTreeSet<u32>> {
    let journal = dir.join("journal");
    let mut ids = BTreeSet::new();
    for number in disk.list(&journal)?.iter().filter_map(|entry| segment::number(&entry.name)) {
        let mut octets = [0; segment::HEADER as usize];
        let read = disk.open(&journal.join(segment::name(number)))?.read_at(&mut octets, 0)?;
        if let Ok(segment) = Segment::decode(&octets[..read], number) {
            ids.insert(segment.sealed);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod life;
#[cfg(test)]
mod tests;
