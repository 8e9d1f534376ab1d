//! The lines of `smtpctl show queue`.
//!
//! ```text
//! EVPID|SRC|AGENT|FLAGS|SENDER|RCPT|DEST|CTIME|EXPIRE|LASTTRY|RETRY|STATE|N|ERROR
//! ```
//!
//! All of it comes from the journal, which knows how each envelope stands; the scheduler adds
//! which of them are being tried just now. A listing is made of bounded [pages](page), by a
//! thread that may wait for the disk: neither the scheduler nor the commit thread is held up by
//! a long one, and tools can make it while the daemon is down.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;

use crate::delivery::envelope;
use crate::envelope::{Due, Message, Source, State};
use crate::id::{EnvelopeId, MessageId};
use crate::reader::{Found, Reader};
use crate::schedule;
use crate::text::{Address, Visible};

/// The envelopes that are being tried, and since when by the wall clock, in microseconds since
/// 1970.
pub type InFlight = HashMap<EnvelopeId, u64>;

/// Some envelopes of a queue.
#[derive(Clone, Debug)]
pub struct Page {
    /// The envelopes, those of a message together.
    pub envelopes: Vec<Listed>,
    /// The message behind which the next page begins; `None` at the end of the queue.
    pub end: Option<MessageId>,
}

/// The envelopes of the next `limit` messages behind `after`, in the order of message ids.
///
/// Messages whose records are damaged are left out. Errors are those of the disk.
pub fn page(reader: &Reader, after: Option<MessageId>, limit: usize) -> io::Result<Page> {
    let messages = reader.behind(after, limit);
    let mut envelopes = Vec::new();
    for id in &messages {
        match reader.message(*id) {
            Ok(found) => envelopes.extend(found.into_iter().flat_map(Listed::all)),
            Err(error) if error.kind() == ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
    }
    let end = messages.last().copied().filter(|_| messages.len() == limit);
    Ok(Page { envelopes, end })
}

/// An envelope as it stands.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its message.
    pub message: Arc<Message>,
    /// Which envelope.
    pub id: EnvelopeId,
    /// What is known of earlier attempts.
    pub state: State,
}

impl Listed {
    /// All envelopes of a message.
    pub fn all(found: Found) -> impl Iterator<Item = Self> {
        let Found { message, states, .. } = found;
        (0..).zip(states).map(move |(at, state)| {
            let message = Arc::clone(&message);
            Self { id: message.envelopes[at].id, message, state }
        })
    }

    /// The envelope's line at the time `now` (microseconds since 1970), without a line end.
    pub fn line(&self, in_flight: &InFlight, now: u64) -> impl fmt::Display {
        Line { listed: self, since: in_flight.get(&self.id).copied(), now }
    }
}

struct Line<'a> {
    listed: &'a Listed,
    /// Since when it is in flight, if it is.
    since: Option<u64>,
    now: u64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listed { message, id, state } = self.listed;
        let envelope = envelope(message, *id);
        let source = match message.source {
            Source::Local => "local",
            Source::Ip(IpAddr::V4(_)) => "inet4",
            Source::Ip(IpAddr::V6(_)) => "inet6",
        };
        let flags = [
            (message.username.is_some(), "auth"),
            (envelope.internal, "internal"),
            (state.due == Due::Held, "hold"),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
        write!(
            f,
            "{id}|{source}|{agent}|{flags}|{sender}|{rcpt}|{dest}|{ctime}|{expire}|{last}|{tries}|",
            agent = envelope.agent.kind().name(),
            flags = flags.collect::<Vec<_>>().join(","),
            sender = Address(message.sender.mailbox()),
            rcpt = envelope.rcpt,
            dest = envelope.dest,
            ctime = seconds(message.ctime),
            expire = seconds(schedule::expiry(message.ctime, envelope.ttl)),
            last = seconds(state.last_try),
            tries = state.tries,
        )?;
        let now = seconds(self.now);
        match (self.since, state.due) {
            (Some(since), _) => write!(f, "inflight|{}", now - seconds(since))?,
            (None, Due::At(due)) => write!(f, "pending|{}", seconds(due) - now)?,
            // Not before somebody says so: the flag tells, and there is no time to give.
            (None, Due::Held) => f.write_str("pending|0")?,
        }
        write!(f, "|{}", Visible(&state.error))
    }
}

fn seconds(micros: u64) -> i64 {
    (micros / 1_000_000) as i64
}
