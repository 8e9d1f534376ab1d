//! Which action takes an envelope that names none, or one that is gone: today's rules, asked with
//! the facts that were kept of the session that brought it.

use smtpd_config::{Client, Config, Expansion, Facts, Outside};
use smtpd_engine::address::Mailbox;
use smtpd_queue::envelope::{Agent, Source};

use crate::daemon::lookup;
use crate::transfer::document::Document;

/// Where an envelope goes.
pub struct Decided {
    /// The address after today's aliases.
    pub dest: Mailbox,
    /// The name of the action.
    pub action: String,
    /// Who delivers.
    pub agent: Agent,
    /// Seconds to live.
    pub ttl: u32,
}

/// Asks the rules about an address of a message.
///
/// # Errors
/// Why nobody takes it.
pub fn decide(
    config: &Config,
    outside: &dyn Outside,
    message: &Document,
    dest: &Mailbox,
) -> Result<Vec<Decided>, String> {
    let facts = Facts {
        client: match message.source {
            Source::Local => Client::Socket,
            Source::Ip(ip) => Client::Ip(ip),
        },
        rdns: None,
        helo: message.helo.as_deref().unwrap_or_default(),
        tag: Some(message.tag.as_str()).filter(|tag| !tag.is_empty()),
        auth: message.username.as_deref(),
        tls: message.tls,
        sender: message.sender.mailbox(),
    };
    match config.expand(&facts, dest, outside).without_programs(dest) {
        Expansion::Deliver(recipients) => Ok(recipients
            .into_iter()
            .map(|recipient| Decided {
                dest: recipient.dest,
                ttl: u32::try_from(config.ttl(&recipient.action).as_secs()).unwrap_or(u32::MAX),
                action: recipient.action.name.to_string(),
                agent: lookup::agent(recipient.agent),
            })
            .collect()),
        Expansion::Refuse(reply) => {
            Err(format!("no rule takes it: {} {}", reply.code(), reply.text()))
        }
        Expansion::Later => Err("its user could not be looked up".to_owned()),
    }
}
