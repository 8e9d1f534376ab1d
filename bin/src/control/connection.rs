//! One connection of the control socket, seen from the daemon: octets in, a request, its response,
//! octets out.
//!
//! While a response is not taken no further request is looked at, so a connection holds one
//! request and one response at most, and only root and the daemon's user get a long one.

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use log::debug;

use super::frame::{self, BadFrame, HEAD};
use super::limits;
use super::message::{Request, Response};
use super::wire::Malformed;

/// Octets read at once.
const ROOM: usize = 16 << 10;

/// A connection that has been accepted.
pub struct Connection<S> {
    stream: S,
    /// The user at the other end.
    pub uid: u32,
    /// That user may command the daemon.
    pub privileged: bool,
    /// When it is closed unless something happens before.
    pub deadline: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Close when the output is written.
    last: bool,
}

/// The connection is over; nothing is left to do but to drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl<S: Read + Write> Connection<S> {
    /// Begins to wait for a request on a stream that does not block.
    pub fn new(stream: S, uid: u32, privileged: bool) -> Connection<S> {
        Connection {
            stream,
            uid,
            privileged,
            deadline: Instant::now() + limits::REQUEST_TIME,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            last: false,
        }
    }

    /// The stream, to be waited for.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether it waits for the peer to take octets, rather than to send some.
    pub fn is_writing(&self) -> bool {
        self.written < self.output.len()
    }

    /// Does what can be done without waiting. `answer` is called for each request of a privileged
    /// user.
    ///
    /// # Errors
    /// [`Over`], by the peer's will or for what it sent.
    pub fn serve(&mut self, answer: &mut dyn FnMut(Request) -> Response) -> Result<(), Over> {
        // What is in the buffer comes before what is in the socket: poll(2) tells only of the
        // latter.
        while self.write()? {
            match self.take_request(answer)? {
                Some(response) => self.respond(&response),
                None if self.read()? => {}
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Writes what is left of the response; whether nothing is left.
    fn write(&mut self) -> Result<bool, Over> {
        if !self.is_writing() {
            return Ok(true);
        }
        while self.is_writing() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Err(Over),
                Ok(octets) => self.written += octets,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Over),
            }
        }
        if self.last {
            return Err(Over);
        }
        self.output = Vec::new(); // a page of the queue is not kept by an idle connection
        self.written = 0;
        // The beginning of the next request may be here already.
        let wait = if self.input.is_empty() { limits::IDLE_TIME } else { limits::REQUEST_TIME };
        self.deadline = Instant::now() + wait;
        Ok(true)
    }

    /// Takes a request off the input, once it is whole, and gets its response.
    fn take_request(
        &mut self,
        answer: &mut dyn FnMut(Request) -> Response,
    ) -> Result<Option<Response>, Over> {
        let mut rest = self.input.as_slice();
        let request = match frame::take(&mut rest, self.longest()) {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => Request::decode(frame),
            Err(BadFrame::Version(version)) => {
                debug!("control: uid {} speaks version {version}", self.uid);
                return Ok(Some(Response::Incompatible));
            }
            Err(BadFrame::Length(_)) => Err(Malformed),
        };
        let taken = self.input.len() - rest.len();
        self.input.drain(..taken);
        if self.input.is_empty() {
            self.input = Vec::new(); // a piece of a message is not kept by an idle connection
        }
        match request {
            Ok(request) if self.privileged => Ok(Some(answer(request))),
            Ok(_) => Ok(Some(Response::Denied)),
            Err(Malformed) => {
                debug!("control: malformed request from uid {}", self.uid);
                Err(Over)
            }
        }
    }

    fn respond(&mut self, response: &Response) {
        self.last = matches!(response, Response::Denied | Response::Incompatible);
        response.encode(&mut self.output);
        self.deadline = Instant::now() + limits::RESPONSE_TIME;
    }

    /// Octets of the longest request, without its head.
    fn longest(&self) -> usize {
        if self.privileged { limits::REQUEST } else { limits::STRANGER }
    }

    /// Reads once, no further than the longest request; whether something came.
    fn read(&mut self) -> Result<bool, Over> {
        let mut room = [0; ROOM];
        let left = HEAD + self.longest() - self.input.len();
        let room = &mut room[..left.min(ROOM)];
        loop {
            match self.stream.read(room) {
                Ok(0) => return Err(Over),
                Ok(octets) => {
                    if self.input.is_empty() {
                        self.deadline = self.deadline.min(Instant::now() + limits::REQUEST_TIME);
                    }
                    self.input.extend_from_slice(&room[..octets]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Over),
            }
        }
    }
}
