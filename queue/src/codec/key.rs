//! A key of the queue, and the cipher: XChaCha20-Poly1305.
//!
//! Its nonces of 24 octets are long enough to be drawn by chance, so that no nonce comes twice
//! even when the queue's disk is set back to an older state and goes on from there.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use zeroize::Zeroizing;

use crate::wire::Malformed;

/// Octets of a nonce.
pub(super) const NONCE: usize = 24;
/// Octets of the tag that shows that nothing was changed.
pub(super) const TAG: usize = 16;

/// A key of the queue. Its octets are wiped when the last copy of it goes, and shown nowhere.
#[derive(Clone)]
pub struct Key {
    id: u32,
    cipher: XChaCha20Poly1305,
}

impl Key {
    /// Octets of a key.
    pub const OCTETS: usize = 32;

    /// A key of these octets.
    pub fn new(octets: &[u8; Self::OCTETS]) -> Self {
        let mut key = Self { id: 0, cipher: XChaCha20Poly1305::new(octets.into()) };
        key.id = u32::from_le_bytes(*key.derive(b"name")).max(1);
        key
    }

    /// A key as it is written in a configuration: 32 ASCII characters. `None` when it is
    /// anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let octets = text.as_bytes().try_into().ok()?;
        text.is_ascii().then(|| Self::new(octets))
    }

    /// What records name it by. It tells nothing about the key but whether a guess is right,
    /// as any record does.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A number derived from the key, for the purpose that the label names: what the cipher
    /// makes of zeros under a nonce that no record has.
    pub(super) fn derive<const N: usize>(&self, label: &[u8]) -> Zeroizing<[u8; N]> {
        let mut nonce = [0xff; NONCE];
        nonce[..label.len()].copy_from_slice(label);
        let mut octets = Zeroizing::new([0; N]);
        self.encrypt(&nonce, b"", &mut *octets);
        octets
    }

    /// Encrypts in place; gives the tag.
    pub(super) fn encrypt(&self, nonce: &[u8; NONCE], about: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self.cipher.encrypt_inout_detached(nonce.into(), about, text.into());
        tag.expect("far less than the cipher's 256 GiB").into()
    }

    /// Decrypts in place, unless something was changed.
    pub(super) fn decrypt(
        &self,
        nonce: &[u8; NONCE],
        about: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Malformed> {
        let opened =
            self.cipher.decrypt_inout_detached(nonce.into(), about, text.into(), tag.into());
        opened.map_err(|_| Malformed)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_has_32_characters() {
        assert!(Key::parse(TEXT).is_some());
        for wrong in ["", &TEXT[1..], &format!("{TEXT}0"), &"ä".repeat(16)] {
            assert!(Key::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_name_of_a_key_is_the_same_at_every_start_and_another_for_another_key() {
        let id = Key::parse(TEXT).unwrap().id();
        assert_eq!(id, Key::new(TEXT.as_bytes().try_into().unwrap()).id());
        assert_ne!(id, 0, "zero is no key");
        assert_ne!(id, Key::parse(&TEXT.replace('f', "e")).unwrap().id());
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", Key::parse(TEXT)), "Some(Key(***))");
    }
}
