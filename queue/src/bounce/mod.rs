//! Reports to the sender of a message (RFC 3461, RFC 3464): what was given up, what is late, and
//! what was delivered or handed on when he asked to know.
//!
//! Everything here is pure: whether a report is [due to anybody](address), of which recipients
//! it [speaks](wants), what of the message it [returns](Original), and its [octets](Report). The
//! report is a message of its own from `<>`; whoever makes it commits it in one record with the
//! outcomes it tells of, so that neither is there without the other.
//!
//! A report is bounded, whatever the message was: [`RECIPIENTS`] of them, [`RETURNED`] octets of
//! the message. Nothing that a peer, a file or another server said can add a line to it.

mod original;
mod report;
mod words;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::address::{Mailbox, ReversePath, is_domain};
use smtpd_engine::reply::Enhanced;

use crate::delivery::Remote;
use crate::envelope::{Envelope, Message, Outcome, Source};
use crate::id::EnvelopeId;
use crate::request::Stored;
use crate::spool::INLINE;

pub use original::Original;
pub use report::{Recipient, Report};

/// Recipients of one report at most: those of a message that are more have another.
pub const RECIPIENTS: usize = 50;

/// Octets of a message that are returned at most. A larger one is returned by its header, and
/// of a larger header the beginning.
pub const RETURNED: usize = 64 << 10;

/// Octets that a recipient takes in a report at most: two addresses and the original one with
/// the names of their fields, another server with its words twice, and two dates.
const RECIPIENT: usize = 3600;
const _: () = assert!(RECIPIENTS * RECIPIENT + RETURNED + (8 << 10) <= INLINE);

/// What a report tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The recipients have the message.
    Delivered,
    /// Other servers have it, which promise no reports of their own.
    Relayed,
    /// The recipients will not get the message.
    Failed,
    /// They have not got it for this long, and may get it yet.
    Delayed(Duration),
}

impl Kind {
    /// As RFC 3464 section 2.3.3 names it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Failed => "failed",
            Self::Delayed(_) => "delayed",
        }
    }

    /// Whether there is nothing more to be done for the recipients.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Delivered | Self::Relayed)
    }
}

/// What the sender of a message is to be told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The message.
    pub message: Arc<Message>,
    /// Its content.
    pub content: Stored,
    /// What there is to tell.
    pub kind: Kind,
    /// Of whom, and what; never empty.
    pub about: Vec<About>,
}

/// An envelope that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What becomes true when the notice is on disk, or when it is clear that there is nobody to
    /// be told.
    pub outcome: Outcome,
    /// What happened, for programs.
    pub status: Enhanced,
    /// The other server that said so, if it was one.
    pub remote: Option<Arc<Remote>>,
}

impl Notice {
    /// The envelopes that it is about.
    pub fn ids(&self) -> impl Iterator<Item = EnvelopeId> {
        self.about.iter().map(|about| about.outcome.envelope)
    }
}

/// Why nobody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// The message is a report of this server itself.
    DoubleBounce,
    /// The reverse-path is null.
    NoReturnPath,
}

/// Whom a report about this message goes to. A report never leads to another, so that there is
/// no circle of them (RFC 5321 section 4.5.5).
///
/// # Errors
/// When nobody is to be told.
pub fn address(message: &Message) -> Result<&Mailbox, Nobody> {
    match &message.sender {
        _ if message.envelopes.iter().any(|envelope| envelope.internal) => {
            Err(Nobody::DoubleBounce)
        }
        ReversePath::Null => Err(Nobody::NoReturnPath),
        ReversePath::Mailbox(sender) => Ok(sender),
    }
}

/// The name by which this server speaks in a report: that which it showed who sent the message.
#[must_use]
pub fn name(message: &Message) -> &str {
    // What was moved in from another queue may have anything there.
    let name = &*message.smtpname;
    if is_domain(name) && name.is_ascii() { name } else { "localhost" }
}

/// Whether the sender wants to hear this of an envelope (RFC 3461 section 4.1). Who did not say
/// hears of failures and delays.
#[must_use]
pub fn wants(envelope: &Envelope, kind: Kind) -> bool {
    match (kind, envelope.notify) {
        (Kind::Delivered | Kind::Relayed, notify) => notify.is_some_and(|notify| notify.success),
        (_, None) => true,
        (Kind::Failed, Some(notify)) => notify.failure,
        (Kind::Delayed(_), Some(notify)) => notify.delay,
    }
}

/// Whether the sender of this message hears of success when he asks for it: somebody who
/// authenticated, or who sent it from this machine, which has the addresses `own` beside those of
/// its loopback interface.
///
/// A stranger does not: what he gives as his address may be anybody's, who would get a message
/// for each that is delivered; and he would learn which addresses there are.
#[must_use]
pub fn may_hear_of_success(message: &Message, own: &[IpAddr]) -> bool {
    message.username.is_some()
        || match message.source {
            Source::Local => true,
            Source::Ip(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback() || own.contains(&ip)
            }
        }
}

/// The age of which the sender is to be told, after an attempt that failed for now: the first
/// one of `ages`, which ascend, that will have passed when the next attempt is `due` and that
/// is above `told`, the last one he was told of.
#[must_use]
pub fn passed(ages: &[Duration], ctime: u64, due: u64, told: Duration) -> Option<Duration> {
    let wait = Duration::from_micros(due.saturating_sub(ctime));
    ages.iter().copied().find(|age| *age > told && *age <= wait)
}

/// The time to live is over (RFC 3463 section 3.5).
pub const EXPIRED: Enhanced = Enhanced { class: 5, subject: 4, detail: 7 };
