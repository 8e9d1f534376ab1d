//! What a start finds, and what it does about it.
//!
//! A start has two stages, so that nobody waits for the second:
//!
//! 1. `prepare` reads what it takes to go on writing: the headers, and the last segment. All
//!    that may be readable without being on disk is there, and is written again.
//! 2. [`Recovery::run`] reads the journal while new mail is taken in, which goes into segments
//!    of its own. What it finds enters the table at once, in one step. Until then nothing is
//!    tidied up, so that no file goes before it was read; an outcome of a message that is not in
//!    the table yet is written, and takes effect with that step.
//!
//! Nothing is lost silently: octets that cannot be read any more are copied to `quarantine/` and
//! named in a finding, and so is what is left of a torn group. Where no copy can be made, as on
//! a full disk, the segment file itself is moved there when it is no longer needed; but what is
//! left of a torn group, of which nobody was told, is named and no more then. Everything
//! here may be stopped at any point and done again: it adds files, and removes only what no
//! record names.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::Keys;
use crate::disk::{Disk, Entry, ensure_dir, is_damage, read_exact_at};
use crate::id::{Ids, MessageId};
use crate::journal::Left;
use crate::outline::{Outline, Outlines};
use crate::replay::{Extent, Region, Replayed, replay};
use crate::segment::{self, Place};
use crate::spool::Spool;
use crate::table::{self, Completed, Shared, Table};

/// What the journal says at a start.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The messages in the queue, in the order in which they stand in the journal, which is
    /// the fastest to read them in.
    pub live: Vec<MessageId>,
    /// The sequence number up to before which all that is known comes from: what an index
    /// must have reflected to be trusted.
    pub sequence: u64,
    /// Whether the last run had come to an orderly end.
    pub clean: bool,
    /// What somebody should know; one log line each.
    pub findings: Vec<Finding>,
}

/// Something unusual that a start has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A group was being written when the last run ended, and a record of it is not whole.
    /// Nobody was told that it was on disk.
    Torn {
        /// The segment file.
        segment: u32,
        /// Where the record begins.
        offset: usize,
        /// How many octets there are.
        octets: usize,
        /// Where they have been copied to; `None` when that could not be.
        copy: Option<PathBuf>,
    },
    /// Octets that had been on disk are damaged. What they were is not known any more.
    Damaged {
        /// The segment file.
        segment: u32,
        /// Where they begin.
        offset: usize,
        /// How many there are.
        octets: usize,
        /// Where they are kept; `None` when that could not be.
        copy: Option<PathBuf>,
    },
    /// The disk does not give these octets. The file is moved to `quarantine/` as soon as
    /// nothing in it is needed any more.
    Unreadable {
        /// The segment file.
        segment: u32,
        /// Where they begin.
        offset: usize,
        /// How many there are.
        octets: usize,
    },
    /// Records that had been on disk are nowhere.
    Missing {
        /// The segment file that says so.
        segment: u32,
        /// Their sequence numbers.
        records: Range<u64>,
    },
    /// A message had waited until its id was given to another one, 2^32 messages later. It has
    /// left the queue, in favour of the other.
    Replaced {
        /// Their id.
        message: MessageId,
        /// Where the record of the older one is kept; `None` when that could not be.
        copy: Option<PathBuf>,
    },
    /// The content file of a message is missing. The message stays in the queue.
    NoContent(MessageId),
    /// A content file that no record names was removed: its message was never accepted, or
    /// had been settled.
    Removed(PathBuf),
    /// A content file that no record names has been kept here, since the record may be among
    /// the damaged ones.
    SetAside(PathBuf),
    /// A content file that no record names could not be removed or set aside. The next start
    /// does it.
    Left {
        /// The file.
        path: PathBuf,
        /// What was in the way.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { segment, offset, octets, copy } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: {octets} octets at {offset} of an unfinished group")?;
                kept(f, copy.as_deref())
            }
            Self::Damaged { segment, offset, octets, copy } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: {octets} octets at {offset} are damaged")?;
                kept(f, copy.as_deref())
            }
            Self::Unreadable { segment, offset, octets } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: {octets} octets at {offset} cannot be read")
            }
            Self::Missing { segment, records: Range { start, end } } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: records {start} to before {end} are missing")
            }
            Self::Replaced { message, copy } => {
                write!(f, "message {message}: its id was used again")?;
                kept(f, copy.as_deref())
            }
            Self::NoContent(id) => write!(f, "message {id}: its content file is missing"),
            Self::Removed(path) => write!(f, "{}: unused content removed", path.display()),
            Self::SetAside(path) => write!(f, "{}: unused content kept", path.display()),
            Self::Left { path, why } => {
                write!(f, "{}: unused content is still there: {why}", path.display())
            }
        }
    }
}

