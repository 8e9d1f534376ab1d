//! The lines of relaying: `SESSION mta connecting ...` to `disconnected`, each delivery, and the
//! routes that are left alone for a while.

use std::net::IpAddr;
use std::time::Duration;

use log::info;
use smtpd_config::route::HopTls;
use smtpd_engine::tls::TlsInfo;
use smtpd_queue::delivery::{Attempt, Job};
use smtpd_queue::envelope::Message;
use smtpd_queue::id::EnvelopeId;

use super::delivery::{Outcome, delay};
use super::session::Agreed;
use super::vis::{vis, vis_quoted, vis_shown};
use crate::daemon::relay::blocks::Path;
use crate::daemon::relay::{Connect, SessionId};

/// The facts of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The session, zero when there was none.
    pub session: SessionId,
    /// The message.
    pub message: &'a Message,
    /// Which envelope of it.
    pub envelope: EnvelopeId,
    /// This end of the connection.
    pub source: Option<IpAddr>,
    /// The server's address and name.
    pub relay: Option<(IpAddr, &'a str)>,
    /// What has come of it.
    pub attempt: &'a Attempt,
    /// The reply, or what went wrong.
    pub stat: &'a str,
}

impl<'a> Delivery<'a> {
    /// An attempt that came to nothing before there was a session.
    #[must_use]
    pub fn without_session(job: &'a Job, attempt: &'a Attempt, stat: &'a str) -> Delivery<'a> {
        let (message, envelope) = (&*job.message, job.id);
        Delivery { session: 0, message, envelope, source: None, relay: None, attempt, stat }
    }
}

/// Logs an attempt.
pub fn delivery(delivery: &Delivery<'_>, now: u64) {
    let Delivery { session, message, envelope, source, relay, attempt, stat } = delivery;
    let Some(envelope) = message.envelopes.iter().find(|one| one.id == *envelope) else { return };
    let (id, dest) = (envelope.id, vis_shown(&envelope.dest));
    let rcpt = match envelope.rcpt == envelope.dest {
        true => "-".to_owned(),
        false => format!("<{}>", vis_shown(&envelope.rcpt)),
    };
    let source = source.map_or_else(|| "-".to_owned(), |source| shown(&source));
    let relay = relay.map_or_else(
        || vis(envelope.dest.domain().as_bytes()).to_string(),
        |(address, name)| format!("{} ({})", shown(&address), vis(name.as_bytes())),
    );
    let result = match attempt {
        Attempt::Delivered | Attempt::Relayed(_) => Outcome::Ok,
        Attempt::Later(_) => Outcome::TempFail,
        Attempt::Failed(_) | Attempt::Held(_) => Outcome::PermFail,
    };
    let (from, delay) = (vis_shown(&message.sender), delay(message, now));
    info!(
        "{session:016x} mta delivery evpid={id} from=<{from}> to=<{dest}> rcpt={rcpt} \
         source=\"{source}\" relay=\"{relay}\" delay={delay} result=\"{result}\" stat={}",
        vis_quoted(stat.as_bytes())
    );
}

/// Logs that a connection is being opened.
pub fn connecting(connect: &Connect) {
    let scheme = match (connect.tls, connect.named().is_some_and(|server| server.lmtp)) {
        (_, true) => "lmtp",
        (HopTls::Never, _) => "smtp+notls",
        (HopTls::Opportunistic, _) => "smtp",
        (HopTls::Required { .. }, _) => "smtp+tls",
        (HopTls::Immediate { .. }, _) => "smtps",
    };
    let (session, address) = (connect.session, connect.address);
    let host = vis(connect.host.as_bytes());
    info!("{session:016x} mta connecting address={scheme}://{address} host={host}");
}

/// Logs that a session is ready to send.
pub fn connected(session: SessionId) {
    info!("{session:016x} mta connected");
}

/// Logs what TLS was agreed on, and whose certificate was shown.
pub fn tls(session: SessionId, tls: &TlsInfo) {
    info!("{session:016x} mta tls {}", Agreed(tls));
    if let Some(fingerprint) = &tls.fingerprint {
        let result = if tls.verified { "valid" } else { "unverified" };
        info!("{session:016x} mta cert-check result=\"{result}\" fingerprint=\"{fingerprint}\"");
    }
}

/// Logs the end of a session that nobody complains of.
pub fn disconnected(session: SessionId, reason: &str, mails: u32) {
    info!("{session:016x} mta disconnected reason={reason} messages={mails}");
}

/// Logs the end of a session by what went wrong.
pub fn error(session: SessionId, reason: &str) {
    info!("{session:016x} mta error reason={}", vis_quoted(reason.as_bytes()));
}

/// Logs that TLS failed and will be done without.
pub fn downgrade(session: SessionId) {
    info!(
        "smtp-out: Error on session {session:016x}: opportunistic TLS failed, downgrading to plain"
    );
}

/// Logs that an address is left alone for a while.
pub fn disabled(path: &Path, host: &str, wait: Duration) {
    info!("smtp-out: Disabling route {} for {}s", way(path, host), wait.as_secs());
}

/// Logs that an address answers again.
pub fn enabled(path: &Path, host: &str) {
    info!("smtp-out: Enabling route {}", way(path, host));
}

/// A way, as it is shown.
pub fn way(path: &Path, host: &str) -> String {
    let source = path.0.map_or_else(|| "[]".to_owned(), |source| shown(&source));
    format!("{source} <-> {} ({})", shown(&path.1.ip()), vis(host.as_bytes()))
}

/// An address, as it is shown.
pub fn shown(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
