//! Whom the relay trusts: the trust anchors of each action, or those of the system.
//!
//! Files are read once, at the start, while the process may still read them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use smtpd_config::action::{RelayTls, Route};
use smtpd_config::route::HopTls;
use smtpd_config::{Config, Method};
use smtpd_reactor::tls::{Client, Policy, roots};

use super::Connect;

/// Where systems keep the roots they trust; the first that is there counts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// See the module.
pub struct Trust {
    /// For who is not to be verified.
    anyone: Policy,
    /// For actions with a `ca` of their own, by their names.
    own: HashMap<String, Policy>,
    /// For the others; none when nobody needs it, or there are no roots.
    system: Option<Policy>,
}

impl Trust {
    /// Reads the trust anchors that the configuration asks for.
    ///
    /// # Errors
    /// In words for an administrator: a file that is named and of no use.
    pub fn read(config: &Config) -> Result<Trust, String> {
        let mut own = HashMap::new();
        let mut wants_system = false;
        for action in config.actions() {
            let Method::Relay(relay) = &action.method else { continue };
            let may_verify = match relay.route {
                Route::Hosts(_) | Route::Domains(_) => true,
                Route::Mx | Route::Backup(_) => relay.tls == RelayTls::Require,
            };
            match relay.ca.as_ref().and_then(|name| config.ca.get(name)) {
                Some(ca) => drop(own.insert(action.name.to_string(), policy(&ca.file)?)),
                None => wants_system |= may_verify,
            }
        }
        let system = SYSTEM.iter().map(Path::new).find(|path| path.exists());
        let system = system.filter(|_| wants_system).map(policy).transpose()?;
        let anyone = Policy::anyone(None).map_err(|error| format!("TLS: {error}"))?;
        Ok(Trust { anyone, own, system })
    }

    /// How TLS is spoken over a connection; none where it is not.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn client(&self, connect: &Connect) -> Result<Option<Client>, String> {
        let policy = match connect.tls {
            HopTls::Never => return Ok(None),
            HopTls::Opportunistic
            | HopTls::Required { verify: false }
            | HopTls::Immediate { verify: false } => &self.anyone,
            HopTls::Required { verify: true } | HopTls::Immediate { verify: true } => {
                let own = self.own.get(&*connect.hop.key.action).or(self.system.as_ref());
                own.ok_or("this system has no file of trusted roots: write ca NAME cert FILE")?
            }
        };
        let client = Client::new(policy.clone(), &connect.host);
        client.map(Some).ok_or_else(|| format!("no certificate can be for {}", connect.host))
    }
}

fn policy(file: &Path) -> Result<Policy, String> {
    let shown = file.display();
    let pem = fs::read(file).map_err(|error| format!("{shown}: {error}"))?;
    Policy::trusting(roots(&pem).0, None).map_err(|error| format!("{shown}: {error}"))
}
