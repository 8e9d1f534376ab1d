//! Whether somebody is who he says he is. Takes as long as hashes and table processes take: never
//! on a reactor.
//!
//! Somebody who is not there costs what anybody else costs: his password is checked too, against
//! what is stored of another one in the same table.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtpd_config::Config;
use smtpd_config::login;
use smtpd_config::table::{LookupError, Service, Table, TableId};
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::Credentials;

use super::attempts::{Attempt, Attempts, Limit};
use super::open::{self, Open};
use super::scram::{self, Exchange, First};
use super::system::System;
use crate::daemon::outside::Lookups;
use crate::log::vis::vis;
use crate::password::scram::Stored;
use crate::password::{self, Bad};

/// Octets of our half of a nonce.
const NONCE: usize = 18;

/// The hash of a password that nobody has, as costly as those that smtpctl makes.
const NOBODY: &str = "$2b$10$k22X8c848OuhwbhUMDNpz.rjc.R1okJC8KXD/6vcANQWACrO46k6C";

/// Somebody who says who he is.
pub struct Claim {
    /// The table of the listener; none: the system's users.
    pub table: Option<TableId>,
    /// Where from.
    pub client: IpAddr,
    /// How.
    pub proof: Proof,
}

impl Claim {
    /// Who he says he is, as far as that is known without reading messages of SCRAM.
    pub fn user(&self) -> Option<&str> {
        match &self.proof {
            Proof::Credentials(credentials, _) => match &**credentials {
                Credentials::Password { user, .. } => Some(user),
                Credentials::Scram { .. } | Credentials::Response(_) => None,
            },
            Proof::Answer(challenged, _) => Some(&challenged.exchange.user),
        }
    }
}

/// What he gave to show it. Wiped when dropped.
pub enum Proof {
    /// PLAIN, LOGIN, or the first message of SCRAM; then with the channel binding that is
    /// offered, if one is.
    Credentials(Box<Credentials>, Option<[u8; 32]>),
    /// The answer to a challenge of SCRAM.
    Answer(Box<Challenged>, Box<Credentials>),
}

/// Somebody who was given a challenge.
pub struct Challenged {
    exchange: Exchange,
    open: Open,
}

/// What was found.
pub enum Outcome {
    /// He is.
    Right(Box<str>),
    /// By SCRAM he is: what he must be told before.
    Proven(Box<str>, String),
    /// What he has to answer, and what we remember until then.
    Challenge(String, Box<Challenged>),
    /// He is not, and is told after that time.
    Wrong(Box<str>, Duration),
    /// It was not looked at.
    Limited(Box<str>, Limit),
    /// It cannot be found out now, and is told after that time.
    Unavailable(Box<str>, Duration),
    /// What he gave is no message of the mechanism.
    Malformed,
}

impl Outcome {
    /// What the peer is told.
    pub fn reply(&self) -> Reply<'static> {
        let challenge = |text: &str| Reply::new(334, None, STANDARD.encode(text));
        match self {
            Outcome::Right(_) => reply::AUTHENTICATED,
            Outcome::Proven(_, text) | Outcome::Challenge(text, _) => challenge(text),
            Outcome::Wrong(..) => reply::AUTH_FAILED,
            Outcome::Limited(_, Limit::Client) => reply::TOO_MANY_LOGINS,
            Outcome::Limited(_, Limit::User) | Outcome::Unavailable(..) => reply::AUTH_UNAVAILABLE,
            Outcome::Malformed => reply::BAD_AUTH,
        }
    }

    /// How long the reply is to wait.
    pub fn delay(&self) -> Duration {
        match self {
            Outcome::Wrong(_, delay) | Outcome::Unavailable(_, delay) => *delay,
            _ => Duration::ZERO,
        }
    }
}

/// Who finds it out; one for all threads.
pub struct Judge {
    outside: Lookups,
    system: Arc<dyn System>,
    attempts: Arc<Mutex<Attempts>>,
    /// By name of table, what is stored of somebody in it.
    decoys: Mutex<HashMap<Box<str>, Box<str>>>,
}

