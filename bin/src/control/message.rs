//! What is said over the control socket: one response for each request, in order.

use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::verify::Verified;

use super::entry::QueueEntry;
use super::frame::{self, Frame};
use super::import::{Piece, Progress};
use super::limits;
use super::order::{self, Action, Selection, Step};
pub use super::wire::Malformed;
use super::wire::{Reader, put_text};
use super::{Certificate, Status, System, View, verified};

/// What smtpctl asks for. Every one of them needs privileges today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `show status`
    Status,
    /// `show stats`
    Statistics,
    /// The next page of `show queue`. The listing is driven by the client, so the daemon keeps
    /// nothing between two pages, however long the queue.
    QueuePage {
        /// The last envelope of the page before.
        after: Option<EnvelopeId>,
        /// Only envelopes of this message.
        message: Option<MessageId>,
    },
    /// `pause mda|mta|smtp`
    Pause(System),
    /// `resume mda|mta|smtp`
    Resume(System),
    /// `log verbose|brief`
    Log {
        /// Debug lines are wanted.
        verbose: bool,
    },
    /// `schedule`, `remove`, `pause envelope`, `resume envelope`: one step of it.
    Order {
        /// What is to be done.
        action: Action,
        /// With which envelopes.
        selection: Selection,
        /// Where the step before ended.
        after: Option<EnvelopeId>,
    },
    /// What the queue knows of a message: as many of its envelopes as fit into a frame.
    Message {
        /// Which message.
        id: MessageId,
        /// The last envelope of the piece before.
        after: Option<EnvelopeId>,
    },
    /// A piece of the content of a message.
    Content {
        /// Which message.
        id: MessageId,
        /// Where the piece begins, in octets.
        offset: u64,
    },
    /// Checks the oldest segment of the journal behind this number.
    Verify(u32),
    /// The messages whose content is in a file of its own, behind this one.
    InFiles(Option<MessageId>),
    /// `queue rebuild`
    Rebuild,
    /// Looks for a message in the journal and schedules what is left of it.
    Discover(MessageId),
    /// `queue import`: a piece of a message.
    Import(Piece),
    /// `show relays|hosts|routes|hoststats`: what comes behind that number.
    Relay(View, u64),
    /// `resume route`
    ResumeRoute(u64),
    /// `update pki`
    UpdatePki,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// It is done.
    Done,
    /// It could not be done, and why.
    Failed(String),
    /// It needs privileges; the connection is closed behind this response.
    Denied,
    /// The request was of another version; the connection is closed behind this response.
    Incompatible,
    /// To [`Request::Status`].
    Status {
        /// Name and version of the daemon.
        version: String,
        /// What is paused, and how the DNS is.
        status: Status,
    },
    /// To [`Request::Statistics`].
    Statistics(Vec<(String, u64)>),
    /// To [`Request::QueuePage`]; empty at the end. When encoded it is cut after the last entry
    /// that fits into a frame; the next page then begins behind that one.
    Queue(Vec<QueueEntry>),
    /// To [`Request::Order`].
    Step(Step),
    /// To [`Request::Message`]: JSON as [`Document`](crate::transfer::document::Document) reads
    /// it; nothing at all when the message is not in the queue.
    Message {
        /// There are more envelopes behind these.
        more: bool,
        /// The JSON.
        document: Vec<u8>,
    },
    /// To [`Request::Content`]; empty at the end.
    Content(Vec<u8>),
    /// To [`Request::Verify`].
    Verified {
        /// The newest segment at this moment.
        last: u32,
        /// What was found; `None` when there is no segment left. Of very many lines about damage
        /// only the first arrive, and how many there were.
        found: Option<Verified>,
    },
    /// To [`Request::InFiles`]; empty at the end.
    InFiles(Vec<MessageId>),
    /// To [`Request::Import`].
    Import(Progress),
    /// To [`Request::Relay`]: a number and some lines each; empty at the end. Cut as a page of the
    /// queue is.
    Relay(Vec<(u64, String)>),
}

