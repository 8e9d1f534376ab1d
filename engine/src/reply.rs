//! Replies (RFC 5321 section 4.2) with enhanced status codes (RFC 3463), and the texts
//! that the programs say.
//!
//! A [`Reply`] that can be built can be sent: the code is 200 to 599, and the text holds
//! printable ASCII only (section 4.2.1: `textstring`), so nothing that a peer, a table or
//! a filter gave us can add a line to what we send. The texts are upstream's, which
//! log readers and clients' tests know, unless a comment says why not.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use crate::address::HeloName;
use crate::limits;
use crate::server::Peer;

/// An enhanced status code: class, subject, detail (RFC 3463 section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Enhanced {
    /// 2, 4 or 5: the first digit of the reply code.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl Enhanced {
    /// The enhanced code of a reply in one line, `250 2.0.0 Ok`, if it has one that fits its code.
    #[must_use]
    pub fn of_reply(line: &str) -> Option<Self> {
        let (code, text) = line.split_once(' ')?;
        split_enhanced(code.parse().ok()?, text).map(|(enhanced, _)| enhanced)
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// One reply line: what answers a command, and what a question is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    code: u16,
    enhanced: Option<Enhanced>,
    text: Cow<'a, str>,
}

/// Why a text is not a reply: it does not begin with a code from 200 to 599 and a blank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAReply;

impl fmt::Display for NotAReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reply begins with a code from 200 to 599")
    }
}

impl std::error::Error for NotAReply {}

impl<'a> Reply<'a> {
    /// A reply with `text`, in which octets that a reply line cannot hold become `?`,
    /// cut at [`limits::REPLY_TEXT`] octets. `enhanced` is subject and detail; the class
    /// is that of the code.
    ///
    /// # Panics
    ///
    /// When `code` is not in 200 to 599, or `enhanced` has a number above 999 or stands
    /// with a code of class 3: codes come from our own text, never from a peer.
    #[must_use]
    pub fn new(code: u16, enhanced: Option<(u16, u16)>, text: impl Into<Cow<'a, str>>) -> Self {
        Self { code: valid(code), enhanced: class(code, enhanced), text: printable(text.into()) }
    }

    /// The same for a text that is known when the program is built.
    ///
    /// # Panics
    ///
    /// As [`Reply::new`], and when `text` could not be sent as it stands; at compile time
    /// where the reply is a constant.
    #[must_use]
    pub const fn fixed(code: u16, enhanced: Option<(u16, u16)>, text: &'static str) -> Self {
        let octets = text.as_bytes();
        assert!(octets.len() <= limits::REPLY_TEXT, "the text of a reply is too long");
        let mut i = 0;
        while i < octets.len() {
            assert!(is_printable(octets[i]), "the text of a reply is printable ASCII");
            i += 1;
        }
        Self { code: valid(code), enhanced: class(code, enhanced), text: Cow::Borrowed(text) }
    }

    /// Reads `550 5.1.1 text` or `550 text`, the form of filters and `error:` aliases. An
    /// enhanced code that does not fit the code is text.
    ///
    /// # Errors
    ///
    /// When there is no code, or none from 200 to 599, followed by a blank or the end.
    pub fn parse(line: &'a str) -> Result<Self, NotAReply> {
        let (code, rest) = line.split_at_checked(3).ok_or(NotAReply)?;
        if !code.bytes().all(|c| c.is_ascii_digit()) {
            return Err(NotAReply);
        }
        let code: u16 = code.parse().map_err(|_| NotAReply)?;
        if !(200..600).contains(&code) || !(rest.is_empty() || rest.starts_with(' ')) {
            return Err(NotAReply);
        }
        let rest = rest.trim_start_matches(' ');
        let (enhanced, text) = match split_enhanced(code, rest) {
            Some((enhanced, text)) => (Some(enhanced), text),
            None => (None, rest),
        };
        Ok(Self { code, enhanced, text: printable(Cow::Borrowed(text)) })
    }

