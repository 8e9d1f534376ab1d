//! The bounds of the control socket, each with its reason.

use std::time::Duration;

/// Octets of a request behind the frame's head, of those who may command the daemon: a piece of a
/// message that is imported.
pub const REQUEST: usize = PIECE + 1;

/// The same for others, who get no answer but that they may not. Every request but a piece of a
/// message has room in it.
pub const STRANGER: usize = 1 << 10;

/// Octets of a message that is imported in one request.
pub const PIECE: usize = 128 << 10;

/// Octets of the name of such a message: that of a file.
pub const NAME: u16 = 512;

/// Messages that are being imported at a time: each may have its document in memory, of at most 16
/// MiB, and 384 KiB of its content.
pub const IMPORTS: usize = 4;

/// Octets of a response behind the frame's head: a page of the queue is cut to fit.
pub const RESPONSE: usize = 512 << 10;

/// Octets of a piece of content in a response.
pub const CONTENT: usize = 128 << 10;

/// Envelopes in a page of the queue. Those of a page are read together, in the order of the journal,
/// and between two pages both sides wait; more would often be read in vain, for what does not fit
/// into a response is left out.
pub const PAGE: usize = 1024;

/// Octets of an address in an entry of the queue: 255, `@`, 255, and room for quoting
/// (RFC 5321 section 4.5.3.1 has less).
pub const ADDRESS: u16 = 1 << 10;

/// Octets of a domain (RFC 5321 section 4.5.3.1.2).
pub const DOMAIN: u16 = 255;

/// Octets of the error text in an entry of the queue; more is cut.
pub const ERROR: u16 = 2 << 10;

/// Connections of one user, as upstream.
pub const PER_USER: usize = 32;

/// Connections of all users without privileges together. Root and the daemon's user are counted
/// by themselves, so that others cannot keep them out.
pub const TOTAL: usize = 128;

/// Connections accepted before those that are open are looked at again.
pub const ACCEPTS: usize = 64;

/// From connecting (or the last answer) to a whole request. smtpctl sends at once.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The same for root and the daemon's user between two requests, as `smtpctl show queue | more`
/// asks for the next page only when the reader has come so far.
pub const IDLE_TIME: Duration = Duration::from_secs(3_600);

/// For taking a whole response. smtpctl reads it before it prints.
pub const RESPONSE_TIME: Duration = Duration::from_secs(10);

/// For an answer of the daemon's threads (see [`Operator`](super::Operator)).
pub const OPERATOR: Duration = Duration::from_secs(10);

/// How long smtpctl waits for a response: longer than any daemon that is alive needs.
pub const CLIENT: Duration = Duration::from_secs(60);

/// Pause after an accept that failed for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Shortest time between two warnings about users with too many connections.
pub const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// Octets of an item of the relay's lists; more is cut. One with many source addresses is the
/// longest.
pub const ITEM: u16 = 32 << 10;

/// The largest entry of the queue (see `entry`), so that a page always holds at least one.
const ENTRY: usize = 64 + 3 * (2 + ADDRESS as usize) + 2 + ERROR as usize;

const _: () = assert!(ENTRY < RESPONSE);
const _: () = assert!(CONTENT < RESPONSE);
const _: () = assert!((ITEM as usize) + 10 < RESPONSE);
const _: () = assert!(NAME as usize + 3 <= STRANGER);
const _: () = assert!(CLIENT.as_secs() >= OPERATOR.as_secs() + RESPONSE_TIME.as_secs());
