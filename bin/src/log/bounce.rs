//! The lines of reports to senders: those that are not made, and why.

use std::fmt::Display;

use log::{info, warn};
use smtpd_engine::address::Mailbox;
use smtpd_queue::bounce::{Kind, Nobody};
use smtpd_queue::envelope::{Envelope, Message};
use smtpd_queue::id::EnvelopeId;

use super::vis::vis_shown;

/// Nobody can be told of this envelope, which leaves the queue.
pub fn nobody(why: Nobody, envelope: &Envelope) {
    let why = match why {
        Nobody::DoubleBounce => "double bounce!",
        Nobody::NoReturnPath => "no return path!",
    };
    let Envelope { id, dest, .. } = envelope;
    warn!("warn: queue: {why} evpid={id} to=<{}>", vis_shown(dest));
}

/// The sender does not want to be told of this envelope (RFC 3461 section 4.1).
pub fn unwanted(kind: Kind, envelope: &Envelope) {
    let (id, kind) = (envelope.id, kind.action());
    info!("info: queue: no report for {id}: {kind}, and its sender does not want to know");
}

/// A report finds no way: for now (`again`), and its envelopes stay in the queue; or for good, and
/// they leave it.
pub fn no_way(again: bool, message: &Message, to: &Mailbox, many: usize, why: impl Display) {
    let result = if again { "TempFail" } else { "PermFail" };
    warn!(
        "warn: {result} injecting failure report on message {} to <{}> for {many} envelope(s): {}",
        message.id,
        vis_shown(to),
        vis_shown(why)
    );
}

/// A report did not get into the queue; its envelopes, of one message, stay there.
pub fn not_sent(about: &[EnvelopeId], why: impl Display) {
    let Some(first) = about.first() else { return };
    let (message, many) = (first.message(), about.len());
    warn!(
        "warn: TempFail injecting failure report on message {message} for {many} envelope(s): {}",
        vis_shown(why)
    );
}
