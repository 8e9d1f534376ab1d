//! Message and envelope ids, and the counter they come from.
//!
//! A message id is one step of a counter seen through a fixed bijection of 32 bits: unique
//! for 2^32 messages without looking anything up, yet it looks random, so that neighbours
//! in time are not neighbours in print. A queue begins at a random point. The counter is
//! reserved in blocks by the header of a journal segment; after a crash the rest of a block
//! is skipped, so an id whose record was lost is not given out again.
//!
//! The forms are upstream's: 8 and 16 hexadecimal digits, an envelope id being the message
//! id followed by 32 bits of its own.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ids reserved by one segment header. The rest of a block is lost by a crash, so 2^32 ids
/// outlive sixteen thousand of them; half a block is eight seconds at twice the highest
/// rate measured, longer than any disk keeps the commit thread from reserving the next.
pub const BLOCK: u32 = 1 << 18;

/// A message in this queue. Never zero; printed as 8 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(NonZeroU32);

impl MessageId {
    /// The id with this number; `None` for zero, which is no message.
    pub fn from_u32(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number as it is printed.
    pub fn as_u32(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for MessageId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let number = u32::try_from(hex(text, 8)?).map_err(|_| BadId)?;
        Self::from_u32(number).ok_or(BadId)
    }
}

/// One recipient of a message in this queue; printed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId(u64);

impl EnvelopeId {
    /// The id of the `nth` envelope of a message, counted from zero.
    ///
    /// `nth` must be below 2^31; a message has far fewer recipients than that.
    pub fn new(message: MessageId, nth: u32) -> Self {
        assert!(nth < TOP, "more envelopes than a message can have");
        let own = scatter(key(message) ^ nth);
        Self(u64::from(message.as_u32()) << 32 | u64::from(own))
    }

    /// The id with this number; `None` unless [`EnvelopeId::new`] can make it.
    pub fn from_u64(number: u64) -> Option<Self> {
        let message = MessageId::from_u32((number >> 32) as u32)?;
        let nth = gather(number as u32) ^ key(message);
        (nth < TOP).then_some(Self(number))
    }

    /// All ids that envelopes of a message can have, for looking them up in what is ordered by
    /// id. Not every one of them can be made.
    pub(crate) fn all_of(message: MessageId) -> RangeInclusive<Self> {
        let first = u64::from(message.as_u32()) << 32;
        Self(first)..=Self(first | u64::from(u32::MAX))
    }

    /// The number as it is printed.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The message this envelope belongs to.
    pub fn message(self) -> MessageId {
        MessageId::from_u32((self.0 >> 32) as u32).expect("made from a message id")
    }

    /// Which envelope of its message it is, counted from zero.
    pub fn nth(self) -> u32 {
        gather(self.0 as u32) ^ key(self.message())
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for EnvelopeId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Self::from_u64(hex(text, 16)?).ok_or(BadId)
    }
}

/// The text is not an id: not exactly 8 or 16 hexadecimal digits, or no id that can exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a message or envelope id")
    }
}

impl std::error::Error for BadId {}

/// Hands out message ids to any thread, without a lock and without the disk.
#[derive(Clone, Debug)]
pub struct Ids(Arc<Counter>);

/// Steps of the counter, never wrapped: only its low 32 bits make an id.
#[derive(Debug)]
struct Counter {
    next: AtomicU64,
    /// First step that no durable segment header has reserved.
    end: AtomicU64,
}

impl Ids {
    /// A counter whose steps from `next` to before `end` are reserved on disk.
    pub(crate) fn new(next: u64, end: u64) -> Self {
        Self(Arc::new(Counter { next: AtomicU64::new(next), end: AtomicU64::new(end) }))
    }

    /// The next id, or `None` when the reserved ones are used up: the segment that would reserve
    /// more could not be begun. The disk is full, so there is no space for mail either, or fails.
    pub fn take(&self) -> Option<MessageId> {
        let end = self.0.end.load(Ordering::Acquire);
        let step = |next| {
            let id = skip_zero(next);
            (id < end).then_some(id + 1)
        };
        let taken = self.0.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        taken.ok().and_then(|next| id_of(skip_zero(next)))
    }

    /// Whether this id was given out at `step` or later, before the next one.
    pub(crate) fn gave(&self, id: MessageId, step: u64) -> bool {
        let since = gather(id.as_u32()).wrapping_sub(step as u32);
        u64::from(since) < self.next().saturating_sub(step)
    }

    /// The first step not yet given out.
    pub(crate) fn next(&self) -> u64 {
        self.0.next.load(Ordering::Acquire)
    }

    /// Whether less than half a block is left, so that the next one should be reserved.
    pub(crate) fn low(&self) -> bool {
        let end = self.0.end.load(Ordering::Acquire);
        end.saturating_sub(self.next()) < u64::from(BLOCK / 2)
    }

