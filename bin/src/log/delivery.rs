//! The lines of deliveries: `SESSION mda delivery evpid=... result=... stat=...`, and
//! those of envelopes that were tried for the last time or taken out by hand.

use std::fmt::{self, Display, Formatter};

use log::info;
use smtpd_queue::envelope::{Agent, Message};
use smtpd_queue::id::EnvelopeId;

use super::span::Span;
use super::vis::{vis, vis_shown};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Ok,
    /// To be tried again.
    TempFail,
    /// Will not be tried again.
    PermFail,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Ok => "Ok",
            Outcome::TempFail => "TempFail",
            Outcome::PermFail => "PermFail",
        })
    }
}

/// The facts of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a, From, To> {
    /// Number of the delivery session.
    pub session: u64,
    /// The envelope.
    pub envelope: EnvelopeId,
    /// Reverse-path, showing itself as nothing when it is null.
    pub from: From,
    /// Where it is delivered, after aliases.
    pub to: To,
    /// The forward-path as given in RCPT, when it is another.
    pub rcpt: Option<To>,
    /// The user in whose name it is delivered.
    pub user: &'a str,
    /// Since the message was accepted.
    pub delay: Span,
    /// How it ended.
    pub outcome: Outcome,
    /// `Delivered`, or what went wrong.
    pub stat: &'a str,
}

/// Logs an attempt of local delivery.
pub fn mda<From: Display, To: Display>(attempt: &Attempt<'_, From, To>) {
    info!("{}", Line(attempt));
}

/// Logs that an envelope was tried for the last time, as its time to live is over.
pub fn expired(message: &Message, id: EnvelopeId, now: u64) {
    gone(message, id, now, "Expire", "Envelope expired");
}

/// Logs that an envelope was taken out of the queue by hand.
pub fn removed(message: &Message, id: EnvelopeId, now: u64) {
    gone(message, id, now, "Remove", "Removed by administrator");
}

fn gone(message: &Message, id: EnvelopeId, now: u64, what: &str, stat: &str) {
    // Those that were settled before the message was read are not in it.
    let Some(envelope) = message.envelopes.iter().find(|one| one.id == id) else { return };
    let how = match envelope.agent {
        Agent::Mda { .. } => "delivery",
        Agent::Mta => "relay",
    };
    // Upstream prints user and domain around an at sign, also where there are none.
    let null = if message.sender.mailbox().is_none() { "@" } else { "" };
    info!(
        "{how}: {what} for {id}: from=<{}{null}>, to=<{}>, rcpt=<{}>, delay={}, stat={stat}",
        vis_shown(&message.sender),
        vis_shown(&envelope.dest),
        vis_shown(&envelope.rcpt),
        delay(message, now)
    );
}

/// How long ago a message was accepted; both times are microseconds since 1970.
pub fn delay(message: &Message, now: u64) -> Span {
    Span(now.saturating_sub(message.ctime) / 1_000_000)
}

struct Line<'a, From, To>(&'a Attempt<'a, From, To>);

impl<From: Display, To: Display> Display for Line<'_, From, To> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Attempt { session, envelope, from, to, rcpt, user, delay, outcome, stat } = self.0;
        let (from, to) = (vis_shown(from), vis_shown(to));
        write!(f, "{session:016x} mda delivery evpid={envelope} from=<{from}> to=<{to}> ")?;
        if let Some(rcpt) = rcpt {
            write!(f, "rcpt=<{}> ", vis_shown(rcpt))?;
        }
        write!(
            f,
            "user={} delay={} result={outcome} stat={}",
            vis(user.as_bytes()),
            delay,
            vis(stat.as_bytes())
        )
    }
}
