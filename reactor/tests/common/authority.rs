//! Certificates for tests: an authority of our own, and what it has signed.

// Each test program uses its own part, and a failure here is a failed test.
#![allow(dead_code, clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use smtpd_reactor::tls;
use std::sync::Arc;

/// A certificate and its key.
pub type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate authority, and what it has signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for `name` that ends in that year.
    pub fn certify(&self, name: &str, year: i32) -> Certified {
        self.certify_key(name, year, KeyPair::generate().unwrap())
    }

    /// A certificate for `name` and that key.
    pub fn certify_key(&self, name: &str, year: i32, key: KeyPair) -> Certified {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let (roots, useless) = tls::roots(self.pem.as_bytes());
        assert_eq!((roots.len(), useless), (1, 0));
        Arc::new(roots)
    }
}
