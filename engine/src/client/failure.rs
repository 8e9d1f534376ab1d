//! What goes wrong with a next hop, and the only place that says whether for good.

use std::fmt;

use crate::reply::Enhanced;

use super::reply::{Garble, Reply};

/// Where in a session something happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// The next hop was to greet us.
    Banner,
    /// LHLO was to be answered.
    Lhlo,
    /// EHLO was.
    Ehlo,
    /// HELO was.
    Helo,
    /// STARTTLS was.
    StartTls,
    /// AUTH was, or a response of it.
    Auth,
    /// No transaction was open.
    Idle,
    /// RSET was to be answered.
    Reset,
    /// MAIL was.
    Mail,
    /// RCPT was.
    Recipient,
    /// DATA was.
    Data,
    /// Content was on its way.
    Body,
    /// The end of the data was to be answered.
    EndOfData,
}

/// What we insist on, and the next hop does not offer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lack {
    /// STARTTLS, and TLS is demanded.
    StartTls,
    /// TLS, and there are credentials, which are never sent in the clear.
    SecureChannel,
    /// AUTH.
    Auth,
    /// A mechanism of AUTH that suits the credentials.
    Mechanism,
    /// SMTPUTF8, and the message needs it.
    Smtputf8,
    /// Room for a message of this size.
    Size,
}

/// Why recipients do not have the message, or a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure<'i> {
    /// The next hop said no.
    Refused {
        /// To what.
        phase: Phase,
        /// In these words.
        reply: Reply<'i>,
    },
    /// The next hop does not speak SMTP.
    Garbled {
        /// When it said what.
        phase: Phase,
        /// Why it cannot be understood.
        why: Garble,
    },
    /// The next hop does not offer what we insist on.
    Lacks(Lack),
    /// The next hop said nothing for too long.
    TimedOut(Phase),
    /// The next hop closed the connection.
    HungUp(Phase),
    /// More recipients in a row were refused than [`Params`](super::Params) allow.
    TooManyRefusals,
}

impl Failure<'_> {
    /// Whether another try is in vain: the recipients it is about bounce.
    ///
    /// 5yz is final only where it is about the message or a recipient. Refused greetings,
    /// STARTTLS and AUTH are about this host and this connection: another MX host may take
    /// the mail, and an administrator may mend a password before it expires.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { phase, reply } => match phase {
                Phase::Recipient => reply.code() >= 500 && !is_too_many(reply),
                Phase::Mail | Phase::Data | Phase::Body | Phase::EndOfData => reply.code() >= 500,
                Phase::Banner
                | Phase::Lhlo
                | Phase::Ehlo
                | Phase::Helo
                | Phase::StartTls
                | Phase::Auth
                | Phase::Idle
                | Phase::Reset => false,
            },
            Self::Lacks(lack) => match lack {
                Lack::Smtputf8 | Lack::Size => true,
                Lack::StartTls | Lack::SecureChannel | Lack::Auth | Lack::Mechanism => false,
            },
            Self::Garbled { .. } | Self::TimedOut(_) | Self::HungUp(_) | Self::TooManyRefusals => {
                false
            }
        }
    }

    /// Where it happened; none when it was our own decision.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match *self {
            Self::Refused { phase, .. }
            | Self::Garbled { phase, .. }
            | Self::TimedOut(phase)
            | Self::HungUp(phase) => Some(phase),
            Self::Lacks(_) | Self::TooManyRefusals => None,
        }
    }

    /// The enhanced status code (RFC 3463): the next hop's own where it gave one. Its class
    /// is 5 when the failure is permanent, and 4 otherwise.
    #[must_use]
    pub fn status(&self) -> Enhanced {
        let (subject, detail) = match self {
            Self::Refused { reply, .. } => {
                reply.enhanced().map_or((0, 0), |enhanced| (enhanced.subject, enhanced.detail))
            }
            Self::Garbled { .. } => (5, 0),
            Self::Lacks(lack) => match lack {
                Lack::StartTls | Lack::SecureChannel | Lack::Auth | Lack::Mechanism => (7, 4),
                Lack::Smtputf8 => (6, 7),
                Lack::Size => (3, 4),
            },
            Self::TimedOut(_) | Self::HungUp(_) => (4, 2),
            Self::TooManyRefusals => (5, 3),
        };
        Enhanced { class: if self.is_permanent() { 5 } else { 4 }, subject, detail }
    }
}

/// 552 to RCPT is "too many recipients" in RFC 821's words, and temporary (RFC 5321 section
/// 4.5.3.1.10); with another enhanced code it means what that says, as a full mailbox.
fn is_too_many(reply: &Reply<'_>) -> bool {
    let too_many = |enhanced: Enhanced| (enhanced.subject, enhanced.detail) == (5, 3);
    reply.code() == 552 && reply.enhanced().is_none_or(too_many)
}

