//! Maildirs as directories: made when missing, and known to be durable before mail goes in.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, ensure_dir};

/// Maildirs remembered as durable. A path is a hundred octets or so.
const REMEMBERED: usize = 4096;

/// The Maildirs that this process has seen to.
#[derive(Debug, Default)]
pub(super) struct Folders {
    durable: HashSet<PathBuf>,
}

impl Folders {
    /// Makes sure that the Maildir is there and that a power cut cannot take it, or the parents
    /// made for it, from under the mail in it.
    ///
    /// That its directories exist does not settle that: an earlier attempt may have made them
    /// and have failed to sync. So the names are synced once in each process.
    pub(super) fn prepare(&mut self, disk: &dyn Disk, maildir: &Path) -> io::Result<()> {
        if self.durable.contains(maildir) {
            return Ok(());
        }
        ensure(disk, maildir)?;
        for folder in ["tmp", "new", "cur"] {
            ensure_dir(disk, &maildir.join(folder))?;
        }
        disk.sync_dir(maildir)?;
        if self.durable.len() >= REMEMBERED {
            self.durable.clear();
        }
        self.durable.insert(maildir.to_owned());
        Ok(())
    }

    /// Looks at this Maildir anew the next time: something of it is gone.
    pub(super) fn forget(&mut self, maildir: &Path) {
        self.durable.remove(maildir);
    }
}

/// Makes a directory durable, and its parents where they are missing.
///
/// A parent's name is synced before anything is made in it. So of a path that is there, only
/// the last directory can have a name that is not durable yet, and that one is synced here.
fn ensure(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    // The cheapest question whether it is there.
    match disk.sync_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ensure(disk, parent(dir))?;
            ensure_dir(disk, dir)?;
        }
        // A directory of somebody else's, such as /home, that may be passed but not read: it is
        // not we who made what is in it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(()),
        other => other?,
    }
    match disk.sync_dir(parent(dir)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// The parent; of the root the root itself.
fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => dir,
    }
}
