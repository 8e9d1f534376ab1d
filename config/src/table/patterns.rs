//! What of a table cannot be found by looking up one key: domains with a `*`, networks.
//!
//! By far the most patterns are `*.example.org` and `@*.example.org`. These are found by the
//! labels of the domain that is asked for; only other patterns are tried one after the other.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::entries::FEW;
use super::matching::{glob, network, split};
use super::{Query, Service};

/// The patterns among the keys of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Patterns {
    /// `example.org` for each `*.example.org`.
    below: HashSet<Box<str>>,
    /// `example.org` for each `@*.example.org`.
    addresses_below: HashSet<Box<str>>,
    /// All other keys with a `*`.
    others: Vec<Box<str>>,
    networks: HashSet<IpNet>,
    /// Prefix lengths that occur in `networks`: IPv4, IPv6.
    prefixes: [Vec<u8>; 2],
    forms: Forms,
}

/// Which forms of addresses there are among all keys: an address is looked up as far as one of
/// its forms could be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Forms {
    /// `@`
    null: bool,
    /// `user`
    user: bool,
    /// `@domain`
    domain: bool,
    /// `user@domain`
    address: bool,
    /// `user@`
    open: bool,
}

impl Forms {
    fn insert(&mut self, key: &str) {
        *match (key, split(key)) {
            ("@", _) => &mut self.null,
            (_, (_, None)) => &mut self.user,
            (_, ("", _)) => &mut self.domain,
            (_, (_, Some(""))) => &mut self.open,
            _ => &mut self.address,
        } = true;
    }
}

impl Patterns {
    /// Adds a lower-case key that may be a pattern, its domain in A-labels.
    pub fn insert(&mut self, key: &str) {
        self.forms.insert(key);
        if let Some(domain) = below(key) {
            self.below.insert(domain.into());
        } else if let Some(domain) = key.strip_prefix('@').and_then(below) {
            self.addresses_below.insert(domain.into());
        } else if key.contains('*') {
            self.others.push(key.into());
        } else if let Some(net) = network(key) {
            let prefixes = &mut self.prefixes[usize::from(net.addr().is_ipv6())];
            if !prefixes.contains(&net.prefix_len()) {
                prefixes.push(net.prefix_len());
            }
            self.networks.insert(net);
        }
    }

    /// Whether something in the table matches a lower-case key. `exact` says whether a key is
    /// there as it is written.
    pub fn match_key(
        &self,
        query: &Query<'_>,
        key: &str,
        mut exact: impl FnMut(&str) -> bool,
    ) -> bool {
        match query.service {
            Service::Domain => exact(key) || self.domain(key, query.deep),
            Service::MailAddr => self.address(query, key, exact),
            Service::NetAddr => {
                exact(key) || network(key).is_some_and(|single| self.ip(single.addr()))
            }
            _ => exact(key),
        }
    }

    fn domain(&self, domain: &str, deep: bool) -> bool {
        is_below(&self.below, domain, deep)
            || self.others.iter().any(|pattern| glob_domain(pattern, domain, deep))
    }

    /// Whether an address is in one of the networks.
    pub fn ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.prefixes[usize::from(ip.is_ipv6())].iter().any(|prefix| {
            IpNet::new(ip, *prefix).is_ok_and(|net| self.networks.contains(&net.trunc()))
        })
    }

    /// Whether every address of that network is in one of the networks.
    pub fn covers(&self, key: &str) -> bool {
        let Some(net) = network(key) else { return false };
        let prefixes = &self.prefixes[usize::from(net.addr().is_ipv6())];
        prefixes.iter().filter(|prefix| **prefix <= net.prefix_len()).any(|prefix| {
            IpNet::new(net.addr(), *prefix).is_ok_and(|net| self.networks.contains(&net.trunc()))
        })
    }

    /// A `user@domain` (or `@`, the null sender) against entries `user@domain`, `@domain`, `user`
    /// and `@`. The user's sub-address is looked at only by entries that have one.
    fn address(
        &self,
        query: &Query<'_>,
        address: &str,
        mut exact: impl FnMut(&str) -> bool,
    ) -> bool {
        let forms = self.forms;
        if forms.null && exact("@") {
            return true;
        }
        let (user, domain) = split(address);
        // A quoted user may hold an `@` of its own, and then be an entry that looks like an address.
        let users = forms.user || user.contains('@');
        let needs_bare = users || forms.address || forms.open || !self.others.is_empty();
        let bare = if needs_bare { query.bare(user) } else { user };
        if users && !user.is_empty() && (exact(user) || (bare.len() < user.len() && exact(bare))) {
            return true;
        }
        if let Some(domain) = domain.filter(|domain| !domain.is_empty()) {
            let at = address.len() - domain.len() - 1;
            if (forms.domain && exact(&address[at..])) || (forms.address && exact(address)) {
                return true;
            }
            if forms.address && bare.len() < user.len() && exact(&format!("{bare}@{domain}")) {
                return true;
            }
            if is_below(&self.addresses_below, domain, query.deep) {
                return true;
            }
        }
        // An entry `user@` has no domain: it is `user`.
        for user in [user, bare] {
            if forms.open && !user.is_empty() && exact(&format!("{user}@")) {
                return true;
            }
        }
        self.others.iter().any(|entry| {
            let (wanted, pattern) = split(entry);
            let pattern = pattern.unwrap_or("");
            let user = if query.bare(wanted).len() < wanted.len() { user } else { bare };
            (wanted.is_empty() || wanted == user)
                && (pattern.is_empty() || glob_domain(pattern, domain.unwrap_or(""), query.deep))
        })
    }
}

