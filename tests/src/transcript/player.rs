//! Plays a transcript against the engine and compares what comes with what is expected.
//!
//! A transcript is played whole, octet by octet, and cut at random places; each time the
//! expectations must hold, and the logs of all plays must be the same (the engine's promise that
//! the same octets, cut anywhere, give the same events and the same output).

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use smtpd_engine::limits;
use smtpd_engine::server::Peer;

use super::compare::{Captures, fill_in, same_reply};
use super::driver::{Driver, Question};
use super::owner::{Script, scripted};
use super::setting::Setting;
use super::{
    Act, Cuts, Entry, Expected, Failure, Outside, Piece, Transcript, Wanted, What, escape, words,
};
use crate::rng::Rng;

/// How what the peer sends in one run is cut.
#[derive(Debug, Clone)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// Behind each octet.
    EachOctet,
    /// At places that depend on the seed.
    Random(u64),
}

/// Plays `transcript` whole, octet by octet, and `times` times cut at random places.
///
/// # Errors
/// The first expectation that does not hold, or the first difference between two plays.
pub fn play_every_way(transcript: &Transcript, times: u64) -> Result<(), Failure> {
    let whole = play(transcript, &Cut::Whole)?;
    let random = (0..times).map(Cut::Random);
    for cut in std::iter::once(Cut::EachOctet).chain(random) {
        let told = |failure: Failure| Failure {
            text: format!("cut {cut:?}: {}", failure.text),
            ..failure
        };
        let log = play(transcript, &cut).map_err(told)?;
        if let Some((at, was, is)) = first_difference(&whole, &log) {
            return Err(told(Failure {
                file: transcript.file.clone(),
                line: 1,
                text: format!("whole came `{was}`, now `{is}`"),
                so_far: at,
            }));
        }
    }
    Ok(())
}

/// Where two logs differ, if they do: what both have until then, and what comes next in each.
///
/// The notices of a log are compared among themselves, and so is everything else: a cut may let
/// a reply be written out before a notice instead of behind it.
#[must_use]
pub fn first_difference(one: &[Entry], other: &[Entry]) -> Option<(String, String, String)> {
    let is_notice = |entry: &&Entry| matches!(entry, Entry::Notice(_));
    for notices in [false, true] {
        let of = |log: &'_ [Entry]| -> Vec<String> {
            log.iter().filter(|e| is_notice(e) == notices).map(written).collect()
        };
        let (one, other) = (of(one), of(other));
        if one != other {
            let at = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
            let show = |log: &[String]| log.get(at).map_or("nothing".into(), String::clone);
            let same = one[..at].iter().map(|entry| format!("    {entry}\n")).collect();
            return Some((same, show(&one), show(&other)));
        }
    }
    None
}

/// Plays `transcript` once.
///
/// # Errors
/// The first expectation that does not hold.
pub fn play(transcript: &Transcript, cut: &Cut) -> Result<Vec<Entry>, Failure> {
    let setting = Setting::of(&transcript.header).map_err(|(line, text)| Failure {
        file: transcript.file.clone(),
        line,
        text,
        so_far: String::new(),
    })?;
    let mut player = Player {
        transcript,
        driver: Driver::new(Arc::new(setting.params), setting.peer, setting.tls),
        hostname: setting.hostname,
        peer: setting.peer,
        rng: Rng::new(match cut {
            Cut::Random(seed) => *seed,
            _ => 0,
        }),
        cut: cut.clone(),
        captures: Captures::new(),
        compared: 0,
        messages: 0,
        conversation: String::new(),
    };
    for act in &transcript.acts {
        player.act(act)?;
    }
    Ok(player.driver.log().to_vec())
}

struct Player<'t> {
    transcript: &'t Transcript,
    driver: Driver,
    hostname: String,
    peer: Peer,
    rng: Rng,
    cut: Cut,
    captures: Captures,
    /// Entries of the log that were compared already.
    compared: usize,
    /// Messages accepted: the next one's id.
    messages: u32,
    conversation: String,
}

