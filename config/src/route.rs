//! Where a relay action leads a recipient, as far as the configuration says it: no name is
//! resolved here (smtpd.conf(5), `relay`).

use std::fmt;

use crate::action::{Relay, RelayTls, Route};
use crate::config::Config;
use crate::observe::Observer;
use crate::surroundings::Outside;
use crate::table::{LookupError, Service, TableId};
use crate::url::{RelayUrl, Scheme};

/// The way to the next server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// The MX hosts of the recipient's domain (RFC 5321 section 5.1), on port 25.
    Mx {
        /// Only those that are better than this host, `relay backup`.
        better_than: Option<String>,
        /// TLS towards them.
        tls: HopTls,
    },
    /// These servers in turn; never empty.
    Servers(Vec<Server>),
}

/// A server that is named in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As it is written.
    pub url: RelayUrl,
    /// The port, also where the URL has none.
    pub port: u16,
    /// TLS towards it.
    pub tls: HopTls,
}

/// TLS towards a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopTls {
    /// None.
    Never,
    /// STARTTLS when it is offered, whatever the certificate.
    Opportunistic,
    /// STARTTLS, or nothing is sent.
    Required {
        /// The certificate must be good.
        verify: bool,
    },
    /// TLS from the first octet.
    Immediate {
        /// The certificate must be good.
        verify: bool,
    },
}

/// Why there is no way for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// The table has no server for the domain, or none at all.
    NoServer,
    /// The look-up failed.
    LookUp(LookupError),
    /// What the table has is no URL of a server.
    BadUrl {
        /// As written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// One of action and URL asks for TLS, and the other forbids it.
    TlsContradiction(RelayUrl),
    /// The URL has a label, and the action no `auth`.
    NoCredentials(RelayUrl),
    /// The `auth` table does not have the label.
    UnknownLabel(RelayUrl),
}

impl fmt::Display for NoRoute {
    /// In upstream's words, where it has some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRoute::NoServer => f.write_str("Cannot retrieve smarthost"),
            NoRoute::LookUp(error) => write!(f, "Cannot retrieve smarthost: {error}"),
            NoRoute::BadUrl { text, why } => write!(f, "Cannot parse smarthost {text}: {why}"),
            NoRoute::TlsContradiction(url) => {
                write!(f, "TLS required for relaying: the action and {url} contradict each other")
            }
            NoRoute::NoCredentials(url) => write!(f, "No auth table for relaying to {url}"),
            NoRoute::UnknownLabel(url) => write!(f, "Could not retrieve credentials for {url}"),
        }
    }
}

impl Config {
    /// The way of mail for `domain` by a relay action.
    ///
    /// # Errors
    /// When there is none as things are configured: delivery fails for now.
    pub fn next_hop<O: Observer>(
        &self,
        relay: &Relay,
        domain: &str,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Result<NextHop, NoRoute> {
        let urls: Vec<String> = match &relay.route {
            Route::Mx => {
                return Ok(NextHop::Mx { better_than: None, tls: relay.tls.without_url() });
            }
            Route::Backup(mx) => {
                let mx = mx.as_deref().unwrap_or(&self.host.name);
                let better_than = Some(mx.to_owned());
                return Ok(NextHop::Mx { better_than, tls: relay.tls.without_url() });
            }
            Route::Hosts(table) => self.elements(*table),
            Route::Domains(table) => {
                let url = self.value(*table, Service::RelayHost, domain, outside, observer);
                url.map_err(NoRoute::LookUp)?.map(|url| url.into_owned()).into_iter().collect()
            }
        };
        if urls.is_empty() {
            return Err(NoRoute::NoServer);
        }
        let servers = urls.iter().map(|text| self.server(relay, text, outside, observer));
        servers.collect::<Result<_, _>>().map(NextHop::Servers)
    }

    /// What a list holds.
    fn elements(&self, table: TableId) -> Vec<String> {
        let table = self.tables.get(table);
        table.entries.sorted().into_iter().map(|(key, _)| key.to_owned()).collect()
    }

    fn server<O: Observer>(
        &self,
        relay: &Relay,
        text: &str,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Result<Server, NoRoute> {
        let url =
            RelayUrl::parse(text).map_err(|why| NoRoute::BadUrl { text: text.to_owned(), why })?;
        if let Some(label) = &url.label {
            let Some(table) = relay.auth else { return Err(NoRoute::NoCredentials(url)) };
            match self.value(table, Service::Credentials, label, outside, observer) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(NoRoute::UnknownLabel(url)),
                Err(error) => return Err(NoRoute::LookUp(error)),
            }
        }
        let Some(tls) = relay.tls.with(url.scheme) else {
            return Err(NoRoute::TlsContradiction(url));
        };
        let port = url.port.or(url.scheme.default_port());
        // LMTP has no port of its own, and a URL without one is refused when it is read.
        let port = port.unwrap_or_default();
        Ok(Server { url, port, tls })
    }
}

impl RelayTls {
    /// Towards servers that no URL names.
    fn without_url(self) -> HopTls {
        match self {
            RelayTls::Opportunistic => HopTls::Opportunistic,
            RelayTls::Require => HopTls::Required { verify: true },
            RelayTls::RequireUnverified => HopTls::Required { verify: false },
            RelayTls::Never => HopTls::Never,
        }
    }

    /// Together with the scheme of a URL; `None` when they contradict each other.
    fn with(self, scheme: Scheme) -> Option<HopTls> {
        let verify = self != RelayTls::RequireUnverified;
        match (scheme, self) {
            (Scheme::Smtp, _) => Some(self.without_url()),
            (Scheme::SmtpTls | Scheme::Smtps, RelayTls::Never) => None,
            (Scheme::SmtpTls, _) => Some(HopTls::Required { verify }),
            (Scheme::Smtps, _) => Some(HopTls::Immediate { verify }),
            (Scheme::SmtpNoTls | Scheme::Lmtp, RelayTls::Opportunistic | RelayTls::Never) => {
                Some(HopTls::Never)
            }
            (Scheme::SmtpNoTls | Scheme::Lmtp, _) => None,
        }
    }
}
