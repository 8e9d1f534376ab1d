//! What is in the queue, as far as the journal must know: for each message where its record
//! is, which envelopes are left, and where the latest outcome of each stands.
//!
//! Some fifty octets a message, so that segments can be emptied by copying forward and content
//! can be found by message id, whatever has been copied since. The commit thread changes it,
//! after the sync; readers look things up under the same short lock, and pin the segment they
//! are about to read.
//!
//! After a start the table holds what is new, until what the journal says has been read behind
//! the open doors ([`Table::complete`]).

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::{EnvelopeId, MessageId};
use crate::replay::Region;
use crate::segment::{HEADER, Place};

/// Octets that the state of an envelope takes in a copy: of one that is new, and of one that was
/// tried, with the words of a peer.
const STATE: u64 = 14;
const LATER: u64 = 92;

/// The table and its lock. Never held over I/O.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Table>>);

impl Shared {
    pub(crate) fn new(table: Table) -> Self {
        Self(Arc::new(Mutex::new(table)))
    }

    /// The table. Its methods leave it whole or panic on the commit thread, which ends the
    /// process, so a poisoned lock is never met by one who goes on.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Table {
    live: BTreeMap<MessageId, Live>,
    segments: BTreeMap<u32, Extent>,
    octets: u64,
    /// Outcomes of messages that are not here, while the journal is being read.
    early: Option<Vec<(EnvelopeId, bool, Place)>>,
}

/// A message with envelopes left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Its record.
    pub(crate) place: Place,
    /// Octets of that record.
    octets: u32,
    /// Whether it has a content file.
    pub(crate) in_file: bool,
    /// Whether the record is a copy.
    copied: bool,
    slots: Slots,
}

/// The envelopes of a message. Nearly all messages have one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slots {
    One { nth: u32, slot: Slot },
    Many(Box<[Slot]>),
}

/// One envelope: settled, or the place of its latest outcome, or neither: then its state
/// stands in the message's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Settled,
    InRecord,
    Outcome(Place),
}

/// A segment file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// Where its last record ends.
    pub(crate) end: u64,
    /// Messages whose record is in it.
    pub(crate) live: u32,
    /// Messages whose record was in it at some time, in the order of their records.
    messages: Vec<MessageId>,
    /// It holds something that is nowhere else: it is not to be used again.
    pub(crate) keep: bool,
    /// Held by who reads it: the file may not be used again meanwhile.
    pins: Pin,
}

/// Keeps a segment file as it is.
pub(crate) type Pin = Arc<()>;

/// What an outcome did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: the envelope had been settled, or never was.
    Nothing,
    /// The envelope is still in the queue, or others of its message are.
    Kept,
    /// The last envelope is settled, the message gone.
    Gone {
        /// Whether it leaves a content file behind.
        in_file: bool,
    },
}

/// What has become of messages when a table was completed.
#[derive(Debug, Default)]
pub(crate) struct Completed {
    /// They were settled before they had been read; these have content files.
    pub(crate) gone: Vec<MessageId>,
    /// Their id was given to another message while they waited.
    pub(crate) replaced: Vec<(MessageId, Live, Option<Pin>)>,
}

impl Table {
    /// A table with the segments of a journal that is still to be read.
    pub(crate) fn incomplete(segments: impl Iterator<Item = u32>) -> Self {
        let mut table = Self { early: Some(Vec::new()), ..Self::default() };
        segments.for_each(|segment| table.extend(segment, HEADER));
        table
    }

    /// Whether all that is in the journal is here.
    pub(crate) fn is_complete(&self) -> bool {
        self.early.is_none()
    }

    /// Adds what was in the journal at the start. This one holds what came since, which is
    /// little, so it is put into the other.
    pub(crate) fn complete(&mut self, old: Self) -> Completed {
        let Self { live, segments, octets, early } = mem::replace(self, old);
        let mut completed = Completed::default();
        for (envelope, settles, place) in early.into_iter().flatten() {
            if self.outcome(envelope, settles, place) == (Effect::Gone { in_file: true }) {
                completed.gone.push(envelope.message());
            }
        }
        for (number, extent) in segments {
            self.segments.entry(number).or_insert(extent);
        }
        for (id, new) in live {
            if let Some(old) = self.get(id).cloned() {
                let pin = self.pin(old.place.segment);
                self.remove(id);
                completed.replaced.push((id, old, pin));
            }
            self.live.insert(id, new);
        }
        self.octets += octets;
        completed
    }

    /// Notes that a segment must not be used again.
    pub(crate) fn keep(&mut self, segment: u32) {
        self.segments.entry(segment).or_default().keep = true;
    }

    /// Whether a segment is not to be used again.
    pub(crate) fn is_kept(&self, segment: u32) -> bool {
        self.segments.get(&segment).is_some_and(|extent| extent.keep)
    }

    /// Notes a segment file, or that it has grown.
    pub(crate) fn extend(&mut self, segment: u32, end: u64) {
        self.segments.entry(segment).or_default().end = end;
    }

