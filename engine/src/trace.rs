//! The Received field that each message gets (RFC 5321 section 4.4).
//!
//! ```text
//! Received: from HELO (RDNS [ip])
//! <TAB>by NAME (OpenSMTPD) with ESMTPSA id MSGID (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) auth=yes user=USER (group X25519)
//! <TAB>for <rcpt>;
//! <TAB>Sun, 1 Dec 2024 10:00:00 +0100 (CET)
//! ```
//!
//! Lines end in CR LF, as stored content does. Nothing that a peer or a resolver said can
//! end a line or forge a part of the field: outside of addresses, what is not a letter, a
//! digit or one of `.-_:[]+/=@` becomes `?`.

use std::io::Write;

use crate::address::Mailbox;
use crate::date::Date;
use crate::server::{Peer, TlsInfo};

/// The facts of a Received field.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Where the message came from; `None` with `mask-src`.
    pub from: Option<From<'a>>,
    /// Our name.
    pub by: &'a str,
    /// With what it came.
    pub with: With,
    /// The message id, eight hexadecimal digits.
    pub id: &'a str,
    /// Present under TLS.
    pub tls: Option<&'a TlsInfo>,
    /// With `received-auth` and TLS: whether, and as whom, the peer authenticated.
    pub auth: Option<Auth<'a>>,
    /// The recipient, only if it is the only one: others must not learn of it.
    pub recipient: Option<&'a Mailbox>,
    /// When.
    pub date: Date<'a>,
}

/// The `from` clause.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The argument of HELO or EHLO.
    pub helo: &'a str,
    /// The peer's name, `<unknown>` if it has none.
    pub rdns: &'a str,
    /// The peer's address.
    pub peer: &'a Peer,
}

/// What `auth=` says.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    /// `auth=no`
    No,
    /// `auth=yes user=USER`
    Yes(&'a str),
}

/// The `with` clause: `SMTP`, `ESMTP[S][A]` (RFC 3848), `UTF8SMTP[S][A]` (RFC 6531).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct With {
    /// EHLO, not HELO.
    pub esmtp: bool,
    /// The transaction used SMTPUTF8.
    pub smtputf8: bool,
    /// Under TLS.
    pub tls: bool,
    /// Authenticated; sessions of the local socket are.
    pub auth: bool,
}

/// Adds the field to `out`.
pub fn received(facts: &Received<'_>, out: &mut Vec<u8>) {
    let put = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    put(out, "Received: ");
    if let Some(from) = &facts.from {
        put(out, "from ");
        word(from.helo, out);
        put(out, " (");
        // The brackets of who has no name are ours.
        if from.rdns == "<unknown>" {
            put(out, from.rdns)
        } else {
            word(from.rdns, out)
        }
        write!(out, " {})", from.peer.bracketed()).expect("a vector takes every octet");
    }
    put(out, "\r\n\tby ");
    word(facts.by, out);
    put(out, " (OpenSMTPD) with ");
    facts.with.write(out);
    put(out, " id ");
    word(facts.id, out);
    if let Some(tls) = facts.tls {
        put(out, " (");
        word(tls.version, out);
        put(out, ":");
        word(tls.cipher, out);
        let verified = if tls.verified { "YES" } else { "NO" };
        write!(out, ":{}:{verified})", tls.bits).expect("a vector takes every octet");
        match facts.auth {
            None => {}
            Some(Auth::No) => put(out, " auth=no"),
            Some(Auth::Yes(user)) => {
                put(out, " auth=yes user=");
                word(user, out);
            }
        }
        // Behind what upstream writes, for those who read that.
        if let Some(group) = tls.group {
            put(out, " (group ");
            word(group, out);
            put(out, ")");
        }
    }
    if let Some(recipient) = facts.recipient {
        put(out, "\r\n\tfor <");
        put(out, recipient.as_str());
        put(out, ">");
    }
    write!(out, ";\r\n\t{}\r\n", facts.date).expect("a vector takes every octet");
}

impl With {
    fn write(self, out: &mut Vec<u8>) {
        let protocol = match self {
            Self { smtputf8: true, .. } => "UTF8SMTP",
            Self { esmtp: true, .. } => "ESMTP",
            Self { esmtp: false, .. } => "SMTP",
        };
        out.extend_from_slice(protocol.as_bytes());
        if self.tls {
            out.push(b'S');
        }
        if self.auth {
            out.push(b'A');
        }
    }
}

/// Writes `text` so that it is one word, and no part of the field's own syntax.
fn word(text: &str, out: &mut Vec<u8>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]+/=@".contains(c);
    out.extend(text.chars().map(|c| if plain(c) { c as u8 } else { b'?' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: Date<'_> = Date {
        year: 2024,
        month: 12,
        day: 1,
        hour: 10,
        minute: 0,
        second: 0,
        offset: 3600,
        zone: "CET",
    };

    fn written(facts: &Received<'_>) -> String {
        let mut out = Vec::new();
        received(facts, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_upstream_writes_it() {
        let peer = Peer::Ip([192, 0, 2, 1].into());
        let tls = TlsInfo::usual();
        let rcpt = Mailbox::parse("c@d.example").unwrap();
        let mut facts = Received {
            from: Some(From { helo: "client.example", rdns: "host.example", peer: &peer }),
            by: "mx.example",
            with: With { esmtp: true, smtputf8: false, tls: true, auth: true },
            id: "0000001a",
            tls: Some(&tls),
            auth: Some(Auth::Yes("user")),
            recipient: Some(&rcpt),
            date: DATE,
        };
        assert_eq!(
            written(&facts),
            "Received: from client.example (host.example [192.0.2.1])\r\n\
             \tby mx.example (OpenSMTPD) with ESMTPSA id 0000001a \
             (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) auth=yes user=user (group X25519)\r\n\
             \tfor <c@d.example>;\r\n\
             \tSun, 1 Dec 2024 10:00:00 +0100 (CET)\r\n"
        );
        facts = Received {
            from: Some(From { helo: "x", rdns: "<unknown>", peer: &Peer::Local }),
            with: With::default(),
            tls: None,
            recipient: None,
            ..facts
        };
        assert_eq!(
            written(&facts),
            "Received: from x (<unknown> [local])\r\n\
             \tby mx.example (OpenSMTPD) with SMTP id 0000001a;\r\n\
             \tSun, 1 Dec 2024 10:00:00 +0100 (CET)\r\n"
        );
        facts.from = None;
        facts.with = With { smtputf8: true, esmtp: true, tls: false, auth: true };
        let masked = "Received: \r\n\tby mx.example (OpenSMTPD) with UTF8SMTPA id 0000001a;\r\n";
        assert!(written(&facts).starts_with(masked));
    }

    #[test]
    fn nothing_can_be_forged() {
        let v6 = Peer::Ip("2001:db8::1".parse().unwrap());
        let from = From { helo: "a (b [1.2.3.4])\r\n x;", rdns: "<u>\n\u{fc}", peer: &v6 };
        let facts = Received {
            from: Some(from),
            by: "mx",
            with: With::default(),
            id: "1",
            tls: None,
            auth: None,
            recipient: None,
            date: Date { zone: "x)\r\n", ..DATE },
        };
        assert_eq!(
            written(&facts),
            "Received: from a??b?[1.2.3.4]????x? (?u??? [2001:db8::1])\r\n\
             \tby mx (OpenSMTPD) with SMTP id 1;\r\n\tSun, 1 Dec 2024 10:00:00 +0100\r\n"
        );
    }
}
