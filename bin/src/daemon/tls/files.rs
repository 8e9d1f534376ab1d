//! Certificates, keys and trusted roots as they stand in files: read in one place, for listeners
//! and for the relay.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use smtpd_config::Config;
use smtpd_config::config::Pki;
use smtpd_reactor::tls::{Identity, roots};

use crate::check::certificate;
use crate::control::Certificate;
use crate::daemon::sockets::system_text;

/// Where systems keep the roots they trust; the first that is there counts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// What the `pki` and `ca` lines of a configuration name, in memory.
pub struct Certificates {
    identities: HashMap<String, Identity>,
    bundles: HashMap<String, Arc<RootCertStore>>,
    /// The roots of the system, once somebody needs them: they are many.
    system: OnceCell<Arc<RootCertStore>>,
}

impl Certificates {
    /// Reads the files of every line, used or not: one that is of no use is found when it is
    /// written down and not when it is needed. Keys are for root to read, so this is done
    /// before privileges are dropped.
    ///
    /// # Errors
    /// The first line whose files cannot be read or are of no use, in words for an administrator.
    pub fn read(config: &Config) -> Result<Certificates, String> {
        let mut identities = HashMap::new();
        for (name, pki) in &config.pki {
            let identity = identity(pki).map_err(|why| format!("{}: {why}", pki.position))?;
            identities.extend(identity.map(|identity| (name.clone(), identity)));
        }
        let mut bundles = HashMap::new();
        for (name, ca) in &config.ca {
            let roots = bundle(&ca.file).map_err(|why| format!("{}: {why}", ca.position))?;
            bundles.insert(name.clone(), roots);
        }
        Ok(Certificates { identities, bundles, system: OnceCell::new() })
    }

    /// The files that are read, so that they may be watched.
    pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
        let pairs = config.pki.values().flat_map(|pki| [pki.cert.as_ref(), pki.key.as_ref()]);
        let bundles = config.ca.values().map(|ca| &ca.file);
        pairs.flatten().chain(bundles).cloned()
    }

    /// The certificates, and when each ends.
    pub fn in_use(&self) -> Vec<Certificate> {
        let shown = |(name, identity): (&String, &Identity)| {
            let end = certificate::end(identity.certificate())?;
            Some(Certificate { name: name.clone(), end })
        };
        let mut certificates: Vec<_> = self.identities.iter().filter_map(shown).collect();
        certificates.sort_by(|one, other| one.name.cmp(&other.name));
        certificates
    }

    /// The certificate and key of a `pki` line.
    pub fn identity(&self, pki: &str) -> Option<&Identity> {
        self.identities.get(pki)
    }

    /// The roots of a `ca` line, or else those of the system: none if it has no such file.
    ///
    /// # Errors
    /// There is no such line, or the system's file is of no use.
    pub fn roots(&self, ca: Option<&str>) -> Result<Option<Arc<RootCertStore>>, String> {
        if let Some(name) = ca {
            let roots = self.bundles.get(name).ok_or_else(|| format!("no ca {name}"))?;
            return Ok(Some(roots.clone()));
        }
        if let Some(roots) = self.system.get() {
            return Ok(Some(roots.clone()));
        }
        let Some(file) = SYSTEM.iter().map(Path::new).find(|path| path.exists()) else {
            return Ok(None);
        };
        let roots = bundle(file)?;
        Ok(Some(self.system.get_or_init(|| roots).clone()))
    }
}

fn identity(pki: &Pki) -> Result<Option<Identity>, String> {
    let Some((cert, key)) = pki.cert.as_ref().zip(pki.key.as_ref()) else { return Ok(None) };
    let identity = Identity::from_pem(&read(cert)?, &read(key)?);
    let (cert, key) = (cert.display(), key.display());
    identity.map(Some).map_err(|why| format!("{cert} and {key}: {why}"))
}

fn bundle(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let (roots, _) = roots(&read(file)?);
    match roots.is_empty() {
        true => Err(format!("{}: no certificate in it can be trusted", file.display())),
        false => Ok(Arc::new(roots)),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {}", file.display(), system_text(&error)))
}
