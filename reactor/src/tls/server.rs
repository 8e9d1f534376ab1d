//! TLS towards those who send us mail: which certificate they are shown, and whether they are
//! asked for theirs.
//!
//! A [`Server`] is made once for each listener and replaced as a whole when a certificate is; a
//! session keeps the one it began with. The keys of tickets live in [`Tickets`], which all
//! listeners share and which a replacement takes over, so that a session can be resumed with any
//! reactor, and after a reload. Those that verify their clients keep to themselves.

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, ServerConfig,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};
use std::sync::Arc;

use super::terms::Ticketer;
use super::{Identity, Terms};

/// How TLS is spoken with the clients of a listener.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) config: Arc<ServerConfig>,
    /// From the first octet (`smtps`, RFC 8314 section 3.3).
    pub(crate) immediate: bool,
    /// Certificates of clients are verified.
    pub(crate) verifies: bool,
}

/// What a listener says of TLS.
#[derive(Debug)]
pub struct Service<'a> {
    /// The certificates. Which one a client is shown: of those whose key it can use, the first
    /// that was issued for the name it asks for (SNI, RFC 6066 section 3), else the first that is
    /// called so, else the first.
    pub certificates: &'a [Arc<Certificate>],
    /// From the first octet.
    pub immediate: bool,
    /// Who issues the certificates that clients must show; none when they are not asked for any.
    pub clients: Option<Arc<RootCertStore>>,
    /// Which suites and versions are spoken; what it says of an identity is for clients.
    pub terms: &'a Terms,
    /// Tickets for resumption, where clients need no certificate.
    pub tickets: &'a Tickets,
}

/// A certificate with those between it and a root, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// What the administrator calls it, in lower case.
    name: String,
    key: Arc<CertifiedKey>,
}

/// The keys of tickets (RFC 8446 section 4.6.1). They change every few hours, and the last ones
/// are remembered for as long.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With keys of its own.
    ///
    /// # Errors
    /// When the system has no random octets.
    pub fn new() -> Result<Tickets, Error> {
        Ticketer::new().map(Tickets)
    }
}

impl Certificate {
    /// For the names that it was issued for, and for the one that the administrator gave it: old
    /// certificates hold no names that count today.
    #[must_use]
    pub fn new(name: &str, Identity(key): Identity) -> Certificate {
        Certificate { name: name.to_ascii_lowercase(), key }
    }

    /// Whether it was issued for this name; wildcards in it count (RFC 9525 section 6.3).
    fn is_issued_for(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl Server {
    /// # Errors
    /// There is no certificate, or no root to verify those of clients by.
    pub fn new(service: &Service<'_>) -> Result<Server, Error> {
        if service.certificates.is_empty() {
            return Err(Error::General("no certificate".into()));
        }
        let provider = Arc::new(service.terms.provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&service.terms.versions())?;
        let builder = match &service.clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let roots = Arc::clone(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| Error::General(error.to_string()))?,
                )
            }
        };
        let certificates = service.certificates.to_vec();
        let mut config = builder.with_cert_resolver(Arc::new(Choice(certificates)));
        // A ticket stands for all that was asked of its session. Where a certificate was, only
        // this server can tell whose it trusted: tickets of others would let in who has none,
        // and those given by who was trusted before.
        config.ticketer = match service.clients {
            None => Arc::clone(&service.tickets.0),
            Some(_) => Ticketer::new()?,
        };
        // Where an order is written it is ours that counts; all there are are good.
        config.ignore_client_order = !service.terms.suites.is_empty();
        // Nothing is kept here for a session: tickets are all there is to resumption.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        // A client opens one session at a time; each ticket is 200 octets more to be sent.
        config.send_tls13_tickets = 1;
        let (immediate, verifies) = (service.immediate, service.clients.is_some());
        Ok(Server { config: Arc::new(config), immediate, verifies })
    }
}

/// Which certificate a client is shown.
#[derive(Debug)]
struct Choice(Vec<Arc<Certificate>>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let can_use = |one: &&Arc<Certificate>| {
            one.key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let usable = || self.0.iter().filter(can_use);
        let named = hello.server_name().and_then(|name| {
            let server = ServerName::try_from(name).ok();
            let issued = server.and_then(|server| usable().find(|one| one.is_issued_for(&server)));
            issued.or_else(|| usable().find(|one| one.name.eq_ignore_ascii_case(name)))
        });
        let chosen = named.or_else(|| usable().next());
        // One that it cannot use is refused with the alert that says so.
        chosen.or(self.0.first()).map(|one| Arc::clone(&one.key))
    }
}
