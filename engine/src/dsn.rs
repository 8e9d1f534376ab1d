//! What delivery status notifications ask for (RFC 3461): NOTIFY, ORCPT, RET, ENVID.
//!
//! Values are checked here, so that what is stored can be written into a report, or into
//! a command to the next hop, as it stands.

use std::fmt;

use crate::limits;

/// When a recipient's sender wants to hear of it (RFC 3461 section 4.1).
///
/// Without the parameter there is none of this: the host decides, and reports failures
/// and perhaps delays.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Notify(u8);

impl Notify {
    /// Never; excludes the others.
    pub const NEVER: Self = Self(0);
    /// When the message was delivered.
    pub const SUCCESS: Self = Self(1);
    /// When it was given up.
    pub const FAILURE: Self = Self(2);
    /// When it is late.
    pub const DELAY: Self = Self(4);

    /// Whether all of `other` is asked for. `NEVER` is contained only in itself.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        if other.0 == 0 { self.0 == 0 } else { self.0 & other.0 == other.0 }
    }

    /// A number below 8 for storage.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What [`Notify::bits`] gave.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 8 { Some(Self(bits)) } else { None }
    }

    /// Reads `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY`, in any case.
    ///
    /// # Errors
    ///
    /// When a word is unknown or missing, or `NEVER` is not alone.
    pub fn parse(value: &str) -> Result<Self, BadNotify> {
        let mut bits = 0;
        let mut never = false;
        for word in value.split(',') {
            let known = [("SUCCESS", 1), ("FAILURE", 2), ("DELAY", 4)];
            match known.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
                Some((_, bit)) => bits |= bit,
                None if word.eq_ignore_ascii_case("NEVER") => never = true,
                None => return Err(BadNotify::Word),
            }
        }
        if never && value.contains(',') { Err(BadNotify::Conflict) } else { Ok(Self(bits)) }
    }
}

impl fmt::Display for Notify {
    /// The value of NOTIFY.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("NEVER");
        }
        let words = [(1, "SUCCESS"), (2, "FAILURE"), (4, "DELAY")];
        let mut comma = "";
        for (_, word) in words.iter().filter(|(bit, _)| self.0 & bit != 0) {
            write!(f, "{comma}{word}")?;
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NOTIFY={self}")
    }
}

/// What is wrong with a value of NOTIFY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadNotify {
    /// An unknown word, or an empty one.
    Word,
    /// NEVER with others.
    Conflict,
}

/// How much of the message a failure report returns (RFC 3461 section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

impl Ret {
    /// Reads `FULL` or `HDRS`, in any case.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            _ if value.eq_ignore_ascii_case("FULL") => Some(Self::Full),
            _ if value.eq_ignore_ascii_case("HDRS") => Some(Self::Headers),
            _ => None,
        }
    }
}

impl fmt::Display for Ret {
    /// The value of RET.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// Whether `value` can be an ENVID: xtext of 1 to [`limits::ENVID`] octets.
#[must_use]
pub fn is_envid(value: &str) -> bool {
    (1..=limits::ENVID).contains(&value.len()) && is_xtext(value)
}

/// The original recipient (RFC 3461 section 4.2), as the peer wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Orcpt<'i> {
    value: &'i str,
    semicolon: u16,
}

impl<'i> Orcpt<'i> {
    /// Reads `type;xtext` of at most [`limits::ORCPT`] octets. The address of type
    /// `utf-8` may hold UTF-8 as well (RFC 6533 section 3).
    #[must_use]
    pub fn parse(value: &'i str) -> Option<Self> {
        let (kind, address) = value.split_once(';')?;
        let is_atom = |c: u8| c.is_ascii_graphic() && !b"()<>@,;:\\\".[]=+".contains(&c);
        let utf8 = kind.eq_ignore_ascii_case("utf-8");
        let good = match address {
            "" => false,
            _ if utf8 => is_xtext_with(address, |c| !c.is_ascii() && !c.is_control()),
            _ => is_xtext(address),
        };
        let fits = value.len() <= limits::ORCPT && !kind.is_empty() && kind.bytes().all(is_atom);
        let semicolon = u16::try_from(kind.len()).ok()?;
        (fits && good).then_some(Self { value, semicolon })
    }

    /// The whole value, `type;address`.
    #[must_use]
    pub fn as_str(self) -> &'i str {
        self.value
    }

    /// The address type, usually `rfc822`.
    #[must_use]
    pub fn kind(self) -> &'i str {
        &self.value[..usize::from(self.semicolon)]
    }

    /// The address, still in xtext.
    #[must_use]
    pub fn address(self) -> &'i str {
        &self.value[usize::from(self.semicolon) + 1..]
    }
}

