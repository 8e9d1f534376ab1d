//! Mailboxes, paths and HELO names (RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531).
//!
//! Past this module there is no `&str` that might be an address; there is a [`Mailbox`],
//! and one that can be built can be sent: no CR, LF or NUL, no other control character,
//! at most [`limits::LOCAL_PART`] + 1 + [`limits::DOMAIN`] octets. The events of a session
//! lend [`PathRef`]s from the caller's buffer instead, with the same promise.
//!
//! Domains are stored as A-labels (RFC 5890), so two spellings of one domain are equal;
//! ASCII keeps the letters' case that the peer wrote and is compared without it. Local
//! parts are compared octet for octet: their case is their host's business.

mod domain;
mod parse;

use std::fmt;
use std::hash::{Hash, Hasher};

pub use domain::{is_domain, is_host_name, literal};
pub(crate) use parse::path;

use crate::limits;

/// An address: local part and domain, owned, in canonical form.
///
/// A quoted local part that needs no quotes has lost them: `"user"@example.org` and
/// `user@example.org` are one mailbox (RFC 5321 section 4.1.2).
#[derive(Clone)]
pub struct Mailbox {
    /// `local@domain`.
    text: Box<str>,
    /// Where the `@` between them is; at most [`limits::LOCAL_PART`].
    at: u16,
}

/// A text that is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAMailbox;

impl fmt::Display for NotAMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a mail address")
    }
}

impl std::error::Error for NotAMailbox {}

impl Mailbox {
    /// Reads `local@domain`, without angle brackets or a source route.
    ///
    /// # Errors
    ///
    /// When it is anything else, or too long.
    pub fn parse(text: &str) -> Result<Self, NotAMailbox> {
        let path = parse::mailbox(text).ok_or(NotAMailbox)?;
        let domain = path.domain.ok_or(NotAMailbox)?;
        Self::build(path.local, domain)
    }

    /// The mailbox of `local`, written as in an address (with quotes if it needs them),
    /// at `domain`.
    ///
    /// # Errors
    ///
    /// When one of them could not stand in an address.
    pub fn new(local: &str, domain: &str) -> Result<Self, NotAMailbox> {
        let path = parse::mailbox(local).ok_or(NotAMailbox)?;
        if path.domain.is_some() || !is_domain(domain) {
            return Err(NotAMailbox);
        }
        Self::build(path.local, domain)
    }

    /// `local` and `domain` have the syntax that `parse` demands.
    fn build(local: &str, domain: &str) -> Result<Self, NotAMailbox> {
        let mut text = String::with_capacity(local.len() + 1 + domain.len());
        parse::write_canonical(local, &mut text);
        let at = u16::try_from(text.len()).map_err(|_| NotAMailbox)?;
        text.push('@');
        if domain.is_ascii() {
            text.push_str(domain);
        } else {
            text.push_str(&domain::to_ascii(domain).ok_or(NotAMailbox)?);
        }
        Ok(Self { text: text.into_boxed_str(), at })
    }

    /// What stands before the `@`, quoted if it has to be.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// What stands behind the `@`: a name of A-labels, or an address literal.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        self.local_part() == other.local_part()
            && self.domain().eq_ignore_ascii_case(other.domain())
    }
}

impl Eq for Mailbox {}

impl Hash for Mailbox {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local_part().hash(state);
        for octet in self.domain().bytes() {
            state.write_u8(octet.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// Where failure reports go: nowhere, or to a mailbox (RFC 5321 section 4.5.5).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<local@domain>`
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The owned form of what `Event::Mail` lends; see [`PathRef::to_mailbox`].
    #[must_use]
    pub fn from_event(from: Option<PathRef<'_>>, default_domain: &str) -> Self {
        match from {
            None => Self::Null,
            Some(path) => Self::Mailbox(path.to_mailbox(default_domain)),
        }
    }

    /// The mailbox, unless it is null.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    /// The address without brackets; nothing for the null reverse-path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mailbox().map_or(Ok(()), |mailbox| f.write_str(mailbox.as_str()))
    }
}

/// A path of MAIL or RCPT, lent from the caller's buffer. A source route is gone
/// (RFC 5321 appendix C).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathRef<'i> {
    /// The local part as the peer wrote it, perhaps quoted.
    pub local: &'i str,
    /// The domain as the peer wrote it; none in `<postmaster>` and, as upstream has it,
    /// after any other local part.
    pub domain: Option<&'i str>,
}

impl PathRef<'_> {
    /// The owned, canonical form, at `default_domain` where the peer gave none, and at
    /// `localhost` should that not be a domain.
    #[must_use]
    pub fn to_mailbox(&self, default_domain: &str) -> Mailbox {
        let default = if is_domain(default_domain) { default_domain } else { "localhost" };
        Mailbox::build(self.local, self.domain.unwrap_or(default))
            .expect("a path was checked when it was read")
    }

    /// Whether something in it is outside ASCII (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii() && self.domain.is_none_or(str::is_ascii)
    }
}

