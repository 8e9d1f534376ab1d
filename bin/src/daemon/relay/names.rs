//! From a next hop to the addresses of its servers, in the order in which they are tried (RFC 5321
//! section 5.1, RFC 7505).
//!
//! Hosts of equal preference are shuffled. The addresses of a host can be used as soon as all
//! hosts that are better have been looked up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smtpd_config::Family;
use smtpd_config::route::HopTls;
use smtpd_engine::address::literal;
use smtpd_engine::reply::Enhanced;
use smtpd_queue::delivery::{Attempt, Failure};

use super::task::{BetterThan, Hop, Way};

/// Hosts of one domain that are looked up. More do not make mail arrive any sooner.
const HOSTS: usize = 20;

/// Addresses of one host that are tried.
const ADDRESSES: usize = 10;

/// The port of mail servers that MX records name.
const PORT: u16 = 25;

/// The status of what the DNS does not say now (RFC 3463: directory server failure).
const UNKNOWN: (u8, u16, u16) = (4, 4, 3);

/// What is asked of the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The MX records of a domain.
    Mx(String),
    /// The addresses of a host.
    Addresses(String),
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Preference and name of each host, not empty, and none of them this machine by the name
    /// `localhost`.
    Mx(Vec<(u16, String)>),
    /// The domain says that it takes no mail (RFC 7505), or names `localhost` alone.
    NullMx,
    /// In the order in which they are to be tried, not empty.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// The name has nothing of the kind.
    NoData,
    /// It is not known now.
    Later,
}

/// The servers of a hop, as far as they are known.
#[derive(Debug, Default)]
pub struct Names {
    hosts: Vec<Host>,
    /// The MX records are not known yet.
    asking: bool,
    failure: Option<Attempt>,
}

/// A server.
#[derive(Debug)]
pub struct Host {
    /// Its name, or its address.
    pub name: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// TLS towards it.
    pub tls: HopTls,
    /// Its place in the configuration, if that names it.
    pub server: Option<usize>,
    /// Those with a smaller one come first.
    rank: u32,
    addresses: Addresses,
}

#[derive(Debug, PartialEq)]
enum Addresses {
    Asked,
    Known(Vec<IpAddr>),
    /// Whether it may be known another time.
    None {
        later: bool,
    },
}

/// The number of a question about one hop: the MX records, or a host by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The MX records.
    Mx,
    /// The addresses of this host.
    Host(usize),
}

impl Names {
    /// Begins to look for the servers of a hop; adds what is to be asked.
    #[must_use]
    pub fn new(hop: &Hop, ask: &mut Vec<(About, Question)>) -> Names {
        let mut names = Names::default();
        match &hop.way {
            Way::Mx { domain, tls, .. } => match literal(domain) {
                Some(address) => names.add(&address.to_string(), PORT, *tls, None, 0, ask),
                None if domain.starts_with('[') => {
                    names.fail(Attempt::Failed(failure((5, 1, 2), "Invalid domain name")));
                }
                None => {
                    names.asking = true;
                    ask.push((About::Mx, Question::Mx(domain.clone())));
                }
            },
            Way::Servers(servers) => {
                for (nth, server) in servers.iter().enumerate() {
                    let (host, rank) = (&server.host, u32::try_from(nth).unwrap_or(u32::MAX));
                    let rank = if hop.balance { 0 } else { rank };
                    names.add(host, server.port, server.tls, Some(nth), rank, ask);
                }
            }
        }
        names
    }

    fn add(
        &mut self,
        name: &str,
        port: u16,
        tls: HopTls,
        server: Option<usize>,
        rank: u32,
        ask: &mut Vec<(About, Question)>,
    ) {
        let addresses = match name.parse::<IpAddr>() {
            Ok(address) => Addresses::Known(vec![address]),
            Err(_) => {
                let about = About::Host(self.hosts.len());
                ask.push((about, Question::Addresses(name.to_owned())));
                Addresses::Asked
            }
        };
        self.hosts.push(Host { name: name.into(), port, tls, server, rank, addresses });
    }

    fn fail(&mut self, attempt: Attempt) {
        self.failure = Some(attempt);
    }

    /// A question has been answered; adds what is to be asked now. `random` shuffles.
    pub fn answered(
        &mut self,
        hop: &Hop,
        about: About,
        answer: &Answer,
        random: &mut dyn FnMut() -> u64,
        ask: &mut Vec<(About, Question)>,
    ) {
        match about {
            About::Mx => self.mx(hop, answer, random, ask),
            About::Host(nth) => {
                let Some(host) = self.hosts.get_mut(nth) else { return };
                host.addresses = match answer {
                    Answer::Addresses(addresses) => {
                        Addresses::Known(addresses.iter().copied().take(ADDRESSES).collect())
                    }
                    answer => Addresses::None { later: *answer == Answer::Later },
                };
                self.is_over(hop);
            }
        }
    }

