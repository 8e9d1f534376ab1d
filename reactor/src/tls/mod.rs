//! TLS: towards a next hop, whom it trusts; towards a client, what it is shown; and how a
//! handshake fails (RFC 3207, RFC 8446).
//!
//! A [`Policy`] is made once for each way of trusting and kept as long as the configuration is:
//! the tickets by which a later session is resumed live in it. Nothing here opens a file; roots
//! and the client's own certificate are given as octets.
//!
//! A handshake of the receiving side is computed by other threads ([`Handshake`]): it has a
//! signature to make. One of the sending side runs on the reactor: the longest that it works in a
//! piece, with all signatures of a chain of two verified, is 0.2 ms (median of 500; `cargo test --release -p smtpd-reactor
//! --test calls -- --ignored --nocapture`): below the millisecond from which work goes to other
//! threads.

mod handshake;
mod layer;
mod policy;
mod server;
mod terms;

pub use handshake::{Computed, Handshake};
pub(crate) use layer::Layer;
pub use policy::{Policy, roots};
pub use server::{Certificate, Server, Service, Tickets};
pub use terms::{Identity, Terms};

use rustls::CipherSuite;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;

/// How TLS is spoken with one next hop.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whom to trust.
    pub policy: Policy,
    /// What the next hop's certificate is to be for; told to it as well (SNI).
    pub name: ServerName<'static>,
}

impl Client {
    /// None when `host` is neither a domain nor an address.
    pub fn new(policy: Policy, host: &str) -> Option<Client> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = ServerName::try_from(host).ok()?.to_owned();
        Some(Client { policy, name })
    }
}

/// Why TLS did not come about.
#[derive(Debug)]
pub enum Failure {
    /// The certificate, or what was said in the handshake.
    Refused(rustls::Error),
    /// The peer hung up in the middle of it.
    HungUp,
    /// The connection broke in the middle of it.
    Broken(io::Error),
    /// It took too long.
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(error) => write!(f, "{error}"),
            Failure::HungUp => f.write_str("Connection closed unexpectedly"),
            Failure::Broken(error) => write!(f, "{error}"),
            Failure::TimedOut => f.write_str("Connection timeout"),
        }
    }
}

/// The name of a suite in the registry of IANA.
fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        // Those of before are called so here, too.
        suite => suite.as_str().unwrap_or_default(),
    }
}