    /// Says that a header on disk now reserves all steps before `end`.
    pub(crate) fn reserved(&self, end: u64) {
        self.0.end.fetch_max(end, Ordering::AcqRel);
    }
}

/// The step whose id would be zero is left out.
fn skip_zero(step: u64) -> u64 {
    if step as u32 == 0 { step + 1 } else { step }
}

fn id_of(step: u64) -> Option<MessageId> {
    MessageId::from_u32(scatter(step as u32))
}

/// What the place of an envelope is mixed with. The top bit is set so that the 32 bits of
/// an envelope are never zero: `MSGID00000000` would read like the message itself.
fn key(message: MessageId) -> u32 {
    scatter(message.as_u32() ^ 0x9e37_79b9) | TOP
}

const TOP: u32 = 1 << 31;

/// Multiplication by an odd number and the exclusive or with its own upper half can both be
/// undone, so this is a bijection. It sends zero to zero.
fn scatter(mut x: u32) -> u32 {
    for odd in ODD {
        x ^= x >> 16;
        x = x.wrapping_mul(odd);
    }
    x ^ x >> 16
}

/// Undoes [`scatter`].
fn gather(mut x: u32) -> u32 {
    x ^= x >> 16;
    for odd in ODD.iter().rev() {
        x = x.wrapping_mul(inverse(*odd));
        x ^= x >> 16;
    }
    x
}

const ODD: [u32; 3] = [0x2c1b_3c6d, 0x297a_2d39, 0x85eb_ca6b];

/// The inverse of an odd number modulo 2^32, by Newton's method: each round doubles the
/// number of right bits, beginning with three.
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

/// Exactly `digits` hexadecimal digits: no sign, no blank, no prefix.
fn hex(text: &str, digits: usize) -> Result<u64, BadId> {
    if text.len() != digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(BadId);
    }
    u64::from_str_radix(text, 16).map_err(|_| BadId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn scattering_can_be_undone() {
        assert_eq!(scatter(0), 0);
        for x in (0..=u32::MAX).step_by(65_521).chain(0..5000) {
            assert_eq!(gather(scatter(x)), x);
        }
    }

    #[test]
    fn ids_are_unique_and_never_zero_across_the_end_of_32_bits() {
        let start = u64::from(u32::MAX) - 5000;
        let ids = Ids::new(start, start + 10_001);
        let taken: HashSet<MessageId> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(taken.len(), 10_000, "one step is left out, no id came twice");
        assert_eq!(ids.take(), None);
        ids.reserved(start + 10_002);
        assert!(ids.take().is_some_and(|id| !taken.contains(&id)));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn ids_of_this_run_are_told_from_those_before() {
        let start = (7 << 32) - 3;
        let before = Ids::new(start - 3, start);
        let ids = Ids::new(start, start + 100);
        for _ in 0..3 {
            assert!(!ids.gave(before.take().unwrap(), start));
        }
        for _ in 0..10 {
            let id = ids.take().unwrap();
            assert!(ids.gave(id, start), "also when zero was left out");
            assert!(!ids.gave(id, ids.next()));
        }
    }

    #[test]
    fn threads_share_the_counter() {
        let ids = Ids::new(1, 4001);
        let all: Vec<MessageId> = std::thread::scope(|scope| {
            let take = || (0..1000).filter_map(|_| ids.take()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 4000);
    }

    #[test]
    fn envelopes_know_their_message_and_place() {
        for number in [1, 2, 0x00ab_cdef, u32::MAX] {
            let message = MessageId::from_u32(number).unwrap();
            for nth in (0..300).chain([TOP - 1]) {
                let id = EnvelopeId::new(message, nth);
                assert_eq!((id.message(), id.nth()), (message, nth));
                assert_ne!(id.as_u64() as u32, 0);
                assert_eq!(EnvelopeId::from_u64(id.as_u64()), Some(id));
            }
        }
    }

    #[test]
    fn only_exact_hexadecimal_is_an_id() {
        let id = MessageId::from_u32(0x0123_abcd).unwrap();
        assert_eq!(id.to_string(), "0123abcd");
        assert_eq!("0123abcd".parse(), Ok(id));
        for bad in ["", "00000000", "123abcd", "+123abcd", "0123abcde", "0x23abcd", "0123 bcd"] {
            assert_eq!(bad.parse::<MessageId>(), Err(BadId), "{bad:?}");
        }
        let envelope = EnvelopeId::new(id, 7);
        assert_eq!(envelope.to_string().parse(), Ok(envelope));
        assert!(envelope.to_string().starts_with("0123abcd"));
        assert_eq!("0000000012345678".parse::<EnvelopeId>(), Err(BadId));
    }

    #[test]
    fn a_block_runs_low_at_its_half() {
        let ids = Ids::new(10, 10 + u64::from(BLOCK / 2));
        assert!(!ids.low());
        ids.take().unwrap();
        assert!(ids.low());
    }
}
