//! One daemon for a queue directory: a lock that the system takes back when its holder dies.
//!
//! It is taken before anything is bound or read. Tools that only read do not need it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// Held as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    dir: PathBuf,
}

impl Lock {
    /// Takes the lock of the queue in `dir`, a directory that is made (mode 0700) if it is
    /// missing. `WouldBlock` says that another process has it.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let path = dir.join("lock");
        let take = || {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Self { file, dir: dir.to_owned() })
        };
        take().map_err(|error| named(&path, &error))
    }

    /// Gives the directory and the lock to the user whom a daemon started by root becomes. That
    /// user may have written there before and is not trusted with a choice: no link is followed.
    pub fn give_to(&self, uid: u32, gid: u32) -> io::Result<()> {
        let path = self.dir.join("lock");
        let give = || {
            if self.file.metadata()?.nlink() != 1 {
                return Err(io::Error::other("it has a second name"));
            }
            fchown(&self.file, Some(uid), Some(gid))
        };
        give().map_err(|error| named(&path, &error))?;
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits() as i32;
        let dir = OpenOptions::new().read(true).custom_flags(flags).open(&self.dir);
        let given = dir.and_then(|dir| fchown(&dir, Some(uid), Some(gid)));
        given.map_err(|error| named(&self.dir, &error))
    }
}

/// Whether a process has the lock of the queue in `dir`, for tools that only read: nothing is
/// created, and nobody is kept from taking it a moment later. Without a lock file nobody has it.
pub fn is_taken(dir: &Path) -> io::Result<bool> {
    let path = dir.join("lock");
    let look = || {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    };
    look().map_err(|error| named(&path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let dir = std::env::temp_dir().join(format!("smtpd-link-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("spool")).unwrap();
        std::os::unix::fs::symlink(dir.join("target"), dir.join("spool/lock")).unwrap();
        assert!(Lock::take(&dir.join("spool")).is_err());
        assert!(!dir.join("target").exists());
        std::fs::remove_file(dir.join("spool/lock")).unwrap();
        let lock = Lock::take(&dir.join("spool")).unwrap();
        std::fs::hard_link(dir.join("spool/lock"), dir.join("other")).unwrap();
        assert!(lock.give_to(0, 0).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let name = format!("smtpd-lock-{}", std::process::id());
        let dir = std::env::temp_dir().join(name).join("spool");
        assert!(!is_taken(&dir).unwrap());
        assert!(!dir.exists(), "looking creates nothing");
        let first = Lock::take(&dir).unwrap();
        assert_eq!(Lock::take(&dir).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(is_taken(&dir).unwrap());
        drop(first);
        assert!(!is_taken(&dir).unwrap());
        Lock::take(&dir).unwrap();
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}
