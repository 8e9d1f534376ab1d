//! A client's half of TLS that believes everything: what it saves on verifying is the server's.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, Error, NamedGroup, SignatureScheme};

use crate::options::Options;
use crate::tickets::Tickets;
use crate::{Outcome, crypto};

/// The name that the server is asked for.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("mx.bench.test").expect("a domain")
}

/// Resumes sessions by these tickets, or none.
pub fn config(options: &Options, tickets: Option<Arc<Tickets>>) -> Outcome<Arc<ClientConfig>> {
    let provider = CryptoProvider {
        // A key on P-256 is of use in TLS 1.2 only to who has that group, too.
        kx_groups: vec![group(&options.group)?, group("p256")?],
        ..crypto::default_provider()
    };
    let version = if options.tls12 { &TLS12 } else { &TLS13 };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer))
        .with_no_client_auth();
    config.resumption = tickets.map_or_else(Resumption::disabled, |store| Resumption::store(store));
    Ok(Arc::new(config))
}

fn group(name: &str) -> Outcome<&'static dyn SupportedKxGroup> {
    let wanted = match name {
        "x25519" => NamedGroup::X25519,
        "p256" => NamedGroup::secp256r1,
        "hybrid" => NamedGroup::X25519MLKEM768,
        _ => return Err(format!("no group {name}").into()),
    };
    let mut all = crypto::ALL_KX_GROUPS.iter().copied();
    Ok(all.find(|group| group.name() == wanted).ok_or_else(|| format!("no group {name} here"))?)
}

#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
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
        crypto::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
