//! Names that are declared and not used.

use std::collections::HashSet;

use crate::action::{Aliases, Method, Route, Userbase};
use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::filter::{FilterCondition, FilterKind};
use crate::listen::Auth;
use crate::rules::{For, From, Verdict};
use crate::table::{Operand, TableId};

pub(super) fn check(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let used: HashSet<&str> = config
        .matches
        .iter()
        .filter_map(|rule| match rule.verdict {
            Verdict::Action(id) => Some(&*config.action_at(id).name),
            Verdict::Reject => None,
        })
        .collect();
    for action in config.actions().filter(|action| !used.contains(&*action.name)) {
        let warning = Diagnostic::warning(format!("action \"{}\" is never used", action.name))
            .help("write a match line for it, or take it away once no queued mail needs it");
        found.push(warning.at(action.position.clone()));
    }
    let tables = tables(config);
    for table in config.tables.iter().filter(|table| !table.name.starts_with('<')) {
        let used = config.tables.find(&table.name).is_some_and(|id| tables.contains(&id));
        if let (false, Some(position)) = (used, &table.position) {
            let message = format!("table \"{}\" is never used", table.name);
            let note = Diagnostic::note(message).help(format!("it is used as <{}>", table.name));
            found.push(note.at(position.clone()));
        }
    }
    let pki: HashSet<&String> = config.listeners.iter().flat_map(|l| &l.pki).collect();
    let relays = || {
        config.actions().filter_map(|action| match &action.method {
            Method::Relay(relay) => Some(relay),
            Method::Local(_) => None,
        })
    };
    let of_relays: HashSet<&String> = relays().filter_map(|relay| relay.pki.as_ref()).collect();
    for (name, line) in &config.pki {
        if !pki.contains(name) && !of_relays.contains(name) {
            let note = Diagnostic::note(format!("pki {name} is never used"));
            let note = note.help(format!("add pki {} to a listener", word(name)));
            found.push(note.at(line.position.clone()));
        }
    }
    let ca: HashSet<&String> = config
        .listeners
        .iter()
        .filter_map(|listen| listen.ca.as_ref())
        .chain(relays().filter_map(|relay| relay.ca.as_ref()))
        .collect();
    for (name, line) in config.ca.iter().filter(|(name, _)| !ca.contains(name)) {
        let note = Diagnostic::note(format!("ca {name} is never used"));
        let note = note.help(format!("add ca {} to a listener or a relay", word(name)));
        found.push(note.at(line.position.clone()));
    }
    found
}

/// A name of `pki` or `ca` as it is written.
fn word(name: &str) -> &str {
    if name == "*" { "\"*\"" } else { name }
}

/// Every table that something refers to.
fn tables(config: &Config) -> HashSet<TableId> {
    let mut used = HashSet::new();
    let mut operand = |operand: Option<Operand>| used.extend(operand.map(|o| o.table));
    for rule in &config.matches {
        operand(rule.tag.map(|test| test.what));
        operand(rule.helo.map(|test| test.what));
        operand(rule.mail_from.map(|test| test.what));
        operand(rule.rcpt_to.map(|test| test.what));
        operand(rule.auth.and_then(|test| test.what));
        operand(match rule.from.what {
            From::Src(table) => Some(table),
            From::Rdns(table) => table,
            From::Local | From::Socket | From::Any => None,
        });
        operand(match rule.to.what {
            For::Domain(table) => Some(table),
            For::Local | For::Any => None,
        });
    }
    for filter in config.filters.values() {
        let FilterKind::Builtin { condition, .. } = &filter.kind else { continue };
        operand(match condition {
            FilterCondition::Fcrdns => None,
            FilterCondition::Rdns(table) | FilterCondition::Auth(table) => *table,
            FilterCondition::Src(table)
            | FilterCondition::Helo(table)
            | FilterCondition::MailFrom(table)
            | FilterCondition::RcptTo(table) => Some(*table),
        });
    }
    for action in config.actions() {
        match &action.method {
            Method::Local(local) => {
                if let Aliases::Alias(table) | Aliases::Virtual(table) = local.aliases {
                    used.insert(table);
                }
                if let Userbase::Table(table) = local.userbase {
                    used.insert(table);
                }
            }
            Method::Relay(relay) => {
                if let Route::Hosts(table) | Route::Domains(table) = relay.route {
                    used.insert(table);
                }
                used.extend([relay.auth, relay.helo_src, relay.src].into_iter().flatten());
            }
        }
    }
    for listen in &config.listeners {
        if let Auth::Optional(Some(table)) | Auth::Require(Some(table)) = listen.auth {
            used.insert(table);
        }
        used.extend(listen.hostnames);
        used.extend(listen.senders.map(|senders| senders.table));
    }
    used
}