    fn mx(
        &mut self,
        hop: &Hop,
        answer: &Answer,
        random: &mut dyn FnMut() -> u64,
        ask: &mut Vec<(About, Question)>,
    ) {
        let Way::Mx { domain, better_than, tls } = &hop.way else { return };
        self.asking = false;
        let mut hosts = match answer {
            Answer::Mx(hosts) => hosts.clone(),
            // The domain is its own host.
            Answer::NoData => return self.add(domain, PORT, *tls, None, 0, ask),
            Answer::NullMx => {
                let text = "Domain does not accept mail";
                return self.fail(Attempt::Failed(failure((5, 1, 10), text)));
            }
            Answer::NoName => {
                let text = "Domain does not exist";
                return self.fail(Attempt::Failed(failure((5, 4, 4), text)));
            }
            Answer::Addresses(_) | Answer::Later => {
                let text = "Temporary failure in MX lookup";
                return self.fail(Attempt::Later(failure(UNKNOWN, text)));
            }
        };
        let (BetterThan::Own(name) | BetterThan::Primary(name)) = better_than;
        let own = hosts.iter().filter(|(_, host)| host.eq_ignore_ascii_case(name));
        if let Some(own) = own.map(|(preference, _)| *preference).min() {
            hosts.retain(|(preference, _)| *preference < own);
        }
        if hosts.is_empty() {
            return self.fail(match better_than {
                BetterThan::Own(_) => {
                    let text = "Mail for this domain loops back to this server";
                    Attempt::Failed(failure((5, 4, 6), text))
                }
                BetterThan::Primary(_) => {
                    Attempt::Later(failure((4, 4, 4), "No MX found for destination"))
                }
            });
        }
        let mut hosts: Vec<_> =
            hosts.into_iter().map(|(preference, name)| (preference, random(), name)).collect();
        hosts.sort();
        for (preference, _, name) in hosts.into_iter().take(HOSTS) {
            self.add(&name, PORT, *tls, None, preference.into(), ask);
        }
    }

    /// Sees whether there is no address at all.
    fn is_over(&mut self, hop: &Hop) {
        let none = |host: &Host| matches!(host.addresses, Addresses::None { .. });
        if !self.hosts.iter().all(none) {
            return;
        }
        let later = |host: &Host| host.addresses == Addresses::None { later: true };
        let later = self.hosts.iter().any(later);
        let (is_its_own_host, named) = match &hop.way {
            Way::Mx { domain, .. } => (self.hosts.iter().all(|host| *host.name == **domain), false),
            Way::Servers(_) => (false, true),
        };
        self.fail(match (later, named) {
            (true, true) => Attempt::Later(failure(UNKNOWN, "Temporary failure in host lookup")),
            (true, false) => Attempt::Later(failure(UNKNOWN, "Temporary failure in MX lookup")),
            (false, true) => Attempt::Later(failure((4, 4, 4), "Host not found")),
            (false, false) if is_its_own_host => {
                Attempt::Failed(failure((5, 4, 4), "No MX found for domain"))
            }
            (false, false) => Attempt::Later(failure((4, 4, 4), "No MX found for destination")),
        });
    }

    /// Why there is no server at all.
    #[must_use]
    pub fn failure(&self) -> Option<&Attempt> {
        self.failure.as_ref()
    }

    /// Why it is not known now whether there is a server.
    #[must_use]
    pub fn unknown(&self) -> Option<&Failure> {
        match &self.failure {
            Some(Attempt::Later(why)) => {
                let Enhanced { class, subject, detail } = why.status;
                ((class, subject, detail) == UNKNOWN).then_some(why)
            }
            _ => None,
        }
    }

    /// Whether all questions have been answered that can be of use.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_asked = |host: &Host| host.addresses == Addresses::Asked;
        self.failure.is_some() || !self.asking && !self.hosts.iter().any(is_asked)
    }

    /// A host by its place.
    #[must_use]
    pub fn host(&self, nth: usize) -> Option<&Host> {
        self.hosts.get(nth)
    }

    /// The first address, in the order of preference, for which `usable` gives something, and what
    /// that is: the one with the smallest rank, if several hosts are equal.
    ///
    /// # Errors
    /// No address is usable; whether that may change by an answer that is waited for.
    pub fn first<R: Ord, T>(
        &self,
        family: Option<Family>,
        mut usable: impl FnMut(&Host, SocketAddr) -> Option<(R, T)>,
    ) -> Result<(usize, R, T), bool> {
        if self.asking {
            return Err(true);
        }
        let mut nth = 0;
        while let Some(first) = self.hosts.get(nth) {
            let many = self.hosts[nth..].iter().take_while(|host| host.rank == first.rank).count();
            let mut best = None;
            let mut waits = false;
            for place in nth..nth + many {
                let host = &self.hosts[place];
                let Addresses::Known(addresses) = &host.addresses else {
                    waits |= host.addresses == Addresses::Asked;
                    continue;
                };
                for address in addresses.iter().filter(|one| family.is_none_or(|of| is(one, of))) {
                    let address = SocketAddr::new(*address, host.port);
                    let Some((rank, what)) = usable(host, address) else { continue };
                    if best.as_ref().is_none_or(|(_, least, _)| rank < *least) {
                        best = Some((place, rank, what));
                    }
                }
            }
            match best {
                Some(best) => return Ok(best),
                None if waits => return Err(true),
                None => nth += many,
            }
        }
        Err(false)
    }
}

fn is(address: &IpAddr, family: Family) -> bool {
    match family {
        Family::Inet4 => address.is_ipv4(),
        Family::Inet6 => address.is_ipv6(),
    }
}

/// A failure in these words.
pub(super) fn failure(status: (u8, u16, u16), text: impl Into<String>) -> Failure {
    Failure::new(status, text)
}
