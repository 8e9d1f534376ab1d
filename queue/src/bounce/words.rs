//! What a sender is told of a failure that no other server has put into words.
//!
//! The machine's own words, with its paths and the names of its users, are for the log; what
//! other people hear is what the status means.

use std::fmt;
use std::time::Duration;

use smtpd_engine::reply::Enhanced;

/// What a status that this server has given means (RFC 3463), for people.
pub(super) fn words(status: Enhanced) -> &'static str {
    match (status.subject, status.detail) {
        (1, 1) => "There is no such user here",
        (1, 2) => "The domain of the address cannot be one that gets mail",
        (1, 10) => "The domain of the address does not accept mail",
        (2, 1) => "The mailbox cannot be written at the moment",
        (2, 2) => "The mailbox is full",
        (3, 0) if status.class == 5 => "This system has lost a part of the message",
        (3, 1) => "There is no space left for mail",
        (3, 4) => "The message is too big for the server of the domain",
        (4, 1) => "The server of the domain does not answer",
        (4, 2) => "The connection to the server of the domain broke",
        (4, 3) => "The server of the domain cannot be found at the moment",
        (4, 4) => "There is no server for the domain of the address",
        (4, 6) => "Loop detected: the message has been here before, or would come back",
        (4, 7) => "Envelope expired: the message could not be delivered in time",
        (5, 0) => "The server of the domain does not speak as a mail server does",
        (5, 3) => "The server of the domain has refused too many recipients",
        (6, 7) => "The server of the domain does not take international addresses or headers",
        (7, 4 | 5) => "The server of the domain offers no connection that is safe enough",
        _ => "This system cannot deliver at the moment",
    }
}

/// A duration in its greatest whole unit: `1 hour`, `4 days`.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
        // The greatest that loses nothing, as people write it in the configuration.
        let fits =
            |(length, _): &(u64, &str)| seconds >= *length && seconds.is_multiple_of(*length);
        let (length, unit) = units.into_iter().find(fits).unwrap_or((1, "second"));
        let count = seconds / length;
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_lose_nothing() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (120, "2 minutes"),
            (3600, "1 hour"),
            (36 * 3600, "36 hours"),
            (4 * 86_400, "4 days"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
