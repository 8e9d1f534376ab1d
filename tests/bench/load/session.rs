//! One session of the client side (RFC 5321 section 3): what is sent next, and how long the reply
//! took. It never blocks: [`Session::turn`] goes as far as the socket lets it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;

use crate::figures::Times;
use crate::message::Message;

/// What a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Banner,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Dot,
    Quit,
}

impl Step {
    /// The code that lets the session go on.
    fn code(self) -> &'static [u8; 3] {
        match self {
            Step::Banner => b"220",
            Step::Ehlo | Step::Mail | Step::Rcpt | Step::Dot => b"250",
            Step::Data => b"354",
            Step::Quit => b"221",
        }
    }
}

/// What all sessions of a run share.
pub struct Work<'m> {
    pub message: &'m Message,
    /// The number of the next message to be sent.
    pub next: usize,
    /// How many are to be sent.
    pub total: usize,
    /// How many were answered with 250.
    pub accepted: usize,
    /// See `--per-session`; 0 is no bound.
    pub per_session: usize,
    pub pipeline: bool,
    pub times: ReplyTimes,
}

/// How long the replies took. Pipelined commands have no time of their own, but the final dot has.
#[derive(Default)]
pub struct ReplyTimes {
    pub mail: Times,
    pub rcpt: Times,
    pub data: Times,
    pub dot: Times,
}

/// What became of a session after a turn.
pub enum Turn {
    /// It waits for the socket.
    Waits,
    /// It said QUIT and was answered.
    Done,
}

/// One connection.
pub struct Session {
    pub socket: TcpStream,
    /// Octets of replies that are not complete yet.
    input: Vec<u8>,
    /// Commands and the beginning of a message, `written` octets of which are gone.
    output: Vec<u8>,
    written: usize,
    /// How far into the shared rest of the message we are, while one is being sent.
    tail: Option<usize>,
    /// Replies owed to us, in order; the time is set when the last octet of the command left.
    owed: VecDeque<(Step, Option<Instant>)>,
    /// The command of the envelope that comes next when not pipelining.
    command: usize,
    number: usize,
    sent_here: usize,
}

impl Session {
    /// A session whose banner has not come.
    pub fn new(socket: TcpStream) -> Session {
        Session {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            tail: None,
            owed: VecDeque::from([(Step::Banner, None)]),
            command: 0,
            number: 0,
            sent_here: 0,
        }
    }