fn kept(f: &mut fmt::Formatter<'_>, copy: Option<&Path>) -> fmt::Result {
    match copy {
        Some(copy) => write!(f, ", kept in {}", copy.display()),
        None => Ok(()),
    }
}

/// Where things are below the queue directory.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) content: PathBuf,
    pub(crate) quarantine: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        let [journal, content, quarantine] =
            ["journal", "content", "quarantine"].map(|name| root.join(name));
        Self { root: root.to_owned(), journal, content, quarantine }
    }

    /// Makes what is missing.
    fn ensure(&self, disk: &dyn Disk) -> io::Result<()> {
        for dir in [&self.journal, &self.content, &self.quarantine] {
            ensure_dir(disk, dir)?;
        }
        disk.sync_dir(&self.root)
    }
}

/// What is needed to go on writing the journal.
pub(crate) struct Prepared {
    pub(crate) outlines: Outlines,
    /// The sequence number of the next record.
    pub(crate) next: u64,
    /// The next step of the id counter, if the last run came to an orderly end.
    pub(crate) closed: Option<u64>,
    /// The last segment, if it may be written on.
    pub(crate) left: Option<Left>,
    /// Files behind it that were to be segments and hold nothing, not even a header.
    pub(crate) unused: Vec<u32>,
    /// What was found already.
    findings: Vec<Finding>,
}

/// The first stage. Nothing is changed before it is known that this program can read all there
/// is.
pub(crate) fn prepare(disk: &dyn Disk, layout: &Layout, keys: &Keys) -> io::Result<Prepared> {
    let mut outlines = Outlines::read(disk, &layout.journal, keys)?;
    layout.ensure(disk)?;
    let mut findings = Vec::new();
    if outlines.key().is_none() && !outlines.all().is_empty() {
        findings = set_aside(disk, layout, keys, &outlines)?;
        outlines = Outlines::read(disk, &layout.journal, keys)?;
    }
    let end = replay(disk, &layout.journal, keys, &outlines, Extent::End)?;
    // A killed process leaves octets and names that can be read but are not on disk, and they
    // are about to be relied upon. A sync that it saw fail has marked them clean, so syncing
    // again would not help: they are written again as they are. All before them was synced.
    let standing = outlines.standing().map(|nth| outlines.all()[nth].number);
    let header = standing.map(|segment| Region { segment, range: 0..segment::HEADER as usize });
    for region in header.iter().chain(&end.last_group) {
        write_again(disk, layout, region)?;
    }
    disk.sync_dir(&layout.journal)?;
    let unused: Vec<u32> = match standing {
        Some(standing) => behind(&end, standing).collect(),
        None => Vec::new(),
    };
    let left = outlines.standing().and_then(|nth| left(&end, &outlines.all()[nth..], &unused));
    Ok(Prepared { next: end.next, closed: end.closed, left, unused, outlines, findings })
}

/// The segments behind the last header in which there is nothing.
fn behind(end: &Replayed, standing: u32) -> impl Iterator<Item = u32> {
    let blank = move |(number, extent): (u32, &table::Extent)| {
        let regions = end.gaps.iter().chain(&end.torn).chain(&end.unreadable);
        let whole = regions.into_iter().all(|region| region.segment != number);
        (number > standing && extent.end == segment::HEADER && whole).then_some(number)
    };
    end.table.segments().filter_map(blank)
}

