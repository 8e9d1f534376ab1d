//! Parameters of MAIL and RCPT that the offered extensions define: SIZE (RFC 1870), BODY
//! (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461), AUTH (RFC
//! 4954).

use crate::dsn::{BadNotify, Notify, Orcpt, Ret, is_envid};

/// The parameters of a MAIL command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MailParams<'i> {
    /// SIZE: the octets that the peer thinks will come; 0 means it does not know.
    pub size: Option<u64>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8: addresses and header may be UTF-8.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, in xtext.
    pub envid: Option<&'i str>,
}

/// BODY: what the content consists of. Eight bits pass unchanged either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`, and, as upstream has it, what is taken for granted.
    #[default]
    EightBitMime,
}

/// The parameters of a RCPT command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RcptParams<'i> {
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub orcpt: Option<Orcpt<'i>>,
}

/// What is wrong with a parameter list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadParam<'i> {
    /// Not of the form `keyword[=value]`, or there twice.
    Syntax,
    /// Not one that is offered.
    Unknown(&'i str),
    /// The value cannot be.
    Value(&'i str),
    /// NOTIFY=NEVER with others.
    NotifyConflict,
    /// ORCPT is not `type;xtext`.
    Orcpt,
}

impl<'i> MailParams<'i> {
    /// Reads what follows the reverse-path. Without `dsn` RET and ENVID are unknown.
    pub(crate) fn parse(text: &'i str, dsn: bool) -> Result<Self, BadParam<'i>> {
        let mut params = Self::default();
        let mut seen = 0u8;
        each(text, |word, keyword, value| {
            let is = |name| keyword.eq_ignore_ascii_case(name);
            let bad = Err(BadParam::Value(word));
            let bit = match value {
                Some(value) if is("SIZE") => {
                    if value.is_empty() || !value.bytes().all(|c| c.is_ascii_digit()) {
                        return bad;
                    }
                    // Beyond 64 bits it is as much too big as at their end.
                    params.size = Some(value.parse().unwrap_or(u64::MAX));
                    1
                }
                Some(value) if is("BODY") => {
                    params.body = match value {
                        _ if value.eq_ignore_ascii_case("7BIT") => Body::SevenBit,
                        _ if value.eq_ignore_ascii_case("8BITMIME") => Body::EightBitMime,
                        _ => return bad,
                    };
                    2
                }
                None if is("SMTPUTF8") => {
                    params.smtputf8 = true;
                    4
                }
                // Who first submitted the message; nobody here believes or passes it on.
                Some(_) if is("AUTH") => 8,
                Some(value) if dsn && is("RET") => {
                    params.ret = Some(Ret::parse(value).ok_or(BadParam::Value(word))?);
                    16
                }
                Some(value) if dsn && is("ENVID") => {
                    if !is_envid(value) {
                        return bad;
                    }
                    params.envid = Some(value);
                    32
                }
                _ => return Err(BadParam::Unknown(word)),
            };
            once(&mut seen, bit)
        })?;
        Ok(params)
    }
}

impl<'i> RcptParams<'i> {
    /// Reads what follows the forward-path. Without `dsn` there is none.
    pub(crate) fn parse(text: &'i str, dsn: bool) -> Result<Self, BadParam<'i>> {
        let mut params = Self::default();
        let mut seen = 0u8;
        each(text, |word, keyword, value| {
            let is = |name| keyword.eq_ignore_ascii_case(name);
            let bit = match value {
                Some(value) if dsn && is("NOTIFY") => {
                    params.notify = Some(Notify::parse(value).map_err(|bad| match bad {
                        BadNotify::Word => BadParam::Value(word),
                        BadNotify::Conflict => BadParam::NotifyConflict,
                    })?);
                    1
                }
                Some(value) if dsn && is("ORCPT") => {
                    params.orcpt = Some(Orcpt::parse(value).ok_or(BadParam::Orcpt)?);
                    2
                }
                _ => return Err(BadParam::Unknown(word)),
            };
            once(&mut seen, bit)
        })?;
        Ok(params)
    }
}

/// A parameter stands at most once (RFC 3461 section 4, RFC 1870 section 6).
fn once<'i>(seen: &mut u8, bit: u8) -> Result<(), BadParam<'i>> {
    if *seen & bit != 0 {
        return Err(BadParam::Syntax);
    }
    *seen |= bit;
    Ok(())
}

/// Splits at blanks and calls `each` with the word, its keyword and its value.
fn each<'i>(
    text: &'i str,
    mut each: impl FnMut(&'i str, &'i str, Option<&'i str>) -> Result<(), BadParam<'i>>,
) -> Result<(), BadParam<'i>> {
    if !text.is_empty() && !text.starts_with([' ', '\t']) {
        return Err(BadParam::Syntax);
    }
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let named = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if keyword.is_empty() || !keyword.bytes().all(named) {
            return Err(BadParam::Syntax);
        }
        each(word, keyword, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> Result<MailParams<'_>, BadParam<'_>> {
        MailParams::parse(text, true)
    }

    #[test]
    fn mail_parameters() {
        let params = mail(" SIZE=10 body=7bit SMTPUTF8  RET=HDRS ENVID=x+2By AUTH=<>").unwrap();
        assert_eq!(
            params,
            MailParams {
                size: Some(10),
                body: Body::SevenBit,
                smtputf8: true,
                ret: Some(Ret::Headers),
                envid: Some("x+2By"),
            }
        );
        assert_eq!(mail(""), Ok(MailParams::default()));
        assert_eq!(mail(" SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
    }

    #[test]
    fn mail_parameters_that_are_refused() {
        for (text, bad) in [
            ("SIZE=1", BadParam::Syntax),
            (" SIZE=1 SIZE=1", BadParam::Syntax),
            (" =1", BadParam::Syntax),
            (" a_b=1", BadParam::Syntax),
            (" SIZE", BadParam::Unknown("SIZE")),
            (" SMTPUTF8=1", BadParam::Unknown("SMTPUTF8=1")),
            (" FOO=bar", BadParam::Unknown("FOO=bar")),
            (" NOTIFY=NEVER", BadParam::Unknown("NOTIFY=NEVER")),
            (" SIZE=", BadParam::Value("SIZE=")),
            (" SIZE=-1", BadParam::Value("SIZE=-1")),
            (" SIZE=1x", BadParam::Value("SIZE=1x")),
            (" BODY=BINARYMIME", BadParam::Value("BODY=BINARYMIME")),
            (" RET=NONE", BadParam::Value("RET=NONE")),
            (" ENVID=", BadParam::Value("ENVID=")),
        ] {
            assert_eq!(mail(text), Err(bad), "{text}");
        }
        let no_dsn = MailParams::parse(" RET=FULL", false);
        assert_eq!(no_dsn, Err(BadParam::Unknown("RET=FULL")));
    }

    #[test]
    fn rcpt_parameters() {
        let params = RcptParams::parse(" notify=success ORCPT=rfc822;a@b", true).unwrap();
        assert_eq!(params.notify, Some(Notify::SUCCESS));
        assert_eq!(params.orcpt.unwrap().as_str(), "rfc822;a@b");
        for (text, bad) in [
            (" NOTIFY=NEVER,DELAY", BadParam::NotifyConflict),
            (" NOTIFY=SOON", BadParam::Value("NOTIFY=SOON")),
            (" ORCPT=a@b", BadParam::Orcpt),
            (" SIZE=1", BadParam::Unknown("SIZE=1")),
            (" NOTIFY=DELAY NOTIFY=DELAY", BadParam::Syntax),
        ] {
            assert_eq!(RcptParams::parse(text, true), Err(bad), "{text}");
        }
        assert!(RcptParams::parse(" NOTIFY=NEVER", false).is_err());
    }
}
