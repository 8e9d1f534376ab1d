//! Format specifiers: `%{dest.user}` and the like in paths and commands (smtpd.conf(5)).
//!
//! A [`Template`] is read once, with the configuration, so that a wrong one is a diagnostic and
//! not a failed delivery. What it puts in for a specifier was mostly written by a stranger: it is
//! made harmless for a shell, and in a path it never adds a component: `/` and a `.` at its
//! beginning become `:`, and nothing at all is an error.

use std::fmt;
use std::path::{Path, PathBuf};

use nom::branch::alt;
use nom::bytes::complete::take_till1;
use nom::character::complete::{char, i32 as number};
use nom::combinator::{all_consuming, opt, rest};
use nom::error::{Error, ErrorKind};
use nom::sequence::{delimited, preceded, separated_pair};
use nom::{IResult, Parser};
use smtpd_engine::address::Mailbox;

use crate::limits;
use crate::table::bare;

/// A text with specifiers.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Specifier(Specifier),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Specifier {
    name: Name,
    range: Option<Range>,
    lowercase: bool,
    uppercase: bool,
    strip: bool,
    raw: bool,
}

/// `[first:last]`, both inclusive; `[n]` has both ends equal.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    first: i32,
    last: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Sender(Part3),
    Rcpt(Part3),
    Dest(Part3),
    Username,
    Directory,
    MboxFrom,
    Mda,
}

/// Which part of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part3 {
    Whole,
    User,
    Domain,
}

const NAMES: &[(&str, Name)] = &[
    ("sender", Name::Sender(Part3::Whole)),
    ("sender.user", Name::Sender(Part3::User)),
    ("sender.domain", Name::Sender(Part3::Domain)),
    ("rcpt", Name::Rcpt(Part3::Whole)),
    ("rcpt.user", Name::Rcpt(Part3::User)),
    ("rcpt.domain", Name::Rcpt(Part3::Domain)),
    ("dest", Name::Dest(Part3::Whole)),
    ("dest.user", Name::Dest(Part3::User)),
    ("dest.domain", Name::Dest(Part3::Domain)),
    ("user.username", Name::Username),
    ("user.directory", Name::Directory),
    ("mbox.from", Name::MboxFrom),
    ("mda", Name::Mda),
];

/// What a template cannot be, or why it has no expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// `%{...}` with something unknown in it.
    Specifier(String),
    /// The range begins behind the end of the value.
    Range(String),
    /// A value is empty where something is needed.
    Empty(String),
    /// There is no value here: no home directory, no command.
    Missing(String),
    /// The result is longer than [`limits::FORMAT_RESULT`].
    TooLong,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Specifier(text) => write!(f, "unknown format specifier {text}"),
            FormatError::Range(text) => write!(f, "the range of {text} is outside of its value"),
            FormatError::Empty(text) => write!(f, "{text} is empty"),
            FormatError::Missing(text) => write!(f, "there is no {text} here"),
            FormatError::TooLong => write!(f, "longer than {} octets", limits::FORMAT_RESULT),
        }
    }
}

/// What the specifiers stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Reverse-path; `None` for the null one.
    pub sender: Option<&'a Mailbox>,
    /// The recipient as the client gave it.
    pub rcpt: &'a Mailbox,
    /// The recipient after expansion.
    pub dest: &'a Mailbox,
    /// The user who receives.
    pub user: &'a str,
    /// Home directory; none with `userbase any`.
    pub home: Option<&'a Path>,
    /// Characters that separate sub-addresses, for `strip`.
    pub delimiters: &'a str,
}

