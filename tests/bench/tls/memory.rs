//! Handshakes without a server: both halves of rustls in one thread, and how much of its processor
//! time the server's half takes.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use crate::options::Options;
use crate::tickets::Tickets;
use crate::{Outcome, client, crypto};

/// Microseconds of the server's half, with and without a signature.
pub fn run(options: &Options) -> Outcome<String> {
    let server = server(options)?;
    let mut figures = [0.0; 2];
    for (resumes, figure) in [false, true].into_iter().zip(&mut figures) {
        let tickets = resumes.then(Arc::<Tickets>::default);
        let client = client::config(options, tickets.clone())?;
        // Each brings the ticket for the next one.
        handshake(&client, &server)?;
        if let Some(tickets) = tickets {
            tickets.show();
        }
        let mut spent = Duration::ZERO;
        for _ in 0..options.count {
            let (own, kind) = handshake(&client, &server)?;
            if (kind == Some(HandshakeKind::Resumed)) != resumes {
                return Err(format!("{kind:?} is the handshake's kind").into());
            }
            spent += own;
        }
        *figure = spent.as_secs_f64() * 1e6 / options.count as f64;
    }
    let [full, resumed] = figures;
    Ok(format!("{{\"full_us\": {full:.1}, \"resumed_us\": {resumed:.1}}}"))
}

/// As the reactor makes it (`reactor/src/tls/server.rs`).
fn server(options: &Options) -> Outcome<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(&options.cert)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&options.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = crypto::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Processor time of the server's half, and the kind that it was.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Outcome<(Duration, Option<HandshakeKind>)> {
    let mut client = ClientConnection::new(Arc::clone(client), client::name())?;
    let (mut spent, mut begun) = (Duration::ZERO, processor_time());
    let mut server = ServerConnection::new(Arc::clone(server))?;
    loop {
        spent += processor_time().saturating_sub(begun);
        let mut there = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut there)?;
        }
        begun = processor_time();
        let mut octets = &there[..];
        while !octets.is_empty() {
            server.read_tls(&mut octets)?;
            server.process_new_packets()?;
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back)?;
        }
        if there.is_empty() && back.is_empty() {
            let kind = server.handshake_kind();
            drop(server);
            return Ok((spent + processor_time().saturating_sub(begun), kind));
        }
        spent += processor_time().saturating_sub(begun);
        let mut octets = &back[..];
        while !octets.is_empty() {
            client.read_tls(&mut octets)?;
            client.process_new_packets()?;
        }
        begun = processor_time();
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
