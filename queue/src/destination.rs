//! Which lane an envelope travels in: a keyed hash of its destination.
//!
//! The key is that of the queue and secret, so that nobody can choose addresses that share a
//! lane, and so that the index holds no address.

use std::hash::{DefaultHasher, Hasher};

use crate::envelope::{Agent, Envelope};
use crate::lanes::LaneId;

/// Sorts envelopes into lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destinations {
    key: u64,
}

impl Destinations {
    /// The lanes of a queue with this key.
    pub fn new(key: u64) -> Self {
        Self { key }
    }

    /// The lane of an envelope: that of its user when it is delivered here, otherwise that of
    /// its domain.
    pub fn lane(&self, envelope: &Envelope) -> LaneId {
        match &envelope.agent {
            Agent::Mda { user } => self.hash(b'u', user.as_bytes()),
            Agent::Mta => self.domain(envelope.dest.domain()),
        }
    }

    /// The lane of what is relayed to a domain.
    pub fn domain(&self, domain: &str) -> LaneId {
        self.hash(b'd', domain.to_ascii_lowercase().as_bytes())
    }

    /// A number by which it is seen that lanes were made with another key, or by a standard
    /// library whose hash function was another.
    pub fn mark(&self) -> u64 {
        self.hash(b'm', b"")
    }

    /// The standard library's SipHash, begun with the key: what it gives is as hard to foresee
    /// as its inner state, which nobody without the key can know.
    fn hash(&self, letter: u8, name: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key.to_be_bytes());
        hasher.write_u8(letter);
        hasher.write(name);
        hasher.finish()
    }
}