/// The last segment that has a header, if all in it is whole but for what may have been written
/// when the run ended, which nothing follows.
fn left(end: &Replayed, outlines: &[Outline], unused: &[u32]) -> Option<Left> {
    let (last, behind) = outlines.split_first()?;
    let segment = last.header?;
    let (_, extent) = end.table.segments().find(|(number, _)| *number == last.number)?;
    let whole = end.gaps.is_empty() && end.unreadable.is_empty() && end.missing.is_empty();
    let torn = end.torn.iter().any(|torn| (torn.range.start as u64) < extent.end);
    let is_last = behind.iter().all(|outline| unused.contains(&outline.number));
    (whole && !torn && is_last).then_some(Left { segment, end: extent.end })
}

/// Moves away the files of a journal that has lost all its headers, and with them the key. The
/// journal that is begun could not tell them from files that were never used.
fn set_aside(
    disk: &dyn Disk,
    layout: &Layout,
    keys: &Keys,
    outlines: &Outlines,
) -> io::Result<Vec<Finding>> {
    let replayed = replay(disk, &layout.journal, keys, outlines, Extent::All)?;
    let mut findings = Vec::new();
    for outline in outlines.all() {
        let lost = replayed.gaps.iter().chain(&replayed.unreadable);
        let Some(region) = lost.into_iter().find(|region| region.segment == outline.number) else {
            continue;
        };
        let name = segment::name(outline.number);
        let copy = Some(keep_file(disk, &layout.journal.join(&name), &layout.quarantine, &name)?);
        let Region { segment, range } = region.clone();
        findings.push(Finding::Damaged { segment, offset: range.start, octets: range.len(), copy });
    }
    Ok(findings)
}

/// Gives a file a name in `quarantine/`, takes away the one it has, and says what it is called
/// now. It has one of them whenever the power goes.
pub(crate) fn keep_file(
    disk: &dyn Disk,
    from: &Path,
    quarantine: &Path,
    name: &str,
) -> io::Result<PathBuf> {
    let kept = link_into(disk, from, quarantine, name)?;
    disk.sync_dir(quarantine)?;
    disk.unlink(from)?;
    Ok(kept)
}

