//! Helpers of the tests.
//!
//! `transcript` reads and plays the conversations of `fixtures/smtp/server` (their format is
//! described in `fixtures/README.md`), `rng` is the one source of randomness of all tests,
//! `noise` makes input that nobody should send. `program` runs the real programs, `load` sends
//! them mail and keeps books of it, `mount` makes disks that may fill up or lose their power,
//! `crash` ends the real daemon in the middle of its work and looks at what is left.

#![forbid(unsafe_code)]

pub mod crash;
pub mod load;
pub mod mount;
pub mod noise;
pub mod paper;
pub mod program;
pub mod rng;
pub mod transcript;

/// What is printed of a configuration, with keys of the queue, which are not printed.
#[must_use]
pub fn with_queue_keys(printed: &str) -> String {
    let mut parts = printed.split("queue encryption \"KEY\"");
    let first = parts.next().unwrap_or_default().to_owned();
    let key = |nth: usize| format!("queue encryption \"{nth:032}\"");
    parts.enumerate().fold(first, |text, (nth, part)| text + &key(nth) + part)
}

/// How much more than usual a test shall do: 1, or `HERMES_LONG` from the environment
/// (`HERMES_LONG=1` means 50 times as much, a larger number that many times).
#[must_use]
pub fn effort() -> usize {
    match std::env::var("HERMES_LONG").ok().as_deref() {
        None | Some("" | "0") => 1,
        Some(times) => times.parse().ok().filter(|times| *times > 1).unwrap_or(50),
    }
}
