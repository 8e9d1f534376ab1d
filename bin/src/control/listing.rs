//! A page of `show queue`, read from a queue: by the daemon for the control socket, and by smtpctl
//! itself when the daemon is down.

use std::net::IpAddr;

use smtpd_queue::backend::Reads;
use smtpd_queue::envelope::{self, Due, Envelope, Message, Source, State};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::Found;
use smtpd_queue::schedule;
use smtpd_queue::scheduler::InFlight;

use super::entry::{Agent, Origin, QueueEntry, Situation};

/// At most `limit` envelopes in the order of their ids, beginning behind `after`, and only those of
/// one message if one is named. An empty page is the end.
///
/// # Errors
/// Those of the disk, with the message that could not be read.
pub fn page(
    reader: &dyn Reads,
    in_flight: &InFlight,
    after: Option<EnvelopeId>,
    message: Option<MessageId>,
    limit: usize,
) -> Result<Vec<QueueEntry>, String> {
    let messages = match (message, after) {
        (Some(message), _) => vec![message],
        (None, None) => reader.behind(None, limit),
        (None, Some(after)) => {
            let mut messages = vec![after.message()];
            messages.extend(reader.behind(Some(after.message()), limit));
            messages
        }
    };
    let mut page = Vec::new();
    for (message, found) in reader.all(&messages) {
        match found {
            Ok(Some(found)) => {
                let mut envelopes = entries(&found, in_flight);
                envelopes.retain(|entry| after.is_none_or(|after| entry.id > after));
                envelopes.sort_by_key(|entry| entry.id);
                page.append(&mut envelopes);
            }
            Ok(None) => {}
            Err(error) => return Err(format!("message {message}: {error}")),
        }
        if page.len() >= limit {
            break;
        }
    }
    page.truncate(limit);
    Ok(page)
}

/// The envelopes of a message as they are shown; times of the queue are microseconds.
fn entries(found: &Found, in_flight: &InFlight) -> Vec<QueueEntry> {
    let envelopes = found.message.envelopes.iter().zip(&found.states);
    envelopes.map(|(envelope, state)| entry(&found.message, envelope, state, in_flight)).collect()
}

fn entry(
    message: &Message,
    envelope: &Envelope,
    state: &State,
    in_flight: &InFlight,
) -> QueueEntry {
    let seconds = |micros: u64| micros / 1_000_000;
    let situation = match (in_flight.get(&envelope.id), state.due) {
        (Some(since), _) => Situation::Inflight(seconds(*since)),
        (None, Due::At(due)) => Situation::Pending(seconds(due)),
        (None, Due::Held) => Situation::Held(seconds(state.last_try)),
    };
    QueueEntry {
        id: envelope.id,
        origin: match message.source {
            Source::Local => Origin::Local,
            Source::Ip(IpAddr::V4(_)) => Origin::Inet4,
            Source::Ip(IpAddr::V6(_)) => Origin::Inet6,
        },
        agent: match envelope.agent {
            envelope::Agent::Mda { .. } => Agent::Mda,
            envelope::Agent::Mta => Agent::Mta,
        },
        authenticated: message.username.is_some(),
        sender: message.sender.to_string(),
        rcpt: envelope.rcpt.to_string(),
        dest: envelope.dest.to_string(),
        created: seconds(message.ctime),
        expires: seconds(schedule::expiry(message.ctime, envelope.ttl)),
        last_try: seconds(state.last_try),
        retries: state.tries,
        situation,
        suspended: state.suspended,
        error: state.error.clone(),
    }
}
