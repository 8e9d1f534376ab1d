//! Reads a transcript (format: `fixtures/README.md`).
//!
//! A transcript that is not understood is an error with its line: an expectation that is
//! skipped silently would be a test that cannot fail.

use std::path::Path;
use std::time::Duration;

use smtpd_engine::reply::Reply;

use super::compare::is_last_line;
use super::{
    Act, Compare, Cuts, Expected, Failure, Header, ListenerOption, Outside, PeerSpec, Piece,
    Scripted, Transcript, Wanted, What, escape,
};

/// Most repetitions that `C*N:` and the like may ask for.
const MOST_TIMES: usize = 100_000;

/// Reads the transcript in `file`.
///
/// # Errors
/// The first line that is not understood, or line 0 when the file cannot be read.
pub fn load(file: &Path) -> Result<Transcript, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure {
        file: file.into(),
        line: 0,
        text: e.to_string(),
        so_far: "".into(),
    })?;
    parse(file, &text)
}

/// Reads a transcript from `text`; `file` gives failures their name and `C<` its folder.
///
/// # Errors
/// The first line that is not understood.
pub fn parse(file: &Path, text: &str) -> Result<Transcript, Failure> {
    let mut parser = Parser {
        folder: file.parent().unwrap_or(Path::new(".")),
        about: String::new(),
        header: Header::default(),
        acts: vec![Act { line: 1, what: What::Open, expected: Vec::new() }],
        last: Last::Nothing,
    };
    let wrong = |line, text| Failure { file: file.into(), line, text, so_far: String::new() };
    for (at, line) in text.lines().enumerate() {
        parser.line(at + 1, line).map_err(|text| wrong(at + 1, text))?;
    }
    if parser.about.is_empty() {
        return Err(wrong(1, "does not begin with `#` and the sentence it is about".into()));
    }
    if parser.last == Last::Nothing {
        return Err(wrong(1, "holds no conversation".into()));
    }
    let Parser { about, header, acts, .. } = parser;
    Ok(Transcript { file: file.into(), about, header, acts })
}

struct Parser<'a> {
    folder: &'a Path,
    about: String,
    header: Header,
    acts: Vec<Act>,
    last: Last,
}

/// What the line before was, as far as it decides what this one means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The conversation has not begun.
    Nothing,
    Client,
    Question,
    Content,
    Other,
}

