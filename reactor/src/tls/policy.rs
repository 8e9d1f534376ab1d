//! Whom we trust when we are the client, and how we speak to him.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};
use std::sync::Arc;

/// What a client says of itself when it is asked: its certificate with those between it and a
/// root, and the key. It never shows the key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<SingleCertAndKey>);

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
        let own = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Identity(Arc::new(SingleCertAndKey::from(own))))
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
    /// TLS 1.2 may be spoken.
    pub tls12: bool,
    /// TLS 1.3 may.
    pub tls13: bool,
}

impl Default for Terms {
    /// Nothing of ourselves, and all suites of both versions.
    fn default() -> Terms {
        Terms { identity: None, suites: Vec::new(), tls12: true, tls13: true }
    }
}

impl Terms {
    fn provider(&self) -> CryptoProvider {
        let all = ring::default_provider();
        if self.suites.is_empty() {
            return all;
        }
        let named = |name: &&str| {
            let suites = all.cipher_suites.iter();
            suites.copied().find(|suite| super::suite_name(suite.suite()) == **name)
        };
        let cipher_suites = self.suites.iter().filter_map(named).collect();
        CryptoProvider { cipher_suites, ..all }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [(self.tls13, &version::TLS13), (self.tls12, &version::TLS12)];
        both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, version)| version).collect()
    }
}

/// A way to trust, and the sessions that may be resumed under it.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) verifies: bool,
}

impl Policy {
    /// Trusts anyone: for opportunistic TLS, and where the administrator asks for it
    /// (`tls no-verify`). It keeps those out who only listen.
    ///
    /// # Errors
    /// That no suite is left of the terms.
    pub fn anyone(terms: &Terms) -> Result<Policy, Error> {
        let provider = Arc::new(terms.provider());
        let verifier = Arc::new(Anyone(Arc::clone(&provider)));
        Policy::new(provider, verifier, terms, false)
    }

    /// Trusts who shows a certificate for the name that was dialled, under one of `roots`.
    ///
    /// # Errors
    /// That no suite is left of the terms, or that there is no root.
    pub fn trusting(roots: Arc<RootCertStore>, terms: &Terms) -> Result<Policy, Error> {
        let provider = Arc::new(terms.provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        Policy::new(provider, verifier, terms, true)
    }

    fn new(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
        terms: &Terms,
        verifies: bool,
    ) -> Result<Policy, Error> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&terms.versions())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &terms.identity {
            Some(Identity(own)) => config.with_client_cert_resolver(own.clone()),
            None => config.with_no_client_auth(),
        };
        Ok(Policy { config: Arc::new(config), verifies })
    }
}

/// The certificates of a file in PEM, as roots, and how many of them are of no use as such.
pub fn roots(pem: &[u8]) -> (RootCertStore, usize) {
    let mut roots = RootCertStore::empty();
    let mut useless = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        if !certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()) {
            useless += 1;
        }
    }
    (roots, useless)
}

/// Takes any certificate, and any signature by it: who may show whatever certificate it likes
/// proves nothing by a signature, and a peer with an odd certificate is better spoken to under
/// TLS than in the clear.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