impl Request {
    /// Appends the request as a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Request::Status => frame::put(out, 1, |_| {}),
            Request::Statistics => frame::put(out, 2, |_| {}),
            Request::QueuePage { after, message } => frame::put(out, 3, |out| {
                put_envelope(out, *after);
                // No id is zero.
                let message = message.map_or(0, MessageId::as_u32);
                out.extend_from_slice(&message.to_be_bytes());
            }),
            Request::Pause(system) => frame::put(out, 4, |out| out.push(system_octet(*system))),
            Request::Resume(system) => frame::put(out, 5, |out| out.push(system_octet(*system))),
            Request::Log { verbose } => frame::put(out, 6, |out| out.push(u8::from(*verbose))),
            Request::Order { action, selection, after } => frame::put(out, 10, |out| {
                order::put_action(out, *action);
                put_envelope(out, *after);
                selection.encode(out);
            }),
            Request::Message { id, after } => frame::put(out, 20, |out| {
                out.extend_from_slice(&id.as_u32().to_be_bytes());
                put_envelope(out, *after);
            }),
            Request::Content { id, offset } => frame::put(out, 21, |out| {
                out.extend_from_slice(&id.as_u32().to_be_bytes());
                out.extend_from_slice(&offset.to_be_bytes());
            }),
            Request::Verify(after) => {
                frame::put(out, 22, |out| out.extend_from_slice(&after.to_be_bytes()));
            }
            Request::InFiles(after) => frame::put(out, 23, |out| {
                out.extend_from_slice(&after.map_or(0, MessageId::as_u32).to_be_bytes());
            }),
            Request::Rebuild => frame::put(out, 24, |_| {}),
            Request::Discover(id) => {
                frame::put(out, 25, |out| out.extend_from_slice(&id.as_u32().to_be_bytes()));
            }
            Request::Import(piece) => frame::put(out, 26, |out| piece.encode(out)),
            Request::Relay(view, after) => frame::put(out, 27, |out| {
                out.push(*view as u8);
                out.extend_from_slice(&after.to_be_bytes());
            }),
            Request::ResumeRoute(number) => {
                frame::put(out, 28, |out| out.extend_from_slice(&number.to_be_bytes()));
            }
            Request::UpdatePki => frame::put(out, 29, |_| {}),
        }
    }

    /// The request in a frame.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(frame: Frame<'_>) -> Result<Request, Malformed> {
        let mut payload = Reader(frame.payload);
        let request = match frame.kind {
            1 => Request::Status,
            2 => Request::Statistics,
            3 => Request::QueuePage {
                after: envelope(&mut payload)?,
                message: MessageId::from_u32(payload.u32()?),
            },
            4 => Request::Pause(system(&mut payload)?),
            5 => Request::Resume(system(&mut payload)?),
            6 => Request::Log { verbose: payload.bool()? },
            10 => Request::Order {
                action: order::action(&mut payload)?,
                after: envelope(&mut payload)?,
                selection: Selection::decode(&mut payload)?,
            },
            20 => Request::Message { id: message(&mut payload)?, after: envelope(&mut payload)? },
            21 => Request::Content { id: message(&mut payload)?, offset: payload.u64()? },
            22 => Request::Verify(payload.u32()?),
            23 => Request::InFiles(MessageId::from_u32(payload.u32()?)),
            24 => Request::Rebuild,
            25 => Request::Discover(message(&mut payload)?),
            26 => Request::Import(Piece::decode(&mut payload)?),
            27 => {
                let view = View::ALL.get(usize::from(payload.u8()?)).copied().ok_or(Malformed)?;
                Request::Relay(view, payload.u64()?)
            }
            28 => Request::ResumeRoute(payload.u64()?),
            29 => Request::UpdatePki,
            _ => return Err(Malformed),
        };
        payload.end()?;
        Ok(request)
    }
}

