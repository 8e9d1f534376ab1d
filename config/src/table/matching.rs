//! How single keys match: domains with `*`, networks, the parts of an address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use smtpd_engine::address::Mailbox;

/// Whether a domain matches a pattern, both lower-case, without backtracking as upstream: a `*`
/// goes on to the next occurrence of the character behind it. So `*.example.org` matches
/// `a.example.org` and not `a.b.example.org`, and `*` matches everything but the empty text.
pub(super) fn glob(pattern: &str, subject: &str) -> bool {
    let (pattern, subject) = (pattern.as_bytes(), subject.as_bytes());
    let (mut p, mut s) = (0, 0);
    while p < pattern.len() && s < subject.len() {
        if pattern[p] == b'*' {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            while s < subject.len() && pattern.get(p) != Some(&subject[s]) {
                s += 1;
            }
        } else if pattern[p] == subject[s] {
            p += 1;
            s += 1;
        } else {
            return false;
        }
    }
    p == pattern.len() && s == subject.len()
}

/// The parts of an address at its last `@`; without one it is all user.
pub(super) fn split(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (address, None),
    }
}

/// The key with the A-labels of its domain, if it has U-labels: `@bücher.example` is also
/// `@xn--bcher-kva.example`. Label by label, as a `*` is none.
pub(super) fn a_labels(key: &str) -> Option<Box<str>> {
    if key.is_ascii() {
        return None;
    }
    let at = key.rfind('@').map_or(0, |at| at + 1);
    let (user, domain) = key.split_at(at);
    let mut changed = user.to_owned();
    for (nth, label) in domain.split('.').enumerate() {
        if nth > 0 {
            changed.push('.');
        }
        match Mailbox::new("x", label) {
            Ok(mailbox) if !label.is_ascii() => changed.push_str(mailbox.domain()),
            _ => changed.push_str(label),
        }
    }
    (changed != key).then(|| changed.into())
}

/// A network or a single address: `192.0.2.0/24`, `10/8`, `2001:db8::/32`, `[::1]`,
/// `[2001:db8::]/32`, `IPv6:::1`. Its bits past the prefix are cleared.
pub(super) fn network(key: &str) -> Option<IpNet> {
    let key = match key.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => &key[5..],
        _ => key,
    };
    let (address, prefix) = match key.rsplit_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (key, None),
    };
    let address = match address.strip_prefix('[') {
        Some(rest) => {
            let rest = rest.strip_suffix(']')?;
            match rest.get(..5) {
                Some(tag) if tag.eq_ignore_ascii_case("ipv6:") => &rest[5..],
                _ => rest,
            }
        }
        None => address,
    };
    let ip: IpAddr = match address.parse() {
        Ok(ip) => ip,
        Err(_) => short(address, prefix.is_some())?.into(),
    };
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(text) if text.len() <= 3 && text.bytes().all(|o| o.is_ascii_digit()) => {
            text.parse().ok()?
        }
        Some(_) => return None,
    };
    Some(IpNet::new(ip, prefix).ok()?.trunc())
}

/// `10/8`, `192.168/16`: the octets that are not written are 0.
fn short(address: &str, has_prefix: bool) -> Option<Ipv4Addr> {
    if !has_prefix || address.len() > 15 {
        return None;
    }
    let mut octets = [0; 4];
    for (count, part) in address.trim_end_matches('.').split('.').enumerate() {
        if part.is_empty() || !part.bytes().all(|o| o.is_ascii_digit()) {
            return None;
        }
        *octets.get_mut(count)? = part.parse().ok()?;
    }
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stops_at_the_next_character_of_the_pattern() {
        assert!(glob("*.example.org", "a.example.org"));
        assert!(!glob("*.example.org", "a.b.example.org"));
        assert!(!glob("*.example.org", "example.org"));
        assert!(glob("*", "anything") && glob("**", "anything") && !glob("*", ""));
        assert!(glob("foo*", "foobar") && !glob("foo*", "foo"));
        assert!(glob("", "") && !glob("", "a") && !glob("example.org", "a.example.org"));
    }

    #[test]
    fn u_labels_have_a_second_spelling() {
        let is = |key: &str, spelled: Option<&str>| assert_eq!(a_labels(key).as_deref(), spelled);
        is("joe@bücher.example", Some("joe@xn--bcher-kva.example"));
        is("*.bücher.example", Some("*.xn--bcher-kva.example"));
        is("jösé@a.example", None);
        is("a.example", None);
    }

    #[test]
    fn networks_have_many_spellings() {
        let net = |text: &str| network(text).map(|net| net.to_string());
        assert_eq!(net("10/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(net("192.168.1.7/16").as_deref(), Some("192.168.0.0/16"));
        assert_eq!(net("192.0.2.1").as_deref(), Some("192.0.2.1/32"));
        assert_eq!(net("[::1]").as_deref(), Some("::1/128"));
        assert_eq!(net("[2001:db8::1]/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(net("ipv6:2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(net("[ipv6:2001:db8::]").as_deref(), Some("2001:db8::/128"));
        for bad in ["10", "300/8", "10/33", "10.0.0.0/+8", "[::1", "a/8", "1.2.3.4.5/8", "/8", ""] {
            assert_eq!(net(bad), None, "{bad}");
        }
    }
}
