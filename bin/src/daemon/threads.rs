//! Starting threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::thread::{Builder, JoinHandle};

/// Starts a thread whose panic ends the process: a commit, scheduler or writer thread that is
/// gone would leave the others promising what nobody does (design: no reactor promises on). What
/// was acknowledged is on disk, and the next start goes on with it.
///
/// # Errors
/// When the system starts no more threads.
pub fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let named = name.to_owned();
    Builder::new().name(name.to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(body)).is_err() {
            log::error!("fatal: {named}: a defect of ours; see the lines above");
            log::logger().flush();
            process::abort();
        }
    })
}
