//! What is wrong with a certificate and its key, in the judgement of the library that will use
//! them: a certificate that rustls cannot read is none.

use std::time::{Duration, SystemTime};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use smtpd_config::check::CertificateFault;

/// How long before its end a certificate is warned of. Who renews by a timer does so earlier.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// All that is wrong, for a server that shows `names`.
pub(super) fn faults(chain: &[u8], key: &[u8], names: &[String]) -> Vec<CertificateFault> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    faults_at(chain, key, names, now)
}

fn faults_at(chain: &[u8], key: &[u8], names: &[String], now: Duration) -> Vec<CertificateFault> {
    let bad = |why: String| vec![CertificateFault::Certificate(why)];
    let chain: Vec<CertificateDer<'static>> =
        match CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>() {
            Ok(chain) => chain,
            Err(error) => return bad(error.to_string()),
        };
    let Some(first) = chain.first().cloned() else {
        return bad("it holds no PEM section CERTIFICATE".to_owned());
    };
    let parsed = match ParsedCertificate::try_from(&first) {
        Ok(parsed) => parsed,
        Err(error) => return bad(error.to_string()),
    };
    let mut found = Vec::new();
    match PrivateKeyDer::from_pem_slice(key) {
        Err(_) => {
            let why = "it holds no PEM section with a private key".to_owned();
            found.push(CertificateFault::Key(why));
        }
        Ok(key) => match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(_) => {}
            Err(Error::InconsistentKeys(_)) => found.push(CertificateFault::Mismatch),
            Err(error) => found.push(CertificateFault::Key(error.to_string())),
        },
    }
    found.extend(validity(&parsed, now));
    let other = |name: &&String| {
        let server = ServerName::try_from(name.as_str());
        server.is_ok_and(|server| verify_server_name(&parsed, &server).is_err())
    };
    found.extend(names.iter().filter(other).cloned().map(CertificateFault::Name));
    found
}

/// What is wrong with it at that time. That is what the library looks at first; that nobody
/// trusts the certificate, as no anchors are given, it finds afterwards.
fn invalid_at(parsed: &ParsedCertificate<'_>, time: Duration) -> Option<CertificateError> {
    let algorithms = default_provider().signature_verification_algorithms.all;
    let time = UnixTime::since_unix_epoch(time);
    let roots = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(parsed, &roots, &[], time, algorithms) {
        Err(Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

/// Whether it is valid now, and for a while.
fn validity(parsed: &ParsedCertificate<'_>, now: Duration) -> Option<CertificateFault> {
    match invalid_at(parsed, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            let since = now.as_secs().saturating_sub(not_after.as_secs());
            return Some(CertificateFault::Expired(since));
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            let until = not_before.as_secs().saturating_sub(now.as_secs());
            return Some(CertificateFault::NotYet(until));
        }
        _ => {}
    }
    match invalid_at(parsed, now + SOON) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(CertificateFault::Expires(not_after.as_secs().saturating_sub(now.as_secs())))
        }
        _ => None,
    }
}

/// When a certificate ends, in seconds of Unix time; none if it cannot be read.
pub(crate) fn end(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    // The last day that a certificate can name (RFC 5280 section 4.1.2.5), and some more.
    let never = Duration::from_secs(300_000_000_000);
    match invalid_at(&parsed, never)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &[u8] = include_bytes!("../../../fixtures/certificates/mx.crt");
    const KEY: &[u8] = include_bytes!("../../../fixtures/certificates/mx.key");
    const OTHER: &[u8] = include_bytes!("../../../fixtures/certificates/other.key");

    /// A day within the certificate's years.
    const VALID: Duration = Duration::from_secs(1_800_000_000);

    fn with(chain: &[u8], key: &[u8], now: Duration) -> Vec<CertificateFault> {
        faults_at(chain, key, &[], now)
    }

    #[test]
    fn what_fits_is_well() {
        assert_eq!(with(CHAIN, KEY, VALID), []);
        assert_eq!(with(CHAIN, OTHER, VALID), [CertificateFault::Mismatch]);
    }

    #[test]
    fn its_days_are_looked_at() {
        let end = match with(CHAIN, KEY, VALID * 2).as_slice() {
            [CertificateFault::Expired(since)] => VALID * 2 - Duration::from_secs(*since),
            other => panic!("{other:?}"),
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(
            super::end(&CertificateDer::from_pem_slice(CHAIN).unwrap()),
            Some(end.as_secs())
        );
        assert_eq!(with(CHAIN, KEY, end - 20 * day), []);
        let week = 7 * 86_400;
        assert_eq!(with(CHAIN, KEY, end - 7 * day), [CertificateFault::Expires(week)]);
        let early = with(CHAIN, KEY, Duration::from_secs(1_000_000_000));
        assert!(matches!(early.as_slice(), [CertificateFault::NotYet(_)]), "{early:?}");
    }

    #[test]
    fn its_names_are_looked_at() {
        let names = ["mx.example.org", "a.example.net", "example.net", "192.0.2.1"];
        let names: Vec<String> = names.map(str::to_owned).to_vec();
        let others = ["example.net", "192.0.2.1"];
        let expected: Vec<CertificateFault> =
            others.map(|name| CertificateFault::Name(name.to_owned())).to_vec();
        assert_eq!(faults_at(CHAIN, KEY, &names, VALID), expected);
    }

    #[test]
    fn what_is_none_is_said() {
        for chain in [&b""[..], b"nothing", KEY, &CHAIN[..CHAIN.len() / 2]] {
            let found = with(chain, KEY, VALID);
            assert!(matches!(found.as_slice(), [CertificateFault::Certificate(_)]), "{found:?}");
        }
        for key in [&b""[..], b"nothing", CHAIN] {
            let found = with(CHAIN, key, VALID);
            assert!(matches!(found.as_slice(), [CertificateFault::Key(_)]), "{found:?}");
        }
    }

    /// The suites that configurations can name are those that the library has.
    #[test]
    fn the_suites_are_those_of_the_library() {
        use smtpd_config::tls::Suite;
        let ours: Vec<&str> = Suite::ALL.into_iter().map(Suite::name).collect();
        let theirs: Vec<String> = default_provider()
            .cipher_suites
            .iter()
            .map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"))
            .collect();
        assert_eq!(ours, theirs);
    }
}
