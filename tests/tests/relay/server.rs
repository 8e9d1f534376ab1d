//! Servers that do as each test says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server of a test does with each line it is told: the reply, or nothing to hang up.
pub type Answer = fn(&str) -> Option<String>;

/// What it was told: over which connection, and the line.
pub type Told = (usize, String);

/// A server that answers as it is told to, and its port.
pub fn server(answer: Answer) -> (u16, Receiver<Told>) {
    start(answer, None)
}

/// The same at a given address.
pub fn server_at(address: SocketAddr, answer: Answer) -> io::Result<Receiver<Told>> {
    Ok(serve_all(TcpListener::bind(address)?, answer, None))
}

/// The same, which can begin TLS when its answer to STARTTLS is 220.
pub fn tls_server(answer: Answer, config: Arc<ServerConfig>) -> (u16, Receiver<Told>) {
    start(answer, Some(config))
}

fn start(answer: Answer, tls: Option<Arc<ServerConfig>>) -> (u16, Receiver<Told>) {
    serve_on(0, answer, tls)
}

/// A server on this port of 127.0.0.1.
pub fn serve_on(
    port: u16,
    answer: Answer,
    tls: Option<Arc<ServerConfig>>,
) -> (u16, Receiver<Told>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    (port, serve_all(listener, answer, tls))
}

fn serve_all(
    listener: TcpListener,
    answer: Answer,
    tls: Option<Arc<ServerConfig>>,
) -> Receiver<Told> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let (Ok(stream), tell, tls) = (stream, tell.clone(), tls.clone()) else { return };
            // Whoever is told may have gone, and so may the peer.
            thread::spawn(move || drop(serve(stream, nth, answer, tls, &tell)));
        }
    });
    told
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn serve(
    stream: TcpStream,
    nth: usize,
    answer: Answer,
    tls: Option<Arc<ServerConfig>>,
    tell: &Sender<Told>,
) -> io::Result<()> {
    let socket = stream.try_clone()?;
    let mut stream: Box<dyn Stream> = Box::new(stream);
    let mut is_data = false;
    let mut line = "CONNECT".to_owned();
    loop {
        let is_content = is_data && line != ".";
        let told = if is_content { format!("DATA {line}") } else { line.clone() };
        let _ = tell.send((nth, told));
        if let Some(octets) = line.strip_prefix("BDAT ") {
            let octets = octets.split(' ').next().and_then(|octets| octets.parse().ok());
            let mut chunk = vec![0; octets.unwrap_or(0)];
            stream.read_exact(&mut chunk)?;
            for line in String::from_utf8_lossy(&chunk).lines() {
                let _ = tell.send((nth, format!("CHUNK {line}")));
            }
        }
        if !is_content {
            let Some(reply) = answer(&line) else { return Ok(()) };
            is_data = reply.starts_with("354");
            stream.write_all(format!("{reply}\r\n").as_bytes())?;
            match (&tls, line == "STARTTLS" && reply.starts_with("220")) {
                (Some(tls), true) => {
                    let tls = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
                    stream = Box::new(StreamOwned::new(tls, socket.try_clone()?));
                }
                _ if reply.starts_with("221") => return Ok(()),
                _ => {}
            }
        }
        line = read_line(&mut *stream)?;
    }
}

/// Octet by octet, so that nothing is taken that belongs to a handshake.
fn read_line(stream: &mut dyn Stream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut octet = [0];
    loop {
        stream.read_exact(&mut octet)?;
        match octet[0] {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            b'\r' => {}
            octet => line.push(octet),
        }
    }
}

/// Takes everything.
pub fn good(line: &str) -> Option<String> {
    let word = line.split([' ', ':']).next().unwrap_or("");
    Some(
        match word {
            "CONNECT" => "220 sink.example",
            "EHLO" => "250-sink.example\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME",
            "DATA" => "354 go on",
            "." => "250 2.0.0 taken as 4711",
            "QUIT" => "221 2.0.0 bye",
            _ => "250 2.0.0 ok",
        }
        .to_owned(),
    )
}
