//! TLS of the receiving side: when it begins, what is shown to whom, and what a peer that does
//! it wrong gets.

#![allow(clippy::unwrap_used)]

#[path = "common/authority.rs"]
mod authority;
mod common;

use authority::{Authority, Certified};
use common::{Client, Server, Told};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use smtpd_engine::server::{Demand, Params};
use smtpd_engine::tls::TlsInfo;
use smtpd_reactor::tls::{self, Certificate, Identity, Service, Terms, Tickets};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

fn offering() -> Params {
    Params { starttls: Demand::Offered, ..Params::default() }
}

/// A server that shows these certificates.
fn certificate(name: &str, (chain, key): Certified) -> Arc<Certificate> {
    Arc::new(Certificate::new(name, Identity::new(chain, key).unwrap()))
}

fn serve(params: Params, certificates: Vec<(&str, Certified)>, immediate: bool) -> Server {
    let certificates: Vec<_> =
        certificates.into_iter().map(|(name, certified)| certificate(name, certified)).collect();
    let tickets = Tickets::new().unwrap();
    let service = Service {
        certificates: &certificates,
        immediate,
        clients: None,
        terms: &Terms::default(),
        tickets: &tickets,
    };
    Server::secured(params, tls::Server::new(&service).unwrap())
}

fn client_of(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(authority.roots()).with_no_client_auth())
}

/// Speaks TLS over the connection; the handshake is over with the first octets.
fn secure(client: Client<TcpStream>, config: &Arc<ClientConfig>, name: &str) -> Secured {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let stream = StreamOwned::new(session, client.stream.into_inner());
    Client { stream: BufReader::new(stream) }
}

fn start_tls(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Secured {
    let mut client = server.connect();
    let greeting = client.say("EHLO client.example", "250");
    assert!(greeting.contains("250-STARTTLS\r\n"), "{greeting}");
    client.say("STARTTLS", "220");
    secure(client, config, name)
}

fn wait_for_tls(server: &Server) -> TlsInfo {
    server.wait_for(|told| match told {
        Told::Secured(_, info) => Some(info),
        _ => None,
    })
}

#[test]
fn a_message_comes_over_starttls_in_both_versions() {
    let authority = Authority::new();
    let identity = || authority.certify("mx.example", 2100);
    let server = serve(offering(), vec![("mx.example", identity())], false);
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let mut client = start_tls(&server, &client_of(&authority, &[version]), "mx.example");
        let greeting = client.say("EHLO client.example", "250");
        assert!(!greeting.contains("STARTTLS"), "{greeting}");
        let info = wait_for_tls(&server);
        assert_eq!((info.version, info.verified), (name, false));
        client.begin_message();
        client.send(b"Subject: secret\r\n\r\nof many lines\r\n.\r\n");
        client.expect("250");
        client.say("QUIT", "221");
        // The end is said, and is no accident.
        let mut rest = Vec::new();
        assert_eq!(client.stream.read_to_end(&mut rest).unwrap(), 0);
        assert_eq!(server.wait_for_close().1, "quit");
    }
    server.stop();
}

#[test]
fn nothing_from_before_the_handshake_survives_it() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(offering(), vec![("mx.example", identity)], false);
    let config = client_of(&authority, &[&TLS13]);
    let mut client = server.connect();
    client.say("EHLO client.example", "250");
    // Behind STARTTLS, in one packet with it.
    client.send("STARTTLS\r\nMAIL FROM:<mallory@client.example>\r\nRCPT TO:<u@here.example>\r\n");
    client.expect("220");
    let mut client = secure(client, &config, "mx.example");
    client.say("RCPT TO:<u@here.example>", "503");
    client.say("MAIL FROM:<a@client.example>", "503 5.5.1");
    client.say("EHLO client.example", "250");
    client.say("RSET", "250");
    client.say("QUIT", "221");
    server.stop();
}

#[test]
fn what_comes_in_the_clear_when_tls_is_due_ends_the_session() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(offering(), vec![("mx.example", identity)], false);
    let mut client = server.connect();
    client.say("EHLO client.example", "250");
    client.say("STARTTLS", "220");
    client.send("MAIL FROM:<mallory@client.example>\r\n");
    // An alert, and no reply.
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.first().is_none_or(|octet| *octet == 21), "{rest:?}");
    assert_eq!(server.wait_for_close().1, "tls");
    server.stop();
}

#[test]
fn smtps_begins_with_the_handshake() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(Params::default(), vec![("mx.example", identity)], true);
    for version in [&TLS12, &TLS13] {
        let client = server.connect_silently();
        let mut client = secure(client, &client_of(&authority, &[version]), "mx.example");
        client.expect("220 host.example");
        client.say("EHLO client.example", "250");
        client.say("STARTTLS", "503");
        client.say("QUIT", "221");
    }
    // Someone who speaks SMTP gets no SMTP in return.
    let mut client = server.connect_silently();
    client.send("EHLO client.example\r\n");
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"2") && !rest.starts_with(b"4"), "{rest:?}");
    server.stop();
}

/// Passes on what is written one octet at a time.
struct Drop1(TcpStream);

