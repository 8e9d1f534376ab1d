//! The two-way transmission channel to a peer (RFC 5321 section 2.1), as octets: what was read
//! and not yet used, what was said and not yet sent, and what is known of the socket's state.
//!
//! Readiness is told once (edge-triggered) and remembered here. A read that fills less than the
//! room it was given has drained the stream on Linux and the BSDs, so the read that would say so
//! is not made: what comes later is told anew. Two things are exceptions. A peer that has closed
//! its side is told once, together with its last octets, so then reading goes on to the end of
//! the stream. And TCP urgent data ends a read early; a peer that sends it waits for its own
//! next segment, which harms nobody else.

use crate::buffer::Rest;
use crate::tls::{Failure, Layer};
use crate::token::ConnId;
use crate::transport::{Stream, Transport};
use mio::event::Event;
use mio::{Interest, Registry};
use smtpd_engine::reply::Reply;
use smtpd_engine::tls::TlsInfo;
use std::io::{self, ErrorKind};

pub(crate) struct Channel {
    transport: Transport,
    id: ConnId,
    /// Octets the peer sent that nobody has used.
    pub(crate) input: Rest,
    /// Octets the peer has no room for yet.
    output: Rest,
    /// There may be something to read.
    readable: bool,
    /// The peer has closed its side, perhaps behind octets that are still to be read.
    closing: bool,
    /// The connection is no more in either direction.
    broken: bool,
    /// The socket is full: writing is pointless until the system says otherwise.
    blocked: bool,
    interest: Registered,
}

#[derive(PartialEq, Eq)]
enum Registered {
    Not,
    Readable,
    Both,
}

/// What reading gave.
pub(crate) enum Received {
    Octets(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    End,
}

impl Channel {
    /// A socket just accepted, which may well hold octets already.
    pub(crate) fn new(transport: Transport, id: ConnId) -> Channel {
        Channel {
            transport,
            id,
            input: Rest::default(),
            output: Rest::default(),
            readable: true,
            closing: false,
            broken: false,
            blocked: false,
            interest: Registered::Not,
        }
    }

    /// A socket that is being connected: there is room when it is.
    pub(crate) fn connecting(transport: Transport, id: ConnId) -> Channel {
        let channel = Channel::new(transport, id);
        Channel { readable: false, blocked: true, ..channel }
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.transport.stream()
    }

    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    /// Remembers what the system told.
    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable();
        self.closing |= event.is_read_closed();
        self.broken |= event.is_error() || event.is_write_closed();
        self.blocked &= !(event.is_writable() || self.broken);
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.readable || self.closing || self.broken
    }

    /// There may be something to read that the system has not told.
    pub(crate) fn look_again(&mut self) {
        self.readable = true;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether all octets that are known of went their way, in both directions. Under TLS it is
    /// the layer that holds what a full socket has not taken.
    pub(crate) fn is_done(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && !self.blocked && !self.readable
    }

    /// Reads once.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<Received> {
        loop {
            return match self.transport.read(room) {
                Ok((0, _)) => Ok(Received::End),
                Ok((n, drained)) => {
                    self.readable = !drained;
                    Ok(Received::Octets(n))
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    (self.readable, self.closing) = (false, false);
                    Ok(Received::Nothing)
                }
                Err(error) => Err(error),
            };
        }
    }

    /// Has a reply sent by the next [`send`](Channel::send) after
    /// [`take_unsent`](Channel::take_unsent).
    pub(crate) fn say(&mut self, reply: &Reply<'_>) {
        let mut out = Vec::new();
        reply.write(&mut out);
        self.output.replace(&out);
    }

