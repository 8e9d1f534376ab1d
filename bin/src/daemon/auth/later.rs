//! Things to be done at a later time, by one thread that sleeps until then.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use crate::daemon::threads;

/// The way in. When the last one is gone, what has not come due is left undone.
pub struct Later<T>(mpsc::Sender<Due<T>>);

impl<T> Clone for Later<T> {
    fn clone(&self) -> Later<T> {
        Later(self.0.clone())
    }
}

struct Due<T> {
    time: Instant,
    what: T,
}

impl<T: Send + 'static> Later<T> {
    /// `act` is called for each thing when it is due.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn start(name: &str, mut act: impl FnMut(T) + Send + 'static) -> io::Result<Later<T>> {
        let (sender, receiver) = mpsc::channel::<Due<T>>();
        threads::start(name, move || {
            let mut waiting: BinaryHeap<Due<T>> = BinaryHeap::new();
            loop {
                let now = Instant::now();
                while waiting.peek().is_some_and(|due| due.time <= now) {
                    if let Some(due) = waiting.pop() {
                        act(due.what);
                    }
                }
                let next = match waiting.peek() {
                    Some(due) => receiver.recv_timeout(due.time.saturating_duration_since(now)),
                    None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match next {
                    Ok(due) => waiting.push(due),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Later(sender))
    }

    /// Has `what` done at that time. How many there can be is bounded by whoever asks.
    pub fn at(&self, time: Instant, what: T) {
        // The thread ends with the last sender alone.
        let _ = self.0.send(Due { time, what });
    }
}

// The earliest is the greatest.
impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Due<T>) -> Ordering {
        other.time.cmp(&self.time)
    }
}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Due<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Due<T>) -> bool {
        self.time == other.time
    }
}

impl<T> Eq for Due<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_due_first_is_done_first_and_nothing_early() {
        let (done, seen) = mpsc::channel();
        let later = Later::start("later", move |n: u64| {
            let _ = done.send((n, Instant::now()));
        });
        let (later, start) = (later.unwrap(), Instant::now());
        for n in [90, 30, 60, 0] {
            later.at(start + Duration::from_millis(n), n);
        }
        for expected in [0, 30, 60, 90] {
            let (n, time) = seen.recv().unwrap();
            assert_eq!(n, expected);
            assert!(time >= start + Duration::from_millis(n));
        }
        drop(later);
        assert!(seen.recv().is_err());
    }
}
