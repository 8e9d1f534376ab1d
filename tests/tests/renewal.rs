//! Certificates are replaced while the daemon runs, and sessions keep what they began with.

use std::fs;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use smtpd_tests::authority::Authority;
use smtpd_tests::client::{Client, Secured};
use smtpd_tests::program::{Options, Server, TempDir, eventually};

const NAME: &str = "mx.example.org";

/// A daemon with the certificate of that name in its directory.
fn server(dir: &TempDir) -> Server {
    let config = dir.path().join("smtpd.conf");
    let text = "queue directory $dir/spool\n\
                control socket $dir/smtpd.sock\n\
                daemon user root\n\
                pki mx.example.org cert $dir/mx.example.org.crt\n\
                pki mx.example.org key $dir/mx.example.org.key\n\
                listen on 127.0.0.1 port $port tls pki mx.example.org\n\
                action in maildir $dir/mail/%{dest.user:lowercase} userbase any\n\
                match from any for any action in\n";
    fs::write(&config, text).expect("a configuration");
    let dir = Some(dir.path().to_owned());
    Server::start(Options { config: Some(config), dir, ..Options::default() })
}

fn secured(server: &Server, config: &Arc<ClientConfig>) -> Client<Secured> {
    server.connect().start_tls(config, NAME).expect("a handshake")
}

/// What a new client is shown: one that has been there may resume its session and see nothing.
fn shown(server: &Server, authority: &Authority) -> CertificateDer<'static> {
    let client = secured(server, &authority.client(None));
    client.connection().peer_certificates().expect("a certificate")[0].clone().into_owned()
}

#[test]
fn an_administrator_has_a_certificate_replaced() {
    let (dir, authority) = (TempDir::new(), Authority::new());
    let (first, ..) = authority.write(dir.path(), NAME);
    let server = server(&dir);
    assert_eq!(&shown(&server, &authority), first.der());
    let mut old = secured(&server, &authority.client(None));

    let (second, ..) = authority.write(dir.path(), NAME);
    let (status, out, _) = server.smtpctl(&["update", "pki"]);
    assert_eq!((status.code(), out.as_str()), (Some(0), "command succeeded\n"));
    assert_eq!(&shown(&server, &authority), second.der());
    old.expect("NOOP", "250");
    let (_, status, _) = server.smtpctl(&["show", "status"]);
    assert!(status.contains("\nPKI mx.example.org expires in "), "{status}");

    // The key of another certificate.
    let (_, key) = authority.certify(NAME);
    fs::write(dir.path().join("mx.example.org.key"), key.serialize_pem()).expect("a key");
    let (status, out, _) = server.smtpctl(&["update", "pki"]);
    assert_eq!(status.code(), Some(1));
    assert!(out.contains("mx.example.org.key"), "{out}");
    assert_eq!(&shown(&server, &authority), second.der(), "what was in use stays");
    server.wait_for_log("the certificates in use stay");

    let (third, ..) = authority.write(dir.path(), NAME);
    server.signal("HUP");
    eventually("the third certificate", || &shown(&server, &authority) == third.der());
}

#[test]
fn a_certificate_that_changes_is_noticed() {
    let (dir, authority) = (TempDir::new(), Authority::new());
    let (first, ..) = authority.write(dir.path(), NAME);
    let server = server(&dir);
    assert_eq!(&shown(&server, &authority), first.der());
    let (second, ..) = authority.write(dir.path(), NAME);
    eventually("the second certificate", || {
        // Who asks which are in use, however often, does not keep anybody from looking.
        let (status, ..) = server.smtpctl(&["show", "status"]);
        status.success() && &shown(&server, &authority) == second.der()
    });
}