impl Response {
    /// Appends the response as a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Response::Done => frame::put(out, 1, |_| {}),
            Response::Failed(text) => {
                frame::put(out, 2, |out| put_text(out, text, limits::ERROR));
            }
            Response::Denied => frame::put(out, 3, |_| {}),
            Response::Incompatible => frame::put(out, 4, |_| {}),
            Response::Status { version, status } => frame::put(out, 5, |out| {
                out.extend(System::ALL.map(|system| u8::from(status.paused(system))));
                put_text(out, version, limits::ERROR);
                put_text(out, status.dns.as_deref().unwrap_or_default(), limits::ERROR);
                fill(out, &status.certificates, put_certificate);
            }),
            Response::Statistics(values) => {
                frame::put(out, 6, |out| fill(out, values, put_statistic));
            }
            Response::Queue(entries) => {
                frame::put(out, 7, |out| fill(out, entries, QueueEntry::encode));
            }
            Response::Step(Step { changed, next }) => frame::put(out, 10, |out| {
                out.extend_from_slice(&changed.to_be_bytes());
                put_envelope(out, *next);
            }),
            Response::Message { more, document } => frame::put(out, 20, |out| {
                out.push(u8::from(*more));
                out.extend_from_slice(document);
            }),
            Response::Content(octets) => {
                frame::put(out, 21, |out| out.extend_from_slice(octets));
            }
            Response::Verified { last, found } => frame::put(out, 22, |out| {
                out.extend_from_slice(&last.to_be_bytes());
                if let Some(found) = found {
                    verified::encode(found, out);
                }
            }),
            Response::InFiles(messages) => frame::put(out, 23, |out| {
                fill(out, messages, |id, out| out.extend_from_slice(&id.as_u32().to_be_bytes()));
            }),
            Response::Import(progress) => frame::put(out, 26, |out| progress.encode(out)),
            Response::Relay(items) => frame::put(out, 27, |out| fill(out, items, put_item)),
        }
    }

    /// The response in a frame.
    ///
    /// # Errors
    /// [`Malformed`] when it is none.
    pub fn decode(frame: Frame<'_>) -> Result<Response, Malformed> {
        let mut payload = Reader(frame.payload);
        let response = match frame.kind {
            1 => Response::Done,
            2 => Response::Failed(payload.text(limits::ERROR)?.to_owned()),
            3 => Response::Denied,
            4 => Response::Incompatible,
            5 => {
                let mut status = Status {
                    mda_paused: payload.bool()?,
                    mta_paused: payload.bool()?,
                    smtp_paused: payload.bool()?,
                    dns: None,
                    certificates: Vec::new(),
                };
                let version = payload.text(limits::ERROR)?.to_owned();
                status.dns = Some(payload.text(limits::ERROR)?.to_owned());
                status.dns.take_if(|text| text.is_empty());
                status.certificates = list(&mut payload, certificate)?;
                Response::Status { version, status }
            }
            6 => Response::Statistics(list(&mut payload, statistic)?),
            7 => Response::Queue(list(&mut payload, QueueEntry::decode)?),
            10 => Response::Step(Step { changed: payload.u32()?, next: envelope(&mut payload)? }),
            20 => Response::Message { more: payload.bool()?, document: payload.rest().to_owned() },
            21 => Response::Content(payload.rest().to_owned()),
            22 => Response::Verified {
                last: payload.u32()?,
                found: match payload.0 {
                    [] => None,
                    _ => Some(verified::decode(&mut payload)?),
                },
            },
            23 => Response::InFiles(list(&mut payload, message)?),
            26 => Response::Import(Progress::decode(&mut payload)?),
            27 => Response::Relay(list(&mut payload, item)?),
            _ => return Err(Malformed),
        };
        payload.end()?;
        Ok(response)
    }
}

/// Appends items, each complete, until one would make the payload too long for a frame.
fn fill<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&T, &mut Vec<u8>)) {
    let start = out.len();
    for item in items {
        let end = out.len();
        put(item, out);
        if out.len() - start > limits::RESPONSE {
            out.truncate(end);
            return;
        }
    }
}

fn list<T>(
    from: &mut Reader<'_>,
    item: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut items = Vec::new();
    while !from.0.is_empty() {
        items.push(item(from)?);
    }
    Ok(items)
}

fn put_statistic((name, value): &(String, u64), out: &mut Vec<u8>) {
    put_text(out, name, limits::ADDRESS);
    out.extend_from_slice(&value.to_be_bytes());
}

fn statistic(from: &mut Reader<'_>) -> Result<(String, u64), Malformed> {
    Ok((from.text(limits::ADDRESS)?.to_owned(), from.u64()?))
}

fn put_certificate(Certificate { name, end }: &Certificate, out: &mut Vec<u8>) {
    put_text(out, name, limits::ADDRESS);
    out.extend_from_slice(&end.to_be_bytes());
}

fn certificate(from: &mut Reader<'_>) -> Result<Certificate, Malformed> {
    Ok(Certificate { name: from.text(limits::ADDRESS)?.to_owned(), end: from.u64()? })
}

fn put_item((number, text): &(u64, String), out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
    put_text(out, text, limits::ITEM);
}

fn item(from: &mut Reader<'_>) -> Result<(u64, String), Malformed> {
    Ok((from.u64()?, from.text(limits::ITEM)?.to_owned()))
}