    /// The reply code, 200 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first digit of the code: 2 accepts, 3 asks for more, 4 and 5 refuse.
    #[must_use]
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Whether it refuses, for now or for good.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.code >= 400
    }

    /// The enhanced status code, if there is one.
    #[must_use]
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced
    }

    /// What follows the codes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same reply with a text of its own.
    #[must_use]
    pub fn into_owned(self) -> Reply<'static> {
        Reply { code: self.code, enhanced: self.enhanced, text: Cow::Owned(self.text.into_owned()) }
    }

    /// Adds the line and its CR LF to `out`, without allocating while `out` has room.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(b"", out);
    }

    /// The line with `detail` behind its text, made printable as in [`Reply::new`].
    pub(crate) fn write_with(&self, detail: &[u8], out: &mut Vec<u8>) {
        self.write_head(b' ', out);
        let room = limits::REPLY_TEXT.saturating_sub(self.text.len());
        let detail = detail.get(..room).unwrap_or(detail);
        out.extend(detail.iter().map(|&c| if is_printable(c) { c } else { b'?' }));
        out.extend_from_slice(b"\r\n");
    }

    /// The line up to its text with `mark` behind the code: `-` when more lines follow.
    pub(crate) fn write_head(&self, mark: u8, out: &mut Vec<u8>) {
        let digit = |n: u16| b'0' + (n % 10) as u8;
        out.extend([digit(self.code / 100), digit(self.code / 10), digit(self.code), mark]);
        if let Some(enhanced) = self.enhanced {
            write!(out, "{enhanced} ").expect("a vector takes every octet");
        }
        out.extend_from_slice(self.text.as_bytes());
    }
}

impl fmt::Display for Reply<'_> {
    /// The line without CR LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text)
    }
}

const fn valid(code: u16) -> u16 {
    assert!(code >= 200 && code < 600, "a reply code is 200 to 599");
    code
}

const fn class(code: u16, enhanced: Option<(u16, u16)>) -> Option<Enhanced> {
    match enhanced {
        None => None,
        Some((subject, detail)) => {
            assert!(code < 300 || code >= 400, "replies 3yz have no enhanced code");
            assert!(subject < 1000 && detail < 1000, "numbers of up to three digits");
            Some(Enhanced { class: (code / 100) as u8, subject, detail })
        }
    }
}

/// Section 4.2.1: a text line holds HT and %d32-126. HT is left out: it shows badly in
/// the quotes of a log line.
const fn is_printable(octet: u8) -> bool {
    octet >= b' ' && octet < 0x7f
}

fn printable(mut text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.bytes().all(is_printable) {
        text = text
            .chars()
            .map(|c| if u8::try_from(c).is_ok_and(is_printable) { c } else { '?' })
            .collect();
    }
    if text.len() > limits::REPLY_TEXT {
        match &mut text {
            Cow::Borrowed(text) => *text = &text[..limits::REPLY_TEXT],
            Cow::Owned(text) => text.truncate(limits::REPLY_TEXT),
        }
    }
    text
}

