//! Whom the relay trusts and what it says of itself under TLS, by the options of each action: `ca`,
//! `pki`, `ciphers`, `protocols` (smtpd.conf(5), `relay`).
//!
//! Files are read once, at the start, while the process may still read them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use smtpd_config::action::{Relay, RelayTls, Route};
use smtpd_config::route::HopTls;
use smtpd_config::tls::Suite;
use smtpd_config::{Config, Method};
use smtpd_reactor::tls::{Client, Identity, Policy, Terms, roots};

use super::Connect;
use crate::daemon::sockets::system_text;

/// Where systems keep the roots they trust; the first that is there counts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

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
            versions: protocols.map_or((true, true), |some| (some.tls12, some.tls13)),
            verifies,
        }
    }

    fn terms(&self, config: &Config) -> Result<Terms, String> {
        let pki = self.pki.and_then(|name| config.pki.get(name));
        let files = pki.and_then(|pki| pki.cert.as_ref().zip(pki.key.as_ref()));
        let identity = match files {
            Some((cert, key)) => {
                let identity = Identity::from_pem(&read(cert)?, &read(key)?);
                let shown = (cert.display(), key.display());
                Some(identity.map_err(|why| format!("{} and {}: {why}", shown.0, shown.1))?)
            }
            None => None,
        };
        let suites = self.suites.iter().map(|suite| suite.name()).collect();
        let (tls12, tls13) = self.versions;
        Ok(Terms { identity, suites, tls12, tls13 })
    }
}

impl Trust {
    /// Reads the certificates that the configuration asks for.
    ///
    /// # Errors
    /// In words for an administrator: a file that is named and of no use.
    pub fn read(config: &Config) -> Result<Trust, String> {
        let mut known: HashMap<Asked<'_>, Ways> = HashMap::new();
        let mut system = None;
        let mut actions = HashMap::new();
        for action in config.actions() {
            let Method::Relay(relay) = &action.method else { continue };
            let asked = Asked::by(relay, config);
            let ways = match known.get(&asked) {
                Some(ways) => ways.clone(),
                None => {
                    let ways = ways(&asked, config, &mut system)?;
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

/// `system` holds the system's roots once they were read; they are many.
fn ways(
    asked: &Asked<'_>,
    config: &Config,
    system: &mut Option<(Arc<RootCertStore>, &'static Path)>,
) -> Result<Ways, String> {
    let terms = asked.terms(config)?;
    let anyone = Policy::anyone(&terms).map_err(|error| format!("TLS: {error}"))?;
    let trusting = |roots: Arc<RootCertStore>, file: &Path| {
        let policy = Policy::trusting(roots, &terms);
        policy.map_err(|error| format!("{}: {error}", file.display()))
    };
    let verified = match asked.ca.and_then(|name| config.ca.get(name)) {
        Some(ca) => Some(trusting(Arc::new(roots(&read(&ca.file)?).0), &ca.file)?),
        None if asked.verifies => {
            if system.is_none() {
                let file = SYSTEM.iter().map(Path::new).find(|path| path.exists());
                let read = |file| Ok::<_, String>((Arc::new(roots(&read(file)?).0), file));
                *system = file.map(read).transpose()?;
            }
            let system = system.as_ref();
            system.map(|(roots, file)| trusting(roots.clone(), file)).transpose()?
        }
        None => None,
    };
    Ok(Ways { anyone, verified })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {}", file.display(), system_text(&error)))
}