impl Read for Drop1 {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Drop1 {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.write(&octets[..1])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_handshake_may_come_octet_by_octet() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(Params::default(), vec![("mx.example", identity)], true);
    for version in [&TLS12, &TLS13] {
        let config = client_of(&authority, &[version]);
        let name = ServerName::try_from("mx.example").unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        let socket = Drop1(server.connect_silently().stream.into_inner());
        let mut client = Client { stream: BufReader::new(StreamOwned::new(session, socket)) };
        client.expect("220");
        client.say("EHLO client.example", "250");
        client.say("QUIT", "221");
    }
    server.stop();
}

#[test]
fn hanging_up_at_any_octet_of_the_handshake_ends_the_session_alone() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(Params::default(), vec![("mx.example", identity)], true);
    let config = client_of(&authority, &[&TLS13]);
    let name = ServerName::try_from("mx.example").unwrap();
    let mut hello = Vec::new();
    let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
    session.write_tls(&mut hello).unwrap();
    for end in (0..=hello.len()).step_by(17) {
        let mut client = server.connect_silently();
        client.send(&hello[..end]);
        client.stream.get_ref().shutdown(Shutdown::Both).unwrap();
        drop(client);
        let why = server.wait_for_close().1;
        assert!(matches!(why, "tls" | "hung up"), "{why} after {end} octets");
    }
    let mut client = secure(server.connect_silently(), &config, "mx.example");
    client.expect("220");
    server.stop();
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() {
    let authority = Authority::new();
    let certify = |name| authority.certify(name, 2100);
    let certificates = vec![
        ("mx.example", certify("mx.example")),
        ("Other.Example", certify("other.example")),
        ("*", certify("*.wild.example")),
        ("Called.Example", certify("elsewhere.example")),
    ];
    let server = serve(Params::default(), certificates, true);
    let config = client_of(&authority, &[&TLS13]);
    // The client verifies that it is the right one.
    for name in ["mx.example", "other.example", "OTHER.example", "a.wild.example"] {
        let mut client = secure(server.connect_silently(), &config, name);
        client.expect("220");
    }
    // What it is called counts, too, if none was issued for that name.
    let mut client = secure(server.connect_silently(), &config, "called.example");
    let error = client.stream.read(&mut [0; 1]).unwrap_err().to_string();
    assert!(error.contains("elsewhere.example"), "{error}");
    // Who asks for another, or for none, is shown the first.
    for name in ["deep.a.wild.example", "wild.example", "127.0.0.1"] {
        let mut client = secure(server.connect_silently(), &config, name);
        let error = client.stream.read(&mut [0; 1]).unwrap_err().to_string();
        assert!(error.contains("mx.example"), "{name}: {error}");
    }
    server.stop();
}

/// Verifies signatures of one kind only.
#[derive(Debug)]
struct Only(Arc<WebPkiServerVerifier>, SignatureScheme);

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.1]
    }
}

fn only(authority: &Authority, scheme: SignatureScheme) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let roots = authority.roots();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only(verifier.build().unwrap(), scheme)))
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn of_several_certificates_for_a_name_the_client_gets_one_it_can_use() {
    let authority = Authority::new();
    let kinds = [
        (&PKCS_ED25519, SignatureScheme::ED25519),
        (&PKCS_ECDSA_P384_SHA384, SignatureScheme::ECDSA_NISTP384_SHA384),
        (&PKCS_ECDSA_P256_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256),
    ];
    let (mut certificates, mut expected) = (Vec::new(), Vec::new());
    for (kind, scheme) in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let identity = authority.certify_key("mx.example", 2100, key);
        expected.push((scheme, identity.0[0].clone()));
        certificates.push(("mx.example", identity));
    }
    let server = serve(Params::default(), certificates, true);
    for (scheme, certificate) in expected {
        let config = only(&authority, scheme);
        let mut client = secure(server.connect_silently(), &config, "mx.example");
        client.expect("220");
        let shown = client.stream.get_ref().conn.peer_certificates().unwrap();
        assert!(shown[0] == certificate, "another one for {scheme:?}");
    }
    server.stop();
}

