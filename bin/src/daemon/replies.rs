//! What a peer is told at the end of its mail data (RFC 5321 section 4.2.5): the server has taken
//! responsibility for the message, or it has not.

use smtpd_engine::reply::{self, Reply};
use smtpd_queue::id::MessageId;
use smtpd_queue::request::Refusal;

/// The message is ours.
#[must_use]
pub fn accepted(message: MessageId) -> Reply<'static> {
    Reply::new(250, Some((0, 0)), format!("{message} Message accepted for delivery"))
}

/// The message is not ours.
#[must_use]
pub fn refused(why: Refusal) -> Reply<'static> {
    match why {
        Refusal::NoSpace => reply::NO_SPACE,
        Refusal::Failed => reply::NOT_QUEUED,
        Refusal::Fatal => reply::NOT_AVAILABLE,
    }
}
