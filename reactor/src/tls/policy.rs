//! Whom we trust when we are the client.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What a client says of itself when it is asked: its certificate with those between it and a
/// root, and the key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

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
    /// What is wrong with the identity.
    pub fn anyone(identity: Option<Identity>) -> Result<Policy, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Anyone(Arc::clone(&provider)));
        Policy::new(provider, verifier, identity, false)
    }

    /// Trusts who shows a certificate for the name that was dialled, under one of `roots`.
    ///
    /// # Errors
    /// What is wrong with the identity, or that there is no root.
    pub fn trusting(roots: RootCertStore, identity: Option<Identity>) -> Result<Policy, Error> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        Policy::new(provider, verifier, identity, true)
    }

    fn new(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<Identity>,
        verifies: bool,
    ) -> Result<Policy, Error> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
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
