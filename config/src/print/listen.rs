//! `listen` lines.

use super::{Printer, quote};
use crate::config::Family;
use crate::listen::{Auth, Listen, StrayNewline, Tls};

impl Printer<'_> {
    pub(super) fn socket(&mut self) {
        let socket = &self.config.socket;
        if socket.position.is_none() {
            return;
        }
        let mut text = "listen on socket".to_owned();
        if let Some(filter) = &socket.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        if let Some(tag) = &socket.tag {
            text += &format!(" tag {}", quote(tag));
        }
        text += if socket.mask_src { " mask-src" } else { "" };
        text += if socket.no_dsn { " no-dsn" } else { "" };
        self.line(text);
    }

    pub(super) fn listen(&mut self, listen: &Listen) {
        let mut text = format!("listen on {}", quote(&listen.on));
        match listen.family {
            None => {}
            Some(Family::Inet4) => text += " inet4",
            Some(Family::Inet6) => text += " inet6",
        }
        text += &format!(" port {}", listen.port);
        text += match listen.tls {
            Tls::Never => "",
            Tls::Offer => " tls",
            Tls::Require { verify: false } => " tls-require",
            Tls::Require { verify: true } => " tls-require verify",
            Tls::Smtps { verify: false } => " smtps",
            Tls::Smtps { verify: true } => " smtps verify",
        };
        // Without TLS a certificate is a mistake today.
        for name in listen.pki.iter().filter(|_| listen.tls != Tls::Never) {
            text += &format!(" pki {}", quote(name));
        }
        match listen.auth {
            Auth::Never => {}
            Auth::Optional(None) => text += " auth-optional",
            Auth::Require(None) => text += " auth",
            Auth::Optional(Some(table)) => {
                text += &format!(" auth-optional {}", self.operand(table));
            }
            Auth::Require(Some(table)) => text += &format!(" auth {}", self.operand(table)),
        }
        let ciphers = listen.ciphers.as_ref().map(|list| list.text.to_string());
        let protocols = listen.protocols.as_ref().map(|list| list.text.to_string());
        let groups = listen.groups.as_ref().map(|list| list.text.to_string());
        for (word, value) in [
            ("ca", &listen.ca),
            ("ciphers", &ciphers),
            ("protocols", &protocols),
            ("groups", &groups),
            ("hostname", &listen.hostname),
            ("tag", &listen.tag),
        ] {
            if let Some(value) = value {
                text += &format!(" {word} {}", quote(value));
            }
        }
        if let Some(filter) = &listen.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        if let Some(table) = listen.hostnames {
            text += &format!(" hostnames {}", self.operand(table));
        }
        if let Some(senders) = listen.senders {
            text += &format!(" senders {}", self.operand(senders.table));
            text += if senders.masquerade { " masquerade" } else { "" };
        }
        for (word, set) in [
            ("mask-src", listen.mask_src),
            ("received-auth", listen.received_auth),
            ("no-dsn", listen.no_dsn),
            ("proxy-v2", listen.proxy_v2),
            ("stray-newline normalize", listen.stray_newline == StrayNewline::Normalize),
        ] {
            if set {
                text += &format!(" {word}");
            }
        }
        self.line(text);
    }
}
