//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
usage: smtp-load [send|idle|disk] [options]

  send  messages on --sessions sessions at once, from one thread (the default)
  idle  --sessions sessions that have said EHLO and then nothing
  disk  no server: 1 KiB records written and synced in groups of 1, 16 and 64

the server
  --to HOST:PORT     where it listens                    (default 127.0.0.1:2525)
  --pid PID          its process, with all its children: CPU time per message, memory
                     per idle session; may be given several times
  --strace           count its syncs (needs --pid and strace; the times are then strace's)
  --maildir DIR      wait until every message is in DIR/new, and print that rate too

the work
  --sessions N       sessions at once                    (default 10)
  --messages N       messages in each run                (default 1000)
  --size N           octets of a message, header and all (default 1024)
  --text FILE        its words, over and over; without it a message is full of the
                     letter x, which is no measure of what compression costs
  --per-session N    messages on a connection, then QUIT; 0 keeps it (default 0)
  --pipeline         MAIL, RCPT and DATA in one write (RFC 2920)
  --from ADDRESS     reverse-path                        (default bench@client.test)
  --rcpt ADDRESS     forward-path; may be given several times (default bench@bench.test)
  --runs N           repeat, print medians and ranges    (default 1)
  --warm N           messages before the first run       (default 20)

disk
  --dir DIR          the folder to write in              (default .)
  --seconds S        time for each figure                (default 1)

  --limit S          give up after so many seconds       (default 300)
  --json             print JSON instead of a table
  --help             print this
Times are in microseconds. Exit status 1: something was refused or did not arrive.
";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages.
    Send,
    /// Sessions that say nothing.
    Idle,
    /// The disk alone.
    Disk,
}

/// The command line, with its defaults filled in.
#[derive(Debug)]
pub struct Options {
    pub mode: Mode,
    pub to: SocketAddr,
    pub pids: Vec<u32>,
    pub strace: bool,
    pub maildir: Option<PathBuf>,
    pub sessions: usize,
    pub messages: usize,
    pub size: usize,
    pub text: Vec<u8>,
    pub per_session: usize,
    pub pipeline: bool,
    pub from: String,
    pub rcpts: Vec<String>,
    pub runs: usize,
    pub warm: usize,
    pub dir: PathBuf,
    pub seconds: Duration,
    pub limit: Duration,
    pub json: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mode: Mode::Send,
            to: SocketAddr::from(([127, 0, 0, 1], 2525)),
            pids: Vec::new(),
            strace: false,
            maildir: None,
            sessions: 10,
            messages: 1000,
            size: 1024,
            text: vec![b'x'],
            per_session: 0,
            pipeline: false,
            from: "bench@client.test".into(),
            rcpts: Vec::new(),
            runs: 1,
            warm: 20,
            dir: ".".into(),
            seconds: Duration::from_secs(1),
            limit: Duration::from_secs(300),
            json: false,
        }
    }
}

impl Options {
    /// Reads the arguments; `None` when help is wanted.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options::default();
        let mut arguments = arguments.peekable();
        let mode = match arguments.peek().map(String::as_str) {
            Some("send") => Some(Mode::Send),
            Some("idle") => Some(Mode::Idle),
            Some("disk") => Some(Mode::Disk),
            _ => None,
        };
        if let Some(mode) = mode {
            options.mode = mode;
            arguments.next();
        }
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--to" => options.to = address(&value()?)?,
                "--pid" => options.pids.push(number(&name, &value()?)?),
                "--strace" => options.strace = true,
                "--maildir" => options.maildir = Some(value()?.into()),
                "--sessions" => options.sessions = number(&name, &value()?)?,
                "--messages" => options.messages = number(&name, &value()?)?,
                "--size" => options.size = number(&name, &value()?)?,
                "--text" => options.text = words(&value()?)?,
                "--per-session" => options.per_session = number(&name, &value()?)?,
                "--pipeline" => options.pipeline = true,
                "--from" => options.from = value()?,
                "--rcpt" => options.rcpts.push(value()?),
                "--runs" => options.runs = number(&name, &value()?)?,
                "--warm" => options.warm = number(&name, &value()?)?,
                "--dir" => options.dir = value()?.into(),
                "--seconds" => options.seconds = seconds(&name, &value()?)?,
                "--limit" => options.limit = seconds(&name, &value()?)?,
                "--json" => options.json = true,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.rcpts.is_empty() {
            options.rcpts.push("bench@bench.test".into());
        }
        options.check()?;
        Ok(Some(options))
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in
            [("--sessions", self.sessions), ("--messages", self.messages), ("--runs", self.runs)]
        {
            if value == 0 {
                return Err(format!("{name} must be at least 1"));
            }
        }
        if self.strace && self.pids.is_empty() {
            return Err("--strace needs --pid".into());
        }
        Ok(())
    }

    /// What was measured, in a few words.
    pub fn point(&self) -> String {
        match self.mode {
            Mode::Disk => format!("disk {}", self.dir.display()),
            Mode::Idle => format!("{} idle sessions", self.sessions),
            Mode::Send => format!(
                "{} session{} x {} octets, {}{}{}",
                self.sessions,
                if self.sessions == 1 { "" } else { "s" },
                self.size,
                match self.per_session {
                    0 => "kept open".to_owned(),
                    1 => "a connection each".to_owned(),
                    n => format!("{n} on a connection"),
                },
                if self.pipeline { ", pipelined" } else { "" },
                if self.strace { ", under strace" } else { "" },
            ),
        }
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} wants a number, not {text:?}"))
}

fn seconds(name: &str, text: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(name, text)?).map_err(|error| format!("{name}: {error}"))
}

/// The graphic characters of a file, and blanks between them.
fn words(path: &str) -> Result<Vec<u8>, String> {
    let mut text = std::fs::read(path).map_err(|error| format!("--text {path}: {error}"))?;
    text.iter_mut().filter(|octet| !octet.is_ascii_graphic()).for_each(|octet| *octet = b' ');
    if text.is_empty() { Err(format!("--text {path}: there is nothing in it")) } else { Ok(text) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|error| format!("--to {text}: {error}"))?
        .next()
        .ok_or_else(|| format!("--to {text}: no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_mode_comes_first_and_may_be_left_out() {
        let idle = parse("idle --sessions 7").unwrap().unwrap();
        assert_eq!((idle.mode, idle.sessions), (Mode::Idle, 7));
        assert_eq!(parse("--size 9").unwrap().unwrap().mode, Mode::Send);
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_option() {
        for (line, part) in [
            ("--sessions", "needs a value"),
            ("--sessions many", "--sessions"),
            ("--runs 0", "--runs"),
            ("--strace", "--pid"),
            ("--seconds -1", "--seconds"),
            ("--nonsense", "--nonsense"),
        ] {
            assert!(parse(line).unwrap_err().contains(part), "{line}");
        }
    }
}
