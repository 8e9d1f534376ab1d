//! The facts of a message record: everything about the message but its content.
//!
//! A record made when a message is accepted has no states: its envelopes were never tried. One
//! made by copying forward has only the envelopes left then, and the state of each.

use crate::codec::FileKey;
use crate::encode::{put_message, put_outcome, put_state, take_message, take_outcome, take_state};
use crate::envelope::{Message, Outcome, State};
use crate::id::MessageId;
use crate::spool::{Finished, Form};
use crate::wire::{Malformed, Take, put_number};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Outcomes that became true with this record.
    pub(crate) causes: Vec<Outcome>,
    /// The content file, if there is one.
    pub(crate) file: Option<Finished>,
    /// Octets of the content in the record, before it was sealed. Records of before there was a
    /// codec do not say it: theirs are as many as the header says.
    pub(crate) inline: Option<u64>,
    pub(crate) message: Message,
    /// One for each envelope, in the same order.
    pub(crate) states: Vec<State>,
    /// Whether the record was made when the message was accepted, and not by copying.
    pub(crate) is_new: bool,
}

/// Where the content of a message is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whereabouts<'a> {
    /// In the record: so many octets.
    Inline(u64),
    /// In a file.
    File(&'a Finished),
}

impl Facts {
    /// Writes facts; `states` is empty for a message that is new.
    pub(crate) fn put(
        into: &mut Vec<u8>,
        causes: &[Outcome],
        content: Whereabouts<'_>,
        message: &Message,
        states: &[State],
    ) {
        into.extend_from_slice(&message.id.as_u32().to_le_bytes());
        put_number(into, causes.len() as u64);
        causes.iter().for_each(|cause| put_outcome(into, cause));
        match content {
            Whereabouts::Inline(octets) => {
                into.push(2);
                put_number(into, octets);
            }
            Whereabouts::File(file) => {
                into.push(match &file.form {
                    Form::Plain => 1,
                    Form::Frames(None) => 3,
                    Form::Frames(Some(_)) => 4,
                });
                put_number(into, file.octets);
                into.extend_from_slice(&file.checksum.to_le_bytes());
                if let Form::Frames(Some(key)) = &file.form {
                    into.extend_from_slice(key.octets());
                }
            }
        }
        put_message(into, message);
        into.push(u8::from(!states.is_empty()));
        states.iter().for_each(|state| put_state(into, state));
    }

    /// Which message the facts are about, without reading the rest.
    pub(crate) fn id(facts: &[u8]) -> Result<MessageId, Malformed> {
        MessageId::from_u32(Take(facts).u32()?).ok_or(Malformed)
    }

    /// Reads what [`Facts::put`] wrote.
    pub(crate) fn take(facts: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take(facts);
        let id = MessageId::from_u32(take.u32()?).ok_or(Malformed)?;
        let count: usize = take.small()?;
        // No capacity ahead: a count that lies must not cost memory.
        let mut causes = Vec::new();
        for _ in 0..count {
            causes.push(take_outcome(&mut take)?);
        }
        let (file, inline) = match take.octet()? {
            // As it was before there was a codec.
            0 => (None, None),
            2 => (None, Some(take.number()?)),
            tag @ (1 | 3 | 4) => {
                let (octets, checksum) = (take.number()?, take.u32()?);
                let form = match tag {
                    1 => Form::Plain,
                    3 => Form::Frames(None),
                    _ => Form::Frames(Some(FileKey::new(take.array()?))),
                };
                (Some(Finished { id, octets, checksum, form }), None)
            }
            _ => return Err(Malformed),
        };
        let message = take_message(id, &mut take)?;
        let tried = match take.octet()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        let state = |_| match tried {
            false => Ok(State::new(message.ctime)),
            true => take_state(&mut take),
        };
        let states = message.envelopes.iter().map(state).collect::<Result<_, _>>()?;
        take.end()?;
        Ok(Self { causes, file, inline, message, states, is_new: !tried })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::tests::message;
    use crate::envelope::{Due, Verdict};
    use crate::wire::tests::Noise;

    fn put(content: Whereabouts<'_>, states: &[State]) -> Vec<u8> {
        let message = message(9, 3);
        let cause = Outcome {
            envelope: message.envelopes[0].id,
            lease: Default::default(),
            at: 5,
            verdict: Verdict::Removed,
        };
        let mut octets = Vec::new();
        Facts::put(&mut octets, &[cause], content, &message, states);
        octets
    }

    fn octets(states: &[State]) -> Vec<u8> {
        put(Whereabouts::Inline(300), states)
    }

    #[test]
    fn a_new_message_was_never_tried() {
        let facts = Facts::take(&octets(&[])).unwrap();
        assert_eq!(facts.message, message(9, 3));
        assert_eq!((facts.file, facts.inline), (None, Some(300)));
        assert_eq!(facts.causes.len(), 1);
        assert_eq!(facts.states, vec![State::new(message(9, 3).ctime); 3]);
    }

    #[test]
    fn the_form_of_a_content_file_comes_back() {
        let forms = [
            Form::Plain,
            Form::Frames(None),
            Form::Frames(Some(FileKey::new(*b"0123456789abcdef0123456789abcdef"))),
        ];
        for form in forms {
            let id = message(9, 3).id;
            let file = Finished { id, octets: 1 << 30, checksum: 77, form };
            let facts = Facts::take(&put(Whereabouts::File(&file), &[])).unwrap();
            assert_eq!((facts.file, facts.inline), (Some(file), None));
        }
    }

    #[test]
    fn a_copy_keeps_the_states() {
        let state = |tries| State {
            tries,
            last_try: 8,
            due: Due::Held,
            error: "why".into(),
            told: tries,
            ..State::new(1)
        };
        let states = [state(1), state(2), state(3)];
        assert_eq!(Facts::take(&octets(&states)).unwrap().states, states);
    }

    #[test]
    fn noise_is_malformed_or_harmless() {
        let mut noise = Noise::new(4);
        for round in 0..10_000 {
            let mut octets = octets(&[]);
            match round % 2 {
                0 => octets = noise.octets(round % 300),
                _ => noise.damage(&mut octets),
            }
            if let Ok(facts) = Facts::take(&octets) {
                assert_eq!(facts.states.len(), facts.message.envelopes.len());
            }
        }
    }
}