    /// Puts what the peer has not taken yet in front of what will be said now.
    pub(crate) fn take_unsent(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.output.as_slice());
        self.output.replace(&[]);
    }

    /// Writes until all is sent or the socket is full, without asking whether there is room:
    /// there nearly always is. What is left stays in `out`.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&mut self, out: &mut Vec<u8>, registry: &Registry) -> io::Result<()> {
        let mut sent = 0;
        while sent < out.len() && !self.blocked {
            match self.transport.write(&out[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.block(registry)?,
                Err(error) => return Err(error),
            }
        }
        if !self.blocked {
            match self.transport.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.block(registry)?,
                result => result?,
            }
        }
        if sent == out.len() {
            out.clear();
        } else {
            out.drain(..sent);
        }
        Ok(())
    }

    fn block(&mut self, registry: &Registry) -> io::Result<()> {
        self.blocked = true;
        if self.interest == Registered::Readable {
            self.transport.register_writable(registry, self.id.token())?;
            self.interest = Registered::Both;
        }
        Ok(())
    }

    /// Keeps what could not be sent, and leaves `out` empty.
    pub(crate) fn keep_unsent(&mut self, out: &mut Vec<u8>) {
        if !out.is_empty() {
            self.output.replace(out);
            out.clear();
        }
    }

    /// Asks the system for events, after a first look at the socket: what is there by then is
    /// told at once.
    ///
    /// # Errors
    /// The system has no room for another.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let interest = if self.blocked {
            self.interest = Registered::Both;
            Interest::READABLE | Interest::WRITABLE
        } else {
            self.interest = Registered::Readable;
            Interest::READABLE
        };
        self.transport.register(registry, self.id.token(), interest)
    }

    /// Whether the socket is connected by now.
    ///
    /// # Errors
    /// Why it never will be.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        if self.blocked {
            return Ok(false);
        }
        let connected = self.stream().is_connected()?;
        match (connected, self.broken) {
            (false, true) => Err(ErrorKind::ConnectionReset.into()),
            (connected, _) => {
                self.blocked = !connected;
                Ok(connected)
            }
        }
    }

    /// From now on all octets go through TLS. Nothing that came in the clear is left.
    pub(crate) fn start_tls(&mut self, layer: Layer) {
        self.input.replace(&[]);
        self.transport.start_tls(layer);
    }

    /// Goes on with the handshake. None: when the system tells more of the socket.
    ///
    /// # Errors
    /// Why TLS did not come about.
    pub(crate) fn shake_hands(&mut self, registry: &Registry) -> Result<Option<TlsInfo>, Failure> {
        let info = self.transport.shake_hands()?;
        if info.is_none() {
            (self.readable, self.closing) = (false, false);
            // What is told is told of a socket that had room; one that has none says so.
            if let Err(error) = self.transport.flush() {
                match error.kind() {
                    ErrorKind::WouldBlock => self.block(registry).map_err(Failure::Broken)?,
                    _ => return Err(Failure::Broken(error)),
                }
            }
        } else {
            // The layer may hold octets already.
            self.readable = true;
        }
        Ok(info)
    }

    /// Reads once what the peer says in a handshake.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn hear(&mut self) -> io::Result<Received> {
        match self.transport.hear() {
            Ok((0, _)) => Ok(Received::End),
            Ok((n, drained)) => {
                self.readable = !drained;
                Ok(Received::Octets(n))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                (self.readable, self.closing) = (false, false);
                Ok(Received::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the layer of TLS away.
    pub(crate) fn lend(&mut self) -> Option<Box<Layer>> {
        self.transport.lend()
    }

    /// Takes it back.
    pub(crate) fn give_back(&mut self, layer: Box<Layer>) {
        self.transport.give_back(layer);
    }

    /// What to do next in a handshake of which everything that was heard is computed: what it
    /// came to, if it is over.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn agreed(&mut self, registry: &Registry) -> io::Result<Option<TlsInfo>> {
        let info = self.transport.layer().and_then(|layer| layer.agreed());
        if info.is_some() {
            // The layer may hold octets already. Its last words go out with the first ones
            // behind them.
            self.readable = true;
        } else {
            match self.transport.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.block(registry)?,
                result => result?,
            }
        }
        Ok(info)
    }

    /// The layer of TLS, where it is at hand.
    pub(crate) fn layer(&mut self) -> Option<&mut Layer> {
        self.transport.layer()
    }

    /// Ends TLS in order, as far as the peer has room.
    pub(crate) fn end_tls(&mut self) {
        self.transport.end_tls();
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        self.transport.shut_down_write()
    }
}
