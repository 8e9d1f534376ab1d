//! Files that are read again when they have changed.

use std::fs;
use std::path::{Path, PathBuf};

use smtpd_config::Stamp;

/// A file, and what it looked like when it was last looked at.
pub struct Watched {
    path: PathBuf,
    /// Which file it was, or that there was none; none when nothing is known of it.
    stamp: Option<Option<Stamp>>,
}

impl Watched {
    /// A file that was never looked at, and so has changed.
    pub fn new(path: PathBuf) -> Watched {
        Watched { path, stamp: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it looks otherwise than it did.
    pub fn has_changed(&self) -> bool {
        self.stamp != Some(self.now())
    }

    /// Looks at it. To be called before it is read: what is written meanwhile is read the next
    /// time.
    pub fn look(&mut self) {
        self.stamp = Some(self.now());
    }

    /// What was read is not known to anybody: it is to be read again.
    pub fn forget(&mut self) {
        self.stamp = None;
    }

    fn now(&self) -> Option<Stamp> {
        fs::metadata(&self.path).ok().as_ref().map(Stamp::from)
    }
}