impl Template {
    /// Reads a template. A leading `~/` stands for the home directory. A `%` that begins no
    /// `%{...}` is itself, `%%` is one; where a `}` is missing, nothing is a specifier.
    ///
    /// # Errors
    /// With the first specifier that means nothing.
    pub fn parse(text: &str) -> Result<Template, FormatError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        if let Some(path) = text.strip_prefix("~/") {
            let home = Specifier { name: Name::Directory, ..Specifier::plain() };
            parts.push(Part::Specifier(home));
            literal.push('/');
            rest = path;
        }
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let Some(end) = inner.find('}') else {
                    let parts = vec![Part::Literal(text.into())];
                    return Ok(Template { text: text.into(), parts });
                };
                let (inside, after) = (&inner[..end], &inner[end + 1..]);
                let (_, specifier) = all_consuming(specifier)
                    .parse(inside)
                    .map_err(|_| FormatError::Specifier(format!("%{{{inside}}}")))?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Specifier(specifier));
                rest = after;
            } else {
                literal.push('%');
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        Ok(Template { text: text.into(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it needs a home directory.
    pub fn needs_home(&self) -> bool {
        self.uses(Name::Directory)
    }

    /// Whether it asks for the inner command, which only wrappers have.
    pub fn needs_command(&self) -> bool {
        self.uses(Name::Mda)
    }

    fn uses(&self, name: Name) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Specifier(s) if s.name == name))
    }

    /// The path for these values.
    ///
    /// # Errors
    /// When a value is empty, missing, out of its range, or the path too long: delivery fails
    /// for good.
    pub fn path(&self, values: &Values<'_>) -> Result<PathBuf, FormatError> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Specifier(specifier) => {
                    let value = specifier.value(values)?;
                    if value.is_empty() {
                        return Err(FormatError::Empty(specifier.shown()));
                    }
                    if specifier.name == Name::Directory {
                        path.push_str(&value);
                    } else {
                        // One component of a path and never a name like `..`.
                        let mut value = value.replace(['/', '\0'], ":");
                        if value.starts_with('.') {
                            value.replace_range(..1, ":");
                        }
                        path.push_str(&value);
                    }
                }
            }
            if path.len() > limits::FORMAT_RESULT {
                return Err(FormatError::TooLong);
            }
        }
        if path.is_empty() {
            return Err(FormatError::Empty("the path".to_owned()));
        }
        Ok(path.into())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl Specifier {
    fn plain() -> Specifier {
        Specifier {
            name: Name::Directory,
            range: None,
            lowercase: false,
            uppercase: false,
            strip: false,
            raw: false,
        }
    }

    fn shown(&self) -> String {
        let name = NAMES.iter().find(|(_, name)| *name == self.name).map_or("", |(text, _)| text);
        format!("%{{{name}}}")
    }

    fn value(&self, values: &Values<'_>) -> Result<String, FormatError> {
        let of = |mailbox: &Mailbox, part| match part {
            Part3::Whole => mailbox.as_str().to_owned(),
            Part3::User => mailbox.local_part().to_owned(),
            Part3::Domain => mailbox.domain().to_owned(),
        };
        let text = match self.name {
            Name::Sender(part) => values.sender.map(|m| of(m, part)).unwrap_or_default(),
            Name::Rcpt(part) => of(values.rcpt, part),
            Name::Dest(part) => of(values.dest, part),
            Name::Username => values.user.to_owned(),
            Name::MboxFrom => match values.sender {
                Some(sender) => sender.as_str().to_owned(),
                None => "MAILER-DAEMON".to_owned(),
            },
            Name::Directory => match values.home {
                Some(home) => home.to_string_lossy().into_owned(),
                None => return Err(FormatError::Missing("home directory".to_owned())),
            },
            Name::Mda => return Err(FormatError::Missing("inner command".to_owned())),
        };
        let text = if self.strip { strip(&text, values.delimiters) } else { text };
        let text = match self.range {
            Some(range) => {
                range.cut(&text).ok_or_else(|| FormatError::Range(self.shown()))?.to_owned()
            }
            None => text,
        };
        let text = match (self.lowercase, self.uppercase) {
            (true, _) => text.to_lowercase(),
            (false, true) => text.to_uppercase(),
            (false, false) => text,
        };
        let exempt = self.raw || self.name == Name::Directory;
        Ok(if exempt { text } else { text.replace(unsafe_in_a_command, ":") })
    }
}

/// Upstream's set, and what its address check never let in.
fn unsafe_in_a_command(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || "!#$%&'*?`{|}~\"\\;<>()[]^".contains(character)
}

impl Range {
    /// The characters from first to last; empty stays empty. `None` where the first is outside.
    fn cut(self, text: &str) -> Option<&str> {
        let length = text.chars().count() as i64;
        if length == 0 {
            return Some(text);
        }
        let first = match i64::from(self.first) {
            first if first < 0 => first + length,
            first => first,
        };
        let last = match self.last.map(i64::from) {
            // Upstream's arithmetic: -1 leaves the last character out.
            Some(last) if last < 0 => length + last - 1,
            Some(last) => last.min(length - 1),
            None => length - 1,
        };
        if first < 0 || first >= length || last < first {
            return None;
        }
        let octet =
            |nth: i64| text.char_indices().nth(nth as usize).map_or(text.len(), |(at, _)| at);
        text.get(octet(first)..octet(last + 1))
    }
}

