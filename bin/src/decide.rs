//! Which action takes an envelope that names none, or a legacy one that is gone: today's rules,
//! asked with the facts that were kept of the session that brought it.

use std::sync::Arc;

use smtpd_config::{self as config, Action, Client, Config, Expansion, Facts, Outside};
use smtpd_engine::address::Mailbox;
use smtpd_queue::delivery::{Attempt, Failure, Job};
use smtpd_queue::envelope::{Agent, Message, Source};

use crate::daemon::clock::day;
use crate::daemon::intake::NO_NAME;
use crate::daemon::lookup;

/// Where an envelope goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The address after today's aliases.
    pub dest: Mailbox,
    /// The name of the action.
    pub action: String,
    /// The user it is for; `None` when it is relayed.
    pub user: Option<String>,
    /// Seconds to live.
    pub ttl: u32,
}

impl Decided {
    /// Who delivers.
    #[must_use]
    pub fn agent(&self) -> Agent {
        self.user.clone().map_or(Agent::Mta, |user| Agent::Mda { user })
    }
}

/// Why an envelope goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// It may go somewhere when asked again: something could not be looked up.
    pub is_temporary: bool,
    /// In words for an administrator.
    pub why: String,
}

/// Asks the rules about an address of a message, whose envelopes are not looked at. `agent` is
/// who was to deliver to it, if that is known: aliases have been followed then, and the envelope
/// is one of those that came of them. So when it comes of them today too, it is that one alone,
/// or its companions would get the message twice.
///
/// # Errors
/// Why nobody takes it.
pub fn decide(
    config: &Config,
    outside: &dyn Outside,
    message: &Message,
    (dest, agent): (&Mailbox, Option<&Agent>),
) -> Result<Vec<Decided>, Undecided> {
    match config.expand(&facts(message), dest, outside).without_programs(dest) {
        Expansion::Deliver(recipients) => {
            let all: Vec<_> = recipients.into_iter().map(|one| decided(config, one)).collect();
            let is_itself = |one: &&Decided| one.dest == *dest && agent == Some(&one.agent());
            Ok(all.iter().find(is_itself).cloned().map_or(all, |itself| vec![itself]))
        }
        Expansion::Refuse(reply) => Err(Undecided {
            is_temporary: reply.class() == 4,
            why: format!("no rule takes it: {} {}", reply.code(), reply.text()),
        }),
        Expansion::Later => {
            Err(Undecided { is_temporary: true, why: "its user could not be looked up".to_owned() })
        }
    }
}

/// A job whose action is gone, as today's rules have it.
///
/// # Errors
/// What comes of it without an attempt. Nothing fails because a file was edited: what the rules do
/// not take, or would make several of, is held.
pub fn again(config: &Config, outside: &dyn Outside, job: &Job) -> Result<Job, Attempt> {
    let envelope = job.envelope();
    let gone = format!("no action named \"{}\"", envelope.action);
    if !Action::is_legacy(&envelope.action) {
        return Err(Attempt::Held(gone));
    }
    let asked = (&envelope.dest, Some(&envelope.agent));
    let all = decide(config, outside, &job.message, asked);
    let all = all.map_err(|undecided| match undecided.is_temporary {
        true => Attempt::Later(Failure::new((4, 3, 0), undecided.why)),
        false => Attempt::Held(format!("{gone}, and {}", undecided.why)),
    })?;
    let [one] = &all[..] else {
        let many = all.len();
        return Err(Attempt::Held(format!("{gone}, and today's rules make {many} of it")));
    };
    log::info!("info: queue: {}: {gone}: decided again: \"{}\"", job.id, one.action);
    let mut message = Message::clone(&job.message);
    for envelope in message.envelopes.iter_mut().filter(|envelope| envelope.id == job.id) {
        (envelope.dest, envelope.agent) = (one.dest.clone(), one.agent());
        envelope.action.clone_from(&one.action);
    }
    Ok(Job { message: Arc::new(message), ..job.clone() })
}

fn decided(config: &Config, recipient: config::Recipient) -> Decided {
    Decided {
        dest: recipient.dest,
        ttl: u32::try_from(config.ttl(&recipient.action).as_secs()).unwrap_or(u32::MAX),
        action: recipient.action.name.to_string(),
        user: match lookup::agent(recipient.agent) {
            Agent::Mda { user } => Some(user),
            Agent::Mta => None,
        },
    }
}

/// What the rules may ask, as it was when the message came.
fn facts(message: &Message) -> Facts<'_> {
    let (client, rdns) = match message.source {
        Source::Local => (Client::Socket, None),
        Source::Ip(ip) => {
            let name = Some(message.hostname.as_str());
            (Client::Ip(ip), name.filter(|name| *name != NO_NAME))
        }
    };
    Facts {
        client,
        rdns,
        // Nobody has noted whether it led back.
        rdns_confirmed: false,
        helo: &message.helo,
        tag: Some(message.tag.as_str()).filter(|tag| !tag.is_empty()),
        auth: message.username.as_deref(),
        tls: message.tls,
        sender: message.sender.mailbox(),
        day: day(message.ctime),
    }
}
