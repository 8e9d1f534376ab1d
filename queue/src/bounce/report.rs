//! The octets of a report: `multipart/report` of a text for people, the fields of RFC 3464 for
//! programs, and what of the message is returned (RFC 6522; RFC 6533 where addresses or the
//! message may hold UTF-8).
//!
//! The parts are written first and the boundary is chosen last, as one that occurs in none of
//! them, whoever wrote what is returned.

use std::borrow::Cow;
use std::fmt::Write;

use memchr::memmem;
use smtpd_engine::address::Mailbox;
use smtpd_engine::date::Date;
use smtpd_engine::dsn::{Orcpt, from_xtext};
use smtpd_engine::reply::Enhanced;
use smtpd_engine::server::Peer;
use smtpd_engine::trace::{self, Received, With};

use super::words::{Span, words};
use super::{EXPIRED, Kind, Original, name};
use crate::delivery::Remote;
use crate::envelope::{Envelope, Message};
use crate::id::MessageId;
use crate::schedule;

/// Octets of a text in a field: as many as a reply line has (RFC 5321 section 4.5.3.1.5).
const TEXT: usize = 500;

/// A recipient of whom a report speaks.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The envelope.
    pub envelope: &'a Envelope,
    /// What happened, for programs.
    pub status: Enhanced,
    /// The other server that said so, if it was one.
    pub remote: Option<&'a Remote>,
    /// When the last attempt ended, in microseconds since 1970.
    pub at: u64,
}

impl Recipient<'_> {
    /// What happened, for people.
    fn text(&self) -> Cow<'static, str> {
        let said = self.remote.map(|remote| format!("{} said: {}", remote.host(), remote.reply()));
        match said {
            None => words(self.status).into(),
            // What it said was no more than the last reason to wait.
            Some(said) if self.status == EXPIRED => format!("{}; {said}", words(EXPIRED)).into(),
            Some(said) => said.into(),
        }
    }
}

/// A report that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What it tells.
    pub kind: Kind,
    /// Whom it goes to.
    pub to: &'a Mailbox,
    /// The message it is about.
    pub message: &'a Message,
    /// The recipients it speaks of; at most [`RECIPIENTS`](super::RECIPIENTS).
    pub recipients: &'a [Recipient<'a>],
    /// What of the message is returned.
    pub original: &'a Original,
    /// The id of the report itself.
    pub id: MessageId,
    /// When it is made, in microseconds since 1970.
    pub now: u64,
    /// The local time zone: seconds east of UTC, and its name.
    pub zone: (i32, &'a str),
}

