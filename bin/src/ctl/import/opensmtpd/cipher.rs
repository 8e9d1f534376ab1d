//! Files of OpenSMTPD's queue as they stand on disk: plain, gzipped, or encrypted after that. An
//! encrypted file is an octet 1, an initialisation vector of 12 octets, what AES-256-GCM has made
//! of the rest, and its tag of 16 octets.

use std::fs::File;
use std::io::{self, Cursor, Read};

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use flate2::read::MultiGzDecoder;

/// The first octet of an encrypted file.
const ENCRYPTED: u8 = 1;

/// The first octets of a gzipped file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Octets of the initialisation vector.
const IV: usize = 12;

/// The key of an encrypted queue. Neither shown nor logged.
pub struct Key(Aes256Gcm);

impl Key {
    /// A key of 32 octets.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Key> {
        Aes256Gcm::new_from_slice(octets).ok().map(Key)
    }
}

/// What a file holds, from octets that are in memory.
///
/// # Errors
/// When it is encrypted and cannot be opened.
pub fn open(octets: Vec<u8>, key: Option<&Key>) -> Result<Box<dyn Read>, String> {
    if octets.first() != Some(&ENCRYPTED) {
        return unpack(Cursor::new(octets)).map_err(|error| error.to_string());
    }
    let key = key.ok_or("is encrypted: give the key with --key")?;
    let (iv, sealed) = octets[1..].split_at_checked(IV).ok_or("is too short")?;
    let iv = Nonce::try_from(iv).map_err(|_| "is too short")?;
    let plain = key.0.decrypt(&iv, sealed);
    let plain = plain.map_err(|_| "cannot be decrypted: another key, or damaged")?;
    unpack(Cursor::new(plain)).map_err(|error| error.to_string())
}

/// What a file holds. An encrypted one is read as a whole and may have `longest` octets.
///
/// # Errors
/// The file's, and as [`open`].
pub fn open_file(mut file: File, longest: u64, key: Option<&Key>) -> Result<Box<dyn Read>, String> {
    let text = |error: io::Error| error.to_string();
    let mut first = Vec::new();
    file.by_ref().take(1).read_to_end(&mut first).map_err(text)?;
    if first != [ENCRYPTED] {
        return unpack(Cursor::new(first).chain(file)).map_err(text);
    }
    file.take(longest + 1).read_to_end(&mut first).map_err(text)?;
    if first.len() as u64 > longest {
        return Err("is too large".to_owned());
    }
    open(first, key)
}

fn unpack(mut from: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::new();
    from.by_ref().take(GZIP.len() as u64).read_to_end(&mut first)?;
    let is_gzip = first == GZIP;
    let whole = Cursor::new(first).chain(from);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}
