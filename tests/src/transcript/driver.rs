//! One server session, its peer and its owner, without a network: octets and answers go in,
//! a log of what was said and asked comes out.
//!
//! The driver is a caller as the engine's documentation wants it, and holds the engine to what
//! it promises every caller: what it writes is whole reply lines, it takes octets off the front
//! of what it is shown, it never goes in circles, a deadline that was served is gone, an answer to
//! an earlier question is stale.

use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::header::Rewriter;
use smtpd_engine::limits;
use smtpd_engine::reply;
use smtpd_engine::server::{
    Answer, AnswerError, Event, Params, Peer, Session, Step, Ticket, TlsInfo, Wait,
};
use smtpd_engine::time::Time;

use super::{Entry, words};

/// What the owner of a session says to a question.
pub enum Verdict {
    /// This, at once.
    Now(Answer),
    /// Nothing yet; `Driver::answer` or the answer clock settles it.
    Later,
}

/// A question as the owner of a session sees it.
pub struct Question<'q> {
    /// What is asked.
    pub event: &'q Event<'q>,
    /// The same, written out as `Q:` lines have it.
    pub words: &'q [String],
    /// The message that ends with this question has been round too often.
    pub is_loop: bool,
}

/// Who answers.
pub type Owner<'o> = &'o mut dyn FnMut(&Question<'_>) -> Verdict;

/// Runs one session.
pub struct Driver {
    session: Session,
    now: Time,
    input: Vec<u8>,
    out: Vec<u8>,
    content: Vec<u8>,
    header: Rewriter,
    log: Vec<Entry>,
    /// The question that waits for its answer.
    open: Option<Ticket>,
    /// The last one asked, open or not.
    asked: Option<Ticket>,
    closed: bool,
    early: bool,
}

/// What TLS came to, where a transcript has it.
#[must_use]
pub fn tls_info() -> TlsInfo {
    TlsInfo { binding: Some([7; 32]), ..TlsInfo::usual() }
}

impl Driver {
    /// A session that has just begun; nothing has happened yet.
    #[must_use]
    pub fn new(params: Arc<Params>, peer: Peer, tls: Option<TlsInfo>) -> Self {
        let now = Time::from_micros(1_000_000_000);
        let mut session = Session::new(params, 1, peer, now);
        if let Some(tls) = tls {
            session.tls_started(tls, now);
        }
        Self {
            session,
            now,
            input: Vec::new(),
            out: Vec::new(),
            content: Vec::new(),
            header: Rewriter::pass(),
            log: Vec::new(),
            open: None,
            asked: None,
            closed: false,
            early: false,
        }
    }

    /// What was said and asked until now.
    #[must_use]
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a question waits for its answer.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.open.is_some()
    }

    /// The peer sends `octets`. False when the rest of what it sends in this run is lost:
    /// because the session closed, or because it was sent before TLS.
    pub fn send(&mut self, octets: &[u8], owner: Owner<'_>) -> bool {
        if self.closed {
            return false;
        }
        self.input.extend_from_slice(octets);
        self.run(owner)
    }

    /// Runs the session until it waits. False as in `send`.
    pub fn run(&mut self, owner: Owner<'_>) -> bool {
        let mut same_connection = true;
        // Each step takes an octet, or tells or asks something about one.
        let mut steps = 64 + 8 * self.input.len();
        while !self.closed {
            steps = steps.checked_sub(1).expect("the session goes in circles");
            let input = std::mem::take(&mut self.input);
            let mut rest = &input[..];
            let step = self.session.step(&mut rest, &mut self.out, self.now);
            let taken = input.len() - rest.len();
            assert!(input.ends_with(rest), "octets were taken that are not in front");
            if self.session.early_talker() && !self.early {
                self.early = true;
                self.log.push(Entry::Notice("early-talker".into()));
            }
            if !matches!(step, Step::Wait(Wait::Answer)) {
                self.open = None;
            }
            let wait = match step {
                Step::Event(event) => {
                    same_connection &= !matches!(event, Event::StartTls);
                    self.event(&event, owner);
                    false
                }
                Step::Close => {
                    self.flush();
                    self.log.push(Entry::Notice("close".into()));
                    self.closed = true;
                    true
                }
                Step::Wait(wait) => {
                    self.wait(wait, rest.len());
                    wait != Wait::Output
                }
            };
            self.input = input;
            self.input.drain(..taken);
            if wait {
                break;
            }
        }
        same_connection && !self.closed
    }

    fn event(&mut self, event: &Event<'_>, owner: Owner<'_>) {
        match event {
            Event::Body(run) => {
                self.content.extend_from_slice(run);
                self.header.push(run, &mut Vec::new());
            }
            Event::StartTls => {
                self.flush();
                self.log.push(Entry::Notice("start-tls".into()));
                self.session.tls_started(tls_info(), self.now);
            }
            Event::Replied { command, code, reply } => {
                let reply = &self.out[reply.clone()];
                assert!(reply.ends_with(b"\r\n"), "a reply was told that is not whole");
                let line =
                    String::from_utf8_lossy(reply.split(|c| *c == b'\r').next().unwrap_or(reply));
                assert!(line.starts_with(&code.to_string()), "{code} was told for {line:?}");
                let command = command.map(String::from_utf8_lossy);
                let command = command.map_or_else(String::new, |command| format!("{command} "));
                self.log.push(Entry::Notice(format!("replied {command}/ {line}")));
            }
            Event::StrayOctet { octet, offset } => {
                let name = match octet {
                    b'\r' => "CR",
                    b'\n' => "LF",
                    0 => "NUL",
                    _ => panic!("octet {octet} is not stray"),
                };
                self.log.push(Entry::Notice(format!("stray-octet {name} {offset}")));
            }
            Event::Reset => {
                self.forget_content();
                self.log.push(Entry::Notice("reset".into()));
            }
            question => self.question(question, owner),
        }
    }

    fn question(&mut self, event: &Event<'_>, owner: Owner<'_>) {
        self.flush();
        let mut is_loop = false;
        if let Event::EndOfData { octets, .. } = event {
            self.header.finish(&mut Vec::new());
            is_loop = self.header.is_loop();
            assert_eq!(*octets, self.content.len() as u64, "octets of content");
            self.log.push(Entry::Content(std::mem::take(&mut self.content)));
            self.forget_content();
        }
        if let Some(before) = self.asked {
            let late = self.session.answer(before, reply::OK.into(), &mut self.out, self.now);
            assert_eq!(late, Err(AnswerError::Stale), "an answer to the question before");
        }
        let words = words::question(event);
        self.log.push(Entry::Question(words.clone()));
        self.open = event.ticket();
        self.asked = self.open;
        if let Verdict::Now(answer) = owner(&Question { event, words: &words, is_loop }) {
            self.settle(answer);
        }
    }

    fn wait(&mut self, wait: Wait, left: usize) {
        if wait == Wait::Output {
            assert!(!self.out.is_empty(), "output is waited for that is not there");
        }
        self.flush();
        if wait == Wait::Input {
            // In mail data a CR, or a dot and a CR, may need the octet behind them.
            let most = if self.is_in_data() { 2 } else { limits::COMMAND_LINE + 2 };
            assert!(left <= most, "{left} octets are left, more than {most}");
        }
        if wait == Wait::Answer {
            assert!(self.open.is_some(), "an answer is waited for that was not asked for");
        }
    }

    /// Whether the peer was told to send its mail data and has not come to their end.
    fn is_in_data(&self) -> bool {
        let last = self.log.iter().rev().find_map(|entry| match entry {
            Entry::Reply(lines) => lines.last(),
            _ => None,
        });
        last.is_some_and(|line| line.starts_with("354"))
    }

    fn forget_content(&mut self) {
        self.content.clear();
        self.header = Rewriter::pass();
    }

    fn settle(&mut self, answer: Answer) {
        let ticket = self.asked.expect("a question was asked");
        match self.session.answer(ticket, answer, &mut self.out, self.now) {
            Ok(()) => self.open = None,
            Err(AnswerError::Class) => self.log.push(Entry::Notice("class".into())),
            Err(AnswerError::Stale) => self.log.push(Entry::Notice("stale".into())),
        }
    }

    /// Answers the question asked last, at last; perhaps too late.
    pub fn answer(&mut self, answer: Answer, owner: Owner<'_>) {
        self.settle(answer);
        self.run(owner);
    }

    /// Lets time pass; deadlines on the way are served at their time.
    pub fn pass(&mut self, time: Duration, owner: Owner<'_>) {
        let end = self.now + time;
        while !self.closed && self.session.deadline() <= end {
            self.now = self.now.max(self.session.deadline());
            self.session.timeout(&mut self.out, self.now);
            self.run(owner);
            assert!(
                self.closed || self.session.deadline() > self.now,
                "the deadline was served and is still there"
            );
        }
        self.now = self.now.max(end);
    }

    /// The server is told to end.
    pub fn shut_down(&mut self, owner: Owner<'_>) {
        self.session.shut_down(&mut self.out, self.now);
        self.run(owner);
    }

    /// Connection slots get short, or are there again.
    pub fn set_pressed(&mut self, pressed: bool) {
        self.session.set_pressed(pressed);
    }

    /// The server goes on with a session that it had held back itself.
    pub fn resume(&mut self) {
        self.session.resumed(self.now);
    }

    /// Moves what was written into the log, a reply at a time.
    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        let mut lines = Vec::new();
        for line in out.split_inclusive(|c| *c == b'\n') {
            let line = line.strip_suffix(b"\r\n").expect("a reply line ends in CR LF");
            assert!(line.len() <= 510, "a reply line of {} octets", line.len());
            assert!(
                line.iter().all(|c| matches!(c, b' '..=b'~')),
                "a reply line holds {:?}",
                String::from_utf8_lossy(line)
            );
            assert!(
                line.len() >= 3
                    && matches!(line[0], b'2'..=b'5')
                    && line[1..3].iter().all(u8::is_ascii_digit)
                    && matches!(line.get(3), None | Some(b' ' | b'-')),
                "not a reply: {:?}",
                String::from_utf8_lossy(line)
            );
            let last = line.get(3) != Some(&b'-');
            lines.push(String::from_utf8_lossy(line).into_owned());
            if last {
                self.log.push(Entry::Reply(std::mem::take(&mut lines)));
            }
        }
        assert!(lines.is_empty(), "a reply without its last line: {lines:?}");
        self.out = out;
        self.out.clear();
    }
}