#[test]
fn clients_may_have_to_show_certificates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = certificate("mx.example", authority.certify("mx.example", 2100));
    let (certificates, tickets) = ([certificate], Tickets::new().unwrap());
    let config = |identity: Option<Certified>| {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(authority.roots());
        Arc::new(match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    };
    let of = |authority: &Authority| Some(authority.certify("client.example", 2100));
    let serve = |clients| {
        let service = Service {
            certificates: &certificates,
            immediate: true,
            clients,
            terms: &Terms::default(),
            tickets: &tickets,
        };
        Server::secured(Params::default(), tls::Server::new(&service).unwrap())
    };
    let server = serve(Some(authority.roots()));
    let refused = |mut client: Secured| {
        let mut rest = Vec::new();
        assert!(client.stream.read_to_end(&mut rest).is_err());
        assert_eq!(server.wait_for_close().1, "tls");
    };
    refused(secure(server.connect_silently(), &config(None), "mx.example"));
    refused(secure(server.connect_silently(), &config(of(&stranger)), "mx.example"));
    let known = config(of(&authority));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = secure(server.connect_silently(), &known, "mx.example");
        client.expect("220");
        assert_eq!(client.stream.get_ref().conn.handshake_kind(), Some(kind));
        let info = wait_for_tls(&server);
        assert!(info.verified && info.fingerprint.is_some(), "{info:?}");
        client.say("QUIT", "221");
        assert_eq!(server.wait_for_close().1, "quit");
    }
    // Who has been elsewhere, where nobody asks for certificates, has to show one here.
    let (elsewhere, nobody) = (serve(None), config(None));
    let mut client = secure(elsewhere.connect_silently(), &nobody, "mx.example");
    client.expect("220");
    client.say("QUIT", "221");
    refused(secure(server.connect_silently(), &nobody, "mx.example"));
    // And who was trusted by a server that is replaced is looked at anew.
    let replacement = serve(Some(stranger.roots()));
    let mut client = secure(replacement.connect_silently(), &known, "mx.example");
    assert!(client.stream.read(&mut [0; 1]).is_err());
    assert_eq!(replacement.wait_for_close().1, "tls");
    for server in [server, elsewhere, replacement] {
        server.stop();
    }
}

#[test]
fn a_session_is_resumed_with_a_server_that_was_made_anew() {
    let authority = Authority::new();
    let certificate = certificate("mx.example", authority.certify("mx.example", 2100));
    let (certificates, tickets) = ([certificate], Tickets::new().unwrap());
    let start = || {
        let service = Service {
            certificates: &certificates,
            immediate: true,
            clients: None,
            terms: &Terms::default(),
            tickets: &tickets,
        };
        Server::secured(Params::default(), tls::Server::new(&service).unwrap())
    };
    for version in [&TLS12, &TLS13] {
        let config = client_of(&authority, &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let server = start();
            let mut client = secure(server.connect_silently(), &config, "mx.example");
            client.expect("220");
            assert_eq!(client.stream.get_ref().conn.handshake_kind(), Some(kind));
            client.say("QUIT", "221");
            server.stop();
        }
    }
}

#[test]
fn a_stop_in_the_middle_of_a_handshake_waits_for_nobody() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(Params::default(), vec![("mx.example", identity)], true);
    let mut client = server.connect_silently();
    client.send([22, 3, 1]);
    server.wait_for(|told| matches!(told, Told::Accepted(_)).then_some(()));
    server.sender.stop();
    assert_eq!(server.wait_for_close().1, "stopped");
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert_eq!(rest, b"", "nothing is said in the clear");
    server.stop();
}

#[test]
fn a_second_hello_is_computed_by_another_thread_as_the_first_was() {
    let authority = Authority::new();
    let certificates = [certificate("mx.example", authority.certify("mx.example", 2100))];
    let (terms, tickets) =
        (Terms { groups: vec!["X25519"], ..Terms::default() }, Tickets::new().unwrap());
    let service = Service {
        certificates: &certificates,
        immediate: true,
        clients: None,
        terms: &terms,
        tickets: &tickets,
    };
    let server = Server::secured(Params::default(), tls::Server::new(&service).unwrap());
    let (first, other) = (ring::kx_group::X25519, ring::kx_group::SECP256R1);
    for (groups, kind, pieces) in [
        (vec![first, other], HandshakeKind::Full, 1),
        // All of it: what the first hello leaves to be compared looks like the second one.
        (vec![other, first], HandshakeKind::FullWithHelloRetryRequest, 3),
    ] {
        let provider = CryptoProvider { kx_groups: groups, ..ring::default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let mut client = secure(server.connect_silently(), &Arc::new(config), "mx.example");
        client.expect("220");
        assert_eq!(client.stream.get_ref().conn.handshake_kind(), Some(kind));
        let mut computed = 0;
        server.wait_for(|told| match told {
            Told::Computing => {
                computed += 1;
                None
            }
            Told::Secured(..) => Some(()),
            _ => None,
        });
        assert_eq!(computed, pieces);
        client.say("QUIT", "221");
        assert_eq!(server.wait_for_close().1, "quit");
    }
    server.stop();
}

#[test]
fn the_end_of_tls_is_heard_behind_a_command_and_answered() {
    let authority = Authority::new();
    let identity = authority.certify("mx.example", 2100);
    let server = serve(Params::default(), vec![("mx.example", identity)], true);
    let config = client_of(&authority, &[&TLS13]);
    let mut client = secure(server.connect_silently(), &config, "mx.example");
    client.expect("220");
    // In one packet, and the connection stays open.
    let stream = client.stream.get_mut();
    stream.conn.writer().write_all(b"NOOP\r\n").unwrap();
    stream.conn.send_close_notify();
    let mut packet = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut packet).unwrap();
    }
    stream.sock.write_all(&packet).unwrap();
    client.expect("250");
    assert_eq!(server.wait_for_close().1, "hung up");
    let mut rest = Vec::new();
    assert_eq!(client.stream.read_to_end(&mut rest).unwrap(), 0, "it is no accident");
    server.stop();
}
