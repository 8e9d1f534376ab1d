//! Conversations with next hops: what a server says, and what our sending side makes of it.
//!
//! The format is that of `fixtures/README.md`, with the parts exchanged: `S:` lines are what
//! is done to the session, `C:` lines what must come of it.

use std::path::PathBuf;
use std::time::Duration;

use smtpd_engine::address::ReversePath;
use smtpd_engine::client::{BadCredentials, Credentials, Mail, Name, Params, Recipient, Tls};
use smtpd_engine::dsn::Ret;

pub mod driver;
pub mod parse;
pub mod player;

/// The transcripts of the sending side, in the order of their names.
///
/// # Panics
/// When the folder of fixtures cannot be read.
#[must_use]
pub fn client_transcripts() -> Vec<PathBuf> {
    super::in_folder("client")
}

/// One file of `fixtures/smtp/client`.
#[derive(Debug)]
pub struct Transcript {
    /// Where it stands; failures name it.
    pub file: PathBuf,
    /// Words of `session:`, with the line.
    pub session: (usize, Vec<String>),
    /// What happens, in order; the first is `What::Open`.
    pub acts: Vec<Act>,
}

/// One thing done to the session, and what must come of it before the next.
#[derive(Debug)]
pub struct Act {
    /// Line of the file.
    pub line: usize,
    /// What is done.
    pub what: What,
    /// `C` lines: all that it says.
    pub said: Vec<u8>,
    /// `E` lines: all that it tells, each with its line.
    pub told: Vec<(usize, String)>,
}

/// What is done to a session.
#[derive(Debug)]
pub enum What {
    /// The session begins.
    Open,
    /// The next hop sends a run of octets, in one write or cut anywhere.
    Send(Vec<u8>),
    /// The caller begins a transaction.
    Mail(Message),
    /// The caller gives content.
    Body(Vec<u8>),
    /// The clock moves; deadlines on the way fire at their time.
    Pass(Duration),
    /// Something else happens.
    Outside(Outside),
}

/// What else happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The content is all there.
    End,
    /// The caller has nothing more.
    Quit,
    /// The handshake succeeded.
    Tls,
    /// The next hop closes the connection.
    HangUp,
}

/// A message as the caller has it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The reverse-path.
    pub from: ReversePath,
    /// Whom it is for.
    pub to: Vec<Recipient>,
    /// Octets, if it is said.
    pub size: Option<u64>,
    /// The content is not ASCII.
    pub eight_bit: bool,
    /// The header is not ASCII.
    pub utf8_header: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<String>,
}

impl Message {
    /// As a session takes it.
    #[must_use]
    pub fn mail(&self) -> Mail<'_> {
        Mail {
            from: &self.from,
            size: self.size,
            eight_bit: self.eight_bit,
            utf8_header: self.utf8_header,
            ret: self.ret,
            envid: self.envid.as_deref(),
            recipients: &self.to,
        }
    }
}

/// The words of a `session:` line as settings.
///
/// # Errors
/// The word that means nothing.
pub fn params(words: &[String]) -> Result<(Params, bool), String> {
    let name = |text: &str| Name::parse(text).ok_or(format!("{text} is no name"));
    let mut params = Params::new(name("client.example.com")?);
    let mut immediate = false;
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("name", text) => params.name = name(text)?,
            ("lmtp", "") => params.lmtp = true,
            ("no-tls", "") => params.tls = Tls::Never,
            ("tls-require", "") => params.tls = Tls::Required,
            ("smtps", "") => immediate = true,
            ("auth", pair) => params.auth = credentials(pair, Credentials::password)?,
            ("token", pair) => params.auth = credentials(pair, Credentials::token)?,
            ("chunking", "") => params.chunking = true,
            ("max-failures", n) => {
                params.max_failures = n.parse().map_err(|_| format!("{n} is no number"))?;
            }
            _ => return Err(format!("no such session option: {word}")),
        }
    }
    Ok((params, immediate))
}

fn credentials(
    pair: &str,
    kind: fn(&str, &str) -> Result<Credentials, BadCredentials>,
) -> Result<Option<Credentials>, String> {
    let (user, secret) = pair.split_once(':').ok_or("not `user:secret`")?;
    kind(user, secret).map(Some).map_err(|bad| bad.to_string())
}
