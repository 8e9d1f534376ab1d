//! The messages: those that a daemon with the benchmark's configuration would have accepted.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_queue::envelope::{Agent, Envelope, Message, Outcome, Source, Verdict};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::lease::Epoch;
use smtpd_tests::rng::Rng;

use crate::options::{Options, When};

/// Octets of a line of the text with its CR LF.
const LINE: usize = 78;
/// Microseconds.
const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;
/// What the text is made of.
const WORDS: [&str; 16] = [
    "the",
    "message",
    "of",
    "yesterday",
    "and",
    "our",
    "letter",
    "to",
    "you",
    "about",
    "next",
    "week",
    "will",
    "be",
    "sent",
    "again",
];

/// Makes messages, each with other recipients and another text.
pub struct Mail<'a> {
    options: &'a Options,
    rng: Rng,
    now: u64,
    /// Envelopes so far.
    made: u64,
}

impl<'a> Mail<'a> {
    pub fn new(options: &'a Options) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { options, rng: Rng::new(1), now: since.as_micros() as u64, made: 0 }
    }

    pub fn message(&mut self, id: MessageId) -> Arc<Message> {
        let envelopes = (0..self.options.envelopes).map(|nth| self.envelope(id, nth)).collect();
        Arc::new(Message {
            id,
            ctime: self.now,
            sender: ReversePath::Mailbox(mailbox("bench@client.test")),
            source: Source::Ip([127, 0, 0, 1].into()),
            helo: "client.test".into(),
            hostname: "localhost".into(),
            smtpname: "mx.bench.test".into(),
            tag: String::new(),
            username: None,
            tls: false,
            smtputf8: false,
            ret: None,
            envid: None,
            envelopes,
        })
    }

    /// The benchmark's actions relay for any domain below relay.test, and deliver to any user.
    fn envelope(&mut self, id: MessageId, nth: u32) -> Envelope {
        let destination = self.made % self.options.destinations;
        self.made += 1;
        let (action, agent, text) = match self.options.local {
            true => {
                let user = format!("u{destination}");
                let text = format!("{user}@bench.test");
                ("local", Agent::Mda { user }, text)
            }
            false => ("relay", Agent::Mta, format!("u@d{destination}.relay.test")),
        };
        let rcpt = mailbox(&text);
        Envelope {
            id: EnvelopeId::new(id, nth),
            dest: rcpt.clone(),
            rcpt,
            internal: false,
            action: action.into(),
            agent,
            ttl: 10 * 86_400,
            notify: None,
            orcpt: None,
        }
    }

    /// What the first attempt left of each envelope; nothing when there was none.
    pub fn attempts(&mut self, message: &Message, lease: Epoch) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for envelope in &message.envelopes {
            let within = |rng: &mut Rng, time: u64| rng.next_u64() % time;
            let error = "421 4.3.2 try again later".to_owned();
            let due = match self.options.due {
                When::Now => continue,
                When::Held => {
                    let verdict = Verdict::Held { tries: 1, error };
                    outcomes.push(Outcome { envelope: envelope.id, lease, at: self.now, verdict });
                    continue;
                }
                When::Near => within(&mut self.rng, 10 * MINUTE),
                // Later than a day ahead would be taken for the work of a clock that was wrong, and
                // be tried at once.
                When::Far => 6 * HOUR + within(&mut self.rng, 17 * HOUR),
            };
            let verdict = Verdict::Later { tries: 1, due: self.now + due, error };
            outcomes.push(Outcome { envelope: envelope.id, lease, at: self.now, verdict });
        }
        outcomes
    }

    /// Content of exactly the size asked for, unless the header alone is longer.
    pub fn content(&mut self, id: MessageId, into: &mut Vec<u8>) {
        into.clear();
        let head = format!(
            "From: <bench@client.test>\r\nSubject: fill\r\nMessage-ID: <{id}@client.test>\r\n\r\n"
        );
        into.extend_from_slice(head.as_bytes());
        while into.len() < self.options.size {
            // The last line takes what is left, and never leaves less than a CR LF behind it.
            let left = self.options.size - into.len();
            let line = if left < LINE + 3 { left } else { LINE };
            let end = into.len() + line.saturating_sub(2);
            while into.len() < end {
                self.word(into);
            }
            into.truncate(end);
            into.extend_from_slice(b"\r\n");
        }
    }

    fn word(&mut self, into: &mut Vec<u8>) {
        let number = self.rng.next_u64();
        if self.options.random {
            return into.extend_from_slice(format!("{number:016x}").as_bytes());
        }
        into.extend_from_slice(WORDS[(number % 16) as usize].as_bytes());
        into.push(b' ');
    }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).expect("an address")
}

#[cfg(test)]
mod tests {
    use smtpd_queue::schedule::from_another_clock;

    use super::*;

    #[test]
    fn no_due_time_is_taken_for_that_of_another_clock() {
        for due in ["near", "far"] {
            let line = format!("spool 1 --due {due}");
            let options = Options::parse(line.split(' ').map(str::to_owned)).unwrap().unwrap();
            let mut mail = Mail::new(&options);
            for number in 1..1000 {
                let message = mail.message(MessageId::from_u32(number).unwrap());
                for outcome in mail.attempts(&message, Epoch::default()) {
                    let Verdict::Later { due, .. } = outcome.verdict else { panic!("{outcome:?}") };
                    assert!(due >= mail.now && !from_another_clock(due, mail.now));
                }
            }
        }
    }

    #[test]
    fn content_has_the_size_asked_for() {
        for size in [90, 177, 178, 179, 1024, 10_240] {
            let line = format!("spool 1 --size {size}");
            let options = Options::parse(line.split(' ').map(str::to_owned)).unwrap().unwrap();
            let mut octets = Vec::new();
            Mail::new(&options).content(MessageId::from_u32(7).unwrap(), &mut octets);
            assert_eq!(octets.len(), size);
            assert!(octets.ends_with(b"\r\n"));
        }
    }
}
