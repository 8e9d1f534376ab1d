//! smtpctl's side of the control socket.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::frame::{self, BadFrame};
use super::limits;
use super::message::{Request, Response};

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

/// Why there is no response. Shown as smtpctl says it.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens.
    NotRunning,
    /// The daemon is of another release.
    Incompatible,
    /// The daemon obeys only root and its own user.
    Denied,
    /// It closed the connection; it does so when a user has too many.
    Closed,
    /// It did not answer in time.
    Timeout,
    /// The connection failed otherwise.
    Io(io::Error),
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotRunning => f.write_str("smtpd doesn't seem to be running"),
            Error::Incompatible => f.write_str("incompatible smtpctl and smtpd"),
            Error::Denied => f.write_str("need root privileges"),
            Error::Closed => f.write_str("smtpd closed the connection"),
            Error::Timeout => f.write_str("smtpd does not answer"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning,
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
                Error::Closed
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout,
            _ => Error::Io(error),
        }
    }
}

impl Client {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when nobody listens there, or the system's.
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(limits::CLIENT))?;
        stream.set_write_timeout(Some(limits::CLIENT))?;
        Ok(Client { stream, received: Vec::new() })
    }

    /// Asks and waits for the response, at most [`limits::CLIENT`] between two parts of it.
    ///
    /// # Errors
    /// See [`Error`]; the connection is of no use after one.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        let mut octets = Vec::new();
        request.encode(&mut octets);
        self.stream.write_all(&octets)?;
        loop {
            let mut rest = self.received.as_slice();
            match frame::take(&mut rest, limits::RESPONSE) {
                Ok(Some(frame)) => {
                    let response = Response::decode(frame).map_err(|_| Error::Incompatible)?;
                    let taken = self.received.len() - rest.len();
                    self.received.drain(..taken);
                    return match response {
                        Response::Denied => Err(Error::Denied),
                        Response::Incompatible => Err(Error::Incompatible),
                        response => Ok(response),
                    };
                }
                Ok(None) => self.read()?,
                Err(BadFrame::Version(_) | BadFrame::Length(_)) => {
                    return Err(Error::Incompatible);
                }
            }
        }
    }

    fn read(&mut self) -> Result<(), Error> {
        let mut room = [0; 64 << 10];
        match self.stream.read(&mut room) {
            Ok(0) => Err(Error::Closed),
            Ok(octets) => {
                self.received.extend_from_slice(&room[..octets]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
