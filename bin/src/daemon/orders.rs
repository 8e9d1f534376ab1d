//! Orders about envelopes: walks through the queue and hands the scheduler one portion after the
//! other, waiting for each, so that an order about a million envelopes takes neither memory nor
//! anybody's time but that of the control socket's users.

use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use smtpd_queue::backend::Reads;
use smtpd_queue::id::EnvelopeId;

use super::messages::Message;
use crate::control::order::{Action, Selection, Step};

/// Envelopes handed over at once: enough to share the journal's sync, and few beside those that
/// the scheduler has anyway.
const PORTION: usize = 512;

/// Messages read at once.
const TOGETHER: usize = 128;

/// How long one step goes on before smtpctl is told how far it has come.
const STEP: Duration = Duration::from_secs(1);

/// How long one portion is waited for: a read from the index and a write to the journal.
const ANSWER: Duration = Duration::from_secs(5);

/// What a walk has found.
struct Portion {
    envelopes: Vec<EnvelopeId>,
    /// Where the walk goes on; `None` at its end.
    next: Option<EnvelopeId>,
}

/// Carries out a step of an order, from behind `after`.
///
/// # Errors
/// In words for an administrator. What was handed over before may be done.
pub fn step(
    reader: &dyn Reads,
    scheduler: &Sender<Message>,
    (action, selection): (Action, &Selection),
    after: Option<EnvelopeId>,
) -> Result<Step, String> {
    let end = Instant::now() + STEP;
    let mut step = Step { changed: 0, next: after };
    loop {
        let Portion { envelopes, next } = look(reader, selection, step.next)?;
        if !envelopes.is_empty() {
            step.changed += hand_over(scheduler, envelopes, action)?;
        }
        step.next = next;
        if next.is_none() || Instant::now() >= end {
            return Ok(step);
        }
    }
}

fn hand_over(
    scheduler: &Sender<Message>,
    envelopes: Vec<EnvelopeId>,
    action: Action,
) -> Result<u32, String> {
    let (sender, answer) = mpsc::channel();
    let sent = scheduler.send(Message::Administer(envelopes, action, sender));
    sent.map_err(|_| "the daemon is ending".to_owned())?;
    // The queue may still be read after a start.
    let late = |_| "the queue does not answer: what was begun will be carried out".to_owned();
    Ok(answer.recv_timeout(ANSWER).map_err(late)? as u32)
}

/// Looks through the queue from behind `after` until there is a portion, or for a while.
fn look(
    reader: &dyn Reads,
    selection: &Selection,
    after: Option<EnvelopeId>,
) -> Result<Portion, String> {
    let behind = || {
        let before = after.map(EnvelopeId::message);
        let behind = reader.behind(before, TOGETHER);
        let is_last = behind.len() < TOGETHER;
        (before.into_iter().chain(behind).collect(), is_last)
    };
    let (messages, is_last): (Vec<_>, _) = match selection {
        Selection::Envelope(id) => return Ok(Portion { envelopes: vec![*id], next: None }),
        Selection::Message(id) => (vec![*id], true),
        Selection::Domain(_) | Selection::All => behind(),
    };
    let mut envelopes = Vec::new();
    let mut last = after;
    for (message, found) in reader.all(&messages) {
        let found = match found {
            Ok(found) => found,
            Err(error) if matches!(selection, Selection::Message(_)) => {
                return Err(format!("message {message}: {error}"));
            }
            Err(error) => {
                // The others are not to suffer for it.
                log::warn!("warn: queue: message {message} cannot be read: {error}");
                None
            }
        };
        let Some(found) = found else {
            last = last.max(Some(EnvelopeId::new(message, 0)));
            continue;
        };
        let mut there: Vec<_> = found.message.envelopes.iter().collect();
        there.retain(|envelope| Some(envelope.id) > after);
        there.sort_by_key(|envelope| envelope.id);
        for envelope in there {
            if envelopes.len() == PORTION {
                return Ok(Portion { envelopes, next: last });
            }
            let is_meant = match selection {
                Selection::Domain(domain) => envelope.dest.domain().eq_ignore_ascii_case(domain),
                _ => true,
            };
            if is_meant {
                envelopes.push(envelope.id);
            }
            last = Some(envelope.id);
        }
    }
    Ok(Portion { envelopes, next: last.filter(|_| !is_last) })
}