    /// Notes a message whose record of so many octets is at `place`, with the envelopes `left`
    /// (their places in the message, growing). It takes the place of an older record.
    pub(crate) fn insert(
        &mut self,
        id: MessageId,
        place: Place,
        octets: usize,
        in_file: bool,
        left: impl Iterator<Item = u32> + Clone,
    ) {
        self.remove(id);
        let octets = u32::try_from(octets).expect("records are bounded");
        let slots = match (left.clone().next(), left.clone().last()) {
            (Some(nth), Some(last)) if nth == last => Slots::One { nth, slot: Slot::InRecord },
            (Some(_), Some(last)) => {
                let mut slots = vec![Slot::Settled; last as usize + 1];
                left.for_each(|nth| slots[nth as usize] = Slot::InRecord);
                Slots::Many(slots.into())
            }
            _ => return,
        };
        let extent = self.segments.entry(place.segment).or_default();
        extent.live += 1;
        extent.messages.push(id);
        self.octets += u64::from(octets);
        self.live.insert(id, Live { place, octets, in_file, copied: false, slots });
    }

    /// Notes that the record of a message tells the state of its envelopes, too.
    pub(crate) fn note_copy(&mut self, id: MessageId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.copied = true;
        }
    }

    /// Notes an outcome whose record is at `place`.
    pub(crate) fn outcome(&mut self, id: EnvelopeId, settles: bool, place: Place) -> Effect {
        let Some(live) = self.live.get_mut(&id.message()) else {
            if let Some(early) = &mut self.early {
                early.push((id, settles, place));
            }
            return Effect::Nothing;
        };
        let slot = match &mut live.slots {
            Slots::One { nth, slot } if *nth == id.nth() => slot,
            Slots::One { .. } => return Effect::Nothing,
            Slots::Many(slots) => match slots.get_mut(id.nth() as usize) {
                Some(slot) if *slot != Slot::Settled => slot,
                _ => return Effect::Nothing,
            },
        };
        *slot = if settles { Slot::Settled } else { Slot::Outcome(place) };
        if live.left().next().is_some() {
            return Effect::Kept;
        }
        let in_file = live.in_file;
        self.remove(id.message());
        Effect::Gone { in_file }
    }

    /// Forgets a message.
    pub(crate) fn remove(&mut self, id: MessageId) {
        let Some(live) = self.live.remove(&id) else { return };
        let extent = self.segments.get_mut(&live.place.segment).expect("noted with the message");
        extent.live -= 1;
        self.octets -= u64::from(live.octets);
    }

    /// What is known of a message.
    pub(crate) fn get(&self, id: MessageId) -> Option<&Live> {
        self.live.get(&id)
    }

    /// Whether an envelope is in the queue, as far as is known.
    pub(crate) fn may_have(&self, id: EnvelopeId) -> bool {
        !self.is_complete() && self.get(id.message()).is_none() || self.has(id)
    }

    /// Whether an envelope is in the queue.
    fn has(&self, id: EnvelopeId) -> bool {
        self.get(id.message()).is_some_and(|live| live.left().any(|(nth, _)| nth == id.nth()))
    }

    /// All messages, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (MessageId, &Live)> {
        self.live.iter().map(|(id, live)| (*id, live))
    }

    /// The messages behind `after`, in the order of their ids.
    pub(crate) fn behind(&self, after: Option<MessageId>) -> impl Iterator<Item = MessageId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.live.range((from, Bound::Unbounded)).map(|(id, _)| *id)
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Octets of the records of all messages.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The segment files, oldest first.
    pub(crate) fn segments(&self) -> impl ExactSizeIterator<Item = (u32, &Extent)> {
        self.segments.iter().map(|(number, extent)| (*number, extent))
    }

    /// Makes sure that the file of a segment is not used again while the pin is held.
    pub(crate) fn pin(&self, segment: u32) -> Option<Pin> {
        self.segments.get(&segment).map(|extent| extent.pins.clone())
    }

    /// The messages whose record is in a segment, from the `nth` on of those that ever were in
    /// it, looking at no more than `most`. Says also with which to go on; `None` at the end.
    pub(crate) fn in_segment(
        &self,
        segment: u32,
        nth: usize,
        most: usize,
    ) -> (Vec<MessageId>, Option<usize>) {
        let Some(extent) = self.segments.get(&segment) else { return (Vec::new(), None) };
        let ever = extent.messages.get(nth..).unwrap_or_default();
        let is_here =
            |id: &&MessageId| self.get(**id).is_some_and(|live| live.place.segment == segment);
        let here = ever.iter().take(most).filter(is_here).copied().collect();
        (here, (ever.len() > most).then_some(nth + most))
    }

    /// About how many octets the messages in a segment take when they are copied, the state of each
    /// envelope with them, and the largest of them.
    pub(crate) fn weight(&self, segment: u32) -> (u64, u64) {
        let (here, _) = self.in_segment(segment, 0, usize::MAX);
        let records = here.iter().filter_map(|id| self.get(*id)).map(Live::weight);
        records.fold((0, 0), |(sum, most), one| (sum + one, one.max(most)))
    }

    /// Forgets the oldest segment if it is this one, holds no message, and nobody reads it.
    pub(crate) fn retire(&mut self, segment: u32) -> bool {
        let Some(oldest) = self.segments.first_entry() else { return false };
        let retired = *oldest.key() == segment && oldest.get().is_unused();
        if retired {
            oldest.remove();
        }
        retired
    }
}

