//! What a session tells its owner, and what it is told.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use crate::address::{HeloName, PathRef};
use crate::auth::Credentials;
use crate::extension::{MailParams, RcptParams};
use crate::reply::Reply;

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    /// A process of this machine at the local socket. It counts as authenticated;
    /// STARTTLS and AUTH are not for it.
    Local,
    /// A host. IPv4 addresses mapped into IPv6 are for the caller to turn back.
    Ip(IpAddr),
}

impl Peer {
    /// In brackets, as EHLO's reply and Received have it: `[192.0.2.1]`, `[2001:db8::1]`,
    /// `[local]`.
    #[must_use]
    pub fn bracketed(&self) -> impl fmt::Display + use<> {
        Bracketed(*self)
    }
}

impl fmt::Display for Peer {
    /// As log lines have it: `192.0.2.1`, `[2001:db8::1]`, `local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

struct Bracketed(Peer);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peer::Local => f.write_str("[local]"),
            Peer::Ip(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// What [`Session::step`](super::Session::step) came to.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub enum Step<'i> {
    /// Something must happen outside; then call again.
    Event(Event<'i>),
    /// Nothing more can be done with what is there.
    Wait(Wait),
    /// Send what is in `out`, then close the connection. Every later step says so too.
    Close,
}

/// What a session waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Octets from the peer.
    Input,
    /// The peer takes its replies: write before you read.
    Output,
    /// A question is open, or TLS is being set up: do not read.
    Answer,
}

/// Names a question of a session. An answer to another one is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    pub(super) session: u64,
    pub(super) serial: u32,
}

impl Ticket {
    /// The id of the session that asked.
    #[must_use]
    pub fn session(self) -> u64 {
        self.session
    }
}

/// What happened. Those with a ticket are questions, and the session stands still until
/// it has an answer; the others are notices.
///
/// An accepted `Mail` begins a transaction. It ends with the answer to `EndOfData`, with
/// `Reset`, or with the session.
#[derive(PartialEq, Eq, Debug)]
pub enum Event<'i> {
    /// A peer is there. 220 is the banner; anything else leaves it nothing but QUIT.
    Connected {
        /// Of this question.
        ticket: Ticket,
    },
    /// HELO or EHLO. The text of a 250 is the first line of the reply; the session adds
    /// the extensions.
    Hello {
        /// Of this question.
        ticket: Ticket,
        /// Who the peer says it is.
        name: HeloName<'i>,
        /// EHLO, not HELO.
        esmtp: bool,
    },
    /// AUTH. 235 accepts; 334 sends its text, which must be base64, as a challenge, and the
    /// response comes as another `Auth`. A response that is not base64, or `*`, ends the
    /// exchange without a further event.
    Auth {
        /// Of this question.
        ticket: Ticket,
        /// What the peer gave.
        credentials: Box<Credentials>,
    },
    /// MAIL.
    Mail {
        /// Of this question.
        ticket: Ticket,
        /// The reverse-path; none for `<>`.
        from: Option<PathRef<'i>>,
        /// What follows it.
        params: MailParams<'i>,
    },
    /// RCPT.
    Rcpt {
        /// Of this question.
        ticket: Ticket,
        /// The forward-path.
        to: PathRef<'i>,
        /// What follows it.
        params: RcptParams<'i>,
    },
    /// DATA, or the first BDAT. 354 accepts (to BDAT it is not sent); a refusal ends the
    /// transaction.
    Data {
        /// Of this question.
        ticket: Ticket,
    },
    /// The content is whole. 2yz says that it is safe. This question has no clock: the
    /// disk answers when it can.
    EndOfData {
        /// Of this question.
        ticket: Ticket,
        /// Octets of content: all that `Body` lent.
        octets: u64,
    },
    /// A command that [`Params::ask`](super::Params::ask) makes a question of. The text of
    /// a 2yz is not used: the session says its own.
    Command {
        /// Of this question.
        ticket: Ticket,
        /// Which.
        command: Asked<'i>,
    },

    /// The reply to STARTTLS is in `out`: send it, shake hands, and call
    /// [`Session::tls_started`](super::Session::tls_started). What the peer had sent
    /// behind its command is gone.
    StartTls,
    /// A run of content, of any length, cut anywhere: lines end in CR LF, the dots of
    /// transparency are gone.
    Body(&'i [u8]),
    /// The first octet of a message that could not be: a bare CR, a bare LF or NUL. With
    /// [`StrayNewline::Reject`](super::StrayNewline) no more `Body` follows, and `Reset`
    /// comes where the message ends.
    StrayOctet {
        /// CR, LF or NUL.
        octet: u8,
        /// Where in the content.
        offset: u64,
    },
    /// The transaction is over without a message.
    Reset,
    /// A reply was written; comes as [`Params::report`](super::Params::report) says.
    Replied {
        /// The line that it answers, without its end; credentials are replaced by `(...)`
        /// and the like, the final dot is `.`. None for the banner, for what the clock
        /// said, and for input that is no command: log that as bad input.
        command: Option<&'i [u8]>,
        /// The reply's code.
        code: u16,
        /// The reply's octets in `out` with all lines and their CR LF. They are there if
        /// nothing was taken off `out` since it was written.
        reply: Range<usize>,
    },
}

impl Event<'_> {
    /// The ticket of a question; none for a notice.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        match *self {
            Self::Connected { ticket }
            | Self::Hello { ticket, .. }
            | Self::Auth { ticket, .. }
            | Self::Mail { ticket, .. }
            | Self::Rcpt { ticket, .. }
            | Self::Data { ticket }
            | Self::EndOfData { ticket, .. }
            | Self::Command { ticket, .. } => Some(ticket),
            Self::StartTls
            | Self::Body(_)
            | Self::StrayOctet { .. }
            | Self::Reset
            | Self::Replied { .. } => None,
        }
    }
}

/// A command that is a question only when a filter wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked<'i> {
    /// STARTTLS
    StartTls,
    /// RSET
    Rset,
    /// NOOP, with its argument.
    Noop(&'i [u8]),
    /// QUIT. Whatever the answer, the session ends.
    Quit,
}

/// What answers a question: a reply, and whether the session ends with it. One of code
/// 421 ends it anyway.
///
/// What else a filter may say (junk, a rewritten argument) concerns the owner's
/// transaction, which holds the header and the addresses, and not the dialogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// 2yz accepts (3yz for `Data`), 4yz and 5yz refuse.
    pub reply: Reply<'static>,
    /// Hang up when the reply is sent.
    pub close: bool,
}

impl From<Reply<'static>> for Answer {
    fn from(reply: Reply<'static>) -> Self {
        Self { reply, close: false }
    }
}

/// Why an answer was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// The question is no longer open: it was answered, or its time ran out.
    Stale,
    /// The reply is of a class that does not answer this question; it is still open.
    Class,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the question is no longer open",
            Self::Class => "a reply of this class does not answer the question",
        })
    }
}

impl std::error::Error for AnswerError {}
