//! The lines of a receiving session: `ID smtp EVENT key=value ...`.
//!
//! One home for their wording, which log readers of ten years depend on. Each function formats
//! only when its level is wanted. What the peer chose is shown through [`vis`].

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use log::{info, warn};
use smtpd_engine::server::Peer;
use smtpd_engine::tls::TlsInfo;
use smtpd_queue::id::{EnvelopeId, MessageId};

use super::topic::{self, Topic};
use super::vis::{vis, vis_quoted, vis_shown};

/// The peer as log lines write it: an IPv4 address as it is, an IPv6 address in brackets, `local`
/// for the socket.
struct Address(Peer);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Local => f.write_str("local"),
            Peer::Ip(IpAddr::V4(v4)) => v4.fmt(f),
            Peer::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The peer said QUIT.
    Quit,
    /// A time-out of ours.
    Timeout,
    /// The connection was closed, by either side, without QUIT.
    Disconnect,
    /// There was no agreement on TLS.
    Tls,
    /// The connection broke; the system's words.
    Io(&'a str),
}

impl Display for Reason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Quit => f.write_str("quit"),
            Reason::Timeout => f.write_str("timeout"),
            Reason::Disconnect => f.write_str("disconnect"),
            Reason::Tls => f.write_str("tls-accept-failed"),
            Reason::Io(text) => write!(f, "{}", vis_quoted(format!("io-error: {text}").as_bytes())),
        }
    }
}

/// What came of an attempt to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// It was right.
    Ok,
    /// It was wrong.
    PermFail,
    /// It could not be judged.
    TempFail,
    /// It was not judged: too many have failed.
    Limited,
}

/// Somebody has tried to authenticate as that user.
pub fn authentication(session: u64, user: &str, result: LoginResult) {
    let result = match result {
        LoginResult::Ok => "ok",
        LoginResult::PermFail => "permfail",
        LoginResult::TempFail => "tempfail",
        LoginResult::Limited => "tempfail reason=limit",
    };
    info!("{session:016x} smtp authentication user={} result={result}", vis(user.as_bytes()));
}

/// A session began. `host` is the reverse name, `<unknown>` without one.
pub fn connected(session: u64, peer: Peer, host: &str) {
    info!("{session:016x} smtp connected address={} host={}", Address(peer), vis(host.as_bytes()));
}

/// What TLS was agreed on, as log lines write it: `ciphers=VERSION:CIPHER:BITS`, and the group.
pub struct Agreed<'a>(pub &'a TlsInfo);

impl Display for Agreed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let TlsInfo { version, cipher, bits, group, .. } = self.0;
        write!(f, "ciphers={version}:{cipher}:{bits}")?;
        group.map_or(Ok(()), |group| write!(f, " group={group}"))
    }
}

/// TLS has begun; and whose certificate was shown, which is verified then.
pub fn tls(session: u64, tls: &TlsInfo) {
    info!("{session:016x} smtp tls {}", Agreed(tls));
    if let Some(fingerprint) = &tls.fingerprint {
        let result = if tls.verified { "verified" } else { "unchecked" };
        info!("{session:016x} smtp cert-check result=\"{result}\" fingerprint=\"{fingerprint}\"");
    }
}

/// There was no agreement on TLS.
pub fn tls_failed(session: u64, why: impl Display) {
    info!("{session:016x} smtp tls-failed result={}", vis_quoted(why.to_string().as_bytes()));
}

/// A message is ours: its content (`size` octets with the Received header) and envelopes are on
/// disk. `esmtp` says whether the peer greeted with EHLO.
pub fn message(session: u64, message: MessageId, size: u64, nrcpt: usize, esmtp: bool) {
    let proto = if esmtp { "ESMTP" } else { "SMTP" };
    info!("{session:016x} smtp message msgid={message} size={size} nrcpt={nrcpt} proto={proto}");
}

/// One recipient of the message just logged. `from` is empty for the null reverse-path.
pub fn envelope(session: u64, envelope: EnvelopeId, from: impl Display, to: impl Display) {
    let (from, to) = (vis_shown(from), vis_shown(to));
    info!("{session:016x} smtp envelope evpid={envelope} from=<{from}> to=<{to}>");
}

/// A command got a reply of class 4 or 5. The octets of `command` must come without credentials;
/// both may come with their line end.
pub fn failed_command(session: u64, command: &[u8], reply: &[u8]) {
    info!(
        "{session:016x} smtp failed-command command={} result=\"{}\"",
        vis_quoted(trim_line_end(command)),
        vis(trim_line_end(reply))
    );
}

/// The peer broke the protocol below the level of commands.
pub fn bad_input(session: u64, reply: &[u8]) {
    info!("{session:016x} smtp bad-input result=\"{}\"", vis(trim_line_end(reply)));
}

/// A CR or LF that is not part of CR LF, or a NUL, stood in the mail data: the message is refused
/// (or normalised, as the listener says). `offset` counts octets of the mail data from zero; it
/// is what the peer's administrator needs to find the program that wrote it.
pub fn stray_newline(session: u64, peer: Peer, offset: u64, normalised: bool) {
    let action = if normalised { "normalize" } else { "reject" };
    info!(
        "{session:016x} smtp stray-newline address={} offset={offset} action={action}",
        Address(peer)
    );
}

/// The peer sent octets before the banner.
pub fn early_talker(session: u64, peer: Peer) {
    info!("{session:016x} smtp early-talker address={}", Address(peer));
}

/// The client's network has sent so many wrong hashes of rewritten senders that it is told nothing
/// about others for an hour.
pub fn guesses(session: u64, peer: Peer) {
    warn!("warn: {session:016x} smtp srs-guesses address={}", Address(peer));
}

/// The session is over.
pub fn disconnected(session: u64, reason: Reason<'_>) {
    info!("{session:016x} smtp disconnected reason={reason}");
}

/// Traces a command line as received (topic smtp), without credentials.
pub fn trace_received(session: u64, line: &[u8]) {
    if topic::on(Topic::Smtp) {
        let line = vis(trim_line_end(line));
        topic::trace(Topic::Smtp, format_args!("smtp: {session:#018x}: <<< {line}"));
    }
}

/// Traces the lines of a reply as sent (topic smtp), without the challenges of AUTH: with what the
/// client answers, passwords could be guessed.
pub fn trace_sent(session: u64, reply: &[u8]) {
    if topic::on(Topic::Smtp) {
        let reply = if reply.starts_with(b"334 ") { b"334 ***" } else { reply };
        for line in trim_line_end(reply).split(|octet| *octet == b'\n') {
            let line = vis(trim_line_end(line));
            topic::trace(Topic::Smtp, format_args!("smtp: {session:#018x}: >>> {line}"));
        }
    }
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
