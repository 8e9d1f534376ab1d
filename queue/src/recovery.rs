//! What a start finds, and what it does about it before the first message is accepted.
//!
//! Nothing is lost silently: octets that cannot be read any more are copied to `quarantine/`
//! and named in a finding, and so is each torn group. Everything here may be stopped at any
//! point and done again: it adds files, and removes only what no record names.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::Keys;
use crate::disk::{Disk, Entry, ensure_dir, read_exact_at};
use crate::id::MessageId;
use crate::replay::{Region, Replayed, replay};
use crate::segment;
use crate::table::Table;

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
    /// A group was being written when the last run ended. Nobody was told that it was on disk.
    Torn {
        /// The segment file.
        segment: u32,
        /// Where the group's first record that is not whole begins.
        offset: usize,
    },
    /// Octets that had been on disk are damaged. What they were is not known any more.
    Damaged {
        /// The segment file.
        segment: u32,
        /// Where they begin.
        offset: usize,
        /// How many there are.
        octets: usize,
        /// Where they have been copied to; `None` when nothing may be written.
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
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { segment, offset } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: unfinished group at {offset} dropped")
            }
            Self::Damaged { segment, offset, octets, copy } => {
                let segment = segment::name(*segment);
                write!(f, "segment {segment}: {octets} octets at {offset} are damaged")?;
                match copy {
                    Some(copy) => write!(f, ", kept in {}", copy.display()),
                    None => Ok(()),
                }
            }
            Self::NoContent(id) => write!(f, "message {id}: its content file is missing"),
            Self::Removed(path) => write!(f, "{}: unused content removed", path.display()),
            Self::SetAside(path) => write!(f, "{}: unused content kept", path.display()),
        }
    }
}

/// Where things are below the queue directory.
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

/// Reads the journal without changing anything, for tools.
pub(crate) fn inspect(
    disk: &dyn Disk,
    layout: &Layout,
    keys: &Keys,
) -> io::Result<(Replayed, Recovered)> {
    let replayed = replay(disk, &layout.journal, keys)?;
    let damaged = replayed.gaps.iter().map(|Region { segment, range }| Finding::Damaged {
        segment: *segment,
        offset: range.start,
        octets: range.len(),
        copy: None,
    });
    let torn = replayed
        .torn
        .iter()
        .map(|Region { segment, range }| Finding::Torn { segment: *segment, offset: range.start });
    let mut findings: Vec<Finding> = damaged.chain(torn).collect();
    let names = names(disk, &layout.content)?;
    let missing = in_files(&replayed.table).filter(|id| !names.contains(&id.to_string()));
    findings.extend(missing.map(Finding::NoContent));

    let mut places: Vec<_> = replayed.table.iter().map(|(id, live)| (live.place, id)).collect();
    places.sort_unstable();
    let live = places.into_iter().map(|(_, id)| id).collect();
    let (sequence, clean) = (replayed.next, replayed.closed.is_some());
    Ok((replayed, Recovered { live, sequence, clean, findings }))
}

/// Reads the journal and puts the queue directory in order.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    layout: &Layout,
    keys: &Keys,
) -> io::Result<(Replayed, Recovered)> {
    layout.ensure(&**disk)?;
    let (replayed, mut recovered) = inspect(&**disk, layout, keys)?;
    // A killed process leaves octets and names that can be read but are not on disk, and they
    // are about to be relied upon. A sync that it saw fail has marked them clean, so syncing
    // again would not help: they are written again as they are. All before them was synced.
    for region in replayed.last_header.iter().chain(&replayed.last_group) {
        write_again(&**disk, layout, region)?;
    }
    disk.sync_dir(&layout.journal)?;
    for finding in &mut recovered.findings {
        if let Finding::Damaged { segment, offset, octets, copy } = finding {
            *copy = Some(keep(&**disk, layout, *segment, *offset, *octets)?);
        }
    }
    if !replayed.gaps.is_empty() {
        disk.sync_dir(&layout.quarantine)?;
    }
    let mut unused = unused(&**disk, layout, &replayed)?;
    recovered.findings.append(&mut unused);
    Ok((replayed, recovered))
}

fn write_again(disk: &dyn Disk, layout: &Layout, region: &Region) -> io::Result<()> {
    let Region { segment, range } = region;
    let file = disk.reuse(&layout.journal.join(segment::name(*segment)))?;
    let mut octets = vec![0; range.len()];
    // A write that was cut short may have left the unused end of a sector or record away.
    let read = file.read_at(&mut octets, range.start as u64)?;
    file.write_at(&octets[..read], range.start as u64)?;
    file.sync_data()
}

/// Copies damaged octets to `quarantine/SEGMENT-OFFSET`, unless an earlier start has done so.
fn keep(
    disk: &dyn Disk,
    layout: &Layout,
    segment: u32,
    offset: usize,
    octets: usize,
) -> io::Result<PathBuf> {
    let name = segment::name(segment);
    let copy = layout.quarantine.join(format!("{name}-{offset:08x}"));
    match disk.open(&copy) {
        Ok(file) if file.size()? == octets as u64 => return Ok(copy),
        Ok(_) => disk.unlink(&copy)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut damaged = vec![0; octets];
    read_exact_at(&*disk.open(&layout.journal.join(name))?, &mut damaged, offset as u64)?;
    let file = disk.create(&copy)?;
    file.write_at(&damaged, 0)?;
    file.sync_data()?;
    Ok(copy)
}

/// Removes the content files that no record names; keeps them elsewhere when records are
/// missing. Their names need no sync: should one come back, the next start finds it again.
fn unused(disk: &dyn Disk, layout: &Layout, replayed: &Replayed) -> io::Result<Vec<Finding>> {
    let named: HashSet<String> = in_files(&replayed.table).map(|id| id.to_string()).collect();
    let mut findings = Vec::new();
    let unused = names(disk, &layout.content)?.into_iter().filter(|name| !named.contains(name));
    for name in unused {
        let path = layout.content.join(&name);
        if replayed.gaps.is_empty() {
            disk.unlink(&path)?;
            findings.push(Finding::Removed(path));
        } else {
            let kept = layout.quarantine.join(&name);
            disk.rename(&path, &kept)?;
            findings.push(Finding::SetAside(kept));
        }
    }
    Ok(findings)
}

fn in_files(table: &Table) -> impl Iterator<Item = MessageId> {
    table.iter().filter(|(_, live)| live.in_file).map(|(id, _)| id)
}

/// The names of the files in a directory; none when it does not exist.
fn names(disk: &dyn Disk, dir: &Path) -> io::Result<HashSet<String>> {
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let file = |entry: Entry| if entry.directory { None } else { entry.name.into_string().ok() };
    Ok(entries.into_iter().filter_map(file).collect())
}
