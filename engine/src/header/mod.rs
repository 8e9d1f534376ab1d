//! The header of a message while it streams by (RFC 5322 section 2.2, RFC 6409 section 8).
//!
//! Everywhere the Received fields are counted. In submission mode Bcc fields are removed,
//! addresses without a domain in From, To and Cc are completed, From may get another address, and
//! Date and Message-ID are added when missing. Nothing else changes an octet: anything more would break the
//! signatures of those who passed the message on. The header's shape is not refused; what
//! cannot be understood passes as it is.
//!
//! The runs may be cut anywhere. Behind the header a run is appended and not looked at.

mod addresses;

use memchr::memchr;

use crate::limits;

/// What submission mode adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// The domain of addresses that have none.
    pub domain: String,
    /// The value of Date, if it is missing.
    pub date: String,
    /// The address that From is to have, whatever stands there.
    pub masquerade: Option<String>,
    /// The value of Message-ID with its brackets, if it is missing.
    pub message_id: String,
}

/// Reads a header as it passes, and in submission mode rewrites it.
#[derive(Debug)]
pub struct Rewriter {
    submission: Option<Box<Submission>>,
    place: Place,
    /// What happens to the field at hand and to its continuations.
    field: Field,
    /// The octets of a line whose field is not known yet.
    name: Vec<u8>,
    /// A field that is changed when it is whole, with its name.
    value: Vec<u8>,
    hops: u32,
    has_date: bool,
    has_message_id: bool,
}

/// Where in the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the name that a line of the header begins with.
    Name,
    /// Behind it.
    Rest,
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    /// There was none yet, so nothing can continue it.
    None,
    Pass,
    Remove,
    Complete,
    /// From, which gets another address.
    Masquerade,
}

/// Octets of a field name; upstream's bound.
const NAME: usize = 1023;
/// The longest name that is of interest in passing.
const RECEIVED: &[u8] = b"Received";

impl Rewriter {
    /// Counts Received fields and changes nothing.
    #[must_use]
    pub fn pass() -> Self {
        Self::new(None)
    }

    /// Makes a submitted message complete.
    #[must_use]
    pub fn submission(submission: Submission) -> Self {
        Self::new(Some(Box::new(submission)))
    }

    fn new(submission: Option<Box<Submission>>) -> Self {
        Self {
            submission,
            place: Place::Name,
            field: Field::None,
            name: Vec::with_capacity(RECEIVED.len() + 8),
            value: Vec::new(),
            hops: 0,
            has_date: false,
            has_message_id: false,
        }
    }

    /// Takes the next run of content, and adds what becomes of it to `out`.
    pub fn push(&mut self, run: &[u8], out: &mut Vec<u8>) {
        if self.submission.is_none() {
            out.extend_from_slice(run);
        }
        let mut rest = run;
        while !rest.is_empty() && self.place != Place::Body {
            rest = match self.place {
                Place::Name => self.in_name(rest, out),
                Place::Rest | Place::Body => self.in_rest(rest, out),
            };
        }
        if self.submission.is_some() {
            out.extend_from_slice(rest);
        }
    }

