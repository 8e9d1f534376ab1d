//! What the scheduler hands out, and what comes back.
//!
//! A [`Batch`] goes to one worker. Whoever runs the workers looks the name of each job's action
//! up in today's configuration, which gives a place or a reason to hold the envelope, and
//! answers with a [`Report`] for the batch, or with several as outcomes become known: the quick
//! ones do not wait for the slow ones. Nothing is said of a job before what it says is durable,
//! and every job is told of in the end.

use std::net::IpAddr;
use std::sync::Arc;

use smtpd_engine::limits;
use smtpd_engine::reply::Enhanced;

use crate::envelope::{Agent, Envelope, Message};
use crate::id::EnvelopeId;
use crate::lanes::BatchId;
use crate::request::Stored;

/// The two kinds of [`Agent`]: what can be paused and limited by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Local delivery.
    Mda = 0,
    /// Relaying.
    Mta = 1,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mda, Self::Mta];

    /// As it is named in commands and listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mda => "mda",
            Self::Mta => "mta",
        }
    }

    pub(crate) fn from_u8(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == octet)
    }
}

impl Agent {
    /// The kind of this agent.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Mda { .. } => Kind::Mda,
            Self::Mta => Kind::Mta,
        }
    }
}

/// Envelopes to be tried in one go, at most [`Limits::batch`](crate::lanes::Limits::batch).
#[derive(Clone, Debug)]
pub struct Batch {
    /// Comes back with the report.
    pub id: BatchId,
    /// The kind of all its jobs.
    pub kind: Kind,
    /// In the order in which they became due.
    pub jobs: Vec<Job>,
}

/// One envelope to be tried.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its message.
    pub message: Arc<Message>,
    /// Which envelope of the message.
    pub id: EnvelopeId,
    /// The content.
    pub content: Stored,
    /// Whether an earlier attempt may have gone further than is known: every attempt but the
    /// first one of a message that this process has accepted itself.
    pub again: bool,
}

impl Job {
    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        envelope(&self.message, self.id)
    }
}

/// The envelope `id` of its message, which must have it. Its place tells where it is, unless
/// some of those before it were settled and left out when the message was read.
pub(crate) fn envelope(message: &Message, id: EnvelopeId) -> &Envelope {
    let at_place = message.envelopes.get(id.nth() as usize).filter(|one| one.id == id);
    let found = at_place.or_else(|| message.envelopes.iter().find(|one| one.id == id));
    found.expect("an envelope is kept with the message it belongs to")
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is delivered, and durable.
    Delivered,
    /// Another server has taken it. Its words come along when it promises no notices (it does not
    /// offer DSN) and the message asks for one: then this server is the last that can tell the
    /// sender that it went well (RFC 3461 section 5.2.2).
    Relayed(Option<Arc<Remote>>),
    /// It failed for now.
    Later(Failure),
    /// It failed for good, whenever it is tried: its sender has to know.
    Failed(Failure),
    /// It cannot be tried, for this reason: no such action, or one whose machinery is not there.
    /// That is not the sender's business but an administrator's, and is waited for.
    Held(String),
}

impl Attempt {
    /// Whether the envelope has gone where it was to go.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Delivered | Self::Relayed(_))
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs, and for the sender.
    pub status: Enhanced,
    /// What the log and the listing of the queue say. Where no other server is quoted these are
    /// the machine's own words, which may name paths and users, and the sender never sees them.
    pub text: String,
    /// The other server that said so, for the sender.
    pub remote: Option<Arc<Remote>>,
    /// Nothing was tried, as it may not be before this time of the wall clock (microseconds since
    /// 1970): it is tried then, and the back-off of the envelope is what it was.
    pub not_before: Option<u64>,
}

impl Failure {
    /// A failure of this machine, with a status of class, subject and detail (RFC 3463).
    pub fn new((class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Self {
        Self {
            status: Enhanced { class, subject, detail },
            text: text.into(),
            remote: None,
            not_before: None,
        }
    }
}

/// What another server said of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    host: Box<str>,
    reply: Box<str>,
}

/// Octets kept of a reply: as many as one line of it has (RFC 5321 section 4.5.3.1.5). The log has
/// all of it.
const REPLY: usize = 512;

impl Remote {
    /// The reply, in one line, of the server with this name or address. Of either no more is kept
    /// than is bounded.
    #[must_use]
    pub fn new(host: &str, reply: &str) -> Self {
        let host = match host.parse() {
            Ok(IpAddr::V4(ip)) => format!("[{ip}]").into(),
            Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]").into(),
            Err(_) => beginning(host, limits::DOMAIN).into(),
        };
        Self { host, reply: beginning(reply, REPLY).into() }
    }

    /// The name of the server, or its address as a literal.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its reply: code, perhaps enhanced code, and text.
    pub fn reply(&self) -> &str {
        &self.reply
    }

    /// The status that the reply gives to what went well: its own enhanced code, if it has one.
    pub fn success(&self) -> Enhanced {
        let own = Enhanced::of_reply(&self.reply).filter(|own| own.class == SUCCESS.class);
        own.unwrap_or(SUCCESS)
    }
}

/// The status of what went well, in no more words (RFC 3463 section 3.1).
pub const SUCCESS: Enhanced = Enhanced { class: 2, subject: 0, detail: 0 };

/// The text, or as much of its beginning as fits into so many octets.
#[must_use]
pub fn beginning(text: &str, octets: usize) -> &str {
    let is_between = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=text.len().min(octets)).rev().find(is_between).unwrap_or(0);
    &text[..end]
}

/// What came of a batch, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The batch.
    pub batch: BatchId,
    /// One for each job that is told of, in any order. Of several for one job the first counts.
    pub attempts: Vec<(EnvelopeId, Attempt)>,
}
