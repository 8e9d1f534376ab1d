//! How messages, envelopes, states and outcomes are written in the journal.
//!
//! Fields stand in the order of their types in `envelope.rs`, texts behind their length;
//! the record's header names the format version. An addition to the format is a new version,
//! and a reader knows all versions there ever were.

use std::net::IpAddr;

use smtpd_engine::address::{Mailbox, ReversePath};

use crate::delivery::beginning;
use crate::envelope::{
    Agent, Due, Envelope, Message, Notify, Outcome, Ret, Source, State, Verdict,
};
use crate::id::{EnvelopeId, MessageId};
use crate::lease::Epoch;
use crate::wire::{Malformed, Take, put_number, put_optional, put_text};

/// Octets kept of the words of a failure. A peer chooses them; a reply of several lines at
/// their longest would otherwise be written at every attempt.
const ERROR: usize = 2000;

/// Writes a message and its envelopes, but not its id.
pub(crate) fn put_message(into: &mut Vec<u8>, message: &Message) {
    put_number(into, message.ctime);
    match &message.sender {
        ReversePath::Null => put_optional(into, None),
        ReversePath::Mailbox(mailbox) => put_optional(into, Some(mailbox.as_str())),
    }
    match message.source {
        Source::Local => into.push(0),
        Source::Ip(IpAddr::V4(ip)) => {
            into.push(4);
            into.extend_from_slice(&ip.octets());
        }
        Source::Ip(IpAddr::V6(ip)) => {
            into.push(6);
            into.extend_from_slice(&ip.octets());
        }
    }
    put_text(into, &message.helo);
    put_text(into, &message.hostname);
    put_text(into, &message.smtpname);
    put_text(into, &message.tag);
    put_optional(into, message.username.as_deref());
    let ret = match message.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    };
    into.push(u8::from(message.tls) | u8::from(message.smtputf8) << 1 | ret << 2);
    put_optional(into, message.envid.as_deref());
    put_number(into, message.envelopes.len() as u64);
    for envelope in &message.envelopes {
        put_envelope(into, envelope);
    }
}

/// Reads what [`put_message`] wrote.
pub(crate) fn take_message(id: MessageId, from: &mut Take<'_>) -> Result<Message, Malformed> {
    let ctime = from.number()?;
    let sender = match from.optional()? {
        None => ReversePath::Null,
        Some(text) => ReversePath::Mailbox(mailbox(text)?),
    };
    let source = match from.octet()? {
        0 => Source::Local,
        4 => Source::Ip(from.array::<4>()?.into()),
        6 => Source::Ip(from.array::<16>()?.into()),
        _ => return Err(Malformed),
    };
    let helo = from.text()?.to_owned();
    let hostname = from.text()?.to_owned();
    let smtpname = from.text()?.to_owned();
    let tag = from.text()?.to_owned();
    let username = from.optional()?.map(str::to_owned);
    let flags = from.octet()?;
    let ret = match flags >> 2 {
        0 => None,
        1 => Some(Ret::Full),
        2 => Some(Ret::Headers),
        _ => return Err(Malformed),
    };
    let envid = from.optional()?.map(str::to_owned);
    let count: usize = from.small()?;
    // No capacity ahead: a count that lies must not cost memory.
    let mut envelopes = Vec::new();
    for _ in 0..count {
        envelopes.push(take_envelope(from, id)?);
    }
    Ok(Message {
        id,
        ctime,
        sender,
        source,
        helo,
        hostname,
        smtpname,
        tag,
        username,
        tls: flags & 1 != 0,
        smtputf8: flags & 2 != 0,
        ret,
        envid,
        envelopes,
    })
}

fn put_envelope(into: &mut Vec<u8>, envelope: &Envelope) {
    put_number(into, u64::from(envelope.id.nth()));
    put_text(into, envelope.rcpt.as_str());
    // Nothing was expanded for most recipients.
    let same = envelope.dest.as_str() == envelope.rcpt.as_str();
    put_optional(into, (!same).then_some(envelope.dest.as_str()));
    put_text(into, &envelope.action);
    put_optional(
        into,
        match &envelope.agent {
            Agent::Mta => None,
            Agent::Mda { user } => Some(user),
        },
    );
    put_number(into, u64::from(envelope.ttl));
    let notify = envelope.notify.map_or(0, |notify| {
        1 | u8::from(notify.success) << 1
            | u8::from(notify.failure) << 2
            | u8::from(notify.delay) << 3
    });
    into.push(notify | u8::from(envelope.internal) << 4);
    put_optional(into, envelope.orcpt.as_deref());
}

