//! What the queue knows about an accepted message, each of its recipients, and how delivery
//! to them went.
//!
//! A [`Message`] with its [`Envelope`]s is written once and never changed; what happens to
//! an envelope afterwards is an [`Outcome`], and the latest of them gives its [`State`].
//! The facts by which the rules decided (source, helo, tag, user, TLS, recipient as given and
//! as expanded, time to live) are kept, so that an envelope whose action has gone from the
//! configuration can be decided again. How all this is written down is in `encode.rs`.
//!
//! Times are microseconds since 1970, of the wall clock.

use std::net::IpAddr;

use smtpd_engine::address::{Mailbox, ReversePath};

use crate::id::{EnvelopeId, MessageId};
use crate::lease::Epoch;

/// An accepted message without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id told to the peer.
    pub id: MessageId,
    /// When it was accepted.
    pub ctime: u64,
    /// The reverse-path of the transaction.
    pub sender: ReversePath,
    /// Where it came from.
    pub source: Source,
    /// The name given with HELO or EHLO.
    pub helo: String,
    /// The name of the peer's address in the DNS, or what stands for it.
    pub hostname: String,
    /// The name this server showed the peer.
    pub smtpname: String,
    /// The tag of the listener; empty without one.
    pub tag: String,
    /// Who authenticated, if anybody did.
    pub username: Option<String>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether the transaction asked for SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET of the transaction (RFC 3461 section 4.3).
    pub ret: Option<Ret>,
    /// ENVID of the transaction, as received (RFC 3461 section 4.4).
    pub envid: Option<String>,
    /// One for each recipient, in the order of their ids' places, from zero and without a gap.
    pub envelopes: Vec<Envelope>,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A process of this machine, or this server itself.
    Local,
    /// A peer with this address.
    Ip(IpAddr),
}

/// What a delivery report is to return (RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// When the sender wants to hear (RFC 3461 section 4.1). All false is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// When it was delivered.
    pub success: bool,
    /// When it cannot be delivered.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its id; the message's id is the upper half.
    pub id: EnvelopeId,
    /// The forward-path as the peer gave it.
    pub rcpt: Mailbox,
    /// What aliases and forward files made of it: the address delivered to.
    pub dest: Mailbox,
    /// Whether the queue made it itself, as for a bounce.
    pub internal: bool,
    /// The name of the action that delivers it, looked up in the configuration when due.
    pub action: String,
    /// The kind of that action when the envelope was made.
    pub agent: Agent,
    /// Time to live from the message's `ctime`, in seconds.
    pub ttl: u32,
    /// NOTIFY, if the peer gave it (RFC 3461 section 4.1).
    pub notify: Option<Notify>,
    /// ORCPT, as received (RFC 3461 section 4.2).
    pub orcpt: Option<String>,
}

/// Who delivers an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Local delivery in the name of this user.
    Mda {
        /// The user's login name.
        user: String,
    },
    /// Relaying to another server.
    Mta,
}

/// How things stand with one envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Attempts that failed for the time being.
    pub tries: u32,
    /// When the last attempt ended; zero before the first.
    pub last_try: u64,
    /// When it is tried next.
    pub due: Due,
    /// The words of the last failure, or why it is held. Empty when there are none.
    pub error: String,
    /// An administrator has paused it: whatever its due time, it is not tried before somebody
    /// resumes it.
    pub suspended: bool,
    /// The age in seconds at which its sender was last told that it is late; zero when he was
    /// not. It is on disk with the notice itself.
    pub told: u32,
}

/// When an envelope is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// As soon as this time has come.
    At(u64),
    /// Not before somebody says so.
    Held,
}

/// What came of an attempt, or of an order given by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The envelope it is about.
    pub envelope: EnvelopeId,
    /// Of the one who had the envelope. What is read from the journal names none.
    pub lease: Epoch,
    /// When it happened.
    pub at: u64,
    /// What happened.
    pub verdict: Verdict,
}

/// The kinds of outcome. The first two settle an envelope: it leaves the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered, or handed on to a server that has taken it.
    Delivered,
    /// Taken out by hand, or by the bounce in the same record.
    Removed,
    /// Failed for now.
    Later {
        /// Attempts that have failed, this one included.
        tries: u32,
        /// When to try again.
        due: u64,
        /// Why it failed.
        error: String,
    },
    /// Waits for somebody to say go on.
    Held {
        /// Attempts that have failed.
        tries: u32,
        /// Why it is held.
        error: String,
    },
    /// This is how it stands now: paused, resumed or scheduled by hand, which tries nothing; or
    /// failed, of one whose sender has been told that it is late.
    Changed(State),
}

impl Verdict {
    /// Whether the envelope leaves the queue with this.
    pub fn settles(&self) -> bool {
        matches!(self, Self::Delivered | Self::Removed)
    }
}

impl State {
    /// The state of an envelope that was never tried: due when its message was accepted.
    pub fn new(ctime: u64) -> Self {
        let (due, error) = (Due::At(ctime), String::new());
        Self { tries: 0, last_try: 0, due, error, suspended: false, told: 0 }
    }

    /// When it is tried next, its suspension considered.
    pub fn next_try(&self) -> Due {
        if self.suspended { Due::Held } else { self.due }
    }

    /// The state after `outcome`; `None` when it settled the envelope.
    pub fn after(outcome: &Outcome) -> Option<Self> {
        let (tries, due, error) = match &outcome.verdict {
            Verdict::Delivered | Verdict::Removed => return None,
            Verdict::Later { tries, due, error } => (*tries, Due::At(*due), error),
            Verdict::Held { tries, error } => (*tries, Due::Held, error),
            Verdict::Changed(state) => return Some(state.clone()),
        };
        let error = error.clone();
        Some(Self { tries, last_try: outcome.at, due, error, suspended: false, told: 0 })
    }
}
