//! Exchanges of SCRAM (RFC 5802) that wait for the client's answer. They tell nothing, so they owe
//! nothing: the attempt begins with the answer, or, when none comes, is a failure at the end. Many
//! who are right may so begin at once, and nobody can begin without an end.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::attempts::{Attempt, Attempts, Limit};

/// An exchange that is open. Dropped without an answer it counts as a failure.
pub struct Open {
    attempts: Arc<Mutex<Attempts>>,
    client: IpAddr,
    user: Box<str>,
    is_over: bool,
}

impl Open {
    /// An exchange begins, if an attempt might.
    ///
    /// # Errors
    /// It must not.
    pub fn begin(
        attempts: &Arc<Mutex<Attempts>>,
        client: IpAddr,
        user: &str,
        now: Instant,
    ) -> Result<Open, Limit> {
        lock(attempts).open(client, user, now)?;
        Ok(Open { attempts: attempts.clone(), client, user: user.into(), is_over: false })
    }

    /// There is an answer: an attempt.
    ///
    /// # Errors
    /// It must not be made; others have failed meanwhile.
    pub fn answered(mut self, now: Instant) -> Result<Attempt, Limit> {
        self.is_over = true;
        lock(&self.attempts).begin(self.client, &self.user, now)
    }

    /// No challenge was made, by no fault of the client.
    pub fn void(mut self) {
        self.is_over = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut attempts = lock(&self.attempts);
        attempts.close(self.client);
        if !self.is_over {
            // At its limit it owes no more.
            let _ = attempts.begin(self.client, &self.user, Instant::now());
        }
    }
}

/// The attempts. What is counted wrongly for once does no harm.
pub fn lock(attempts: &Mutex<Attempts>) -> MutexGuard<'_, Attempts> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}