impl fmt::Display for PathRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.local)?;
        self.domain.map_or(Ok(()), |domain| write!(f, "@{domain}"))
    }
}

/// The argument of HELO or EHLO.
///
/// RFC 5321 wants a domain or an address literal. Real life brings trailing dots, `_`,
/// bare IPv4 addresses and computers named by people; refusing them refuses mail, and
/// RFC 5321 section 4.1.4 forbids to refuse for a name that does not verify. It is
/// accepted if it can be written down: not empty, UTF-8, no control character, at most
/// [`limits::DOMAIN`] octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeloName<'i>(&'i str);

impl<'i> HeloName<'i> {
    /// Takes `octets` for a name, if it can be one.
    #[must_use]
    pub fn parse(octets: &'i [u8]) -> Option<Self> {
        let name = str::from_utf8(octets).ok()?.trim_matches([' ', '\t']);
        let fits = !name.is_empty() && name.len() <= limits::DOMAIN;
        (fits && !name.contains(char::is_control)).then_some(Self(name))
    }

    /// The name as the peer wrote it. It may hold blanks, brackets and quotes:
    /// [`trace`](crate::trace) writes it so that it stays one word.
    #[must_use]
    pub fn as_str(self) -> &'i str {
        self.0
    }
}

impl fmt::Display for HeloName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn parse(text: &str) -> Option<String> {
        Mailbox::parse(text).ok().map(|mailbox| mailbox.to_string())
    }

    #[test]
    fn mailboxes_have_one_form() {
        for (text, canonical) in [
            ("user@example.org", "user@example.org"),
            ("\"user\"@Example.ORG", "user@Example.ORG"),
            ("\"u\\s\\er.x\"@a", "user.x@a"),
            ("\"a b\"@c", "\"a b\"@c"),
            ("\"a\\ \\\"b\\\\\"@c", "\"a \\\"b\\\\\"@c"),
            ("\"\"@c", "\"\"@c"),
            ("\"a@b\"@c", "\"a@b\"@c"),
            ("!#$%&'*+-/=?^_`{|}~@[IPv6:::1]", "!#$%&'*+-/=?^_`{|}~@[IPv6:::1]"),
            ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(canonical));
            assert_eq!(parse(canonical).as_deref(), Some(canonical));
        }
        for bad in [
            "",
            "@",
            "a",
            "a@",
            "@a",
            "a@b@c",
            "a b@c",
            "a@b c",
            "<a@b>",
            "a@b\r\n",
            "a\0@b",
            "\"a@b",
            "\"a\r\"@b",
            "\"a\\\"@b",
            "\u{85}@b",
            "a@b.",
            "a@-b",
            "@x:a@b",
            " a@b",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn mailboxes_are_bounded() {
        let at = |local: usize, domain: &str| parse(&format!("{}@{domain}", "a".repeat(local)));
        assert!(at(255, "b").is_some() && at(256, "b").is_none());
        let domain = ["x".repeat(63), "x".repeat(63), "x".repeat(63), "x".repeat(63)].join(".");
        assert!(at(255, &domain).is_some() && at(255, &format!("{domain}.b")).is_none());
    }

    #[test]
    fn domains_are_compared_without_case() {
        let of = |text| Mailbox::parse(text).unwrap();
        let set: HashSet<_> =
            ["a@B.c", "a@b.C", "A@b.c", "\"a\"@b.c"].into_iter().map(of).collect();
        assert_eq!(set.len(), 2);
        assert_eq!((of("a@B.c").local_part(), of("a@B.c").domain()), ("a", "B.c"));
    }

    #[test]
    fn mailboxes_of_parts() {
        let new = |local, domain| Mailbox::new(local, domain).ok().map(|m| m.to_string());
        assert_eq!(new("a", "b").as_deref(), Some("a@b"));
        assert_eq!(new("\"a b\"", "b").as_deref(), Some("\"a b\"@b"));
        for (local, domain) in [("a b", "b"), ("a@b", "c"), ("a", "b c"), ("a", ""), ("", "b")] {
            assert_eq!(new(local, domain), None);
        }
    }

    #[test]
    fn paths_become_mailboxes() {
        let path = |local, domain| PathRef { local, domain };
        assert_eq!(path("a", Some("b")).to_mailbox("x").as_str(), "a@b");
        assert_eq!(path("postmaster", None).to_mailbox("x").as_str(), "postmaster@x");
        assert_eq!(path("postmaster", None).to_mailbox("x y").as_str(), "postmaster@localhost");
        assert_eq!(ReversePath::from_event(None, "x").to_string(), "");
        assert_eq!(ReversePath::from_event(Some(path("a", None)), "x").to_string(), "a@x");
    }
}
