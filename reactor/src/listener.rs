//! Sockets that connections come from.
//!
//! They arrive bound and listening from the caller. Several reactors share one address by
//! duplicates of one socket (`try_clone`); SO_REUSEPORT is not used, because closing one such
//! socket resets what waits in it.

use crate::limits;
use crate::token;
use crate::transport::{Stream, canonical};
use mio::event::Source;
use mio::{Interest, Registry, net};
use smtpd_engine::time::Time;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix;

/// A socket, bound and listening.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(net::TcpListener),
    Unix(net::UnixListener),
}

impl Listener {
    /// Takes a socket of the network. It is made nonblocking, and told to send small segments at
    /// once (TCP_NODELAY), which Linux and the BSDs hand down to each accepted socket: one
    /// system call less a connection. Replies are written whole, so nothing is gained by waiting
    /// for more.
    ///
    /// # Errors
    /// What the system says when it refuses either.
    pub fn tcp(socket: std::net::TcpListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        Ok(Listener { socket: Socket::Tcp(net::TcpListener::from_std(socket)) })
    }

    /// Takes a socket of this machine. It is made nonblocking.
    ///
    /// # Errors
    /// What the system says when it refuses that.
    pub fn unix(socket: unix::net::UnixListener) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener { socket: Socket::Unix(net::UnixListener::from_std(socket)) })
    }

    fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, remote) = socket.accept()?;
                Ok((Stream::Tcp(stream), Some(canonical(remote))))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        }
    }
}

/// All listeners of a reactor, and which of them may have a connection waiting.
pub(crate) struct Listeners {
    all: Vec<(Listener, Readiness)>,
    paused: bool,
    /// There was no descriptor or memory for one more socket: not before then.
    rest_until: Option<Time>,
}

/// Told once by the system (edge-triggered), so it is remembered until accepting says
/// otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Waiting,
    Nobody,
}

impl Listeners {
    /// # Errors
    /// The system has no room for another.
    pub(crate) fn new(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Listeners> {
        let all = listeners.into_iter().map(|listener| (listener, Readiness::Nobody)).collect();
        let mut listeners = Listeners { all, paused: true, rest_until: None };
        listeners.pause(false, registry)?;
        Ok(listeners)
    }

    /// Leaves what comes to the system's backlog, or takes it again; what came meanwhile is
    /// told at once.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn pause(&mut self, paused: bool, registry: &Registry) -> io::Result<()> {
        if self.paused == paused {
            return Ok(());
        }
        self.paused = paused;
        let mut result = Ok(());
        for (nth, (listener, readiness)) in self.all.iter_mut().enumerate() {
            *readiness = Readiness::Nobody;
            let source = listener.source();
            // One that fails does not keep the others from what they are told.
            result = result.and(if paused {
                registry.deregister(source)
            } else {
                registry.register(source, token::own(nth), Interest::READABLE)
            });
        }
        result
    }

    /// Closes them all.
    pub(crate) fn close(&mut self) {
        self.all.clear();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The system told that there is a connection.
    pub(crate) fn note(&mut self, nth: usize) {
        if let Some((_, readiness)) = self.all.get_mut(nth)
            && !self.paused
        {
            *readiness = Readiness::Waiting;
        }
    }

    /// When there may be something to accept without being told: now, later, or never.
    pub(crate) fn next(&self) -> Option<Time> {
        let waiting = self.all.iter().any(|&(_, readiness)| readiness == Readiness::Waiting);
        waiting.then(|| self.rest_until.unwrap_or_default())
    }

    /// The next connection of the nth listener and where it comes from (None: this machine).
    pub(crate) fn accept(&mut self, nth: usize, now: Time) -> Option<(Stream, Option<SocketAddr>)> {
        if self.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        let (listener, readiness) = self.all.get_mut(nth)?;
        while *readiness == Readiness::Waiting {
            match listener.accept() {
                Ok(accepted) => {
                    self.rest_until = None;
                    return Some(accepted);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => *readiness = Readiness::Nobody,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // EMFILE, ENFILE, ENOBUFS, ENOMEM, and what no manual tells of. None is a
                    // reason to end, and none goes away by asking again at once.
                    _ => {
                        if self.rest_until.is_none() {
                            log::warn!("cannot accept connections for now: {error}");
                        }
                        self.rest_until = Some(now + limits::ACCEPT_AGAIN);
                        return None;
                    }
                },
            }
        }
        None
    }
}
