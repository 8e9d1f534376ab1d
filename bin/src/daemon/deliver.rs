//! Local delivery: where an envelope's action leads today, and the attempt itself.
//!
//! A legacy action has no name that would outlive a change of it. When an envelope's is gone, the
//! rules of today are asked again at every attempt, rather than once and their answer kept: so
//! whatever the administrator changes next counts as well, and the journal has nothing new to
//! say. What the queue shows is the action of old.
//!
//! A [`Worker`] is a value that tries one batch at a time; the daemon gives each a thread. Until
//! delivery runs in the recipient's name (by a process of its own), it runs in the daemon's, and
//! an envelope for another user is held with that reason rather than left where its owner could
//! not read it.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use smtpd_config::format::Template;
use smtpd_config::{Account, Config, Delivery, Local, Method, Outside, Values};
use smtpd_queue::delivery::{Attempt, Batch, Failure, Job, Report};
use smtpd_queue::envelope::Agent;
use smtpd_queue::id::EnvelopeId;
use smtpd_queue::maildir::Maildirs;

use crate::decide;
use crate::log::delivery::{self as line, Outcome};
use crate::log::relay;

/// Tries batches.
pub struct Worker<U> {
    config: Arc<Config>,
    users: U,
    maildirs: Maildirs,
    /// In whose name this process runs.
    uid: u32,
}

impl<U: Outside> Worker<U> {
    /// A worker that delivers as the user `uid`, whose process this is.
    pub fn new(config: Arc<Config>, users: U, maildirs: Maildirs, uid: u32) -> Worker<U> {
        Worker { config, users, maildirs, uid }
    }

    /// Tries all of a batch but what is relayed by today's rules, which is given back. What the
    /// report says is durable. `now` is the wall clock, in microseconds since 1970, asked when the
    /// attempts are over.
    ///
    /// A defect of ours that some message brings to light must not end the process with every
    /// start: it is a failure for now, and the jobs' own.
    pub fn deliver(&mut self, batch: &Batch, now: impl FnOnce() -> u64) -> (Report, Vec<Job>) {
        let mut jobs = batch.jobs.clone();
        let attempts = catch_unwind(AssertUnwindSafe(|| self.attempt(&mut jobs)));
        let attempts = attempts.unwrap_or_else(|_| {
            let defect = || later("a defect of ours: see the log");
            batch.jobs.iter().map(|job| (job.id, defect())).collect()
        });
        let now = now();
        for (id, attempt) in &attempts {
            if let Some(job) = jobs.iter().find(|job| job.id == *id) {
                log(batch.id, job, attempt, now);
            }
        }
        jobs.retain(|job| attempts.iter().all(|(id, _)| *id != job.id));
        (Report { batch: batch.id, attempts }, jobs)
    }

    /// Tries the jobs, each as it is by today's rules afterwards.
    fn attempt(&mut self, jobs: &mut [Job]) -> Vec<(EnvelopeId, Attempt)> {
        let mut attempts = Vec::with_capacity(jobs.len());
        let mut maildirs = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.target(job) {
                Ok(Some(path)) => maildirs.push((job.clone(), path)),
                Ok(None) => {}
                Err(attempt) => attempts.push((job.id, attempt)),
            }
        }
        attempts.extend(self.maildirs.deliver(&maildirs));
        attempts
    }

    /// The Maildir that the envelope goes to by today's configuration, none when it is relayed, or
    /// what comes of it without an attempt. Only what its sender could have known better fails for
    /// good.
    fn target(&self, job: &mut Job) -> Result<Option<PathBuf>, Attempt> {
        if self.config.action(&job.envelope().action).is_none() {
            *job = decide::again(&self.config, &self.users, job)?;
        }
        let envelope = job.envelope();
        let held = |reason: String| Err(Attempt::Held(reason));
        let Some(action) = self.config.action(&envelope.action) else {
            return held(format!("no action named \"{}\"", envelope.action));
        };
        let (local, user) = match (&action.method, &envelope.agent) {
            (Method::Local(local), Agent::Mda { user }) => (local, user),
            (Method::Relay(_), _) => return Ok(None),
            (Method::Local(_), Agent::Mta) => {
                return held(format!("action \"{}\" no longer relays", envelope.action));
            }
        };
        let home = match self.config.account(action, user, &self.users) {
            Account::Own => None,
            Account::User { user, runs_as } if runs_as.uid == self.uid => Some(user),
            Account::User { runs_as, .. } => {
                return held(format!(
                    "delivery as user {} (uid {}) does not work yet: smtpd runs as uid {}",
                    runs_as.name, runs_as.uid, self.uid
                ));
            }
            Account::Unknown => {
                let text = format!("user {user} does not exist");
                return Err(Attempt::Failed(Failure::new((5, 1, 1), text)));
            }
            Account::Later | Account::Failed => {
                return Err(later(format!("user {user} could not be looked up")));
            }
        };
        self.maildir(local, job, user, home.as_deref()).map(Some)
    }

    fn maildir(
        &self,
        local: &Local,
        job: &Job,
        user: &str,
        account: Option<&smtpd_config::User>,
    ) -> Result<PathBuf, Attempt> {
        let Delivery::Maildir { path, junk: _ } = &local.delivery else {
            return Err(Attempt::Held("this method of delivery does not work yet".to_owned()));
        };
        let envelope = job.envelope();
        let values = Values {
            sender: job.message.sender.mailbox(),
            rcpt: &envelope.rcpt,
            dest: &envelope.dest,
            user,
            home: account.map(|user| user.home.as_path()),
            delimiters: &self.config.smtp.sub_addr_delim,
        };
        maildir(path.as_ref(), &values).map_err(Attempt::Held)
    }
}

/// The Maildir of an action with that path, or without one.
///
/// # Errors
/// Why there is none, for the administrator.
pub fn maildir(path: Option<&Template>, values: &Values<'_>) -> Result<PathBuf, String> {
    match (path, values.home) {
        (Some(template), _) => {
            template.path(values).map_err(|error| format!("maildir {}: {error}", template.as_str()))
        }
        (None, Some(home)) => Ok(home.join("Maildir")),
        (None, None) => Err("maildir needs a path: there is no home".to_owned()),
    }
}

/// A failure for now that is neither the recipient's nor his mailbox's.
fn later(text: impl Into<String>) -> Attempt {
    Attempt::Later(Failure::new((4, 3, 0), text))
}

fn log(session: u64, job: &Job, attempt: &Attempt, now: u64) {
    let envelope = job.envelope();
    let (outcome, stat) = match attempt {
        Attempt::Delivered | Attempt::Relayed(_) => (Outcome::Ok, Cow::Borrowed("Delivered")),
        Attempt::Later(why) => (Outcome::TempFail, format!("Error ({})", why.text).into()),
        Attempt::Failed(Failure { text, .. }) | Attempt::Held(text) => {
            (Outcome::PermFail, Cow::Borrowed(text.as_str()))
        }
    };
    let Agent::Mda { user } = &envelope.agent else {
        return relay::delivery(&relay::Delivery::without_session(job, attempt, &stat), now);
    };
    line::mda(&line::Attempt {
        session,
        envelope: envelope.id,
        from: &job.message.sender,
        to: &envelope.dest,
        rcpt: (envelope.rcpt != envelope.dest).then_some(&envelope.rcpt),
        user,
        delay: line::delay(&job.message, now),
        outcome,
        stat: &stat,
    });
}
