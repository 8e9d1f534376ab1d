//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
usage: tls-load full|resumed|plain|memory [options]

  --to HOST:PORT   the server                       (default 127.0.0.1:2525)
  --smtps          TLS from the first octet, no STARTTLS
  --sessions N     at once, a thread each           (default 8)
  --count N        sessions, or handshakes, in all  (default 2000)
  --tls12          TLS 1.2, not 1.3
  --group NAME     x25519, p256, or hybrid (X25519MLKEM768) where there is one (default x25519)
  --wait           print `ready` when all is prepared, and begin at the next line of standard input
  --cert FILE, --key FILE
                   in PEM, for the server in memory
  --help           print this
Exit status 1: a session failed, or was resumed when it should not be, or the other way round.
";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Handshakes with a server's signature.
    Full,
    /// Handshakes with a ticket.
    Resumed,
    /// The same sessions without TLS.
    Plain,
    /// Both kinds of handshakes, without a server.
    Memory,
}

/// The command line, with its defaults filled in.
#[derive(Debug)]
pub struct Options {
    pub mode: Mode,
    pub to: SocketAddr,
    pub smtps: bool,
    pub sessions: usize,
    pub count: usize,
    pub tls12: bool,
    pub group: String,
    pub wait: bool,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Options {
    /// Reads the arguments; `None` when help is wanted.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mode = match arguments.next().as_deref() {
            Some("full") => Mode::Full,
            Some("resumed") => Mode::Resumed,
            Some("plain") => Mode::Plain,
            Some("memory") => Mode::Memory,
            Some("-h" | "--help") => return Ok(None),
            _ => return Err("the first word is full, resumed, plain or memory".into()),
        };
        let mut options = Options {
            mode,
            to: SocketAddr::from(([127, 0, 0, 1], 2525)),
            smtps: false,
            sessions: 8,
            count: 2000,
            tls12: false,
            group: "x25519".into(),
            wait: false,
            cert: PathBuf::new(),
            key: PathBuf::new(),
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--to" => options.to = address(&value()?)?,
                "--smtps" => options.smtps = true,
                "--sessions" => options.sessions = number(&name, &value()?)?,
                "--count" => options.count = number(&name, &value()?)?,
                "--tls12" => options.tls12 = true,
                "--group" => options.group = value()?,
                "--wait" => options.wait = true,
                "--cert" => options.cert = value()?.into(),
                "--key" => options.key = value()?.into(),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(Some(options))
    }
}

fn number(name: &str, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{name} wants a number above 0, not {text:?}")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|error| format!("--to {text}: {error}"))?
        .next()
        .ok_or_else(|| format!("--to {text}: no address"))
}
