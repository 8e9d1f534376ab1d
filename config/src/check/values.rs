//! What stands in tables, looked at as those see it who ask for it: source addresses, smarthosts,
//! credentials. Secrets are never shown.

use std::collections::HashSet;
use std::net::IpAddr;

use smtpd_engine::address::is_host_name;

use crate::action::{Method, Route};
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::listen::Auth;
use crate::login::is_hash;
use crate::table::TableId;
use crate::url::RelayUrl;

use super::entry_position;

/// What an entry must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Is {
    /// Keys are addresses.
    Source,
    /// Keys are addresses, values host names.
    HostName,
    /// Values are relay URLs.
    Url,
    /// Values are `user:password`.
    Credentials,
    /// Values are password hashes.
    Hash,
}

pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut uses: Vec<(Is, TableId)> = Vec::new();
    for action in config.actions() {
        let Method::Relay(relay) = &action.method else { continue };
        uses.extend(relay.src.map(|table| (Is::Source, table)));
        uses.extend(relay.helo_src.map(|table| (Is::HostName, table)));
        uses.extend(relay.auth.map(|table| (Is::Credentials, table)));
        if let Route::Domains(table) = relay.route {
            uses.push((Is::Url, table));
        }
    }
    for listen in &config.listeners {
        uses.extend(listen.hostnames.map(|table| (Is::HostName, table)));
        if let Auth::Optional(Some(table)) | Auth::Require(Some(table)) = listen.auth {
            uses.push((Is::Hash, table));
        }
    }
    let mut seen = HashSet::new();
    uses.retain(|one| seen.insert(*one));
    uses.into_iter().flat_map(|(is, id)| look(config, is, id)).collect()
}

fn look(config: &Config, is: Is, id: TableId) -> Vec<Diagnostic> {
    let table = config.tables.get(id);
    let mut found = Vec::new();
    for (key, entry) in table.entries.sorted() {
        let (message, help) = match is {
            Is::Source | Is::HostName if !is_address(key) => {
                (format!("\"{key}\" is not an address"), "write an address, as in 192.0.2.1")
            }
            Is::HostName if !is_host_name(&entry.value) => {
                (format!("\"{}\" is not a host name", entry.value), "write a host name")
            }
            Is::Url => match RelayUrl::parse(&entry.value) {
                Ok(_) => continue,
                Err(why) => {
                    let message = format!("{key}: invalid relay URL {}: {why}", entry.value);
                    (message, "mail for it waits until this is corrected")
                }
            },
            Is::Credentials if !entry.value.contains(':') => (
                format!("the credentials of {key} have no \":\""),
                "write LABEL USER:PASSWORD; mail for it waits until then",
            ),
            Is::Hash if !table.hash(entry).is_ok_and(|hash| hash.is_none_or(is_hash)) => (
                format!("the password of {key} is not hashed"),
                "write its hash, which smtpctl encrypt makes; nobody can log in with it as it is",
            ),
            _ => continue,
        };
        let warning = Diagnostic::warning(message).help(help);
        found.push(match entry_position(table, entry.line) {
            Some(position) => warning.at(position),
            None => warning,
        });
    }
    found
}

fn is_address(key: &str) -> bool {
    let bare = key.strip_prefix('[').and_then(|key| key.strip_suffix(']')).unwrap_or(key);
    let bare = bare.strip_prefix("ipv6:").unwrap_or(bare);
    bare.parse::<IpAddr>().is_ok()
}
