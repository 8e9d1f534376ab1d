//! What a listener knows of those who log in (table(5), credentials and mailaddrmap): what is
//! stored of their passwords, and which senders they may be.

use smtpd_engine::address::Mailbox;

use crate::alias;
use crate::config::Config;
use crate::listen::Senders;
use crate::surroundings::Outside;
use crate::table::{Backend, Entries, Entry, LookupError, Query, Service, Table, passwd_hash};

/// Begins what is stored for SCRAM-SHA-256 (RFC 5803).
const SCRAM: &str = "SCRAM-SHA-256$";

/// Octets of a value of credentials, as upstream.
const VALUE: std::ops::Range<usize> = 3..2048;

/// What is stored of a password, from a value of credentials: `HASH` or `USER:HASH`.
///
/// # Errors
/// When the value is none.
pub fn stored(value: &str) -> Result<&str, LookupError> {
    if !VALUE.contains(&value.len()) {
        return Err(LookupError::BadValue);
    }
    // It has a colon of its own.
    if value.starts_with(SCRAM) {
        return Ok(value);
    }
    match value.split_once(':') {
        None => Ok(value),
        Some((user, hash)) if !user.is_empty() && !hash.is_empty() => Ok(hash),
        Some(_) => Err(LookupError::BadValue),
    }
}

impl Table {
    /// Everybody in memory who has something stored that can be read, and what it is, in no order:
    /// the same as a look-up finds.
    pub fn hashes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.each().filter_map(|(key, entry)| Some((key, self.hash(entry).ok()??)))
    }

    /// What is stored of a password in an entry; none for somebody who cannot log in.
    ///
    /// # Errors
    /// When the value is none of credentials.
    pub(crate) fn hash<'e>(&self, entry: &'e Entry) -> Result<Option<&'e str>, LookupError> {
        match self.backend {
            Backend::Passwd(_) => Ok(passwd_hash(&entry.value)),
            _ => stored(&entry.value).map(Some),
        }
    }

    /// Whether everybody in it can log in by SCRAM, so that it may be offered: a client that can
    /// does so, and does not try anything else. Only what is in memory is known so well.
    #[must_use]
    pub fn is_all_scram(&self) -> bool {
        matches!(self.backend, Backend::Inline | Backend::File(_))
            && !self.entries.is_empty()
            && self.entries.values().all(|value| stored(value).is_ok_and(is_scram))
    }
}

fn is_scram(hash: &str) -> bool {
    hash.starts_with(SCRAM)
}

/// Whether this looks like a hash: `$id$...`, an entry of SCRAM, or 13 characters of the oldest
/// kind.
#[must_use]
pub fn is_hash(value: &str) -> bool {
    let old = |octet: u8| octet.is_ascii_alphanumeric() || b"./".contains(&octet);
    stored(value).is_ok_and(|hash| {
        hash.starts_with('$') || is_scram(hash) || (hash.len() == 13 && hash.bytes().all(old))
    })
}

impl Config {
    /// Whether somebody who has logged in may use that sender; the null one is the key `@`.
    ///
    /// # Errors
    /// When it cannot be said.
    pub fn may_send_as(
        &self,
        senders: &Senders,
        user: &str,
        sender: Option<&Mailbox>,
        outside: &dyn Outside,
    ) -> Result<bool, LookupError> {
        let table = self.tables.get(senders.table);
        let Some(value) = table.value(Service::MailAddrMap, user, outside)? else {
            return Ok(false);
        };
        let mut patterns = Entries::default();
        for pattern in alias::elements(&value).map_err(|_| LookupError::BadValue)? {
            patterns.insert(&pattern, "", 0);
        }
        let key = sender.map_or("@", Mailbox::as_str);
        let delimiters = &self.smtp.sub_addr_delim;
        let query = Query { service: Service::MailAddr, key, delimiters, deep: false };
        Ok(patterns.contains(&query, &crate::table::lower(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_hash_or_a_user_and_a_hash() {
        assert_eq!(stored("$6$x$y"), Ok("$6$x$y"));
        assert_eq!(stored("joe:$6$x$y"), Ok("$6$x$y"));
        assert_eq!(
            stored("SCRAM-SHA-256$4096:c2FsdA==$a:b"),
            Ok("SCRAM-SHA-256$4096:c2FsdA==$a:b")
        );
        assert_eq!(stored("joe:SCRAM-SHA-256$1:c$a:b"), Ok("SCRAM-SHA-256$1:c$a:b"));
        for bad in ["", "ab", ":hash", "user:", &"x".repeat(2048)] {
            assert_eq!(stored(bad), Err(LookupError::BadValue), "{bad}");
        }
        assert!(is_hash("joe:$6$x$y") && is_hash("abcdefghijk./") && is_hash("SCRAM-SHA-256$x"));
        assert!(!is_hash("secret") && !is_hash("joe:secret"));
    }

    #[test]
    fn the_hashes_of_a_table_are_those_that_look_ups_find() {
        let lines = b"joe:$6$x$y:1001:100:Joe:/home/joe:/bin/sh\n_a:*:7:8\nlocked:!$6$x$y:9:9\n\
                      sue:secret\n";
        let table = |backend, entries| Table {
            name: "users".into(),
            position: None,
            backend,
            shape: crate::table::Shape::Map,
            entries,
        };
        let passwd = table(Backend::Passwd("x".into()), crate::table::parse_passwd(lines).0);
        let mut found: Vec<_> = passwd.hashes().collect();
        found.sort_unstable();
        assert_eq!(found, [("joe", "$6$x$y"), ("sue", "secret")]);
        let mut entries = Entries::default();
        entries.insert("Ann", "ann:$2b$10$x", 1);
        entries.insert("damaged", "damaged:", 2);
        let inline = table(Backend::Inline, entries);
        assert_eq!(inline.hashes().collect::<Vec<_>>(), [("ann", "$2b$10$x")]);
        let damaged = inline.entries.get("damaged").unwrap();
        assert_eq!(inline.hash(damaged), Err(LookupError::BadValue));
    }
}
