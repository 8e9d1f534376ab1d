//! From one recipient to those who get the message: rules, aliases, virtual tables, users
//! (reference: aliases(5), smtpd.conf(5)).
//!
//! Addresses and users are worked off in the order in which they come up. Every address asks the
//! rules, also the one an alias led to. What is met twice is dropped, which ends circles; the
//! depth and the number of steps have bounds. If one of the results fails, the recipient as a
//! whole is refused: a message is accepted for all of a list or for none.
//!
//! `.forward` files come with local delivery; until then commands and files of an alias are
//! refused for the time being.

use std::collections::HashSet;
use std::sync::Arc;

use smtpd_engine::address::Mailbox;
use smtpd_engine::reply::{self, Reply};

use crate::account::Account;
use crate::action::{Action, Aliases, Delivery, Local, Method};
use crate::alias::{self, Target};
use crate::config::Config;
use crate::limits;
use crate::observe::{Fate, Observer};
use crate::rules::{Decision, Facts};
use crate::surroundings::{Outside, User};
use crate::table::{LookupError, Service, TableId, bare, lower};

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
    /// Aliases lead on for [`limits::EXPANSION_DEPTH`] steps.
    TooDeep,
    /// More than [`limits::EXPANSION_NODES`] addresses and users.
    TooMany,
    /// There is nobody at the end: the aliases go round in a circle.
    Nobody,
    /// A user without a `.forward`, and the action is `forward-only`.
    ForwardOnly,
    /// A user, and the action is `expand-only`.
    ExpandOnly,
    /// An element whose machinery is not there yet: a command, a file, an included list.
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
        let mut work = Work {
            config: self,
            facts,
            outside,
            nodes: Vec::new(),
            seen: None,
            recipients: Vec::new(),
            observer,
        };
        match work.run(rcpt) {
            Ok(()) => Expansion::Deliver(work.distinct()),
            Err(stop) => {
                work.observer.stopped(&stop);
                match stop {
                    Stop::Later => Expansion::Later,
                    stop => Expansion::Refuse(refusal(stop, rcpt)),
                }
            }
        }
    }
}

/// The reply: text and recipient.
fn refusal(stop: Stop, rcpt: &Mailbox) -> Reply<'static> {
    let base = match stop {
        Stop::Refused | Stop::NoUser => reply::INVALID_RECIPIENT,
        Stop::Undecided | Stop::UserFailed | Stop::NotYet | Stop::Later => reply::TEMPORARY_FAILURE,
        Stop::NotInVirtual | Stop::TooDeep | Stop::TooMany | Stop::Nobody | Stop::ExpandOnly => {
            Reply::fixed(524, Some((2, 4)), PROBLEM)
        }
        Stop::AliasFailed | Stop::ForwardOnly => Reply::fixed(424, Some((2, 4)), PROBLEM),
        Stop::Told(reply) => reply,
    };
    let enhanced = base.enhanced().map(|enhanced| (enhanced.subject, enhanced.detail));
    Reply::new(base.code(), enhanced, format!("{}: <{rcpt}>", base.text()))
}

/// Something that is still to be worked off.
#[derive(Clone)]
struct Node {
    what: What,
    depth: u8,
    /// The address that led here, and its action.
    owner: Option<Arc<Owner>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Address(Mailbox),
    User {
        name: String,
        /// It came out of its own alias: it stands for itself.
        itself: bool,
    },
}

struct Owner {
    /// Which of the addresses; the same user may come up below two of them.
    index: usize,
    address: Mailbox,
    action: Arc<Action>,
}

struct Work<'w, O> {
    config: &'w Config,
    facts: &'w Facts<'w>,
    outside: &'w dyn Outside,
    nodes: Vec<Node>,
    /// What was met: addresses once, users once below each address. Only kept when there is
    /// more than the recipient itself.
    seen: Option<HashSet<(What, usize)>>,
    recipients: Vec<Recipient>,
    observer: &'w mut O,
}

