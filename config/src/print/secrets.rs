//! Which tables have values that anybody may see.
//!
//! A table that authenticates holds passwords, whatever else it is used for. Of a table that
//! nobody uses, or of which only the keys are used, nothing is known: its values are secrets too.

use std::collections::HashSet;

use crate::action::{Aliases, Method, Route, Userbase};
use crate::config::Config;
use crate::listen::Auth;
use crate::table::TableId;

/// The tables whose values are names, addresses and paths.
pub(super) fn harmless(config: &Config) -> HashSet<TableId> {
    let mut harmless = HashSet::new();
    let mut secret = Vec::new();
    for listen in &config.listeners {
        if let Auth::Optional(Some(table)) | Auth::Require(Some(table)) = listen.auth {
            secret.push(table);
        }
        harmless.extend(listen.hostnames);
        harmless.extend(listen.senders.map(|senders| senders.table));
    }
    for action in config.actions() {
        match &action.method {
            Method::Local(local) => {
                if let Aliases::Alias(table) | Aliases::Virtual(table) = local.aliases {
                    harmless.insert(table);
                }
                if let Userbase::Table(table) = local.userbase {
                    harmless.insert(table);
                }
            }
            Method::Relay(relay) => {
                secret.extend(relay.auth);
                harmless.extend(relay.helo_src);
                if let Route::Domains(table) = relay.route {
                    harmless.insert(table);
                }
            }
        }
    }
    for table in secret {
        harmless.remove(&table);
    }
    harmless
}
