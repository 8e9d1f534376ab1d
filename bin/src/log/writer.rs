//! The thread that writes log lines, and where it writes them to.

use std::ffi::CStr;
use std::io::{self, Write};

use log::Level;

use super::Destination;
use super::queue::{Batch, Queue};
use crate::sys;

/// Where lines end up.
pub enum Sink {
    /// Any stream; each batch is one write.
    Stream(Box<dyn Write + Send>),
    /// syslog(3).
    Syslog,
}

impl Sink {
    /// Opens a destination.
    pub fn open(destination: Destination) -> Sink {
        match destination {
            Destination::Stderr => Sink::Stream(Box::new(io::stderr())),
            Destination::Syslog => {
                sys::syslog_open(c"smtpd");
                Sink::Syslog
            }
        }
    }

    fn write(&mut self, batch: &Batch, room: &mut Vec<u8>) {
        room.clear();
        for (level, line) in batch.iter() {
            self.line(level, line, room);
        }
        if batch.dropped > 0 {
            let text = format!("warn: {} log lines dropped: they came too fast", batch.dropped);
            self.line(Level::Warn, text.as_bytes(), room);
        }
        if let Sink::Stream(stream) = self {
            // Nobody is left to be told when standard error cannot be written.
            let _ = stream.write_all(room).and_then(|()| stream.flush());
        }
    }

    fn line(&self, level: Level, line: &[u8], room: &mut Vec<u8>) {
        match self {
            Sink::Stream(_) => {
                one_line(line, room);
                room.push(b'\n');
            }
            Sink::Syslog => {
                room.clear();
                one_line(line, room);
                room.push(0);
                // Without a NUL inside, as `one_line` escapes it.
                if let Ok(line) = CStr::from_bytes_until_nul(room) {
                    sys::syslog(priority(level), line);
                }
            }
        }
    }
}

/// Writes until the queue is closed and empty.
pub fn run(queue: &Queue, mut sink: Sink) {
    let (mut batch, mut room) = (Batch::default(), Vec::new());
    while queue.take(&mut batch) {
        sink.write(&batch, &mut room);
    }
}

/// The last guard of "one message, one line": whoever formatted the line should have escaped what
/// a peer sent; control characters that are still there, as in the words of another crate, are
/// escaped here.
fn one_line(line: &[u8], out: &mut Vec<u8>) {
    for &octet in line {
        match octet {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => {
                let digit = |shift: u8| b'0' + (octet >> shift & 7);
                out.extend_from_slice(&[b'\\', digit(6), digit(3), digit(0)]);
            }
            _ => out.push(octet),
        }
    }
}

fn priority(level: Level) -> i32 {
    match level {
        Level::Error => libc::LOG_CRIT,
        Level::Warn => libc::LOG_ERR,
        Level::Info => libc::LOG_INFO,
        Level::Debug | Level::Trace => libc::LOG_DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_one_line_and_drops_are_told() {
        let queue = Queue::default();
        queue.push(Level::Info, b"one\nwarn: forged\r\x1b[2J\0");
        queue.push(Level::Info, "g\u{fc}ltig".as_bytes());
        for _ in 0..300 {
            queue.push(Level::Debug, &[b'.'; 8000]);
        }
        queue.close();
        let page = Page::default();
        run(&queue, Sink::Stream(Box::new(page.clone())));
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r"one\nwarn: forged\r\033[2J\000");
        assert_eq!(lines[1], "g\u{fc}ltig");
        let kept = lines.len() - 3;
        let told = format!("warn: {} log lines dropped: they came too fast", 300 - kept);
        assert_eq!(lines[lines.len() - 1], told);
    }

    #[test]
    fn priorities_are_those_of_the_log_reader() {
        let given = Level::iter().map(priority).collect::<Vec<_>>();
        // crit, err, info, debug, debug
        assert_eq!(given, [2, 3, 6, 7, 7]);
    }
}
