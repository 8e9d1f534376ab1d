//! Filters as they are declared. What they do comes with the filter machinery; here they are
//! only read and checked.

use crate::diagnostic::Position;
use crate::table::Operand;

/// Whether a filter of that name is a chain that is written where it is used. Nobody declares such
/// a name.
pub(crate) fn is_anonymous(name: &str) -> bool {
    name.starts_with('<')
}

/// `proc NAME COMMAND`: a long-running filter process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    /// Where it is declared.
    pub position: Position,
    /// Shell command, or a name below the program's libexec.
    pub command: String,
    /// Runs as this user.
    pub user: Option<String>,
    /// Runs as this group; the user's own otherwise.
    pub group: Option<String>,
    /// Runs with this root directory.
    pub chroot: Option<String>,
}

/// `filter NAME ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Where it is declared.
    pub position: Position,
    /// What it is.
    pub kind: FilterKind,
}

/// The kinds of filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterKind {
    /// Asks the process of that name.
    Processor(String),
    /// Others, one after the other.
    Chain(Vec<String>),
    /// A condition and what happens when it holds.
    Builtin {
        /// The phase as written.
        phase: String,
        /// `!` before the condition.
        not: bool,
        /// The condition's word.
        condition: FilterCondition,
        /// What happens.
        action: FilterAction,
    },
}

/// The condition of a builtin filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterCondition {
    /// Forward-confirmed reverse DNS.
    Fcrdns,
    /// Reverse name, any or of a table.
    Rdns(Option<Operand>),
    /// Client address.
    Src(Operand),
    /// HELO name.
    Helo(Operand),
    /// Authenticated, as anybody or of a table.
    Auth(Option<Operand>),
    /// Envelope sender.
    MailFrom(Operand),
    /// Recipient.
    RcptTo(Operand),
}

/// What a builtin filter does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterAction {
    /// Refuses with this reply.
    Reject(String),
    /// Refuses with this reply and hangs up.
    Disconnect(String),
    /// Replaces the command's argument.
    Rewrite(String),
    /// Reports and goes on.
    Report(String),
    /// Marks as spam.
    Junk,
    /// Skips the other filters of the phase.
    Bypass,
}
