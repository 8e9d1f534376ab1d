//! The bounded queue between everybody who logs and the one thread that writes.
//!
//! Two buffers change places: callers append to one, the writer empties the other, so a line costs
//! a lock held for one copy and, with warm buffers, no allocation. Bounds: [`QUEUE_OCTETS`] in
//! memory (twice, for the two buffers), [`LINE_OCTETS`] for a line.
//!
//! The writer gathers lines for [`GATHER`] before it takes them. A message is told of in five lines
//! within two milliseconds, by three threads that its sender and its next hop wait for: to wake the
//! writer for each would cost each of them a system call, and a processor that is wanted elsewhere.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

/// Octets that may wait. Some 8,000 lines: the burst of a thousand sessions that begin and end
/// while syslogd restarts.
pub const QUEUE_OCTETS: usize = 1 << 20;

/// Part of the queue that only warnings and errors may use: what tells why lines are missing must
/// not be among those missing.
pub const RESERVE_OCTETS: usize = QUEUE_OCTETS / 8;

/// Octets of a line; the rest is cut and shown as `...`. Room for an escaped command line and its
/// reply (RFC 5321 section 4.5.3.1).
pub const LINE_OCTETS: usize = 8 << 10;

/// How long a line waits for others to be written with it. Warnings and errors do not wait, nor does
/// a queue that is filling.
pub const GATHER: Duration = Duration::from_millis(10);

/// Octets in the queue with which the writer does not wait for more.
const FILLING: usize = QUEUE_OCTETS / 4;

const _: () = assert!(LINE_OCTETS <= u16::MAX as usize && LINE_OCTETS < RESERVE_OCTETS);

/// Octets before each line in a buffer: its length (two) and its level (one).
const HEAD: usize = 3;

/// Lines that wait to be written.
pub struct Queue {
    /// [`GATHER`].
    gather: Duration,
    state: Mutex<State>,
    /// Tells the writer that there is something to write, or that it is over.
    filled: Condvar,
    /// Tells those who flush that all is written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    /// The writer sleeps: whoever adds a line must wake it.
    asleep: bool,
    /// The writer is not to wait for more lines: somebody waits for those there are.
    urgent: bool,
    /// The writer holds lines that it has not written yet.
    writing: bool,
    closed: bool,
}

/// What the writer took out at once.
#[derive(Default)]
pub struct Batch {
    lines: Vec<u8>,
    /// Lines that found no room since the last batch.
    pub dropped: u64,
}

