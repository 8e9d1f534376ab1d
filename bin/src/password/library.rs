//! Hashes that the system's crypt(3) does not know, or that must do without it.

use argon2::password_hash::{Error, PasswordVerifier};

use super::Bad;

/// Whether `password` is the one of `hash`.
///
/// # Errors
/// When the scheme is not known, or the hash is damaged.
pub(super) fn check(password: &[u8], hash: &str) -> Result<bool, Bad> {
    let checked = match hash.split('$').nth(1) {
        Some("2a" | "2b" | "2y") => {
            return bcrypt::verify(password, hash).map_err(|_| Bad::Unknown);
        }
        Some("5" | "6") => sha_crypt::ShaCrypt::default().verify_password(password, hash),
        Some("y") => yescrypt::Yescrypt::default().verify_password(password, hash),
        // The library takes one without a digest for that of another password.
        Some("argon2id" | "argon2i" | "argon2d") if hash.split('$').count() > 4 => {
            argon2::Argon2::default().verify_password(password, hash)
        }
        _ => return Err(Bad::Unknown),
    };
    match checked {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(Bad::Unknown),
    }
}
