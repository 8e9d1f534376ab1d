//! What a listener's configuration says about its sessions.

use crate::limits;

/// The settings of a session. Shared: a session holds an `Arc` of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params {
    /// Octets of a message (`max-message-size`), announced by SIZE. A line end is two, as
    /// RFC 1870 section 5 counts; upstream counts one.
    pub max_size: u64,
    /// Accepted recipients of a transaction (`max-rcpt`).
    pub max_recipients: u32,
    /// Accepted messages of a session (`max-mails`).
    pub max_mails: u32,
    /// STARTTLS (`tls`, `tls-require`).
    pub starttls: Demand,
    /// AUTH (`auth-optional`, `auth`); offered under TLS only.
    pub auth: Demand,
    /// Whether SCRAM-SHA-256 is among the mechanisms of AUTH.
    pub scram: bool,
    /// Whether DSN is offered (`no-dsn`).
    pub dsn: bool,
    /// What becomes of stray CR and LF in mail data (`stray-newline`).
    pub stray_newline: StrayNewline,
    /// Which replies are told.
    pub report: Report,
    /// Which commands are questions.
    pub ask: Ask,
}

impl Default for Params {
    /// No TLS, no AUTH, everything else as upstream's defaults.
    fn default() -> Self {
        Self {
            max_size: limits::MESSAGE,
            max_recipients: limits::RECIPIENTS,
            max_mails: limits::MAILS,
            starttls: Demand::Never,
            auth: Demand::Never,
            scram: false,
            dsn: true,
            stray_newline: StrayNewline::Reject,
            report: Report::Nothing,
            ask: Ask::default(),
        }
    }
}

/// Whether an extension is there, and must be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// Not offered.
    Never,
    /// Offered.
    Offered,
    /// Offered, and without it MAIL is refused.
    Required,
}

/// What becomes of a CR or LF in mail data that is no part of a CR LF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StrayNewline {
    /// The message is refused with 554 5.6.0.
    Reject,
    /// It is taken for a line break; yet only CR LF . CR LF ends the data.
    Normalize,
}

/// Which replies come as [`Event::Replied`](super::Event::Replied).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// None.
    Nothing,
    /// Those of class 4 and 5: the log's `failed-command`.
    Failures,
    /// All.
    All,
}

/// Commands that are asked about for the sake of a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask {
    /// STARTTLS
    pub starttls: bool,
    /// RSET
    pub rset: bool,
    /// NOOP
    pub noop: bool,
    /// QUIT
    pub quit: bool,
}
