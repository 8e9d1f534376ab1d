//! Whom we trust when we are the client, and how we speak to him.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

use super::{Identity, Terms};

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
            Some(Identity(own)) => {
                let own = SingleCertAndKey::from(Arc::clone(own));
                config.with_client_cert_resolver(Arc::new(own))
            }
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
