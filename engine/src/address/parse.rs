//! The grammar of paths and mailboxes (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
//!
//! Quoted local parts are read; upstream refuses them, and with them addresses that
//! RFC 5321 allows and that others deliver to. Slices of the input are lent; nothing is copied, except that a domain outside ASCII
//! is converted once to see that it can be.

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{all_consuming, map, opt, peek, recognize, value, verify};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{IResult, Parser};

use super::{PathRef, domain};
use crate::limits;

/// `<>`, `<local@domain>`, `<@relay,@relay:local@domain>`, `<local>`, and what follows.
pub(crate) fn path(input: &str) -> Option<(Option<PathRef<'_>>, &str)> {
    let null = value(None, peek(char('>')));
    let some = map(preceded(opt(route), mailbox_parts), Some);
    let (rest, path) = delimited(char('<'), alt((null, some)), char('>')).parse(input).ok()?;
    Some((path, rest))
}

/// `local@domain` or `local`, and nothing else.
pub(super) fn mailbox(input: &str) -> Option<PathRef<'_>> {
    all_consuming(mailbox_parts).parse(input).ok().map(|(_, path)| path)
}

fn mailbox_parts(input: &str) -> IResult<&str, PathRef<'_>> {
    let (rest, local) = local_part(input)?;
    let (rest, domain) = opt(preceded(char('@'), domain)).parse(rest)?;
    Ok((rest, PathRef { local, domain }))
}

fn route(input: &str) -> IResult<&str, &str> {
    let at_domain = || preceded(char('@'), domain);
    let more = many0_count(preceded(char(','), at_domain()));
    terminated(recognize(pair(at_domain(), more)), char(':')).parse(input)
}

fn local_part(input: &str) -> IResult<&str, &str> {
    verify(alt((quoted_string, dot_string)), |l: &str| l.len() <= limits::LOCAL_PART).parse(input)
}

fn dot_string(input: &str) -> IResult<&str, &str> {
    let atom = || take_while1(is_atext);
    recognize(pair(atom(), many0_count(preceded(char('.'), atom())))).parse(input)
}

fn quoted_string(input: &str) -> IResult<&str, &str> {
    let pair = preceded(char('\\'), satisfy(|c| (' '..='~').contains(&c)));
    let text = satisfy(is_qtext);
    recognize(delimited(char('"'), many0_count(alt((text, pair))), char('"'))).parse(input)
}

fn domain(input: &str) -> IResult<&str, &str> {
    let name = take_while1(|c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || is_utf8(c));
    let literal = recognize(delimited(
        char('['),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == ':'),
        char(']'),
    ));
    verify(alt((literal, name)), domain::is_domain).parse(input)
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8(c)
}

fn is_qtext(c: char) -> bool {
    ((' '..='~').contains(&c) && c != '"' && c != '\\') || is_utf8(c)
}

/// RFC 6531 allows all of UTF-8 outside ASCII. The control characters U+0080 to U+009F
/// would reach terminals from log lines.
fn is_utf8(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// Adds a local part without quotes if it can stand so, else with no more `\` than needed.
pub(super) fn write_canonical(local: &str, out: &mut String) {
    let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) else {
        out.push_str(local);
        return;
    };
    let start = out.len();
    unescape(inner, |c| out.push(c));
    if all_consuming(dot_string).parse(&out[start..]).is_ok() {
        return;
    }
    out.truncate(start);
    out.push('"');
    unescape(inner, |c| {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    });
    out.push('"');
}

fn unescape(inner: &str, mut push: impl FnMut(char)) {
    let one = |i| alt((preceded(char('\\'), anychar), anychar)).parse(i);
    let mut rest = inner;
    while let Ok((next, c)) = { one(rest) as IResult<&str, char> } {
        push(c);
        rest = next;
    }
}
