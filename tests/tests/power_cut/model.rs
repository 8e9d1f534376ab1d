//! What peers and the delivery side were told, and what must therefore be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use smtpd_queue::envelope::{Message, Outcome, State};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::Found;

/// What was asked of the queue and what it answered.
#[derive(Clone, Default)]
pub struct Model {
    sent: BTreeMap<MessageId, Sent>,
}

#[derive(Clone)]
struct Sent {
    message: Arc<Message>,
    content: Arc<[u8]>,
    answer: Answer,
    envelopes: BTreeMap<EnvelopeId, Told>,
    /// The disk has gone bad where it stood, or where something about it stood.
    damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody was told anything, or 421.
    None,
    /// 250.
    Acknowledged,
    /// 4yz.
    Refused,
}

/// What is known of an envelope.
#[derive(Clone, Default)]
struct Told {
    /// Outcomes in the order in which they were handed over, and whether they were answered.
    outcomes: Vec<(Outcome, bool)>,
    /// Its Maildir has it.
    delivered: bool,
}

impl Model {
    pub fn sends(&mut self, message: &Arc<Message>, content: &[u8]) {
        let envelopes = message.envelopes.iter().map(|one| (one.id, Told::default())).collect();
        let (message, content) = (message.clone(), content.into());
        let sent = Sent { message, content, answer: Answer::None, envelopes, damaged: false };
        let before = self.sent.insert(sent.message.id, sent);
        assert!(before.is_none(), "an id was given twice");
    }

    pub fn answered(&mut self, id: MessageId, answer: Answer) {
        let sent = self.sent.get_mut(&id).expect("answers follow requests");
        assert_eq!(sent.answer, Answer::None, "{id} is answered twice");
        sent.answer = answer;
    }

    pub fn hands_over(&mut self, outcome: &Outcome) {
        self.told(outcome.envelope).outcomes.push((outcome.clone(), false));
    }

    pub fn recorded(&mut self, outcome: &Outcome) {
        let told = self.told(outcome.envelope);
        let mut open = told.outcomes.iter_mut().filter(|(one, _)| one == outcome);
        open.next().expect("handed over before").1 = true;
    }

    /// Forgets the outcomes that a power cut has taken, as the envelopes found in the queue
    /// show: they are no excuse for what happens later.
    pub fn resume(&mut self, found: &Found) {
        for (envelope, state) in found.message.envelopes.iter().zip(&found.states) {
            let told = self.told(envelope.id);
            for (outcome, recorded) in &mut told.outcomes {
                *recorded |= State::after(outcome).as_ref() == Some(state);
            }
            told.outcomes.retain(|(_, recorded)| *recorded);
        }
    }

    pub fn delivered(&mut self, envelope: EnvelopeId) {
        self.told(envelope).delivered = true;
    }

    /// Octets of this message, or of a record about it, have changed on the disk: it may be
    /// missing, its content unreadable, its state an older one.
    pub fn damage(&mut self, id: MessageId) {
        self.sent.get_mut(&id).expect("known").damaged = true;
    }

    fn told(&mut self, envelope: EnvelopeId) -> &mut Told {
        let sent = self.sent.get_mut(&envelope.message()).expect("known");
        sent.envelopes.get_mut(&envelope).expect("known")
    }

    /// All that was sent.
    pub fn ids(&self) -> Vec<MessageId> {
        self.sent.keys().copied().collect()
    }

    /// How many envelopes a message had.
    pub fn recipients(&self, id: MessageId) -> usize {
        self.sent.get(&id).map_or(0, |sent| sent.envelopes.len())
    }

    /// The content of a message.
    pub fn content(&self, id: MessageId) -> Option<&[u8]> {
        self.sent.get(&id).map(|sent| &*sent.content)
    }

    /// What is wrong with a message and its content that were found in the queue. Content that
    /// cannot be read is no content.
    pub fn judge(&self, found: &Found, content: Option<&[u8]>) -> Result<(), String> {
        let id = found.message.id;
        let sent = self.sent.get(&id).ok_or_else(|| format!("{id} was never sent"))?;
        if sent.answer == Answer::Refused {
            return Err(format!("{id} was refused and is in the queue"));
        }
        let whole = &*sent.message;
        let mut there = Message::clone(&found.message);
        there.envelopes.clone_from(&whole.envelopes);
        let right = content.map_or(sent.damaged, |content| content == &*sent.content);
        if there != *whole || !right {
            return Err(format!("{id} is not what was sent"));
        }
        for (envelope, state) in found.message.envelopes.iter().zip(&found.states) {
            if !whole.envelopes.contains(envelope) {
                return Err(format!("{} is not what was sent", envelope.id));
            }
            if !sent.damaged {
                sent.envelopes[&envelope.id].judge(envelope.id, state, whole.ctime)?;
            }
        }
        Ok(())
    }

    /// What is wrong with what is not in the queue. `there` says whether an envelope is, and
    /// `mailbox` whether its Maildir has the message.
    pub fn miss(
        &self,
        there: impl Fn(EnvelopeId) -> bool,
        mailbox: impl Fn(&Message, EnvelopeId) -> bool,
    ) -> Result<(), String> {
        for (id, sent) in &self.sent {
            for (envelope, told) in &sent.envelopes {
                let settled = told.outcomes.iter().any(|(outcome, _)| outcome.verdict.settles());
                let lost = !there(*envelope) && !settled;
                if lost && sent.answer == Answer::Acknowledged && !sent.damaged {
                    return Err(format!("{envelope} was acknowledged and is lost"));
                }
                if told.delivered && !mailbox(&sent.message, *envelope) {
                    return Err(format!("{envelope} was delivered and is not in its Maildir"));
                }
                if sent.answer == Answer::Refused && mailbox(&sent.message, *envelope) {
                    return Err(format!("{id} was refused and is in a Maildir"));
                }
            }
        }
        Ok(())
    }
}

impl Told {
    /// An envelope in the queue has the last recorded state, or one that was handed over after
    /// that.
    fn judge(&self, id: EnvelopeId, state: &State, ctime: u64) -> Result<(), String> {
        if self.outcomes.iter().any(|(outcome, recorded)| *recorded && outcome.verdict.settles()) {
            return Err(format!("{id} was settled and is in the queue"));
        }
        let last = self.outcomes.iter().rposition(|(_, recorded)| *recorded);
        let since = &self.outcomes[last.unwrap_or_default()..];
        let first = last.is_none().then(|| State::new(ctime));
        let possible = since.iter().filter_map(|(outcome, _)| State::after(outcome)).chain(first);
        if possible.into_iter().all(|possible| possible != *state) {
            return Err(format!("{id} has a state it never had: {state:?}"));
        }
        Ok(())
    }
}
