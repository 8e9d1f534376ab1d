//! Backscatter: mail that is accepted for a domain whose recipients are not known here. What the
//! next server refuses goes back to a sender who, with spam, did not send it.

use smtpd_engine::address::Mailbox;

use crate::action::{Aliases, Delivery, Local, Method};
use crate::config::{Config, Dialect};
use crate::diagnostic::Diagnostic;
use crate::rules::{For, Match, Test, Verdict};
use crate::table::Shape;

use super::names::is_second_half;
use super::relays::is_open;
use super::stranger::Stranger;

/// A local part that nobody has.
const NOBODY: &str = "no-such-user-3f9a1c";

/// Domains of a rule that are tried; one speaks for all of them.
const TRIED: usize = 3;

pub(super) fn check(config: &Config, stranger: &Stranger<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, rule) in config.matches.iter().enumerate() {
        let Verdict::Action(id) = rule.verdict else { continue };
        if is_second_half(config, index) || is_open(stranger, index).is_some() {
            continue;
        }
        let action = config.action_at(id);
        let Some(key) = domains(config, rule).into_iter().find(|key| {
            let domain = key.replace('*', "x");
            let rcpt = Mailbox::parse(&format!("{NOBODY}@{domain}"));
            rcpt.is_ok_and(|rcpt| {
                stranger.passes(index, &rcpt).is_some()
                    && match &action.method {
                        Method::Relay(_) => true,
                        Method::Local(local) => takes_anybody(config, local, &domain),
                    }
            })
        }) else {
            continue;
        };
        let word = match config.dialect {
            Dialect::Modern => "rcpt-to",
            Dialect::Legacy => "recipient",
        };
        let (message, help) = match &action.method {
            Method::Relay(_) => (
                format!("mail for any recipient in {key} is accepted, also if there is none"),
                format!(
                    "the next server's refusal becomes a report to a forged sender: add {word} \
                     <TABLE> with the recipients that exist"
                ),
            ),
            Method::Local(_) => (
                format!("the catch-all accepts any recipient in {key}, and LMTP may refuse him"),
                "the refusal becomes a report to a forged sender: list the recipients that exist"
                    .to_owned(),
            ),
        };
        let position = rule.places.of("for").unwrap_or(&rule.position);
        found.push(Diagnostic::warning(message).help(help).at(position.clone()));
    }
    found
}

/// Domains that the rule is for, as far as they are written down.
fn domains<'c>(config: &'c Config, rule: &Match) -> Vec<&'c str> {
    let Test { not: false, what: For::Domain(operand) } = rule.to else { return Vec::new() };
    let table = config.tables.get(operand.table);
    if operand.regex || table.shape == Shape::Dynamic {
        return Vec::new();
    }
    let keys = table.entries.sorted().into_iter().take(TRIED);
    keys.map(|(key, _)| key).collect()
}

/// Whether every local part of the domain is handed to an LMTP server as it is.
fn takes_anybody(config: &Config, local: &Local, domain: &str) -> bool {
    let Aliases::Virtual(table) = local.aliases else { return false };
    let table = config.tables.get(table);
    let has = |key: &str| table.entries.get(key).is_some();
    matches!(local.delivery, Delivery::Lmtp { rcpt_to: true, .. })
        && (has("@") || has(&format!("@{domain}")))
}
