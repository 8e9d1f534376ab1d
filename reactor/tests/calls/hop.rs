//! Next hops on threads, good and bad.

use crate::caller::PATIENCE;
use rustls::{CipherSuite, HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

/// A stream of octets, with or without TLS.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One connection as its next hop sees it.
pub struct Peer {
    stream: BufReader<Box<dyn Stream>>,
    tcp: TcpStream,
    /// A copy of everything that was read, if it is asked for.
    heard: mpsc::Sender<String>,
}

/// A listener, and what it hears.
pub struct Hop {
    pub address: SocketAddr,
    pub heard: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

impl Hop {
    /// Serves so many connections, one after the other, with `serve`, whose errors are those of
    /// a peer that has gone.
    pub fn serving(
        connections: usize,
        mut serve: impl FnMut(&mut Peer) -> io::Result<()> + Send + 'static,
    ) -> Hop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hear, heard) = mpsc::channel();
        let thread = thread::spawn(move || {
            for _ in 0..connections {
                let (tcp, _) = listener.accept().unwrap();
                tcp.set_read_timeout(Some(PATIENCE)).unwrap();
                tcp.set_write_timeout(Some(PATIENCE)).unwrap();
                tcp.set_nodelay(true).unwrap();
                let stream: Box<dyn Stream> = Box::new(tcp.try_clone().unwrap());
                let mut peer = Peer { stream: BufReader::new(stream), tcp, heard: hear.clone() };
                let _ = serve(&mut peer);
            }
        });
        Hop { address, heard, thread }
    }

    /// Serves one connection.
    pub fn once(serve: impl FnMut(&mut Peer) -> io::Result<()> + Send + 'static) -> Hop {
        Hop::serving(1, serve)
    }

    /// All that was heard of mail data; the hop must have ended.
    pub fn heard(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.heard.iter().collect()
    }
}

impl Peer {
    pub fn say(&mut self, octets: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(octets.as_ref())?;
        self.stream.get_mut().flush()
    }

    /// One line without its end.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// One read, which is to bring exactly this.
    pub fn segment(&mut self, expected: &str) -> io::Result<()> {
        let mut room = [0; 4096];
        let n = self.stream.read(&mut room)?;
        assert_eq!(String::from_utf8_lossy(&room[..n]), expected);
        Ok(())
    }

    pub fn remote(&self) -> SocketAddr {
        self.tcp.peer_addr().expect("it is connected")
    }

    /// Mail data up to its end, told as it was sent.
    pub fn data(&mut self) -> io::Result<()> {
        let mut data = String::new();
        while !data.ends_with("\r\n.\r\n") && data != ".\r\n" {
            if self.stream.read_line(&mut data)? == 0 {
                self.tell(data);
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.tell(data);
        Ok(())
    }

    pub fn tell(&self, heard: String) {
        let _ = self.heard.send(heard);
    }

    /// From the banner to QUIT or STARTTLS, taking every mail.
    pub fn serve(&mut self, extensions: &str) -> io::Result<()> {
        self.say("220 hop.example ESMTP\r\n")?;
        self.talk(extensions)
    }

    /// As [`serve`](Peer::serve), behind the banner.
    pub fn talk(&mut self, extensions: &str) -> io::Result<()> {
        loop {
            let line = self.line()?;
            match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => self.say(format!("250-hop.example\r\n{extensions}250 SIZE\r\n"))?,
                "DATA" => {
                    self.say("354 go on\r\n")?;
                    self.data()?;
                    self.say("250 2.0.0 taken\r\n")?;
                }
                "QUIT" => return self.say("221 bye\r\n"),
                "STARTTLS" => return Ok(()),
                _ => self.say("250 ok\r\n")?,
            }
        }
    }

    /// The server's part of a handshake; all octets go through TLS from now on. Gives what was
    /// agreed on.
    pub fn shake_hands(
        &mut self,
        config: &Arc<ServerConfig>,
    ) -> io::Result<(HandshakeKind, CipherSuite)> {
        assert!(self.stream.buffer().is_empty(), "nothing is said before TLS");
        let session = ServerConnection::new(Arc::clone(config)).unwrap();
        let mut stream = StreamOwned::new(session, self.tcp.try_clone()?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let kind = stream.conn.handshake_kind().expect("it is over");
        let suite = stream.conn.negotiated_cipher_suite().expect("it is over").suite();
        self.stream = BufReader::new(Box::new(stream));
        Ok((kind, suite))
    }

    /// Waits for the first octets of a handshake, without an answer.
    pub fn wait_for_hello(&mut self) -> io::Result<()> {
        let n = self.stream.fill_buf()?.len();
        self.stream.consume(n);
        Ok(())
    }

    /// Waits until the other side is gone.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }
}
