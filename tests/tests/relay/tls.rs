//! TLS and AUTH towards servers whose certificates are good or not.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use smtpd_tests::program::{Server, TempDir};

use crate::server::{good, tls_server};
use crate::{relay_to_with, send};

/// As [`good`], with TLS, and AUTH behind it.
fn secured(line: &str) -> Option<String> {
    let word = line.split([' ', ':']).next().unwrap_or("");
    match word {
        "EHLO" => Some("250-sink.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN".to_owned()),
        "STARTTLS" => Some("220 2.0.0 go on".to_owned()),
        // NUL, the user, NUL, the password.
        "AUTH" if line == "AUTH PLAIN AGFsaWNlAHNlY3JldA==" => Some("235 2.7.0 ok".to_owned()),
        "AUTH" => Some("535 5.7.8 no".to_owned()),
        _ => good(line),
    }
}

/// A server's certificate for this name, and the root above it in PEM.
fn certificate(name: &str) -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let own = own.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config =
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .expect("a certificate and its key");
    (Arc::new(config), root)
}

/// Ours, which trusts `root` and has credentials.
fn relay_with(dir: &TempDir, url: String, root: &str) -> Server {
    let file = dir.path().join("root.pem");
    fs::write(&file, root).expect("a root");
    let above = format!(
        "ca house cert \"{}\"\ntable secrets {{ me = \"alice:secret\" }}\n",
        file.display()
    );
    relay_to_with(dir, &above, &[url], "auth <secrets> ca house")
}

#[test]
fn a_good_certificate_gets_the_password_and_the_mail() {
    let (config, root) = certificate("127.0.0.1");
    let (port, told) = tls_server(secured, config);
    let dir = TempDir::new();
    let relay = relay_with(&dir, format!("smtp+tls://me@127.0.0.1:{port}"), &root);
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    let told: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
    let place = |what: &str| told.iter().position(|line| line.starts_with(what));
    assert!(place("STARTTLS") < place("AUTH") && place("AUTH") < place("MAIL"), "{told:?}");
    let log = relay.log().join("\n");
    assert!(log.contains(" mta tls ciphers=TLSv1.3:"), "{log}");
    assert!(!log.contains("secret") && !log.contains("AGFsaWNl"), "{log}");
}

#[test]
fn a_certificate_for_another_or_from_nobody_gets_nothing() {
    let (wrong_name, root) = certificate("192.0.2.1");
    let (unknown, _) = certificate("127.0.0.1");
    for config in [wrong_name, unknown] {
        let (port, told) = tls_server(secured, config);
        let dir = TempDir::new();
        let relay = relay_with(&dir, format!("smtp+tls://me@127.0.0.1:{port}"), &root);
        send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
        relay.wait_for_log("result=\"TempFail\"");
        let told: Vec<_> = told.try_iter().map(|(_, line)| line).collect();
        assert!(!told.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
        let log = relay.log().join("\n");
        assert!(log.contains("invalid peer certificate"), "{log}");
    }
}

#[test]
fn without_verification_any_certificate_will_do() {
    let (config, _) = certificate("192.0.2.1");
    let (port, told) = tls_server(secured, config);
    let dir = TempDir::new();
    let relay = relay_to_with(&dir, "", &[format!("smtp://127.0.0.1:{port}")], "");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    assert!(told.try_iter().any(|(_, line)| line == "STARTTLS"));
    let log = relay.log().join("\n");
    assert!(log.contains(" mta tls ciphers="), "{log}");
}

#[test]
fn tls_that_fails_is_done_without_where_it_may_be() {
    fn broken(line: &str) -> Option<String> {
        match line {
            "STARTTLS" => Some("220 go on\r\n554 this is no handshake".to_owned()),
            line => secured(line),
        }
    }
    let (port, told) = crate::server::server(broken);
    let dir = TempDir::new();
    let relay = relay_to_with(&dir, "", &[format!("smtp://127.0.0.1:{port}")], "");
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    relay.wait_for_log("opportunistic TLS failed, downgrading to plain");
    let told: Vec<_> = told.try_iter().collect();
    assert!(told.iter().any(|(nth, line)| *nth == 1 && line == "."), "{told:?}");
}
