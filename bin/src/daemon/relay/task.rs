//! What the relay works on: messages on their way to one next hop, and that hop.

use std::net::IpAddr;
use std::sync::Arc;

use smtpd_config::Family;
use smtpd_config::route::{HopTls, Login};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_queue::delivery::Attempt;
use smtpd_queue::envelope::Message;
use smtpd_queue::id::EnvelopeId;
use smtpd_queue::lanes::BatchId;
use smtpd_queue::request::Stored;

use super::names::Host;
use super::pace::Pace;

/// A message for recipients that share a next hop: one mail transaction, if nothing goes wrong.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where it goes.
    pub hop: Arc<Hop>,
    /// The message.
    pub message: Arc<Message>,
    /// The reverse-path to be given, which an action may have changed.
    pub from: ReversePath,
    /// Those who have no outcome yet.
    pub recipients: Vec<Recipient>,
    /// The content.
    pub content: Content,
}

/// One envelope of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The batch to which its outcome belongs.
    pub batch: BatchId,
    /// Its envelope.
    pub id: EnvelopeId,
    /// The forward-path.
    pub to: Mailbox,
}

/// What is sent, and what is known of it beforehand.
#[derive(Clone, Debug)]
pub struct Content {
    /// Where it is; to be read by others than the reactor when it is not in memory.
    pub stored: Stored,
    /// Some octet may be above 127.
    pub eight_bit: bool,
    /// Some octet of the header is.
    pub utf8_header: bool,
}

/// A next hop by today's configuration. Tasks with equal keys share connections.
#[derive(Debug)]
pub struct Hop {
    /// What it is known by.
    pub key: Key,
    /// What administrators see of it.
    pub title: String,
    /// How its servers are found.
    pub way: Way,
    /// Its servers share the mail; else each is for when those before it do not answer.
    pub balance: bool,
    /// The name given with EHLO when no source address has one of its own.
    pub helo: String,
    /// Source addresses in turn, each with the name that goes with it; the system chooses when
    /// there are none.
    pub sources: Vec<(IpAddr, String)>,
    /// Only addresses of this family.
    pub family: Option<Family>,
    /// Content goes in chunks to servers that take it so.
    pub chunking: bool,
    /// How many connections, and how fast.
    pub pace: Pace,
}

impl Hop {
    /// What `max-conn-per-domain` counts by towards a server of the hop: the domain whose MX it
    /// is, or its name where that is configured.
    #[must_use]
    pub fn domain<'h>(&'h self, host: &'h Host) -> &'h Arc<str> {
        match self.way {
            Way::Mx { .. } => &self.key.place,
            Way::Servers(_) => &host.name,
        }
    }
}

/// By this a next hop is known: the action, which says how, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The name of the action.
    pub action: Arc<str>,
    /// The domain in lower case, or the URLs of the servers.
    pub place: Arc<str>,
}

/// How the servers of a hop are found.
#[derive(Debug)]
pub enum Way {
    /// By the MX records of a domain (RFC 5321 section 5.1).
    Mx {
        /// The domain in lower case, or an address literal.
        domain: String,
        /// Only servers that are better than the one with this name.
        better_than: BetterThan,
        /// TLS towards them.
        tls: HopTls,
    },
    /// These, each when those before it do not answer.
    Servers(Vec<Server>),
}

/// Whose preference cuts the list of MX hosts off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BetterThan {
    /// This server's, under this name: mail must not come back to it.
    Own(String),
    /// That of another one, for which this is a backup.
    Primary(String),
}

/// A server that the configuration names.
#[derive(Debug)]
pub struct Server {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS towards it.
    pub tls: HopTls,
    /// It speaks LMTP.
    pub lmtp: bool,
    /// What it is told about who we are.
    pub login: Option<Login>,
}

/// What has come of recipients.
pub type Attempts = Vec<(EnvelopeId, Attempt)>;
