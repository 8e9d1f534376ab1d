//! What a dry run comes to, in a word and in a sentence.

use smtpd_config::expand::Stop;
use smtpd_config::explain::Explanation;
use smtpd_config::rules::Verdict as Says;
use smtpd_config::{Account, Config, Dialect, limits};

use super::dialogue::{Dialogue, Judged};

/// What became of a recipient, or of the message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// Refused for now (4yz): the client tries again.
    Deferred,
    /// Refused for good (5yz).
    Refused,
}

impl Verdict {
    /// Of the reply's first line.
    fn of(reply: &str) -> Verdict {
        match reply.as_bytes().first() {
            Some(b'2' | b'3') => Verdict::Accepted,
            Some(b'4') => Verdict::Deferred,
            _ => Verdict::Refused,
        }
    }

    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Deferred => "refused for now",
            Verdict::Refused => "refused",
        }
    }

    /// As JSON has it.
    pub fn key(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Deferred => "deferred",
            Verdict::Refused => "refused",
        }
    }
}

impl Judged {
    /// What became of the recipient.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.reply)
    }
}

impl Dialogue<'_> {
    /// The worst of all recipients; of the message when it did not come to them.
    pub fn verdict(&self) -> Verdict {
        match &self.refused {
            Some(said) => Verdict::of(&said.reply),
            None => {
                let all = self.recipients.iter().map(Judged::verdict);
                all.max().unwrap_or(Verdict::Refused)
            }
        }
    }
}

/// Why it was decided so, in a sentence without an end.
pub fn because(config: &Config, explanation: &Explanation) -> String {
    let Some(stop) = &explanation.stop else { return taken(config, explanation) };
    let node = explanation.nodes.get(explanation.last);
    let rule = node.and_then(|node| node.trials.last());
    let user = node.and_then(|node| node.account.as_ref());
    let user = user.map_or("the user", |(name, _)| name.as_str());
    match stop {
        Stop::Refused => match rule.filter(|trial| trial.outcome == Ok(None)) {
            Some(trial) => {
                format!(
                    "rule {} at {} rejects it",
                    trial.rule + 1,
                    config.matches[trial.rule].position
                )
            }
            None => "no rule takes it".to_owned(),
        },
        Stop::Undecided => match rule {
            Some(trial) => format!(
                "a look-up of rule {} at {} failed",
                trial.rule + 1,
                config.matches[trial.rule].position
            ),
            None => "a look-up of a rule failed".to_owned(),
        },
        Stop::NotInVirtual => "it is not in the virtual table, where everybody must be".to_owned(),
        Stop::AliasFailed => "the look-up of an alias failed".to_owned(),
        Stop::NoUser => format!("there is no user {user}"),
        Stop::UserFailed => match node.and_then(|node| node.account.as_ref()) {
            Some((_, Account::Failed)) | None => {
                format!("user {user}, or whom the action delivers as, could not be looked up")
            }
            Some(_) => format!("user {user} could not be looked up"),
        },
        Stop::TooDeep => format!("aliases lead on for {} steps or more", limits::EXPANSION_DEPTH),
        Stop::TooMany => {
            format!("it becomes more than {} addresses and users", limits::EXPANSION_NODES)
        }
        Stop::Nobody => {
            "its aliases go round in a circle, and there is nobody at the end".to_owned()
        }
        Stop::ForwardOnly => format!("the action is forward-only, and {user} has no .forward"),
        Stop::ExpandOnly => format!("the action is expand-only, and {user} is a user"),
        Stop::ForwardFailed => format!("the .forward of {user} cannot be read or understood"),
        Stop::ForwardRefused => {
            format!("the .forward of {user} may not be followed: a link, or others may write it")
        }
        Stop::OnlyAddresses => {
            "the action is forward-only, and its alias has more than addresses and users".to_owned()
        }
        Stop::RootForward => "the .forward of root has a command or a file".to_owned(),
        Stop::NotYet => "it leads to a command or a file, and they do not work yet".to_owned(),
        Stop::Told(_) => "its alias says so".to_owned(),
        Stop::Later => format!("user {user} is not known yet"),
    }
}

/// Why a recipient was accepted: the rule that took it.
fn taken(config: &Config, explanation: &Explanation) -> String {
    let trial = explanation.nodes.first().and_then(|node| node.trials.last());
    let Some(trial) = trial else { return String::new() };
    let rule = &config.matches[trial.rule];
    let action = match rule.verdict {
        Says::Action(id) if config.dialect == Dialect::Modern => {
            format!(" with action \"{}\"", config.action_at(id).name)
        }
        Says::Action(_) | Says::Reject => String::new(),
    };
    format!("rule {} at {} takes it{action}", trial.rule + 1, rule.position)
}
