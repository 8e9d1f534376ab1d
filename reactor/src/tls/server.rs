//! TLS towards those who send us mail: which certificate they are shown, and whether they are
//! asked for theirs.
//!
//! A [`Server`] is made once for each listener and replaced as a whole when a certificate is; a
//! session keeps the one it began with. The keys of tickets live in [`Tickets`], which all
//! listeners share and which a replacement takes over, so that a session can be resumed with any
//! reactor, and after a reload.

use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
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
    /// The certificates. Which one a client is shown: the first whose name is what it asked for
    /// (SNI, RFC 6066 section 3) and whose key it can use; else the first whose key it can use.
    pub certificates: &'a [Arc<Certificate>],
    /// From the first octet.
    pub immediate: bool,
    /// Who issues the certificates that clients may show, and whether they must.
    pub clients: Option<(Arc<RootCertStore>, bool)>,
    /// Which suites and versions are spoken; what it says of an identity is for clients.
    pub terms: &'a Terms,
    /// Tickets for resumption.
    pub tickets: &'a Tickets,
}

/// A certificate with those between it and a root, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// In lower case; `*.` in front stands for any one label.
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
    /// For a name of the host, or `*.domain`.
    #[must_use]
    pub fn new(name: &str, Identity(key): Identity) -> Certificate {
        Certificate { name: name.to_ascii_lowercase(), key }
    }

    /// Whether it is shown to who asks for this name.
    fn is_for(&self, name: &str) -> bool {
        match self.name.strip_prefix("*.") {
            None => self.name == name,
            Some(domain) => name.split_once('.').is_some_and(|(_, rest)| rest == domain),
        }
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
            Some((roots, required)) => {
                let roots = Arc::clone(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match required {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| Error::General(error.to_string()))?,
                )
            }
        };
        let certificates = service.certificates.to_vec();
        let mut config = builder.with_cert_resolver(Arc::new(Choice(certificates)));
        config.ticketer = Arc::clone(&service.tickets.0);
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
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named =
            name.and_then(|name| self.0.iter().filter(|one| one.is_for(&name)).find(can_use));
        let chosen = named.or_else(|| self.0.iter().find(can_use));
        // One that it cannot use is refused with the alert that says so.
        chosen.or(self.0.first()).map(|one| Arc::clone(&one.key))
    }
}
