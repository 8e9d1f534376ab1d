//! What is done with a message: `action "name" maildir ...`, `action "name" relay ...`.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::Position;
use crate::format::Template;
use crate::places::Places;
use crate::table::TableId;
use crate::tls::{Ciphers, Groups, Protocols};

/// A named action. Envelopes keep the name and look it up when they are due, so queued mail
/// follows a changed configuration.
#[derive(Debug, Clone)]
pub struct Action {
    /// As declared; legacy actions are named by a hash of their printed form.
    pub name: Arc<str>,
    /// Where it is declared.
    pub position: Position,
    /// Where its options stand.
    pub places: Places,
    /// What it does.
    pub method: Method,
    /// Life time of its envelopes, instead of `queue ttl`.
    pub ttl: Option<Duration>,
    /// `ttl ... fixed`, and always in legacy files: the life time is the one of the day when the
    /// message came in, not looked up later.
    pub ttl_at_submission: bool,
}

/// What the name of a legacy action begins with; a hash of 16 hexadecimal digits follows.
pub(crate) const LEGACY: &str = "legacy-";

impl Action {
    /// Whether a name is that of a legacy action: not of this configuration, perhaps, but of one
    /// that was read once.
    #[must_use]
    pub fn is_legacy(name: &str) -> bool {
        let hash = name.strip_prefix(LEGACY);
        hash.is_some_and(|hash| {
            hash.len() == 16 && hash.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
        })
    }
}

/// Deliver here, or pass on.
#[derive(Debug, Clone)]
pub enum Method {
    /// To a user of this machine.
    Local(Box<Local>),
    /// To another mail server.
    Relay(Box<Relay>),
}

/// Local delivery and who the recipients are.
#[derive(Debug, Clone)]
pub struct Local {
    /// How the message is stored.
    pub delivery: Delivery,
    /// Delivery runs as this system user for every recipient.
    pub user: Option<String>,
    /// How local parts are turned into others.
    pub aliases: Aliases,
    /// Who is a user.
    pub userbase: Userbase,
    /// Name of the `mda wrapper` around the delivery command.
    pub wrapper: Option<String>,
}

/// The ways of local delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The system's mailbox format.
    Mbox,
    /// A Maildir.
    Maildir {
        /// Its path; without one, `~/Maildir`.
        path: Option<Template>,
        /// Messages marked as spam go to its `.Junk`.
        junk: bool,
    },
    /// LMTP to `host:port` or a socket.
    Lmtp {
        /// Where to connect.
        destination: Template,
        /// The recipient is the expanded address instead of the user name.
        rcpt_to: bool,
    },
    /// A command that reads the message.
    Mda(Template),
    /// Only what an alias or a `.forward` turns into addresses of other rules.
    ForwardOnly,
    /// Only what an alias or a `.forward` turns into something else.
    ExpandOnly,
}

/// Where further recipients come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aliases {
    /// Nowhere: the local part is the user.
    None,
    /// `alias`: local parts.
    Alias(TableId),
    /// `virtual`: whole addresses, and every recipient must be found.
    Virtual(TableId),
}

/// Where users come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Userbase {
    /// The system's user database.
    System,
    /// A table of `uid:gid:directory`.
    Table(TableId),
    /// `userbase any`: every local part is a user, and the daemon delivers in its own name.
    Any,
}

/// Passing on to another server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relay {
    /// Which servers.
    pub route: Route,
    /// The servers of `host` share the mail, instead of being tried in order.
    pub balance: bool,
    /// TLS towards them.
    pub tls: RelayTls,
    /// Credentials by label of the URL.
    pub auth: Option<TableId>,
    /// HELO name.
    pub helo: Option<String>,
    /// HELO name by source address.
    pub helo_src: Option<TableId>,
    /// Source addresses.
    pub src: Option<TableId>,
    /// Envelope sender: `user`, `@domain` or both.
    pub mail_from: Option<String>,
    /// Client certificate, lower-cased name.
    pub pki: Option<String>,
    /// Trust anchors, lower-cased name.
    pub ca: Option<String>,
    /// Cipher list.
    pub ciphers: Option<Ciphers>,
    /// Protocol list.
    pub protocols: Option<Protocols>,
    /// Groups of key exchange.
    pub groups: Option<Groups>,
    /// Filter of the outgoing session.
    pub filter: Option<String>,
    /// Rewrite the sender of forwarded mail.
    pub srs: bool,
    /// Send content in chunks (RFC 3030) to who offers it.
    pub chunking: bool,
}

/// How the next hop is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Route {
    /// The recipient domain's MX hosts.
    #[default]
    Mx,
    /// MX hosts that are better than this one.
    Backup(Option<String>),
    /// One smarthost, or several in turn.
    Hosts(TableId),
    /// A smarthost by recipient domain.
    Domains(TableId),
}

/// What is asked of TLS where the URL leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelayTls {
    /// What the URL says; without one, used when offered.
    #[default]
    Opportunistic,
    /// Required and verified.
    Require,
    /// Required; the certificate is not looked at.
    RequireUnverified,
    /// Not used, also when it is offered.
    Never,
}
