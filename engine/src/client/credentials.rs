//! Who we are to a next hop that asks (RFC 4954): PLAIN (RFC 4616), LOGIN, XOAUTH2.
//!
//! They print as `***`, and are overwritten when dropped, as is every copy that is made on
//! the way to the output.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::wipe;

use super::extensions::Mechanisms;

/// A user's name and what shows that it is him.
pub struct Credentials {
    user: Vec<u8>,
    secret: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Password,
    Token,
}

/// Why credentials cannot be sent: a part is empty, or holds an octet that would end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadCredentials;

impl fmt::Display for BadCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("user and secret must not be empty, nor hold control characters")
    }
}

impl std::error::Error for BadCredentials {}

impl Credentials {
    /// A password, for PLAIN, or LOGIN where that is not offered.
    ///
    /// # Errors
    ///
    /// When a part is empty or holds a control character.
    pub fn password(user: &str, password: &str) -> Result<Self, BadCredentials> {
        Self::new(user, password, Kind::Password)
    }

    /// A bearer token (RFC 6750), for XOAUTH2.
    ///
    /// # Errors
    ///
    /// When a part is empty or holds a control character.
    pub fn token(user: &str, token: &str) -> Result<Self, BadCredentials> {
        Self::new(user, token, Kind::Token)
    }

    fn new(user: &str, secret: &str, kind: Kind) -> Result<Self, BadCredentials> {
        // NUL separates the parts of PLAIN, %x01 those of XOAUTH2.
        let good = |part: &str| !part.is_empty() && !part.bytes().any(|c| c.is_ascii_control());
        if !good(user) || !good(secret) {
            return Err(BadCredentials);
        }
        Ok(Self { user: user.as_bytes().to_owned(), secret: secret.as_bytes().to_owned(), kind })
    }

    /// Begins the exchange: writes AUTH for the best of what is offered, and says what a
    /// challenge is answered with. None when nothing of it is of use.
    pub(super) fn begin(&self, offered: Mechanisms, out: &mut Vec<u8>) -> Option<Exchange> {
        match self.kind {
            Kind::Password if offered.plain => {
                out.extend_from_slice(b"AUTH PLAIN ");
                push(&[b"\0", &self.user, b"\0", &self.secret], out);
                Some(Exchange::Done)
            }
            Kind::Password if offered.login => {
                out.extend_from_slice(b"AUTH LOGIN\r\n");
                Some(Exchange::User)
            }
            Kind::Token if offered.xoauth2 => {
                out.extend_from_slice(b"AUTH XOAUTH2 ");
                let parts: [&[u8]; 5] =
                    [b"user=", &self.user, b"\x01auth=Bearer ", &self.secret, b"\x01\x01"];
                push(&parts, out);
                Some(Exchange::Error)
            }
            Kind::Password | Kind::Token => None,
        }
    }

    /// Answers a challenge, and says what the next one is answered with. None when there
    /// is nothing more to say.
    pub(super) fn respond(&self, exchange: Exchange, out: &mut Vec<u8>) -> Option<Exchange> {
        match exchange {
            Exchange::User => {
                push(&[&self.user], out);
                Some(Exchange::Password)
            }
            Exchange::Password => {
                push(&[&self.secret], out);
                Some(Exchange::Done)
            }
            Exchange::Error => {
                out.extend_from_slice(b"\r\n");
                Some(Exchange::Done)
            }
            Exchange::Done => None,
        }
    }
}

/// What a challenge is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exchange {
    User,
    Password,
    /// XOAUTH2 challenges only to say why it will refuse; it wants an empty response first.
    Error,
    /// Everything was said.
    Done,
}

/// Writes a line of the parts in base64.
fn push(parts: &[&[u8]], out: &mut Vec<u8>) {
    let octets = parts.concat();
    let start = out.len();
    // Four octets for each three that were begun.
    out.resize(start + octets.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(&octets, &mut out[start..]).expect("the room is that of the base64");
    wipe(octets);
    out.extend_from_slice(b"\r\n");
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.user));
        wipe(std::mem::take(&mut self.secret));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Mechanisms = Mechanisms { plain: true, login: true, xoauth2: true };

    /// The lines of an exchange, decoded.
    fn lines(credentials: &Credentials, offered: Mechanisms) -> Option<Vec<String>> {
        let mut out = Vec::new();
        let mut exchange = credentials.begin(offered, &mut out)?;
        while let Some(next) = credentials.respond(exchange, &mut out) {
            exchange = next;
        }
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_suffix("\r\n").unwrap().split("\r\n").map(|line| {
            let (words, base64) = line.rsplit_once(' ').unwrap_or(("", line));
            let decoded = STANDARD.decode(base64).ok().filter(|_| base64 != "LOGIN");
            match decoded {
                Some(octets) => format!("{words}|{}", octets.escape_ascii()),
                None => line.to_owned(),
            }
        });
        Some(lines.collect())
    }

    #[test]
    fn exchanges() {
        let password = Credentials::password("user", "pass").unwrap();
        assert_eq!(lines(&password, ALL).unwrap(), [r"AUTH PLAIN|\x00user\x00pass"]);
        let login = Mechanisms { plain: false, ..ALL };
        assert_eq!(lines(&password, login).unwrap(), ["AUTH LOGIN", "|user", "|pass"]);
        let token = Credentials::token("me@example.org", "ya29.t").unwrap();
        let response = r"AUTH XOAUTH2|user=me@example.org\x01auth=Bearer ya29.t\x01\x01";
        assert_eq!(lines(&token, ALL).unwrap(), [response, "|"]);
        let neither = Mechanisms { xoauth2: true, ..Mechanisms::default() };
        assert_eq!(lines(&password, neither), None);
        assert_eq!(lines(&token, Mechanisms { xoauth2: false, ..ALL }), None);
    }

    #[test]
    fn what_cannot_be_sent() {
        for (user, secret) in
            [("", "x"), ("x", ""), ("a\0b", "x"), ("x", "a\0b"), ("a\x01", "x"), ("x", "a\r\n")]
        {
            assert!(Credentials::password(user, secret).is_err(), "{user:?} {secret:?}");
            assert!(Credentials::token(user, secret).is_err(), "{user:?} {secret:?}");
        }
        assert!(Credentials::password("j\u{fc}rgen", "p\u{e4}ss w\u{f6}rd").is_ok());
    }

    #[test]
    fn print_as_stars() {
        let shown = format!("{:?}", Credentials::password("user", "secret").unwrap());
        assert_eq!(shown, "***");
    }
}
