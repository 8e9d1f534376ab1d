//! Reads a transcript of the sending side (format: `fixtures/README.md`).

use std::path::Path;

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::client::Recipient;
use smtpd_engine::dsn::{Notify, Ret};

use super::{Act, Message, Outside, Transcript, What};
use crate::transcript::parse::{duration, times};
use crate::transcript::{Failure, escape};

/// Reads the transcript in `file`.
///
/// # Errors
/// The first line that is not understood, or line 0 when the file cannot be read.
pub fn load(file: &Path) -> Result<Transcript, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure {
        file: file.into(),
        line: 0,
        text: e.to_string(),
        so_far: String::new(),
    })?;
    parse(file, &text)
}

/// Reads a transcript from `text`; `file` gives failures their name.
///
/// # Errors
/// The first line that is not understood.
pub fn parse(file: &Path, text: &str) -> Result<Transcript, Failure> {
    let wrong = |line, text| Failure { file: file.into(), line, text, so_far: String::new() };
    if !text.starts_with("# ") {
        return Err(wrong(1, "does not begin with `#` and the sentence it is about".into()));
    }
    let mut transcript =
        Transcript { file: file.into(), session: (1, Vec::new()), acts: vec![act(1, What::Open)] };
    let mut begun = false;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(words) = line.strip_prefix("session:").filter(|_| !begun) {
            transcript.session = (at + 1, words.split_whitespace().map(str::to_owned).collect());
            continue;
        }
        begun = true;
        conversation(&mut transcript.acts, at + 1, line).map_err(|text| wrong(at + 1, text))?;
    }
    if !begun {
        return Err(wrong(1, "holds no conversation".into()));
    }
    Ok(transcript)
}

fn act(line: usize, what: What) -> Act {
    Act { line, what, said: Vec::new(), told: Vec::new() }
}

fn conversation(acts: &mut Vec<Act>, at: usize, line: &str) -> Result<(), String> {
    let end = line.find([':', '|']).ok_or("neither `X:` nor `X|`")?;
    let (key, raw) = (&line[..end], line.as_bytes()[end] == b'|');
    let rest = &line[end + 1..];
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let (key, times) = times(key, &["S", "B", "C"])?;
    let octets = || -> Result<Vec<u8>, String> {
        let once = if raw { escape::unescape(rest)? } else { [rest.as_bytes(), b"\r\n"].concat() };
        Ok(once.repeat(times))
    };
    let last = acts.last_mut().expect("begins with one");
    let fresh = last.said.is_empty() && last.told.is_empty();
    match (key, &mut last.what) {
        ("S", What::Send(run)) | ("B", What::Body(run)) if fresh => run.extend(octets()?),
        ("S", _) => acts.push(act(at, What::Send(octets()?))),
        ("B", _) => acts.push(act(at, What::Body(octets()?))),
        ("C", _) => last.said.extend(octets()?),
        ("E", _) if !raw => last.told.push((at, rest.trim().to_owned())),
        ("M", _) if !raw => acts.push(act(at, What::Mail(message(rest)?))),
        ("T", _) if !raw => acts.push(act(at, What::Pass(duration(rest.trim())?))),
        ("X", _) if !raw => acts.push(act(at, What::Outside(outside(rest.trim())?))),
        _ => return Err("no such line; known are S: S| C: C| B: B| E: M: T: X:".into()),
    }
    Ok(())
}

/// The words of an `M:` line.
fn message(words: &str) -> Result<Message, String> {
    let mut message = Message {
        from: ReversePath::Null,
        to: Vec::new(),
        size: None,
        eight_bit: false,
        utf8_header: false,
        ret: None,
        envid: None,
    };
    let mailbox = |path: &str| {
        let inside = path.strip_prefix('<').and_then(|path| path.strip_suffix('>'));
        let inside = inside.ok_or("a path stands in angle brackets")?;
        Mailbox::parse(inside).map_err(|bad| format!("{path}: {bad}"))
    };
    for word in words.split_whitespace() {
        let last = message.to.last_mut();
        match word.split_once('=').unwrap_or((word, "")) {
            ("from", "<>") => message.from = ReversePath::Null,
            ("from", path) => message.from = ReversePath::Mailbox(mailbox(path)?),
            ("to", path) => {
                message.to.push(Recipient { to: mailbox(path)?, notify: None, orcpt: None });
            }
            ("notify", value) => {
                let notify = Notify::parse(value).map_err(|bad| format!("{bad:?}"))?;
                last.ok_or("`notify` behind no `to`")?.notify = Some(notify);
            }
            ("orcpt", value) => {
                last.ok_or("`orcpt` behind no `to`")?.orcpt = Some(value.to_owned());
            }
            ("size", n) => message.size = Some(n.parse().map_err(|_| "not a size")?),
            ("8bit", "") => message.eight_bit = true,
            ("utf8", "") => message.utf8_header = true,
            ("ret", value) => message.ret = Some(Ret::parse(value).ok_or("`full` or `hdrs`")?),
            ("envid", value) => message.envid = Some(value.to_owned()),
            _ => return Err(format!("no such word of a mail: {word}")),
        }
    }
    if message.to.is_empty() {
        return Err("a mail is for somebody".into());
    }
    Ok(message)
}

fn outside(text: &str) -> Result<Outside, String> {
    match text {
        "end" => Ok(Outside::End),
        "quit" => Ok(Outside::Quit),
        "tls" => Ok(Outside::Tls),
        "hang-up" => Ok(Outside::HangUp),
        _ => Err("`X:` is `end`, `quit`, `tls` or `hang-up`".into()),
    }
}
