//! TLS with clients, by the real program: who is shown what, what is demanded of whom, and what
//! the log and the message say of it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use smtpd_tests::authority::Authority;
use smtpd_tests::client::{Client, Secured};
use smtpd_tests::program::{Options, Server, TempDir, eventually, free_port};

/// A server with these certificates in its directory, a listener with `first` behind it, and one
/// with `second`; and the address of that.
fn serve(dir: &TempDir, above: &str, first: &str, second: &str) -> (Server, SocketAddr) {
    let text = format!(
        "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n{above}\n\
         listen on 127.0.0.1 port $port hostname mx.example {first}\n\
         listen on 127.0.0.1 port $second hostname mx.example {second}\n\
         action \"in\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
         match from any for domain \"here.example\" action \"in\"\n",
    );
    let config = dir.path().join("smtpd.conf");
    fs::write(&config, text).expect("a configuration");
    let port = free_port();
    let server = Server::start(Options {
        config: Some(config),
        dir: Some(dir.path().to_owned()),
        arguments: vec!["-D".to_owned(), format!("second={port}")],
        ..Options::default()
    });
    let second = SocketAddr::new(server.address.ip(), port);
    (server, second)
}

/// A certificate of one name, which most tests have.
const ONE: &str = "pki mx.example cert $dir/mx.example.crt key $dir/mx.example.key";

