//! Open relays: rules by which anybody may send mail to anywhere.

use smtpd_engine::address::Mailbox;

use crate::action::{Method, Route};
use crate::config::{Config, Dialect};
use crate::diagnostic::Diagnostic;
use crate::rules::Verdict;

use super::names::is_second_half;
use super::stranger::Stranger;

/// Recipients that no configuration is about (RFC 6761 section 6.4).
const ELSEWHERE: [&str; 2] = ["somebody@open-relay.invalid", "nobody@elsewhere.invalid"];

pub(super) fn check(config: &Config, stranger: &Stranger<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, rule) in config.matches.iter().enumerate() {
        let Verdict::Action(id) = rule.verdict else { continue };
        let Method::Relay(relay) = &config.action_at(id).method else { continue };
        // A backup MX and a table of domains bound where mail can go.
        if matches!(relay.route, Route::Backup(_) | Route::Domains(_))
            || is_second_half(config, index)
        {
            continue;
        }
        let Some(sender) = is_open(stranger, index) else { continue };
        let message = match rule.mail_from {
            Some(_) => format!("open relay: whoever calls himself {sender} may send to anywhere"),
            None => "open relay: anybody may send to anywhere by this rule".to_owned(),
        };
        let help = match config.dialect {
            Dialect::Modern => {
                "write \"from local\" or \"auth\" instead of \"from any\", or \"for domain\""
            }
            Dialect::Legacy => "write \"from local\" instead of \"from any\", or \"for domain\"",
        };
        found.push(Diagnostic::warning(message).help(help).at(rule.position.clone()));
    }
    found
}

/// A sender with whom anybody gets to anywhere by this rule.
pub(super) fn is_open(stranger: &Stranger<'_>, index: usize) -> Option<Mailbox> {
    let mut senders = ELSEWHERE.iter().map(|rcpt| {
        let rcpt = Mailbox::parse(rcpt).ok()?;
        stranger.passes(index, &rcpt)
    });
    let first = senders.next()?;
    senders.all(|sender| sender.is_some()).then_some(first)?
}
