//! When the journal's disk fails.
//!
//! After a write or a sync that failed nothing is known about the group. Before anybody hears
//! that a message is refused, an abort that names it must be on disk, in another segment;
//! outcomes are written again there. When that fails too, the peers hear 421, for their messages
//! may still turn up after a crash, and the outcomes stay owed until the disk works again.
//! Until then messages are refused that the disk has not seen: those may be refused for good.

use std::io::ErrorKind;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::{Commit, Gathered, note};
use crate::journal::Failure;
use crate::request::{Done, Refusal, Request};

/// How long a disk that failed is left alone. It doubles with every attempt that fails.
const RETRY: Duration = Duration::from_secs(1);
/// How often it doubles. Peers are refused meanwhile, so a disk that is well again, or has space
/// again, is to be noticed soon.
const DOUBLED: u32 = 4;

/// What is known of a disk that fails.
pub(super) struct Trouble {
    /// Attempts in a row that failed.
    failures: u32,
    /// The kind of error that was told.
    told: Option<ErrorKind>,
    /// What peers hear meanwhile.
    refusal: Refusal,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { failures: 0, told: None, refusal: Refusal::Failed }
    }
}

impl Commit {
    /// Answers for a group that is not on disk, or of which nobody knows.
    pub(super) fn fail<T>(
        &mut self,
        now: Time,
        failure: &Failure,
        gathered: Gathered<T>,
        done: &mut Vec<Done<T>>,
    ) {
        self.owed.extend(gathered.outcomes.into_iter().map(|(outcome, _)| outcome));
        self.note_failure(now, failure);
        let why = match failure {
            Failure::Before(_) => self.trouble.refusal,
            Failure::Uncertain(_) if self.mend(now, done) => self.trouble.refusal,
            Failure::Uncertain(_) => Refusal::Fatal,
        };
        for (accept, _) in gathered.accepts {
            if why == Refusal::Fatal && accept.content.in_file() {
                self.uncertain.push(accept.message.id);
            }
            accept.refuse(why, done);
        }
    }

    /// Puts an abort of all uncertain records on disk, if there are any, and what is owed with
    /// it. Says whether the journal can be written again.
    pub(super) fn mend<T>(&mut self, now: Time, done: &mut Vec<Done<T>>) -> bool {
        if !self.journal.is_uncertain() {
            return true;
        }
        self.group.clear();
        let (from, to) = self.journal.void();
        self.group.abort(from, to);
        let owed: Vec<_> = std::mem::take(&mut self.owed)
            .into_iter()
            .map(|outcome| (self.group.outcome(&outcome), outcome))
            .collect();
        match self.journal.abort(&mut self.group) {
            Ok(written) => {
                self.retry = now;
                self.note_success();
                let mut table = self.table.lock();
                for (member, outcome) in owed {
                    note(&mut table, outcome, written.place(member.offset), done);
                }
                done.extend(self.uncertain.drain(..).map(Done::Discard));
                true
            }
            Err(failure) => {
                self.owed.extend(owed.into_iter().map(|(_, outcome)| outcome));
                self.note_failure(now, &failure);
                false
            }
        }
    }

    /// Answers for requests that the disk has not seen: they may be refused for good.
    pub(super) fn decline<T>(&mut self, requests: &mut Vec<Request<T>>, done: &mut Vec<Done<T>>) {
        for request in requests.drain(..) {
            match request {
                Request::Accept(accept) => accept.refuse(self.trouble.refusal, done),
                Request::Outcome(outcome) => self.owed.push(outcome),
            }
        }
    }

    /// Says what happened, once as long as it is the same, and lets the disk rest.
    pub(super) fn note_failure(&mut self, now: Time, failure: &Failure) {
        let (Failure::Before(error) | Failure::Uncertain(error)) = failure;
        let Trouble { failures, told, refusal } = &mut self.trouble;
        if told.replace(error.kind()) != Some(error.kind()) {
            log::error!("warn: queue: journal: {error}");
        }
        // What fails together with something else is one attempt.
        if now >= self.retry {
            *failures += 1;
        }
        self.retry = now + RETRY * 2u32.pow((*failures).saturating_sub(1).min(DOUBLED));
        *refusal = Refusal::of(error);
    }

    /// The disk works.
    pub(super) fn note_success(&mut self) {
        if self.trouble.told.take().is_some() {
            let failures = std::mem::take(&mut self.trouble.failures);
            log::warn!("warn: queue: journal: writing again after {failures} failures");
        }
    }
}
