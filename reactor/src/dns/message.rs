//! Messages: a question for a nameserver, and what its reply says (RFC 1035 section 4).
//!
//! A reply is read with distrust. It must carry the number and the question it answers; of its
//! answer section only records count whose owner is the name asked for, or one that an alias
//! (CNAME) in the same section led to from there. Authority serves for the time a negative answer
//! lasts (RFC 2308), the additional section for nothing.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name as WireName, ParsedName, ToName};
use domain::base::wire::ParseError;
use domain::base::{Message, ParsedRecord, Rtype};
use domain::dep::octseq::Array;
use domain::rdata::{A, Aaaa, Cname, Mx, Ptr, Soa};

use super::limits;
use super::name::Name;
use super::{Exchanger, Trouble};

/// The record sets that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    A,
    Aaaa,
    Mx,
    Ptr,
}

impl Kind {
    fn rtype(self) -> Rtype {
        match self {
            Kind::A => Rtype::A,
            Kind::Aaaa => Rtype::AAAA,
            Kind::Mx => Rtype::MX,
            Kind::Ptr => Rtype::PTR,
        }
    }
}

/// One record set of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub name: Name,
    pub kind: Kind,
}

/// What is known of a record set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Best first. Hosts without a name that could be one, and the root, are left out.
    Mx {
        hosts: Vec<Exchanger>,
        /// The root was among them (RFC 7505).
        null: bool,
    },
    Addresses(Vec<IpAddr>),
    /// Host names only; others are left out.
    Names(Vec<Name>),
    /// Its records are those of another name, which the message did not tell.
    Alias(Name),
    NoData,
    NoDomain,
    Failed(Trouble),
}

/// What octets from a nameserver are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// No answer to this question. Whoever sent it, the answer may still come.
    Foreign,
    /// Too long for UDP.
    Truncated,
    /// The nameserver is of no help: the next one may be.
    Failed(Trouble),
    /// An answer, and how many seconds it lasts.
    Found(Found, u32),
}

/// The octets of a question.
pub(super) fn question(id: u16, key: &Key) -> Vec<u8> {
    let room = "a name and its question take less";
    let name: WireName<Array<255>> = key.name.as_str().parse().expect("a name within its bounds");
    let mut message = MessageBuilder::from_target(Array::<512>::default()).expect(room).question();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    message.push((name, key.kind.rtype())).expect(room);
    message.finish().as_ref().to_vec()
}

/// Reads what came in reply to a question.
pub(super) fn read(octets: &[u8], id: u16, key: &Key) -> Reply {
    let Ok(message) = Message::from_octets(octets) else {
        return Reply::Foreign;
    };
    let header = message.header();
    if !header.qr() || header.opcode() != Opcode::QUERY || header.id() != id {
        return Reply::Foreign;
    }
    let rcode = header.rcode();
    let refused = Reply::Failed(Trouble::Refused(rcode.to_int()));
    let is_answer = rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN;
    match message.sole_question() {
        Ok(question)
            if question.qtype() == key.kind.rtype()
                && question.qclass() == Class::IN
                && text(question.qname()).as_ref() == Some(&key.name) => {}
        // Some repeat no question where they could not read it.
        Err(_) if message.header_counts().qdcount() == 0 && !is_answer => return refused,
        _ => return Reply::Foreign,
    }
    if header.tc() {
        return Reply::Truncated;
    }
    if !is_answer {
        return refused;
    }
    records(&message, key, rcode == Rcode::NXDOMAIN).unwrap_or(Reply::Failed(Trouble::Garbled))
}

type Record<'a> = ParsedRecord<'a, &'a [u8]>;

fn records(message: &Message<&[u8]>, key: &Key, no_domain: bool) -> Result<Reply, ParseError> {
    let owned: Vec<_> = message
        .answer()?
        .filter(|record| record.as_ref().map_or(true, |record| record.class() == Class::IN))
        .map(|record| record.map(|record| (text(record.owner()), record)))
        .collect::<Result<_, _>>()?;
    let (mut name, mut ttl) = (key.name.clone(), limits::TTL_MOST);
    for _ in 0..=limits::ALIASES {
        let of_name = || {
            let owned = owned.iter().filter(|(owner, _)| owner.as_ref() == Some(&name));
            owned.map(|(_, record)| record)
        };
        let set: Vec<_> = of_name().filter(|r| r.rtype() == key.kind.rtype()).collect();
        if !set.is_empty() {
            let set_ttl = set.iter().map(|record| seconds(record)).min().unwrap_or(0);
            return Ok(Reply::Found(contents(&set, key.kind)?, ttl.min(set_ttl)));
        }
        let Some(alias) = of_name().find(|record| record.rtype() == Rtype::CNAME) else {
            return nothing(message, key, name, ttl, no_domain);
        };
        ttl = ttl.min(seconds(alias));
        let target = alias.to_record::<Cname<_>>()?.and_then(|record| text(record.data().cname()));
        match target {
            Some(target) => name = target,
            None => return Ok(Reply::Failed(Trouble::Garbled)),
        }
    }
    Ok(Reply::Found(Found::Failed(Trouble::Aliases), ttl))
}

