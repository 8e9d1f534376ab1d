//! One daemon for a queue directory: a lock that the system takes back when its holder dies.
//!
//! It is taken before anything is bound or read. Tools that only read do not need it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the queue in `dir`, a directory that is made (mode 0700) if it is
    /// missing. `WouldBlock` says that another process has it.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let path = dir.join("lock");
        let take = || {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Self { _file: file })
        };
        take().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let name = format!("smtpd-lock-{}", std::process::id());
        let dir = std::env::temp_dir().join(name).join("spool");
        let first = Lock::take(&dir).unwrap();
        assert_eq!(Lock::take(&dir).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        Lock::take(&dir).unwrap();
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}