/// Whether `text` is xtext: `!` to `~` without `=`, and `+` only before two digits of
/// upper-case hexadecimal (RFC 3461 section 4).
#[must_use]
pub fn is_xtext(text: &str) -> bool {
    is_xtext_with(text, |_| false)
}

/// The text that `xtext` stands for, if it is xtext and that text is printable ASCII, as a
/// field of a report must be (RFC 3461 section 4); what is outside ASCII passes.
#[must_use]
pub fn from_xtext(xtext: &str) -> Option<String> {
    if !is_xtext_with(xtext, |c| !c.is_ascii()) {
        return None;
    }
    let mut parts = xtext.split('+');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        let octet = u8::from_str_radix(hex, 16).ok()?;
        if !(b' '..=b'~').contains(&octet) {
            return None;
        }
        text.push(char::from(octet));
        text.push_str(rest);
    }
    Some(text)
}

fn is_xtext_with(text: &str, also: impl Fn(char) -> bool) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let hex = |c: Option<char>| c.is_some_and(|c| matches!(c, '0'..='9' | 'A'..='F'));
        let good = match c {
            '+' => hex(chars.next()) && hex(chars.next()),
            '=' => false,
            '!'..='~' => true,
            _ => also(c),
        };
        if !good {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify() {
        assert_eq!(Notify::parse("never"), Ok(Notify::NEVER));
        let both = Notify::parse("SUCCESS,delay").unwrap();
        assert!(both.contains(Notify::SUCCESS) && both.contains(Notify::DELAY));
        assert!(!both.contains(Notify::FAILURE) && !both.contains(Notify::NEVER));
        assert_eq!(both.to_string(), "SUCCESS,DELAY");
        assert_eq!(Notify::from_bits(both.bits()), Some(both));
        assert_eq!(Notify::from_bits(8), None);
        for conflict in ["NEVER,SUCCESS", "DELAY,NEVER", "NEVER,NEVER"] {
            assert_eq!(Notify::parse(conflict), Err(BadNotify::Conflict), "{conflict}");
        }
        for bad in ["", "SUCCESS,", "WHEN", "SUCCESS;DELAY"] {
            assert_eq!(Notify::parse(bad), Err(BadNotify::Word), "{bad}");
        }
    }

    #[test]
    fn ret_and_envid() {
        assert_eq!(Ret::parse("full"), Some(Ret::Full));
        assert_eq!(Ret::parse("HDRS").unwrap().to_string(), "HDRS");
        assert_eq!(Ret::parse("HEADERS"), None);
        assert!(is_envid("QQ314159") && is_envid(&"a".repeat(100)) && is_envid("a+2B"));
        for bad in ["", "a=b", "a+2b", "a+2", "a b", &"a".repeat(101)] {
            assert!(!is_envid(bad), "{bad}");
        }
    }

    #[test]
    fn xtext_is_read_back_when_that_is_printable() {
        for (xtext, text) in [
            ("", Some("")),
            ("Bob+40example.com", Some("Bob@example.com")),
            ("a+2B+3Db+20c", Some("a+=b c")),
            ("j\u{fc}rgen@x", Some("j\u{fc}rgen@x")),
            ("a+0D+0AX-Forged:+20yes", None),
            ("a+7F", None),
            ("a+FC", None),
            ("a+4", None),
            ("a+4\u{fc}", None),
            ("a b", None),
        ] {
            assert_eq!(from_xtext(xtext).as_deref(), text, "{xtext}");
        }
    }

    #[test]
    fn orcpt() {
        let orcpt = Orcpt::parse("rfc822;Bob+40example.com@x").unwrap();
        assert_eq!((orcpt.kind(), orcpt.address()), ("rfc822", "Bob+40example.com@x"));
        assert!(Orcpt::parse("utf-8;jürgen@example.org").is_some());
        let long = format!("rfc822;{}", "a".repeat(494));
        for bad in [
            "",
            "rfc822",
            "rfc822;",
            ";a",
            "rfc822;a=b",
            "rfc822;a+b",
            "rfc822;jürgen",
            "r c;a",
            &long,
        ] {
            assert!(Orcpt::parse(bad).is_none(), "{bad}");
        }
        assert!(Orcpt::parse(&long[..500]).is_some());
    }
}