impl Judge {
    /// Asks tables by `outside`, and `system` of system users.
    pub fn new(outside: Lookups, system: Arc<dyn System>) -> Judge {
        let (attempts, decoys) = Default::default();
        Judge { outside, system, attempts, decoys }
    }

    /// Judges a claim.
    pub fn judge(&self, config: &Config, claim: Claim, now: Instant) -> Outcome {
        let Claim { table, client, proof } = claim;
        let table = table.map(|id| config.tables.get(id));
        match proof {
            Proof::Credentials(credentials, binding) => match &*credentials {
                Credentials::Password { user, password } => {
                    self.by_password(table, client, (user, password), now)
                }
                Credentials::Scram { plus, message } => {
                    match First::read(message, *plus, binding.is_some()) {
                        Ok(first) => self.challenge(table, client, first, binding, now),
                        Err(scram::Malformed) => Outcome::Malformed,
                    }
                }
                Credentials::Response(_) => Outcome::Malformed,
            },
            Proof::Answer(challenged, answer) => match &*answer {
                Credentials::Response(octets) => self.finish(*challenged, octets, now),
                Credentials::Password { .. } | Credentials::Scram { .. } => Outcome::Malformed,
            },
        }
    }

    fn by_password(
        &self,
        table: Option<&Table>,
        client: IpAddr,
        (user, password): (&str, &[u8]),
        now: Instant,
    ) -> Outcome {
        let attempt = match self.attempts().begin(client, user, now) {
            Ok(attempt) => attempt,
            Err(limit) => return Outcome::Limited(user.into(), limit),
        };
        let checked = match table {
            Some(table) => self.check(table, user, password),
            None => self.system.check(user, password).map_err(|error| {
                log::warn!("warn: auth: system users: {error}");
                LookupError::Failed
            }),
        };
        self.settle(user, attempt, checked, now)
    }

    /// Whether it was right, wrong, or nothing.
    fn settle(
        &self,
        user: &str,
        attempt: Attempt,
        checked: Result<bool, LookupError>,
        now: Instant,
    ) -> Outcome {
        match checked {
            Ok(true) => {
                self.attempts().was_right(attempt, now);
                Outcome::Right(user.into())
            }
            Ok(false) => Outcome::Wrong(user.into(), attempt.delay),
            // Somebody is there, which is not to be found out sooner than another thing.
            Err(LookupError::BadValue) => Outcome::Unavailable(user.into(), attempt.delay),
            Err(_) => {
                self.attempts().was_nothing(attempt, now);
                Outcome::Unavailable(user.into(), Duration::ZERO)
            }
        }
    }

    fn check(&self, table: &Table, user: &str, password: &[u8]) -> Result<bool, LookupError> {
        match self.outside.authenticate(table, user, password) {
            // It has no such service: it is asked for what it stores.
            Err(LookupError::NoService) => {}
            answer => return answer,
        }
        let value = table.value(Service::Credentials, user, &self.outside)?;
        let Some(value) = value else {
            self.pretend(table, password);
            return Ok(false);
        };
        let hash = login::stored(&value).inspect_err(|why| unusable(table, user, why))?;
        match password::check(password, hash) {
            Ok(is_right) => {
                self.remember(table, hash);
                Ok(is_right)
            }
            Err(bad) => {
                unusable(table, user, &bad);
                self.pretend(table, password);
                Ok(false)
            }
        }
    }

    fn challenge(
        &self,
        table: Option<&Table>,
        client: IpAddr,
        first: First<'_>,
        binding: Option<[u8; 32]>,
        now: Instant,
    ) -> Outcome {
        let user: Box<str> = first.user.as_str().into();
        let open = match Open::begin(&self.attempts, client, &user, now) {
            Ok(open) => open,
            Err(limit) => return Outcome::Limited(user, limit),
        };
        let (Ok(stored), Some(nonce)) = (self.scram_entry(table, &user), nonce()) else {
            open.void();
            return Outcome::Unavailable(user, Duration::ZERO);
        };
        // Made for everybody, as it takes longer the more entries there are.
        let decoy = scram::decoy(&user, table.and_then(first_for_scram).as_ref());
        let is_known = stored.is_some();
        let stored = stored.unwrap_or(decoy);
        let binding = binding.as_ref().map(<[u8; 32]>::as_slice);
        let (text, exchange) = first.challenge(&stored, is_known, &nonce, binding);
        Outcome::Challenge(text, Box::new(Challenged { exchange, open }))
    }

