//! Threads that do jobs of one kind which may wait: whichever is free takes the next.
//!
//! A thread is started when a job finds none free, so that many may be allowed and a start does not
//! wait for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::threads;

/// With so many jobs waiting, what is only offered is not added.
const OFFERED: usize = 32;

/// The way in. When it is gone, the threads do what is left and end.
pub struct Pool<T> {
    name: String,
    queue: Arc<Queue<T>>,
}

type Worker<T> = Box<dyn FnMut(T) + Send>;

struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    jobs: VecDeque<T>,
    /// Those who have no thread yet.
    reserve: Vec<Worker<T>>,
    /// Threads that wait for a job.
    free: usize,
    /// Threads there are.
    threads: usize,
    closed: bool,
}

impl<T: Send + 'static> Pool<T> {
    /// A pool of `workers`, each to have a thread of its own, named after `name`. The first is
    /// started.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn start<W>(name: &str, workers: impl IntoIterator<Item = W>) -> io::Result<Pool<T>>
    where
        W: FnMut(T) + Send + 'static,
    {
        let boxed = |worker| Box::new(worker) as Worker<T>;
        let reserve = workers.into_iter().map(boxed).collect();
        let jobs = VecDeque::new();
        let state = Mutex::new(State { jobs, reserve, free: 0, threads: 0, closed: false });
        let queue = Arc::new(Queue { state, changed: Condvar::new() });
        let pool = Pool { name: name.to_owned(), queue };
        pool.grow()?;
        Ok(pool)
    }

    /// Adds a job; how many there can be is bounded by whoever makes them.
    pub fn push(&self, job: T) {
        let mut state = self.queue.lock();
        state.jobs.push_back(job);
        let is_short = state.jobs.len() > state.free && !state.reserve.is_empty();
        drop(state);
        self.queue.changed.notify_one();
        if is_short && let Err(error) = self.grow() {
            // Those there are do it later.
            log::warn!("warn: {}: no more threads: {error}", self.name);
        }
    }

    /// Adds a job unless `most` wait already.
    ///
    /// # Errors
    /// The job.
    pub fn try_push(&self, job: T, most: usize) -> Result<(), T> {
        if self.queue.lock().jobs.len() >= most {
            return Err(job);
        }
        self.push(job);
        Ok(())
    }

    /// Adds a job that may as well be left undone, unless some wait that may not.
    pub fn offer(&self, job: T) {
        let many = self.queue.lock().jobs.len();
        if many < OFFERED {
            self.push(job);
        }
    }

    /// Starts one more thread, if there may be more.
    fn grow(&self) -> io::Result<()> {
        let mut state = self.queue.lock();
        let Some(mut worker) = state.reserve.pop() else { return Ok(()) };
        let name = format!("{}{}", self.name, state.threads);
        state.threads += 1;
        drop(state);
        let queue = self.queue.clone();
        threads::start(&name, move || {
            while let Some(job) = queue.next() {
                worker(job);
            }
        })?;
        Ok(())
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
            state.free += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.free -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn every_job_is_done_once_before_the_threads_end() {
        let (done, results) = mpsc::channel();
        let workers = (0..3).map(|_| {
            let done = done.clone();
            move |n: u32| done.send(n).unwrap()
        });
        let pool = Pool::start("test", workers).unwrap();
        (1..=100).for_each(|n| pool.push(n));
        drop((pool, done));
        // It ends when the last worker is gone.
        assert_eq!(results.iter().sum::<u32>(), 5050);
    }

    #[test]
    fn there_are_as_many_threads_as_there_are_jobs_at_once() {
        let (begun, begins) = mpsc::channel();
        let hold = Arc::new(Mutex::new(()));
        let workers = (0..3).map(|_| {
            let (begun, hold) = (begun.clone(), hold.clone());
            move |(): ()| {
                begun.send(()).unwrap();
                drop(hold.lock());
            }
        });
        let pool = Pool::start("test", workers).unwrap();
        let held = hold.lock().unwrap();
        (0..4).for_each(|_| pool.push(()));
        // Three are held up at once, each on a thread of its own.
        (0..3).for_each(|_| begins.recv().unwrap());
        assert_eq!(pool.try_push((), 1), Err(()), "one waits already");
        assert_eq!(pool.queue.lock().threads, 3, "and no more than there are workers");
        drop(held);
        begins.recv().unwrap();
    }
}