    /// The content is over: adds what was held back, and what is missing if the message
    /// ended in its header.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.place != Place::Body && self.submission.is_some() {
            self.end_header(!self.name.is_empty(), out);
        }
    }

    /// Received fields seen so far.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Whether the message has been round too often ([`limits::HOPS`]).
    #[must_use]
    pub fn is_loop(&self) -> bool {
        self.hops >= limits::HOPS
    }

    /// Takes one octet where a name is expected, or none when there is none.
    fn in_name<'r>(&mut self, run: &'r [u8], out: &mut Vec<u8>) -> &'r [u8] {
        let octet = run[0];
        match (octet, &*self.name) {
            (b' ' | b'\t', []) if self.field != Field::None => self.place = Place::Rest,
            (b':', [_, ..]) => self.begin_field(out),
            (b'\n', [] | [b'\r']) => {
                self.end_header(false, out);
                // The name is the CR of the empty line; its LF follows.
                self.name.clear();
                return run;
            }
            _ if self.goes_on(octet) => {
                self.name.push(octet);
                return &run[1..];
            }
            _ if self.submission.is_some() => {
                // The author's program wrote no header, or ended it without an empty line.
                self.end_header(true, out);
            }
            _ => (self.place, self.field) = (Place::Rest, Field::Pass),
        }
        run
    }

    /// Whether `octet` may belong to the name of a field, or to the blanks behind it
    /// (RFC 5322 section 4.5), or is the CR of an empty line.
    fn goes_on(&self, octet: u8) -> bool {
        let most = if self.submission.is_some() { NAME } else { RECEIVED.len() + 8 };
        let blank = |c: &u8| *c == b' ' || *c == b'\t';
        match octet {
            _ if self.name.len() >= most => false,
            b'\r' => self.name.is_empty(),
            b' ' | b'\t' => self.name.last().is_some_and(|c| *c != b'\r'),
            b':' => false,
            _ => {
                octet.is_ascii_graphic()
                    && !self.name.last().is_some_and(|c| blank(c) || *c == b'\r')
            }
        }
    }

    /// The colon is next: which field is it?
    fn begin_field(&mut self, out: &mut Vec<u8>) {
        self.end_field(out);
        let is = |name: &[u8]| self.name.trim_ascii_end().eq_ignore_ascii_case(name);
        self.place = Place::Rest;
        self.field = Field::Pass;
        if is(RECEIVED) {
            self.hops = self.hops.saturating_add(1);
        } else if self.submission.is_some() {
            if is(b"Bcc") {
                self.field = Field::Remove;
            } else if is(b"From")
                && self.submission.as_ref().is_some_and(|s| s.masquerade.is_some())
            {
                self.field = Field::Masquerade;
            } else if is(b"From") || is(b"To") || is(b"Cc") {
                self.field = Field::Complete;
            } else if is(b"Date") {
                self.has_date = true;
            } else if is(b"Message-ID") {
                self.has_message_id = true;
            }
        }
        let name = std::mem::take(&mut self.name);
        self.keep(&name, out);
        self.name = name;
        self.name.clear();
    }

    /// Takes the run up to the end of the line.
    fn in_rest<'r>(&mut self, run: &'r [u8], out: &mut Vec<u8>) -> &'r [u8] {
        let end = memchr(b'\n', run).map(|at| at + 1);
        let (line, rest) = run.split_at(end.unwrap_or(run.len()));
        self.keep(line, out);
        if end.is_some() {
            self.place = Place::Name;
            self.name.clear();
        }
        rest
    }

    /// Puts octets of the field at hand where they belong.
    fn keep(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self.field {
            _ if self.submission.is_none() => {}
            Field::Remove => {}
            Field::Complete => {
                self.value.extend_from_slice(octets);
                // Too much to hold back: it passes unchanged.
                if self.value.len() > limits::HEADER_FIELD {
                    out.append(&mut self.value);
                    self.field = Field::Pass;
                }
            }
            Field::Masquerade => {
                self.value.extend_from_slice(octets);
                // Too much to hold back: nothing of it passes but the address.
                if self.value.len() > limits::HEADER_FIELD {
                    self.value.truncate(limits::HEADER_FIELD);
                    self.end_field(out);
                    self.field = Field::Remove;
                }
            }
            Field::None | Field::Pass => out.extend_from_slice(octets),
        }
    }

    /// The field at hand is whole.
    fn end_field(&mut self, out: &mut Vec<u8>) {
        let Some(submission) = &self.submission else { return };
        match (self.field, &submission.masquerade) {
            (Field::Complete, _) => addresses::complete(&self.value, &submission.domain, out),
            (Field::Masquerade, Some(address)) => addresses::masquerade(&self.value, address, out),
            _ => return,
        }
        self.value.clear();
    }

    /// The header is over: adds what is missing, an empty line if there is none, and what
    /// was taken for a name.
    fn end_header(&mut self, no_empty_line: bool, out: &mut Vec<u8>) {
        self.end_field(out);
        self.place = Place::Body;
        let Some(submission) = &self.submission else {
            return;
        };
        let fields = [
            ("Date", &submission.date, self.has_date),
            ("Message-ID", &submission.message_id, self.has_message_id),
        ];
        for (name, value, _) in fields.iter().filter(|(.., there)| !there) {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        if no_empty_line {
            out.extend_from_slice(b"\r\n");
        }
        out.append(&mut self.name);
    }
}

#[cfg(test)]
mod tests;
