//! Relay URLs: `[scheme://][label@]host[:port]`, as today and as before 2018.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_while1};
use nom::character::complete::{char, u16 as port};
use nom::combinator::{all_consuming, opt, recognize};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use crate::action::RelayTls;
use crate::limits;

/// Where a relay connects, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    /// Protocol and TLS.
    pub scheme: Scheme,
    /// Which credentials of the action's `auth` table.
    pub label: Option<String>,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port that is written.
    pub port: Option<u16>,
}

/// Protocol and TLS of a relay URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `smtp://` or none: STARTTLS when offered.
    Smtp,
    /// `smtp+tls://`: STARTTLS needed.
    SmtpTls,
    /// `smtp+notls://`: no TLS.
    SmtpNoTls,
    /// `smtps://`: TLS from the first octet.
    Smtps,
    /// `lmtp://`.
    Lmtp,
}

impl Scheme {
    const ALL: [(&'static str, Scheme); 5] = [
        ("smtp", Scheme::Smtp),
        ("smtp+tls", Scheme::SmtpTls),
        ("smtp+notls", Scheme::SmtpNoTls),
        ("smtps", Scheme::Smtps),
        ("lmtp", Scheme::Lmtp),
    ];

    /// Port without one in the URL; LMTP has none.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Smtp | Scheme::SmtpTls | Scheme::SmtpNoTls => Some(25),
            Scheme::Smtps => Some(465),
            Scheme::Lmtp => None,
        }
    }

    fn name(self) -> &'static str {
        Scheme::ALL.iter().find(|(_, scheme)| *scheme == self).map_or("", |(name, _)| name)
    }

    fn takes_label(self) -> bool {
        matches!(self, Scheme::SmtpTls | Scheme::Smtps)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if let Some(label) = &self.label {
            write!(f, "{label}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The parts as written, before anybody says what the scheme means.
struct Parts<'t> {
    scheme: Option<&'t str>,
    label: Option<&'t str>,
    host: String,
    port: Option<u16>,
}

fn parts(text: &str) -> IResult<&str, Parts<'_>> {
    let scheme =
        terminated(take_while1(|c: char| c.is_ascii_alphanumeric() || c == '+'), tag("://"));
    let label = terminated(recognize(is_not("@/ \t")), char('@'));
    let name =
        take_while1(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c)).map(str::to_owned);
    let literal = delimited(char('['), is_not("[]"), char(']')).map_opt(address);
    let port = preceded(char(':'), port);
    let (rest, (scheme, label, host, port)) =
        (opt(scheme), opt(label), alt((literal, name)), opt(port)).parse(text)?;
    Ok((rest, Parts { scheme, label, host, port }))
}

fn address(text: &str) -> Option<String> {
    let tagged = text.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    let ip = if tagged { &text[5..] } else { text };
    let v4 = ip.parse::<Ipv4Addr>().ok().filter(|_| !tagged).map(|ip| ip.to_string());
    v4.or_else(|| ip.parse::<Ipv6Addr>().ok().map(|ip| ip.to_string()))
}

fn read(text: &str) -> Result<Parts<'_>, String> {
    if text.len() > limits::RELAY_URL {
        return Err(format!("it is longer than {} octets", limits::RELAY_URL));
    }
    match all_consuming(parts).parse(text) {
        Ok((_, parts)) if parts.port == Some(0) => Err("port 0 does not exist".to_owned()),
        Ok((_, parts)) => Ok(parts),
        Err(_) => Err("write [scheme://][label@]host[:port]".to_owned()),
    }
}

impl RelayUrl {
    /// Reads a URL of today.
    ///
    /// # Errors
    /// A sentence that says what to write.
    pub fn parse(text: &str) -> Result<RelayUrl, String> {
        let parts = read(text)?;
        let written = parts.scheme.unwrap_or("smtp");
        let scheme = Scheme::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(written));
        let Some((_, scheme)) = scheme else {
            return Err(format!(
                "no scheme {written}://; there are smtp, smtp+tls, smtp+notls, smtps and lmtp"
            ));
        };
        let label = parts.label.map(str::to_owned);
        let url = RelayUrl { scheme: *scheme, label, host: parts.host, port: parts.port };
        url.checked()
    }

    fn checked(self) -> Result<RelayUrl, String> {
        if self.label.is_some() && !self.scheme.takes_label() {
            return Err("a label (credentials) needs smtp+tls:// or smtps://".to_owned());
        }
        if self.scheme == Scheme::Lmtp && self.port.is_none() {
            return Err("lmtp:// needs a port".to_owned());
        }
        Ok(self)
    }
}

/// What a URL of before 2018 says in today's terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LegacyUrl {
    /// A smarthost.
    Host {
        url: RelayUrl,
        tls: RelayTls,
        /// What cannot be said exactly.
        note: Option<&'static str>,
    },
    /// `backup://mx`
    Backup { mx: String, tls: RelayTls },
}

