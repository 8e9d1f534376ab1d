//! Passwords and what is stored of them (crypt(5)): `$2b$` (bcrypt), `$6$` and `$5$` (SHA-crypt),
//! `$y$` (yescrypt), `$argon2id$`, what else the system knows, and the entries of SCRAM.
//!
//! The system's crypt(3) is asked first; where it does not know a scheme, or is not there, a
//! library does it. Checking takes as long as the hash says, which is its purpose: never call it
//! on a reactor. What is copied of a password is wiped.

mod library;
pub mod scram;

use std::ffi::CStr;
use std::fmt;

use zeroize::Zeroizing;

use crate::sys;
use scram::Stored;

/// The work that a new hash of bcrypt takes, as a power of two: what OpenBSD's default is.
const COST: u32 = 10;

/// Octets of a password that bcrypt looks at.
pub const BCRYPT_OCTETS: usize = 72;

/// What is wrong with a hash. Nobody can log in with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is empty, which OpenSMTPD takes for the hash of an empty password.
    Empty,
    /// Neither the system nor we know what it is: perhaps a password in the clear.
    Unknown,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::Empty => "there is no hash",
            Bad::Unknown => "it is not a hash that is known here: smtpctl encrypt makes one",
        })
    }
}

/// Whether `password` is the one of `hash`.
///
/// # Errors
/// What is wrong with the hash.
pub fn check(password: &[u8], hash: &str) -> Result<bool, Bad> {
    if hash.is_empty() {
        return Err(Bad::Empty);
    }
    if Stored::is_meant(hash) {
        return Stored::parse(hash).map(|stored| stored.is_of(password)).ok_or(Bad::Unknown);
    }
    // The oldest scheme takes any two letters for a salt, and so a password in the clear for a hash,
    // which is then wrong in no time.
    if !hash.starts_with(['$', '_']) && !is_oldest(hash) {
        return Err(Bad::Unknown);
    }
    match by_system(password, hash) {
        Some(is_right) => Ok(is_right),
        None => library::check(password, hash),
    }
}

/// Whether it looks like a hash of the oldest scheme, which has no sign of its own.
fn is_oldest(hash: &str) -> bool {
    let is_digit = |octet: u8| octet.is_ascii_alphanumeric() || b"./".contains(&octet);
    hash.len() == 13 && hash.bytes().all(is_digit)
}

fn by_system(password: &[u8], hash: &str) -> Option<bool> {
    let terminated = |octets: &[u8]| Zeroizing::new([octets, b"\0"].concat());
    let (password, hash) = (terminated(password), terminated(hash.as_bytes()));
    let text = |octets| CStr::from_bytes_with_nul(octets).ok();
    sys::check_password(text(&password)?, text(&hash)?)
}

/// A hash of the password that this machine and OpenBSD can check, with a salt of its own; none
/// when the password is longer than [`BCRYPT_OCTETS`], as its end would not count.
#[must_use]
pub fn hash(password: &[u8]) -> Option<String> {
    if password.len() > BCRYPT_OCTETS {
        return None;
    }
    bcrypt::hash(password, COST).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each made by libcrypt or libargon2 for "correct horse".
    const MADE_ELSEWHERE: [&str; 5] = [
        "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
        "$6$rounds=1000$saltstring$YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.",
        "$5$rounds=1000$saltstring$95Bg/RfV2QriLpMdLPHK9el0Ighm6E3CBqMKzZKgCa2",
        "$y$j75$salt1234$h3e8mRQmlcl5es.Ze2rDecNcQghmRKmDjeCv0d8EvA7",
        "$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHQ$0zRYpP98MyteDBNzLzi4kJGJbm9OSUqci+pgJJWcU+0",
    ];

    #[test]
    fn every_scheme_tells_right_from_wrong() {
        for hash in MADE_ELSEWHERE {
            assert_eq!(check(b"correct horse", hash), Ok(true), "{hash}");
            assert_eq!(check(b"correct hors", hash), Ok(false), "{hash}");
            assert_eq!(check(b"", hash), Ok(false), "{hash}");
        }
    }

    #[test]
    fn the_library_agrees_with_the_system() {
        for hash in MADE_ELSEWHERE {
            assert_eq!(library::check(b"correct horse", hash), Ok(true), "{hash}");
            assert_eq!(library::check(b"Correct horse", hash), Ok(false), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_lets_nobody_in() {
        assert_eq!(check(b"", ""), Err(Bad::Empty));
        for hash in
            ["correct horse", "$", "$9$x$y", "*", "!", "x", "$2b$05$short", "$argon2id$v=19"]
        {
            assert_eq!(check(b"correct horse", hash), Err(Bad::Unknown), "{hash}");
            assert_ne!(check(hash.as_bytes(), hash), Ok(true), "{hash}");
        }
        assert_eq!(check(b"nul\0l", MADE_ELSEWHERE[1]), Ok(false));
    }

    #[test]
    fn new_hashes_differ_and_are_those_of_their_password() {
        let (one, other) = (hash(b"secret").unwrap(), hash(b"secret").unwrap());
        assert!(one.starts_with("$2b$10$") && one != other);
        assert_eq!((check(b"secret", &one), check(b"other", &one)), (Ok(true), Ok(false)));
        assert!(hash(&[b'x'; 72]).is_some() && hash(&[b'x'; 73]).is_none());
    }
}
