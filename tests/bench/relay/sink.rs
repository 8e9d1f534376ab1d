//! Where relayed mail ends: takes everything, with STARTTLS if it has a certificate, and tells when
//! each final dot came.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A certificate that nobody trusts, which is good enough to be encrypted to.
pub fn tls() -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["sink.example".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.expect("a certificate and its key"))
}

/// Takes mail at that address; the moment of each final dot comes out.
pub fn start(
    at: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<(SocketAddr, Receiver<Instant>)> {
    let listener = TcpListener::bind(at)?;
    let at = listener.local_addr()?;
    let (tell, dots) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (tell, tls) = (tell.clone(), tls.clone());
            // The peer hangs up when it likes.
            thread::spawn(move || drop(serve(stream, tls, &tell)));
        }
    });
    Ok((at, dots))
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    tell: &Sender<Instant>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.try_clone()?;
    let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
    let (mut line, mut replies) = (Vec::new(), b"220 sink.example\r\n".to_vec());
    let mut is_data = false;
    loop {
        // What was asked in one flight is answered in one.
        if stream.buffer().is_empty() && !replies.is_empty() {
            stream.get_mut().write_all(&replies)?;
            stream.get_mut().flush()?;
            replies.clear();
        }
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let reply: &[u8] = match line.get(..4).unwrap_or(&line) {
            _ if is_data && line != b".\r\n" => continue,
            _ if is_data => {
                let _ = tell.send(Instant::now());
                is_data = false;
                b"250 2.0.0 taken\r\n"
            }
            b"EHLO" if tls.is_some() => {
                b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
            }
            b"EHLO" => b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            b"STAR" => {
                let Some(tls) = tls.clone() else { return Ok(()) };
                stream.get_mut().write_all(b"220 go on\r\n")?;
                let tls = ServerConnection::new(tls).map_err(io::Error::other)?;
                let secured = StreamOwned::new(tls, socket.try_clone()?);
                stream = BufReader::new(Box::new(secured));
                continue;
            }
            b"DATA" => {
                is_data = true;
                b"354 go on\r\n"
            }
            b"QUIT" => {
                stream.get_mut().write_all(b"221 bye\r\n")?;
                return stream.get_mut().flush();
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        replies.extend_from_slice(reply);
    }
}