/// Takes the sub-address out of a local part or an address.
fn strip(text: &str, delimiters: &str) -> String {
    let (user, domain) = match text.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (text, None),
    };
    let user = bare(user, delimiters);
    match domain {
        Some(domain) => format!("{user}@{domain}"),
        None => user.to_owned(),
    }
}

/// What stands between the braces: `NAME[RANGE]:MODIFIER|MODIFIER`.
fn specifier(text: &str) -> IResult<&str, Specifier> {
    let name = take_till1(|c| c == '[' || c == ':')
        .map_opt(|text: &str| NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)));
    let modifiers = opt(preceded(char(':'), rest));
    let (left, ((_, name), range, modifiers)) = (name, opt(range), modifiers).parse(text)?;
    let mut specifier = Specifier { name: *name, range, ..Specifier::plain() };
    for modifier in modifiers.iter().flat_map(|text: &&str| text.split('|')) {
        match modifier.to_ascii_lowercase().as_str() {
            "lowercase" => specifier.lowercase = true,
            "uppercase" => specifier.uppercase = true,
            "strip" => specifier.strip = true,
            "raw" => specifier.raw = true,
            _ => return Err(nom::Err::Error(Error::new(text, ErrorKind::Tag))),
        }
    }
    Ok((left, specifier))
}

fn range(text: &str) -> IResult<&str, Range> {
    let both = separated_pair(opt(number), char(':'), opt(number))
        .map(|(first, last)| Range { first: first.unwrap_or(0), last });
    let one = number.map(|n| Range { first: n, last: Some(n) });
    delimited(char('['), alt((both, one)), char(']')).parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(template: &str, dest: &str) -> Result<String, String> {
        let sender = Mailbox::parse("Joe.Doe@Example.org").unwrap();
        let dest = Mailbox::parse(dest).unwrap();
        let values = Values {
            sender: Some(&sender),
            rcpt: &sender,
            dest: &dest,
            user: "ann",
            home: Some(Path::new("/home/ann")),
            delimiters: "+",
        };
        let template = Template::parse(template).map_err(|e| e.to_string())?;
        match template.path(&values) {
            Ok(path) => Ok(path.to_string_lossy().into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn ok(template: &str, expected: &str) {
        assert_eq!(path(template, "ann+tag@b.org").as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn specifiers_ranges_and_modifiers() {
        ok("~/Maildir", "/home/ann/Maildir");
        ok("/m/%{user.username}", "/m/ann");
        ok("/m/%{DEST}", "/m/ann+tag@b.org");
        ok("/m/%{dest.user:strip}/%{dest.domain}", "/m/ann/b.org");
        ok("%{sender.user:lowercase}", "joe.doe");
        ok("%{sender:uppercase|strip}", "JOE.DOE@EXAMPLE.ORG");
        ok("%{sender.user[0]:lowercase}", "j");
        ok("%{sender.user[4:]}", "Doe");
        ok("%{sender.user[:2]}", "Joe");
        ok("%{sender.user[-3:]}", "Doe");
        ok("%{sender.user[0:-1]}", "Joe.Do");
        ok("%{sender.user[4:99]}", "Doe");
        ok("100%/%%{x}/%{dest.user", "100%/%%{x}/%{dest.user");
        ok("/%%{dest.user}%x", "/%{dest.user}%x");
    }

    #[test]
    fn what_cannot_be_expanded_is_told() {
        for bad in ["%{nobody}", "%{dest[}", "%{dest:loud}", "%{dest[a]}", "%{}", "%{dest:}"] {
            let error = Template::parse(bad).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown format specifier {bad}"));
        }
        assert!(path("%{sender.user[7]}", "a@b").is_err());
        assert!(path("%{sender.user[-8:]}", "a@b").is_err());
        assert!(path("%{sender.user[-1]}", "a@b").is_err());
        assert!(path(&"x".repeat(2000), "a@b").is_err());
        assert!(path("", "a@b").is_err());
        assert!(path("%{mda}", "a@b").is_err());
    }

    #[test]
    fn a_stranger_adds_no_component_to_a_path() {
        for (dest, expected) in [
            ("a/b@c.org", "m/a:b"),
            ("\"..\"@c.org", "m/:..:"),
            ("\"../../etc/x\"@c.org", "m/:..:..:etc:x:"),
            ("/@c.org", "m/:"),
        ] {
            assert_eq!(path("m/%{dest.user}", dest).as_deref(), Ok(expected), "{dest}");
            assert_eq!(path("m/%{dest.user:raw}", dest).unwrap().matches('/').count(), 1);
        }
        assert_eq!(path("m/%{dest.user[1:]}", "a.b@c.org").as_deref(), Ok("m/:b"));
    }
}
