//! Why a recipient is taken or refused: what the deciding code said while it decided.
//!
//! [`Config::explain`] expands a recipient as the server does and keeps all that the
//! [`Observer`](crate::observe::Observer) is told: each rule with the first condition that did not
//! hold, each question to a table with its answer, and the tree of addresses and users down to
//! those who get the message. Nothing here decides anything. [`Trial::reason`] says it in words.

mod collect;
mod reason;

use smtpd_engine::address::Mailbox;

use crate::account::Account;
use crate::action::Relay;
use crate::alias::Target;
use crate::config::Config;
use crate::expand::{Expansion, Recipient, Stop};
use crate::observe::{Fate, Miss};
use crate::route::{NextHop, NoRoute};
use crate::rules::{Condition, Facts};
use crate::surroundings::Outside;
use crate::table::{LookupError, Service, TableId};

pub use reason::Reason;

/// What was decided about one recipient, and how.
#[derive(Debug)]
pub struct Explanation {
    /// What the server does.
    pub expansion: Expansion,
    /// Why nobody gets the message.
    pub stop: Option<Stop>,
    /// Addresses and users in the order they were worked off; the recipient is the first.
    pub nodes: Vec<Node>,
    /// The one that was worked on last. Those behind it were not reached.
    pub last: usize,
}

/// An address or a user of the expansion.
#[derive(Debug)]
pub struct Node {
    /// The node whose alias it came from; `None` for the recipient itself.
    pub parent: Option<usize>,
    /// What it is.
    pub what: What,
    /// An alias led to this address: `from` sees no client any more.
    pub internal: bool,
    /// The rules that were tried for an address, in their order. Empty for users, and for a
    /// node that was not reached or is behind the bound of [`crate::limits::EXPLAINED_NODES`].
    pub trials: Vec<Trial>,
    /// Tables that were asked once a rule had taken it.
    pub look_ups: Vec<LookUp>,
    /// Lists that its alias includes, and how many elements were read of each.
    pub included: Vec<(String, usize)>,
    /// The `.forward` of the user it is was followed: the targets are from there.
    pub forwarded: bool,
    /// What its alias stands for; `None` when that ended the expansion.
    pub targets: Vec<(Target, Option<Fate>)>,
    /// The user it is in the end, and who that is.
    pub account: Option<(String, Account)>,
    /// Who gets the message.
    pub delivery: Option<Recipient>,
    /// That one gets the message already: it is not delivered twice.
    pub repeated: bool,
}

impl Node {
    /// The address that it is, if it is one.
    pub fn address(&self) -> Option<&Mailbox> {
        match &self.what {
            What::Address(address) => Some(address),
            What::User(_) | What::Program(_) => None,
        }
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An address, about which the rules are asked.
    Address(Mailbox),
    /// A user's name, perhaps with a sub-address.
    User(String),
    /// A command or a file, as it is written in an alias.
    Program(String),
}

/// A rule that was tried.
#[derive(Debug)]
pub struct Trial {
    /// Its index among [`Config::matches`].
    pub rule: usize,
    /// The first condition that did not hold, `None` when all did.
    pub outcome: Result<Option<Miss>, LookupError>,
    /// The tables that its conditions asked.
    pub look_ups: Vec<LookUp>,
}

/// A question to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookUp {
    /// The condition of a rule that asked.
    pub condition: Option<Condition>,
    /// Which table.
    pub table: TableId,
    /// What the key was asked as.
    pub service: Service,
    /// The key.
    pub key: String,
    /// What the table said.
    pub answer: Result<Answer, LookupError>,
}

/// What a table said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It does not have the key.
    No,
    /// It has the key, or an entry that the key matches.
    Yes,
    /// It has the key with this value. Never a password.
    Value(String),
}

impl Config {
    /// Expands a recipient like [`Config::expand`], and keeps how it went.
    pub fn explain(&self, facts: &Facts<'_>, rcpt: &Mailbox, outside: &dyn Outside) -> Explanation {
        let mut collector = collect::Collector::new(rcpt);
        let expansion = self.expand_observed(facts, rcpt, outside, &mut collector);
        collector.finish(expansion)
    }

    /// The way of mail for `domain` by a relay action, and the look-ups that it takes.
    pub fn explain_route(
        &self,
        relay: &Relay,
        domain: &str,
        outside: &dyn Outside,
    ) -> (Result<NextHop, NoRoute>, Vec<LookUp>) {
        let mut look_ups = collect::LookUps::default();
        let hop = self.next_hop(relay, domain, outside, &mut look_ups);
        (hop, look_ups.0)
    }
}
