//! The resolver on the loop: its wishes carried out with sockets.
//!
//! Each question has a socket of its own, bound to a port that the system draws and connected to
//! the nameserver, so that the system drops what others send. Nothing here waits; a datagram for
//! which there is no room is lost like any other.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::event::Source;
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry};
use smtpd_engine::time::Time;

use super::limits;
use super::resolver::{QueryId, Random, Resolver, Transport, WireId, Wish};
use super::settings::Settings;
use super::{Answer, Question, Trouble};
use crate::token;

/// A [`Resolver`] and its sockets. It is driven by a loop, which tells it of events and time.
pub struct Sockets {
    resolver: Resolver,
    /// By the number of their wire.
    open: Vec<Option<Open>>,
    /// Those that may have something to be read.
    ready: VecDeque<usize>,
    scratch: Box<[u8]>,
    /// That the DNS is gone, as far as the log has been told.
    silence: Option<Trouble>,
}

struct Open {
    socket: Socket,
    /// It is among the ready ones.
    queued: bool,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(Exchange),
}

/// One question and its answer over a stream.
struct Exchange {
    stream: TcpStream,
    /// What is still to be written, the length before it.
    question: Vec<u8>,
    /// What has come, likewise.
    answer: Vec<u8>,
}

/// What a look at a socket brought.
enum Seen {
    /// So many octets of the scratch buffer. There may be more.
    Message(usize),
    Nothing,
    End,
}

impl Sockets {
    /// A resolver without open sockets.
    #[must_use]
    pub fn new(settings: Settings, random: Random) -> Sockets {
        Sockets {
            resolver: Resolver::new(settings, random),
            open: Vec::new(),
            ready: VecDeque::new(),
            scratch: vec![0; limits::MESSAGE].into(),
            silence: None,
        }
    }

    /// Asks. The answer comes from [`Sockets::next_answer`], after the next [`Sockets::turn`] or
    /// a later one.
    pub fn ask(&mut self, question: Question, now: Time) -> QueryId {
        self.resolver.ask(question, now)
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, query: QueryId) {
        self.resolver.forget(query);
    }

    /// Other nameservers and hosts count from now on.
    pub fn set(&mut self, settings: Settings, now: Time) {
        self.resolver.set(settings, now);
    }

    /// An answer, each once.
    pub fn next_answer(&mut self) -> Option<(QueryId, Answer)> {
        self.resolver.next_answer()
    }

    /// Why the last question that needed a nameserver found none: the DNS is gone.
    #[must_use]
    pub fn silence(&self) -> Option<Trouble> {
        self.resolver.silence()
    }

    /// Something happened to the socket with that number.
    pub fn note(&mut self, nth: usize) {
        if let Some(Some(open)) = self.open.get_mut(nth)
            && !open.queued
        {
            open.queued = true;
            self.ready.push_back(nth);
        }
    }

