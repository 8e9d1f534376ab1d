//! What `ciphers`, `protocols` and `groups` ask for, in the suites, versions and groups that there
//! are.
//!
//! They take the words of OpenSSL and LibreSSL, since that is what stands in the files; what TLS
//! here can do is less than what these words can say. Words that nobody knows are handed back to
//! be warned of, suites that are not there (all without forward secrecy among them) likewise, and
//! a list of which nothing is left is an error: a server without a suite would refuse everybody.

mod ciphers;
mod groups;
mod protocols;

pub use ciphers::{Ciphers, Suite};
pub use groups::{Group, Groups};
pub use protocols::Protocols;

/// What was read of a list besides the result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remarks {
    /// Words that mean nothing.
    pub unknown: Vec<String>,
    /// Words that name something which is not there.
    pub missing: Vec<String>,
}