fn message(from: &mut Reader<'_>) -> Result<MessageId, Malformed> {
    MessageId::from_u32(from.u32()?).ok_or(Malformed)
}

fn put_envelope(out: &mut Vec<u8>, id: Option<EnvelopeId>) {
    out.extend_from_slice(&id.map_or(0, EnvelopeId::as_u64).to_be_bytes());
}

/// An envelope's id, or zero for none: no id is zero.
fn envelope(from: &mut Reader<'_>) -> Result<Option<EnvelopeId>, Malformed> {
    match from.u64()? {
        0 => Ok(None),
        id => EnvelopeId::from_u64(id).map(Some).ok_or(Malformed),
    }
}

fn system_octet(system: System) -> u8 {
    match system {
        System::Mda => 0,
        System::Mta => 1,
        System::Smtp => 2,
    }
}

fn system(from: &mut Reader<'_>) -> Result<System, Malformed> {
    System::ALL.get(usize::from(from.u8()?)).copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Agent, Origin, Situation};
    use super::*;

    fn id(nth: u32) -> EnvelopeId {
        EnvelopeId::new(MessageId::from_u32(0x0123_4567).unwrap(), nth)
    }

    fn entry(nth: u32) -> QueueEntry {
        QueueEntry {
            id: id(nth),
            origin: [Origin::Local, Origin::Inet4, Origin::Inet6][nth as usize % 3],
            agent: if nth.is_multiple_of(2) { Agent::Mda } else { Agent::Mta },
            authenticated: nth.is_multiple_of(2),
            sender: String::new(),
            rcpt: "\u{fc}ser@example.org".to_owned(),
            dest: "user@example.org".to_owned(),
            created: 1,
            expires: u64::MAX,
            last_try: 3,
            retries: u32::MAX,
            situation: match nth % 3 {
                0 => Situation::Pending(7),
                1 => Situation::Inflight(8),
                _ => Situation::Held(9),
            },
            suspended: nth > 2,
            error: "a\nb".to_owned(),
        }
    }

    fn requests() -> Vec<Request> {
        let mut all = vec![
            Request::Status,
            Request::Statistics,
            Request::QueuePage { after: None, message: None },
            Request::QueuePage { after: Some(id(3)), message: MessageId::from_u32(9) },
            Request::Log { verbose: true },
            Request::Log { verbose: false },
            Request::Message { id: id(0).message(), after: None },
            Request::Message { id: id(0).message(), after: Some(id(3)) },
            Request::Content { id: id(0).message(), offset: u64::MAX },
            Request::Verify(7),
            Request::InFiles(None),
            Request::InFiles(Some(id(0).message())),
            Request::Rebuild,
            Request::UpdatePki,
            Request::Discover(id(0).message()),
            Request::Import(Piece::Facts { first: true, octets: b"{".to_vec() }),
            Request::Import(Piece::Facts { first: false, octets: b"}".to_vec() }),
            Request::Import(Piece::Content(vec![0; 3])),
            Request::Import(Piece::End { name: "0123abcd".to_owned() }),
        ];
        let selections = [
            (Action::Schedule, Selection::Envelope(id(2))),
            (Action::Hold, Selection::Message(id(2).message())),
            (Action::Resume, Selection::Domain("example.org".to_owned())),
            (Action::Remove, Selection::All),
        ];
        for (action, selection) in selections {
            let after = (action == Action::Hold).then_some(id(1));
            all.push(Request::Order { action, selection, after });
        }
        all.extend(System::ALL.map(Request::Pause));
        all.extend(System::ALL.map(Request::Resume));
        all.extend(View::ALL.map(|view| Request::Relay(view, u64::MAX)));
        all.push(Request::ResumeRoute(1));
        all
    }

    fn responses() -> Vec<Response> {
        let certificates = vec![Certificate { name: "mx.example.org".to_owned(), end: 7 }; 2];
        let status = Status { mta_paused: true, certificates, ..Status::default() };
        vec![
            Response::Done,
            Response::Failed("why".to_owned()),
            Response::Denied,
            Response::Incompatible,
            Response::Status { version: "Hermes".to_owned(), status: status.clone() },
            Response::Status {
                version: "Hermes".to_owned(),
                status: Status { dns: Some("no nameserver answers".to_owned()), ..status },
            },
            Response::Relay(vec![(1, "a\nb".to_owned()), (u64::MAX, String::new())]),
            Response::Statistics(vec![("uptime".to_owned(), 7), ("a.b".to_owned(), u64::MAX)]),
            Response::Queue(Vec::new()),
            Response::Queue((0..6).map(entry).collect()),
            Response::Message { more: true, document: b"{}".to_vec() },
            Response::Content(vec![0; 3]),
            Response::Verified { last: 9, found: None },
            Response::Verified {
                last: 9,
                found: Some(Verified { segment: 8, ..Verified::default() }),
            },
            Response::InFiles(vec![id(0).message(); 2]),
            Response::Import(Progress::More),
            Response::Import(Progress::Later),
            Response::Import(Progress::Known),
            Response::Import(Progress::Taken(id(0).message())),
            Response::Step(Step { changed: u32::MAX, next: None }),
            Response::Step(Step { changed: 0, next: Some(id(1)) }),
        ]
    }

    /// Both directions, and that a message cut short or with something behind it is refused.
    fn check<T: PartialEq + std::fmt::Debug>(
        message: &T,
        encode: impl Fn(&T, &mut Vec<u8>),
        decode: impl Fn(Frame<'_>) -> Result<T, Malformed>,
        has_any_length: bool,
    ) {
        let mut octets = Vec::new();
        encode(message, &mut octets);
        let frame = frame::take(&mut octets.as_slice(), limits::RESPONSE).unwrap().unwrap();
        assert_eq!(decode(frame).as_ref(), Ok(message));
        for end in 0..frame.payload.len() {
            let cut = decode(Frame { payload: &frame.payload[..end], ..frame });
            // A list that ends between two items is a shorter list, and content is octets.
            assert!(cut.is_err() || has_any_length, "{message:?} cut at {end}");
            assert_ne!(cut.as_ref(), Ok(message));
        }
        let longer = [frame.payload, b"\0"].concat();
        let decoded = decode(Frame { payload: &longer, ..frame });
        assert!(decoded.is_err() || has_any_length && decoded.as_ref() != Ok(message));
    }

    #[test]
    fn messages_arrive_as_sent() {
        for request in requests() {
            let has_any_length =
                matches!(request, Request::Import(Piece::Facts { .. } | Piece::Content(_)));
            check(&request, Request::encode, Request::decode, has_any_length);
        }
        for response in responses() {
            let has_any_length = matches!(
                response,
                Response::Queue(_)
                    | Response::Statistics(_)
                    | Response::Message { .. }
                    | Response::Content(_)
                    | Response::Verified { .. }
                    | Response::InFiles(_)
                    | Response::Relay(_)
                    | Response::Status { .. }
            );
            check(&response, Response::encode, Response::decode, has_any_length);
        }
    }

    #[test]
    fn unknown_numbers_are_refused() {
        for kind in [0, 8, 9, 40, u8::MAX] {
            assert!(Request::decode(Frame { kind, payload: b"" }).is_err());
            assert!(Response::decode(Frame { kind, payload: b"" }).is_err());
        }
        assert!(Request::decode(Frame { kind: 4, payload: &[3] }).is_err(), "no such system");
        assert!(Request::decode(Frame { kind: 6, payload: &[2] }).is_err(), "no truth value");
        let payload = [&[View::ALL.len() as u8][..], &[0; 8]].concat();
        assert!(Request::decode(Frame { kind: 27, payload: &payload }).is_err(), "no such list");
        let bad = u64::from(u32::MAX).to_be_bytes();
        let payload = [bad.as_slice(), &[0; 4]].concat();
        assert!(Request::decode(Frame { kind: 3, payload: &payload }).is_err(), "no message id");
    }

    #[test]
    fn a_page_is_cut_between_entries_and_texts_between_characters() {
        let long = "\u{fc}".repeat(usize::from(limits::ERROR));
        let entries: Vec<_> = (0..limits::PAGE as u32)
            .map(|n| QueueEntry { error: long.clone(), ..entry(n) })
            .collect();
        let mut octets = Vec::new();
        Response::Queue(entries.clone()).encode(&mut octets);
        let frame = frame::take(&mut octets.as_slice(), limits::RESPONSE).unwrap().unwrap();
        let Ok(Response::Queue(page)) = Response::decode(frame) else { panic!("no page") };
        assert!((1..entries.len()).contains(&page.len()), "{}", page.len());
        assert_eq!(page[0].error.len(), usize::from(limits::ERROR));
        assert!(page.iter().zip(&entries).all(|(a, b)| a.id == b.id));
    }
}