    /// Reads when `readable`, acts on the replies, writes what can be written.
    ///
    /// # Errors
    /// The socket's, or the reply that was not the one hoped for.
    pub fn turn(&mut self, readable: bool, work: &mut Work<'_>) -> io::Result<Turn> {
        self.flush(work)?;
        if !readable {
            return Ok(Turn::Waits);
        }
        let mut buffer = [0; 4096];
        loop {
            let count = match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Waits),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let now = Instant::now();
            self.input.extend_from_slice(&buffer[..count]);
            while let Some(end) = reply_end(&self.input) {
                let Some((step, sent)) = self.owed.pop_front() else {
                    return Err(other(format!("a reply nobody asked for: {}", shown(&self.input))));
                };
                if !self.input.starts_with(step.code()) {
                    return Err(other(format!("{step:?}: {}", shown(&self.input[..end]))));
                }
                self.input.drain(..end);
                let took = sent.map(|sent| now.duration_since(sent));
                let times = match step {
                    Step::Mail => Some(&mut work.times.mail),
                    Step::Rcpt => Some(&mut work.times.rcpt),
                    Step::Data => Some(&mut work.times.data),
                    Step::Dot => Some(&mut work.times.dot),
                    Step::Banner | Step::Ehlo | Step::Quit => None,
                };
                let alone = !work.pipeline || step == Step::Dot;
                if let (Some(times), Some(took), true) = (times, took, alone) {
                    times.add(took);
                }
                if step == Step::Quit {
                    return Ok(Turn::Done);
                }
                self.replied(step, work);
            }
            self.flush(work)?;
            // A short read has emptied the socket: the poll tells of the next octets.
            if count < buffer.len() {
                return Ok(Turn::Waits);
            }
        }
    }

    /// Whether a message was begun and not yet answered.
    pub fn in_transaction(&self) -> bool {
        self.command > 0 || self.owed.iter().any(|(step, _)| *step == Step::Dot)
    }

    fn replied(&mut self, step: Step, work: &mut Work<'_>) {
        match step {
            Step::Banner => self.say("EHLO client.test\r\n", Step::Ehlo),
            Step::Ehlo => self.next_message(work),
            Step::Mail | Step::Rcpt if work.pipeline => {}
            Step::Mail | Step::Rcpt => self.say_command(work.message),
            Step::Data => {
                self.command = 0;
                work.message.head(self.number, &mut self.output);
                self.tail = Some(0);
                self.owed.push_back((Step::Dot, None));
            }
            Step::Dot => {
                work.accepted += 1;
                self.sent_here += 1;
                self.next_message(work);
            }
            Step::Quit => {}
        }
    }

    fn next_message(&mut self, work: &mut Work<'_>) {
        let full = work.per_session > 0 && self.sent_here >= work.per_session;
        if full || work.next == work.total {
            return self.say("QUIT\r\n", Step::Quit);
        }
        self.number = work.next;
        work.next += 1;
        self.command = 0;
        self.say_command(work.message);
        while work.pipeline && self.command < work.message.commands.len() {
            self.say_command(work.message);
        }
    }

    /// Says the next command of the envelope.
    fn say_command(&mut self, message: &Message) {
        let step = match self.command {
            0 => Step::Mail,
            last if last + 1 == message.commands.len() => Step::Data,
            _ => Step::Rcpt,
        };
        let command = &message.commands[self.command];
        self.command += 1;
        self.say(command, step);
    }

    fn say(&mut self, line: &str, step: Step) {
        self.output.extend_from_slice(line.as_bytes());
        self.owed.push_back((step, None));
    }

    /// Writes until nothing is left or the socket is full.
    fn flush(&mut self, work: &Work<'_>) -> io::Result<()> {
        loop {
            let tail = self.tail.map_or(&[][..], |done| &work.message.tail[done..]);
            let output = &self.output[self.written..];
            if output.is_empty() && tail.is_empty() {
                self.output.clear();
                self.written = 0;
                self.tail = None;
                return Ok(());
            }
            let begun = Instant::now();
            let slices = [IoSlice::new(output), IoSlice::new(tail)];
            let count = match self.socket.write_vectored(&slices) {
                Ok(count) => count,
                // Not connected yet is WouldBlock or NotConnected, depending on the system.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (left, tail_left) = (output.len(), tail.len());
            self.written += count.min(left);
            if let Some(done) = &mut self.tail {
                *done += count.saturating_sub(left);
            }
            if count == left + tail_left {
                for (_, sent) in &mut self.owed {
                    sent.get_or_insert(begun);
                }
            }
        }
    }
}

/// Where the first reply in `input` ends, when it is complete: its last line has no `-` after the
/// code (RFC 5321 section 4.2.1).
fn reply_end(input: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let length = input[start..].iter().position(|octet| *octet == b'\n')? + 1;
        let line = &input[start..start + length];
        start += length;
        if line.get(3) != Some(&b'-') {
            return Some(start);
        }
    }
}

fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).trim_end().to_owned()
}

fn other(message: String) -> io::Error {
    io::Error::other(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_with_its_last_line() {
        assert_eq!(reply_end(b""), None);
        assert_eq!(reply_end(b"250-a\r\n250 b"), None);
        assert_eq!(reply_end(b"250-a\r\n250-b\r\n"), None);
        assert_eq!(reply_end(b"250-a\r\n250 b\r\n354"), Some(14));
        assert_eq!(reply_end(b"250\r\n"), Some(5));
    }
}
