//! SMTP as a pure state machine (RFC 5321).
//!
//! The caller owns every buffer and the clock. A [`server::Session`] is a small value
//! that takes octets off the front of what it is shown, adds reply octets to what it is
//! given, and returns the next event; the answer to every question it asks is an SMTP
//! [`Reply`](reply::Reply). There are no sockets, files, threads, clocks, log lines or
//! randomness in here, so a conversation is the same on every machine.
//!
//! Three promises, kept by the tests: the work of a call is bounded by the octets shown;
//! the same octets cut anywhere, with the same answers at the same times, give the same
//! events and the same output; no input of any kind panics.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | the receiving side: sessions, events, answers |
//! | [`client`] | the sending side: sessions, events, failures |
//! | [`address`] | mailboxes, paths, HELO names |
//! | [`reply`] | replies and their texts |
//! | [`dsn`] | the values of RFC 3461: NOTIFY, ORCPT, RET, ENVID |
//! | [`trace`], [`date`] | the Received field and its date |
//! | [`header`] | the header of a message while it streams by |
//! | [`tls`] | what is known of a connection's TLS |
//! | [`limits`] | every bound, with its reason |
//! | [`time`] | the caller's clock |

#![forbid(unsafe_code)]

pub mod address;
pub mod auth;
pub mod client;
mod command;
mod data;
pub mod date;
pub mod dsn;
mod extension;
pub mod header;
pub mod limits;
pub mod reply;
pub mod server;
pub mod time;
pub mod tls;
pub mod trace;