/// In the place of an owner's index for what is met once in all.
const ANYWHERE: usize = usize::MAX;

impl<O: Observer> Work<'_, O> {
    fn run(&mut self, rcpt: &Mailbox) -> Result<(), Stop> {
        self.observer.step(0);
        self.address(0, rcpt, 0)?;
        let mut next = 0;
        while next < self.nodes.len() {
            let node = self.nodes[next].clone();
            self.observer.step(next + 1);
            match (&node.what, &node.owner) {
                (What::Address(address), _) => self.address(next + 1, address, node.depth)?,
                (What::User { name, itself }, Some(owner)) => {
                    let owner = Arc::clone(owner);
                    self.user(&owner, name, *itself, node.depth)?;
                }
                (What::User { .. }, None) => {}
            }
            next += 1;
        }
        if self.recipients.is_empty() { Err(Stop::Nobody) } else { Ok(()) }
    }

    /// Without those that got the message twice: one user of one address over two aliases.
    fn distinct(mut self) -> Vec<Recipient> {
        if self.recipients.len() > 1 {
            let mut known = HashSet::new();
            let observer = self.observer;
            self.recipients.retain(|recipient| {
                let user = match &recipient.agent {
                    Agent::Local { user, .. } => Some(user.clone()),
                    Agent::Relay => None,
                };
                let is_new = known.insert((recipient.dest.clone(), user));
                if !is_new {
                    observer.repeats(recipient);
                }
                is_new
            });
        }
        self.recipients
    }

    fn address(&mut self, index: usize, address: &Mailbox, depth: u8) -> Result<(), Stop> {
        let config = self.config;
        let action =
            match config.decide_for(self.facts, address, depth > 0, self.outside, self.observer) {
                Decision::Action { action, .. } => action,
                Decision::Reject { .. } => return Err(Stop::Refused),
                Decision::Failed { error: LookupError::Later, .. } => return Err(Stop::Later),
                Decision::Failed { .. } => return Err(Stop::Undecided),
            };
        let Method::Local(local) = &action.method else {
            self.deliver_to(action, address, Agent::Relay);
            return Ok(());
        };
        let owner = || {
            let (address, action) = (address.clone(), Arc::clone(action));
            Arc::new(Owner { index, address, action })
        };
        if let Aliases::Virtual(table) = local.aliases {
            let targets =
                self.virtual_targets(table, address.local_part(), Some(address.domain()))?;
            return match targets {
                Some(targets) => self.push(targets, &owner(), None, depth),
                None => Err(Stop::NotInVirtual),
            };
        }
        let name = lower(address.local_part());
        // By far the most recipients are a user without an alias: no node, no owner for them.
        match self.alias_targets(local, &name)? {
            Some(targets) => self.push(targets, &owner(), Some(&name), depth),
            None => self.deliver(action, local, address, &name),
        }
    }

    fn user(
        &mut self,
        owner: &Arc<Owner>,
        name: &str,
        itself: bool,
        depth: u8,
    ) -> Result<(), Stop> {
        let Method::Local(local) = &owner.action.method else {
            return Ok(());
        };
        if !itself && let Some(targets) = self.alias_targets(local, name)? {
            return self.push(targets, owner, Some(name), depth);
        }
        self.deliver(&owner.action, local, &owner.address, name)
    }

    /// What a user's name stands for, if it is an alias.
    fn alias_targets(&mut self, local: &Local, name: &str) -> Result<Option<Vec<Target>>, Stop> {
        match local.aliases {
            Aliases::None => Ok(None),
            Aliases::Virtual(table) => self.virtual_targets(table, name, None),
            Aliases::Alias(table) => {
                let bare = self.bare(name);
                let keys = [Some(name), (bare != name).then_some(bare)];
                self.first(table, keys.into_iter().flatten())
            }
        }
    }

    /// The first of the keys of a virtual table; without a domain the address has an empty one.
    fn virtual_targets(
        &mut self,
        table: TableId,
        local: &str,
        domain: Option<&str>,
    ) -> Result<Option<Vec<Target>>, Stop> {
        let bare = self.bare(local);
        let at = domain.unwrap_or("");
        let mut keys = Vec::with_capacity(6);
        for user in [Some(local), (bare != local).then_some(bare)].into_iter().flatten() {
            keys.push(format!("{user}@{at}"));
        }
        for user in [Some(local), (bare != local).then_some(bare)].into_iter().flatten() {
            keys.push(user.to_owned());
        }
        if domain.is_some() {
            keys.push(format!("@{at}"));
            keys.push("@".to_owned());
        }
        self.first(table, keys.iter().map(String::as_str))
    }

    fn first<'k>(
        &mut self,
        table: TableId,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<Option<Vec<Target>>, Stop> {
        for key in keys {
            let value =
                self.config.value(table, Service::Alias, key, self.outside, self.observer)?;
            let Some(value) = value else { continue };
            let targets = alias::parse(&value).map_err(|_| LookupError::BadValue)?;
            // An alias of nothing is none.
            return Ok(Some(targets).filter(|targets| !targets.is_empty()));
        }
        Ok(None)
    }

    /// The name without its sub-address.
    fn bare<'n>(&self, name: &'n str) -> &'n str {
        bare(name, &self.config.smtp.sub_addr_delim)
    }

    fn push(
        &mut self,
        targets: Vec<Target>,
        owner: &Arc<Owner>,
        parent: Option<&str>,
        depth: u8,
    ) -> Result<(), Stop> {
        if depth + 1 >= limits::EXPANSION_DEPTH {
            return Err(Stop::TooDeep);
        }
        let seen = self.seen.get_or_insert_with(|| {
            HashSet::from([(What::Address(owner.address.clone()), ANYWHERE)])
        });
        for target in targets {
            self.observer.target(&target);
            let what = match target {
                Target::Address(address) => What::Address(address),
                Target::User(name) => {
                    let itself = parent == Some(&name);
                    What::User { name, itself }
                }
                Target::Error(reply) => return Err(Stop::Told(reply)),
                Target::Include(_) | Target::Filter(_) | Target::File(_) => {
                    return Err(Stop::NotYet);
                }
            };
            let below = match what {
                What::Address(_) => ANYWHERE,
                What::User { .. } => owner.index,
            };
            if !seen.insert((what.clone(), below)) {
                self.observer.fate(Fate::Known);
                continue;
            }
            if self.nodes.len() >= limits::EXPANSION_NODES {
                return Err(Stop::TooMany);
            }
            self.nodes.push(Node { what, depth: depth + 1, owner: Some(Arc::clone(owner)) });
            self.observer.fate(Fate::Node(self.nodes.len()));
        }
        Ok(())
    }

    /// A user who stands for nobody else.
    fn deliver(
        &mut self,
        action: &Arc<Action>,
        local: &Local,
        address: &Mailbox,
        name: &str,
    ) -> Result<(), Stop> {
        let name = self.bare(name);
        let runs_as = match self.config.local_account(local, name, self.outside, self.observer) {
            Account::User { runs_as, .. } => Some(runs_as),
            Account::Own => None,
            Account::Unknown => return Err(Stop::NoUser),
            Account::Later => return Err(Stop::Later),
            Account::Failed => return Err(Stop::UserFailed),
        };
        match local.delivery {
            Delivery::ForwardOnly => return Err(Stop::ForwardOnly),
            Delivery::ExpandOnly => return Err(Stop::ExpandOnly),
            _ => {}
        }
        self.deliver_to(action, address, Agent::Local { user: name.into(), runs_as });
        Ok(())
    }

    fn deliver_to(&mut self, action: &Arc<Action>, dest: &Mailbox, agent: Agent) {
        let recipient = Recipient { dest: dest.clone(), action: Arc::clone(action), agent };
        self.observer.delivers(&recipient);
        self.recipients.push(recipient);
    }
}
