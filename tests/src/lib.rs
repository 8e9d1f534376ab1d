//! Helpers of the tests.
//!
//! `transcript` reads and plays the conversations of `fixtures/smtp` (their format is
//! described in `fixtures/README.md`), `rng` is the one source of randomness of all tests,
//! `noise` makes input that nobody should send, `configuration` files that are right. `program` runs
//! the real programs, `client` speaks to them, `authority` certifies names, `load` sends them mail
//! and keeps books of it, `mount` makes disks that may fill up or lose their power,
//! `crash` ends the real daemon in the middle of its work and looks at what is left; `zone` is a
//! nameserver, `namespace` a machine of a test's own.

#![forbid(unsafe_code)]

pub mod authority;
pub mod client;
pub mod configuration;
pub mod crash;
pub mod load;
pub mod mount;
pub mod namespace;
pub mod noise;
pub mod paper;
pub mod program;
pub mod rng;
pub mod transcript;
pub mod zone;

/// What is printed of a configuration, with something in the place of each secret: `?`, which
/// stands in no quotes.
#[must_use]
pub fn with_secrets(printed: &str) -> String {
    let mut text = String::new();
    let (mut quoted, mut before, mut secrets) = (false, ' ', 0);
    for character in printed.chars() {
        // The printer writes a backslash before a quote for that only.
        quoted ^= character == '"' && before != '\\';
        if character == '?' && !quoted {
            text += &format!("\"{secrets:032}\"");
            secrets += 1;
        } else {
            text.push(character);
        }
        before = character;
    }
    text
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