/// `example.org` of `*.example.org`.
fn below(key: &str) -> Option<&str> {
    key.strip_prefix("*.").filter(|domain| !domain.contains(['*', '@']))
}

/// Whether the domain is below one of these; at any depth, or by one label only.
fn is_below(domains: &HashSet<Box<str>>, domain: &str, deep: bool) -> bool {
    if domains.is_empty() {
        return false;
    }
    let depth = if deep { usize::MAX } else { 1 };
    domain.match_indices('.').map(|(dot, _)| &domain[dot + 1..]).take(depth).any(|parent| {
        if domains.len() <= FEW {
            domains.iter().any(|known| **known == *parent)
        } else {
            domains.contains(parent)
        }
    })
}

/// [`glob`], or with `deep` a `*.` at the beginning for any number of labels.
fn glob_domain(pattern: &str, domain: &str, deep: bool) -> bool {
    match pattern.strip_prefix("*.").filter(|_| deep) {
        Some(rest) => domain.match_indices('.').any(|(dot, _)| glob(rest, &domain[dot + 1..])),
        None => glob(pattern, domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(entries: &[&str], service: Service, key: &str, deep: bool) -> bool {
        let mut patterns = Patterns::default();
        entries.iter().for_each(|entry| patterns.insert(entry));
        let query = Query { service, key, delimiters: "+", deep };
        patterns.match_key(&query, key, |key| entries.contains(&key))
    }

    #[test]
    fn a_star_takes_one_label_or_many() {
        let domain = |deep, key| is(&["*.example.org", "mx*.*.net"], Service::Domain, key, deep);
        for deep in [false, true] {
            assert!(domain(deep, "a.example.org") && domain(deep, "mx1.a.net"));
            assert!(!domain(deep, "example.org") && !domain(deep, "aexample.org"));
        }
        assert!(domain(true, "a.b.example.org") && !domain(false, "a.b.example.org"));
        // Only a star that stands for whole labels goes on.
        assert!(!domain(true, "mx1.a.b.net"));
        let address =
            |deep, key| is(&["@*.example.org", "joe@*.a.*"], Service::MailAddr, key, deep);
        assert!(address(false, "x@a.example.org") && !address(false, "x@a.b.example.org"));
        assert!(address(true, "x@a.b.example.org") && !address(true, "x@example.org"));
        assert!(address(true, "joe+t@x.y.a.net") && !address(false, "joe@x.y.a.net"));
        assert!(!address(true, "ann@x.y.a.net"));
    }

    #[test]
    fn forms_that_are_not_there_are_not_missed() {
        let parts = ["", "a", "b", "a+t", "\"a@b\"", "a.b", "@"];
        let texts: Vec<String> = parts
            .iter()
            .flat_map(|user| parts.iter().map(move |domain| format!("{user}@{domain}")))
            .chain(parts.iter().map(|part| (*part).to_owned()))
            .collect();
        let all = Forms { null: true, user: true, domain: true, address: true, open: true };
        let mut found = 0;
        for entry in &texts {
            let mut patterns = Patterns::default();
            patterns.insert(entry);
            for key in &texts {
                let query = Query { service: Service::MailAddr, key, delimiters: "+", deep: true };
                let asked = |patterns: &Patterns| patterns.match_key(&query, key, |k| k == entry);
                let is = asked(&patterns);
                let patterns = Patterns { forms: all, ..patterns.clone() };
                assert_eq!(is, asked(&patterns), "{key} among {entry}");
                found += usize::from(is);
            }
        }
        assert!(found > texts.len(), "{found}");
    }

    #[test]
    fn clients_are_text_too() {
        let client =
            |key| is(&["192.0.2.0/24", "local", "2001:db8::/32"], Service::NetAddr, key, false);
        assert!(client("192.0.2.7") && client("local") && client("[2001:db8::1]"));
        assert!(!client("192.0.3.7") && !client("[2001:db9::1]") && !client("x"));
    }
}
