//! What bounds the reading of a configuration, each bound with its reason.
//!
//! The files are the administrator's, so the bounds are generous: they are there so that a
//! mistake (a file that includes itself, a core dump named as a table) ends in a sentence
//! and not in a machine without memory.

use std::time::Duration;

/// Octets of one configuration file. Fifty thousand rules fit.
pub const CONFIG_FILE: u64 = 8 << 20;

/// Octets of one table file: a million entries of ordinary length.
pub const TABLE_FILE: u64 = 256 << 20;

/// Octets of a map that is read into memory; a larger one is read where it is.
pub const MAP_IN_MEMORY: u64 = 16 << 20;

/// Files that include each other, the first one counted.
pub const INCLUDE_DEPTH: usize = 16;

/// Files read in all: sixteen levels that each include two would be sixty-five thousand.
pub const INCLUDED_FILES: usize = 1_000;

/// Octets of one word or quoted string (upstream's token buffer).
pub const WORD: usize = 8_096;

/// Characters of a key of the queue.
pub const QUEUE_KEY: usize = 32;

/// Keys of the queue: the one of today and those of mail that still waits. Whoever needs more
/// changes keys faster than mail expires.
pub const QUEUE_KEYS: usize = 8;

/// Diagnostics of one run; after that many a reader corrects and runs again.
pub const DIAGNOSTICS: usize = 100;

/// Octets of the line shown below a diagnostic.
pub const SHOWN_LINE: usize = 200;

/// Octets of a look-up key (upstream: 1023).
pub const TABLE_KEY: usize = 1_023;

/// Octets of one alias value (upstream: 2047).
pub const ALIAS_VALUE: usize = 2_047;

/// Octets of a `.forward`, not reached (upstream: 4096).
pub const FORWARD: usize = 4_096;

/// Elements of a `.forward` (upstream: 100).
pub const FORWARD_TARGETS: usize = 100;

/// Octets of an included list of addresses: it is read at every expansion.
pub const ALIAS_INCLUDE: u64 = 1 << 20;

/// Source addresses, or servers, that are chosen among: a machine has no more of either.
pub const FETCHED: usize = 1_000;

/// Octets of a sender that is rewritten (as upstream).
pub const SRS_ADDRESS: usize = 255;

/// Levels of expansion (upstream: 10).
pub const EXPANSION_DEPTH: u8 = 10;

/// Recipients and steps of the expansion of one recipient.
pub const EXPANSION_NODES: usize = 10_000;

/// Addresses and users of one expansion whose rules are kept for an explanation: thousands of
/// rules for each of ten thousand nodes are more than anybody reads.
pub const EXPLAINED_NODES: usize = 500;

/// Octets of one format specifier `%{...}`.
pub const FORMAT_TOKEN: usize = 127;

/// Octets of an expanded path or command (upstream: 1024).
pub const FORMAT_RESULT: usize = 1_023;

/// Octets of a relay URL (upstream: 1023).
pub const RELAY_URL: usize = 1_023;

/// Octets of a listener's tag (upstream: 32).
pub const TAG: usize = 32;

/// Certificates of one listener (upstream: 32).
pub const LISTENER_PKI: usize = 32;

/// Ages of `bounce warn-interval` (upstream keeps four and ignores the rest; we say so).
pub const WARN_INTERVALS: usize = 4;

/// `queue ttl` without a line.
pub const QUEUE_TTL: Duration = Duration::from_secs(4 * 86_400);

/// `smtp max-message-size` without a line: 35M.
pub const MESSAGE_SIZE: u64 = 35 << 20;

/// `smtp limit max-rcpt` without a line.
pub const MAX_RCPT: u32 = 1_000;

/// `smtp limit max-mails` without a line.
pub const MAX_MAILS: u32 = 100;

/// `smtp limit max-conn-per-src` without a line. Upstream has no such bound, and one client can
/// then take every place; large senders open some twenty.
pub const MAX_CONN_PER_SRC: u32 = 50;

/// `queue directory` without a line.
pub const QUEUE_DIRECTORY: &str = "/var/spool/smtpd";

/// `control socket` without a line.
pub const CONTROL_SOCKET: &str = "/var/run/smtpd.sock";

/// Nameservers that are asked, as in OpenBSD's resolver: who waits for a sixth waits too long.
pub const RESOLVERS: usize = 5;

/// `resolver` without a port.
pub const RESOLVER_PORT: u16 = 53;

/// `daemon user` without a line.
pub const DAEMON_USER: &str = "_smtpd";
