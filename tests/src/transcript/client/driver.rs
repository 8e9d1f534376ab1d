//! One session with a next hop, without a network: octets and the caller's wishes go in, what
//! was said and told comes out.
//!
//! The driver holds the engine to what it promises every caller: octets are taken off the front
//! only, no step goes in circles, what it keeps of the input is bounded, commands are whole lines
//! without a control character, a deadline that was served is gone, each recipient has one
//! outcome and no more, and no session ends without a word.

use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::client::{Event, Failure, NotNow, Params, Session, Step, Wait, Whom};
use smtpd_engine::limits;
use smtpd_engine::time::Time;

use super::Message;
use crate::transcript::driver::tls_info;

/// Runs one session.
pub struct Driver {
    session: Session,
    now: Time,
    input: Vec<u8>,
    out: Vec<u8>,
    said: Vec<u8>,
    told: Vec<String>,
    wait: Option<Wait>,
    /// Of the mail at hand: which recipients have had their outcome.
    settled: Vec<bool>,
    /// The session told that it ends, or was asked to.
    ending: bool,
    quit: bool,
}

impl Driver {
    /// A session that has just begun, perhaps under TLS.
    #[must_use]
    pub fn new(params: Params, immediate: bool) -> Self {
        let now = Time::from_micros(1_000_000_000);
        let tls = immediate.then(tls_info);
        Self {
            session: Session::new(Arc::new(params), tls, now),
            now,
            input: Vec::new(),
            out: Vec::new(),
            said: Vec::new(),
            told: Vec::new(),
            wait: None,
            settled: Vec::new(),
            ending: false,
            quit: false,
        }
    }

    /// What the session waits for; none when it is closed.
    #[must_use]
    pub fn wait(&self) -> Option<Wait> {
        self.wait
    }

    /// What was said since this was called last.
    pub fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    /// What was told since this was called last.
    pub fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// The next hop sends `octets`. False when the rest of what it sends in this run is lost:
    /// because the session closed, or because it was sent before TLS.
    pub fn send(&mut self, octets: &[u8]) -> bool {
        self.input.extend_from_slice(octets);
        self.run()
    }

    /// The caller begins a transaction.
    pub fn mail(&mut self, message: &Message) -> Result<(), NotNow> {
        self.session.mail(&message.mail(), &mut self.out, self.now)?;
        self.settled = vec![false; message.to.len()];
        self.run();
        Ok(())
    }

    /// The caller gives content; what was written is sent whenever the session takes no more.
    pub fn body(&mut self, content: &[u8]) -> Result<(), NotNow> {
        let mut rest = content;
        while !rest.is_empty() {
            let before = rest.len();
            self.session.body(&mut rest, &mut self.out, self.now)?;
            assert!(rest.len() < before, "no content was taken, and there was room");
            assert!(content.ends_with(rest), "content was taken that is not in front");
            assert!(self.out.len() <= 2 * limits::BODY_OUTPUT + 32, "{} octets", self.out.len());
            self.flush();
        }
        self.run();
        Ok(())
    }

    /// The content is all there.
    pub fn end_of_data(&mut self) -> Result<(), NotNow> {
        self.session.end_of_data(&mut self.out, self.now)?;
        self.run();
        Ok(())
    }

    /// The caller has nothing more.
    pub fn quit(&mut self) -> Result<(), NotNow> {
        self.session.quit(&mut self.out, self.now)?;
        (self.ending, self.quit) = (true, true);
        self.run();
        Ok(())
    }

    /// The handshake succeeded.
    pub fn tls_started(&mut self) {
        self.session.tls_started(tls_info(), &mut self.out, self.now);
        self.run();
    }

    /// The next hop closes the connection.
    pub fn hang_up(&mut self) {
        self.session.hung_up();
        self.run();
        assert!(self.wait.is_none(), "the connection is gone and the session is not");
    }

    /// Lets time pass; deadlines on the way are served at their time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.session.deadline() <= end {
            self.now = self.now.max(self.session.deadline());
            self.session.timeout(self.now);
            self.run();
            assert!(
                self.session.deadline() > self.now,
                "the deadline was served and is still there"
            );
        }
        self.now = self.now.max(end);
    }

    /// Runs the session until it waits. False as in `send`.
    pub fn run(&mut self) -> bool {
        let mut same_connection = true;
        let mut steps = 64 + self.input.len();
        loop {
            steps = steps.checked_sub(1).expect("the session goes in circles");
            let input = std::mem::take(&mut self.input);
            let mut rest = &input[..];
            let step = self.session.step(&mut rest, &mut self.out, self.now);
            assert!(input.ends_with(rest), "octets were taken that are not in front");
            let left = rest.len();
            match step {
                Step::Event(event) => {
                    same_connection &= event != Event::StartTls;
                    self.event(&event);
                }
                Step::Close => {
                    assert!(self.ending, "the session ends without a word");
                    self.wait = None;
                }
                Step::Wait(wait) => {
                    assert!(left <= limits::HOP_REPLY, "{left} octets are kept");
                    self.wait = Some(wait);
                    let over = wait == Wait::Caller;
                    assert!(!over || self.settled.iter().all(|done| *done), "no outcome for some");
                }
            }
            self.input = rest.to_vec();
            if !matches!(step, Step::Event(_)) {
                break;
            }
        }
        self.flush();
        same_connection && self.wait.is_some()
    }

    fn event(&mut self, event: &Event<'_>) {
        assert!(!self.quit, "{event:?} behind QUIT");
        let text = match event {
            Event::StartTls => "start-tls".to_owned(),
            Event::Delivered { whom, reply } => {
                self.settle(*whom);
                format!("delivered {} {reply}", name(*whom))
            }
            Event::Failed { whom, failure } => {
                self.settle(*whom);
                self.ending |= *whom == Whom::Rest;
                let how = if failure.is_permanent() { "permanent" } else { "temporary" };
                let status = failure.status();
                assert_eq!(status.class == 5, failure.is_permanent());
                if let Failure::Refused { reply, .. } = failure {
                    assert!(reply.code() >= 400, "{reply} refuses nothing");
                }
                format!("failed {} {how} {status} {failure}", name(*whom))
            }
        };
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= limits::HOP_STATUS + 100, "{} octets", text.len());
        self.told.push(text);
    }

    fn settle(&mut self, whom: Whom) {
        match whom {
            Whom::One(nth) => {
                assert!(!self.settled[nth], "recipient {nth} has two outcomes");
                self.settled[nth] = true;
            }
            Whom::Rest => self.settled.fill(true),
        }
    }

    /// Moves what was written to what was said.
    fn flush(&mut self) {
        self.said.append(&mut self.out);
    }
}

/// As `E:` lines have it.
fn name(whom: Whom) -> String {
    match whom {
        Whom::One(nth) => nth.to_string(),
        Whom::Rest => "rest".to_owned(),
    }
}
