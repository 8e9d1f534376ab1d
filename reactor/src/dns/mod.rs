//! The Domain Name System, as a stub resolver sees it (RFC 1035, RFC 1123 section 6.1).
//!
//! Questions of mail are put here: who takes the mail of a domain, what addresses a host has, what
//! name a client has. A recursive nameserver of `resolv.conf` answers them; `/etc/hosts` and address
//! literals go before it. [`Resolver`] is a value: it does everything but sending and receiving,
//! and so it is tested from a seed. [`Sockets`] stand around it in the loop.
//!
//! What is promised: an answer counts only if it came over the socket of its question, from the
//! nameserver that was asked, with the number drawn for it and the question repeated. Of its records
//! only those count that the question leads to. Each question goes out over a socket of its own,
//! whose port the system draws. No octets, whoever sent them, end in a panic.
//!
//! | module | holds |
//! |---|---|
//! | `resolver` | questions and their answers |
//! | `plan` | from the records known to the answer, or to the records that are wanted |
//! | `lookups` | one record set wanted: nameservers, attempts, time-outs, TCP |
//! | `cache` | what is known already, and for how long |
//! | `message` | the messages, by the crate `domain` |
//! | `name`, `settings` | names; `resolv.conf` and `/etc/hosts` |
//! | `sockets` | UDP and TCP on the loop |
//! | `limits` | every bound with its reason |
//!
//! No EDNS (RFC 6891): what does not fit into 512 octets comes by TCP. Mail's answers hardly ever
//! need it, and no reply comes in fragments, which strangers can replace.

mod cache;
mod limits;
mod lookups;
mod message;
mod name;
mod plan;
mod resolver;
mod settings;
mod sockets;

pub use name::Name;
pub use resolver::{QueryId, Random, Resolver, Transport, WireId, Wish};
pub use settings::Settings;
pub use sockets::Sockets;

use std::fmt;
use std::net::IpAddr;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The hosts that take the mail of a domain (RFC 5321 section 5.1).
    Mx(Name),
    /// The addresses of a host, of both families. Address literals are names of themselves.
    Addresses(Name),
    /// The name of a host by its address, with a look whether the name leads back to it.
    Name(IpAddr),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The hosts of a domain, best first, those of equal preference as they came; at least one.
    Mx(Vec<Exchanger>),
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// Addresses of a host, those of IPv4 first; at least one.
    Addresses(Vec<IpAddr>),
    /// The name of an address.
    Name {
        /// A host name.
        name: Name,
        /// Whether it is true.
        forward: Forward,
    },
    /// There is no such name, says who must know.
    NoSuchDomain,
    /// There is the name, but nothing of the kind asked for. To [`Question::Mx`]: the domain, if
    /// it has addresses, takes its mail itself.
    NoData,
    /// Not known now.
    Temporary(Trouble),
}

/// A host that takes the mail of a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchanger {
    /// The smaller, the better.
    pub preference: u16,
    /// A host name.
    pub host: Name,
}

/// Whether the name of an address has that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It has.
    Confirmed,
    /// It has not: whoever owns the address has written what they liked.
    Refuted,
    /// That is not known now.
    Unknown,
}

/// Why something is not known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No nameserver has answered in time.
    TimedOut,
    /// No nameserver can be reached.
    Unreachable,
    /// A nameserver said so: SERVFAIL, REFUSED and the like, by their number in RFC 1035.
    Refused(u8),
    /// A nameserver does not look further, and does not know.
    Lame,
    /// The answer cannot be read.
    Garbled,
    /// One name leads to the next without an end.
    Aliases,
    /// No host of the domain has a name that could be one.
    Unusable,
    /// More is being asked than there is room for.
    Busy,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::TimedOut => "no nameserver answers",
            Trouble::Unreachable => "no nameserver can be reached",
            Trouble::Refused(1) => "nameserver says FORMERR",
            Trouble::Refused(2) => "nameserver says SERVFAIL",
            Trouble::Refused(4) => "nameserver says NOTIMP",
            Trouble::Refused(5) => "nameserver says REFUSED",
            Trouble::Refused(code) => return write!(f, "nameserver says RCODE {code}"),
            Trouble::Lame => "nameserver is not recursive",
            Trouble::Garbled => "garbled answer of a nameserver",
            Trouble::Aliases => "chain of aliases is too long",
            Trouble::Unusable => "no mail host has a usable name",
            Trouble::Busy => "too many questions at once",
        })
    }
}
