//! Sessions with a server, on several threads.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::options::{Mode, Options};
use crate::tickets::Tickets;
use crate::{Outcome, client};

/// How long a server may take over one reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// All sessions, and what they came to.
pub fn run(options: &Options) -> Outcome<String> {
    let share = options.count.div_ceil(options.sessions);
    // For the threads, and for the one that tells them to begin.
    let (prepared, begin) =
        (Barrier::new(options.sessions + 1), Barrier::new(options.sessions + 1));
    let visits = || {
        let visitor = Visitor::new(options, share);
        prepared.wait();
        begin.wait();
        let visitor = visitor?;
        (0..share).map(|_| visitor.visit()).collect::<Outcome<Vec<_>>>()
    };
    let (mut delays, took) = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.sessions).map(|_| scope.spawn(visits)).collect();
        prepared.wait();
        if options.wait {
            println!("ready");
            // Whatever comes, even the end: the threads wait.
            let _ = io::stdin().lock().read_line(&mut String::new());
        }
        let begun = Instant::now();
        begin.wait();
        let mut delays = Vec::new();
        for worker in workers {
            delays.append(&mut worker.join().map_err(|_| "a thread panicked")??);
        }
        Outcome::Ok((delays, begun.elapsed()))
    })?;
    delays.sort();
    let at = |part: usize| {
        delays.get(delays.len() * part / 100).map_or(0.0, |delay| delay.as_secs_f64() * 1e6)
    };
    Ok(format!(
        "{{\"count\": {}, \"seconds\": {:.6}, \"p50_us\": {:.1}, \"p99_us\": {:.1}}}",
        delays.len(),
        took.as_secs_f64(),
        at(50),
        at(99)
    ))
}

/// One client, that comes again and again.
struct Visitor<'a> {
    options: &'a Options,
    config: Option<Arc<ClientConfig>>,
}

impl Visitor<'_> {
    /// Who is to resume sessions first fetches a ticket for each, by as many sessions: not every
    /// server gives another one to who comes with one.
    fn new(options: &Options, share: usize) -> Outcome<Visitor<'_>> {
        let resumes = options.mode == Mode::Resumed;
        let tickets = resumes.then(Arc::<Tickets>::default);
        let config = match options.mode {
            Mode::Plain => None,
            _ => Some(client::config(options, tickets.clone())?),
        };
        let visitor = Visitor { options, config };
        for _ in 0..if resumes && !options.tls12 { share } else { 1 } {
            visitor.session()?;
        }
        if let Some(tickets) = tickets {
            tickets.show();
        }
        Ok(visitor)
    }

    /// How long the handshake took; zero without one.
    fn visit(&self) -> Outcome<Duration> {
        let (delay, kind) = self.session()?;
        let resumed = kind == Some(HandshakeKind::Resumed);
        if resumed != (self.options.mode == Mode::Resumed) {
            return Err(format!("{kind:?} is the handshake's kind").into());
        }
        Ok(delay)
    }

    fn session(&self) -> io::Result<(Duration, Option<HandshakeKind>)> {
        let stream = connect(self.options.to)?;
        let Some(config) = &self.config else {
            let mut plain = greeted(stream)?;
            say(&mut plain, "NOOP", "250")?;
            say(&mut plain, "NOOP", "250")?;
            say(&mut plain, "QUIT", "221")?;
            return Ok((Duration::ZERO, None));
        };
        let mut stream = if self.options.smtps {
            stream
        } else {
            let mut plain = greeted(stream)?;
            say(&mut plain, "STARTTLS", "220")?;
            plain.into_inner()
        };
        let session = ClientConnection::new(Arc::clone(config), client::name());
        let mut session = session.map_err(io::Error::other)?;
        let begun = Instant::now();
        session.complete_io(&mut stream)?;
        let delay = begun.elapsed();
        let kind = session.handshake_kind();
        let mut secured = BufReader::new(StreamOwned::new(session, stream));
        if self.options.smtps {
            expect(&mut secured, "220")?;
        }
        say(&mut secured, "EHLO client.test", "250")?;
        say(&mut secured, "QUIT", "221")?;
        Ok((delay, kind))
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn greeted(stream: TcpStream) -> io::Result<BufReader<TcpStream>> {
    let mut plain = BufReader::new(stream);
    expect(&mut plain, "220")?;
    say(&mut plain, "EHLO client.test", "250")?;
    Ok(plain)
}

fn say<S: Read + Write>(stream: &mut BufReader<S>, line: &str, code: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
    stream.get_mut().flush()?;
    expect(stream, code)
}

/// A reply, of any number of lines, with this code.
fn expect<S: Read>(stream: &mut BufReader<S>, code: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(io::Error::other(format!("{line:?} where {code} was expected")));
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}
