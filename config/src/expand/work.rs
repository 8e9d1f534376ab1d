//! The way of one recipient: a list of nodes, worked off in the order in which they come up.

use std::collections::HashSet;
use std::sync::Arc;

use smtpd_engine::address::Mailbox;

use super::{Agent, Recipient, Stop};
use crate::account::Account;
use crate::action::{Action, Aliases, Delivery, Local, Method};
use crate::alias::{self, Target};
use crate::config::Config;
use crate::limits;
use crate::observe::{Fate, Observer};
use crate::rules::{Decision, Facts};
use crate::surroundings::{Forward, Outside, User};
use crate::table::{LookupError, Service, TableId, bare, lower};

/// Something that is still to be worked off.
#[derive(Clone)]
struct Node {
    what: What,
    depth: u8,
    /// The address that led here, and its action; none for addresses, which ask the rules.
    owner: Option<Arc<Owner>>,
    /// In whose `.forward` it stands.
    author: Option<Arc<User>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Address(Mailbox),
    User {
        name: String,
        /// It came out of its own alias or `.forward`: it stands for itself.
        itself: bool,
    },
    /// With the uid of whose `.forward` it is.
    Command(String, Option<u32>),
    File(String, Option<u32>),
}

struct Owner {
    /// Which of the addresses; the same user may come up below two of them.
    index: usize,
    address: Mailbox,
    action: Arc<Action>,
}

/// The node that is being worked off, below an address whose action delivers here.
struct At<'a> {
    index: usize,
    address: &'a Mailbox,
    action: &'a Arc<Action>,
    local: &'a Local,
    /// There already, unless the node is the address itself.
    owner: Option<&'a Arc<Owner>>,
    depth: u8,
}

impl At<'_> {
    fn owner(&self) -> Arc<Owner> {
        self.owner.cloned().unwrap_or_else(|| {
            let (address, action) = (self.address.clone(), Arc::clone(self.action));
            Arc::new(Owner { index: self.index, address, action })
        })
    }
}

/// What a list of targets comes out of.
#[derive(Clone, Copy)]
struct Parent<'a> {
    /// The user it belongs to.
    name: Option<&'a str>,
    /// That user, when it is a `.forward`.
    author: Option<&'a Arc<User>>,
}

/// One expansion.
pub(super) struct Work<'w, O> {
    config: &'w Config,
    facts: &'w Facts<'w>,
    outside: &'w dyn Outside,
    nodes: Vec<Node>,
    /// What was met: addresses once, all else once below each address. Only kept when there is
    /// more than the recipient itself.
    seen: Option<HashSet<(What, usize)>>,
    recipients: Vec<Recipient>,
    observer: &'w mut O,
}

/// In the place of an owner's index for what is met once in all.
const ANYWHERE: usize = usize::MAX;

impl<'w, O: Observer> Work<'w, O> {
    pub fn new(
        config: &'w Config,
        facts: &'w Facts<'w>,
        outside: &'w dyn Outside,
        observer: &'w mut O,
    ) -> Self {
        let (nodes, seen, recipients) = (Vec::new(), None, Vec::new());
        Work { config, facts, outside, nodes, seen, recipients, observer }
    }

    /// Works off all that the recipient leads to.
    pub fn run(&mut self, rcpt: &Mailbox) -> Result<(), Stop> {
        self.observer.step(0);
        let (config, facts, outside) = (self.config, self.facts, self.outside);
        let is_taken = || {
            let decision = config.decide_for(facts, rcpt, false, outside, &mut ());
            matches!(decision, Decision::Action { .. })
        };
        match config.comes_back(facts, rcpt) {
            // As an alias it is judged as it is given before what it leads to.
            Some(Ok(original)) if is_taken() => self.address(0, &original, 1)?,
            Some(Ok(_)) => self.address(0, rcpt, 0)?,
            // What cannot be read is an address like others.
            Some(Err(_)) | None => self.address(0, rcpt, 0)?,
        }
        let mut next = 0;
        while next < self.nodes.len() {
            let node = self.nodes[next].clone();
            next += 1;
            self.observer.step(next);
            self.node(next, node)?;
        }
        if self.recipients.is_empty() { Err(Stop::Nobody) } else { Ok(()) }
    }

