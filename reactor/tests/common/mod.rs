//! A reactor in a thread with a handler that takes everything unless told otherwise, and clients
//! that talk to it.

// Each test program uses its own part, and a failure here is a failed test.
#![allow(dead_code, clippy::unwrap_used)]

use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{Answer, Event, Params, Ticket};
use smtpd_engine::time::Time;
use smtpd_engine::tls::TlsInfo;
use smtpd_reactor::{
    About, Accept, Closed, ConnId, Flow, Handler, Inbox, Limits, Link, Listener, Reactor, Sender,
    Stats, tls,
};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for a machine with other things to do; no test waits so long if all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a handler does with an event.
pub enum Act {
    Answer(Reply<'static>),
    /// Somebody else answers.
    Later,
    Panic,
}

/// What happened at the server, as tests wait for it.
#[derive(Debug)]
pub enum Told {
    Accepted(ConnId),
    Asked(ConnId, Ticket, String),
    Answered(Ticket, bool),
    Held(ConnId),
    /// A piece of a handshake went to another thread.
    Computing,
    Secured(ConnId, TlsInfo),
    Closed(ConnId, &'static str),
}

type Decide = Box<dyn FnMut(&About<'_>, &Event<'_>) -> Act + Send>;

pub struct Host {
    params: Arc<Params>,
    decide: Decide,
    hold: Arc<AtomicBool>,
    told: mpsc::Sender<Told>,
    sessions: u64,
    tls: Option<tls::Server>,
    sender: Sender,
}

/// Takes everything.
pub fn usual(about: &About<'_>, event: &Event<'_>) -> Act {
    match event {
        Event::Connected { .. } => Act::Answer(reply::banner("host.example")),
        Event::Hello { name, .. } => {
            Act::Answer(reply::hello("host.example", name, &about.session.peer()))
        }
        Event::Mail { .. } => Act::Answer(reply::OK),
        Event::Rcpt { .. } => Act::Answer(reply::RCPT_OK),
        Event::Data { .. } => Act::Answer(reply::SEND_DATA),
        Event::EndOfData { octets, .. } => {
            Act::Answer(Reply::new(250, Some((0, 0)), format!("{octets} octets")))
        }
        _ => Act::Later,
    }
}

fn name(event: &Event<'_>) -> &'static str {
    match event {
        Event::Connected { .. } => "connected",
        Event::Hello { .. } => "hello",
        Event::Mail { .. } => "mail",
        Event::Rcpt { .. } => "rcpt",
        Event::Data { .. } => "data",
        Event::EndOfData { .. } => "end",
        _ => "other",
    }
}

impl Handler for Host {
    type Session = ConnId;

    fn accept(&mut self, link: &Link<'_>, conn: ConnId, _: Time) -> Accept<ConnId> {
        if link.remote.is_some() {
            let nodelay = rustix::net::sockopt::tcp_nodelay(link).unwrap();
            assert!(nodelay, "handed down by the listener");
            assert!(link.local().unwrap().is_some_and(|local| local.ip().is_loopback()));
        }
        self.sessions += 1;
        let _ = self.told.send(Told::Accepted(conn));
        let (params, tls) = (Arc::clone(&self.params), self.tls.clone());
        Accept::Session { params, id: self.sessions, own: conn, tls }
    }

    fn event(&mut self, own: &mut ConnId, about: &About<'_>, event: Event<'_>) -> Option<Answer> {
        assert_eq!(*own, about.conn, "each session has its own part");
        let ticket = event.ticket();
        match (self.decide)(about, &event) {
            Act::Panic => panic!("as the test asked for"),
            Act::Answer(reply) => ticket.map(|_| reply.into()),
            Act::Later => {
                if let Some(ticket) = ticket {
                    let _ = self.told.send(Told::Asked(about.conn, ticket, name(&event).into()));
                }
                None
            }
        }
    }

    fn answered(&mut self, _: &mut ConnId, ticket: Ticket, in_time: bool) {
        let _ = self.told.send(Told::Answered(ticket, in_time));
    }

    fn handshake(&mut self, work: tls::Handshake) {
        let _ = self.told.send(Told::Computing);
        let sender = self.sender.clone();
        std::thread::spawn(move || sender.computed(work.run()));
    }

    fn secured(&mut self, own: &mut ConnId, about: &About<'_>) {
        let tls = about.session.tls().expect("it is secured").clone();
        let _ = self.told.send(Told::Secured(*own, tls));
    }

    fn flow(&mut self, own: &ConnId) -> Flow {
        if self.hold.load(Ordering::SeqCst) {
            let _ = self.told.send(Told::Held(*own));
            Flow::Hold
        } else {
            Flow::Go
        }
    }

    fn closed(&mut self, own: ConnId, conn: ConnId, why: Closed, _: Time) {
        assert_eq!(own, conn);
        let why = match why {
            Closed::Quit => "quit",
            Closed::Ended => "ended",
            Closed::TimedOut => "timed out",
            Closed::HungUp => "hung up",
            Closed::Broken(_) => "broken",
            Closed::Tls(_) => "tls",
            Closed::Stopped => "stopped",
            Closed::Panicked => "panicked",
        };
        let _ = self.told.send(Told::Closed(conn, why));
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub sender: Sender,
    pub stats: Arc<Stats>,
    pub told: mpsc::Receiver<Told>,
    pub hold: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Host>>,
}

impl Server {
    pub fn start() -> Server {
        Server::with(Limits::default(), usual)
    }

    pub fn with(
        limits: Limits,
        decide: impl FnMut(&About<'_>, &Event<'_>) -> Act + Send + 'static,
    ) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        Server::on(vec![Listener::tcp(socket).unwrap()], address, limits, decide)
    }

    /// One that speaks TLS.
    pub fn secured(params: Params, tls: tls::Server) -> Server {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::tcp(socket).unwrap();
        Server::run(vec![listener], address, Limits::default(), usual, (params, Some(tls)))
    }

    pub fn on(
        listeners: Vec<Listener>,
        address: SocketAddr,
        limits: Limits,
        decide: impl FnMut(&About<'_>, &Event<'_>) -> Act + Send + 'static,
    ) -> Server {
        Server::run(listeners, address, limits, decide, (Params::default(), None))
    }

    fn run(
        listeners: Vec<Listener>,
        address: SocketAddr,
        limits: Limits,
        decide: impl FnMut(&About<'_>, &Event<'_>) -> Act + Send + 'static,
        (params, tls): (Params, Option<tls::Server>),
    ) -> Server {
        let inbox = Inbox::new().unwrap();
        let sender = inbox.sender();
        let (tell, told) = mpsc::channel();
        let hold = Arc::new(AtomicBool::new(false));
        let host = Host {
            params: Arc::new(Params { max_mails: u32::MAX, ..params }),
            decide: Box::new(decide),
            hold: Arc::clone(&hold),
            told: tell,
            sessions: 0,
            tls,
            sender: sender.clone(),
        };
        let reactor = Reactor::new(inbox, listeners, limits, host).unwrap();
        let stats = reactor.stats();
        let thread = std::thread::spawn(move || reactor.run());
        Server { address, sender, stats, told, hold, thread }
    }

    pub fn connect(&self) -> Client<TcpStream> {
        let mut client = self.connect_silently();
        client.expect("220");
        client
    }

    pub fn connect_silently(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// The next thing told that `wanted` makes something of.
    pub fn wait_for<T>(&self, mut wanted: impl FnMut(Told) -> Option<T>) -> T {
        loop {
            let told = self.told.recv_timeout(PATIENCE).expect("the server tells something");
            if let Some(found) = wanted(told) {
                return found;
            }
        }
    }

    pub fn wait_for_question(&self, what: &str) -> (ConnId, Ticket) {
        self.wait_for(|told| match told {
            Told::Asked(conn, ticket, name) if name == what => Some((conn, ticket)),
            _ => None,
        })
    }

    pub fn wait_for_close(&self) -> (ConnId, &'static str) {
        self.wait_for(|told| match told {
            Told::Closed(conn, why) => Some((conn, why)),
            _ => None,
        })
    }

    pub fn stop(self) {
        self.sender.stop();
        self.thread.join().unwrap().unwrap();
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

pub struct Client<S> {
    pub stream: BufReader<S>,
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(octets.as_ref()).unwrap();
    }

    /// All lines of one reply; empty where the connection ends.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.stream.read_line(&mut reply).unwrap();
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    #[track_caller]
    pub fn expect(&mut self, code: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(code), "expected {code}, got {reply:?}");
        reply
    }

    #[track_caller]
    pub fn say(&mut self, line: &str, code: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(code)
    }

    /// Until just before the content.
    #[track_caller]
    pub fn begin_message(&mut self) {
        self.say("MAIL FROM:<a@example.org>", "250");
        self.say("RCPT TO:<b@example.org>", "250");
        self.say("DATA", "354");
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "nothing more is said");
    }
}
