//! The values of alias and virtual tables (aliases(5)): what a recipient stands for.

use std::fmt;

use smtpd_engine::address::Mailbox;
use smtpd_engine::reply::Reply;

use crate::limits;

/// One element of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `error:550 no such user`: the reply that refuses.
    Error(Reply<'static>),
    /// `:include:/path`: a file with more elements.
    Include(String),
    /// `|command`.
    Filter(String),
    /// `/path`: a file that messages are added to.
    File(String),
    /// Another address.
    Address(Mailbox),
    /// A user, lower-case, perhaps with a sub-address.
    User(String),
}

/// A value that is no list of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAlias {
    /// More than [`limits::ALIAS_VALUE`] octets.
    TooLong,
    /// A quote that is never closed.
    Quote,
    /// A backslash at the end.
    Backslash,
    /// Nothing between two commas, where that is not let pass.
    Empty,
    /// An element that is nothing of what an alias can be.
    Element(String),
}

impl fmt::Display for BadAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadAlias::TooLong => {
                write!(f, "an alias value is longer than {} octets", limits::ALIAS_VALUE)
            }
            BadAlias::Quote => f.write_str("an alias value has a quote that is never closed"),
            BadAlias::Backslash => f.write_str("an alias value ends with a backslash"),
            BadAlias::Empty => f.write_str("an alias value has an element with nothing in it"),
            BadAlias::Element(text) => {
                write!(f, "\"{text}\" is no user, address, |command, /file or error:4xx text")
            }
        }
    }
}

/// Reads a value: elements between commas. A backslash takes the meaning off the next character,
/// quotes keep commas together and stay in the text.
///
/// # Errors
/// When one element is wrong, all of it is: mail to a part of a list would be lost for the rest.
pub fn parse(value: &str) -> Result<Vec<Target>, BadAlias> {
    let elements = elements(value)?;
    let there = elements.iter().filter(|element| !element.is_empty());
    there.map(|element| target(element)).collect()
}

/// The same for a value that is only written now: an element with nothing in it, which look-ups
/// let pass, is a mistake.
///
/// # Errors
/// As those of [`parse`].
pub fn parse_strict(value: &str) -> Result<Vec<Target>, BadAlias> {
    let elements = elements(value)?;
    if elements.iter().any(String::is_empty) {
        return Err(BadAlias::Empty);
    }
    elements.iter().map(|element| target(element)).collect()
}

/// Reads an included list (`:include:`): a value on each line. Of a line with a mistake the
/// elements before it count, as upstream; lines that begin with `#` are comments. What it includes
/// in turn is not followed.
pub fn parse_included(octets: &[u8]) -> Vec<Target> {
    let mut targets = Vec::new();
    for line in octets.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if line.starts_with('#') {
            continue;
        }
        let elements = elements(line).unwrap_or_default();
        let there = elements.iter().filter(|element| !element.is_empty());
        let good = there.map_while(|element| target(element).ok());
        targets.extend(good.filter(|target| !matches!(target, Target::Include(_))));
    }
    targets
}

/// Reads a `.forward`: a value on each line, `#` begins a comment, a backslash at the end of a
/// line joins the next one. Includes are passed over.
///
/// # Errors
/// The first mistake; [`BadAlias::TooLong`] also for more than [`limits::FORWARD_TARGETS`] elements.
pub fn parse_forward(octets: &[u8]) -> Result<Vec<Target>, BadAlias> {
    let shown = || BadAlias::Element(String::from_utf8_lossy(octets).into_owned());
    if octets.len() >= limits::FORWARD {
        return Err(BadAlias::TooLong);
    }
    let text = std::str::from_utf8(octets).map_err(|_| shown())?;
    let mut values = vec![String::new()];
    for line in text.lines().map(without_comment) {
        let value = values.last_mut().expect("there is one from the beginning");
        if escapes_next(line) {
            value.push_str(&line[..line.len() - 1]);
        } else {
            value.push_str(line);
            values.push(String::new());
        }
    }
    let mut targets = Vec::new();
    for value in values {
        let read = parse(&value)?.into_iter();
        targets.extend(read.filter(|target| !matches!(target, Target::Include(_))));
    }
    if targets.len() > limits::FORWARD_TARGETS {
        return Err(BadAlias::TooLong);
    }
    Ok(targets)
}

/// What stands before a `#` that has no backslash before it.
fn without_comment(line: &str) -> &str {
    let mut before = line.match_indices('#').map(|(at, _)| &line[..at]);
    before.find(|before| !escapes_next(before)).unwrap_or(line)
}

