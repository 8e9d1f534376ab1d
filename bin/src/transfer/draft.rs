//! A document as a message of the queue, with the states of its envelopes.
//!
//! An envelope keeps its action if it names one. Else today's rules decide, and one that they take
//! nowhere is held with the reason.

use std::collections::HashSet;
use std::time::SystemTime;

use smtpd_config::{Config, Outside};
use smtpd_queue::backend::Reads;
use smtpd_queue::envelope::{Agent, Due, Envelope, Message, Outcome, Source, State, Verdict};
use smtpd_queue::id::{EnvelopeId, Ids, MessageId};
use smtpd_queue::lease::Epoch;

use super::document::{Document, Part};
use crate::daemon::intake::NO_NAME;
use crate::decide::{Decided, decide};

/// Why there is no id.
pub const NO_SPACE: &str = "the queue's disk has no space";

/// What stands for what a local message does not say.
const LOCAL: &str = "localhost";

/// The id that a message gets: its own, unless another has it; `None` when the message itself is
/// in the queue.
///
/// # Errors
/// In words for an administrator.
pub fn id(document: &Document, reader: &dyn Reads, ids: &Ids) -> Result<Option<MessageId>, String> {
    if let Some(own) = document.message {
        let found = reader.message(own).map_err(|error| format!("{own}: {error}"))?;
        let Some(found) = found else { return Ok(Some(own)) };
        let there = &found.message;
        if Some(there.ctime) == document.created && there.sender == document.sender {
            return Ok(None);
        }
    }
    ids.take().map(Some).ok_or_else(|| NO_SPACE.to_owned())
}

/// Makes messages under a configuration.
pub struct Drafter<'a> {
    /// Whose rules decide.
    pub config: &'a Config,
    /// May be waited for.
    pub outside: &'a dyn Outside,
    /// That of the opening whose commit side takes the messages.
    pub lease: Epoch,
}

impl Drafter<'_> {
    /// The message, and the states of its envelopes as outcomes for the same record.
    ///
    /// # Errors
    /// When it has more envelopes than a message can have.
    pub fn draft(
        &self,
        id: MessageId,
        document: &Document,
    ) -> Result<(Message, Vec<Outcome>), String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        let mut message = self.without_envelopes(id, document, document.created.unwrap_or(now));
        let (mut envelopes, mut causes) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for part in &document.envelopes {
            for (envelope, state) in self.envelopes(&message, part, &mut known) {
                let nth = u32::try_from(envelopes.len()).map_err(|error| error.to_string())?;
                let envelope = Envelope { id: EnvelopeId::new(id, nth), ..envelope };
                if state != State::new(message.ctime) {
                    let verdict = Verdict::Changed(state);
                    let lease = self.lease;
                    causes.push(Outcome { envelope: envelope.id, lease, at: now, verdict });
                }
                envelopes.push(envelope);
            }
        }
        message.envelopes = envelopes;
        Ok((message, causes))
    }

    fn without_envelopes(&self, id: MessageId, document: &Document, ctime: u64) -> Message {
        let text = |text: &Option<String>, default: &str| {
            text.clone().unwrap_or_else(|| default.to_owned())
        };
        let nameless = match document.source {
            Source::Local => LOCAL,
            Source::Ip(_) => NO_NAME,
        };
        Message {
            id,
            ctime,
            sender: document.sender.clone(),
            source: document.source,
            helo: text(&document.helo, LOCAL),
            hostname: text(&document.hostname, nameless),
            smtpname: text(&document.smtpname, &self.config.host.name),
            tag: document.tag.clone(),
            username: document.username.clone(),
            tls: document.tls,
            smtputf8: document.smtputf8,
            ret: document.ret,
            envid: document.envid.clone(),
            envelopes: Vec::new(),
        }
    }

    /// What comes of one envelope: itself, or as many as today's rules make of it, or itself on
    /// hold when they take it nowhere. Another server may have kept one envelope for each of those
    /// that an alias stands for; what is in `known` has come of an earlier one already.
    fn envelopes(
        &self,
        message: &Message,
        part: &Part,
        known: &mut HashSet<Decided>,
    ) -> Vec<(Envelope, State)> {
        let queue_ttl = u32::try_from(self.config.queue.ttl.as_secs()).unwrap_or(u32::MAX);
        let envelope = |dest, action, agent, ttl| Envelope {
            // Its place is given by whoever counts.
            id: EnvelopeId::new(message.id, 0),
            rcpt: part.rcpt.clone(),
            dest,
            internal: part.internal,
            action,
            agent,
            ttl: part.ttl.unwrap_or(ttl),
            notify: part.notify,
            orcpt: part.orcpt.clone(),
        };
        let state = State {
            tries: part.tries,
            last_try: part.last_try,
            due: part.due.unwrap_or(Due::At(message.ctime)),
            error: part.error.clone(),
            suspended: part.suspended,
            told: part.told,
        };
        if let Some((action, agent)) = part.action.clone() {
            let ttl = self.config.action(&action).map_or(queue_ttl, |action| {
                u32::try_from(self.config.ttl(action).as_secs()).unwrap_or(u32::MAX)
            });
            return vec![(envelope(part.dest.clone(), action, agent, ttl), state)];
        }
        match decide(self.config, self.outside, message, (&part.dest, None)) {
            Ok(all) => all
                .into_iter()
                .filter(|one| known.insert(one.clone()))
                .map(|one| {
                    (
                        envelope(one.dest.clone(), one.action.clone(), one.agent(), one.ttl),
                        state.clone(),
                    )
                })
                .collect(),
            Err(undecided) => {
                let one = envelope(part.dest.clone(), String::new(), Agent::Mta, queue_ttl);
                vec![(one, State { due: Due::Held, error: undecided.why, ..state })]
            }
        }
    }
}
