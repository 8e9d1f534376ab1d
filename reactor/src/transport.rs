//! The way octets take between us and a peer.
//!
//! A [`Stream`] is the socket, a [`Transport`] what speaks over it: the octets themselves, or
//! TLS.

use crate::tls::{Failure, Layer};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use smtpd_engine::tls::TlsInfo;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

/// A connected socket that never blocks.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Our own address, for a connection from the network.
    pub(crate) fn local(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().map(canonical).map(Some),
            Stream::Unix(_) => Ok(None),
        }
    }

    /// Whether the connection that was asked for is there.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let Stream::Tcp(stream) = self else {
            return Ok(true);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }
}

/// The address without the IPv6 form of IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The socket, and the layer that octets go through on their way to and from it.
pub(crate) struct Transport {
    stream: Stream,
    way: Way,
}

/// How octets go over the socket.
enum Way {
    /// As they are.
    Clear,
    /// Through TLS.
    Tls(Box<Layer>),
    /// Not at all: TLS has begun, and the layer is with another thread, which computes.
    Lent,
}

impl Transport {
    pub(crate) fn plain(stream: Stream) -> Transport {
        Transport { stream, way: Way::Clear }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Asks to be told of what `interest` says, each thing once; the channel remembers it.
    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(self.stream.source(), token, interest)
    }

    /// Asks to be told as well when a full socket has room again. Most sessions never need it.
    pub(crate) fn register_writable(
        &mut self,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        registry.reregister(self.stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Tells the peer that nothing more will come; what it sends can still be read.
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads once. Beside the number of octets: whether no more are there for now.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<(usize, bool)> {
        match &mut self.way {
            Way::Clear => self.stream.read(room).map(|n| (n, n < room.len())),
            Way::Tls(layer) => layer.read(&mut self.stream, room),
            Way::Lent => Err(ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Clear => self.stream.write(octets),
            Way::Tls(layer) => layer.write(&mut self.stream, octets),
            Way::Lent => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends what a layer still holds.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.way {
            Way::Clear | Way::Lent => Ok(()),
            Way::Tls(layer) => layer.flush(&mut self.stream),
        }
    }

    /// From now on all octets go through TLS; first its handshake.
    pub(crate) fn start_tls(&mut self, layer: Layer) {
        self.way = Way::Tls(Box::new(layer));
    }

    /// Goes on with the handshake: whether it is over.
    pub(crate) fn shake_hands(&mut self) -> Result<Option<TlsInfo>, Failure> {
        match &mut self.way {
            Way::Clear | Way::Lent => Ok(None),
            Way::Tls(layer) => layer.shake_hands(&mut self.stream),
        }
    }

    /// Reads what the peer says in the handshake, and does no more with it: whether there was
    /// anything, and whether more may be there.
    pub(crate) fn hear(&mut self) -> io::Result<(usize, bool)> {
        match &mut self.way {
            Way::Clear | Way::Lent => Err(ErrorKind::WouldBlock.into()),
            Way::Tls(layer) => layer.hear(&mut self.stream),
        }
    }

    /// Gives the layer away, to be computed with; until it is back no octet goes either way.
    pub(crate) fn lend(&mut self) -> Option<Box<Layer>> {
        match mem::replace(&mut self.way, Way::Lent) {
            Way::Tls(layer) => Some(layer),
            way => {
                self.way = way;
                None
            }
        }
    }

    /// The layer, where it is at hand.
    pub(crate) fn layer(&mut self) -> Option<&mut Layer> {
        match &mut self.way {
            Way::Tls(layer) => Some(layer),
            Way::Clear | Way::Lent => None,
        }
    }

    /// Takes it back.
    pub(crate) fn give_back(&mut self, layer: Box<Layer>) {
        debug_assert!(matches!(self.way, Way::Lent));
        self.way = Way::Tls(layer);
    }

    /// Ends TLS in order, if there is any.
    pub(crate) fn end_tls(&mut self) {
        if let Way::Tls(layer) = &mut self.way {
            layer.end(&mut self.stream);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(octets),
            Stream::Unix(stream) => stream.write(octets),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(parts),
            Stream::Unix(stream) => stream.write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
