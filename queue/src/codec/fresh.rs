//! What must never come twice: nonces, and the keys of content files.
//!
//! Both come from a seed that is another at every start, and from a counter. A nonce is 16
//! octets of this start and the counter; a disk that is set back to an older state is started
//! anew, and so gets others. A content file has a key of its own, which stands in the sealed
//! facts of its message: when the queue gets another key, the facts are sealed again and the
//! file stays as it is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::key::{Key, NONCE};

/// See the module.
pub(super) struct Fresh {
    /// Of this start.
    prefix: [u8; 16],
    /// What the keys of files are made with.
    secret: Key,
    next: AtomicU64,
}

/// The key of one content file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FileKey(Zeroizing<[u8; Key::OCTETS]>);

impl Fresh {
    pub(super) fn new(seed: &[u8; Key::OCTETS]) -> Self {
        let secret = Key::new(seed);
        Self { prefix: *secret.derive(b"nonces"), secret, next: AtomicU64::new(0) }
    }

    /// The next nonce.
    pub(super) fn nonce(&self) -> [u8; NONCE] {
        let counter = self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut nonce = [0; NONCE];
        nonce[..16].copy_from_slice(&self.prefix);
        nonce[16..].copy_from_slice(&counter);
        nonce
    }

    /// The key of the next file: what the cipher makes of zeros, under a secret of this start.
    pub(super) fn file_key(&self) -> FileKey {
        let mut octets = Zeroizing::new([0; Key::OCTETS]);
        self.secret.encrypt(&self.nonce(), b"", &mut *octets);
        FileKey(octets)
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(***)")
    }
}

impl FileKey {
    /// A key that the facts of a message name.
    pub(crate) fn new(octets: [u8; Key::OCTETS]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// To be written into the facts, before they are sealed.
    pub(crate) fn octets(&self) -> &[u8; Key::OCTETS] {
        &self.0
    }

    pub(super) fn key(&self) -> Key {
        Key::new(&self.0)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_comes_twice_in_one_start_or_in_two() {
        let (one, two) = (Fresh::new(&[1; 32]), Fresh::new(&[2; 32]));
        let nonces = (0..1000).flat_map(|_| [one.nonce(), two.nonce()]);
        assert_eq!(nonces.collect::<HashSet<_>>().len(), 2000);
        let keys = (0..1000).flat_map(|_| [one.file_key(), two.file_key()]);
        assert_eq!(keys.map(|key| *key.0).collect::<HashSet<_>>().len(), 2000);
    }
}