impl Parser<'_> {
    fn line(&mut self, at: usize, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            if self.last == Last::Nothing && self.header_is_untouched() {
                if !self.about.is_empty() {
                    self.about.push(' ');
                }
                self.about.push_str(comment.trim());
            }
            return Ok(());
        }
        if line.trim().is_empty() {
            return Ok(());
        }
        let end = line.find([':', '|', '<']).ok_or("neither `X:`, `X|` nor `C<`")?;
        let (key, form) = (&line[..end], line.as_bytes()[end]);
        let rest = &line[end + 1..];
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if self.last == Last::Nothing && form == b':' && self.header_line(at, key, rest)? {
            return Ok(());
        }
        self.last = self.conversation_line(at, key, form, rest)?;
        Ok(())
    }

    fn header_is_untouched(&self) -> bool {
        self.header.listener.is_empty() && self.header.peer.is_none()
    }

    /// True when it was one.
    fn header_line(&mut self, at: usize, key: &str, rest: &str) -> Result<bool, String> {
        match (key, rest) {
            ("listener", words) => {
                self.header.listener.extend(words.split_whitespace().map(|word| {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (word, None),
                    };
                    ListenerOption { line: at, name: name.into(), value }
                }));
            }
            ("peer", "local") => self.header.peer = Some(PeerSpec::Local),
            ("peer", address) => {
                let ip = address.parse().map_err(|_| "not `local` and not an IP address")?;
                self.header.peer = Some(PeerSpec::Ip(ip));
            }
            ("compare", "exact") => self.header.compare = Compare::Exact,
            ("compare", "codes") => self.header.compare = Compare::Codes,
            ("compare", _) => return Err("`compare:` is `exact` or `codes`".into()),
            ("cuts", "anywhere") => self.header.cuts = Cuts::Anywhere,
            ("cuts", "inside-lines") => self.header.cuts = Cuts::InsideLines,
            ("cuts", _) => return Err("`cuts:` is `anywhere` or `inside-lines`".into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn conversation_line(
        &mut self,
        at: usize,
        key: &str,
        form: u8,
        rest: &str,
    ) -> Result<Last, String> {
        let (key, times) = times(key, &["C", "S"])?;
        match (key, form) {
            ("C", b':') => {
                (0..times).for_each(|_| self.send(at, Piece::Line(rest.into())));
                Ok(Last::Client)
            }
            ("C", b'|') => {
                let octets = escape::unescape(rest)?.repeat(times);
                self.send(at, Piece::Octets(octets));
                Ok(Last::Client)
            }
            ("C", b'<') => {
                let octets = self.file(rest)?;
                self.send(at, Piece::Octets(octets));
                Ok(Last::Client)
            }
            ("T", b':') => {
                self.act(at, What::Pass(duration(rest.trim())?));
                Ok(Last::Other)
            }
            ("X", b':') => {
                self.act(at, What::Outside(outside(rest.trim())?));
                Ok(Last::Other)
            }
            ("A", b':') => self.answer(at, rest),
            ("A", b'|') => self.answer(at, &String::from_utf8_lossy(&escape::unescape(rest)?)),
            ("S", b':' | b'|') => {
                let line = match form {
                    b':' => rest.trim_end().to_owned(),
                    _ => String::from_utf8_lossy(&escape::unescape(rest)?).into_owned(),
                };
                (0..times).for_each(|_| self.reply(at, line.clone()));
                Ok(Last::Other)
            }
            ("Q", b':') => {
                self.expect(at, Wanted::Question { text: rest.trim().into(), answer: None });
                Ok(Last::Question)
            }
            ("E", b':') => {
                self.expect(at, Wanted::Notice(rest.trim().into()));
                Ok(Last::Other)
            }
            ("B", form) => {
                let octets = match form {
                    b':' => [rest.as_bytes(), b"\r\n"].concat(),
                    b'|' => escape::unescape(rest)?,
                    _ => self.file(rest)?,
                };
                self.content(at, octets);
                Ok(Last::Content)
            }
            _ => Err("no such line; known are C: C| C< S: S| B: B| B< Q: A: E: T: X:".into()),
        }
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.join(name.trim());
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn send(&mut self, at: usize, piece: Piece) {
        match self.acts.last_mut() {
            Some(Act { what: What::Send(run), .. }) if self.last == Last::Client => run.push(piece),
            _ => self.act(at, What::Send(vec![piece])),
        }
        self.last = Last::Client;
    }

    fn act(&mut self, line: usize, what: What) {
        self.acts.push(Act { line, what, expected: Vec::new() });
    }

    fn expect(&mut self, line: usize, what: Wanted) {
        self.acts.last_mut().expect("begins with one").expected.push(Expected { line, what });
    }

    /// Lines of one reply are one expectation.
    fn reply(&mut self, at: usize, line: String) {
        let last = self.acts.last_mut().and_then(|act| act.expected.last_mut());
        match last {
            Some(Expected { what: Wanted::Reply(lines), .. })
                if lines.last().is_some_and(|line| !is_last_line(line)) =>
            {
                lines.push(line);
            }
            _ => self.expect(at, Wanted::Reply(vec![line])),
        }
    }

    fn content(&mut self, at: usize, octets: Vec<u8>) {
        let last = self.acts.last_mut().and_then(|act| act.expected.last_mut());
        match last {
            Some(Expected { what: Wanted::Content(so_far), .. }) if self.last == Last::Content => {
                so_far.extend(octets);
            }
            _ => self.expect(at, Wanted::Content(octets)),
        }
    }

    /// Below a question `A:` is its answer, anywhere else it answers the one left open.
    fn answer(&mut self, at: usize, rest: &str) -> Result<Last, String> {
        let scripted = scripted(rest.trim_start())?;
        if self.last != Last::Question {
            if scripted == Scripted::Later {
                return Err("`A: later` stands below a `Q:` line only".into());
            }
            self.act(at, What::Answer(scripted));
            return Ok(Last::Other);
        }
        let question = self.acts.last_mut().and_then(|act| act.expected.last_mut());
        let Some(Expected { what: Wanted::Question { answer, .. }, .. }) = question else {
            unreachable!("the line before was a question");
        };
        *answer = Some(scripted);
        Ok(Last::Other)
    }
}

fn scripted(text: &str) -> Result<Scripted, String> {
    if text.trim_end() == "later" {
        return Ok(Scripted::Later);
    }
    let (close, reply) = match text.strip_prefix("[close] ") {
        Some(reply) => (true, reply),
        None => (false, text),
    };
    if Reply::parse(reply).is_err() {
        return Err("neither `later` nor a reply".into());
    }
    Ok(Scripted::Now { reply: reply.into(), close })
}

/// The key of a line, and how many times the line counts: `C*N`, for keys that may be repeated.
pub(super) fn times<'k>(key: &'k str, repeated: &[&str]) -> Result<(&'k str, usize), String> {
    match key.split_once('*') {
        None => Ok((key, 1)),
        Some((key, times)) if repeated.contains(&key) => {
            let times = times.parse().ok().filter(|n| (1..=MOST_TIMES).contains(n));
            Ok((key, times.ok_or("not a number of times")?))
        }
        Some(_) => Err(format!("only {} lines can be repeated", repeated.join(" and "))),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| "not a time: as in 500ms, 10s, 5m")?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err("not a time: as in 500ms, 10s, 5m".into()),
    }
}

fn outside(text: &str) -> Result<Outside, String> {
    match text {
        "shut-down" => Ok(Outside::ShutDown),
        "pressed" => Ok(Outside::Pressed),
        "relaxed" => Ok(Outside::Relaxed),
        "resumed" => Ok(Outside::Resumed),
        _ => Err("`X:` is `shut-down`, `pressed`, `relaxed` or `resumed`".into()),
    }
}
