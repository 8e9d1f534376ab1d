//! A disk that goes bad while nobody uses it: bits flip, and sectors cannot be read any more.
//!
//! What that may cost is told by a twin of the disk that has not gone bad: the starts on both
//! differ in what the octets belonged to, and in nothing else. A flipped bit is part of one record
//! at the most: of one message, or of outcomes, of which the state before is found. Whatever
//! differs is named by a finding. The octets are kept, unless the disk does not give them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use smtpd_queue::disk::Disk;
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::State;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::Found;
use smtpd_queue::recovery::Finding;
use smtpd_tests::rng::Rng;

use crate::script::CAUSES;
use crate::world::{World, spool};

/// What the system does not give when a sector cannot be read.
const PAGE: usize = 4096;
/// Octets of the smallest record, that of an outcome, and of the smallest with a message.
const OUTCOME: usize = 64;
const MESSAGE: usize = 200;

/// What has happened to the disk.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    flipped: Vec<(PathBuf, usize)>,
    unreadable: Vec<(PathBuf, usize)>,
}

impl Damage {
    /// Damages files of the queue, in up to three places.
    pub fn draw(disk: &FaultDisk, rng: &mut Rng) -> Self {
        let mut damage = Self::default();
        for _ in 0..1 + rng.below(3) {
            // Most of it is journal.
            let dir = spool().join(if rng.one_in(5) { "content" } else { "journal" });
            let mut files = Vec::new();
            for entry in disk.list(&dir).expect("a queue") {
                let path = dir.join(&entry.name);
                let size = disk.open(&path).and_then(|file| file.size()).expect("listed");
                files.extend((size > 0).then_some((path, size as usize)));
            }
            let Some((path, size)) = (!files.is_empty()).then(|| rng.pick(&files).clone()) else {
                continue;
            };
            let octet = rng.below(size);
            // One of a spare file is found by the write that begins or ends in its page, which
            // fails: that is a fault like others, and this disk knows no pages.
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let spare = name.contains('-');
            if !spare && rng.one_in(4) {
                disk.spoil(&path, octet);
                damage.unreadable.push((path, octet));
            } else {
                let bit = octet * 8 + rng.below(8);
                disk.flip(&path, bit);
                damage.flipped.push((path, bit));
            }
        }
        damage
    }

    /// How many messages may be missing, and how many others may have another state.
    fn most(&self) -> (usize, usize) {
        let (flipped, pages) = (self.flipped.len(), self.unreadable.len());
        let others = flipped * CAUSES + pages * CAUSES * (PAGE / OUTCOME);
        (flipped + pages * (PAGE / MESSAGE), others)
    }
}

/// What a start has found about a message: the states of its envelopes, and its content.
type Seen = (BTreeMap<EnvelopeId, State>, Option<Vec<u8>>);

fn seen(world: &World) -> BTreeMap<MessageId, Seen> {
    let one = |found: &Found| {
        let ids = found.message.envelopes.iter().map(|envelope| envelope.id);
        let states = ids.zip(found.states.iter().cloned()).collect();
        (found.message.id, (states, world.content(found).ok()))
    };
    world.live().iter().map(one).collect()
}

/// The world after a start on a disk that has gone bad, beside the same that has not: `whole` is
/// after that start, `world` was before.
pub fn restarted(
    world: &World,
    whole: &World,
    disk: FaultDisk,
    damage: &Damage,
    case: &str,
) -> World {
    let (mut after, findings) = world.reopened(disk, case);
    let (should, there) = (seen(whole), seen(&after));
    let ids = should.keys().chain(there.keys().filter(|id| !should.contains_key(id)));
    let differ: Vec<MessageId> =
        ids.filter(|id| should.get(id) != there.get(id)).copied().collect();
    let missing = should.keys().filter(|id| !there.contains_key(id)).count();
    let (lost, others) = damage.most();
    let all = should.len();
    let differing = differ.len();
    assert!(missing <= lost, "{case}: {missing} of {all} are missing: {findings:?}");
    assert!(differing <= lost + others, "{case}: {differing} of {all} differ: {findings:?}");

    // That the content of a message has changed is noticed when it is read.
    let unread = |id: &&MessageId| match (should.get(id), there.get(id)) {
        (Some((states, _)), Some((same, content))) => states == same && content.is_none(),
        _ => false,
    };
    let silent = differ.iter().filter(unread).count();
    let named = findings.iter().any(|finding| match finding {
        Finding::Damaged { copy, .. } | Finding::Torn { copy, .. } => {
            after.small || copy.as_ref().is_some_and(|path| after.disk.open(path).is_ok())
        }
        Finding::Unreadable { .. } | Finding::Missing { .. } | Finding::NoContent(_) => true,
        Finding::SetAside(_) | Finding::Removed(_) => false,
        Finding::Left { .. } | Finding::Replaced { .. } => false,
    });
    assert!(named || differing == silent, "{case}: no word of {differ:?}: {findings:?}");
    differ.iter().for_each(|id| after.model.damage(*id));
    after.damaged = true;
    after.check(case);
    after.resume(case);
    after
}
