//! From what the engine's sending side tells to what the relay decides by.

use smtpd_engine::client::{Event, Failure, Phase, Whom as Of};
use smtpd_queue::delivery;

use super::{Again, Told, Trouble, Whom};

/// What an event means; nothing when it is no outcome. `is_kept` says that the connection has
/// carried a message before.
#[must_use]
pub fn told(event: &Event<'_>, is_kept: bool) -> Option<(Whom, Told)> {
    Some(match event {
        Event::StartTls => return None,
        Event::Delivered { whom, reply } => (of(*whom), Told::Delivered(reply.to_string())),
        Event::Failed { whom, failure } => (of(*whom), Told::Failed(trouble(failure, is_kept))),
    })
}

fn of(whom: Of) -> Whom {
    match whom {
        Of::One(nth) => Whom::One(nth),
        Of::Rest => Whom::Rest,
    }
}

fn trouble(failure: &Failure<'_>, is_kept: bool) -> Trouble {
    let permanent = failure.is_permanent();
    let status = failure.status();
    let is_421 = matches!(failure, Failure::Refused { reply, .. } if reply.code() == 421);
    let by_policy = (status.class, status.subject) == (4, 7);
    let is_lost = match failure {
        Failure::Garbled { .. } | Failure::TimedOut(_) | Failure::HungUp(_) => true,
        Failure::Refused { .. } => is_421,
        Failure::Lacks(_) | Failure::TooManyRefusals => false,
    };
    // What has taken messages and wants no more says so to MAIL, this server by its `max-mails`.
    let is_full = matches!(failure, Failure::Refused { phase: Phase::Mail, .. })
        && (status.class, status.subject, status.detail) == (4, 5, 3);
    let again = match failure.phase() {
        // It may have been taken.
        Some(Phase::EndOfData) => Again::No,
        // A server may end a connection that is not used whenever it likes.
        Some(Phase::Idle) if matches!(failure, Failure::HungUp(_)) => Again::Stale,
        Some(Phase::Idle | Phase::Reset | Phase::Mail) if (is_lost || is_full) && is_kept => {
            Again::Stale
        }
        _ if is_lost => Again::Elsewhere,
        _ => Again::No,
    };
    let reply = match failure {
        Failure::Refused { reply, .. } => Some(reply.to_string()),
        _ => None,
    };
    let failure =
        delivery::Failure { status, text: failure.to_string(), remote: None, not_before: None };
    Trouble { failure, reply, permanent, pressed: is_421 || by_policy, again }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(failure: Failure<'_>, is_kept: bool) -> Again {
        trouble(&failure, is_kept).again
    }

    #[test]
    fn what_may_have_been_taken_is_not_sent_again_at_once() {
        for is_kept in [false, true] {
            assert_eq!(again(Failure::HungUp(Phase::EndOfData), is_kept), Again::No);
            assert_eq!(again(Failure::TimedOut(Phase::EndOfData), is_kept), Again::No);
            assert_eq!(again(Failure::HungUp(Phase::Body), is_kept), Again::Elsewhere);
            assert_eq!(again(Failure::TooManyRefusals, is_kept), Again::No);
        }
        assert_eq!(again(Failure::HungUp(Phase::Mail), false), Again::Elsewhere);
        assert_eq!(again(Failure::HungUp(Phase::Mail), true), Again::Stale);
    }

    #[test]
    fn an_idle_connection_may_be_ended_after_its_first_message() {
        assert_eq!(again(Failure::HungUp(Phase::Idle), false), Again::Stale);
        assert_eq!(again(Failure::HungUp(Phase::Idle), true), Again::Stale);
        assert_eq!(again(Failure::TimedOut(Phase::Idle), false), Again::Elsewhere);
    }
}