    /// The expansion has ended without anybody.
    pub fn stopped(&mut self, why: &Stop) {
        self.observer.stopped(why);
    }

    /// Without those that got the message twice: one user of one address over two aliases.
    pub fn distinct(mut self) -> Vec<Recipient> {
        if self.recipients.len() > 1 {
            let mut known = HashSet::new();
            let observer = self.observer;
            let mut nth = 0;
            self.recipients.retain(|recipient| {
                let agent = match &recipient.agent {
                    Agent::Local { user, .. } => (0, user.clone(), None),
                    Agent::Relay => (1, "".into(), None),
                    Agent::Command { command, runs_as } => {
                        (2, command.clone(), runs_as.as_ref().map(|user| user.uid))
                    }
                    Agent::File { path, runs_as } => {
                        (3, path.clone(), runs_as.as_ref().map(|user| user.uid))
                    }
                };
                let is_new = known.insert((recipient.dest.clone(), agent));
                if !is_new {
                    observer.repeats(nth);
                }
                nth += 1;
                is_new
            });
        }
        self.recipients
    }

    fn node(&mut self, index: usize, node: Node) -> Result<(), Stop> {
        let Node { what, depth, owner, author } = node;
        let owner = match (what, &owner) {
            (What::Address(address), _) => return self.address(index, &address, depth),
            // Only addresses have none.
            (_, None) => return Ok(()),
            (What::User { name, itself }, Some(owner)) => {
                let Method::Local(local) = &owner.action.method else { return Ok(()) };
                let (address, action) = (&owner.address, &owner.action);
                let at = At { index, address, action, local, owner: Some(owner), depth };
                return self.user(&at, &name, itself, author.is_some());
            }
            (What::Command(command, _), Some(owner)) => {
                (owner, Agent::Command { command: command.into(), runs_as: author })
            }
            (What::File(path, _), Some(owner)) => {
                (owner, Agent::File { path: path.into(), runs_as: author })
            }
        };
        let (owner, agent) = owner;
        self.deliver_to(&owner.action, &owner.address, agent);
        Ok(())
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
        let at = At { index, address, action, local, owner: None, depth };
        if let Aliases::Virtual(table) = local.aliases {
            let targets =
                self.virtual_targets(table, address.local_part(), Some(address.domain()))?;
            let targets = targets.ok_or(Stop::NotInVirtual)?;
            return self.push(targets, &at, Parent { name: None, author: None }).map(drop);
        }
        // By far the most recipients are a user without an alias: no node, no owner for them.
        self.user(&at, &lower(address.local_part()), false, false)
    }

    /// A name that may be an alias, and is a user if not. `forwarded` when it stands in a
    /// `.forward`.
    fn user(&mut self, at: &At<'_>, name: &str, itself: bool, forwarded: bool) -> Result<(), Stop> {
        if !itself && let Some(targets) = self.alias_targets(at.local, name)? {
            return self.push(targets, at, Parent { name: Some(name), author: None }).map(drop);
        }
        let name = self.bare(name);
        let account = self.config.local_account(at.local, name, self.outside, self.observer);
        let runs_as = match account {
            Account::User { user, runs_as } => {
                // Whoever names himself in his `.forward` wants to keep a copy. And the files of a
                // user in whose name nothing is delivered are not followed either.
                let is_read = !(itself && forwarded) && runs_as.name == user.name;
                if is_read && self.forward(at, &user)? {
                    return Ok(());
                }
                Some(runs_as)
            }
            Account::Own => None,
            Account::Unknown => return Err(Stop::NoUser),
            Account::Later => return Err(Stop::Later),
            Account::Failed => return Err(Stop::UserFailed),
        };
        match at.local.delivery {
            Delivery::ForwardOnly => return Err(Stop::ForwardOnly),
            Delivery::ExpandOnly => return Err(Stop::ExpandOnly),
            _ => {}
        }
        self.deliver_to(at.action, at.address, Agent::Local { user: name.into(), runs_as });
        Ok(())
    }

