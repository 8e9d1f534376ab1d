//! TLS and AUTH towards servers whose certificates are good or not.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use smtpd_tests::authority::Authority;
use smtpd_tests::program::{Server, TempDir, program};

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
    let authority = Authority::new();
    (authority.server(name, false), authority.root)
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
    assert!(log.contains(" mta cert-check result=\"valid\" fingerprint=\"SHA256:"), "{log}");
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
    assert!(log.contains(" mta cert-check result=\"unverified\" fingerprint="), "{log}");
}

#[test]
fn a_server_that_asks_is_shown_our_certificate() {
    let authority = Authority::new();
    let (port, told) = tls_server(secured, authority.server("127.0.0.1", true));
    let dir = TempDir::new();
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).expect("written");
        dir.path().join(name).display().to_string()
    };
    let (own, key) = authority.certify("relay.example");
    let (root, cert) = (file("root.pem", &authority.root), file("own.crt", &own.pem()));
    let key = file("own.key", &key.serialize_pem());
    let above =
        format!("ca house cert \"{root}\"\npki relay.example cert \"{cert}\" key \"{key}\"\n");
    let urls = [format!("smtp+tls://127.0.0.1:{port}")];
    // By TLS 1.3 the handshake is over for us before the server refuses.
    let options = "ca house protocols TLSv1.2 ciphers \"ECDHE-ECDSA-CHACHA20-POLY1305\"";
    let stranger = relay_to_with(&TempDir::new(), &above, &urls, options);
    send(&stranger, "alice@here.example", "bob@there.example", b"x\r\n");
    stranger.wait_for_log("result=\"TempFail\"");
    assert!(!told.try_iter().any(|(_, line)| line.starts_with("MAIL")));

    let options = format!("{options} pki relay.example");
    let relay = relay_to_with(&TempDir::new(), &above, &urls, &options);
    send(&relay, "alice@here.example", "bob@there.example", b"x\r\n");
    relay.wait_for_empty_queue(Duration::from_secs(20));
    assert!(told.try_iter().any(|(_, line)| line == "."));
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    relay.wait_for_log(&format!(" mta tls ciphers=TLSv1.2:{suite}:256"));
}

#[test]
fn a_key_that_is_anothers_ends_the_start() {
    let authority = Authority::new();
    let dir = TempDir::new();
    let ((own, _), (_, key)) = (authority.certify("a.example"), authority.certify("a.example"));
    fs::write(dir.path().join("own.crt"), own.pem()).expect("written");
    fs::write(dir.path().join("own.key"), key.serialize_pem()).expect("written");
    let shown = dir.path().display();
    let text = format!(
        "pki a.example cert \"{shown}/own.crt\" key \"{shown}/own.key\"\n\
         queue directory \"{shown}/spool\"\ncontrol socket \"{shown}/sock\"\ndaemon user root\n\
         action \"out\" relay pki a.example\nmatch for any action \"out\"\n"
    );
    fs::write(dir.path().join("smtpd.conf"), text).expect("written");
    let smtpd = Command::new(program("smtpd"))
        .args(["-d", "-f"])
        .arg(dir.path().join("smtpd.conf"))
        .output()
        .expect("smtpd runs");
    let said = String::from_utf8_lossy(&smtpd.stderr);
    assert!(!smtpd.status.success() && said.contains("own.key: "), "{said}");
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
