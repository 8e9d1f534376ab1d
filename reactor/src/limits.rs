//! The bounds of the reactor, each with its reason. Those of a session are the engine's.

use std::time::Duration;

/// What the caller decides for one reactor.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sessions at once, at least 1. At this number a peer is told 421 4.3.2. Each takes one
    /// file descriptor, and up to [`PARTING`] more are kept for a moment after their session.
    pub sessions: usize,
    /// Sessions at once of one IPv4 address or IPv6 /64, loopback excepted (`smtp limit
    /// max-conn-per-src`). Beyond it a peer is told 421 4.7.0. Each reactor counts its own.
    pub sessions_per_source: u32,
    /// How long after a stop the sessions whose message is being committed are waited for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { sessions: 10_000, sessions_per_source: 50, grace: Duration::from_secs(30) }
    }
}

/// Octets of one read of mail data. A message of 1 MiB so comes in some 16 runs, and the buffer
/// stays in the processor's second cache.
pub(crate) const READ_DATA: usize = smtpd_engine::limits::INPUT_BUFFER;

/// Octets of one read of commands. What is read behind a question that takes its time is kept,
/// so this much is what a peer that pipelines can make each of its sessions hold. Two hundred
/// recipients fit in.
pub(crate) const READ_COMMANDS: usize = 8 * 1024;

const _: () = assert!(READ_COMMANDS >= 2 * (smtpd_engine::limits::COMMAND_LINE + 2));
const _: () = assert!(READ_DATA >= READ_COMMANDS + smtpd_engine::limits::COMMAND_LINE + 2);

/// Steps of one session in one turn. A run of mail data between two stuffed dots is a step, so
/// this many short lines are the most that a fast peer gets done before the others are served.
pub(crate) const STEPS: u32 = 512;

/// Connections taken from one listener in one turn, so that a flood of them does not hold up
/// the sessions that are there.
pub(crate) const ACCEPTS: u32 = 64;

/// Connections that are told something at once (421, more haste) in one turn.
pub(crate) const SWEEP: usize = 256;

/// Events taken from the system in one turn; what is left is told in the next.
pub(crate) const EVENTS: usize = 1024;

/// How long accepting rests when there is no descriptor or memory for one more socket. Nothing
/// tells when there will be.
pub(crate) const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Connections whose session is over but whose peer may still be sending: closing them at once
/// would reset them, and the peer would lose the reply that says why.
pub const PARTING: usize = 256;

/// How long such a peer is given to read the reply and to close.
pub(crate) const PARTING_TIME: Duration = Duration::from_secs(2);

/// How much it may send meanwhile, to be thrown away.
pub(crate) const PARTING_OCTETS: usize = 1024 * 1024;

/// Hundredths of the sessions above which the peers are given less time, and below which they
/// are given the usual time again. Far enough apart that each change of mind is paid for by
/// many sessions that came or went.
pub(crate) const PRESSED_ABOVE: usize = 80;
pub(crate) const PRESSED_BELOW: usize = 70;

const _: () = assert!(PRESSED_BELOW < PRESSED_ABOVE && PRESSED_ABOVE <= 100);

/// Writes of a message's content by one connection in one turn, each of up to 64 KiB, so that a
/// fast next hop does not hold up the others.
pub(crate) const FLIGHTS: u32 = 4;

/// Reads of TLS records in a row that bring nothing to those above: no honest peer needs so many.
pub(crate) const RECORDS: u32 = 64;

/// How long a next hop may take for a handshake of TLS.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(60);

/// How long content may be late, below the time that a next hop waits for more of it (RFC 5321
/// section 4.5.3.2.5).
pub(crate) const CONTENT_TIME: Duration = Duration::from_secs(120);