impl Report<'_> {
    /// Whether the report is one that only SMTPUTF8 can carry (RFC 6531).
    #[must_use]
    pub fn smtputf8(&self) -> bool {
        let ascii = |mailbox: &Mailbox| mailbox.as_str().is_ascii();
        self.message.smtputf8
            || !ascii(self.to)
            || self.recipients.iter().any(|one| {
                let Envelope { rcpt, dest, .. } = one.envelope;
                !ascii(rcpt) || !ascii(dest)
            })
    }

    /// The report, with CR LF.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let utf8 = self.smtputf8();
        let charset = if utf8 { "utf-8" } else { "us-ascii" };
        let status =
            if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
        let text = crlf(&self.text());
        let fields = self.fields(utf8);
        let mut parts = vec![
            ("Notification", format!("text/plain; charset={charset}"), text.as_bytes()),
            ("Delivery Report", status.to_owned(), fields.as_bytes()),
        ];
        let (description, kind) = match (self.original, utf8) {
            (Original::Whole(_), false) => ("Message", "message/rfc822"),
            (Original::Whole(_), true) => ("Message", "message/global"),
            (_, false) => ("Message headers", "text/rfc822-headers"),
            (_, true) => ("Message headers", "message/global-headers"),
        };
        parts.extend(self.original.octets().map(|octets| (description, kind.to_owned(), octets)));
        let boundary = self.boundary(|line| {
            parts.iter().any(|(_, _, octets)| memmem::find(octets, line.as_bytes()).is_some())
        });

        let mut octets = self.header(&boundary, parts.iter().all(|(_, _, o)| o.is_ascii()));
        for (description, kind, content) in parts {
            let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
            let head = format!(
                "\r\n--{boundary}\r\n\
                 Content-Description: {description}\r\n\
                 Content-Type: {kind}\r\n\
                 Content-Transfer-Encoding: {encoding}\r\n\
                 \r\n"
            );
            octets.extend_from_slice(head.as_bytes());
            octets.extend_from_slice(content);
            // The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
            if !content.is_empty() && !content.ends_with(b"\r\n") {
                octets.extend_from_slice(b"\r\n");
            }
        }
        octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        octets
    }

    fn header(&self, boundary: &str, ascii: bool) -> Vec<u8> {
        let Self { kind, to, id, now, .. } = self;
        let name = name(self.message);
        let mut octets = Vec::new();
        let received = Received {
            from: Some(trace::From { helo: name, rdns: name, peer: &Peer::Local }),
            by: name,
            with: With { esmtp: true, smtputf8: self.smtputf8(), tls: false, auth: true },
            id: &id.to_string(),
            tls: None,
            auth: None,
            recipient: Some(to),
            date: self.date(*now),
        };
        trace::received(&received, &mut octets);
        // Unique for as long as message ids are, and beyond by the time.
        let unique = u64::from(id.as_u32()) << 32 | u64::from((now / 1_000_000) as u32);
        let fields = format!(
            "From: Mailer Daemon <MAILER-DAEMON@{name}>\r\n\
             To: <{to}>\r\n\
             Subject: Delivery status notification: {action}\r\n\
             Date: {date}\r\n\
             Message-ID: <{unique:016x}@{name}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\
             \tboundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\
             \r\n\
             This is a MIME-encapsulated message.\r\n",
            action = kind.action(),
            date = self.date(*now),
            encoding = if ascii { "7bit" } else { "8bit" },
        );
        octets.extend_from_slice(fields.as_bytes());
        octets
    }

    /// The text for people, with LF.
    fn text(&self) -> String {
        let mut text = format!(
            "    Hello!\n\n    This is the mail system at {}. Please do not reply to this message:\n    \
             nobody would read it.\n\n",
            name(self.message)
        );
        let put = |text: &mut String, line: std::fmt::Arguments<'_>| {
            text.write_fmt(line).expect("a string takes every text");
        };
        match self.kind {
            Kind::Delivered => text.push_str(
                "    Your message was delivered to the following recipients:\n\n",
            ),
            Kind::Relayed => text.push_str(
                "    Your message was handed on for the following recipients, to servers that do\n    \
                 not promise to tell you when it is delivered:\n\n",
            ),
            Kind::Failed => text.push_str(
                "    Your message could not be delivered to the following recipients, and will\n    \
                 not be tried again:\n\n",
            ),
            Kind::Delayed(age) => put(
                &mut text,
                format_args!(
                    "    Your message has been waiting for more than {}. It could not be\n    \
                     delivered yet to the following recipients:\n\n",
                    Span(age)
                ),
            ),
        }
        for one in self.recipients {
            let envelope = one.envelope;
            if self.kind == Kind::Delivered {
                put(&mut text, format_args!("{}\n", envelope.rcpt));
                continue;
            }
            let why = printable(&one.text(), self.smtputf8());
            // Lines of mail are shorter than 1,000 octets (RFC 5321 section 4.5.3.1.6).
            let gap = if envelope.rcpt.as_str().len() + why.len() < 900 { " " } else { "\n    " };
            put(&mut text, format_args!("{}:{gap}{why}\n", envelope.rcpt));
        }
        if let Kind::Delayed(_) = self.kind {
            let ttl = self.recipients.iter().map(|one| one.envelope.ttl).max().unwrap_or_default();
            put(
                &mut text,
                format_args!(
                    "\n    This is only a notice. The message is kept in the queue for up to {},\n    \
                     and delivery is tried again by itself. You need not send it again.\n",
                    Span(std::time::Duration::from_secs(ttl.into()))
                ),
            );
        }
        match self.original {
            Original::Whole(_) => text.push_str("\n    A copy of your message is below.\n"),
            Original::Header(_) => text.push_str("\n    The header of your message is below.\n"),
            Original::Nothing => {}
        }
        text
    }

    /// The fields for programs (RFC 3464 section 2), with CR LF.
    fn fields(&self, utf8: bool) -> String {
        let Self { message, .. } = self;
        let mut fields = String::new();
        let mut put = |name: &str, value: std::fmt::Arguments<'_>| {
            write!(fields, "{name}: {value}\r\n").expect("a string takes every text");
        };
        put("Reporting-MTA", format_args!("dns; {}", name(self.message)));
        if let Some(envid) = &message.envid {
            let envid = from_xtext(envid).unwrap_or_else(|| envid.clone());
            put("Original-Envelope-Id", format_args!("{}", printable(&envid, utf8)));
        }
        put("Arrival-Date", format_args!("{}", self.date(message.ctime)));
        for Recipient { envelope, status, remote, at } in self.recipients {
            fields.push_str("\r\n");
            let mut put = |name: &str, value: std::fmt::Arguments<'_>| {
                write!(fields, "{name}: {value}\r\n").expect("a string takes every text");
            };
            if let Some(orcpt) = envelope.orcpt.as_deref().and_then(Orcpt::parse) {
                let address = from_xtext(orcpt.address());
                let address = address.as_deref().unwrap_or(orcpt.address());
                let value = format_args!("{}; {}", orcpt.kind(), printable(address, utf8));
                put("Original-Recipient", value);
            }
            let dest = envelope.dest.as_str();
            let kind = if dest.is_ascii() { "rfc822" } else { "utf-8" };
            put("Final-Recipient", format_args!("{kind}; {dest}"));
            put("Action", format_args!("{}", self.kind.action()));
            put("Status", format_args!("{status}"));
            match remote {
                Some(remote) => {
                    put("Remote-MTA", format_args!("dns; {}", printable(remote.host(), utf8)));
                    let reply = printable(remote.reply(), utf8);
                    put("Diagnostic-Code", format_args!("smtp; {reply}"));
                }
                None if self.kind.is_success() => {}
                // Said by this system, not by a peer in SMTP, hence the type.
                None => put("Diagnostic-Code", format_args!("x-local; {}", words(*status))),
            }
            put("Last-Attempt-Date", format_args!("{}", self.date(*at)));
            if let Kind::Delayed(_) = self.kind {
                let end = schedule::expiry(message.ctime, envelope.ttl);
                put("Will-Retry-Until", format_args!("{}", self.date(end)));
            }
        }
        fields
    }

    /// A boundary that does not occur behind two hyphens, as `occurs` says.
    fn boundary(&self, occurs: impl Fn(&str) -> bool) -> String {
        let boundary = |nth| format!("report-{}-{nth}", self.id);
        let free = (0..).map(boundary).find(|boundary| !occurs(&format!("--{boundary}")));
        free.expect("what is finite holds finitely many of them")
    }

    fn date(&self, micros: u64) -> Date<'_> {
        let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
        Date::from_unix(seconds, self.zone.0, self.zone.1)
    }
}

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// A text as it may stand in a line: no control character or line end, of bounded length, and without
/// `utf8` in ASCII, where other characters are written as RFC 6533 section 3 writes them.
fn printable(text: &str, utf8: bool) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let start = line.len();
        match c {
            // The last two are what some readers of UTF-8 take for line ends.
            _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => line.push('?'),
            _ if c.is_ascii() || utf8 => line.push(c),
            _ => write!(line, "\\x{{{:X}}}", u32::from(c)).expect("a string takes every text"),
        }
        if line.len() > TEXT {
            line.truncate(start);
            break;
        }
    }
    line
}