impl fmt::Display for Failure<'_> {
    /// In upstream's words, where it has some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { phase, reply } => match phase {
                Phase::Banner => write!(f, "BANNER rejected: {reply}"),
                Phase::Lhlo => write!(f, "LHLO rejected: {reply}"),
                Phase::Ehlo => write!(f, "EHLO rejected: {reply}"),
                Phase::Helo => write!(f, "HELO rejected: {reply}"),
                Phase::StartTls => write!(f, "STARTTLS rejected: {reply}"),
                Phase::Auth => write!(f, "AUTH rejected: {reply}"),
                Phase::Idle
                | Phase::Reset
                | Phase::Mail
                | Phase::Recipient
                | Phase::Data
                | Phase::Body
                | Phase::EndOfData => write!(f, "{reply}"),
            },
            Self::Garbled { why, .. } => write!(f, "{why}"),
            Self::Lacks(lack) => f.write_str(match lack {
                Lack::StartTls => "TLS required but not supported by remote host",
                Lack::SecureChannel => "Refuse to AUTH over insecure channel",
                Lack::Auth => "AUTH not advertised",
                Lack::Mechanism => "no supported AUTH method",
                Lack::Smtputf8 => "SMTPUTF8 required but not supported by remote host",
                Lack::Size => "message too large for peer",
            }),
            Self::TimedOut(_) => f.write_str("Connection timeout"),
            Self::HungUp(_) => f.write_str("Connection closed unexpectedly"),
            Self::TooManyRefusals => f.write_str("Too many consecutive errors, closing connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::Reader;
    use super::*;

    fn refused(phase: Phase, line: &'static str) -> Failure<'static> {
        let mut octets = line.as_bytes();
        let reply = Reader::default().read(&mut octets).unwrap().unwrap();
        Failure::Refused { phase, reply }
    }

    #[test]
    fn only_5yz_about_the_message_is_permanent() {
        for phase in [Phase::Mail, Phase::Recipient, Phase::Data, Phase::Body, Phase::EndOfData] {
            assert!(refused(phase, "550 no\r\n").is_permanent(), "{phase:?}");
            assert!(!refused(phase, "450 no\r\n").is_permanent(), "{phase:?}");
            assert!(!refused(phase, "421 no\r\n").is_permanent(), "{phase:?}");
        }
        for phase in [
            Phase::Banner,
            Phase::Lhlo,
            Phase::Ehlo,
            Phase::Helo,
            Phase::StartTls,
            Phase::Auth,
            Phase::Idle,
            Phase::Reset,
        ] {
            assert!(!refused(phase, "554 no\r\n").is_permanent(), "{phase:?}");
            assert_eq!(refused(phase, "554 5.7.1 no\r\n").status().to_string(), "4.7.1");
        }
        assert!(Failure::Lacks(Lack::Size).is_permanent());
        assert!(Failure::Lacks(Lack::Smtputf8).is_permanent());
        assert!(!Failure::Lacks(Lack::StartTls).is_permanent());
        assert!(!Failure::HungUp(Phase::EndOfData).is_permanent());
        assert!(!Failure::TooManyRefusals.is_permanent());
    }

    #[test]
    fn too_many_recipients_is_temporary_whatever_its_code() {
        for (line, permanent) in [
            ("552 too many recipients\r\n", false),
            ("552 5.5.3 too many recipients\r\n", false),
            ("552 5.2.2 mailbox full\r\n", true),
            ("553 no\r\n", true),
        ] {
            assert_eq!(refused(Phase::Recipient, line).is_permanent(), permanent, "{line}");
        }
        assert!(refused(Phase::EndOfData, "552 too big\r\n").is_permanent());
    }

    #[test]
    fn have_a_status_and_a_text() {
        let no = refused(Phase::Recipient, "550-5.1.1 No such\r\n550 5.1.1 user\r\n");
        assert_eq!(
            (no.status().to_string(), no.to_string()),
            ("5.1.1".into(), "550 5.1.1 No such user".into())
        );
        assert_eq!(refused(Phase::Mail, "451 x\r\n").status().to_string(), "4.0.0");
        assert_eq!(refused(Phase::Ehlo, "502 x\r\n").to_string(), "EHLO rejected: 502 x");
        assert_eq!(Failure::Lacks(Lack::Size).status().to_string(), "5.3.4");
        assert_eq!(Failure::TimedOut(Phase::Banner).status().to_string(), "4.4.2");
        assert_eq!(Failure::TimedOut(Phase::Banner).phase(), Some(Phase::Banner));
    }
}
