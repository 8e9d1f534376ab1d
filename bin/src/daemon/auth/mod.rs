//! AUTH: from what a peer gives to who it is (RFC 4954).
//!
//! A reactor hands a [`Question`] to a pool of threads, or refuses at once when too many wait
//! there. What was found lies in a [`Slot`] before the reply is sent, as with recipients, and the
//! session takes it out only if the reply was in time. The reply to somebody who was wrong waits
//! in `later`, for a time that grows with his failures, and costs no thread meanwhile.
//!
//! | file | holds |
//! |---|---|
//! | `judge` | whether a claim is right, the value; where others cannot see what it costs |
//! | `scram` | the messages of SCRAM |
//! | `attempts` | who has failed how often |
//! | `open` | exchanges of SCRAM that wait for an answer |
//! | `system` | passwords of system users, which another process may look at |
//! | `later` | replies that wait |
//!
//! Passwords are wiped when they are dropped, and stand in no log line, trace or reply.

pub mod attempts;
mod judge;
mod later;
mod open;
mod scram;
pub mod system;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smtpd_config::Config;
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::Ticket;

use super::outside::Lookups;
use super::pool::Pool;
use judge::Judge;
pub use judge::{Challenged, Claim, Outcome, Proof};
use later::Later;
#[cfg(test)]
pub(crate) use scram::client_answer;
use system::System;

/// Threads that check passwords: a table process that hangs holds up one of them for seconds.
const THREADS: usize = 4;

/// Claims that may wait for them; with half a tenth of a second each that is some seconds.
const WAITING: usize = 64;

/// Up to so much is added to the delay of a failure by chance, as upstream does.
const JITTER: Duration = Duration::from_millis(1000);

/// Where the outcome is left, once.
#[derive(Default)]
pub struct Slot(Mutex<Option<Outcome>>);

impl Slot {
    fn put(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// What is in it, once.
    pub fn take(&self) -> Option<Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A claim, and which session waits for what comes of it.
pub struct Question<C> {
    /// The connection.
    pub conn: C,
    /// Its session's question.
    pub ticket: Ticket,
    /// The configuration that the session began with.
    pub config: Arc<Config>,
    /// Who it claims to be.
    pub claim: Claim,
    /// Where the outcome goes.
    pub slot: Arc<Slot>,
}

/// The way to the threads.
pub struct Desk<C>(Pool<Question<C>>);

impl<C: Send + 'static> Desk<C> {
    /// Starts the threads. `answer` has a session answered.
    ///
    /// # Errors
    /// When the system has no threads.
    pub fn start(
        outside: Lookups,
        system: Arc<dyn System>,
        answer: impl Fn(C, Ticket, Reply<'static>) + Clone + Send + 'static,
    ) -> io::Result<Desk<C>> {
        let judge = Arc::new(Judge::new(outside, system));
        let late = answer.clone();
        let later = Later::start("auth-late", move |(conn, ticket, reply)| {
            late(conn, ticket, reply);
        })?;
        let workers = (0..THREADS).map(|_| {
            let (judge, later, answer) = (judge.clone(), later.clone(), answer.clone());
            move |question: Question<C>| {
                if Arc::strong_count(&question.slot) == 1 {
                    // Whoever asked has gone, or has given up waiting.
                    return;
                }
                let Question { conn, ticket, config, claim, slot } = question;
                // What one brings to light must not keep all others out.
                let judged = catch_unwind(AssertUnwindSafe(|| judged(&judge, &config, claim)));
                let Ok((outcome, due)) = judged else {
                    return answer(conn, ticket, reply::AUTH_UNAVAILABLE);
                };
                let reply = outcome.reply();
                slot.put(outcome);
                match due {
                    None => answer(conn, ticket, reply),
                    Some(due) => later.at(due, (conn, ticket, reply)),
                }
            }
        });
        Ok(Desk(Pool::start("auth", workers)?))
    }

    /// Asks.
    ///
    /// # Errors
    /// The question, when too many wait.
    pub fn ask(&self, question: Question<C>) -> Result<(), Question<C>> {
        self.0.try_push(question, WAITING)
    }
}

/// What comes of a claim, and when the peer is told if not at once. That is counted from before it
/// was looked at: what looking costs, which may differ between users, is then not seen.
fn judged(judge: &Judge, config: &Config, claim: Claim) -> (Outcome, Option<Instant>) {
    let began = Instant::now();
    let outcome = judge.judge(config, claim, began);
    let delay = outcome.delay();
    let due = (!delay.is_zero()).then(|| began + delay + jitter());
    (outcome, due)
}

fn jitter() -> Duration {
    let mut octets = [0; 2];
    // Without random numbers there is none.
    let _ = getrandom::fill(&mut octets);
    JITTER * u32::from(u16::from_be_bytes(octets)) / u32::from(u16::MAX)
}
