//! A test that runs in a network and a mount namespace of its own: ports below 1024, directories
//! and files of the system, and nobody else sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{TempDir, program};

/// Set for the run inside of the namespaces: the directory prepared for it.
const INSIDE: &str = "HERMES_INSIDE";

/// Runs the test of this name, of this test program, once more in namespaces of its own. There
/// this returns a directory for it; outside it returns nothing, when that run is over, or with a
/// loud line when namespaces cannot be had.
///
/// # Panics
/// When the run inside fails.
#[must_use]
pub fn inside(test: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(INSIDE) {
        run("ip", &["link", "set", "lo", "up"]);
        return Some(PathBuf::from(dir));
    }
    let probe = Command::new("unshare")
        .args(["--net", "--mount", "ip", "link", "set", "lo", "up"])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {test}: namespaces need root, unshare and ip");
        return None;
    }
    let dir = TempDir::new();
    // Built before: inside there is no network.
    let _ = (program("smtpd"), program("smtpctl"));
    let output = Command::new("unshare")
        .args(["--net", "--mount"])
        .arg(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, dir.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
    None
}

/// Puts `own` in the place of a file or directory of the system, which must be there.
///
/// # Panics
/// When it cannot.
pub fn mount(own: &Path, over: &str) {
    // This mount namespace ends with the process.
    run("mount", &["--bind", &own.to_string_lossy(), over]);
}

/// Puts a new directory in `dir` in the place of one of the system. What is made of the mount
/// point, where there is none, may stay.
///
/// # Panics
/// When it cannot.
pub fn mount_directory(dir: &Path, name: &str, over: &str) {
    let own = dir.join(name);
    fs::create_dir_all(&own).expect("a directory");
    fs::create_dir_all(over).expect("a mount point");
    mount(&own, over);
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it does not.
pub fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it runs");
    assert!(status.success(), "{program} {arguments:?}");
}