    /// When [`Sockets::turn`] is to be called, unless an event comes before: at once, if there is
    /// work or an answer.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        let busy =
            self.resolver.has_wishes() || self.resolver.has_answers() || !self.ready.is_empty();
        if busy { Some(Time::default()) } else { self.resolver.deadline() }
    }

    /// Does what there is to do, and bounded work.
    pub fn turn(&mut self, registry: &Registry, now: Time) {
        for _ in 0..self.ready.len().min(limits::READS) {
            let Some(nth) = self.ready.pop_front() else { break };
            self.look_at(nth, now);
            // Before the next look: a socket whose question is answered must not be read for
            // another that has got its number.
            self.carry_out(registry, now);
        }
        if self.resolver.deadline().is_some_and(|deadline| deadline <= now) {
            self.resolver.timeout(now);
        }
        self.carry_out(registry, now);
        self.log_silence();
    }

    fn look_at(&mut self, nth: usize, now: Time) {
        let Some(Some(open)) = self.open.get_mut(nth) else { return };
        open.queued = false;
        match open.look(&mut self.scratch) {
            Ok(Seen::Message(length)) => {
                open.queued = true;
                self.ready.push_back(nth);
                self.resolver.received(WireId(nth), &self.scratch[..length], now);
            }
            Ok(Seen::Nothing) => {}
            Ok(Seen::End) | Err(_) => self.resolver.broken(WireId(nth), now),
        }
    }

    fn carry_out(&mut self, registry: &Registry, now: Time) {
        while let Some(wish) = self.resolver.next_wish() {
            match wish {
                Wish::Close(WireId(nth)) => {
                    // Closing takes it out of the system's list as well.
                    if let Some(open) = self.open.get_mut(nth) {
                        *open = None;
                    }
                }
                Wish::Send { on: WireId(nth), to, transport, message } => {
                    match Open::new(nth, to, transport, &message, registry) {
                        Ok(open) => {
                            if self.open.len() <= nth {
                                self.open.resize_with(nth + 1, || None);
                            }
                            self.open[nth] = Some(open);
                        }
                        Err(_) => self.resolver.broken(WireId(nth), now),
                    }
                }
            }
        }
    }

    /// Says once that the DNS is gone, and once that it is back.
    fn log_silence(&mut self) {
        match (self.silence, self.resolver.silence()) {
            (None, Some(trouble)) => log::warn!("dns: {trouble}: mail for other hosts waits"),
            (Some(_), None) => log::info!("dns: a nameserver answers again"),
            _ => return,
        }
        self.silence = self.resolver.silence();
    }
}

impl Open {
    /// Opens a socket and sends the message, or begins to.
    fn new(
        nth: usize,
        to: SocketAddr,
        transport: Transport,
        message: &[u8],
        registry: &Registry,
    ) -> io::Result<Open> {
        let token = token::own(nth);
        let socket = match transport {
            Transport::Udp => {
                let unspecified: IpAddr = match to {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let mut socket = UdpSocket::bind((unspecified, 0).into())?;
                socket.connect(to)?;
                socket.register(registry, token, Interest::READABLE)?;
                socket.send(message)?;
                Socket::Udp(socket)
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(to)?;
                stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)?;
                let length = message.len() as u16;
                let question = [&length.to_be_bytes(), message].concat();
                Socket::Tcp(Exchange { stream, question, answer: Vec::new() })
            }
        };
        Ok(Open { socket, queued: false })
    }

    fn look(&mut self, scratch: &mut [u8]) -> io::Result<Seen> {
        match &mut self.socket {
            Socket::Udp(socket) => match socket.recv(scratch) {
                Ok(length) => Ok(Seen::Message(length)),
                Err(error) if is_not_yet(&error) => Ok(Seen::Nothing),
                Err(error) => Err(error),
            },
            Socket::Tcp(exchange) => exchange.look(scratch),
        }
    }
}

impl Exchange {
    fn look(&mut self, scratch: &mut [u8]) -> io::Result<Seen> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        while !self.question.is_empty() {
            match self.stream.write(&self.question) {
                Ok(written) => drop(self.question.drain(..written)),
                Err(error) if is_not_yet(&error) => return Ok(Seen::Nothing),
                Err(error) => return Err(error),
            }
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(Seen::End),
                Ok(length) => self.answer.extend_from_slice(&scratch[..length]),
                Err(error) if is_not_yet(&error) => return Ok(Seen::Nothing),
                Err(error) => return Err(error),
            }
            // At most the scratch buffer is here before a message is whole, and once again.
            if let Some((length, octets)) = self.answer.split_first_chunk() {
                let length = usize::from(u16::from_be_bytes(*length));
                if let Some(message) = octets.get(..length) {
                    scratch[..length].copy_from_slice(message);
                    return Ok(Seen::Message(length));
                }
            }
        }
    }
}

/// Whether there will be another time: a connection that is being made is not connected yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}