impl Extent {
    /// Whether no message is in it and nobody reads it.
    pub(crate) fn is_unused(&self) -> bool {
        self.live == 0 && Arc::strong_count(&self.pins) == 1
    }
}

impl Live {
    /// The octets of its record.
    pub(crate) fn region(&self) -> Region {
        let begin = self.place.offset as usize;
        Region { segment: self.place.segment, range: begin..begin + self.octets as usize }
    }

    /// About how many octets its record takes when it is copied.
    fn weight(&self) -> u64 {
        let state = |(_, outcome): (u32, Option<Place>)| outcome.map_or(STATE, |_| LATER);
        let states = if self.copied { 0 } else { self.left().map(state).sum() };
        u64::from(self.octets) + states
    }

    /// The envelopes left, by their place in the message, and the place of the latest outcome
    /// of each, if that is what tells its state.
    pub(crate) fn left(&self) -> impl Iterator<Item = (u32, Option<Place>)> {
        let (first, slots) = match &self.slots {
            Slots::One { nth, slot } => (*nth, std::slice::from_ref(slot)),
            Slots::Many(slots) => (0, &**slots),
        };
        (first..).zip(slots).filter_map(|(nth, slot)| match slot {
            Slot::Settled => None,
            Slot::InRecord => Some((nth, None)),
            Slot::Outcome(place) => Some((nth, Some(*place))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MessageId {
        MessageId::from_u32(number).unwrap()
    }

    fn place(segment: u32, offset: u32) -> Place {
        Place { segment, offset }
    }

    #[test]
    fn a_message_is_gone_with_its_last_envelope() {
        let mut table = Table::default();
        table.extend(1, 900);
        table.insert(id(5), place(1, 512), 100, true, [0, 1, 2].into_iter());
        let envelope = |nth| EnvelopeId::new(id(5), nth);
        assert_eq!(table.outcome(envelope(1), true, place(1, 700)), Effect::Kept);
        assert_eq!(table.outcome(envelope(1), true, place(1, 708)), Effect::Nothing, "again");
        assert_eq!(table.outcome(envelope(7), true, place(1, 708)), Effect::Nothing);
        assert_eq!(table.outcome(envelope(2), false, place(1, 716)), Effect::Kept);
        let left: Vec<_> = table.get(id(5)).unwrap().left().collect();
        assert_eq!(left, [(0, None), (2, Some(place(1, 716)))]);
        assert!(table.has(envelope(0)) && !table.has(envelope(1)));
        assert_eq!(table.outcome(envelope(0), true, place(1, 724)), Effect::Kept);
        let gone = table.outcome(envelope(2), true, place(1, 732));
        assert_eq!(gone, Effect::Gone { in_file: true });
        assert_eq!((table.len(), table.octets()), (0, 0));
        assert_eq!(table.segments().map(|(_, extent)| extent.live).sum::<u32>(), 0);
    }

    #[test]
    fn a_copy_takes_the_place_of_the_record_and_of_the_outcomes_before_it() {
        let mut table = Table::default();
        table.insert(id(5), place(1, 512), 100, false, [0, 3].into_iter());
        let envelope = EnvelopeId::new(id(5), 3);
        table.outcome(envelope, false, place(1, 700));
        table.insert(id(5), place(2, 512), 80, false, [3].into_iter());
        let live = table.get(id(5)).unwrap();
        assert_eq!(live.left().collect::<Vec<_>>(), [(3, None)]);
        assert_eq!(table.octets(), 80);
        assert!(table.retire(1));
        assert!(!table.retire(2), "it holds the message");
        let gone = table.outcome(envelope, true, place(2, 600));
        assert_eq!(gone, Effect::Gone { in_file: false });
        assert!(table.retire(2));
    }

    #[test]
    fn segments_go_oldest_first_and_not_while_they_are_read() {
        let mut table = Table::default();
        (1..=3).for_each(|segment| table.extend(segment, 512));
        assert!(!table.retire(2), "not the oldest");
        let pin = table.pin(1).unwrap();
        assert!(!table.retire(1), "pinned");
        drop(pin);
        assert!(table.retire(1) && table.retire(2));
        assert_eq!(table.segments().len(), 1);
    }

    #[test]
    fn a_message_takes_some_fifty_octets() {
        assert!(size_of::<(MessageId, Live)>() <= 48);
    }
}