/// The answer section led to `name`, and has nothing of it.
fn nothing(
    message: &Message<&[u8]>,
    key: &Key,
    name: Name,
    ttl: u32,
    no_domain: bool,
) -> Result<Reply, ParseError> {
    let (mut negative, mut referral) = (None, false);
    for record in message.authority()? {
        let record = record?;
        let Some(zone) = zone(record.owner()) else { continue };
        let is_above = zone.is_empty()
            || name
                .as_str()
                .strip_suffix(&*zone)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if let (true, Some(soa)) = (is_above, record.to_record::<Soa<ParsedName<_>>>()?) {
            negative = Some(seconds(&record).min(soa.data().minimum().as_secs()));
        }
        referral |= record.rtype() == Rtype::NS;
    }
    // Without an SOA a negative answer is good for those who ask now, and no longer (RFC 2308
    // section 5).
    let lasts = ttl.min(negative.unwrap_or(0)).min(limits::NEGATIVE_TTL_MOST);
    Ok(match (no_domain, negative) {
        (true, _) => Reply::Found(Found::NoDomain, lasts),
        (false, Some(_)) => Reply::Found(Found::NoData, lasts),
        (false, None) if name != key.name => Reply::Found(Found::Alias(name), ttl),
        (false, None) if referral && !message.header().aa() => Reply::Failed(Trouble::Lame),
        (false, None) => Reply::Found(Found::NoData, lasts),
    })
}

/// What a set, not empty, of records of one kind holds.
fn contents(set: &[&Record<'_>], kind: Kind) -> Result<Found, ParseError> {
    Ok(match kind {
        Kind::Mx => exchangers(set)?,
        Kind::Ptr => {
            let mut names = Vec::new();
            for record in set {
                if let Some(ptr) = record.to_record::<Ptr<_>>()? {
                    names.extend(text(ptr.data().ptrdname()).filter(Name::is_host));
                }
            }
            names.truncate(limits::NAMES);
            if names.is_empty() { Found::NoData } else { Found::Names(names) }
        }
        Kind::A | Kind::Aaaa => {
            let mut addresses = Vec::<IpAddr>::new();
            for record in set {
                if let Some(a) = record.to_record::<A>()? {
                    addresses.push(a.data().addr().into());
                } else if let Some(aaaa) = record.to_record::<Aaaa>()? {
                    addresses.push(aaaa.data().addr().into());
                }
            }
            addresses.truncate(limits::ADDRESSES);
            Found::Addresses(addresses)
        }
    })
}

fn exchangers(set: &[&Record<'_>]) -> Result<Found, ParseError> {
    let (mut hosts, mut null) = (Vec::<Exchanger>::new(), false);
    for record in set {
        let Some(mx) = record.to_record::<Mx<_>>()? else { continue };
        null |= mx.data().exchange().is_root();
        if let Some(host) = text(mx.data().exchange()).filter(Name::is_host) {
            hosts.push(Exchanger { preference: mx.data().preference(), host });
        }
    }
    hosts.sort_by_key(|host| host.preference);
    hosts.truncate(limits::EXCHANGERS);
    Ok(Found::Mx { hosts, null })
}

/// A TTL with the highest bit is 0 (RFC 2181 section 8).
fn seconds(record: &Record<'_>) -> u32 {
    match record.ttl().as_secs() {
        ttl if ttl > i32::MAX as u32 => 0,
        ttl => ttl.min(limits::TTL_MOST),
    }
}

/// The name, if it can be one of ours.
fn text(name: impl ToName) -> Option<Name> {
    Name::new(&zone(name)?)
}

/// The name's text, empty for the root; none when it has octets that ours do not have, a dot
/// within a label among them.
fn zone(name: impl ToName) -> Option<String> {
    let mut text = String::with_capacity(64);
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !label.iter().all(|c| c.is_ascii_graphic() && c != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|c| char::from(c.to_ascii_lowercase())));
    }
    Some(text)
}
