//! What a session is to do: who we are, what we insist on, and the mail.

use std::fmt;

use crate::address::{Mailbox, ReversePath, is_host_name, literal};
use crate::dsn::{Notify, Ret};
use crate::limits;

use super::credentials::Credentials;

/// How sessions with a next hop go.
#[derive(Debug)]
pub struct Params {
    /// The name given with EHLO, HELO or LHLO.
    pub name: Name,
    /// The next hop speaks LMTP (RFC 2033).
    pub lmtp: bool,
    /// Whether STARTTLS is used; without meaning where TLS is there from the first octet.
    pub tls: Tls,
    /// Who we are, if the next hop has to know. Never said in the clear.
    pub auth: Option<Credentials>,
    /// Content goes in chunks (RFC 3030) where they are offered. No large host sends them,
    /// and receivers get them wrong.
    pub chunking: bool,
    /// Recipients refused in a row, after which there is nothing but QUIT.
    pub max_failures: u32,
}

impl Params {
    /// SMTP with opportunistic TLS, everything else as upstream's defaults.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            lmtp: false,
            tls: Tls::Opportunistic,
            auth: None,
            chunking: false,
            max_failures: limits::REFUSALS,
        }
    }
}

/// Whether STARTTLS is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Never.
    Never,
    /// When it is offered; the next hop may still refuse.
    Opportunistic,
    /// No mail goes without.
    Required,
}

/// Our name: a host name or an address literal (RFC 5321 section 4.1.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(Box<str>);

impl Name {
    /// Takes `text`, if it can be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = is_host_name(text) || literal(text).is_some();
        good.then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message and for whom it is. Parameters go where the next hop offers them.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'m> {
    /// Where reports go.
    pub from: &'m ReversePath,
    /// Octets of the content.
    pub size: Option<u64>,
    /// The content has octets above 127. It goes unchanged to who does not offer 8BITMIME,
    /// too: to convert it would break its signatures.
    pub eight_bit: bool,
    /// The header is not ASCII. SMTPUTF8 is asked for then, and when an address is not; it is
    /// not needed otherwise, whatever it came with.
    pub utf8_header: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, in xtext.
    pub envid: Option<&'m str>,
    /// Not empty.
    pub recipients: &'m [Recipient],
}

/// Whom a message is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The forward-path.
    pub to: Mailbox,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT: type and xtext.
    pub orcpt: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_can_be_sent() {
        for good in ["mx.example.org", "localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(Name::parse(good).map(|name| name.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "a b", "a\r\nMAIL", "b\u{fc}cher.example", "[x]", "a.", "<a>"] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
