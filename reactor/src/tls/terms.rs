//! What both sides of TLS have in common: what we say of ourselves, which suites and versions are
//! spoken, and what computes them.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, SupportedProtocolVersion, version};
use std::sync::Arc;

// What computes: aws-lc-rs on Linux, for its speed and its hybrid key exchange; ring elsewhere,
// and where it is asked for.
#[cfg(all(target_os = "linux", not(feature = "ring")))]
pub(super) use rustls::crypto::aws_lc_rs::{Ticketer, default_provider as provider};
#[cfg(not(all(target_os = "linux", not(feature = "ring"))))]
pub(super) use rustls::crypto::ring::{Ticketer, default_provider as provider};

/// What one of both says of itself: its certificate with those between it and a root, and the key.
/// It never shows the key.
#[derive(Clone, Debug)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

impl Identity {
    /// The first certificate of `chain` is that of `key`.
    ///
    /// # Errors
    /// That the key is of no use, or that of another certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, Error> {
        if chain.is_empty() {
            return Err(Error::NoCertificatesPresented);
        }
        let own = CertifiedKey::from_der(chain, key, &provider())?;
        Ok(Identity(Arc::new(own)))
    }

    /// Its certificate, without those above it.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.cert[0]
    }

    /// Reads both in PEM, as they stand in files.
    ///
    /// # Errors
    /// In words: what is no PEM, or of no use.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| format!("certificate: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("key: {error}"))?;
        Identity::new(chain, key).map_err(|error| error.to_string())
    }
}

/// How we speak, whoever it is with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What we say of ourselves to who asks.
    pub identity: Option<Identity>,
    /// The suites to be used, by their names in the registry of IANA, the preferred first; all
    /// that there are when none is named.
    pub suites: Vec<&'static str>,
    /// The groups of key exchange, likewise.
    pub groups: Vec<&'static str>,
    /// TLS 1.2 may be spoken.
    pub tls12: bool,
    /// TLS 1.3 may.
    pub tls13: bool,
}

impl Default for Terms {
    /// Nothing of ourselves, and all suites and groups of both versions.
    fn default() -> Terms {
        Terms { identity: None, suites: Vec::new(), groups: Vec::new(), tls12: true, tls13: true }
    }
}

impl Terms {
    /// What computes for us, with the suites and groups that are left. Where a group is named that
    /// is not computed here, it is not among them.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut all = provider();
        if !self.groups.is_empty() {
            let named = |name: &&'static str| {
                let groups = all.kx_groups.iter().copied();
                groups.clone().find(|group| group.name().as_str() == Some(*name))
            };
            all.kx_groups = self.groups.iter().filter_map(named).collect();
        }
        if self.suites.is_empty() {
            return all;
        }
        let named = |name: &&str| {
            let suites = all.cipher_suites.iter();
            suites.copied().find(|suite| super::suite_name(suite.suite()) == *name)
        };
        let cipher_suites = self.suites.iter().filter_map(named).collect();
        CryptoProvider { cipher_suites, ..all }
    }

    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, version)| version).collect()
    }
}
