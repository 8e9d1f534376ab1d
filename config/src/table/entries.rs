//! The content of a table in memory, laid out for each way of asking: exact keys in a hash map,
//! patterns and networks apart. A look-up does not get slower with the number of entries, only
//! with that of patterns that are not `*.domain`.

use std::collections::HashMap;
use std::net::IpAddr;

use super::matching::a_labels;
use super::patterns::Patterns;
use super::{Query, lower};

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Empty in lists.
    pub value: Box<str>,
    /// Line of the file, counted from 1; 0 in maps, which have none.
    pub line: u32,
}

/// Keys, perhaps with values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    map: HashMap<Box<str>, Entry>,
    /// Keys whose domain is written with U-labels (RFC 5890), by the A-labels that sessions have.
    spelled: HashMap<Box<str>, Box<str>>,
    patterns: Patterns,
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

    /// Keys and entries in the order of the keys' octets.
    pub fn sorted(&self) -> Vec<(&str, &Entry)> {
        let mut all: Vec<_> = self.map.iter().map(|(key, entry)| (&**key, entry)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// The entry of a lower-case key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.map.get(key).or_else(|| self.map.get(self.spelled.get(key)?))
    }

    /// Whether something matches the lower-case key of a query.
    pub(crate) fn contains(&self, query: &Query<'_>, key: &str) -> bool {
        self.patterns.match_key(query, key, |key| self.get(key).is_some())
    }

    /// Whether every address of that network is in one of the entries' networks.
    pub(crate) fn covers_network(&self, key: &str) -> bool {
        self.patterns.covers(key)
    }

    pub(super) fn contains_ip(&self, ip: IpAddr) -> bool {
        self.patterns.ip(ip)
    }
}
