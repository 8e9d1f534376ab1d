//! The log lines of attempts, in the form that log readers know.

use std::fmt::{self, Write};

use crate::delivery::{Attempt, envelope};
use crate::envelope::{Agent, Message};
use crate::id::EnvelopeId;
use crate::lanes::BatchId;
use crate::text::{Address, Visible};

/// The line of one attempt that ended at `now`.
pub(super) fn attempt(
    batch: BatchId,
    message: &Message,
    id: EnvelopeId,
    attempt: &Attempt,
    now: u64,
) -> String {
    let envelope = envelope(message, id);
    let (result, stat) = match attempt {
        Attempt::Delivered => ("Ok", "Delivered".to_owned()),
        Attempt::Later(error) => ("TempFail", format!("Error ({})", Visible(error))),
        Attempt::Failed(error) => ("PermFail", Visible(error).to_string()),
    };
    let delay = delay(message, now);
    let (from, to, rcpt) = (&message.sender, &envelope.dest, &envelope.rcpt);
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = match &envelope.agent {
        Agent::Mda { user } => {
            let rcpt = if rcpt == to { String::new() } else { format!("rcpt=<{rcpt}> ") };
            write!(
                line,
                "{batch:016x} mda delivery evpid={id} from=<{from}> to=<{to}> {rcpt}\
                 user={} delay={delay} result={result} stat={stat}",
                Visible(user)
            )
        }
        // No session: nothing was ever connected for it.
        Agent::Mta => write!(
            line,
            "0000000000000000 mta delivery evpid={id} from=<{from}> to=<{to}> rcpt=<{rcpt}> \
             source=\"-\" relay=\"{}\" delay={delay} result=\"{result}\" stat=\"{stat}\"",
            to.domain()
        ),
    };
    line
}

/// The line of an envelope that was tried for the last time.
pub(super) fn expired(message: &Message, id: EnvelopeId, now: u64) -> String {
    let envelope = envelope(message, id);
    let how = match envelope.agent {
        Agent::Mda { .. } => "delivery",
        Agent::Mta => "relay",
    };
    format!(
        "{how}: Expire for {id}: from=<{}>, to=<{}>, rcpt=<{}>, delay={}, stat=Envelope expired",
        Address(message.sender.mailbox()),
        envelope.dest,
        envelope.rcpt,
        delay(message, now)
    )
}

fn delay(message: &Message, now: u64) -> Delay {
    Delay(now.saturating_sub(message.ctime) / 1_000_000)
}

/// Seconds as `1d2h3m4s`, units that are zero left out.
struct Delay(u64);

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        if seconds == 0 {
            return f.write_str("0s");
        }
        let units = [
            (seconds / 86_400, 'd'),
            (seconds / 3600 % 24, 'h'),
            (seconds / 60 % 60, 'm'),
            (seconds % 60, 's'),
        ];
        let mut units = units.into_iter().filter(|(number, _)| *number != 0);
        units.try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::message;

    const LATER: u64 = (26 * 3600 + 5) * 1_000_000;

    #[test]
    fn attempts_are_told_as_log_readers_know_them() {
        let message = message(0x5f3a_9c01, &["bob"]);
        let id = message.envelopes[0].id;
        let line = |attempt_| attempt(7, &message, id, &attempt_, message.ctime + LATER);
        assert_eq!(
            line(Attempt::Delivered),
            format!(
                "0000000000000007 mda delivery evpid={id} from=<alice@example.net> \
                 to=<bob@example.org> rcpt=<any@example.org> user=bob delay=1d2h5s result=Ok \
                 stat=Delivered"
            )
        );
        let error = "/mail/bob: No space left\non device".to_owned();
        let end = r"result=TempFail stat=Error (/mail/bob: No space left\non device)";
        assert!(line(Attempt::Later(error)).ends_with(end));
        assert_eq!(
            expired(&message, id, message.ctime),
            format!(
                "delivery: Expire for {id}: from=<alice@example.net>, to=<bob@example.org>, \
                 rcpt=<any@example.org>, delay=0s, stat=Envelope expired"
            )
        );
    }
}
