//! Listeners: `listen on ...`, and the addresses they stand for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Config, Family};
use crate::diagnostic::{Diagnostic, Position};
use crate::places::Places;
use crate::surroundings::Interfaces;
use crate::table::TableId;
use crate::tls::{Ciphers, Groups, Protocols};

/// A TCP listener, which may stand for several addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where it is written.
    pub position: Position,
    /// Where its options stand.
    pub places: Places,
    /// An interface, an address, a host name or `all`, as written.
    pub on: String,
    /// Only addresses of this family.
    pub family: Option<Family>,
    /// Port; 465 with `smtps`, else 25, unless written.
    pub port: u16,
    /// STARTTLS or TLS from the first octet.
    pub tls: Tls,
    /// Certificates by lower-cased name; the first is the fallback.
    pub pki: Vec<String>,
    /// Trust anchors for client certificates.
    pub ca: Option<String>,
    /// Cipher list.
    pub ciphers: Option<Ciphers>,
    /// Protocol list.
    pub protocols: Option<Protocols>,
    /// Groups of key exchange.
    pub groups: Option<Groups>,
    /// AUTH.
    pub auth: Auth,
    /// Name of the filter of its sessions.
    pub filter: Option<String>,
    /// Name in banner, EHLO and Received; without one, the server name.
    pub hostname: Option<String>,
    /// Names by local address.
    pub hostnames: Option<TableId>,
    /// What rules see in `tag`.
    pub tag: Option<String>,
    /// Received does not say where the message came from.
    pub mask_src: bool,
    /// Received says who was authenticated.
    pub received_auth: bool,
    /// DSN is not offered.
    pub no_dsn: bool,
    /// A PROXY v2 header comes first.
    pub proxy_v2: bool,
    /// Which sender addresses an authenticated user may use.
    pub senders: Option<Senders>,
    /// What happens to a CR or LF that stands alone in mail data.
    pub stray_newline: StrayNewline,
}

/// The listener of the local submission socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketListen {
    /// Where it is written; `None` when it is the default one.
    pub position: Option<Position>,
    /// Name of the filter of its sessions.
    pub filter: Option<String>,
    /// What rules see in `tag`.
    pub tag: Option<String>,
    /// Received does not say where the message came from.
    pub mask_src: bool,
    /// DSN is not offered.
    pub no_dsn: bool,
}

/// TLS of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// None.
    #[default]
    Never,
    /// STARTTLS offered.
    Offer,
    /// STARTTLS needed before MAIL.
    Require {
        /// A valid client certificate is needed.
        verify: bool,
    },
    /// TLS from the first octet.
    Smtps {
        /// A valid client certificate is needed.
        verify: bool,
    },
}

/// AUTH of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Not offered.
    #[default]
    Never,
    /// Offered; credentials of the table or of the system.
    Optional(Option<TableId>),
    /// Needed before MAIL.
    Require(Option<TableId>),
}

/// `senders T [masquerade]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Senders {
    /// User to address patterns.
    pub table: TableId,
    /// The From header is rewritten too.
    pub masquerade: bool,
}

/// `stray-newline`: CR or LF alone in mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrayNewline {
    /// The message is refused after its true end.
    #[default]
    Reject,
    /// Taken for a line break; yet only CR LF . CR LF ends the data.
    Normalize,
}

impl Listen {
    /// The name its sessions show.
    pub fn name<'c>(&'c self, config: &'c Config) -> &'c str {
        self.hostname.as_deref().unwrap_or(&config.host.name)
    }

    /// The addresses to bind, without repetitions: an interface or group of that name, an
    /// address, `all` (both wildcard addresses where no group is called so), `localhost`
    /// without asking the resolver, or a host name with all its addresses.
    ///
    /// # Errors
    /// When nothing has that name, or nothing of the family: the line and what to write.
    pub fn addresses(
        &self,
        config: &Config,
        interfaces: &dyn Interfaces,
    ) -> Result<Vec<SocketAddr>, Diagnostic> {
        let mut found = interfaces.interface(&self.on);
        if found.is_empty() {
            found = self.by_name(config, interfaces)?;
        }
        let mut addresses = Vec::new();
        for mut address in found {
            address.set_port(self.port);
            let wanted = match self.family {
                None => true,
                Some(Family::Inet4) => address.is_ipv4(),
                Some(Family::Inet6) => address.is_ipv6(),
            };
            if wanted && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            let message = format!("invalid virtual ip or interface: {}", self.on);
            return Err(Diagnostic::error(message)
                .at(self.position.clone())
                .help("it has no address of the family that is asked for"));
        }
        Ok(addresses)
    }

    fn by_name(
        &self,
        config: &Config,
        interfaces: &dyn Interfaces,
    ) -> Result<Vec<SocketAddr>, Diagnostic> {
        let literal = self.on.strip_prefix('[').and_then(|on| on.strip_suffix(']'));
        let ips = if let Ok(ip) = literal.unwrap_or(&self.on).parse::<IpAddr>() {
            vec![ip]
        } else if self.on == "all" {
            vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        } else if self.on.eq_ignore_ascii_case("localhost") {
            // Loopback by definition (RFC 6761 section 6.3), and a machine without IPv6 has
            // no ::1: leaving it out beats a listener that can never be bound.
            let mut loopback: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
            if config.host.addresses.contains(&Ipv6Addr::LOCALHOST.into()) {
                loopback.push(Ipv6Addr::LOCALHOST.into());
            }
            loopback
        } else {
            interfaces.host(&self.on).map_err(|error| {
                Diagnostic::error(format!("invalid virtual ip or interface: {}", self.on))
                    .at(self.position.clone())
                    .help(format!("no interface has that name, and as a host name: {error}"))
            })?
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }
}
