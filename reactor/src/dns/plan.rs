//! From what is known to the answer, or to what must be known for it.
//!
//! [`step`] begins anew each time with all that its question has learnt so far, so that nothing is
//! remembered between two steps but that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::limits;
use super::message::{Found, Key, Kind};
use super::name::Name;
use super::settings::Settings;
use super::{Answer, Forward, Question, Trouble};

/// What a question has learnt.
pub(super) type Known = Vec<(Key, Arc<Found>)>;

/// What becomes of a question.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Answer(Answer),
    Wants {
        /// These record sets, of which some may have been asked for already.
        keys: Vec<Key>,
        /// An answer could be given without them.
        patient: bool,
    },
}

/// The next step of a question; `patient` as long as what could be waited for is waited for.
pub(super) fn step(question: &Question, settings: &Settings, known: &Known, patient: bool) -> Step {
    let facts = Facts { settings, known };
    match question {
        Question::Mx(domain) => facts.mx(domain),
        Question::Addresses(host) => facts.addresses(host, patient),
        Question::Name(ip) => facts.name(ip.to_canonical()),
    }
}

struct Facts<'a> {
    settings: &'a Settings,
    known: &'a Known,
}

impl Facts<'_> {
    /// The record set, or the one that is to be asked for next to know it.
    fn get(&self, name: &Name, kind: Kind) -> Result<&Found, Key> {
        let mut key = Key { name: name.clone(), kind };
        for _ in 0..=limits::ALIASES {
            match self.known.iter().find(|(known, _)| *known == key).map(|(_, found)| &**found) {
                Some(Found::Alias(target)) => key.name = target.clone(),
                Some(found) => return Ok(found),
                None => return Err(key),
            }
        }
        Ok(&Found::Failed(Trouble::Aliases))
    }

    fn mx(&self, domain: &Name) -> Step {
        if domain.address().is_some() || domain.is_localhost() {
            return Step::Answer(Answer::NoData);
        }
        Step::Answer(match self.get(domain, Kind::Mx) {
            Err(key) => return Step::Wants { keys: vec![key], patient: false },
            Ok(Found::Mx { hosts, null }) => {
                let mut usable = hosts.clone();
                usable.retain(|exchanger| !exchanger.host.is_localhost());
                match (usable.is_empty(), *null || !hosts.is_empty()) {
                    (false, _) => Answer::Mx(usable),
                    // The root, or this machine, whichever that is.
                    (true, true) => Answer::NullMx,
                    (true, false) => Answer::Temporary(Trouble::Unusable),
                }
            }
            Ok(Found::NoDomain) if self.settings.addresses(domain).is_some() => Answer::NoData,
            Ok(found) => without(found),
        })
    }

    fn addresses(&self, host: &Name, patient: bool) -> Step {
        if let Some(ip) = host.address() {
            return Step::Answer(Answer::Addresses(vec![ip]));
        }
        if let Some(addresses) = self.settings.addresses(host) {
            return Step::Answer(Answer::Addresses(addresses.to_vec()));
        }
        if host.is_localhost() {
            let both = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Step::Answer(Answer::Addresses(both.to_vec()));
        }
        let families = [Kind::A, Kind::Aaaa].map(|kind| self.get(host, kind));
        let (mut addresses, mut wanted, mut worst) = (Vec::new(), Vec::new(), Answer::NoData);
        for family in families {
            match family {
                Ok(Found::Addresses(found)) => addresses.extend_from_slice(found),
                Ok(found) => worst = worse(worst, without(found)),
                Err(key) => wanted.push(key),
            }
        }
        match (addresses.is_empty(), wanted.is_empty()) {
            (false, true) => Step::Answer(Answer::Addresses(addresses)),
            (false, false) if !patient => Step::Answer(Answer::Addresses(addresses)),
            (true, true) => Step::Answer(worst),
            (nothing, false) => Step::Wants { keys: wanted, patient: !nothing },
        }
    }

    fn name(&self, ip: IpAddr) -> Step {
        if let Some(name) = self.settings.name(ip) {
            let name = name.clone();
            return Step::Answer(Answer::Name { name, forward: Forward::Confirmed });
        }
        let names = match self.get(&Name::reverse(ip), Kind::Ptr) {
            Err(key) => return Step::Wants { keys: vec![key], patient: false },
            Ok(Found::Names(names)) => names,
            Ok(found) => return Step::Answer(without(found)),
        };
        let mut forward = Forward::Refuted;
        for name in names {
            match self.leads_to(name, ip) {
                Err(key) => return Step::Wants { keys: vec![key], patient: false },
                Ok(Forward::Confirmed) => {
                    let name = name.clone();
                    return Step::Answer(Answer::Name { name, forward: Forward::Confirmed });
                }
                Ok(Forward::Unknown) => forward = Forward::Unknown,
                Ok(Forward::Refuted) => {}
            }
        }
        Step::Answer(match names.first() {
            Some(name) => Answer::Name { name: name.clone(), forward },
            None => Answer::NoData,
        })
    }

    /// Whether a name has an address.
    fn leads_to(&self, name: &Name, ip: IpAddr) -> Result<Forward, Key> {
        let confirmed = |addresses: &[IpAddr]| match addresses.contains(&ip) {
            true => Forward::Confirmed,
            false => Forward::Refuted,
        };
        if let Some(addresses) = self.settings.addresses(name) {
            return Ok(confirmed(addresses));
        }
        // A name that is an address by itself, or this machine, proves nothing.
        if name.address().is_some() || name.is_localhost() {
            return Ok(Forward::Refuted);
        }
        let kind = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
        Ok(match self.get(name, kind)? {
            Found::Addresses(addresses) => confirmed(addresses),
            Found::Failed(_) => Forward::Unknown,
            _ => Forward::Refuted,
        })
    }
}

/// The answer where a record set holds nothing.
fn without(found: &Found) -> Answer {
    match found {
        Found::NoDomain => Answer::NoSuchDomain,
        Found::Failed(trouble) => Answer::Temporary(*trouble),
        _ => Answer::NoData,
    }
}

/// Of two answers without addresses the one that counts: what is not known may yet be.
fn worse(one: Answer, other: Answer) -> Answer {
    match (&one, &other) {
        (Answer::Temporary(_), _) => one,
        (_, Answer::Temporary(_)) | (Answer::NoData, _) => other,
        _ => one,
    }
}
