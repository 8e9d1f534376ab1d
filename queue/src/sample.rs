//! A message to begin with, for the tests of this crate and of those that use it: each changes
//! what it is about, by `Message { ..sample::message(id, envelopes) }`, and the rest is what says
//! least (RFC 3461 asks for nothing, nobody authenticated, no TLS).

use smtpd_engine::address::{Mailbox, ReversePath};

use crate::envelope::{Agent, Envelope, Message, Source};
use crate::id::{EnvelopeId, MessageId};

/// When it was accepted, in microseconds since 1970.
pub const CTIME: u64 = 1_700_000_000_000_000;

/// How many seconds its envelopes live.
pub const TTL: u32 = 4 * 24 * 3600;

/// A message from alice@example.net, a user of this machine, with these envelopes. Their ids
/// become those of their places.
#[must_use]
pub fn message(id: MessageId, envelopes: impl IntoIterator<Item = Envelope>) -> Message {
    let numbered = |(nth, one)| Envelope { id: EnvelopeId::new(id, nth), ..one };
    Message {
        id,
        ctime: CTIME,
        sender: ReversePath::Mailbox(mailbox("alice@example.net")),
        source: Source::Local,
        helo: "localhost".into(),
        hostname: "localhost".into(),
        smtpname: "mail.example.org".into(),
        tag: String::new(),
        username: None,
        tls: false,
        smtputf8: false,
        ret: None,
        envid: None,
        envelopes: (0..).zip(envelopes).map(numbered).collect(),
    }
}

/// An envelope that the action `local` delivers to the user of that name.
///
/// # Panics
/// When the address is none.
#[must_use]
pub fn local(address: &str, user: &str) -> Envelope {
    envelope(address, "local", Agent::Mda { user: user.to_owned() })
}

/// An envelope that the action `out` relays.
///
/// # Panics
/// When the address is none.
#[must_use]
pub fn relayed(address: &str) -> Envelope {
    envelope(address, "out", Agent::Mta)
}

fn envelope(address: &str, action: &str, agent: Agent) -> Envelope {
    Envelope {
        id: EnvelopeId::new(MessageId::from_u32(1).expect("it is not zero"), 0),
        rcpt: mailbox(address),
        dest: mailbox(address),
        internal: false,
        action: action.to_owned(),
        agent,
        ttl: TTL,
        notify: None,
        orcpt: None,
    }
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox::parse(address).expect("a test writes addresses")
}
