//! Certificates for tests: an authority of their own, and what it has signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

/// Somebody who certifies names.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    pub root: String,
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Authority {
    /// With a key of its own.
    #[must_use]
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root").pem();
        Authority { issuer: Issuer::new(params, key), root }
    }

    /// A certificate for a name, and its key.
    #[must_use]
    pub fn certify(&self, name: &str) -> (Certificate, KeyPair) {
        self.certify_all(&[name])
    }

    /// One for several names, and its key.
    #[must_use]
    pub fn certify_all(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = CertificateParams::new(names).expect("names");
        (own.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A certificate in files, `name.crt` and `name.key`; those that are there are replaced.
    #[must_use]
    pub fn write(&self, dir: &Path, name: &str) -> (Certificate, PathBuf, PathBuf) {
        self.write_all(dir, name, &[name])
    }

    /// One for several names, in files that are called as it says.
    #[must_use]
    pub fn write_all(
        &self,
        dir: &Path,
        name: &str,
        names: &[&str],
    ) -> (Certificate, PathBuf, PathBuf) {
        let (own, key) = self.certify_all(names);
        let paths = ["crt", "key"].map(|end| dir.join(format!("{name}.{end}")));
        fs::write(&paths[0], own.pem()).expect("a certificate");
        fs::write(&paths[1], key.serialize_pem()).expect("a key");
        let [crt, key] = paths;
        (own, crt, key)
    }

    /// A server of this name. Where it asks for the client's certificate, it wants one of the same
    /// authority.
    #[must_use]
    pub fn server(&self, name: &str, asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = if asks {
            let roots = Arc::new(smtpd_reactor::tls::roots(self.root.as_bytes()).0);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.expect("a root"))
        } else {
            config.with_no_client_auth()
        };
        let (own, key) = self.certify(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = config.with_single_cert(vec![own.der().clone()], key);
        Arc::new(config.expect("a certificate and its key"))
    }

    /// A client that trusts this authority, and shows a certificate of it if it is given a name.
    #[must_use]
    pub fn client(&self, shows: Option<&str>) -> Arc<ClientConfig> {
        self.client_with(rustls::DEFAULT_VERSIONS, shows.map(|name| (self, name)))
    }

    /// The same of these versions, which may show a certificate of another authority.
    #[must_use]
    pub fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shows: Option<(&Authority, &str)>,
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(smtpd_reactor::tls::roots(self.root.as_bytes()).0);
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let Some((authority, name)) = shows else {
            return Arc::new(config.with_no_client_auth());
        };
        let (own, key) = authority.certify(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = config.with_client_auth_cert(vec![own.der().clone()], key);
        Arc::new(config.expect("a certificate and its key"))
    }
}
