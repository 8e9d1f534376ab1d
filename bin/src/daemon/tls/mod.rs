//! TLS of the listeners: which certificates each shows, and whom it trusts (smtpd.conf(5),
//! `listen`: `tls`, `tls-require`, `smtps`, `pki`, `ca`, `ciphers`, `protocols`,
//! `groups`).
//!
//! All of it is read from files as a whole and replaced as a whole: what comes to be of no use
//! leaves everything as it was. A session keeps what it began with; tickets given before are good
//! behind it.

mod counts;
mod files;

use std::sync::{Arc, PoisonError, RwLock};

use smtpd_config::tls::{Ciphers, Groups};
use smtpd_config::{Config, Listen, Tls};
use smtpd_reactor::tls::{Certificate, Server, Service, Terms, Tickets};

pub use counts::Counts;
pub use files::Certificates;

/// How TLS is spoken at each listener now. Clones are the same.
#[derive(Clone)]
pub struct Current {
    /// Held to copy or to put in place a pointer, never while a file is read.
    services: Arc<RwLock<Arc<Services>>>,
    tickets: Tickets,
}

/// By the `listen` lines in their order; none where there is no TLS.
type Services = Vec<Option<Server>>;

impl Current {
    /// With keys of tickets of its own.
    ///
    /// # Errors
    /// In words for an administrator.
    pub fn new(config: &Config, certificates: &Certificates) -> Result<Current, String> {
        let tickets = Tickets::new().map_err(|error| format!("TLS: {error}"))?;
        let services = services(config, certificates, &tickets)?;
        Ok(Current { services: Arc::new(RwLock::new(Arc::new(services))), tickets })
    }

    /// From now on, sessions begin with these certificates.
    ///
    /// # Errors
    /// In words for an administrator. Nothing has changed then.
    pub fn replace(&self, config: &Config, certificates: &Certificates) -> Result<(), String> {
        let services = Arc::new(services(config, certificates, &self.tickets)?);
        let mut current = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, services);
        drop(current);
        // Not while sessions wait to begin.
        drop(old);
        Ok(())
    }

    /// How TLS is spoken with a client of the `listen` line of that number, counted from zero.
    pub fn of(&self, line: usize) -> Option<Server> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(line).cloned().flatten()
    }
}

fn services(
    config: &Config,
    certificates: &Certificates,
    tickets: &Tickets,
) -> Result<Services, String> {
    let service = |listen| {
        let server = service(config, listen, certificates, tickets);
        server.map_err(|why| format!("{}: {why}", listen.position))
    };
    config.listeners.iter().map(service).collect()
}

fn service(
    config: &Config,
    listen: &Listen,
    certificates: &Certificates,
    tickets: &Tickets,
) -> Result<Option<Server>, String> {
    let (immediate, verify) = match listen.tls {
        Tls::Never => return Ok(None),
        Tls::Offer => (false, false),
        Tls::Require { verify } => (false, verify),
        Tls::Smtps { verify } => (true, verify),
    };
    let certificate = |name: &String| {
        let identity = certificates.identity(name)?.clone();
        Some(Arc::new(Certificate::new(name, identity)))
    };
    let shown: Vec<_> = listen.pki.iter().filter_map(certificate).collect();
    let clients = match verify {
        true => {
            let roots = certificates.roots(listen.ca.as_deref())?;
            Some(roots.ok_or("this system has no file of trusted roots: write ca NAME cert FILE")?)
        }
        false => None,
    };
    let suites = listen.ciphers.as_ref().or(config.smtp.ciphers.as_ref());
    let names = |list: &Ciphers| list.suites.iter().map(|suite| suite.name()).collect();
    let suites = suites.map_or(Vec::new(), names);
    let names = |list: &Groups| list.groups.iter().map(|group| group.name()).collect();
    let groups = listen.groups.as_ref().map_or(Vec::new(), names);
    let (tls12, tls13) = listen.protocols.as_ref().map_or((true, true), |p| (p.tls12, p.tls13));
    let terms = &Terms { identity: None, suites, groups, tls12, tls13 };
    let service = Service { certificates: &shown, immediate, clients, terms, tickets };
    Server::new(&service).map(Some).map_err(|error| format!("TLS: {error}"))
}
