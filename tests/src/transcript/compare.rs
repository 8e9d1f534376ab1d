//! When two replies are the same.
//!
//! Exact: octet for octet; an expected line that is only a code, or a code and an enhanced
//! code, stands for a whole reply with these codes, whatever its text and number of lines.
//!
//! Codes: what servers of another age said. The codes must agree; of the texts the enhanced
//! code and the description that RFC 3463 gives it are taken off, and lines of the reply to
//! EHLO that are not expected are allowed.

use std::collections::HashMap;

use super::Compare;

/// Values that `{name}` stands for, from where it was first met.
pub type Captures = HashMap<String, String>;

/// An expected line that gives only codes: it stands for a whole reply.
fn is_codes_only(expected: &str) -> bool {
    let (code, rest) = split_code(expected);
    let (enhanced, text) = split_enhanced(rest);
    code.is_some()
        && is_last_line(expected)
        && text.is_empty()
        && (rest.is_empty() || enhanced.is_some())
}

/// True for the last line of a reply (RFC 5321 section 4.2.1).
pub(super) fn is_last_line(line: &str) -> bool {
    line.as_bytes().get(3) != Some(&b'-')
}

/// Whether the last line of a reply has the codes that `expected` gives.
fn codes_agree(expected: &str, got: &str) -> bool {
    let ((code, rest), (got_code, got_rest)) = (split_code(expected), split_code(got));
    code == got_code && (rest.is_empty() || split_enhanced(rest).0 == split_enhanced(got_rest).0)
}

/// Whether the reply `got` is the one expected, filling in and checking captures.
pub fn same_reply(
    expected: &[String],
    got: &[String],
    how: Compare,
    captures: &mut Captures,
) -> bool {
    if let ([only], Some(last)) = (expected, got.last())
        && is_codes_only(only)
    {
        return codes_agree(only, last);
    }
    let pairs = || expected.iter().zip(got);
    match how {
        Compare::Exact => {
            expected.len() == got.len() && pairs().all(|(e, g)| same_line(e, g, captures))
        }
        // The reply to EHLO: the extensions expected are among those that are there.
        Compare::Codes if expected.len() > 1 => {
            let mut pairs = pairs();
            let first = pairs.next().is_some_and(|(e, g)| same_text(e, g, captures));
            first
                && expected[1..].iter().all(|e| {
                    let extension = |line: &str| line.get(4..).unwrap_or("").to_owned();
                    got[1..]
                        .iter()
                        .any(|g| e.get(..3) == g.get(..3) && extension(e) == extension(g))
                })
        }
        Compare::Codes => {
            expected.len() == got.len() && pairs().all(|(e, g)| same_text(e, g, captures))
        }
    }
}

/// Whether `got` is `expected`, filling in and checking captures.
fn same_line(expected: &str, got: &str, captures: &mut Captures) -> bool {
    let mut found = Captures::new();
    let same = match_captures(expected, got, captures, &mut found);
    if same {
        captures.extend(found);
    }
    same
}

/// As `same_line`, for transcripts of other servers and older versions.
fn same_text(expected: &str, got: &str, captures: &mut Captures) -> bool {
    let ((code, wanted), (got_code, text)) = (split_code(expected), split_code(got));
    if code != got_code || is_last_line(expected) != is_last_line(got) {
        return false;
    }
    let (wanted, text) = (split_enhanced(wanted).1, split_enhanced(text).1);
    let without = |text: &'_ str| -> String {
        // 5.4.2 to 6.4 wrote a bare colon where there is no description.
        let text = text.strip_prefix(": ").unwrap_or(text);
        let described = DESCRIPTIONS.iter().find_map(|d| text.strip_prefix(d)?.strip_prefix(": "));
        described.unwrap_or(text).trim().to_owned()
    };
    same_line(&without(wanted), &without(text), captures)
}

/// The descriptions of RFC 3463 section 3 that stand in front of texts since 2014.
const DESCRIPTIONS: [&str; 9] = [
    "Destination address valid",
    "Invalid command",
    "Invalid command arguments",
    "Message too big for system",
    "Routing loop detected",
    "Security features not supported",
    "Syntax error",
    "Too many recipients",
    "Delivery not authorized, message refused",
];

