//! What is stored of a password for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677), in the form of
//! RFC 5803, as other servers write it, too:
//!
//! ```text
//! SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY
//! ```
//!
//! with salt and keys in base64. Who steals it cannot log in with it, but can guess passwords as
//! with any hash, and pass for the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Begins a stored entry; without the `$`, the name of the mechanism.
const PREFIX: &str = "SCRAM-SHA-256$";

/// Iterations of a new entry.
pub const ITERATIONS: u32 = 100_000;

/// Iterations that RFC 7677 section 4 asks for at least, and how many are believed in: a damaged
/// entry must not stop a thread for hours.
const BOUNDS: std::ops::RangeInclusive<u32> = 4096..=10_000_000;

/// Octets of a salt at most.
const LONGEST_SALT: usize = 128;

/// Octets of the keys.
pub const KEY: usize = 32;

/// A key, or what is made of keys.
pub type Key = [u8; KEY];

/// What is stored of a password. Wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// How often the password was hashed.
    pub iterations: u32,
    /// Differs between entries.
    pub salt: Vec<u8>,
    /// The digest of the key that only the client has.
    pub stored_key: Key,
    /// Our own key, by which the client knows us.
    pub server_key: Key,
}

impl Stored {
    /// Whether this text is such an entry, good or bad.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads an entry; none when it is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Stored> {
        let (setting, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = setting.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| BOUNDS.contains(count))?;
        let salt = STANDARD.decode(salt).ok()?;
        if salt.is_empty() || salt.len() > LONGEST_SALT {
            return None;
        }
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        Some(Stored {
            iterations,
            salt,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// What is to be stored of a password, with that salt.
    #[must_use]
    pub fn new(password: &[u8], salt: &[u8], iterations: u32) -> Stored {
        let password = prepared(password);
        let mut salted = Zeroizing::new([0; KEY]);
        pbkdf2::pbkdf2_hmac::<Sha256>(&password, salt, iterations, &mut *salted);
        let client_key = Zeroizing::new(hmac(&*salted, b"Client Key"));
        Stored {
            iterations,
            salt: salt.to_owned(),
            stored_key: digest(&*client_key),
            server_key: hmac(&*salted, b"Server Key"),
        }
    }

    /// Whether it is that of this password.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        let other = Stored::new(password, &self.salt, self.iterations);
        bool::from(self.stored_key.ct_eq(&other.stored_key))
    }

    /// As it stands in a table.
    #[must_use]
    pub fn to_text(&self) -> String {
        let base64 = |octets: &[u8]| STANDARD.encode(octets);
        let (salt, stored, server) =
            (base64(&self.salt), base64(&self.stored_key), base64(&self.server_key));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The password as both sides write it (RFC 4013); what cannot be written so stays as it is.
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(prepared.map_or_else(|| password.to_owned(), |text| text.into_owned().into()))
}

/// HMAC-SHA-256 (RFC 2104).
#[must_use]
pub fn hmac(key: &[u8], message: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// SHA-256.
#[must_use]
pub fn digest(octets: &[u8]) -> Key {
    Sha256::digest(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the example of RFC 7677 section 3, whose password is "pencil".
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    #[test]
    fn an_entry_is_that_of_its_password() {
        let salt = STANDARD.decode(SALT).unwrap();
        let stored = Stored::new(b"pencil", &salt, 4096);
        let text = stored.to_text();
        assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
        assert_eq!(Stored::parse(&text).as_ref(), Some(&stored));
        assert!(stored.is_of(b"pencil") && !stored.is_of(b"pencils") && !stored.is_of(b""));
    }

    #[test]
    fn both_spellings_of_a_password_are_the_same() {
        // RFC 4013 section 3, and a letter with its accent apart.
        let stored = |password: &str| Stored::new(password.as_bytes(), b"salt", 4096);
        assert_eq!(stored("I\u{ad}X"), stored("IX"));
        assert_eq!(stored("e\u{301}t\u{e9}"), stored("\u{e9}te\u{301}"));
        assert_ne!(stored("user"), stored("USER"));
        assert!(!Stored::new(b"\xff", b"salt", 4096).is_of(b"\xfe"));
    }

    #[test]
    fn damaged_entries_are_none() {
        let good = Stored::new(b"x", b"salt", 4096).to_text();
        assert!(Stored::parse(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(Stored::parse(&good[..end]), None, "{}", &good[..end]);
        }
        for bad in ["4095:", "0:", "-1:", "99999999999:", "x:", "4096", "4096:$"] {
            assert_eq!(Stored::parse(&good.replacen("4096:", bad, 1)), None, "{bad}");
        }
        assert!(Stored::is_meant("SCRAM-SHA-256$") && !Stored::is_meant("scram-sha-256$"));
        assert_eq!(format!("{:?}", Stored::parse(&good)), "Some(***)");
    }
}
