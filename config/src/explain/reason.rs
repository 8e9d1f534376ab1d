//! Why a rule did not take an address, in the words of the file.

use std::fmt::Display;
use std::net::IpAddr;

use smtpd_engine::address::Mailbox;

use super::{Answer, LookUp, Trial};
use crate::config::{Config, Dialect};
use crate::observe::Never;
use crate::print;
use crate::rules::{Client, Condition, Facts, For, From, Match};
use crate::table::Service;

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The condition: `!from src <nets>`.
    pub condition: String,
    /// What it looked at: an address, a name. Empty where there is nothing.
    pub value: String,
    /// What it found: `192.0.2.1 is in <nets>`.
    pub text: String,
    /// What is often meant instead.
    pub hint: Option<&'static str>,
}

const HINT_AUTH: &str = "an authenticated session is not local: write match from any auth ...";
const HINT_FROM: &str = "a rule that says nothing of from is from local";
const HINT_FOR: &str = "a rule that says nothing of for is for local";

impl Trial {
    /// Why the rule did not take `address`; `None` when it did, or when a look-up failed.
    pub fn reason(
        &self,
        config: &Config,
        facts: &Facts<'_>,
        address: &Mailbox,
        internal: bool,
    ) -> Option<Reason> {
        let Ok(Some(miss)) = self.outcome else { return None };
        let rule = config.matches.get(self.rule)?;
        let seen = Seen { config, facts, address, internal, rule, condition: miss.condition };
        let asked = |look_up: &&LookUp| look_up.condition == Some(miss.condition);
        let text = match (miss.never, self.look_ups.iter().find(asked)) {
            (Some(never), _) => seen.never(never),
            (None, Some(look_up)) if internal && miss.condition == Condition::From => {
                let told = look_up.told_to(config);
                format!("an alias led here, so the client is local, and {told}")
            }
            (None, Some(look_up)) => look_up.told_to(config),
            (None, None) => seen.told(),
        };
        Some(Reason {
            condition: print::condition(config, rule, miss.condition),
            value: seen.value(),
            text,
            hint: seen.hint(),
        })
    }
}

impl LookUp {
    /// What was asked and said, in words: `root is in <aliases>: joe`.
    pub fn told(&self, config: &Config) -> String {
        self.sentence(&print::table(config, self.table))
    }

    /// The same for who has the table before his eyes, should it have no name.
    pub fn told_to(&self, config: &Config) -> String {
        let table = print::table(config, self.table);
        self.sentence(if table.starts_with('<') { &table } else { "" })
    }

    fn sentence(&self, table: &str) -> String {
        let key = match (self.service, self.key.as_str()) {
            (Service::String, "") => return "the session has no tag".to_owned(),
            (Service::String, key) => format!("\"{key}\""),
            (Service::MailAddr, "@") => "the null sender".to_owned(),
            (_, key) => key.to_owned(),
        };
        // Elements that stand where they are used are no table to who reads them, and a regular
        // expression is matched wherever it stands.
        let matched = match self.service {
            Service::Regex => true,
            Service::Domain | Service::NetAddr | Service::MailAddr | Service::String => {
                !table.starts_with('<')
            }
            _ => false,
        };
        let gap = if table.is_empty() { "" } else { " " };
        match &self.answer {
            Ok(Answer::No) if matched => format!("{key} does not match{gap}{table}"),
            Ok(Answer::No) => format!("{key} is not in {table}"),
            Ok(Answer::Yes) if matched => format!("{key} matches{gap}{table}"),
            Ok(Answer::Yes) => format!("{key} is in {table}"),
            Ok(Answer::Value(value)) => format!("{key} is in {table}: {value}"),
            Err(error) => format!("{key} could not be looked up: {error}"),
        }
    }
}

/// What there is to see where a condition did not hold.
struct Seen<'s> {
    config: &'s Config,
    facts: &'s Facts<'s>,
    address: &'s Mailbox,
    internal: bool,
    rule: &'s Match,
    condition: Condition,
}

