//! The way octets take between us and a peer.
//!
//! A [`Stream`] is the socket, a [`Transport`] what speaks over it: nothing yet but the octets
//! themselves.

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
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

/// What octets go through on their way to and from the socket.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Nothing: they are sent as they are.
    Plain(Stream),
}

impl Transport {
    /// Asks to be told when there is something to read, and with `write` also when there is
    /// room again. Edge-triggered: told once, remembered by the connection.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let Transport::Plain(stream) = self;
        registry.register(stream.source(), token, Interest::READABLE)
    }

    /// Asks to be told as well when a full socket has room again. Most sessions never need it.
    pub(crate) fn register_writable(
        &mut self,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        let Transport::Plain(stream) = self;
        registry.reregister(stream.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Tells the peer that nothing more will come; what it sends can still be read.
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        match self {
            Transport::Plain(Stream::Tcp(stream)) => stream.shutdown(Shutdown::Write),
            Transport::Plain(Stream::Unix(stream)) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(Stream::Tcp(stream)) => stream.read(buffer),
            Transport::Plain(Stream::Unix(stream)) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(Stream::Tcp(stream)) => stream.write(octets),
            Transport::Plain(Stream::Unix(stream)) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
