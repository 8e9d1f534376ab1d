//! What can be watched while the rules are asked and a recipient is expanded.
//!
//! The code that decides tells an [`Observer`] what it does, step by step; what `smtpctl explain`
//! shows is what was told, so it cannot differ from what the server does. The server itself
//! watches nothing: its observer is `()`, whose empty methods are compiled away.

use crate::account::Account;
use crate::alias::Target;
use crate::expand::{Recipient, Stop};
use crate::rules::{Client, Condition};
use crate::table::{LookupError, Service, TableId};
use smtpd_engine::address::Mailbox;

/// Watches a decision. Every method may be left out.
///
/// The order of calls is that of the work: [`Observer::step`] says which node of the expansion is
/// worked on, and all that follows is about that node until the next step. Look-ups are told
/// before what comes of them.
pub trait Observer {
    /// A node is worked on; the recipient itself is node 0.
    fn step(&mut self, _node: usize) {}

    /// The rules are asked about an address; `internal` when an alias led to it.
    fn asked(&mut self, _rcpt: &Mailbox, _internal: bool) {}

    /// A condition is tested, whether the rule has it or not: the look-ups that follow are its.
    fn tests(&mut self, _condition: Condition) {}

    /// A rule was tried: the first condition that does not hold, `None` when all of them do.
    fn tried(&mut self, _rule: usize, _outcome: Result<Option<Miss>, LookupError>) {}

    /// A table was asked.
    fn looked_up(
        &mut self,
        _table: TableId,
        _service: Service,
        _key: Key<'_>,
        _answer: Answer<'_>,
    ) {
    }

    /// One element of the node's alias is looked at.
    fn target(&mut self, _target: &Target) {}

    /// What became of that element. Without it the element ended the expansion.
    fn fate(&mut self, _fate: Fate) {}

    /// A file that an alias includes was read, for as many elements.
    fn included(&mut self, _path: &str, _elements: usize) {}

    /// The `.forward` of a user is followed.
    fn forwarded(&mut self, _user: &str) {}

    /// Who a user is.
    fn account(&mut self, _user: &str, _account: &Account) {}

    /// The node gets the message.
    fn delivers(&mut self, _recipient: &Recipient) {}

    /// The delivery that was told as number `_delivery`, counted from 0, is not made: an earlier
    /// one is to the same.
    fn repeats(&mut self, _delivery: usize) {}

    /// The expansion ends here, and nobody gets the message.
    fn stopped(&mut self, _why: &Stop) {}
}

/// Watches nothing.
impl Observer for () {}

/// What a table was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A text, as it was asked.
    Text(&'a str),
    /// A client: `local` for the socket.
    Client(Client),
}

/// What a table said.
pub type Answer<'a> = Result<Found<'a>, LookupError>;

/// What a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// Not that key.
    Nothing,
    /// The key, or an entry that it matches.
    Key,
    /// The key, with this value.
    Value(&'a str),
}

impl Found<'_> {
    pub(crate) fn key(is_there: bool) -> Self {
        if is_there { Found::Key } else { Found::Nothing }
    }
}

/// A condition that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// Which.
    pub condition: Condition,
    /// Why it cannot hold here at all, whether negated or not.
    pub never: Option<Never>,
}

/// Why a condition cannot hold, also when it is negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {
    /// `from socket` and `from rdns` behind an alias: there is no client any more.
    NoClient,
    /// `from rdns` with a table, and the client has no reverse name.
    NoReverseName,
}

/// What became of an element of an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is a node of its own, to be worked off.
    Node(usize),
    /// It was met before, and is not worked off once more.
    Known,
}