    /// What is stored of a user for SCRAM; none when there is no such user, or another hash.
    fn scram_entry(
        &self,
        table: Option<&Table>,
        user: &str,
    ) -> Result<Option<Stored>, LookupError> {
        let Some(table) = table else { return Ok(None) };
        let Some(value) = table.value(Service::Credentials, user, &self.outside)? else {
            return Ok(None);
        };
        let hash = match login::stored(&value) {
            Ok(hash) => hash,
            Err(why) => {
                unusable(table, user, &why);
                return Ok(None);
            }
        };
        let stored = Stored::parse(hash);
        match stored {
            Some(_) => self.remember(table, hash),
            None => unusable(table, user, &Bad::Unknown),
        }
        Ok(stored)
    }

    fn finish(&self, challenged: Challenged, answer: &[u8], now: Instant) -> Outcome {
        let Challenged { exchange, open } = challenged;
        let user: Box<str> = exchange.user.as_str().into();
        let attempt = match open.answered(now) {
            Ok(attempt) => attempt,
            Err(limit) => return Outcome::Limited(user, limit),
        };
        match exchange.finish(answer) {
            Ok(Some(told)) => {
                self.attempts().was_right(attempt, now);
                Outcome::Proven(user, told)
            }
            Ok(None) => Outcome::Wrong(user, attempt.delay),
            Err(scram::Malformed) => Outcome::Malformed,
        }
    }

    /// Takes the time that a password of that table takes.
    fn pretend(&self, table: &Table, password: &[u8]) {
        if password::check(password, &self.decoy(table)).is_err() {
            let _ = password::check(password, NOBODY);
        }
    }

    /// What is stored of somebody in that table.
    fn decoy(&self, table: &Table) -> Box<str> {
        if let Some(known) = self.decoys().get(&table.name) {
            return known.clone();
        }
        let hashed = table.hashes().find(|(_, hash)| login::is_hash(hash));
        hashed.map_or(NOBODY, |(_, hash)| hash).into()
    }

    /// Notes what a table stores, if it differs in more than salt and digest from what is known.
    fn remember(&self, table: &Table, hash: &str) {
        let mut decoys = self.decoys();
        if decoys.get(&table.name).is_none_or(|known| cost(known) != cost(hash)) {
            decoys.insert(table.name.clone(), hash.into());
        }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        open::lock(&self.attempts)
    }

    fn decoys(&self) -> MutexGuard<'_, HashMap<Box<str>, Box<str>>> {
        self.decoys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a hash says how costly it is: its scheme and the setting behind it.
fn cost(hash: &str) -> (Option<&str>, Option<&str>) {
    let mut fields = hash.trim_start_matches('$').split(['$', ':']);
    (fields.next(), fields.next())
}

/// The entry for SCRAM whose key comes first: the same one as long as nobody changes it.
fn first_for_scram(table: &Table) -> Option<Stored> {
    let mut first: Option<(&str, Stored)> = None;
    for (key, hash) in table.hashes() {
        if first.as_ref().is_none_or(|(known, _)| key < *known)
            && let Some(stored) = Stored::parse(hash)
        {
            first = Some((key, stored));
        }
    }
    first.map(|(_, stored)| stored)
}

fn unusable(table: &Table, user: &str, why: &dyn Display) {
    let (name, user) = (&table.name, vis(user.as_bytes()));
    log::warn!("warn: auth: table {name}: {user} cannot log in: {why}");
}

/// Our half of a nonce.
fn nonce() -> Option<String> {
    let mut octets = [0; NONCE];
    getrandom::fill(&mut octets).ok()?;
    Some(STANDARD.encode(octets))
}
