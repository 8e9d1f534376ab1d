//! Table processes: a program for each such table, and a thread that talks to it.
//!
//! Whoever asks waits for [`PATIENCE`] at most, and never on a reactor. A program that ends, says
//! what it should not or does not answer in time is killed and started again, after a pause that
//! grows from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`]; until then every question is a temporary failure
//! at once. Behind one question that a program does not answer, [`WAITING`] others wait at most, for
//! no longer than that. A program is started when it is first asked, and ends with the daemon.

mod line;
mod program;

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smtpd_config::table::{Backend, LookupError, Service, Table};
use zeroize::Zeroizing;

use super::threads;
use line::Operation;
use program::{Groups, Program};

/// How long an answer may take, and a handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a program that has failed is started again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What that grows to while it goes on failing.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Questions that wait for one program, beside the one it has; more of them fail at once.
const WAITING: usize = 64;

/// The table processes of a daemon.
#[derive(Default)]
pub struct Processes {
    ways: Mutex<HashMap<Box<str>, SyncSender<Question>>>,
    groups: Arc<Groups>,
}

/// A question on its way to the thread of a table.
struct Question {
    operation: Operation,
    service: Service,
    /// May hold a password.
    key: Zeroizing<String>,
    /// Nobody waits any more after that.
    until: Instant,
    answer: Sender<Answer>,
}

/// The value, or an empty one for a key that is there.
type Answer = Result<Option<Box<str>>, LookupError>;

impl Processes {
    /// Whether the table has the key.
    ///
    /// # Errors
    /// When its program does not say.
    pub fn check(&self, table: &Table, service: Service, key: &str) -> Result<bool, LookupError> {
        self.ask(table, Operation::Check, service, key).map(|found| found.is_some())
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When its program does not say.
    pub fn lookup(&self, table: &Table, service: Service, key: &str) -> Answer {
        self.ask(table, Operation::Lookup, service, key)
    }

    /// A key that the program chooses: a source address, or a server.
    ///
    /// # Errors
    /// When its program does not say.
    pub fn fetch(&self, table: &Table, service: Service) -> Answer {
        self.ask(table, Operation::Fetch, service, "")
    }

    /// Ends all programs: what they are asked from now on fails.
    pub fn end(&self) {
        self.groups.end();
    }

    fn ask(&self, table: &Table, operation: Operation, service: Service, key: &str) -> Answer {
        // It comes from a peer, and must not end the line or begin a field.
        if !line::is_safe(service, key) {
            log::warn!("warn: table-proc: {}: a key that cannot be asked for", table.name);
            return Err(LookupError::Failed);
        }
        let (answer, answers) = mpsc::channel();
        let until = Instant::now() + PATIENCE;
        let question =
            Question { operation, service, key: Zeroizing::new(key.to_owned()), until, answer };
        self.way(table)?.try_send(question).map_err(|_| LookupError::Failed)?;
        // The thread answers in time, but for what it takes to end a program.
        answers.recv_timeout(PATIENCE + FIRST_PAUSE).unwrap_or(Err(LookupError::Failed))
    }

    /// The way to the table's thread, which is started if there is none.
    fn way(&self, table: &Table) -> Result<SyncSender<Question>, LookupError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get(&table.name) {
            return Ok(way.clone());
        }
        let Backend::Process { name, parameter } = &table.backend else {
            return Err(LookupError::NoService);
        };
        let (way, questions) = mpsc::sync_channel(WAITING);
        let mut keeper = Keeper {
            table: table.name.clone(),
            backend: name.as_str().into(),
            parameter: parameter.as_deref().map(Into::into),
            groups: self.groups.clone(),
            program: None,
            pause: FIRST_PAUSE,
            not_before: None,
        };
        threads::start("table", move || keeper.serve(&questions)).map_err(|error| {
            log::warn!("warn: table-proc: {}: {error}", table.name);
            LookupError::Failed
        })?;
        ways.insert(table.name.clone(), way.clone());
        Ok(way)
    }
}

/// Keeps the program of one table running.
struct Keeper {
    table: Box<str>,
    backend: Box<str>,
    parameter: Option<Box<str>>,
    groups: Arc<Groups>,
    program: Option<Program>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Keeper {
    /// Answers until nobody can ask any more.
    fn serve(&mut self, questions: &Receiver<Question>) {
        for question in questions {
            let answer = if question.until <= Instant::now() {
                Err(LookupError::Failed)
            } else {
                self.answer(&question)
            };
            let _ = question.answer.send(answer);
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        // One that has ended since is noticed now and not by a question that fails.
        if self.program.as_mut().is_some_and(Program::has_ended) {
            self.failed("it has ended");
        }
        if self.program.is_none() {
            self.start(question.until)?;
        }
        let Some(program) = &mut self.program else { return Err(LookupError::Failed) };
        if !program.serves(question.service) {
            return Err(LookupError::NoService);
        }
        let (operation, service) = (question.operation, question.service);
        match program.ask(&self.table, operation, service, &question.key, question.until) {
            Ok(answer) => {
                self.pause = FIRST_PAUSE;
                answer.map_err(|message| {
                    let word = operation.word();
                    log::warn!("warn: table-proc: {} {word} failed: {message}", self.table);
                    LookupError::Failed
                })
            }
            Err(error) => {
                self.failed(&error.to_string());
                Err(LookupError::Failed)
            }
        }
    }

    fn start(&mut self, until: Instant) -> Result<(), LookupError> {
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return Err(LookupError::Failed);
        }
        let parameter = self.parameter.as_deref();
        let started = Program::start(&self.table, &self.backend, parameter, &self.groups, until);
        match started {
            Ok(program) => {
                log::info!("info: table-proc: {}: started", self.table);
                self.program = Some(program);
                Ok(())
            }
            Err(error) => {
                self.failed(&match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no table-{}", self.backend),
                    _ => error.to_string(),
                });
                Err(LookupError::Failed)
            }
        }
    }

    /// Ends the program; it is started again after a pause.
    fn failed(&mut self, why: &str) {
        self.program = None;
        let seconds = self.pause.as_secs();
        log::warn!("warn: table-proc: {}: {why}: started again after {seconds} s", self.table);
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
