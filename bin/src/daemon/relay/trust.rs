//! Whom the relay trusts and what it says of itself under TLS, by the options of each action: `ca`,
//! `pki`, `ciphers`, `protocols`, `groups` (smtpd.conf(5), `relay`).
//!
//! Files were read before ([`Certificates`]).

use std::collections::HashMap;
use std::sync::Arc;

use smtpd_config::action::{Relay, RelayTls, Route};
use smtpd_config::route::HopTls;
use smtpd_config::tls::{Group, Suite};
use smtpd_config::{Config, Method};
use smtpd_reactor::tls::{Client, Policy, Terms};

use super::Connect;
use crate::daemon::tls::Certificates;

/// See the module.
pub struct Trust {
    /// By the name of the action.
    actions: HashMap<Arc<str>, Ways>,
}

/// How TLS is spoken for an action. Actions that ask for the same share their sessions.
#[derive(Clone)]
struct Ways {
    /// With who is not to be verified.
    anyone: Policy,
    /// With who is; none when nobody needs it, or the system has no roots.
    verified: Option<Policy>,
}

/// All that makes a difference between two actions.
#[derive(PartialEq, Eq, Hash)]
struct Asked<'c> {
    pki: Option<&'c str>,
    ca: Option<&'c str>,
    suites: &'c [Suite],
    groups: &'c [Group],
    versions: (bool, bool),
    verifies: bool,
}

impl<'c> Asked<'c> {
    fn by(relay: &'c Relay, config: &'c Config) -> Asked<'c> {
        let ciphers = relay.ciphers.as_ref().or(config.smtp.ciphers.as_ref());
        let verifies = match relay.route {
            Route::Hosts(_) | Route::Domains(_) => true,
            Route::Mx | Route::Backup(_) => relay.tls == RelayTls::Require,
        };
        let protocols = relay.protocols.as_ref();
        Asked {
            pki: relay.pki.as_deref(),
            ca: relay.ca.as_deref(),
            suites: ciphers.map_or(&[], |ciphers| &ciphers.suites),
            groups: relay.groups.as_ref().map_or(&[], |groups| &groups.groups),
            versions: protocols.map_or((true, true), |some| (some.tls12, some.tls13)),
            verifies,
        }
    }

    fn terms(&self, certificates: &Certificates) -> Terms {
        let identity = self.pki.and_then(|name| certificates.identity(name)).cloned();
        let suites = self.suites.iter().map(|suite| suite.name()).collect();
        let groups = self.groups.iter().map(|group| group.name()).collect();
        let (tls12, tls13) = self.versions;
        Terms { identity, suites, groups, tls12, tls13 }
    }
}

impl Trust {
    /// What the configuration asks for, with its certificates.
    ///
    /// # Errors
    /// In words for an administrator.
    pub fn new(config: &Config, certificates: &Certificates) -> Result<Trust, String> {
        let mut known: HashMap<Asked<'_>, Ways> = HashMap::new();
        let mut actions = HashMap::new();
        for action in config.actions() {
            let Method::Relay(relay) = &action.method else { continue };
            let asked = Asked::by(relay, config);
            let ways = match known.get(&asked) {
                Some(ways) => ways.clone(),
                None => {
                    let ways = ways(&asked, certificates)?;
                    known.insert(asked, ways.clone());
                    ways
                }
            };
            actions.insert(action.name.clone(), ways);
        }
        Ok(Trust { actions })
    }

    /// How TLS is spoken over a connection; none where it is not.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn client(&self, connect: &Connect) -> Result<Option<Client>, String> {
        let action = &connect.hop.key.action;
        let ways = || self.actions.get(action).ok_or_else(|| format!("no action {action}"));
        let policy = match connect.tls {
            HopTls::Never => return Ok(None),
            HopTls::Opportunistic
            | HopTls::Required { verify: false }
            | HopTls::Immediate { verify: false } => &ways()?.anyone,
            HopTls::Required { verify: true } | HopTls::Immediate { verify: true } => {
                let verified = ways()?.verified.as_ref();
                verified
                    .ok_or("this system has no file of trusted roots: write ca NAME cert FILE")?
            }
        };
        let client = Client::new(policy.clone(), &connect.host);
        client.map(Some).ok_or_else(|| format!("no certificate can be for {}", connect.host))
    }
}

fn ways(asked: &Asked<'_>, certificates: &Certificates) -> Result<Ways, String> {
    let terms = asked.terms(certificates);
    let refused = |error| format!("TLS: {error}");
    let anyone = Policy::anyone(&terms).map_err(refused)?;
    let verified = match asked.ca.is_some() || asked.verifies {
        true => {
            let roots = certificates.roots(asked.ca)?;
            roots.map(|roots| Policy::trusting(roots, &terms).map_err(refused)).transpose()?
        }
        false => None,
    };
    Ok(Ways { anyone, verified })
}