    /// Follows a user's `.forward`; whether it leads anywhere.
    fn forward(&mut self, at: &At<'_>, user: &Arc<User>) -> Result<bool, Stop> {
        let text = match self.outside.forward(user) {
            Forward::None => return Ok(false),
            Forward::Text(text) => text,
            Forward::Later => return Err(Stop::Later),
            Forward::Failed => return Err(Stop::ForwardFailed),
            Forward::Refused => return Err(Stop::ForwardRefused),
        };
        let targets = alias::parse_forward(&text).map_err(|_| Stop::ForwardFailed)?;
        self.observer.forwarded(&user.name);
        let inserted =
            self.push(targets, at, Parent { name: Some(&user.name), author: Some(user) })?;
        Ok(inserted > 0)
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

    /// The targets of the first key that is there.
    fn first<'k>(
        &mut self,
        table: TableId,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Result<Option<Vec<Target>>, Stop> {
        for key in keys {
            let value =
                self.config.value(table, Service::Alias, key, self.outside, self.observer)?;
            let Some(value) = value else { continue };
            let mut targets = Vec::new();
            for target in alias::parse(&value).map_err(|_| LookupError::BadValue)? {
                match target {
                    Target::Include(path) => targets.extend(self.included(&path)?),
                    target => targets.push(target),
                }
            }
            // An alias of nothing is none.
            return Ok(Some(targets).filter(|targets| !targets.is_empty()));
        }
        Ok(None)
    }

    /// What stands in an included file. It is read at each expansion, so it may change.
    fn included(&mut self, path: &str) -> Result<Vec<Target>, Stop> {
        let targets = alias::parse_included(&self.outside.include(path)?);
        self.observer.included(path, targets.len());
        Ok(targets)
    }

    /// The name without its sub-address.
    fn bare<'n>(&self, name: &'n str) -> &'n str {
        bare(name, &self.config.smtp.sub_addr_delim)
    }

    /// Adds what was not met before; how many that are.
    fn push(
        &mut self,
        targets: Vec<Target>,
        at: &At<'_>,
        parent: Parent<'_>,
    ) -> Result<usize, Stop> {
        if at.depth + 1 >= limits::EXPANSION_DEPTH {
            return Err(Stop::TooDeep);
        }
        let owner = at.owner();
        let uid = parent.author.map(|author| author.uid);
        let only_addresses = at.local.delivery == Delivery::ForwardOnly;
        let before = self.nodes.len();
        let seen = self.seen.get_or_insert_with(|| {
            HashSet::from([(What::Address(owner.address.clone()), ANYWHERE)])
        });
        // The name that an address stands for is met with it.
        if at.owner.is_none() && parent.name.is_some() {
            let name = lower(at.address.local_part()).into_owned();
            seen.insert((What::User { name, itself: false }, at.index));
        }
        for target in targets {
            self.observer.target(&target);
            let what = match target {
                Target::Address(address) => What::Address(address),
                Target::User(name) => {
                    let itself = parent.name == Some(&name);
                    What::User { name, itself }
                }
                _ if only_addresses => return Err(Stop::OnlyAddresses),
                Target::Error(reply) => return Err(Stop::Told(reply)),
                Target::Filter(_) | Target::File(_) if uid == Some(0) => {
                    return Err(Stop::RootForward);
                }
                Target::Filter(command) => What::Command(command, uid),
                Target::File(path) => What::File(path, uid),
                // One level of these is read, as part of the list that names it.
                Target::Include(_) => continue,
            };
            let below = match what {
                What::Address(_) => ANYWHERE,
                _ => owner.index,
            };
            if !seen.insert((what.clone(), below)) {
                self.observer.fate(Fate::Known);
                continue;
            }
            if self.nodes.len() >= limits::EXPANSION_NODES {
                return Err(Stop::TooMany);
            }
            let (owner, author) = (Some(Arc::clone(&owner)), parent.author.cloned());
            self.nodes.push(Node { what, depth: at.depth + 1, owner, author });
            self.observer.fate(Fate::Node(self.nodes.len()));
        }
        Ok(self.nodes.len() - before)
    }

    fn deliver_to(&mut self, action: &Arc<Action>, dest: &Mailbox, agent: Agent) {
        let recipient = Recipient { dest: dest.clone(), action: Arc::clone(action), agent };
        self.observer.delivers(&recipient);
        self.recipients.push(recipient);
    }
}
