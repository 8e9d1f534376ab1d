//! Domains: names and address literals (RFC 5321 sections 4.1.2 and 4.1.3, RFC 5890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits;

/// Whether `text` can stand behind the `@` of an address: a host name, its UTF-8 form,
/// or an address literal.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    if text.starts_with('[') {
        literal(text).is_some()
    } else if text.is_ascii() {
        is_host_name(text)
    } else {
        to_ascii(text).is_some()
    }
}

/// Whether `text` is a host name: labels of letters, digits, `-` and `_`, neither the
/// first nor the last of a label being `-`, and no dot at the end.
///
/// RFC 5321 has no `_`; domains that begin with it, or hold it, receive mail.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=limits::LABEL).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= limits::DOMAIN && text.split('.').all(is_label)
}

/// The address of an address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`, and
/// `[2001:db8::1]`, which upstream writes and reads.
#[must_use]
pub fn literal(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if let Ok(v4) = inner.parse::<Ipv4Addr>() {
        return Some(v4.into());
    }
    let v6 = match inner.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPv6:") => v6,
        _ => inner,
    };
    v6.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

/// The A-labels of a name with U-labels (RFC 5891 as of UTS 46), if they are a host name.
pub(super) fn to_ascii(text: &str) -> Option<String> {
    // Bounds the work of the conversion; no longer name has A-labels that fit.
    if text.len() > 4 * limits::DOMAIN {
        return None;
    }
    idna::domain_to_ascii(text).ok().filter(|name| is_host_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in
            ["a", "localhost", "EXAMPLE.org", "xn--bcher-kva.example", "_dmarc.a_b.org", "1.2.3.4"]
        {
            assert!(is_host_name(good), "{good}");
        }
        let long = format!("{}.org", "a".repeat(64));
        let longer = "abcdefg.".repeat(32) + "a";
        assert_eq!(longer.len(), 257);
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a\r", "ä.org", &long, &longer]
        {
            assert!(!is_host_name(bad), "{bad:?}");
        }
        assert!(is_host_name(&longer[2..]));
    }

    #[test]
    fn literals() {
        for good in ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]", "[2001:db8::1]"] {
            assert!(literal(good).is_some(), "{good}");
            assert!(is_domain(good), "{good}");
        }
        for bad in ["[]", "[192.0.2.1", "[192.0.2]", "[x]", "[IPv6:]", "[fe80::1%em0]", "192.0.2.1"]
        {
            assert!(literal(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn u_labels_become_a_labels() {
        assert_eq!(to_ascii("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(to_ascii("BÜCHER.example").as_deref(), Some("xn--bcher-kva.example"));
        assert!(to_ascii("bü cher.example").is_none());
        assert!(to_ascii("bü..example").is_none());
        assert!(to_ascii(&"ü".repeat(2000)).is_none());
    }
}
