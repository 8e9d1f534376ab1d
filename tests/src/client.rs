//! A client of the real programs, driven line by line, in the clear or under TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::program::PATIENCE;

/// A connection under TLS.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// One SMTP session.
pub struct Client<S: Read + Write = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    /// A session over an open connection; its banner has not been read.
    #[must_use]
    pub fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Client { stream: BufReader::new(stream) }
    }

    /// Opens a session and reads the banner.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Client {
        let mut client = Client::new(TcpStream::connect(address).expect("the server accepts"));
        assert!(client.reply().starts_with("220 "));
        client
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Shakes hands at once, as with `smtps` or after the reply to STARTTLS. What was read and not
    /// looked at is gone.
    ///
    /// # Errors
    /// Those of the handshake.
    pub fn secure(self, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client<Secured>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, self.stream.into_inner());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Says EHLO and STARTTLS, and shakes hands.
    ///
    /// # Errors
    /// Those of the handshake.
    ///
    /// # Panics
    /// When the server does not offer it.
    pub fn start_tls(
        mut self,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Client<Secured>> {
        let offered = self.expect("EHLO client.example", "250");
        assert!(offered.lines().any(|line| &line[4..] == "STARTTLS"), "{offered:?}");
        self.expect("STARTTLS", "220");
        self.secure(config, name)
    }
}

impl Client<Secured> {
    /// What TLS knows of the connection.
    #[must_use]
    pub fn connection(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends octets as they are.
    ///
    /// # Errors
    /// When the server has closed.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads one reply: its lines joined by LF. Empty when the server has closed.
    #[must_use]
    pub fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(0) | Err(_) => return whole,
                Ok(_) => {}
            }
            let line = line.trim_end_matches("\r\n");
            whole.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
            whole.push('\n');
        }
    }

    /// Sends a command, CR LF added, and reads its reply.
    #[must_use]
    pub fn command(&mut self, line: &str) -> String {
        if self.send(format!("{line}\r\n").as_bytes()).is_err() {
            return String::new();
        }
        self.reply()
    }

    /// Sends a command whose reply must begin with `code`.
    ///
    /// # Panics
    /// When it does not.
    pub fn expect(&mut self, line: &str, code: &str) -> String {
        let reply = self.command(line);
        assert!(reply.starts_with(code), "{line:?} was answered {reply:?}, not {code}");
        reply
    }

    /// Reads all that comes until the server hangs up.
    ///
    /// # Errors
    /// When the connection broke; under TLS also when its end was not announced.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Sends one whole message after EHLO and returns the reply to its end.
    #[must_use]
    pub fn message(&mut self, from: &str, to: &str, content: &[u8]) -> String {
        self.expect(&format!("MAIL FROM:<{from}>"), "250");
        self.expect(&format!("RCPT TO:<{to}>"), "250");
        self.expect("DATA", "354");
        self.send(content).expect("the content is taken");
        self.command(".")
    }
}
