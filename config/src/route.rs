//! Where a relay action leads a recipient, as far as the configuration says it: no name is
//! resolved here (smtpd.conf(5), `relay`).

use std::fmt;
use std::net::IpAddr;

use smtpd_engine::address::{Mailbox, ReversePath};

use crate::action::{Relay, RelayTls, Route};
use crate::config::Config;
use crate::observe::Observer;
use crate::rules::Client;
use crate::surroundings::Outside;
use crate::table::{Backend, LookupError, Service, TableId, client_text};
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
    /// What it is told about who we are, if the URL has a label.
    pub login: Option<Login>,
}

/// A user, and what shows a server that it is him. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// His password, or a token.
    pub secret: Secret,
}

/// See [`Login`].
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// For PLAIN or LOGIN.
    Password(String),
    /// A bearer token, for XOAUTH2.
    Token(String),
}

/// What the value of a label begins with when it holds a token.
const TOKEN: &str = "xoauth2:";

impl Login {
    /// The value of a label: `user:password`, the password of a user who is named as the label, or
    /// `xoauth2:user:token`.
    fn parse(label: &str, value: &str) -> Option<Login> {
        let (value, kind): (_, fn(String) -> Secret) = match value.strip_prefix(TOKEN) {
            Some(rest) => (rest, Secret::Token),
            None => (value, Secret::Password),
        };
        let (user, secret) = value.split_once(':').unwrap_or((label, value));
        let is_whole = !user.is_empty() && !secret.is_empty();
        is_whole.then(|| Login { user: user.to_owned(), secret: kind(secret.to_owned()) })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
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
    /// The `auth` table does not have the label, or something that is no `user:password`.
    UnknownLabel(RelayUrl),
    /// The `src` table has no address, or something that is none.
    NoSource,
    /// The `helo-src` table has no name for this source address.
    NoHelo(IpAddr),
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
            NoRoute::NoSource => f.write_str("Could not retrieve source address"),
            NoRoute::NoHelo(source) => write!(f, "Failed to retrieve helo string of {source}"),
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
            Route::Hosts(table) => {
                let urls = self.elements(*table, Service::RelayHost, outside);
                urls.map_err(NoRoute::LookUp)?
            }
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
    fn elements(
        &self,
        table: TableId,
        service: Service,
        outside: &dyn Outside,
    ) -> Result<Vec<String>, LookupError> {
        let table = self.tables.get(table);
        if let Backend::Db(_) | Backend::Process { .. } = table.backend {
            let keys = outside.keys(table, service)?;
            return Ok(keys.into_iter().map(String::from).collect());
        }
        Ok(table.entries.in_order().into_iter().map(|(key, _)| key.to_owned()).collect())
    }

    /// The source addresses of a relay action, each with the name to be given with EHLO. None
    /// when the system is to choose.
    ///
    /// # Errors
    /// When there is none as things are configured: delivery fails for now.
    pub fn sources(
        &self,
        relay: &Relay,
        outside: &dyn Outside,
    ) -> Result<Vec<(IpAddr, String)>, NoRoute> {
        let Some(table) = relay.src else { return Ok(Vec::new()) };
        let elements = self.elements(table, Service::Source, outside).map_err(NoRoute::LookUp)?;
        if elements.is_empty() {
            return Err(NoRoute::NoSource);
        }
        let source = |text: &String| {
            let inside = text.trim_start_matches('[').trim_end_matches(']');
            let tagged = inside.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
            let inside = if tagged { &inside[5..] } else { inside };
            let address: IpAddr = inside.parse().map_err(|_| NoRoute::NoSource)?;
            let Some(table) = relay.helo_src else {
                return Ok((address, self.helo(relay).to_owned()));
            };
            let key = client_text(Client::Ip(address));
            match self.value(table, Service::AddrName, &key, outside, &mut ()) {
                Ok(Some(name)) => Ok((address, name.into_owned())),
                Ok(None) => Err(NoRoute::NoHelo(address)),
                Err(error) => Err(NoRoute::LookUp(error)),
            }
        };
        elements.iter().map(source).collect()
    }

    /// The name that a relay action gives with EHLO where its source address has none of its own.
    pub fn helo<'c>(&'c self, relay: &'c Relay) -> &'c str {
        relay.helo.as_deref().unwrap_or(&self.host.name)
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
        let mut login = None;
        if let Some(label) = &url.label {
            let Some(table) = relay.auth else { return Err(NoRoute::NoCredentials(url)) };
            let value = self.value(table, Service::Credentials, label, outside, observer);
            let value = value.map_err(NoRoute::LookUp)?;
            login = value.and_then(|value| Login::parse(label, &value));
            if login.is_none() {
                return Err(NoRoute::UnknownLabel(url));
            }
        }
        let Some(tls) = relay.tls.with(url.scheme) else {
            return Err(NoRoute::TlsContradiction(url));
        };
        let port = url.port.or(url.scheme.default_port());
        // LMTP has no port of its own, and a URL without one is refused when it is read.
        let port = port.unwrap_or_default();
        Ok(Server { url, port, tls, login })
    }
}

impl Config {
    /// The reverse-path that a relay action gives mail for `rcpt` that goes to `dest`, where these
    /// differ on behalf of `rcpt`'s domain. `day` counts from 1970.
    ///
    /// With `srs` the sender of what is forwarded is rewritten, so that reports come back here and
    /// find their way; `mail-from` is for all else.
    #[must_use]
    pub fn reverse_path(
        &self,
        relay: &Relay,
        from: &ReversePath,
        (rcpt, dest): (&Mailbox, &Mailbox),
        day: u64,
    ) -> ReversePath {
        let srs = self.srs.as_ref().filter(|_| relay.srs && rcpt != dest);
        let rewritten = srs.zip(from.mailbox()).and_then(|(srs, sender)| {
            // Null stays null, and what would be too long stays.
            srs.rewrite(sender, rcpt.domain(), day)
        });
        rewritten.map_or_else(|| relay.mail_from(from), ReversePath::Mailbox)
    }
}

impl Relay {
    /// `mail-from` replaces the user, the domain or both. A null reverse-path stays.
    fn mail_from(&self, from: &ReversePath) -> ReversePath {
        let (Some(wanted), ReversePath::Mailbox(old)) = (&self.mail_from, from) else {
            return from.clone();
        };
        let (user, domain) = match wanted.rsplit_once('@') {
            Some(("", domain)) => (old.local_part(), domain),
            Some((user, domain)) => (user, domain),
            None => (wanted.as_str(), old.domain()),
        };
        // What makes no address was refused when it was read.
        Mailbox::new(user, domain).map_or_else(|_| from.clone(), ReversePath::Mailbox)
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
