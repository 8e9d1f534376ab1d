//! Small file systems of their own for tests that fill or cut them: images in files, mounted
//! through a loop device. Linux, root, and the usual programs; a test without them is skipped, and
//! says so.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::TempDir;

/// How long an unmount is tried before it is left to the system to end it: a process that was
/// killed a moment ago may still be closing its files.
const BUSY: Duration = Duration::from_secs(10);

/// What the space is taken with.
static BLANK: [u8; 1 << 20] = [0; 1 << 20];

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any size from some 200 KiB.
    Ext4,
    /// From 300 MiB; less is refused by mkfs.xfs.
    Xfs,
}

impl Kind {
    fn mkfs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            // Nothing is kept for root, so that the space shown is the space there is.
            Kind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-m", "0"]),
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f"]),
        }
    }
}

/// A mounted file system. It goes, with all that is on it, when the value does.
pub struct Mount {
    kind: Kind,
    at: PathBuf,
    image: PathBuf,
    mounted: bool,
    _dir: TempDir,
}

impl Mount {
    /// Makes a file system of `octets` and mounts it at `at`, a directory that is made if it is
    /// missing.
    ///
    /// # Errors
    /// Why this cannot be done here: a reason to skip the test.
    pub fn new(kind: Kind, octets: u64, at: &Path) -> Result<Mount, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting a file system needs root".to_owned());
        }
        let dir = TempDir::new();
        let image = dir.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(octets));
        made.map_err(|error| format!("{}: {error}", image.display()))?;
        let (mkfs, arguments) = kind.mkfs();
        run(Command::new(mkfs).args(arguments).arg(&image))?;
        fs::create_dir_all(at).map_err(|error| format!("{}: {error}", at.display()))?;
        let mut mount = Mount { kind, at: at.to_owned(), image, mounted: false, _dir: dir };
        mount.try_mount()?;
        Ok(mount)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Octets that an ordinary user may still write.
    #[must_use]
    pub fn space(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).expect("it is mounted");
        stat.f_bavail.saturating_mul(stat.f_frsize)
    }

    /// Takes all the space but `left` octets with a file of this name; remove it to give the
    /// space back.
    ///
    /// # Panics
    /// When more is left in the end.
    pub fn fill(&self, name: &str, left: u64) -> PathBuf {
        let path = self.at.join(name);
        let mut file = File::create(&path).expect("a name costs no space");
        for piece in [1 << 20, 4096] {
            while self.space() >= left + piece {
                let written = file.write_all(&BLANK[..piece as usize]);
                // Until then the space is only promised, and the figure an estimate.
                if written.and_then(|()| file.sync_data()).is_err() {
                    break;
                }
            }
        }
        assert!(self.space() <= left + 8192, "{} octets are left", self.space());
        path
    }

    /// Cuts the power, as far as the file system can tell: from now on nothing reaches the disk,
    /// not even what its log holds in memory (FS_IOC_SHUTDOWN without a flush of the log).
    ///
    /// # Errors
    /// Why this cannot be done here.
    pub fn cut_power(&self) -> Result<(), String> {
        // -x: commands for experts; shutdown without -f is the one that flushes nothing. The
        // request is the same for ext4.
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.at))
    }

    /// Unmounts the file system and mounts it again, which has it recover from its log.
    ///
    /// # Panics
    /// When it is in use, or cannot be mounted any more.
    pub fn remount(&mut self) {
        self.unmount().expect("everybody who used it has ended");
        self.try_mount().expect("it recovers");
    }

    fn try_mount(&mut self) -> Result<(), String> {
        let kind = match self.kind {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        };
        let options = ["-t", kind, "-o", "loop"];
        run(Command::new("mount").args(options).arg(&self.image).arg(&self.at))?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        let end = Instant::now() + BUSY;
        while self.mounted {
            match run(Command::new("umount").arg(&self.at)) {
                Ok(()) => self.mounted = false,
                Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // Off the tree at least; the rest goes with its last user.
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
        }
    }
}

/// Says that a test was not made, and why, where it is seen even if the output of tests that pass
/// is not shown.
pub fn skip(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {why}");
}

/// Runs a program to its end; the error has its name and its own words.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = name;
    for argument in command.get_args().map(OsStr::to_string_lossy) {
        let _ = write!(text, " {argument}");
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{text}: {}: {}", output.status, words.trim()))
}
