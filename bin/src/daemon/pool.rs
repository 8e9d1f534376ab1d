//! Threads that do jobs of one kind which may wait: whichever is free takes the next.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::threads;

/// The way in. When it is gone, the threads do what is left and end.
pub struct Pool<T> {
    queue: Arc<Queue<T>>,
}

struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `workers`, each on a thread of its own, named after `name`.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn start<W>(
        name: &str,
        workers: impl IntoIterator<Item = W>,
    ) -> io::Result<(Pool<T>, Vec<JoinHandle<()>>)>
    where
        W: FnMut(T) + Send + 'static,
    {
        let state = Mutex::new(State { jobs: VecDeque::new(), closed: false });
        let queue = Arc::new(Queue { state, changed: Condvar::new() });
        let pool = Pool { queue: queue.clone() };
        let mut threads = Vec::new();
        for (n, mut worker) in workers.into_iter().enumerate() {
            let queue = queue.clone();
            threads.push(threads::start(&format!("{name}{n}"), move || {
                while let Some(job) = queue.next() {
                    worker(job);
                }
            })?);
        }
        Ok((pool, threads))
    }

    /// Adds a job; how many there can be is bounded by whoever makes them.
    pub fn push(&self, job: T) {
        self.queue.lock().jobs.push_back(job);
        self.queue.changed.notify_one();
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Each change under the lock is a single one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_job_is_done_once_before_the_threads_end() {
        let sum = Arc::new(AtomicU32::new(0));
        let workers = (0..3).map(|_| {
            let sum = sum.clone();
            move |n: u32| {
                sum.fetch_add(n, Ordering::Relaxed);
            }
        });
        let (pool, threads) = Pool::start("test", workers).unwrap();
        (1..=100).for_each(|n| pool.push(n));
        drop(pool);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(sum.load(Ordering::Relaxed), 5050);
    }
}