fn take_envelope(from: &mut Take<'_>, message: MessageId) -> Result<Envelope, Malformed> {
    let nth: u32 = from.small()?;
    if nth >= 1 << 31 {
        return Err(Malformed);
    }
    let rcpt = mailbox(from.text()?)?;
    let dest = from.optional()?.map(mailbox).transpose()?.unwrap_or_else(|| rcpt.clone());
    let action = from.text()?.to_owned();
    let agent = match from.optional()? {
        None => Agent::Mta,
        Some(user) => Agent::Mda { user: user.to_owned() },
    };
    let ttl = from.small()?;
    let flags = from.octet()?;
    let bit = |bit: u8| flags >> bit & 1 != 0;
    let notify = Notify { success: bit(1), failure: bit(2), delay: bit(3) };
    Ok(Envelope {
        id: EnvelopeId::new(message, nth),
        rcpt,
        dest,
        internal: bit(4),
        action,
        agent,
        ttl,
        notify: bit(0).then_some(notify),
        orcpt: from.optional()?.map(str::to_owned),
    })
}

/// How the state of an envelope is written: whether its due time follows, whether it is
/// suspended, and whether the age follows at which its sender was told that it is late.
const TIMED: u8 = 1;
const SUSPENDED: u8 = 2;
const TOLD: u8 = 4;

/// Writes the state of an envelope.
pub(crate) fn put_state(into: &mut Vec<u8>, state: &State) {
    put_number(into, u64::from(state.tries));
    put_number(into, state.last_try);
    let suspended = if state.suspended { SUSPENDED } else { 0 };
    let told = if state.told > 0 { TOLD } else { 0 };
    match state.due {
        Due::Held => into.push(suspended | told),
        Due::At(due) => {
            into.push(suspended | told | TIMED);
            put_number(into, due);
        }
    }
    if state.told > 0 {
        put_number(into, u64::from(state.told));
    }
    put_text(into, beginning(&state.error, ERROR));
}

/// Reads what [`put_state`] wrote.
pub(crate) fn take_state(from: &mut Take<'_>) -> Result<State, Malformed> {
    let tries = from.small()?;
    let last_try = from.number()?;
    let flags = from.octet()?;
    if flags & !(TIMED | SUSPENDED | TOLD) != 0 {
        return Err(Malformed);
    }
    let due = if flags & TIMED != 0 { Due::At(from.number()?) } else { Due::Held };
    let told = if flags & TOLD != 0 { from.small()? } else { 0 };
    let error = from.text()?.to_owned();
    Ok(State { tries, last_try, due, error, suspended: flags & SUSPENDED != 0, told })
}

/// Writes an outcome.
pub(crate) fn put_outcome(into: &mut Vec<u8>, outcome: &Outcome) {
    into.extend_from_slice(&outcome.envelope.as_u64().to_le_bytes());
    put_number(into, outcome.at);
    match &outcome.verdict {
        Verdict::Delivered => into.push(0),
        Verdict::Removed => into.push(1),
        Verdict::Later { tries, due, error } => {
            into.push(2);
            put_number(into, u64::from(*tries));
            put_number(into, *due);
            put_text(into, beginning(error, ERROR));
        }
        Verdict::Held { tries, error } => {
            into.push(3);
            put_number(into, u64::from(*tries));
            put_text(into, beginning(error, ERROR));
        }
        Verdict::Changed(state) => {
            into.push(4);
            put_state(into, state);
        }
    }
}

/// Reads what [`put_outcome`] wrote.
pub(crate) fn take_outcome(from: &mut Take<'_>) -> Result<Outcome, Malformed> {
    let envelope = EnvelopeId::from_u64(from.u64()?).ok_or(Malformed)?;
    let at = from.number()?;
    let verdict = match from.octet()? {
        0 => Verdict::Delivered,
        1 => Verdict::Removed,
        2 => Verdict::Later {
            tries: from.small()?,
            due: from.number()?,
            error: from.text()?.to_owned(),
        },
        3 => Verdict::Held { tries: from.small()?, error: from.text()?.to_owned() },
        4 => Verdict::Changed(take_state(from)?),
        _ => return Err(Malformed),
    };
    Ok(Outcome { envelope, lease: Epoch::default(), at, verdict })
}

