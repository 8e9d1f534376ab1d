//! The bounds of the resolver, each with its reason.

use std::time::Duration;

/// Nameservers of `resolv.conf` that are asked; as in OpenBSD's resolver.
pub(super) const NAMESERVERS: usize = 5;

/// How long an answer is waited for before the next attempt, unless `options timeout` says more
/// or less. A nameserver on the way to the same network needs milliseconds, one that has to look
/// further a second or two; mail that waits is worse than a question sent twice.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// The most that `options timeout` can say, as in other resolvers.
pub(super) const TIMEOUT_MOST: u64 = 30;

/// How often each nameserver is asked the same, unless `options attempts` says otherwise.
pub(super) const ATTEMPTS: u8 = 3;

/// The most that `options attempts` can say, as in other resolvers.
pub(super) const ATTEMPTS_MOST: u8 = 5;

/// A nameserver that did not answer is asked after the others for so long.
pub(super) const DOWN: Duration = Duration::from_secs(30);

/// Record sets asked for at once; further ones wait for their turn. Each takes up to
/// [`WIRES_EACH`] descriptors.
pub(super) const ACTIVE: usize = 128;

/// Those of them that names of clients need. Whoever connects to us has them asked for, as often
/// as he likes and of nameservers of his own, which may be slow on purpose: mail must not wait for
/// that.
pub(super) const ACTIVE_FOR_NAMES: usize = ACTIVE / 4 * 3;

/// Sockets of one record set: that of the last attempt, and the one before it, whose answer may
/// still come.
pub(super) const WIRES_EACH: usize = 2;

/// Questions that wait for their answer. Beyond it [`Trouble::Busy`](super::Trouble::Busy) is the
/// answer. Twice as many as a reactor has sessions by default.
pub(super) const QUESTIONS: usize = 20_000;

/// Those of them about names of clients.
pub(super) const QUESTIONS_FOR_NAMES: usize = QUESTIONS / 4 * 3;

/// Aliases (CNAME) that are followed from one name, within a message and over several.
pub(super) const ALIASES: usize = 10;

/// Hosts kept of the MX records of a domain: the best ones.
pub(super) const EXCHANGERS: usize = 32;

/// Addresses kept of a host for each family.
pub(super) const ADDRESSES: usize = 32;

/// Names of one address that are looked at.
pub(super) const NAMES: usize = 4;

/// Once the addresses of one family are known, those of the other are waited for only so long:
/// there are nameservers and firewalls that never answer questions for AAAA.
pub(super) const OTHER_FAMILY: Duration = Duration::from_secs(1);

/// Record sets in the cache.
pub(super) const CACHE_ENTRIES: usize = 20_000;

/// Octets of the cache, without the overhead of its trees.
pub(super) const CACHE_OCTETS: usize = 4 * 1024 * 1024;

/// The longest that an answer is believed, whatever its TTL (RFC 2181 section 8, RFC 8767
/// section 4).
pub(super) const TTL_MOST: u32 = 24 * 3600;

/// The longest that a negative answer is believed (RFC 2308 section 5).
pub(super) const NEGATIVE_TTL_MOST: u32 = 3 * 3600;

/// How long after its end an answer still serves while the DNS gives none (RFC 8767).
pub(super) const STALE: Duration = Duration::from_secs(24 * 3600);

/// How long such an answer serves before the DNS is asked again (RFC 8767 section 5).
pub(super) const STALE_AGAIN: Duration = Duration::from_secs(30);

/// How long a failure is remembered, so that those who ask meanwhile ask nobody (RFC 9520
/// section 3.2).
pub(super) const FAILURE: Duration = Duration::from_secs(5);

/// The longest message there is: its length has 16 bits over TCP (RFC 1035 section 4.2.2).
pub(super) const MESSAGE: usize = 65_535;

/// Sockets that have something to be read, seen to in one turn of the loop.
pub(super) const READS: usize = 256;
