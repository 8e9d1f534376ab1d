//! Names as the resolver keeps them (RFC 1035 section 2.3).

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use smtpd_engine::address;

/// A domain name of printable ASCII, lower case, without the final dot; at most 253 octets, its
/// labels at most 63. The root is none. Address literals and addresses are of this form, too, and
/// the resolver answers for them at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name written as `text`, if it can be one. The final dot may be there.
    #[must_use]
    pub fn new(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        // A backslash would begin an escape in the presentation of a name.
        let is_octet = |c: u8| c.is_ascii_graphic() && c != b'\\';
        let is_label = |label: &str| (1..=63).contains(&label.len());
        (text.len() <= 253 && text.bytes().all(is_octet) && text.split('.').all(is_label))
            .then(|| Name(text.to_ascii_lowercase().into()))
    }

    /// The name that the PTR records of an address belong to (RFC 1035 section 3.5, RFC 3596
    /// section 2.5).
    pub(super) fn reverse(ip: IpAddr) -> Name {
        let mut text = String::with_capacity(72);
        // Writing to a string does not fail.
        let _ = match ip {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                write!(text, "{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                for octet in v6.octets().iter().rev() {
                    let _ = write!(text, "{:x}.{:x}.", octet & 15, octet >> 4);
                }
                text.write_str("ip6.arpa")
            }
        };
        Name(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it can be the name of a host: letters, digits, `-`, `_` and dots.
    pub(super) fn is_host(&self) -> bool {
        address::is_host_name(&self.0)
    }

    /// The address it is by itself.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0.starts_with('[') {
            true => address::literal(&self.0),
            false => self.0.parse().ok(),
        }
    }

    /// Whether it is this machine (RFC 6761 section 6.3).
    pub(super) fn is_localhost(&self) -> bool {
        &*self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_without_case_and_final_dot() {
        assert_eq!(Name::new("MX.Example.org."), Name::new("mx.example.org"));
        assert!(Name::new("4.0/25.2.0.192.in-addr.arpa").is_some_and(|name| !name.is_host()));
        let long = "abcdefg.".repeat(32);
        for bad in ["", ".", "a..b", ".a", "a b", "ü.org", "a\\.b", "a\r\n", &"a".repeat(64), &long]
        {
            assert!(Name::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_know_themselves_and_their_reverse_names() {
        let address = |text| Name::new(text).and_then(|name| name.address());
        assert_eq!(address("[192.0.2.1]"), "192.0.2.1".parse().ok());
        assert_eq!(address("[IPv6:2001:DB8::1]"), "2001:db8::1".parse().ok());
        assert_eq!(address("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(address("2001:db8::1"), "2001:db8::1".parse().ok());
        assert_eq!(address("192.0.2.1.example.org"), None);
        let reverse = |text: &str| Name::reverse(text.parse().unwrap()).to_string();
        assert_eq!(reverse("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert_eq!(
            reverse("2001:db8::567:89ab"),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
