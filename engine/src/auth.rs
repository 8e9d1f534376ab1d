//! Credentials of AUTH: PLAIN (RFC 4616), LOGIN and the messages of SCRAM (RFC 5802), in base64
//! (RFC 4954).
//!
//! They print as `***`, and are overwritten when dropped.

use std::fmt;
use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits;

/// What a peer gave to show who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// PLAIN or LOGIN: neither part is empty, neither holds NUL, CR or LF.
    Password {
        /// UTF-8, at most [`limits::AUTH_USER`] octets.
        user: String,
        /// Octets, usually UTF-8.
        password: Vec<u8>,
    },
    /// The first message of SCRAM, not looked at: what follows is the owner's, challenge by
    /// challenge.
    Scram {
        /// SCRAM-SHA-256-PLUS: it is to be bound to the channel.
        plus: bool,
        /// Octets.
        message: Vec<u8>,
    },
    /// What answers a challenge (an `Auth` question answered with 334), decoded.
    Response(Vec<u8>),
}

impl Credentials {
    /// Decodes `[authzid] NUL user NUL password`. The authorization identity is ignored,
    /// as upstream does: everybody acts as himself.
    pub(crate) fn plain(response: &[u8]) -> Option<Self> {
        let octets = decode(response)?;
        let mut parts = octets.split(|&c| c == 0);
        let four = [(); 4].map(|()| parts.next());
        let credentials = match four {
            [Some(_), Some(user), Some(password), None] => Self::checked(user, password),
            _ => None,
        };
        wipe(octets);
        credentials
    }

    /// From the two responses of LOGIN, the first one already decoded.
    pub(crate) fn login(user: &[u8], response: &[u8]) -> Option<Self> {
        let password = decode(response)?;
        let credentials = Self::checked(user, &password);
        wipe(password);
        credentials
    }

    pub(crate) fn scram(plus: bool, response: &[u8]) -> Option<Self> {
        decode(response).map(|message| Self::Scram { plus, message })
    }

    pub(crate) fn response(response: &[u8]) -> Option<Self> {
        decode(response).map(Self::Response)
    }

    fn checked(user: &[u8], password: &[u8]) -> Option<Self> {
        // CR and LF would reach table processes, whose protocol is made of lines.
        let clean = |part: &[u8]| {
            !part.is_empty() && !part.iter().any(|&c| matches!(c, b'\0' | b'\r' | b'\n'))
        };
        let fits = user.len() <= limits::AUTH_USER && clean(user) && clean(password);
        let user = str::from_utf8(user).ok().filter(|_| fits)?;
        if user.contains(char::is_control) {
            return None;
        }
        Some(Self::Password { user: user.to_owned(), password: password.to_owned() })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        match self {
            Self::Password { user, password } => {
                wipe(std::mem::take(user).into_bytes());
                wipe(std::mem::take(password));
            }
            Self::Scram { message: octets, .. } | Self::Response(octets) => {
                wipe(std::mem::take(octets))
            }
        }
    }
}

/// Overwrites what `octets` held. `black_box` keeps the compiler from leaving that out.
pub(crate) fn wipe(mut octets: Vec<u8>) {
    octets.fill(0);
    black_box(&octets);
}

/// Base64 of at most [`limits::AUTH_RESPONSE`] octets; `=` stands for an empty response
/// (RFC 4954 section 4).
pub(crate) fn decode(response: &[u8]) -> Option<Vec<u8>> {
    if response == b"=" {
        return Some(Vec::new());
    }
    STANDARD.decode(response).ok().filter(|octets| octets.len() <= limits::AUTH_RESPONSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(credentials: Option<Credentials>) -> Option<(String, Vec<u8>)> {
        match &credentials? {
            Credentials::Password { user, password } => Some((user.clone(), password.clone())),
            Credentials::Scram { .. } | Credentials::Response(_) => None,
        }
    }

    fn plain(octets: &[u8]) -> Option<(String, Vec<u8>)> {
        password(Credentials::plain(STANDARD.encode(octets).as_bytes()))
    }

    #[test]
    fn plain_has_three_parts() {
        let good = Some(("user".to_owned(), b"pass".to_vec()));
        assert_eq!(plain(b"\0user\0pass"), good);
        assert_eq!(plain(b"other\0user\0pass"), good);
        for bad in [
            &b""[..],
            b"user",
            b"user\0pass",
            b"\0\0pass",
            b"\0user\0",
            b"\0user\0pass\0",
            b"\0us\ner\0pass",
            b"\0us\x01er\0pass",
            b"\0user\0pa\rss",
            b"\0\xff\xfe\0pass",
        ] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
        for bad in [&b"*"[..], b"=", b"AHVzZXI", b"\xff"] {
            assert_eq!(password(Credentials::plain(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let with = |user: usize, pass: usize| {
            plain(&[b"\0", &*vec![b'u'; user], b"\0", &*vec![b'p'; pass]].concat()).is_some()
        };
        assert!(with(255, 1023 - 257) && !with(255, 1023 - 256) && !with(256, 1));
    }

    #[test]
    fn login_and_challenge() {
        assert_eq!(password(Credentials::login(b"u", b"cA==")), Some(("u".into(), b"p".to_vec())));
        assert_eq!(password(Credentials::login(b"", b"cA==")), None);
        assert_eq!(Credentials::response(b"cA=="), Some(Credentials::Response(b"p".to_vec())));
        assert_eq!(Credentials::response(b"="), Some(Credentials::Response(Vec::new())));
        assert_eq!(Credentials::response(b"*"), None);
    }

    #[test]
    fn print_as_stars() {
        assert_eq!(format!("{:?}", Credentials::response(b"cA==").unwrap()), "***");
    }
}