/// Whether the text ends in a backslash that is not taken literally itself.
fn escapes_next(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

/// What stands between the commas, without blanks around it.
pub(crate) fn elements(value: &str) -> Result<Vec<String>, BadAlias> {
    if value.len() > limits::ALIAS_VALUE {
        return Err(BadAlias::TooLong);
    }
    let mut elements = Vec::new();
    let mut element = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    loop {
        let character = characters.next();
        match character {
            Some('\\') => match characters.next() {
                Some(next) => element.push(next),
                None => return Err(BadAlias::Backslash),
            },
            Some(c @ ('"' | '\'')) => {
                quote = match quote {
                    None => Some(c),
                    Some(open) if open == c => None,
                    open => open,
                };
                element.push(c);
            }
            None if quote.is_some() => return Err(BadAlias::Quote),
            Some(c) if c != ',' || quote.is_some() => element.push(c),
            end => {
                elements.push(element.trim().to_owned());
                element.clear();
                if end.is_none() {
                    return Ok(elements);
                }
            }
        }
    }
}

fn target(text: &str) -> Result<Target, BadAlias> {
    if let Some(reply) = after(text, "error:").and_then(refusal) {
        return Ok(Target::Error(reply));
    }
    if let Some(path) = after(text, "include:").filter(|path| path.starts_with('/')) {
        return Ok(Target::Include(path.to_owned()));
    }
    if let Some(command) = text.strip_prefix('|') {
        return Ok(Target::Filter(command.trim().to_owned()));
    }
    let quoted = text.strip_prefix("\"|").and_then(|command| command.strip_suffix('"'));
    if let Some(command) = quoted {
        return Ok(Target::Filter(command.trim().to_owned()));
    }
    if text.starts_with('/') {
        return Ok(Target::File(text.to_owned()));
    }
    if let Some((user, domain)) = text.split_once('@') {
        let address = Mailbox::new(user, domain);
        return address.map(Target::Address).map_err(|_| BadAlias::Element(text.to_owned()));
    }
    if text.bytes().all(|o| o.is_ascii_alphanumeric() || b"_.-+".contains(&o)) {
        return Ok(Target::User(text.to_ascii_lowercase()));
    }
    Err(BadAlias::Element(text.to_owned()))
}

/// What follows `word` or `:word`, in any case.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

/// The reply of an error entry: `[45]dd ` and a letter or digit.
fn refusal(text: &str) -> Option<Reply<'static>> {
    let octets = text.as_bytes();
    let good = octets.len() >= 5
        && matches!(octets[0], b'4' | b'5')
        && octets[1..3].iter().all(u8::is_ascii_digit)
        && octets[3] == b' '
        && octets[4].is_ascii_alphanumeric();
    if !good {
        return None;
    }
    Reply::parse(text).ok().map(Reply::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Target {
        let mut targets = parse(text).unwrap();
        assert_eq!(targets.len(), 1, "{text}");
        targets.remove(0)
    }

    #[test]
    fn what_an_element_is() {
        assert_eq!(one("Joe"), Target::User("joe".into()));
        assert_eq!(one("\\joe"), Target::User("joe".into()));
        assert_eq!(one("a@b.org"), Target::Address(Mailbox::parse("a@b.org").unwrap()));
        assert_eq!(one("|/bin/cat"), Target::Filter("/bin/cat".into()));
        assert_eq!(one("\"|/bin/x a, b\""), Target::Filter("/bin/x a, b".into()));
        assert_eq!(one("/var/mail/x"), Target::File("/var/mail/x".into()));
        assert_eq!(one(":include:/etc/list"), Target::Include("/etc/list".into()));
        assert_eq!(one("Include:/etc/list"), Target::Include("/etc/list".into()));
        let Target::Error(reply) = one(":ERROR:550 5.1.1 gone away") else { panic!() };
        assert_eq!(reply.to_string(), "550 5.1.1 gone away");
    }

    #[test]
    fn elements_are_split_at_commas() {
        let users = |text: &str| parse(text).unwrap().len();
        assert_eq!(users("a, b ,c,,"), 3);
        assert_eq!(users(""), 0);
        assert_eq!(parse_strict("a, b").map(|targets| targets.len()), Ok(2));
        assert_eq!(parse_strict("a,, b"), Err(BadAlias::Empty));
        assert_eq!(parse_strict("a,"), Err(BadAlias::Empty));
        assert_eq!(one("\"|x a\\, b\""), Target::Filter("x a, b".into()));
    }

    #[test]
    fn a_forward_has_comments_and_long_lines() {
        let read = |text: &str| parse_forward(text.as_bytes()).unwrap();
        let user = |name: &str| Target::User(name.into());
        assert_eq!(read("# mine\n\njoe, ann # me\nbob\n"), [user("joe"), user("ann"), user("bob")]);
        assert_eq!(read("joe, \\\n  ann\n"), [user("joe"), user("ann")]);
        assert_eq!(read("joe,\\"), [user("joe")]);
        assert_eq!(read("|x \\#1\n"), [Target::Filter("x #1".into())]);
        assert_eq!(read("|x \\\\# no\n"), [Target::Filter("x \\".into())]);
        assert_eq!(read(":include:/etc/passwd, joe"), [user("joe")]);
        assert_eq!(read("  # nothing\n"), []);
        for bad in ["a b\n", "\"|x # y\"\n", &"a\n".repeat(101), &"#\n".repeat(2_048)] {
            assert!(parse_forward(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_forward(b"\xff").is_err());
        assert_eq!(read(&"a\n".repeat(100)).len(), 100);
    }

    #[test]
    fn an_included_list_counts_as_far_as_it_is_good() {
        let read = |text: &str| parse_included(text.as_bytes()).len();
        assert_eq!(read("joe, ann\n# c, d\nbob\n:include:/x, eve\n"), 4);
        assert_eq!(read("joe, a b, ann\n\"never closed\nbob\n"), 2);
        assert_eq!(parse_included(b"\xff\njoe\n").len(), 1);
    }

    #[test]
    fn what_is_nothing_is_refused() {
        for bad in [
            "a b",
            "\"x",
            "x\\",
            "a@",
            "@b",
            "a@b@c",
            "error:250 ok",
            "error: 550 x",
            "include:x",
            "a b@c.org",
            "ä",
            &"x".repeat(3000),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