impl Seen<'_> {
    fn client(&self) -> String {
        match (self.internal, self.facts.client) {
            (true, _) | (false, Client::Socket) => "local".to_owned(),
            (false, Client::Ip(ip)) => IpAddr::to_canonical(&ip).to_string(),
        }
    }

    fn value(&self) -> String {
        let facts = self.facts;
        match self.condition {
            Condition::Tag => facts.tag.unwrap_or_default().to_owned(),
            Condition::From => match self.rule.from.what {
                From::Rdns(_) => facts.rdns.unwrap_or_default().to_owned(),
                _ => self.client(),
            },
            Condition::For => self.address.domain().to_owned(),
            Condition::Helo => facts.helo.to_owned(),
            Condition::Auth => facts.auth.unwrap_or_default().to_owned(),
            Condition::Tls => if facts.tls { "tls" } else { "" }.to_owned(),
            Condition::MailFrom => facts.sender.map_or("@", Mailbox::as_str).to_owned(),
            Condition::RcptTo => self.address.as_str().to_owned(),
        }
    }

    fn never(&self, never: Never) -> String {
        match never {
            Never::NoClient => "an alias led here, and behind an alias there is no client".into(),
            Never::NoReverseName => {
                "the client has no reverse name, so this never holds, negated or not".into()
            }
        }
    }

    /// What a condition saw that asks no table.
    fn told(&self) -> String {
        match self.condition {
            Condition::From => self.told_of_client(),
            Condition::For => self.told_of_domain(),
            Condition::Auth => match (self.facts.auth, self.facts.client) {
                (Some(user), _) => format!("the session is authenticated as {user}"),
                (None, Client::Socket) if self.rule.auth.is_some_and(|auth| auth.not) => {
                    "who writes to the local socket counts as authenticated".to_owned()
                }
                (None, Client::Socket) => "nobody has a name at the local socket".to_owned(),
                (None, Client::Ip(_)) => "the session is not authenticated".to_owned(),
            },
            Condition::Tls if self.facts.tls => "the session uses TLS".to_owned(),
            Condition::Tls => "the session does not use TLS".to_owned(),
            // Each of them has a table, and asked it.
            Condition::Tag | Condition::Helo | Condition::MailFrom | Condition::RcptTo => {
                self.value()
            }
        }
    }

    fn told_of_client(&self) -> String {
        let not = self.rule.from.not;
        match (self.rule.from.what, self.facts.client) {
            (From::Any, _) => "everything is from any".to_owned(),
            (From::Local, _) if self.internal => "an alias led here, which is local".to_owned(),
            (From::Local | From::Socket, Client::Socket) => {
                "the message comes over the local socket".to_owned()
            }
            (From::Local, Client::Ip(_)) => {
                format!("{} {} an address of this machine", self.client(), is(not))
            }
            (From::Socket, Client::Ip(_)) => {
                format!("the message comes from {}, not over the local socket", self.client())
            }
            (From::Src(_) | From::Rdns(_), _) => match self.facts.rdns {
                Some(name) => format!("the client's reverse name is {name}"),
                None => "the client has no reverse name".to_owned(),
            },
        }
    }

    fn told_of_domain(&self) -> String {
        let domain = self.address.domain();
        let name = &self.config.host.name;
        match (self.rule.to.what, self.rule.to.not) {
            (For::Any, _) => "everything is for any".to_owned(),
            (_, true) => format!("{domain} is this machine"),
            (_, false) if domain.starts_with('[') => {
                format!("{domain} is not an address of this machine")
            }
            (_, false) => format!("{domain} is neither this machine's name, {name}, nor localhost"),
        }
    }

    /// Only where the rule wants what it does not say.
    fn hint(&self) -> Option<&'static str> {
        let Match { from, to, places, .. } = self.rule;
        let modern = self.config.dialect == Dialect::Modern;
        match self.condition {
            Condition::From if (from.what, from.not) != (From::Local, false) => None,
            Condition::From if modern && self.facts.auth.is_some() => Some(HINT_AUTH),
            Condition::From if modern && places.of("from").is_none() => Some(HINT_FROM),
            Condition::For if (to.what, to.not) != (For::Local, false) => None,
            Condition::For if modern && places.of("for").is_none() => Some(HINT_FOR),
            _ => None,
        }
    }
}

fn is(is: bool) -> impl Display {
    if is { "is" } else { "is not" }
}
