//! What a sender is told of a failure of this machine.
//!
//! The machine's own words, with its paths and the names of its users, are for the log; what
//! other people hear is what its status means.

use std::fmt;
use std::time::Duration;

use smtpd_engine::reply::Enhanced;

/// What the status of a failure of this machine means (RFC 3463), for people.
#[must_use]
pub fn words(status: Enhanced) -> &'static str {
    match (status.subject, status.detail) {
        (1, 1) => "There is no such user here",
        (2, 1) => "The mailbox cannot be written at the moment",
        (2, 2) => "The mailbox is full",
        (3, 0) if status.class == 5 => "This system has lost a part of the message",
        (3, 1) => "There is no space left for mail",
        (4, 6) => "Loop detected: the message has been delivered to this address before",
        (4, 7) => "Envelope expired: the message could not be delivered in time",
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