fn mailbox(text: &str) -> Result<Mailbox, Malformed> {
    Mailbox::parse(text).map_err(|_| Malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::tests::Noise;

    /// A message with everything set and `recipients` envelopes.
    pub(crate) fn message(number: u32, recipients: u32) -> Message {
        let id = MessageId::from_u32(number).unwrap();
        let envelope = |nth| Envelope {
            id: EnvelopeId::new(id, nth),
            rcpt: Mailbox::parse(&format!("user{nth}@example.org")).unwrap(),
            dest: Mailbox::parse(&format!("user{}@example.net", nth / 2)).unwrap(),
            internal: nth == 1,
            action: "local_mail".into(),
            agent: if nth == 2 { Agent::Mta } else { Agent::Mda { user: "jo".into() } },
            ttl: 345_600,
            notify: (nth > 0).then_some(Notify { success: nth == 1, failure: true, delay: false }),
            orcpt: (nth == 3).then(|| "rfc822;user+40example.org".into()),
        };
        Message {
            id,
            ctime: 1_700_000_000_000_000 + u64::from(number),
            sender: ReversePath::Mailbox(Mailbox::parse("\"a b\"@example.com").unwrap()),
            source: Source::Ip("2001:db8::1".parse().unwrap()),
            helo: "client.example".into(),
            hostname: "client.example.com".into(),
            smtpname: "mx.example.org".into(),
            tag: "Ä".into(),
            username: Some("jo".into()),
            tls: true,
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("QQ314159".into()),
            envelopes: (0..recipients).map(envelope).collect(),
        }
    }

    fn outcomes() -> Vec<Outcome> {
        let envelope = message(77, 3).envelopes[2].id;
        let error = "450 4.2.1 mailbox busy".to_owned();
        let verdicts = [
            Verdict::Delivered,
            Verdict::Removed,
            Verdict::Later { tries: 3, due: u64::MAX, error: error.clone() },
            Verdict::Held { tries: u32::MAX, error: error.clone() },
        ];
        let changed = [Due::Held, Due::At(u64::MAX)].into_iter().flat_map(|due| {
            let state = State { tries: 5, last_try: 6, due, error: error.clone(), ..State::new(1) };
            let told = State { told: 14_400, ..state.clone() };
            [told, State { suspended: true, ..state.clone() }, state].map(Verdict::Changed)
        });
        let verdicts = verdicts.into_iter().chain(changed);
        verdicts
            .map(|verdict| Outcome { envelope, lease: Epoch::default(), at: 12, verdict })
            .collect()
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let plain = Message {
            sender: ReversePath::Null,
            source: Source::Local,
            username: None,
            tls: false,
            ret: None,
            envid: None,
            ..message(2, 1)
        };
        let v4 = Message {
            source: Source::Ip("192.0.2.1".parse().unwrap()),
            smtputf8: false,
            ret: Some(Ret::Full),
            ..message(3, 2)
        };
        for message in [message(1, 5), plain, v4] {
            let mut octets = Vec::new();
            put_message(&mut octets, &message);
            let mut take = Take(&octets);
            assert_eq!(take_message(message.id, &mut take), Ok(message));
            assert_eq!(take.end(), Ok(()));
        }
    }

    #[test]
    fn states_and_outcomes_come_back_as_they_were() {
        for outcome in outcomes() {
            let mut octets = Vec::new();
            put_outcome(&mut octets, &outcome);
            assert_eq!(take_outcome(&mut Take(&octets)).as_ref(), Ok(&outcome));
            let Some(state) = State::after(&outcome) else {
                assert!(outcome.verdict.settles());
                continue;
            };
            let mut octets = Vec::new();
            put_state(&mut octets, &state);
            assert_eq!(take_state(&mut Take(&octets)), Ok(state));
        }
    }

    #[test]
    fn the_words_of_a_failure_are_cut_between_characters() {
        let verdict = Verdict::Held { tries: 1, error: "ä".repeat(5000) };
        let outcome = Outcome { verdict, ..outcomes().remove(0) };
        let mut octets = Vec::new();
        put_outcome(&mut octets, &outcome);
        let Verdict::Held { error, .. } = take_outcome(&mut Take(&octets)).unwrap().verdict else {
            panic!("another verdict");
        };
        assert_eq!(error, "ä".repeat(1000));
    }

    #[test]
    fn noise_is_malformed_or_something_that_can_be_written() {
        let mut noise = Noise::new(1);
        let mut whole = Vec::new();
        let id = message(1, 4).id;
        put_message(&mut whole, &message(1, 4));
        let mut read = 0;
        for round in 0..20_000 {
            let mut octets = whole.clone();
            match round % 3 {
                0 => octets = noise.octets(round % 200),
                _ => noise.damage(&mut octets),
            }
            if let Ok(message) = take_message(id, &mut Take(&octets)) {
                put_message(&mut Vec::new(), &message);
                read += 1;
            }
            let _ = take_state(&mut Take(&octets));
            let _ = take_outcome(&mut Take(&octets));
        }
        assert!(read > 100, "damage in a text leaves a message: {read}");
    }
}