/// TLS from the first octet.
fn smtps(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Client<Secured>> {
    Client::new(TcpStream::connect(address)?).secure(config, name)
}

/// A message, and an end that is no accident.
fn send(mut client: Client<Secured>, to: &str) {
    client.expect("EHLO client.example", "250");
    let reply = client.message("a@client.example", to, b"Subject: x\r\n\r\nsecret\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    client.expect("QUIT", "221");
    assert_eq!(client.rest().expect("a close_notify"), b"");
}

/// Waits until so many clients were told that there is no agreement on TLS.
fn wait_for_failed(server: &Server, count: usize) {
    let failed = |line: &&String| line.contains(" smtp disconnected reason=tls-accept-failed");
    eventually("refused clients", || server.log().iter().filter(failed).count() == count);
}

#[test]
fn mail_comes_over_starttls_and_smtps() {
    let (dir, authority) = (TempDir::new(), Authority::new());
    let _ = authority.write(dir.path(), "mx.example");
    let (server, second) = serve(&dir, ONE, "tls-require pki mx.example", "smtps pki mx.example");
    // Nothing is taken in the clear.
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<a@client.example>", "530 5.5.1");
    client.expect("QUIT", "221");
    for (nth, version) in [&TLS12, &TLS13].into_iter().enumerate() {
        // Each has a memory of its own, so that nothing is resumed.
        let config = || authority.client_with(&[version], None);
        let to = |way: &str| format!("{way}{nth}@here.example");
        let client = server.connect().start_tls(&config(), "mx.example");
        send(client.expect("a session"), &to("starttls"));
        let mut client = smtps(second, &config(), "mx.example").expect("a session");
        assert!(client.reply().starts_with("220 mx.example ESMTP"));
        send(client, &to("smtps"));
    }
    for (nth, suite) in [
        "TLSv1.2:TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:256",
        "TLSv1.3:TLS_AES_256_GCM_SHA384:256",
    ]
    .into_iter()
    .enumerate()
    {
        for way in ["starttls", "smtps"] {
            let mail = server.wait_for_mail(&format!("{way}{nth}"), 1).remove(0);
            let mail = fs::read_to_string(mail).expect("the message");
            let (with, tls) =
                ("(OpenSMTPD) with ESMTPS id ", format!(" ({suite}:NO) (group X25519)\n"));
            assert!(mail.contains(with) && mail.contains(&tls), "{way}: {mail}");
        }
        server.wait_for_log(&format!(" smtp tls ciphers={suite} group=X25519"));
    }
    let (_, stats, _) = server.smtpctl(&["show", "stats"]);
    assert!(stats.contains("smtp.tls.TLSv1.3:TLS_AES_256_GCM_SHA384:X25519=2\n"), "{stats}");
    // In the order of what happened.
    let log = server.log();
    let of = |what: &str| log.iter().rposition(|line| line.contains(what));
    let session = &log[of(" smtp tls ").expect("there is one")][..16];
    let place = |what: &str| of(&format!("{session} smtp {what}")).expect(what);
    assert!(place("connected") < place("tls") && place("tls") < place("message"), "{log:#?}");
    assert!(place("message") < place("disconnected reason=quit"), "{log:#?}");
}

#[test]
fn who_does_not_speak_it_is_told_of_in_the_log() {
    let (dir, authority) = (TempDir::new(), Authority::new());
    let _ = authority.write(dir.path(), "mx.example");
    let (server, second) = serve(
        &dir,
        ONE,
        "tls pki mx.example protocols TLSv1.3 groups P-384",
        "smtps pki mx.example ciphers TLS_CHACHA20_POLY1305_SHA256",
    );
    let mut plain = TcpStream::connect(second).expect("it listens");
    plain.write_all(b"EHLO client.example\r\n").expect("sent");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"2"), "{rest:?}");
    server.wait_for_log(" smtp tls-failed result=\"");
    wait_for_failed(&server, 1);
    // What the options leave out is not agreed on.
    let old = authority.client_with(&[&TLS12], None);
    assert!(server.connect().start_tls(&old, "mx.example").is_err());
    wait_for_failed(&server, 2);
    let new = authority.client(None);
    assert!(smtps(second, &new, "mx.example").is_ok());
    server.wait_for_log(" smtp tls ciphers=TLSv1.3:TLS_CHACHA20_POLY1305_SHA256:256");
    let client = server.connect().start_tls(&new, "mx.example").expect("a session");
    let group = client.connection().negotiated_key_exchange_group().expect("full").name();
    assert_eq!(group, rustls::NamedGroup::secp384r1);
    server.wait_for_log(" group=secp384r1");
    let (_, stats, _) = server.smtpctl(&["show", "stats"]);
    assert!(stats.contains("smtp.tls.failed=2\n"), "{stats}");
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() {
    let (dir, authority) = (TempDir::new(), Authority::new());
    let _ = authority.write(dir.path(), "mx.example");
    let _ = authority.write_all(dir.path(), "more", &["a.example", "*.wild.example"]);
    let above = format!("{ONE}\npki more cert $dir/more.crt key $dir/more.key");
    let tls = "pki mx.example pki more";
    let (server, second) = serve(&dir, &above, &format!("tls {tls}"), &format!("smtps {tls}"));
    let config = authority.client(None);
    // The client verifies that it is the right one.
    for name in ["mx.example", "a.example", "x.wild.example", "A.Example"] {
        let client = server.connect().start_tls(&config, name);
        client.expect("a session").expect("EHLO client.example", "250");
        let mut client = smtps(second, &config, name).expect("a session");
        assert!(client.reply().starts_with("220"), "{name}");
    }
    let error = smtps(second, &config, "other.example").err().expect("a wrong name");
    assert!(error.to_string().contains("mx.example"), "{error}");
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (dir, authority, stranger) = (TempDir::new(), Authority::new(), Authority::new());
    let _ = authority.write(dir.path(), "mx.example");
    fs::write(dir.path().join("house.pem"), &authority.root).expect("written");
    let above = format!("{ONE}\nca house cert $dir/house.pem");
    let verify = "verify pki mx.example ca house";
    let (server, second) =
        serve(&dir, &above, &format!("tls-require {verify}"), &format!("smtps {verify}"));
    for version in [&TLS12, &TLS13] {
        let show = |own| authority.client_with(&[version], own);
        let known = show(Some((&authority, "client.example")));
        let client = server.connect().start_tls(&known, "mx.example");
        send(client.expect("a session"), "known@here.example");
        for own in [None, Some((&stranger, "client.example"))] {
            // In TLS 1.3 it learns of it behind its own end of the handshake.
            let reply = smtps(second, &show(own), "mx.example").map(|mut client| client.reply());
            assert!(reply.as_ref().is_ok_and(String::is_empty) || reply.is_err(), "{reply:?}");
        }
    }
    let mail = fs::read_to_string(&server.wait_for_mail("known", 2)[0]).expect("the message");
    assert!(mail.contains(":256:YES) (group "), "{mail}");
    server.wait_for_log(" smtp cert-check result=\"verified\" fingerprint=\"SHA256:");
    wait_for_failed(&server, 4);
}