impl LegacyUrl {
    /// Reads it. Certificates were not verified unless `verify` was written; a password goes to
    /// nobody whose certificate was not verified, though.
    pub fn parse(text: &str, verify: bool) -> Result<LegacyUrl, String> {
        let parts = read(text)?;
        let written = parts.scheme.unwrap_or("smtp+tls").to_ascii_lowercase();
        let (plain, auth) = match written.strip_suffix("+auth") {
            Some(plain) => (plain, true),
            None => (written.as_str(), false),
        };
        let (scheme, port) = match plain {
            "smtp" if !auth => (Scheme::SmtpNoTls, parts.port),
            "smtp+tls" if !auth => (Scheme::Smtp, parts.port),
            "tls" => (Scheme::SmtpTls, parts.port),
            "smtps" => (Scheme::Smtps, parts.port),
            "lmtp" if !auth => (Scheme::Lmtp, parts.port.or(Some(25))),
            "ssl" | "secure" if parts.port == Some(465) => (Scheme::Smtps, parts.port),
            "ssl" | "secure" => (Scheme::SmtpTls, parts.port),
            "backup" | "tls+backup" if !auth => {
                let tls = match plain {
                    "backup" => RelayTls::Opportunistic,
                    _ if verify => RelayTls::Require,
                    _ => RelayTls::RequireUnverified,
                };
                return Ok(LegacyUrl::Backup { mx: parts.host, tls });
            }
            _ => {
                return Err(format!(
                    "no scheme {written}://; there are smtp, smtp+tls, tls, smtps, tls+auth, \
                     smtps+auth, secure, lmtp and backup"
                ));
            }
        };
        match (auth, parts.label.is_some()) {
            (true, false) => return Err(format!("{written}:// needs label@ before the host")),
            (false, true) => return Err(format!("a label needs {written}+auth://")),
            _ => {}
        }
        if verify && !scheme.takes_label() {
            return Err("cannot \"verify\" with insecure protocol".to_owned());
        }
        let tls = match scheme {
            Scheme::SmtpTls | Scheme::Smtps if verify || auth => RelayTls::Require,
            Scheme::SmtpTls | Scheme::Smtps => RelayTls::RequireUnverified,
            Scheme::Smtp | Scheme::SmtpNoTls | Scheme::Lmtp => RelayTls::Opportunistic,
        };
        let note = matches!(plain, "ssl" | "secure").then_some(
            "it tried STARTTLS on port 25 and then TLS on port 465; only the one is tried now",
        );
        let label = parts.label.map(str::to_owned);
        let url = RelayUrl { scheme, label, host: parts.host, port }.checked()?;
        Ok(LegacyUrl::Host { url, tls, note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_today() {
        for (text, printed) in [
            ("mx.example.org", "smtp://mx.example.org"),
            ("smtp://127.0.0.1:2602", "smtp://127.0.0.1:2602"),
            ("SMTPS://label@[IPv6:::1]:465", "smtps://label@[::1]:465"),
            ("smtp+tls://me@h:587", "smtp+tls://me@h:587"),
            ("lmtp://h:24", "lmtp://h:24"),
        ] {
            assert_eq!(RelayUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(printed));
        }
        for bad in [
            "",
            "tls://h",
            "smtp://l@h",
            "lmtp://h",
            "smtp://h:0",
            "smtp://h:70000",
            "smtp://a b",
            "smtp://[x]",
            "smtp://h/",
            "smtp+tls://@h",
            "://h",
        ] {
            assert!(RelayUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_goes_to_verified_hosts_only() {
        let tls = |text, verify| match LegacyUrl::parse(text, verify) {
            Ok(LegacyUrl::Host { url, tls, .. }) => Ok((url.to_string(), tls)),
            Ok(LegacyUrl::Backup { mx, tls }) => Ok((mx, tls)),
            Err(error) => Err(error),
        };
        let is = |text: &str, tls| Ok((text.to_owned(), tls));
        assert_eq!(tls("smtp://h", false), is("smtp+notls://h", RelayTls::Opportunistic));
        assert_eq!(tls("h", false), is("smtp://h", RelayTls::Opportunistic));
        assert_eq!(tls("tls://h", false), is("smtp+tls://h", RelayTls::RequireUnverified));
        assert_eq!(tls("tls://h", true), is("smtp+tls://h", RelayTls::Require));
        assert_eq!(tls("tls+auth://l@h:587", false), is("smtp+tls://l@h:587", RelayTls::Require));
        assert_eq!(tls("lmtp://h", false), is("lmtp://h:25", RelayTls::Opportunistic));
        assert_eq!(tls("backup://h", false), is("h", RelayTls::Opportunistic));
        for bad in ["tls+auth://h", "tls://l@h", "smtp+auth://l@h", "smtp+notls://h", "x://h"] {
            assert!(tls(bad, false).is_err(), "{bad}");
        }
        assert!(tls("smtp://h", true).is_err());
    }
}