/// Gives a file a second name in `quarantine/`, unless an attempt that was cut short has.
fn link_into(disk: &dyn Disk, from: &Path, quarantine: &Path, name: &str) -> io::Result<PathBuf> {
    let again = disk.open(from)?.links()? > 1;
    let others = (1..).map(|nth| quarantine.join(format!("{name}.{nth}")));
    for kept in std::iter::once(quarantine.join(name)).chain(others) {
        match disk.link(from, &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !again => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(kept),
            other => return other.map(|()| kept),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_again(disk: &dyn Disk, layout: &Layout, region: &Region) -> io::Result<()> {
    let Region { segment, range } = region;
    let file = disk.reuse(&layout.journal.join(segment::name(*segment)))?;
    let mut octets = vec![0; range.len()];
    // A write that was cut short may have left the unused end of a sector or record away.
    let read = match file.read_at(&mut octets, range.start as u64) {
        // What is whole in there was read once, and is kept as it is.
        Err(error) if is_damage(&error) => return Ok(()),
        other => other?,
    };
    file.write_at(&octets[..read], range.start as u64)?;
    file.sync_data()
}

/// The second stage of a start, which takes seconds when there is much mail: see the module.
pub struct Recovery {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) layout: Layout,
    pub(crate) prepared: Prepared,
    /// Where the mail is waited for.
    pub(crate) table: Shared,
    pub(crate) spool: Spool,
    /// The ids given out since the first stage, which began with this step.
    pub(crate) ids: Ids,
    pub(crate) first: u64,
    pub(crate) keys: Keys,
}

impl Recovery {
    /// Reads the journal, sets aside what is damaged, removes what nobody was told about. From
    /// then on the [`Reader`](crate::reader::Reader) finds what was in the queue before.
    ///
    /// Errors are those of a system that cannot look now, such as for want of descriptors;
    /// what is damaged is a finding.
    pub fn run(self) -> io::Result<Recovered> {
        let Self { disk, layout, prepared, table, spool, ids, first, keys } = self;
        let Prepared { outlines, next, closed, mut findings, .. } = prepared;
        let disk = &*disk;
        let mut replayed = replay(disk, &layout.journal, &keys, &outlines, Extent::All)?;
        let names = names(disk, &layout.content)?;
        findings.extend(without_copies(&replayed, &names));

        // What an earlier start has kept, it has told. Were it stopped in between, the copies
        // would not be there: they come last.
        let mut broken = broken(&replayed);
        broken.retain(|(region, _)| !is_kept(disk, &layout, region));
        let lost =
            !(broken.is_empty() && replayed.missing.is_empty() && replayed.unreadable.is_empty());
        let named: HashSet<MessageId> = in_files(&replayed.table).collect();
        // A file of this run has an id of this run.
        let unused = |id: &MessageId| !named.contains(id) && !ids.gave(*id, first);
        let unused: Vec<MessageId> = names.into_iter().filter(unused).collect();
        findings.extend(clear(disk, &layout, &unused, lost));
        for (region, what) in broken {
            let copy = copy(disk, &layout, &region);
            // On a full disk it is not worth a whole segment, which would be missed for good,
            // that a group was being written.
            let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
            if !(copy.is_ok() || matches!(what, Broken::Torn) && copy.as_ref().is_err_and(full)) {
                replayed.table.keep(region.segment);
            }
            findings.push(what.finding(region, copy.ok()));
        }
        for region in &replayed.unreadable {
            replayed.table.keep(region.segment);
        }

        let live = live(&replayed.table);
        let Completed { gone, replaced } = table.lock().complete(replayed.table);
        for id in gone {
            // What stays is removed by the next start.
            if let Err(error) = spool.remove(id) {
                log::warn!("warn: queue: content of {id}: {error}");
            }
        }
        for (id, live, _pin) in replaced {
            let region = live.region();
            let copy = copy(disk, &layout, &region).ok();
            if copy.is_none() {
                table.lock().keep(region.segment);
            }
            findings.push(Broken::Replaced(id).finding(region, copy));
        }
        Ok(Recovered { live, sequence: next, clean: closed.is_some(), findings })
    }
}

/// Reads the journal without changing anything, for tools.
pub(crate) fn inspect(
    disk: &dyn Disk,
    layout: &Layout,
    keys: &Keys,
) -> io::Result<(Outlines, Table, Recovered)> {
    let outlines = Outlines::read(disk, &layout.journal, keys)?;
    let replayed = replay(disk, &layout.journal, keys, &outlines, Extent::All)?;
    let names = names(disk, &layout.content)?;
    let mut findings: Vec<Finding> = without_copies(&replayed, &names).collect();
    let broken = broken(&replayed).into_iter();
    findings.extend(broken.map(|(region, what)| what.finding(region, None)));
    let (sequence, clean) = (replayed.next, replayed.closed.is_some());
    let recovered = Recovered { live: live(&replayed.table), sequence, clean, findings };
    Ok((outlines, replayed.table, recovered))
}

/// The messages, in the order of their records.
fn live(table: &Table) -> Vec<MessageId> {
    let mut places: Vec<(Place, MessageId)> =
        table.iter().map(|(id, live)| (live.place, id)).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, id)| id).collect()
}

/// What there is nothing to be copied of.
fn without_copies<'a>(
    replayed: &'a Replayed,
    names: &'a HashSet<MessageId>,
) -> impl Iterator<Item = Finding> + 'a {
    let unreadable = replayed.unreadable.iter().map(|Region { segment, range }| {
        let (offset, octets) = (range.start, range.len());
        Finding::Unreadable { segment: *segment, offset, octets }
    });
    let missing = replayed.missing.iter().map(|(segment, records)| {
        let (segment, records) = (*segment, records.clone());
        Finding::Missing { segment, records }
    });
    let without = in_files(&replayed.table).filter(|id| !names.contains(id));
    unreadable.chain(missing).chain(without.map(Finding::NoContent))
}

/// Octets that are set aside, and why.
enum Broken {
    Gap,
    Torn,
    Replaced(MessageId),
}

