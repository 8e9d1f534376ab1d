//! Certificates: whether they can be read, fit their keys and are valid today.

use std::path::Path;

use crate::config::Config;
use crate::diagnostic::Diagnostic;
use crate::surroundings::read;

use super::names::span;
use super::world::{CertificateFault, World};

/// Octets of a file with certificates or a key; a chain has some ten thousand.
const PEM: u64 = 1 << 20;

pub(super) fn check(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (name, pki) in &config.pki {
        let (Some(cert), Some(key)) = (&pki.cert, &pki.key) else { continue };
        // What cannot be read is a matter of the family `files`, or of who runs the check.
        let open = |path: &Path| read(world, path, PEM).ok();
        let (Some(chain), Some(secret)) = (open(cert), open(key)) else { continue };
        let users = config.listeners.iter().filter(|listen| listen.pki.first() == Some(name));
        let mut names: Vec<String> = users.map(|l| l.name(config).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        let (cert, key) = (cert.display(), key.display());
        for fault in world.certificate(&chain, &secret, &names) {
            let diagnostic = match fault {
                CertificateFault::Certificate(why) => {
                    Diagnostic::error(format!("{cert} is not a certificate: {why}"))
                        .help("the file must hold the certificate and its chain, in PEM")
                }
                CertificateFault::Key(why) => {
                    Diagnostic::error(format!("{key} is not a private key: {why}"))
                        .help("the file must hold the key alone, in PEM and without a passphrase")
                }
                CertificateFault::Mismatch => {
                    Diagnostic::error(format!("{key} is not the key of {cert}"))
                        .help("take the key that the certificate was asked for with")
                }
                CertificateFault::Expired(seconds) => {
                    Diagnostic::warning(format!("{cert} has expired {} ago", span(seconds)))
                        .help("renew it: servers that verify it do not deliver")
                }
                CertificateFault::Expires(seconds) => {
                    Diagnostic::warning(format!("{cert} expires in {}", span(seconds)))
                        .help("see why it has not been renewed")
                }
                CertificateFault::NotYet(seconds) => {
                    Diagnostic::warning(format!("{cert} is valid only in {}", span(seconds)))
                        .help("see whether the clock is right")
                }
                CertificateFault::Name(name) => {
                    Diagnostic::note(format!("{cert} is made for other names than {name}"))
                        .help("clients that verify it refuse: correct hostname, or the certificate")
                }
            };
            found.push(diagnostic.at(pki.position.clone()));
        }
    }
    found
}
