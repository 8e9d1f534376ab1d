//! The content of a table in memory, laid out for each way of asking: exact keys in a hash map,
//! patterns apart in a list, networks by their prefix length. A look-up does not get slower with
//! the number of entries, only with that of patterns.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::lower;
use super::matching::{a_labels, glob, network, split};

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Empty in lists.
    pub value: Box<str>,
    /// Line of the file, counted from 1.
    pub line: u32,
}

/// Keys, perhaps with values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    map: HashMap<Box<str>, Entry>,
    /// Keys whose domain is written with U-labels (RFC 5890), by the A-labels that sessions have.
    spelled: HashMap<Box<str>, Box<str>>,
    /// Keys with a `*`, with A-labels.
    patterns: Vec<Box<str>>,
    networks: HashSet<IpNet>,
    /// Prefix lengths that occur in `networks`: IPv4, IPv6.
    prefixes: [Vec<u8>; 2],
}

impl Entries {
    /// Adds an entry; the last one of a key counts. True when the key was there already.
    pub fn insert(&mut self, key: &str, value: &str, line: u32) -> bool {
        let key: Box<str> = lower(key).into();
        let entry = Entry { value: value.into(), line };
        if let Some(known) = self.map.get_mut(&key) {
            *known = entry;
            return true;
        }
        let spelled = a_labels(&key);
        if key.contains('*') {
            self.patterns.push(spelled.clone().unwrap_or_else(|| key.clone()));
        }
        if let Some(spelled) = spelled {
            self.spelled.insert(spelled, key.clone());
        }
        if let Some(net) = network(&key) {
            let prefixes = &mut self.prefixes[usize::from(net.addr().is_ipv6())];
            if !prefixes.contains(&net.prefix_len()) {
                prefixes.push(net.prefix_len());
            }
            self.networks.insert(net);
        }
        self.map.insert(key, entry);
        false
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Keys and entries in the order of the keys' octets.
    pub fn sorted(&self) -> Vec<(&str, &Entry)> {
        let mut all: Vec<_> = self.map.iter().map(|(key, entry)| (&**key, entry)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// The entry of a lower-case key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.map.get(key).or_else(|| self.map.get(self.spelled.get(key)?))
    }

    pub(super) fn contains_domain(&self, domain: &str) -> bool {
        self.get(domain).is_some() || self.patterns.iter().any(|entry| glob(entry, domain))
    }

    pub(super) fn contains_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.prefixes[usize::from(ip.is_ipv6())].iter().any(|prefix| {
            IpNet::new(ip, *prefix).is_ok_and(|net| self.networks.contains(&net.trunc()))
        })
    }

    /// A `user@domain` (or `@`, the null sender) against entries `user@domain`, `@domain`, `user`
    /// and `@`. The user's sub-address is looked at only by entries that have one.
    pub(super) fn contains_address(&self, address: &str, delimiter: char) -> bool {
        let has = |key: &str| self.get(key).is_some();
        if has("@") {
            return true;
        }
        let (user, domain) = split(address);
        let bare = user.split(delimiter).next().unwrap_or(user);
        if !user.is_empty() && (has(user) || has(bare)) {
            return true;
        }
        // An entry `user@` has no domain: it is `user`.
        let with_at = |user: &str| !user.is_empty() && has(&format!("{user}@"));
        if let Some(domain) = domain {
            let at = address.len() - domain.len() - 1;
            if !domain.is_empty() && (has(&address[at..]) || has(address)) {
                return true;
            }
            if bare.len() < user.len() && has(&format!("{bare}@{domain}")) {
                return true;
            }
        }
        with_at(user)
            || (bare.len() < user.len() && with_at(bare))
            || self.patterns.iter().any(|entry| {
                let (wanted, pattern) = split(entry);
                let pattern = pattern.unwrap_or("");
                let user = if wanted.contains(delimiter) { user } else { bare };
                (wanted.is_empty() || wanted == user)
                    && (pattern.is_empty() || glob(pattern, domain.unwrap_or("")))
            })
    }
}
