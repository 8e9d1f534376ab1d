//! From one recipient to those who get the message: rules, aliases, virtual tables, users
//! (reference: aliases(5), smtpd.conf(5)).
//!
//! Addresses and users are worked off in the order in which they come up. Every address asks the
//! rules, also the one an alias led to. What is met twice is dropped, which ends circles; the
//! depth and the number of steps have bounds. If one of the results fails, the recipient as a
//! whole is refused: a message is accepted for all of a list or for none.
//!
//! A sender that was rewritten and comes back as a recipient is what it stands for, as if an alias
//! had led there.
//!
//! What an alias or a `.forward` has of commands and files is delivered in the name of whoever wrote
//! it: of the user, or of the daemon.

mod work;

use std::sync::Arc;

use smtpd_engine::address::Mailbox;
use smtpd_engine::reply::{self, Reply};

use crate::action::Action;
use crate::config::Config;
use crate::observe::Observer;
use crate::rules::Facts;
use crate::srs::{self, NotOurs};
use crate::surroundings::{Outside, User};
use crate::table::LookupError;
use work::Work;

/// Somebody who gets the message.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The address after expansion.
    pub dest: Mailbox,
    /// The action that takes it; envelopes keep its name.
    pub action: Arc<Action>,
    /// Who delivers.
    pub agent: Agent,
}

/// Who delivers to a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Local delivery.
    Local {
        /// The user's name, without a sub-address.
        user: Box<str>,
        /// Whose ids delivery runs with; `None` for the daemon's own (`userbase any`).
        runs_as: Option<Arc<User>>,
    },
    /// Relaying.
    Relay,
    /// A command of an alias or a `.forward`, which reads the message.
    Command {
        /// For the shell, with format specifiers.
        command: Box<str>,
        /// Whose `.forward` it is; `None` for the daemon's own name.
        runs_as: Option<Arc<User>>,
    },
    /// A file of an alias or a `.forward`, to which the message is added.
    File {
        /// With format specifiers.
        path: Box<str>,
        /// Whose `.forward` it is; `None` for the daemon's own name.
        runs_as: Option<Arc<User>>,
    },
}

/// What comes of a recipient.
#[derive(Debug, Clone)]
pub enum Expansion {
    /// The message goes to all of these; never empty.
    Deliver(Vec<Recipient>),
    /// The answer to RCPT.
    Refuse(Reply<'static>),
    /// What it takes is not in memory: expand again where waiting is allowed.
    Later,
}

/// Why an expansion ends without recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A rule rejects an address, or no rule takes it.
    Refused,
    /// A look-up that a rule needs failed.
    Undecided,
    /// An address is not in its `virtual` table.
    NotInVirtual,
    /// The look-up of an alias failed.
    AliasFailed,
    /// There is no such user.
    NoUser,
    /// A user could not be looked up.
    UserFailed,
    /// Aliases lead on for [`crate::limits::EXPANSION_DEPTH`] steps.
    TooDeep,
    /// More than [`crate::limits::EXPANSION_NODES`] addresses and users.
    TooMany,
    /// There is nobody at the end: the aliases go round in a circle.
    Nobody,
    /// A user without a `.forward`, and the action is `forward-only`.
    ForwardOnly,
    /// A user, and the action is `expand-only`.
    ExpandOnly,
    /// A `.forward` that cannot be read now, or is no list of targets.
    ForwardFailed,
    /// A `.forward` that must not be followed: not the user's, or others may write it.
    ForwardRefused,
    /// A command, a file or a reply, and the action is `forward-only`.
    OnlyAddresses,
    /// A command or a file in the `.forward` of root.
    RootForward,
    /// A command or a file, whose delivery is not there yet.
    NotYet,
    /// The reply that an alias has.
    Told(Reply<'static>),
    /// What it takes is not in memory.
    Later,
}

const PROBLEM: &str = "Mailing list expansion problem";

impl From<LookupError> for Stop {
    /// The failure of an alias look-up; those of rules and users have their own words.
    fn from(error: LookupError) -> Stop {
        match error {
            LookupError::Later => Stop::Later,
            _ => Stop::AliasFailed,
        }
    }
}

impl Config {
    /// The address that a recipient stands for whose domain has rewritten a sender (`srs`): what
    /// comes back is a report, from nobody. None when there is no such thing.
    #[must_use]
    pub fn comes_back(
        &self,
        facts: &Facts<'_>,
        rcpt: &Mailbox,
    ) -> Option<Result<Mailbox, NotOurs>> {
        let srs = self.srs.as_ref().filter(|_| facts.sender.is_none())?;
        srs::is_rewritten(rcpt).then(|| srs.original(rcpt, facts.day))
    }

    /// Expands a recipient.
    pub fn expand(&self, facts: &Facts<'_>, rcpt: &Mailbox, outside: &dyn Outside) -> Expansion {
        self.expand_observed(facts, rcpt, outside, &mut ())
    }

    /// Expands a recipient and tells the observer all that is done for it.
    pub fn expand_observed<O: Observer>(
        &self,
        facts: &Facts<'_>,
        rcpt: &Mailbox,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Expansion {
        let mut work = Work::new(self, facts, outside, observer);
        match work.run(rcpt) {
            Ok(()) => Expansion::Deliver(work.distinct()),
            Err(stop) => {
                work.stopped(&stop);
                match stop {
                    Stop::Later => Expansion::Later,
                    stop => Expansion::Refuse(refusal(stop, rcpt)),
                }
            }
        }
    }
}

impl Expansion {
    /// Refused for the time being when it leads to a command or a file: nobody delivers these yet,
    /// and what is accepted must be delivered.
    #[must_use]
    pub fn without_programs(self, rcpt: &Mailbox) -> Expansion {
        let is_program = |recipient: &Recipient| {
            matches!(recipient.agent, Agent::Command { .. } | Agent::File { .. })
        };
        match self {
            Expansion::Deliver(recipients) if recipients.iter().any(is_program) => {
                Expansion::Refuse(refusal(Stop::NotYet, rcpt))
            }
            other => other,
        }
    }
}

/// The reply: text and recipient.
fn refusal(stop: Stop, rcpt: &Mailbox) -> Reply<'static> {
    let base = match stop {
        Stop::Refused | Stop::NoUser => reply::INVALID_RECIPIENT,
        Stop::Undecided
        | Stop::UserFailed
        | Stop::OnlyAddresses
        | Stop::RootForward
        | Stop::NotYet
        | Stop::Later => reply::TEMPORARY_FAILURE,
        Stop::NotInVirtual
        | Stop::TooDeep
        | Stop::TooMany
        | Stop::Nobody
        | Stop::ExpandOnly
        | Stop::ForwardRefused => Reply::fixed(524, Some((2, 4)), PROBLEM),
        Stop::AliasFailed | Stop::ForwardOnly | Stop::ForwardFailed => {
            Reply::fixed(424, Some((2, 4)), PROBLEM)
        }
        Stop::Told(reply) => reply,
    };
    let enhanced = base.enhanced().map(|enhanced| (enhanced.subject, enhanced.detail));
    Reply::new(base.code(), enhanced, format!("{}: <{rcpt}>", base.text()))
}
