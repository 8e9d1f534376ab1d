//! Outgoing connections, with next hops that are good, slow, and hang up.

#![allow(clippy::unwrap_used)]

#[path = "../common/authority.rs"]
mod authority;
mod caller;
mod hop;
mod plain;
mod secured;
