//! What a next hop offers in its reply to EHLO or LHLO (RFC 5321 section 4.1.1.1).

use super::reply::Reply;

/// The extensions that a next hop offers and we know. Behind HELO there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// SIZE (RFC 1870): the octets that a message may have; 0 when it does not say.
    pub size: Option<u64>,
    /// AUTH (RFC 4954), and the mechanisms of it that we know.
    pub auth: Option<Mechanisms>,
}

/// Mechanisms of AUTH.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mechanisms {
    /// PLAIN (RFC 4616).
    pub plain: bool,
    /// LOGIN, which was never a standard.
    pub login: bool,
    /// XOAUTH2, neither.
    pub xoauth2: bool,
}

impl Extensions {
    /// Reads the lines behind the first. What is not understood is not offered.
    pub(super) fn parse(reply: &Reply<'_>) -> Self {
        let mut offered = Self::default();
        for line in reply.lines().skip(1) {
            // `AUTH=LOGIN` is what servers offered before there was a standard.
            let mut words = line.split(|c| matches!(c, b' ' | b'\t' | b'='));
            let keyword = words.next().unwrap_or(b"");
            let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
            match () {
                () if is("STARTTLS") => offered.starttls = true,
                () if is("PIPELINING") => offered.pipelining = true,
                () if is("8BITMIME") => offered.eight_bit_mime = true,
                () if is("SMTPUTF8") => offered.smtputf8 = true,
                () if is("DSN") => offered.dsn = true,
                () if is("CHUNKING") => offered.chunking = true,
                () if is("SIZE") => offered.size = Some(number(words.next().unwrap_or(b""))),
                () if is("AUTH") => {
                    let auth = offered.auth.get_or_insert_default();
                    for word in words {
                        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
                        auth.plain |= is("PLAIN");
                        auth.login |= is("LOGIN");
                        auth.xoauth2 |= is("XOAUTH2");
                    }
                }
                () => {}
            }
        }
        offered
    }
}

/// A number; 0 when it is none, and the largest when it is larger.
fn number(digits: &[u8]) -> u64 {
    let mut n: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return 0;
        }
        n = n.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    n
}

#[cfg(test)]
mod tests {
    use super::super::reply::Reader;
    use super::*;

    fn offered(lines: &str) -> Extensions {
        let mut octets = lines.as_bytes();
        let reply = Reader::default().read(&mut octets).unwrap().unwrap();
        Extensions::parse(&reply)
    }

    #[test]
    fn keywords_and_their_parameters() {
        let all = "250-mx PIPELINING\r\n250-PIPELINING\r\n250-8bitmime\r\n250-SMTPUTF8\r\n\
            250-DSN\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n\
            250-AUTH=LOGIN\r\n250-AUTH plain XOAUTH2 CRAM-MD5\r\n250 HELP\r\n";
        let auth = Some(Mechanisms { plain: true, login: true, xoauth2: true });
        assert_eq!(
            offered(all),
            Extensions {
                starttls: true,
                pipelining: true,
                eight_bit_mime: true,
                smtputf8: true,
                dsn: true,
                chunking: true,
                size: Some(1000),
                auth,
            }
        );
        // The first line is a greeting, whatever it says.
        assert_eq!(offered("250 PIPELINING\r\n"), Extensions::default());
        assert_eq!(
            offered("250-mx\r\n250-XPIPELINING\r\n250-PIPELININGX\r\n250-\r\n250\r\n"),
            Extensions::default()
        );
        let auth = |lines| offered(lines).auth;
        assert_eq!(auth("250-mx\r\n250 AUTH\r\n"), Some(Mechanisms::default()));
        assert_eq!(auth("250-mx\r\n250 AUTH CRAM-MD5\r\n"), Some(Mechanisms::default()));
    }

    #[test]
    fn sizes() {
        for (line, size) in [
            ("SIZE", Some(0)),
            ("SIZE ", Some(0)),
            ("SIZE 0", Some(0)),
            ("size 35882577", Some(35_882_577)),
            ("SIZE 99999999999999999999999", Some(u64::MAX)),
            ("SIZE -1", Some(0)),
            ("SIZE 10k", Some(0)),
            ("SIZED 10", None),
        ] {
            assert_eq!(offered(&format!("250-mx\r\n250 {line}\r\n")).size, size, "{line}");
        }
    }
}
