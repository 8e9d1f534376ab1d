//! TLS between a channel and its socket.
//!
//! What rustls gathers for the peer is sent as soon as the socket takes it, and one flight of
//! ours is one write: the end of the handshake goes out with the first octets behind it.

use super::{Client, Failure, Server};
use crate::limits;
use crate::transport::Stream;
use ring::digest::{SHA256, digest};
use rustls::{ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection};
use smtpd_engine::tls::TlsInfo;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// The label of channel bindings (RFC 9266 section 4.2).
const BINDING: &[u8] = b"EXPORTER-Channel-Binding";

pub(crate) struct Layer {
    session: Connection,
    /// A certificate of the peer was verified, if it showed one.
    verifies: bool,
    /// The last read took all that the socket had.
    drained: bool,
    /// The peer has said that it says nothing more.
    closed: bool,
}

impl Layer {
    /// # Errors
    /// The policy cannot be followed.
    pub(crate) fn client(client: Client) -> Result<Layer, Failure> {
        let Client { policy, name } = client;
        let session = ClientConnection::new(policy.config, name).map_err(Failure::Refused)?;
        Ok(Layer {
            session: session.into(),
            verifies: policy.verifies,
            drained: false,
            closed: false,
        })
    }

    /// # Errors
    /// The policy cannot be followed.
    pub(crate) fn server(server: &Server) -> Result<Layer, Failure> {
        let config = Arc::clone(&server.config);
        let session = ServerConnection::new(config).map_err(Failure::Refused)?;
        Ok(Layer {
            session: session.into(),
            verifies: server.verifies,
            drained: false,
            closed: false,
        })
    }

    /// Takes from the socket what there is. None: the handshake is not over.
    pub(crate) fn shake_hands(&mut self, stream: &mut Stream) -> Result<Option<TlsInfo>, Failure> {
        for _ in 0..limits::RECORDS {
            if let Some(info) = self.agreed() {
                return Ok(Some(info));
            }
            match self.flush(stream) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(Failure::Broken(error));
                }
                _ => {}
            }
            match self.take(stream) {
                Ok(Taken::End) => return Err(Failure::HungUp),
                Ok(Taken::Octets) => {}
                Ok(Taken::Bad(error)) => return Err(Failure::Refused(error)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Failure::Broken(error)),
            }
        }
        Err(Failure::Refused(rustls::Error::General("an endless handshake".into())))
    }

    /// As [`Transport::read`](crate::transport::Transport::read).
    pub(crate) fn read(
        &mut self,
        stream: &mut Stream,
        room: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        for _ in 0..limits::RECORDS {
            match self.session.reader().read(room) {
                // The end of TLS may stand behind the last octets; the socket says nothing of it.
                Ok(n) => return Ok((n, self.drained && n < room.len() && !self.closed)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without a word of TLS. A reply that is cut short is none, so nobody who cuts
                // it gains more than by cutting the connection.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok((0, true)),
                Err(error) => return Err(error),
            }
            if let Taken::Bad(error) = self.take(stream)? {
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
        Err(io::Error::new(ErrorKind::InvalidData, "TLS without content"))
    }

    /// Takes octets for the peer. They count as written when the layer has them.
    pub(crate) fn write(&mut self, stream: &mut Stream, octets: &[u8]) -> io::Result<usize> {
        let n = self.session.writer().write(octets)?;
        match self.flush(stream) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && n > 0 => Ok(n),
            Err(error) => Err(error),
            Ok(()) => Ok(n),
        }
    }

    /// Sends what there is for the peer.
    pub(crate) fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the peer that the end is no accident. It closes all the same if there is no room.
    pub(crate) fn end(&mut self, stream: &mut Stream) {
        self.session.send_close_notify();
        let _ = self.flush(stream);
    }

    /// Reads from the socket once, and does no more: how many octets, and whether the socket has
    /// no more of them.
    pub(crate) fn hear(&mut self, stream: &mut Stream) -> io::Result<(usize, bool)> {
        let mut once = Once { stream, drained: true };
        let n = loop {
            match self.session.read_tls(&mut once) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.drained = once.drained;
        Ok((n, self.drained))
    }

    /// Works on what was heard: in a handshake, signatures and key exchange.
    ///
    /// # Errors
    /// What the peer did wrong; there is an alert to be sent.
    pub(crate) fn compute(&mut self) -> Result<(), rustls::Error> {
        self.closed |= self.session.process_new_packets()?.peer_has_closed();
        Ok(())
    }

    /// Whether what is left of a handshake is only to be compared, not computed: the last flight
    /// of TLS 1.3 of a peer that is not asked for a certificate. That of one that was asked for
    /// another hello looks like the first from here, and counts as heavy.
    pub(crate) fn is_light(&self) -> bool {
        let kind = self.session.handshake_kind();
        self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && matches!(kind, Some(HandshakeKind::Full | HandshakeKind::Resumed))
            && !self.verifies
    }

    /// Reads from the socket once, and sees to what came.
    fn take(&mut self, stream: &mut Stream) -> io::Result<Taken> {
        let (n, _) = self.hear(stream)?;
        if let Err(error) = self.compute() {
            // The alert says why, if the peer still listens.
            let _ = self.flush(stream);
            return Ok(Taken::Bad(error));
        }
        Ok(if n == 0 { Taken::End } else { Taken::Octets })
    }

    /// What was agreed, once the handshake is over.
    pub(crate) fn agreed(&self) -> Option<TlsInfo> {
        (!self.session.is_handshaking()).then(|| self.info())
    }

    fn info(&self) -> TlsInfo {
        let version = match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let suite = self.session.negotiated_cipher_suite();
        let group = self.session.negotiated_key_exchange_group();
        let group = group.and_then(|group| group.name().as_str());
        let cipher = suite.map(|suite| super::suite_name(suite.suite())).unwrap_or_default();
        let bits = if cipher.contains("AES_128") { 128 } else { 256 };
        let certificate = self.session.peer_certificates().and_then(|chain| chain.first());
        let fingerprint = certificate.map(|certificate| fingerprint(certificate));
        let verified = self.verifies && certificate.is_some();
        let mut binding = [0; 32];
        // Of TLS 1.2 it is safe only with an extension that not every peer has (RFC 9266
        // section 3); clients of SMTP do without.
        let is_bound = matches!(self.session, Connection::Server(_))
            && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && self.session.export_keying_material(&mut binding, BINDING, None).is_ok();
        let binding = is_bound.then_some(binding);
        TlsInfo { version, cipher, bits, group, verified, fingerprint, binding }
    }
}

/// A certificate in a few letters, as libtls writes it.
fn fingerprint(certificate: &[u8]) -> String {
    let mut text = "SHA256:".to_owned();
    for octet in digest(&SHA256, certificate).as_ref() {
        write!(text, "{octet:02x}").expect("a string takes every letter");
    }
    text
}

enum Taken {
    Octets,
    End,
    Bad(rustls::Error),
}

/// Remembers whether the socket had no more.
struct Once<'a> {
    stream: &'a mut Stream,
    drained: bool,
}

impl Read for Once<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(room)?;
        self.drained = n < room.len();
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    /// By the digest of FIPS 180-2, appendix B.1.
    #[test]
    fn fingerprints() {
        let abc = "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(b"abc"), abc);
    }
}