impl Default for Queue {
    fn default() -> Queue {
        let (state, filled, emptied) = Default::default();
        Queue { gather: GATHER, state, filled, emptied }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl Queue {
    /// Appends a line, or drops and counts it when the queue is full. Never waits for a writer.
    pub fn push(&self, level: Level, line: &[u8]) {
        let (line, cut) = match line.get(..LINE_OCTETS) {
            Some(start) if line.len() > LINE_OCTETS => (start, &b"..."[..]),
            _ => (line, &b""[..]),
        };
        let length = line.len() + cut.len();
        let bound = if level <= Level::Warn { QUEUE_OCTETS } else { QUEUE_OCTETS - RESERVE_OCTETS };
        let mut state = self.lock();
        if state.lines.len() + HEAD + length > bound {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(&(length as u16).to_le_bytes());
        state.lines.push(level as u8);
        state.lines.extend_from_slice(line);
        state.lines.extend_from_slice(cut);
        let is_urgent = level <= Level::Warn || state.lines.len() > FILLING;
        let hurries = is_urgent && !std::mem::replace(&mut state.urgent, true);
        if std::mem::take(&mut state.asleep) || hurries {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// For the writer: gives the emptied batch back and waits for the next. `false` when the log
    /// is closed and everything has been taken.
    pub fn take(&self, batch: &mut Batch) -> bool {
        batch.lines.clear();
        let mut state = self.lock();
        state.writing = false;
        if state.is_empty() {
            self.emptied.notify_all();
        }
        // While lines keep coming, it only looks for them now and then, and nobody wakes it.
        state = self.gather(state);
        while state.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state = self.gather(state);
        }
        state.asleep = false;
        state.urgent = false;
        state.writing = true;
        std::mem::swap(&mut state.lines, &mut batch.lines);
        batch.dropped = std::mem::take(&mut state.dropped);
        true
    }

    /// Waits for lines, unless those there are must be written at once.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let end = Instant::now() + self.gather;
        while !(state.urgent || state.closed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Waits until everything pushed before is written, at most that long.
    pub fn flush(&self, longest: Duration) {
        let end = Instant::now() + longest;
        let mut state = self.lock();
        state.urgent |= !state.lines.is_empty();
        self.filled.notify_one();
        while state.writing || !state.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state =
                self.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// No more lines: the writer ends when it has written what is there.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete at each point that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// The lines in order.
    pub fn iter(&self) -> impl Iterator<Item = (Level, &[u8])> {
        let mut rest = self.lines.as_slice();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<HEAD>()?;
            let length = usize::from(u16::from_le_bytes([head[0], head[1]]));
            let (line, after) = after.split_at_checked(length)?;
            rest = after;
            Some((level(head[2]), line))
        })
    }
}

/// The way in for env_logger, which hands over one formatted record in each call of `write`, its
/// first octet being the level.
pub struct Entrance(pub Arc<Queue>);

impl Write for Entrance {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if let Some((first, line)) = record.split_first() {
            self.0.push(level(*first), line);
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // env_logger flushes after every record; see `Queue::flush` for the real thing
    }
}

fn level(octet: u8) -> Level {
    Level::iter().find(|level| *level as u8 == octet).unwrap_or(Level::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(queue: &Queue) -> Vec<(Level, String)> {
        let mut batch = Batch::default();
        assert!(queue.take(&mut batch));
        batch.iter().map(|(l, t)| (l, String::from_utf8(t.to_vec()).unwrap())).collect()
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let queue = Queue::default();
        queue.push(Level::Info, b"one");
        queue.push(Level::Warn, b"");
        queue.push(Level::Debug, b"three");
        let expected = [(Level::Info, "one"), (Level::Warn, ""), (Level::Debug, "three")];
        assert_eq!(all(&queue), expected.map(|(l, t)| (l, t.to_owned())));
    }

    #[test]
    fn a_full_queue_drops_and_counts_but_keeps_room_for_warnings() {
        let queue = Queue::default();
        let line = [b'x'; 1000];
        for _ in 0..2000 {
            queue.push(Level::Info, &line);
        }
        queue.push(Level::Warn, b"disk full");
        let mut batch = Batch::default();
        assert!(queue.take(&mut batch));
        let kept = batch.iter().count() as u64;
        assert_eq!(batch.dropped + kept, 2001);
        assert!(batch.lines.len() <= QUEUE_OCTETS);
        assert_eq!(batch.iter().last(), Some((Level::Warn, &b"disk full"[..])));
        // The next batch starts a count of its own.
        queue.push(Level::Info, b"again");
        assert!(queue.take(&mut batch));
        assert_eq!((batch.dropped, batch.iter().count()), (0, 1));
    }

    #[test]
    fn long_lines_are_cut_visibly() {
        let queue = Queue::default();
        queue.push(Level::Info, &[b'x'; LINE_OCTETS]);
        queue.push(Level::Info, &[b'x'; LINE_OCTETS + 1]);
        let lines = all(&queue);
        assert_eq!(lines[0].1.len(), LINE_OCTETS);
        assert_eq!(lines[1].1.len(), LINE_OCTETS + 3);
        assert!(lines[1].1.ends_with("x..."));
    }

    #[test]
    fn lines_wait_for_each_other_but_not_when_somebody_waits_for_them() {
        let queue = Arc::new(Queue { gather: Duration::from_secs(3600), ..Queue::default() });
        let (told, batches) = std::sync::mpsc::channel();
        let theirs = Arc::clone(&queue);
        let writer = std::thread::spawn(move || {
            let mut batch = Batch::default();
            while theirs.take(&mut batch) {
                told.send(batch.iter().count()).unwrap();
            }
        });
        queue.push(Level::Info, b"one");
        assert!(batches.recv_timeout(Duration::from_millis(20)).is_err());
        queue.push(Level::Info, b"two");
        queue.push(Level::Warn, b"disk full");
        assert_eq!(batches.recv(), Ok(3));
        queue.push(Level::Info, b"again");
        assert!(batches.recv_timeout(Duration::from_millis(20)).is_err());
        queue.flush(Duration::from_secs(60));
        assert_eq!(batches.try_recv(), Ok(1));
        for _ in 0..=FILLING / LINE_OCTETS {
            queue.push(Level::Info, &[b'x'; LINE_OCTETS]);
        }
        assert!(batches.recv().unwrap() > 1, "a queue that fills is written");
        queue.push(Level::Info, b"last");
        queue.close();
        writer.join().unwrap();
        assert!(batches.iter().sum::<usize>() >= 1);
    }

    #[test]
    fn flush_waits_for_the_writer_but_not_for_ever() {
        let queue = Arc::new(Queue::default());
        queue.push(Level::Info, b"line");
        let before = Instant::now();
        queue.flush(Duration::from_millis(20)); // nobody writes
        assert!(before.elapsed() >= Duration::from_millis(20));

        let theirs = Arc::clone(&queue);
        let writer = std::thread::spawn(move || {
            let (mut batch, mut lines) = (Batch::default(), 0);
            while theirs.take(&mut batch) {
                lines += batch.iter().count();
            }
            lines
        });
        queue.flush(Duration::from_secs(60));
        for _ in 0..100 {
            queue.push(Level::Info, b"line");
        }
        queue.close();
        assert_eq!(writer.join().unwrap(), 101);
    }
}