/// The enhanced code that `text` begins with, if it fits `code`, and what follows it.
pub(crate) fn split_enhanced(code: u16, text: &str) -> Option<(Enhanced, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = word.split('.').map(|n| {
        let short = (1..=3).contains(&n.len()) && n.bytes().all(|c| c.is_ascii_digit());
        short.then(|| n.parse::<u16>().ok()).flatten()
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() || class != code / 100 || class == 3 {
        return None;
    }
    Some((Enhanced { class: class as u8, subject, detail }, rest))
}

/// The banner: `220 NAME ESMTP OpenSMTPD`.
#[must_use]
pub fn banner(name: &str) -> Reply<'static> {
    Reply::new(220, None, format!("{name} ESMTP OpenSMTPD"))
}

/// The first line of what answers HELO and EHLO: `250 NAME Hello ARG [ip], pleased to meet you`.
#[must_use]
pub fn hello(name: &str, helo: &HeloName<'_>, peer: &Peer) -> Reply<'static> {
    Reply::new(250, None, format!("{name} Hello {helo} {}, pleased to meet you", peer.bracketed()))
}

/// To HELP, its first line.
pub const HELP: Reply<'static> =
    Reply::fixed(214, Some((0, 0)), concat!("This is Hermes ", env!("CARGO_PKG_VERSION")));

/// Names each reply, its code, its enhanced code and its text.
macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $code:literal $(($subject:literal . $detail:literal))? $text:literal;)*) => {
        $($(#[$doc])*
        pub const $name: Reply<'static> = Reply::fixed($code, replies!(@ $($subject, $detail)?), $text);)*
    };
    (@) => { None };
    (@ $subject:literal, $detail:literal) => { Some(($subject, $detail)) };
}

replies! {
    /// To MAIL, NOOP and each BDAT but the last.
    OK = 250 (0 . 0) "Ok";
    /// To RCPT.
    RCPT_OK = 250 (1 . 5) "Destination address valid: Recipient ok";
    /// To DATA. Accepts the first BDAT too, where it is not sent.
    SEND_DATA = 354 "Enter mail, end with \".\" on a line by itself";
    /// To RSET.
    RESET = 250 (0 . 0) "Reset state";
    /// To QUIT.
    BYE = 221 (0 . 0) "Bye";
    /// To STARTTLS.
    START_TLS = 220 (0 . 0) "Ready to start TLS";
    /// To AUTH.
    AUTHENTICATED = 235 (0 . 0) "Authentication succeeded";
    /// To VRFY. Upstream does not know the command; RFC 5321 section 7.3 has this reply
    /// for a server that does not want to tell.
    CANNOT_VRFY = 252 (5 . 2) "Cannot VRFY user, but will accept message and attempt delivery";
    /// To HELP, its second line.
    HELP_COMMANDS = 214 (0 . 0) "HELO EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
    /// To HELP, its last line.
    HELP_END = 214 (0 . 0) "End of HELP info";
    /// To EXPN (RFC 5321 section 4.2.2).
    NOT_IMPLEMENTED = 502 (5 . 1) "Invalid command: Command not implemented";

    /// A command that is known, but not now.
    NOT_NOW = 503 (5 . 1) "Invalid command: Command not allowed at this point.";
    /// An extension that is not offered.
    NOT_OFFERED = 503 (5 . 1) "Invalid command: Command not supported";
    /// STARTTLS under TLS.
    ALREADY_SECURED = 503 (5 . 1) "Invalid command: Channel already secured";
    /// AUTH a second time.
    ALREADY_AUTHENTICATED = 503 (5 . 1) "Invalid command: Already authenticated";
    /// DATA and BDAT before an accepted recipient.
    NO_RECIPIENT = 503 (5 . 4) "Invalid command arguments: No recipient specified";
    /// Octets that wait where the client had to wait for a reply (RFC 2920 section 3.1).
    /// The session ends: what waits was written for another state.
    NOT_SYNCHRONISED = 503 (5 . 0) "Invalid command: Pipelining not allowed here";

    /// A command that nobody knows.
    UNRECOGNIZED = 500 (5 . 1) "Invalid command: Command unrecognized";
    /// A command line of more than [`limits::COMMAND_LINE`] octets. The session ends.
    LINE_TOO_LONG = 500 (0 . 0) "Command line too long";
    /// A command line that ends in a bare LF. The session ends.
    BARE_LF = 500 (5 . 2) "Syntax error: Line must end in CR LF";
    /// A command line with NUL, CR or another control character in it.
    CONTROL_CHARACTER = 500 (5 . 2) "Syntax error: Control character in command";
    /// The argument of MAIL, RCPT or BDAT does not have their form, or a parameter is
    /// there twice.
    BAD_ARGUMENTS = 501 (5 . 4) "Invalid command arguments: Syntax error";
    /// WIZ, which let sendmail's authors in once.
    WIZ = 500 (5 . 1) "Invalid command: this feature is not supported yet ;-)";
    /// DATA, RSET and QUIT with an argument.
    NO_ARGUMENTS = 500 (5 . 4) "Invalid command arguments: command does not accept arguments.";
    /// STARTTLS with an argument.
    NO_PARAMETERS = 501 (5 . 4) "Invalid command arguments: No parameters allowed";
    /// AUTH without an argument.
    NO_MECHANISM = 501 (5 . 4) "Invalid command arguments: No parameters given";
    /// HELO without a name.
    HELO_NEEDS_NAME = 501 (5 . 1) "Invalid command: HELO requires domain name";
    /// EHLO without a name.
    EHLO_NEEDS_NAME = 501 (5 . 1) "Invalid command: EHLO requires domain name";
    /// HELO or EHLO with something that cannot be written into a header field.
    BAD_NAME = 501 (5 . 4) "Invalid command arguments: Invalid domain name";
    /// AUTH with a mechanism that is not offered, and does not look like the name of one.
    NO_SUCH_MECHANISM = 504 (7 . 4) "Security features not supported: AUTH method not supported";
    /// Bad base64, bad form of credentials, or `*`.
    BAD_AUTH = 501 (5 . 2) "Syntax error: Syntax error";
    /// MAIL before TLS where it is required.
    TLS_REQUIRED = 530 (5 . 1) "Invalid command: Must issue a STARTTLS command first";
    /// MAIL before AUTH where it is required.
    AUTH_REQUIRED = 530 (5 . 1) "Invalid command: Must issue an AUTH command first";
    /// More transactions than `max-mails`.
    TOO_MANY_MAILS = 452 (5 . 3) "Too many recipients: Too many messages sent";
    /// More recipients than `max-rcpt` (452 in RFC 5321 section 4.5.3.1.10, upstream 451).
    TOO_MANY_RECIPIENTS = 452 (5 . 3) "Too many recipients: Too many recipients";
    /// The client's network tries out addresses that stand for others (SRS).
    TOO_MANY_GUESSES = 450 (7 . 1) "Too many wrong rewritten addresses from your network";
    /// The address of MAIL.
    BAD_SENDER = 553 (1 . 0) "Sender address syntax error";
    /// The address of RCPT.
    BAD_RECIPIENT = 501 (1 . 3) "Recipient address syntax error";
    /// An address outside ASCII in a transaction without SMTPUTF8 (RFC 6531 section 3.5).
    NEEDS_SMTPUTF8 = 553 (6 . 7) "Non-ASCII addresses not permitted: SMTPUTF8 parameter missing";
    /// A parameter of MAIL or RCPT that is not known; it follows the text. Upstream says
    /// 503; 555 is the code of RFC 5321 section 4.1.1.11.
    UNSUPPORTED_OPTION = 555 (5 . 4) "Invalid command arguments: Unsupported option ";
    /// A value that a parameter cannot have. Upstream ignores unknown words of NOTIFY and
    /// RET: the sender would believe that he will hear of it.
    BAD_OPTION = 501 (5 . 4) "Invalid command arguments: Bad value of option ";
    /// NOTIFY=NEVER with other words.
    NOTIFY_CONFLICT = 553 (5 . 4) "NOTIFY option NEVER cannot be combined with other options";
    /// ORCPT that is no `type;xtext`.
    BAD_ORCPT = 553 (5 . 4) "ORCPT address syntax error";

    /// A message above the size limit, declared or sent (RFC 1870; upstream says 554).
    TOO_BIG = 552 (3 . 4) "Message too big for system: Transaction failed, message too big";
    /// A message with [`limits::HOPS`] Received fields (RFC 5321 section 6.3; upstream 500).
    LOOP = 554 (4 . 6) "Routing loop detected: Loop detected";
    /// Bare CR, bare LF or NUL in mail data, or a line that is too long. Upstream takes
    /// them, which lets one message be read as two (RFC 5321 section 2.3.8).
    BAD_DATA = 554 (6 . 0) "Message content rejected: bare CR, bare LF or NUL";
    /// A line of more than [`limits::TEXT_LINE`] octets.
    BAD_LINE = 554 (6 . 0) "Message content rejected: Line too long";
    /// A header that a rule had to read, and could not.
    NOT_COMPLIANT = 550 (7 . 1) "Delivery not authorized, message refused: Message is not RFC 2822 compliant";
    /// No space in the queue.
    NO_SPACE = 452 (3 . 1) "Mail system full: Temporary failure";
    /// The queue did not take it. The session goes on (upstream's 421 would end it).
    NOT_QUEUED = 451 (3 . 0) "Temporary failure";

    /// `senders` does not allow the reverse-path.
    SENDER_REJECTED = 530 (7 . 0) "Sender rejected";
    /// No rule takes the recipient, or no such user; bin adds `: <rcpt>`.
    INVALID_RECIPIENT = 550 (1 . 1) "Invalid recipient";
    /// A look-up failed.
    TEMPORARY_FAILURE = 451 (3 . 0) "Temporary failure";
    /// AUTH with the wrong password.
    AUTH_FAILED = 535 (7 . 8) "Authentication failed";
    /// AUTH that could not be looked up (RFC 4954 section 6; upstream's 421 is for closing).
    AUTH_UNAVAILABLE = 454 (7 . 0) "Temporary authentication failure";
    /// STARTTLS that cannot be had just now (RFC 3207 section 4).
    TLS_UNAVAILABLE = 454 (7 . 0) "TLS not available";

    /// HTTP, or a header line where a command should be: somebody makes a browser or a
    /// broken client talk to us. The session ends.
    NOT_SMTP = 421 (7 . 0) "Not an SMTP command";
    /// [`limits::FAILURES`] failures in a row. The session ends.
    TOO_MANY_FAILURES = 421 (7 . 0) "Too many failed commands";
    /// Too many attempts of AUTH have failed. The session ends.
    TOO_MANY_LOGINS = 421 (7 . 0) "Too many authentication failures";
    /// The peer let its time pass. The session ends. Upstream closes without a word; RFC
    /// 5321 section 4.5.3.2 lets the peer know.
    TIMED_OUT = 421 (4 . 2) "Timeout";
    /// Mail data below [`limits::DATA_PACE`]. The session ends.
    TOO_SLOW = 421 (4 . 2) "Timeout: mail data too slow";
    /// The banner question was not answered in time. The session ends.
    NOT_AVAILABLE = 421 (3 . 0) "Temporary failure";
    /// The server is stopping (RFC 5321 section 3.8).
    SHUTTING_DOWN = 421 (3 . 2) "Service shutting down";
    /// No place for another connection.
    TOO_BUSY = 421 (3 . 2) "Too many connections";
    /// Too many connections of one source.
    TOO_MANY_FROM_SOURCE = 421 (7 . 0) "Too many connections from your address";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reply: &Reply<'_>) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn are_written_as_one_line() {
        assert_eq!(line(&RCPT_OK), "250 2.1.5 Destination address valid: Recipient ok\r\n");
        assert_eq!(line(&Reply::fixed(334, None, "")), "334 \r\n");
        let hostile = Reply::new(550, Some((1, 1)), "a\r\n250 b\0\u{fc}\t");
        assert_eq!(line(&hostile), "550 5.1.1 a??250 b???\r\n");
        assert_eq!(hostile.to_string() + "\r\n", line(&hostile));
        let long = Reply::new(550, None, "x".repeat(2000));
        assert_eq!(line(&long).len(), 4 + limits::REPLY_TEXT + 2);
        assert_eq!(Reply::parse(&format!("550 {}", "ü".repeat(900))).unwrap().text().len(), 490);
        let mut out = Vec::new();
        UNSUPPORTED_OPTION.write_with("x\r\n".repeat(999).as_bytes(), &mut out);
        assert!(out.len() <= 512 && out.iter().filter(|c| **c == b'\n').count() == 1);
    }

    #[test]
    fn are_read_from_text() {
        let read = |text| Reply::parse(text).map(|reply| (reply.code(), reply.to_string()));
        for text in [
            "550 5.1.1 No such user",
            "250 ok",
            "421 4.7.0 ",
            "550 5.1 x",
            "550 4.1.1 x",
            "550 5.1.1000 x",
        ] {
            assert_eq!(read(text).unwrap().1, text);
        }
        let reply = Reply::parse("550 5.1.1 x").unwrap();
        assert_eq!(reply.enhanced(), Some(Enhanced { class: 5, subject: 1, detail: 1 }));
        assert_eq!(reply.text(), "x");
        for odd in ["550 4.1.1 x", "550 5.1 x", "354 3.0.0 x", "550 5.+1.1 x", "550 5.1.1.1 x"] {
            assert_eq!(Reply::parse(odd).unwrap().enhanced(), None, "{odd}");
        }
        assert_eq!(read("550").unwrap(), (550, "550 ".to_owned()));
        for bad in ["", "55", "550-x", "5500 x", "199 x", "600 x", "+50 x", "abc", "5ü"] {
            assert_eq!(read(bad), Err(NotAReply), "{bad}");
        }
    }

    #[test]
    #[should_panic(expected = "200 to 599")]
    fn other_codes_are_a_mistake_of_ours() {
        let _ = Reply::new(199, None, "x");
    }
}