impl Player<'_> {
    fn act(&mut self, act: &Act) -> Result<(), Failure> {
        let mut script = Script::new(act, &self.hostname, self.peer, &mut self.messages);
        let owner = &mut |question: &Question<'_>| script.answer(question);
        let closed = self.driver.is_closed();
        match &act.what {
            // When the peer speaks first its octets are there before the session is run.
            What::Open if act.expected.is_empty() => {}
            What::Open => {
                self.driver.run(owner);
            }
            What::Send(_) if closed => {
                return Err(self.failure(act.line, "the session was closed already".into()));
            }
            What::Send(run) => {
                let mut octets = Vec::new();
                for piece in run {
                    match piece {
                        Piece::Line(line) => {
                            octets.extend_from_slice(fill_in(line, &self.captures).as_bytes());
                            octets.extend_from_slice(b"\r\n");
                        }
                        Piece::Octets(more) => octets.extend_from_slice(more),
                    }
                }
                let sent = escape::escape_for_people(&octets);
                let _ = writeln!(self.conversation, "    C| {sent}");
                let cuts = self.transcript.header.cuts;
                for part in parts(&octets, &self.cut, cuts, &mut self.rng) {
                    if !self.driver.send(&octets[part], owner) {
                        break;
                    }
                }
            }
            What::Pass(time) => {
                let _ = writeln!(self.conversation, "    T: {time:?}");
                self.driver.pass(*time, owner);
            }
            What::Answer(answer) => {
                let Some(answer) = scripted(answer) else { unreachable!("`later` is no answer") };
                let _ = writeln!(self.conversation, "    A: {}", answer.reply);
                self.driver.answer(answer, owner);
            }
            What::Outside(outside) => {
                let _ = writeln!(self.conversation, "    X: {outside:?}");
                match outside {
                    Outside::ShutDown => self.driver.shut_down(owner),
                    Outside::Pressed => self.driver.set_pressed(true),
                    Outside::Relaxed => self.driver.set_pressed(false),
                    Outside::Resumed => self.driver.resume(),
                }
            }
        }
        self.compare(act)
    }

    fn failure(&self, line: usize, text: String) -> Failure {
        Failure {
            file: self.transcript.file.clone(),
            line,
            text,
            so_far: self.conversation.clone(),
        }
    }

    /// Compares what came since the last act with what this one expects.
    ///
    /// Replies are compared always; questions, content and notices where the act lists some of
    /// their kind. Notices are compared among themselves: whether `reset` comes before or after
    /// the reply to RSET is for the engine to say.
    fn compare(&mut self, act: &Act) -> Result<(), Failure> {
        let (mut dialogue, mut notices) = (Vec::new(), Vec::new());
        let lists = |kind: fn(&Wanted) -> bool| act.expected.iter().any(|e| kind(&e.what));
        let questions = lists(|what| matches!(what, Wanted::Question { .. }));
        let contents = lists(|what| matches!(what, Wanted::Content(_)));
        let quiet = lists(|what| matches!(what, Wanted::Notice(text) if !is_loud(text)));
        let new = self.driver.log()[self.compared..].to_vec();
        self.compared += new.len();
        for entry in new {
            match &entry {
                Entry::Reply(_) => dialogue.push(entry),
                Entry::Question(_) if questions => dialogue.push(entry),
                Entry::Content(_) if contents => dialogue.push(entry),
                Entry::Notice(text) if quiet || is_loud(text) => notices.push(entry),
                _ => {}
            }
        }
        let is_notice = |e: &&Expected| matches!(e.what, Wanted::Notice(_));
        let expected = |notice| act.expected.iter().filter(move |e| is_notice(e) == notice);
        self.compare_one(act, expected(false), dialogue)?;
        self.compare_one(act, expected(true), notices)
    }

    fn compare_one<'e>(
        &mut self,
        act: &Act,
        expected: impl Iterator<Item = &'e Expected>,
        got: Vec<Entry>,
    ) -> Result<(), Failure> {
        let mut got = got.into_iter();
        for expected in expected {
            let line = expected.line;
            let Some(entry) = got.next() else {
                let text = format!("expected `{}`, got nothing", wanted(&expected.what));
                return Err(self.failure(line, text));
            };
            if !self.agrees(&expected.what, &entry) {
                let (wanted, got) = (wanted(&expected.what), written(&entry));
                let text = format!("expected `{wanted}`\n             got `{got}`");
                return Err(self.failure(line, text));
            }
            let _ = writeln!(self.conversation, "    {}", written(&entry));
        }
        match got.next() {
            None => Ok(()),
            Some(entry) => {
                let last = act.expected.last().map_or(act.line, |expected| expected.line);
                Err(self.failure(last, format!("expected no more, got `{}`", written(&entry))))
            }
        }
    }

    fn agrees(&mut self, wanted: &Wanted, entry: &Entry) -> bool {
        match (wanted, entry) {
            (Wanted::Reply(lines), Entry::Reply(got)) => {
                let how = self.transcript.header.compare;
                same_reply(lines, got, how, &mut self.captures)
            }
            (Wanted::Question { text, .. }, Entry::Question(got)) => words::agree(text, got),
            (Wanted::Notice(text), Entry::Notice(got)) => got
                .strip_prefix(text.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')),
            (Wanted::Content(octets), Entry::Content(got)) => octets == got,
            _ => false,
        }
    }
}

/// Notices that nobody may overlook: they must be listed where they come.
fn is_loud(notice: &str) -> bool {
    ["close", "stale", "class", "early-talker"].contains(&notice)
}

/// Cuts a run into what the session is shown one after the other; only `Cut::Random` uses `rng`.
#[must_use]
pub fn parts(octets: &[u8], cut: &Cut, cuts: Cuts, rng: &mut Rng) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    // Some plays have many cuts, some few; long runs are not cut into more than some
    // thousand parts.
    let often = 1 + rng.below(60);
    let shortest = octets.len() / limits::OUTPUT;
    for to in 1..=octets.len() {
        let here = match cut {
            Cut::Whole => false,
            Cut::EachOctet => true,
            Cut::Random(_) => rng.one_in(often) && to - from > shortest,
        };
        let inside_line = cuts == Cuts::Anywhere || octets[to - 1] != b'\n';
        if to == octets.len() || (here && inside_line) {
            parts.push(from..to);
            from = to;
        }
    }
    parts
}

fn wanted(what: &Wanted) -> String {
    match what {
        Wanted::Reply(lines) => format!("S: {}", lines.join(" / ")),
        Wanted::Question { text, .. } => format!("Q: {text}"),
        Wanted::Notice(text) => format!("E: {text}"),
        Wanted::Content(octets) => format!("B| {}", escape::escape_for_people(octets)),
    }
}

fn written(entry: &Entry) -> String {
    match entry {
        Entry::Reply(lines) => format!("S: {}", lines.join(" / ")),
        Entry::Question(words) => format!("Q: {}", words.join(" ")),
        Entry::Notice(text) => format!("E: {text}"),
        Entry::Content(octets) => format!("B| {}", escape::escape_for_people(octets)),
    }
}
