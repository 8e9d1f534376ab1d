//! An envelope as the queue listing shows it.

use smtpd_queue::id::EnvelopeId;

use super::limits;
use super::wire::{Malformed, Reader, put_text};

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The local socket.
    Local,
    /// An IPv4 peer.
    Inet4,
    /// An IPv6 peer.
    Inet6,
}

/// Who is to deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Local delivery.
    Mda,
    /// Relaying.
    Mta,
}

/// What is going on with it. Times are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Waiting until then (it may have passed).
    Pending(u64),
    /// Being tried since then.
    Inflight(u64),
    /// Held since then, until an administrator lets it go.
    Held(u64),
}

/// One envelope. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its id.
    pub id: EnvelopeId,
    /// Where it came from.
    pub origin: Origin,
    /// Who is to deliver it.
    pub agent: Agent,
    /// The session that brought it was authenticated.
    pub authenticated: bool,
    /// Reverse-path without angle brackets; empty when null.
    pub sender: String,
    /// Forward-path as given in RCPT.
    pub rcpt: String,
    /// Where it goes, after aliases.
    pub dest: String,
    /// When it was accepted.
    pub created: u64,
    /// When it expires.
    pub expires: u64,
    /// The last attempt; 0 before the first.
    pub last_try: u64,
    /// Attempts that failed.
    pub retries: u32,
    /// What is going on with it.
    pub situation: Situation,
    /// An administrator has paused it; what it waits for does not count meanwhile.
    pub suspended: bool,
    /// What the last attempt ended with, or why it is held; may be empty. Cut at
    /// [`limits::ERROR`] on its way.
    pub error: String,
}

impl QueueEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.as_u64().to_be_bytes());
        let (situation, at) = match self.situation {
            Situation::Pending(at) => (0, at),
            Situation::Inflight(at) => (1, at),
            Situation::Held(at) => (2, at),
        };
        let origin = match self.origin {
            Origin::Local => 0,
            Origin::Inet4 => 1,
            Origin::Inet6 => 2,
        };
        let agent = match self.agent {
            Agent::Mda => 0,
            Agent::Mta => 1,
        };
        let [authenticated, suspended] = [self.authenticated, self.suspended].map(u8::from);
        out.extend_from_slice(&[origin, agent, authenticated, suspended, situation]);
        out.extend_from_slice(&at.to_be_bytes());
        for time in [self.created, self.expires, self.last_try] {
            out.extend_from_slice(&time.to_be_bytes());
        }
        out.extend_from_slice(&self.retries.to_be_bytes());
        for address in [&self.sender, &self.rcpt, &self.dest] {
            put_text(out, address, limits::ADDRESS);
        }
        put_text(out, &self.error, limits::ERROR);
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<QueueEntry, Malformed> {
        let id = EnvelopeId::from_u64(from.u64()?).ok_or(Malformed)?;
        let origin = match from.u8()? {
            0 => Origin::Local,
            1 => Origin::Inet4,
            2 => Origin::Inet6,
            _ => return Err(Malformed),
        };
        let agent = match from.u8()? {
            0 => Agent::Mda,
            1 => Agent::Mta,
            _ => return Err(Malformed),
        };
        let authenticated = from.bool()?;
        let suspended = from.bool()?;
        let situation = match (from.u8()?, from.u64()?) {
            (0, at) => Situation::Pending(at),
            (1, at) => Situation::Inflight(at),
            (2, at) => Situation::Held(at),
            _ => return Err(Malformed),
        };
        Ok(QueueEntry {
            id,
            origin,
            agent,
            authenticated,
            created: from.u64()?,
            expires: from.u64()?,
            last_try: from.u64()?,
            retries: from.u32()?,
            situation,
            suspended,
            sender: from.text(limits::ADDRESS)?.to_owned(),
            rcpt: from.text(limits::ADDRESS)?.to_owned(),
            dest: from.text(limits::ADDRESS)?.to_owned(),
            error: from.text(limits::ERROR)?.to_owned(),
        })
    }
}