/// The code and what stands behind it and its blank or hyphen.
fn split_code(line: &str) -> (Option<&str>, &str) {
    match line.as_bytes() {
        [a, b, c, rest @ ..]
            if [a, b, c].iter().all(|d| d.is_ascii_digit())
                && matches!(rest.first(), None | Some(b' ' | b'-')) =>
        {
            (Some(&line[..3]), line.get(4..).unwrap_or(""))
        }
        _ => (None, line),
    }
}

/// The enhanced code (RFC 3463 section 2), if any, and the text behind it.
fn split_enhanced(text: &str) -> (Option<&str>, &str) {
    // `2.0.0:` is how 5.4.2 to 6.4 wrote it.
    let word = text.split([' ', ':']).next().unwrap_or("");
    let parts: Vec<&str> = word.split('.').collect();
    let number = |part: &str| (1..=3).contains(&part.len()) && part.parse::<u16>().is_ok();
    match parts[..] {
        ["2" | "4" | "5", subject, detail] if number(subject) && number(detail) => {
            let rest = &text[word.len()..];
            (Some(word), rest.strip_prefix(' ').unwrap_or(rest))
        }
        _ => (None, text),
    }
}

/// Matches literally, but `{name}` takes one word or must repeat what it took before.
fn match_captures(expected: &str, got: &str, known: &Captures, found: &mut Captures) -> bool {
    let Some((literal, name, rest)) = split_capture(expected) else {
        return expected == got;
    };
    let Some(got) = got.strip_prefix(literal) else { return false };
    if let Some(value) = known.get(name).or_else(|| found.get(name)).cloned() {
        return got
            .strip_prefix(value.as_str())
            .is_some_and(|after| match_captures(rest, after, known, found));
    }
    let stop = rest.chars().next();
    let end = got.find(|c: char| c == ' ' || Some(c) == stop).unwrap_or(got.len());
    if end == 0 {
        return false;
    }
    found.insert(name.into(), got[..end].into());
    match_captures(rest, &got[end..], known, found)
}

/// `before{name}after`
fn split_capture(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('{')?;
    let close = open + text[open..].find('}')?;
    let name = &text[open + 1..close];
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    is_name.then(|| (&text[..open], name, &text[close + 1..]))
}

/// `text` with the captures that have a value filled in.
#[must_use]
pub fn fill_in(text: &str, captures: &Captures) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = split_capture(rest) {
        filled.push_str(before);
        match captures.get(name) {
            Some(value) => filled.push_str(value),
            None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_stand_for_a_whole_reply() {
        assert!(is_codes_only("250") && is_codes_only("554 5.6.0"));
        for text in ["250 Ok", "250-", "554 5.6.0 Text", "250 2.1", "x"] {
            assert!(!is_codes_only(text), "{text}");
        }
        assert!(codes_agree("554", "554 5.6.0 Text") && codes_agree("554 5.6.0", "554 5.6.0 Text"));
        assert!(!codes_agree("554 5.6.0", "554 5.6.1 Text") && !codes_agree("250", "251 x"));
        assert!(!codes_agree("554 5.6.0", "554 Text"));
    }

    #[test]
    fn a_capture_is_one_word_and_the_same_word_again() {
        let mut captures = Captures::new();
        assert!(same_line("250 {id} Message", "250 0badcafe Message", &mut captures));
        assert!(same_line("<{id}>", "<0badcafe>", &mut captures));
        assert!(!same_line("<{id}>", "<0badcafd>", &mut captures));
        assert!(!same_line("250 {new} Message", "250  Message", &mut captures));
        assert!(!same_line("250 {new}", "250 two words", &mut captures));
        assert_eq!(fill_in("RCPT TO:<{id}@{x}>", &captures), "RCPT TO:<0badcafe@{x}>");
    }

    #[test]
    fn texts_of_every_age_are_the_same() {
        let same = |expected, got| same_text(expected, got, &mut Captures::new());
        assert!(same("250 Ok", "250 2.0.0 Ok"));
        assert!(same("250 2.0.0: Ok", "250 2.0.0 Ok"));
        assert!(same("250 Recipient ok", "250 2.1.5 Destination address valid: Recipient ok"));
        assert!(same("354 Enter mail", "354 Enter mail"));
        assert!(!same("250 Ok", "250 2.0.0 No"));
        assert!(!same("250 Ok", "251 2.0.0 Ok"));
        assert!(!same("250-Ok", "250 Ok"));
    }
}
