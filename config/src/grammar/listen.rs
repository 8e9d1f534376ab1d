//! `listen on ...` in both grammars: the options are nearly the same, some under other names.

use crate::config::{Dialect, Family};
use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Kind, Place};
use crate::limits;
use crate::listen::{Auth, Listen, Senders, SocketListen, StrayNewline, Tls};
use crate::places::Places;

use super::cursor::{Cursor, Parse, Seen};
use super::table::Takes;
use super::{Name, Reader};

const BOTH: [&str; 18] = [
    "inet4",
    "inet6",
    "port",
    "tls",
    "tls-require",
    "smtps",
    "pki",
    "ca",
    "auth",
    "auth-optional",
    "filter",
    "hostname",
    "hostnames",
    "tag",
    "received-auth",
    "no-dsn",
    "senders",
    "stray-newline",
];
const MODERN: [&str; 5] = ["mask-src", "proxy-v2", "ciphers", "protocols", "groups"];
const LEGACY: [&str; 6] = ["mask-source", "ssl", "secure", "certificate", "dsn-notify", "dsn-ret"];

impl Reader<'_> {
    /// What follows `listen`.
    pub(super) fn listen(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let start = cursor.place();
        if !cursor.eat("on") {
            return Err(cursor.unknown(&["on"]));
        }
        if cursor.eat("socket") {
            return self.listen_socket(cursor, start);
        }
        let place = cursor.place();
        let on = cursor.string("an interface or address")?.text.to_string();
        let mut listen = Listen {
            position: self.position(place),
            places: Places::default(),
            on,
            family: None,
            port: 0,
            tls: Tls::Never,
            pki: Vec::new(),
            ca: None,
            ciphers: None,
            protocols: None,
            groups: None,
            auth: Auth::Never,
            filter: None,
            hostname: None,
            hostnames: None,
            tag: None,
            mask_src: false,
            received_auth: false,
            no_dsn: false,
            proxy_v2: false,
            senders: None,
            stray_newline: StrayNewline::Reject,
        };
        let other: &[&'static str] = match cursor.dialect {
            Dialect::Modern => &MODERN,
            Dialect::Legacy => &LEGACY,
        };
        let known: Vec<&'static str> = BOTH.iter().chain(other).copied().collect();
        let mut seen = Seen::default();
        let mut both_ports = false;
        while let Some((word, at)) = cursor.word(&known)? {
            listen.places.add(word, self.position(at));
            let slot = match word {
                "inet4" | "inet6" => "address family",
                "tls" | "tls-require" | "smtps" | "ssl" | "secure" => "TLS",
                "auth" | "auth-optional" => "auth",
                "mask-source" => "mask-src",
                "no-dsn" | "dsn-notify" => "no-dsn",
                other => other,
            };
            match word {
                "pki" => seen.note(word, at),
                _ => seen.once(slot, at, "listener")?,
            }
            match word {
                "ssl" | "secure" => {
                    both_ports = true;
                    listen.tls = Tls::Offer;
                }
                _ => self.listen_option(cursor, word, at, &mut listen, &known)?,
            }
        }
        self.check_listen(&listen, &seen, both_ports, place)?;
        let second = both_ports.then(|| Listen {
            tls: Tls::Smtps { verify: false },
            port: 465,
            ..listen.clone()
        });
        self.push_listen(listen, seen.has("port"), place);
        if let Some(second) = second {
            self.push_listen(second, true, place);
        }
        Ok(())
    }

    fn push_listen(&mut self, mut listen: Listen, has_port: bool, place: Place) {
        if !has_port {
            listen.port = match listen.tls {
                Tls::Smtps { .. } => 465,
                _ => 25,
            };
        }
        self.config.listeners.push(listen);
        self.legacy.listeners.push(place);
    }

    fn listen_option(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: &'static str,
        at: Place,
        listen: &mut Listen,
        known: &[&'static str],
    ) -> Parse<()> {
        match word {
            "inet4" => listen.family = Some(Family::Inet4),
            "inet6" => listen.family = Some(Family::Inet6),
            "port" => listen.port = port(cursor)?,
            "tls" => listen.tls = Tls::Offer,
            "tls-require" => listen.tls = Tls::Require { verify: cursor.eat("verify") },
            "smtps" => listen.tls = Tls::Smtps { verify: cursor.eat("verify") },
            "pki" => {
                let name = self.known_pki(cursor)?;
                if listen.pki.len() == limits::LISTENER_PKI {
                    let message = format!("more than {} certificates", limits::LISTENER_PKI);
                    return Err(Fault::error(at, message));
                }
                listen.pki.push(name);
            }
            "certificate" => {
                let name = cursor.string("a certificate's name")?;
                listen.pki.push(self.legacy_certificate(&name.text, name.place));
            }
            "ca" => listen.ca = Some(self.known_ca(cursor)?),
            "ciphers" => listen.ciphers = Some(self.ciphers(cursor)?),
            "protocols" => listen.protocols = Some(self.protocols(cursor)?),
            "groups" => listen.groups = Some(self.groups(cursor)?),
            "auth" | "auth-optional" => {
                let table = self.optional_operand(cursor, "auth", known)?;
                listen.auth = match word {
                    "auth" => Auth::Require(table),
                    _ => Auth::Optional(table),
                };
            }
            "filter" => {
                listen.filter = Some(self.filter_reference(cursor)?);
                self.inactive(at, "filters do not work yet");
            }
            "hostname" => listen.hostname = Some(host_name(cursor)?),
            "hostnames" => {
                listen.hostnames = Some(self.operand(cursor, "hostnames", Takes::Map)?);
                self.inactive(at, "hostnames does not work yet");
            }
            "tag" => listen.tag = Some(tag(cursor)?),
            "mask-src" | "mask-source" => listen.mask_src = true,
            "received-auth" => listen.received_auth = true,
            "no-dsn" => listen.no_dsn = true,
            "dsn-notify" => {
                cursor.needed_word(&["disable"])?;
                listen.no_dsn = true;
            }
            "dsn-ret" => {
                cursor.needed_word(&["headers"])?;
                let note = Diagnostic::note("dsn-ret has no effect any more");
                self.report(at, note.help("reports quote the header unless the sender asks"));
            }
            "proxy-v2" => {
                listen.proxy_v2 = true;
                self.inactive(at, "proxy-v2 does not work yet");
            }
            "senders" => {
                let table = self.operand(cursor, "senders", Takes::Map)?;
                listen.senders = Some(Senders { table, masquerade: cursor.eat("masquerade") });
            }
            "stray-newline" => {
                let (word, _) = cursor.needed_word(&["reject", "normalize"])?;
                listen.stray_newline = match word {
                    "normalize" => StrayNewline::Normalize,
                    _ => StrayNewline::Reject,
                };
            }
            _ => return Err(cursor.unknown(&[])),
        }
        Ok(())
    }

    /// What options must have one another. Legacy files may leave the certificate to be found by
    /// the listener's name.
    fn check_listen(
        &self,
        listen: &Listen,
        seen: &Seen,
        both_ports: bool,
        place: Place,
    ) -> Parse<()> {
        let has_tls = listen.tls != Tls::Never;
        let at = |word| seen.place(word).unwrap_or(place);
        let fail = |place, message: &str, help: &str| {
            let message = format!("invalid listen option: {message}");
            Err(Fault::new(place, Diagnostic::error(message).help(help)))
        };
        if both_ports && seen.has("port") {
            let help = "leave the port out, or write tls or smtps";
            return fail(at("port"), "tls/smtps on same port", help);
        }
        if listen.auth != Auth::Never && !has_tls {
            let help = "add tls-require and a pki, so that passwords are not sent in the clear";
            return fail(at("auth"), "auth requires tls/smtps", help);
        }
        if self.dialect == Dialect::Modern {
            if has_tls && listen.pki.is_empty() {
                let help = "declare a certificate with pki NAME cert ... and key ..., add pki NAME";
                return fail(at("TLS"), "pki required for tls/smtps", help);
            }
            if !has_tls && !listen.pki.is_empty() {
                let help = "add tls, tls-require or smtps";
                return fail(at("pki"), "pki requires tls/smtps", help);
            }
        }
        Ok(())
    }

    fn listen_socket(&mut self, cursor: &mut Cursor<'_>, start: Place) -> Parse<()> {
        if self.config.socket.position.is_some() {
            let diagnostic = Diagnostic::error("socket listener already configured");
            return Err(Fault::new(start, diagnostic));
        }
        let known: &[&'static str] = match cursor.dialect {
            Dialect::Modern => &["filter", "mask-src", "no-dsn", "tag"],
            Dialect::Legacy => &["filter", "mask-source"],
        };
        let mut socket =
            SocketListen { position: Some(self.position(start)), ..SocketListen::default() };
        let mut seen = Seen::default();
        while let Some((word, at)) = cursor.word(known)? {
            seen.once(word, at, "listener")?;
            match word {
                "filter" => {
                    socket.filter = Some(self.filter_reference(cursor)?);
                    self.inactive(at, "filters do not work yet");
                }
                "tag" => socket.tag = Some(tag(cursor)?),
                "no-dsn" => socket.no_dsn = true,
                _ => socket.mask_src = true,
            }
        }
        self.inactive(start, "the socket for local mail does not work yet; leave the line out");
        self.config.socket = socket;
        Ok(())
    }

    fn optional_operand(
        &mut self,
        cursor: &mut Cursor<'_>,
        what: &str,
        known: &[&'static str],
    ) -> Parse<Option<crate::table::TableId>> {
        let follows = cursor.name_follows(known)
            || cursor.peek().is_some_and(|t| matches!(t.kind, Kind::Mark('<' | '{')));
        if follows { self.operand(cursor, what, Takes::Map).map(Some) } else { Ok(None) }
    }

    /// A name that must be a declared filter.
    pub(super) fn known_filter(&self, name: &str, place: Place) -> Parse<()> {
        if self.config.filters.contains_key(name) || self.is_broken(Name::Filter, name) {
            return Ok(());
        }
        let known = self.config.filters.keys().map(String::as_str);
        let message = format!("no filter exist with that name: {name}");
        Err(self.undeclared(Name::Filter, name, place, message, known))
    }
}

/// A port by number or by name. The names are those that mail uses; asking services(5) would
/// make a configuration mean something else on another machine.
pub(super) fn port(cursor: &mut Cursor<'_>) -> Parse<u16> {
    let place = cursor.place();
    let fault = |text: &str| {
        let diagnostic = Diagnostic::error(format!("invalid port: {text}"))
            .help("write a number from 1 to 65535, or smtp, smtps, submission");
        Fault::new(place, diagnostic)
    };
    if cursor.eat("smtps") {
        return Ok(465);
    }
    if cursor.eat("smtp") {
        return Ok(25);
    }
    if let Some(token) = cursor.peek().filter(|token| token.kind == Kind::Number) {
        cursor.advance();
        let port = token.text.parse().ok().filter(|port| *port != 0);
        return port.ok_or_else(|| fault(&token.text));
    }
    let token = cursor.string("a port")?;
    match &*token.text {
        "smtp" => Ok(25),
        "smtps" | "submissions" => Ok(465),
        "submission" => Ok(587),
        text => text.parse().ok().filter(|port| *port != 0).ok_or_else(|| fault(text)),
    }
}

fn host_name(cursor: &mut Cursor<'_>) -> Parse<String> {
    let token = cursor.string("a host name")?;
    if smtpd_engine::address::is_host_name(&token.text) {
        return Ok(token.text.to_string());
    }
    let mistake = Diagnostic::error(format!("not a valid host name: {}", token.text));
    Err(Fault::new(
        token.place,
        match token.text.contains('$') {
            true => mistake.help("in quotes a macro is not put in place: write it without"),
            false => mistake.help("write a name, as in mx.example.org"),
        },
    ))
}

fn tag(cursor: &mut Cursor<'_>) -> Parse<String> {
    let token = cursor.string("a tag")?;
    if token.text.len() > limits::TAG {
        let diagnostic = Diagnostic::error("tag name too long")
            .help(format!("at most {} characters", limits::TAG));
        return Err(Fault::new(token.place, diagnostic));
    }
    Ok(token.text.to_string())
}
