//! Command lines (RFC 5321 section 4.1.1, RFC 3030 section 2, RFC 3207, RFC 4954).
//!
//! Reading is in two parts, because the order of a session's checks is: first the verb,
//! then whether it is allowed now, then its argument. All of it borrows.

use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_while, take_while1};
use nom::character::complete::{digit1, space0, space1};
use nom::combinator::{all_consuming, map, opt, value};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::address::{self, HeloName, PathRef};
use crate::reply::{self, Reply};

/// A command line by its verb. Arguments have lost their leading and trailing blanks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command<'i> {
    /// HELO or EHLO, with a name or what is wrong with it.
    Hello {
        esmtp: bool,
        name: Result<HeloName<'i>, Reply<'static>>,
    },
    StartTls(&'i [u8]),
    Auth(&'i [u8]),
    Mail(&'i [u8]),
    Rcpt(&'i [u8]),
    Data(&'i [u8]),
    Bdat(Chunk),
    Rset(&'i [u8]),
    Noop(&'i [u8]),
    Help,
    Vrfy,
    Expn,
    Quit(&'i [u8]),
    Wiz,
    /// HTTP, or a header field: somebody makes another program talk to us.
    Foreign,
    /// A control character in the line; no such line is a command.
    Control,
    Unknown,
}

/// The argument of BDAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    /// How many octets follow the line, or `u64::MAX` if it says more; `None` when it does
    /// not say.
    pub size: Option<u64>,
    /// Whether it is the last; `None` when something else than LAST follows the size.
    pub last: Option<bool>,
}

impl<'i> Command<'i> {
    /// Reads a line without its CR LF.
    pub(crate) fn parse(line: &'i [u8]) -> Self {
        let control = line.iter().any(|&c| c.is_ascii_control() && c != b'\t');
        let (argument, verb) = split(trim_end(line));
        let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
        match verb.len() {
            // The name of a greeting refuses them by itself.
            _ if control && !is("HELO") && !is("EHLO") => Self::Control,
            _ if is_field(verb) => Self::Foreign,
            3 if is("GET") || is("PUT") => Self::Foreign,
            4 if is("POST") => Self::Foreign,
            3 if is("WIZ") => Self::Wiz,
            4 if is("HELO") => Self::Hello { esmtp: false, name: name(argument, false) },
            4 if is("EHLO") => Self::Hello { esmtp: true, name: name(argument, true) },
            4 if is("MAIL") => Self::Mail(argument),
            4 if is("RCPT") => Self::Rcpt(argument),
            4 if is("DATA") => Self::Data(argument),
            4 if is("BDAT") => Self::Bdat(chunk(argument)),
            4 if is("RSET") => Self::Rset(argument),
            4 if is("NOOP") => Self::Noop(argument),
            4 if is("HELP") => Self::Help,
            4 if is("VRFY") => Self::Vrfy,
            4 if is("EXPN") => Self::Expn,
            4 if is("QUIT") => Self::Quit(argument),
            4 if is("AUTH") => Self::Auth(argument),
            7 if is("CONNECT") => Self::Foreign,
            8 if is("STARTTLS") => Self::StartTls(argument),
            _ => Self::Unknown,
        }
    }
}

fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// The verb, and the argument behind the blanks that end it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let verb = take_while::<_, _, ()>(|c| c != b' ' && c != b'\t');
    terminated(verb, space0).parse(line).unwrap_or((b"", line))
}

/// `Subject: ...`: a field name (RFC 5322 section 2.2) with its colon. No verb has one:
/// that of `MAIL FROM:` stands behind a blank.
fn is_field(verb: &[u8]) -> bool {
    memchr::memchr(b':', verb).is_some_and(|at| at > 0 && verb[..at].is_ascii())
}

fn name(argument: &[u8], esmtp: bool) -> Result<HeloName<'_>, Reply<'static>> {
    match HeloName::parse(argument) {
        Some(name) => Ok(name),
        None if !argument.is_empty() => Err(reply::BAD_NAME),
        None if esmtp => Err(reply::EHLO_NEEDS_NAME),
        None => Err(reply::HELO_NEEDS_NAME),
    }
}

fn chunk(argument: &[u8]) -> Chunk {
    let parsed: IResult<&[u8], &[u8]> = digit1(argument);
    let Ok((rest, digits)) = parsed else {
        return Chunk { size: None, last: None };
    };
    let size = digits
        .iter()
        .try_fold(0u64, |n, c| n.checked_mul(10)?.checked_add(u64::from(c - b'0')))
        .unwrap_or(u64::MAX);
    let last =
        map(opt(preceded(space1, tag_no_case("LAST"))), |last: Option<&[u8]>| last.is_some());
    let last: IResult<&[u8], bool> = all_consuming(last).parse(rest);
    Chunk { size: Some(size), last: last.ok().map(|(_, last)| last) }
}

/// What is wrong with the argument of MAIL or RCPT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadPath {
    /// It does not begin with `FROM:` or `TO:`.
    Form,
    /// There is no path behind it, or it is not UTF-8.
    Path,
}

/// `FROM:<path> parameters`. Blanks before the path are upstream's, and many clients'.
pub(crate) fn mail(argument: &[u8]) -> Result<(Option<PathRef<'_>>, &str), BadPath> {
    path("FROM:", argument)
}

/// `TO:<path> parameters`.
pub(crate) fn rcpt(argument: &[u8]) -> Result<(PathRef<'_>, &str), BadPath> {
    let (path, params) = path("TO:", argument)?;
    path.map(|path| (path, params)).ok_or(BadPath::Path)
}

fn path<'i>(word: &str, argument: &'i [u8]) -> Result<(Option<PathRef<'i>>, &'i str), BadPath> {
    let start: IResult<&[u8], &[u8]> = terminated(tag_no_case(word), space0).parse(argument);
    let (rest, _) = start.map_err(|_| BadPath::Form)?;
    let rest = str::from_utf8(rest).map_err(|_| BadPath::Path)?;
    address::path(rest).ok_or(BadPath::Path)
}

/// A mechanism of AUTH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mechanism<'i> {
    Plain,
    Login,
    /// SCRAM-SHA-256 (RFC 7677), perhaps bound to the channel.
    Scram {
        plus: bool,
    },
    /// Its name, if it is written like one.
    Other(Option<&'i str>),
}

/// `MECHANISM [initial-response]` (RFC 4954 section 4).
pub(crate) fn auth(argument: &[u8]) -> (Mechanism<'_>, Option<&[u8]>) {
    let word = |i| take_while1::<_, &[u8], ()>(|c| c != b' ' && c != b'\t')(i);
    let known = |i| {
        all_consuming(alt((
            value(Mechanism::Plain, tag_no_case::<_, &[u8], ()>("PLAIN")),
            value(Mechanism::Login, tag_no_case("LOGIN")),
            value(Mechanism::Scram { plus: true }, tag_no_case("SCRAM-SHA-256-PLUS")),
            value(Mechanism::Scram { plus: false }, tag_no_case("SCRAM-SHA-256")),
        )))
        .parse(i)
    };
    let (rest, name) = word(argument).unwrap_or((b"", argument));
    let mechanism = known(name).map_or_else(
        |_| {
            // RFC 4422 section 3.1. Anything else may be a password in the wrong place,
            // which is not for the log.
            let like = |c: &u8| c.is_ascii_alphanumeric() || *c == b'-' || *c == b'_';
            let named = name.len() <= 20 && name.iter().all(like);
            Mechanism::Other(str::from_utf8(name).ok().filter(|_| named))
        },
        |(_, mechanism)| mechanism,
    );
    let initial = rest.trim_ascii_start();
    (mechanism, (!initial.is_empty()).then_some(initial))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command<'_> {
        Command::parse(line.as_bytes())
    }

    #[test]
    fn verbs_in_any_case_with_blanks_behind() {
        assert_eq!(parse("quit"), Command::Quit(b""));
        assert_eq!(parse("QuIt  \t"), Command::Quit(b""));
        assert_eq!(parse("RSET  x y "), Command::Rset(b"x y"));
        assert_eq!(parse("NOOP"), Command::Noop(b""));
        assert_eq!(parse("HELP MAIL"), Command::Help);
        assert_eq!(parse("VRFY postmaster"), Command::Vrfy);
        for unknown in ["", " QUIT", "QUITX", "ETRN", ".", "\u{fc}"] {
            assert_eq!(parse(unknown), Command::Unknown, "{unknown}");
        }
    }

    #[test]
    fn foreign_and_control() {
        for line in ["GET / HTTP/1.1", "POST x", "put", "CONNECT a:25", "Host: a", "Subject:x"] {
            assert_eq!(parse(line), Command::Foreign, "{line}");
        }
        for line in ["NOOP\0", "NOOP\r", "QUIT \r", "\x1b[A", "RSET \x7f"] {
            assert_eq!(parse(line), Command::Control, "{line:?}");
        }
        assert!(matches!(parse("MAIL FROM:<a@b>"), Command::Mail(_)));
        assert_eq!(parse(": x"), Command::Unknown);
    }

    #[test]
    fn hello_takes_what_life_brings() {
        let name = |line| match parse(line) {
            Command::Hello { name, .. } => name.map(HeloName::as_str),
            other => panic!("{other:?}"),
        };
        for (line, expected) in [
            ("EHLO client.example.org", "client.example.org"),
            ("HELO  trailing.dot. ", "trailing.dot."),
            ("EHLO my_pc", "my_pc"),
            ("EHLO 192.0.2.1", "192.0.2.1"),
            ("EHLO [IPv6:::1]", "[IPv6:::1]"),
            ("EHLO Bob's computer", "Bob's computer"),
        ] {
            assert_eq!(name(line), Ok(expected));
        }
        assert_eq!(name("EHLO"), Err(reply::EHLO_NEEDS_NAME));
        assert_eq!(name("HELO \t "), Err(reply::HELO_NEEDS_NAME));
        let long = format!("EHLO {}", "a".repeat(256));
        assert_eq!(name(&long), Err(reply::BAD_NAME));
        assert_eq!(name(&long[..260]).map(str::len), Ok(255));
        for odd in [&b"EHLO \xff"[..], b"EHLO a\rb", b"EHLO a\r", b"EHLO \0", b"EHLO a\tb"] {
            let refused = Command::Hello { esmtp: true, name: Err(reply::BAD_NAME) };
            assert_eq!(Command::parse(odd), refused, "{odd:?}");
        }
    }

    #[test]
    fn bdat() {
        let chunk = |size, last| Command::Bdat(Chunk { size, last });
        for (line, expected) in [
            ("BDAT 0", chunk(Some(0), Some(false))),
            ("BDAT 86 LAST", chunk(Some(86), Some(true))),
            ("bdat 86 last ", chunk(Some(86), Some(true))),
            ("BDAT 18446744073709551615", chunk(Some(u64::MAX), Some(false))),
            ("BDAT 99999999999999999999", chunk(Some(u64::MAX), Some(false))),
            ("BDAT 5 FIRST", chunk(Some(5), None)),
            ("BDAT 5LAST", chunk(Some(5), None)),
            ("BDAT", chunk(None, None)),
            ("BDAT -5", chunk(None, None)),
            ("BDAT LAST", chunk(None, None)),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn paths_of_mail_and_rcpt() {
        let path = |local, domain| Some(PathRef { local, domain });
        for (argument, expected) in [
            ("FROM:<>", Ok((None, ""))),
            ("from: <a@b.c> SIZE=1", Ok((path("a", Some("b.c")), " SIZE=1"))),
            ("FROM:<@x,@y.z:a@b>", Ok((path("a", Some("b")), ""))),
            ("FROM:<\"a b\\\"\"@[192.0.2.1]>", Ok((path("\"a b\\\"\"", Some("[192.0.2.1]")), ""))),
            ("FROM:<root>", Ok((path("root", None), ""))),
            ("FROM:<jürgen@bücher.example>", Ok((path("jürgen", Some("bücher.example")), ""))),
            ("FROM <a@b>", Err(BadPath::Form)),
            ("<a@b>", Err(BadPath::Form)),
            ("FROM:", Err(BadPath::Path)),
            ("FROM:a@b", Err(BadPath::Path)),
            ("FROM:<a@b", Err(BadPath::Path)),
            ("FROM:<@b>", Err(BadPath::Path)),
            ("FROM:<a@>", Err(BadPath::Path)),
            ("FROM:<a@b.>", Err(BadPath::Path)),
            ("FROM:<a..b@c>", Err(BadPath::Path)),
            ("FROM:<.a@c>", Err(BadPath::Path)),
            ("FROM:<a b@c>", Err(BadPath::Path)),
            ("FROM:<a@b@c>", Err(BadPath::Path)),
            ("FROM:< a@b>", Err(BadPath::Path)),
        ] {
            assert_eq!(mail(argument.as_bytes()), expected, "{argument}");
        }
        assert_eq!(rcpt(b"TO:<>"), Err(BadPath::Path));
        let (to, params) = rcpt(b"TO: <postmaster> NOTIFY=NEVER").unwrap();
        assert_eq!((to.local, to.domain, params), ("postmaster", None, " NOTIFY=NEVER"));
        assert_eq!(rcpt(b"TO:<\xff@b>"), Err(BadPath::Path));
    }

    #[test]
    fn mechanisms() {
        assert_eq!(auth(b"PLAIN"), (Mechanism::Plain, None));
        assert_eq!(auth(b"plain  AHU= "), (Mechanism::Plain, Some(&b"AHU= "[..])));
        assert_eq!(auth(b"Login"), (Mechanism::Login, None));
        assert_eq!(auth(b"CRAM-MD5").0, Mechanism::Other(Some("CRAM-MD5")));
        assert_eq!(auth(b"cGFzc3dvcmQ=").0, Mechanism::Other(None));
    }
}
