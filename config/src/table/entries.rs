//! The content of a table in memory, laid out for each way of asking: exact keys in a hash map,
//! patterns and networks apart. A look-up does not get slower with the number of entries, only
//! with that of patterns that are not `*.domain`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::matching::a_labels;
use super::patterns::Patterns;
use super::regexes::Regexes;
use super::{Query, Service, lower};

/// So many keys are sooner compared than one is hashed. Most tables are a word or two of a rule.
pub(super) const FEW: usize = 2;

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Empty in lists.
    pub value: Box<str>,
    /// Line of the file, counted from 1; 0 in maps, which have none.
    pub line: u32,
    /// How many came before it.
    nth: u32,
    /// The key is written with capitals.
    capitals: bool,
}

/// Keys, perhaps with values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    map: HashMap<Box<str>, Entry>,
    /// Keys whose domain is written with U-labels (RFC 5890), by the A-labels that sessions have.
    spelled: HashMap<Box<str>, Box<str>>,
    /// Entries as their keys are written, where that is with capitals or beside such a key.
    written: HashMap<Box<str>, Entry>,
    patterns: Patterns,
    regexes: Regexes,
}

impl Entries {
    /// Adds an entry; the last one of a key counts. True when the key was there already.
    pub fn insert(&mut self, key: &str, value: &str, line: u32) -> bool {
        let written = key;
        let key: Box<str> = lower(key).into();
        let capitals = *key != *written;
        let nth = u32::try_from(self.map.len()).unwrap_or(u32::MAX);
        let entry = Entry { value: value.into(), line, nth, capitals };
        if capitals {
            self.written.insert(written.into(), entry.clone());
        }
        if let Some(known) = self.map.get_mut(&key) {
            if capitals && !known.capitals {
                self.written.insert(key, known.clone());
            } else if !capitals {
                self.written.remove(&key);
            }
            *known = Entry { nth: known.nth, ..entry };
            return true;
        }
        let spelled = a_labels(&key);
        self.patterns.insert(spelled.as_deref().unwrap_or(&key));
        if let Some(spelled) = spelled {
            self.spelled.insert(spelled, key.clone());
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

    /// The values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.map.values().map(|entry| &*entry.value)
    }

    /// Keys, in lower case, and entries, in no order.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.map.iter().map(|(key, entry)| (&**key, entry))
    }

    /// Keys and entries in the order of the keys' octets.
    pub fn sorted(&self) -> Vec<(&str, &Entry)> {
        let mut all: Vec<_> = self.map.iter().map(|(key, entry)| (&**key, entry)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Whether the key is there in that spelling.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.written.contains_key(key) || self.map.get(key).is_some_and(|entry| !entry.capitals)
    }

    /// Keys and entries in the order in which they are written.
    pub fn in_order(&self) -> Vec<(&str, &Entry)> {
        let mut all: Vec<_> = self.map.iter().map(|(key, entry)| (&**key, entry)).collect();
        all.sort_unstable_by_key(|(_, entry)| entry.nth);
        all
    }

    /// The entry of a lower-case key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        if self.map.len() <= FEW && self.spelled.is_empty() {
            return self.map.iter().find(|(known, _)| ***known == *key).map(|(_, entry)| entry);
        }
        self.map.get(key).or_else(|| self.map.get(self.spelled.get(key)?))
    }

    /// The entry of a key. Logins and labels that differ only by case are different where there
    /// are several.
    pub(super) fn find(&self, service: Service, key: &str) -> Option<&Entry> {
        let written = if service == Service::Credentials { self.written.get(key) } else { None };
        written.or_else(|| self.get(&lower(key)))
    }

    /// Whether something matches the lower-case key of a query.
    pub(crate) fn contains(&self, query: &Query<'_>, key: &str) -> bool {
        match query.service {
            Service::Regex => self.regexes.is_match(key, self.map.keys().map(|key| &**key)),
            _ => self.patterns.match_key(query, key, |key| self.get(key).is_some()),
        }
    }

    /// Compiles the keys as regular expressions, so that no look-up has to.
    pub(crate) fn compile(&self) {
        self.regexes.is_match("", self.map.keys().map(|key| &**key));
    }

    /// Whether every address of that network is in one of the entries' networks.
    pub(crate) fn covers_network(&self, key: &str) -> bool {
        self.patterns.covers(key)
    }

    pub(super) fn contains_ip(&self, ip: IpAddr) -> bool {
        self.patterns.ip(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_may_differ_by_case() {
        let mut entries = Entries::default();
        for (key, value) in [("bob", "1"), ("Bob", "2"), ("ANN", "3"), ("Label", "4")] {
            entries.insert(key, value, 1);
        }
        let login = |key: &str| entries.find(Service::Credentials, key).map(|e| &*e.value);
        assert_eq!((login("bob"), login("Bob")), (Some("1"), Some("2")));
        // Where there is one only, case does not matter.
        assert_eq!((login("ann"), login("ANN"), login("label")), (Some("3"), Some("3"), Some("4")));
        assert_eq!(login("eve"), None);
        let other = |key: &str| entries.find(Service::Alias, key).map(|e| &*e.value);
        assert_eq!((other("bob"), other("Bob")), (Some("2"), Some("2")));
        let mut again = entries.clone();
        again.insert("bob", "5", 2);
        let login = |key: &str| again.find(Service::Credentials, key).map(|e| &*e.value);
        assert_eq!((login("bob"), login("Bob")), (Some("5"), Some("2")));
    }
}