impl Broken {
    fn finding(&self, region: Region, copy: Option<PathBuf>) -> Finding {
        let Region { segment, range } = region;
        let (offset, octets) = (range.start, range.len());
        match self {
            Self::Gap => Finding::Damaged { segment, offset, octets, copy },
            Self::Torn => Finding::Torn { segment, offset, octets, copy },
            Self::Replaced(message) => Finding::Replaced { message: *message, copy },
        }
    }
}

fn broken(replayed: &Replayed) -> Vec<(Region, Broken)> {
    let gaps = replayed.gaps.iter().map(|region| (region.clone(), Broken::Gap));
    let torn = replayed.torn.iter().map(|region| (region.clone(), Broken::Torn));
    let replaced = replayed.replaced.iter();
    let replaced = replaced.map(|(id, live)| (live.region(), Broken::Replaced(*id)));
    gaps.chain(torn).chain(replaced).collect()
}

/// Where the copy of some octets is.
fn name_of_copy(layout: &Layout, region: &Region) -> PathBuf {
    let Region { segment, range } = region;
    layout.quarantine.join(format!("{}-{:08x}", segment::name(*segment), range.start))
}

/// Whether an earlier start has made the copy.
fn is_kept(disk: &dyn Disk, layout: &Layout, region: &Region) -> bool {
    let size = disk.open(&name_of_copy(layout, region)).and_then(|file| file.size());
    size.is_ok_and(|size| size == region.range.len() as u64)
}

/// Copies octets to `quarantine/SEGMENT-OFFSET`. A start does not fail for it: where there is no
/// copy, the segment is kept.
fn copy(disk: &dyn Disk, layout: &Layout, region: &Region) -> io::Result<PathBuf> {
    let copy = name_of_copy(layout, region);
    let copied = || {
        let mut octets = vec![0; region.range.len()];
        let segment = disk.open(&layout.journal.join(segment::name(region.segment)))?;
        read_exact_at(&*segment, &mut octets, region.range.start as u64)?;
        if disk.open(&copy).is_ok() {
            // One that was cut short.
            disk.unlink(&copy)?;
        }
        let file = disk.create(&copy)?;
        file.write_at(&octets, 0)?;
        file.sync_data()?;
        disk.sync_dir(&layout.quarantine)
    };
    match copied() {
        Ok(()) => Ok(copy),
        Err(error) => {
            log::warn!("warn: queue: {}: {error}", copy.display());
            // Space is wanted for other things.
            let _ = disk.unlink(&copy);
            Err(error)
        }
    }
}

/// Removes content files that no record names; keeps them elsewhere when records are `lost`. The
/// names that are taken away need no sync: should one come back, the next start finds it again.
fn clear(disk: &dyn Disk, layout: &Layout, unused: &[MessageId], lost: bool) -> Vec<Finding> {
    let path = |id: &MessageId| layout.content.join(id.to_string());
    let link = |id: &MessageId| match lost {
        true => link_into(disk, &path(id), &layout.quarantine, &id.to_string()).map(Some),
        false => Ok(None),
    };
    let linked: Vec<_> = unused.iter().map(link).collect();
    let synced = if lost { disk.sync_dir(&layout.quarantine) } else { Ok(()) };
    let clear = |(id, linked): (&MessageId, io::Result<Option<PathBuf>>)| {
        let cleared = linked.and_then(|kept| {
            if let Err(error) = &synced {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
            disk.unlink(&path(id)).map(|()| kept)
        });
        match cleared {
            Ok(None) => Finding::Removed(path(id)),
            Ok(Some(kept)) => Finding::SetAside(kept),
            Err(error) => Finding::Left { path: path(id), why: error.to_string() },
        }
    };
    unused.iter().zip(linked).map(clear).collect()
}

fn in_files(table: &Table) -> impl Iterator<Item = MessageId> {
    table.iter().filter(|(_, live)| live.in_file).map(|(id, _)| id)
}

/// The messages that have a file in the directory of content files; none when it does not exist.
/// What is called otherwise is not ours.
fn names(disk: &dyn Disk, dir: &Path) -> io::Result<HashSet<MessageId>> {
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let files = entries.into_iter().filter(|Entry { directory, .. }| !directory);
    Ok(files.filter_map(|entry| entry.name.to_str()?.parse().ok()).collect())
}
