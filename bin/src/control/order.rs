//! Orders about envelopes as they travel over the control socket.
//!
//! A queue may be longer than an answer may take, so an order goes step by step: smtpctl asks
//! again from where the last step ended, and the daemon keeps nothing between two steps.

use smtpd_queue::id::{EnvelopeId, MessageId};
pub use smtpd_queue::scheduler::Action;

use super::limits;
use super::wire::{Malformed, Reader, put_text};

/// Which envelopes an order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    Envelope(EnvelopeId),
    /// Those of this message.
    Message(MessageId),
    /// Those for this domain, where aliases have led; in any case. At most [`limits::DOMAIN`]
    /// octets.
    Domain(String),
    /// All in the queue.
    All,
}

/// What one step of an order has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Envelopes that are not as they were.
    pub changed: u32,
    /// Where the next step begins; `None` when nothing is left.
    pub next: Option<EnvelopeId>,
}

impl Selection {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Selection::Envelope(id) => {
                out.push(0);
                out.extend_from_slice(&id.as_u64().to_be_bytes());
            }
            Selection::Message(id) => {
                out.push(1);
                out.extend_from_slice(&id.as_u32().to_be_bytes());
            }
            Selection::Domain(domain) => {
                out.push(2);
                put_text(out, domain, limits::DOMAIN);
            }
            Selection::All => out.push(3),
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Selection, Malformed> {
        Ok(match from.u8()? {
            0 => Selection::Envelope(EnvelopeId::from_u64(from.u64()?).ok_or(Malformed)?),
            1 => Selection::Message(MessageId::from_u32(from.u32()?).ok_or(Malformed)?),
            2 => Selection::Domain(from.text(limits::DOMAIN)?.to_owned()),
            3 => Selection::All,
            _ => return Err(Malformed),
        })
    }
}

const ACTIONS: [Action; 4] = [Action::Schedule, Action::Hold, Action::Resume, Action::Remove];

pub(super) fn put_action(out: &mut Vec<u8>, action: Action) {
    out.push(action as u8);
}

pub(super) fn action(from: &mut Reader<'_>) -> Result<Action, Malformed> {
    let octet = from.u8()?;
    ACTIONS.into_iter().find(|action| *action as u8 == octet).ok_or(Malformed)
}
