//! The configurations of the article that asked for this project, as printed: default ports, default
//! directories, default user, in a network and a mount namespace of their own.
//!
//! What stands for the article's surroundings: /etc/passwd with its users (all with the id of the
//! test, as delivery in another's name comes later), empty /var/spool and /var/run, and /etc/mail
//! with aliases and the map that newaliases makes of them.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::authority::Authority;
use smtpd_tests::client::{Client, Secured};
use smtpd_tests::namespace::{self, mount, mount_directory};
use smtpd_tests::program::{PATIENCE, messages, program, repository};

/// The password of the article's user, and the commands with it and with another one.
const PASSWORD: &str = "correct horse";
const RIGHT: &str = "AUTH PLAIN AHVuaXhleHBlcmllbmNlAGNvcnJlY3QgaG9yc2U=";
const WRONG: &str = "AUTH PLAIN AHVuaXhleHBlcmllbmNlAHdyb25nIGhvcnNl";

#[test]
fn the_article_configuration_works_as_printed() {
    if let Some(dir) = namespace::inside("the_article_configuration_works_as_printed") {
        received(&dir);
    }
}

#[test]
fn the_article_listeners_with_tls_and_passwords_work_as_printed() {
    let name = "the_article_listeners_with_tls_and_passwords_work_as_printed";
    if let Some(dir) = namespace::inside(name) {
        submitted(&dir);
    }
}

/// What stands around this configuration; the home of the article's user.
fn surroundings(dir: &Path, configuration: &str) -> PathBuf {
    for (name, path) in [("spool", "/var/spool"), ("run", "/var/run"), ("mail", "/etc/mail")] {
        mount_directory(dir, name, path);
    }
    let home = dir.join("home");
    fs::create_dir(&home).expect("a home");
    let passwd = dir.join("passwd");
    let lines = format!(
        "root:x:0:0:root:/root:/bin/sh\n_smtpd:x:0:0::/var/empty:/sbin/nologin\n\
         unixexperience:x:0:0::{}:/bin/sh\n",
        home.display()
    );
    fs::write(&passwd, lines).expect("written");
    mount(&passwd, "/etc/passwd");
    fs::write("/etc/mail/mailname", "hermes.my.domain\n").expect("written");
    fs::write("/etc/mail/aliases", "root: unixexperience\n").expect("written");
    fs::write("/etc/mail/smtpd.conf", configuration).expect("written");
    let status = Command::new(program("smtpctl")).arg0("newaliases").status();
    assert!(status.is_ok_and(|status| status.success()), "newaliases");
    home
}

/// A configuration as the article has it.
fn printed(name: &str) -> String {
    fs::read_to_string(repository().join("fixtures/config").join(name)).expect("the fixture")
}

/// Runs the server of /etc/mail/smtpd.conf while something is done with it; its log.
fn serve(dir: &Path, address: SocketAddr, then: impl FnOnce()) -> String {
    let log = dir.join("log");
    let mut server = Command::new(program("smtpd"))
        .arg("-dv")
        .stderr(fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("smtpd starts");
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let ended = server.try_wait().expect("our child");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", log());
        thread::sleep(Duration::from_millis(10));
    }
    let result = std::panic::catch_unwind(AssertUnwindSafe(then));
    let _ = Command::new("kill").arg(server.id().to_string()).status();
    let status = server.wait().expect("our child");
    let log = fs::read_to_string(&log).expect("the log");
    assert!(result.is_ok() && status.success(), "{status}\n{log}");
    log
}

/// Configuration 1: mail comes and is delivered.
fn received(dir: &Path) {
    let home = surroundings(dir, &printed("article-2013.conf"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let log = serve(dir, address, || dialogue(address, &home));

    // The facts of the article's log, in its order.
    let mut rest = log.as_str();
    for fact in [
        " smtp connected address=127.0.0.1",
        " smtp message msgid=",
        " smtp envelope evpid=",
        " from=<root@hermes.my.domain> to=<root@localhost>",
        " smtp disconnected reason=quit",
        " mda delivery evpid=",
        " from=<root@hermes.my.domain> to=<root@localhost> user=unixexperience delay=",
        " result=Ok stat=Delivered",
    ] {
        let at = rest.find(fact).unwrap_or_else(|| panic!("no {fact:?} in\n{rest}"));
        rest = &rest[at + fact.len()..];
    }
}

/// Configuration 3, for the interface that there is: its certificate is found by its name, and the
/// passwords are those of the system.
fn submitted(dir: &Path) {
    let configuration =
        printed("article-2013-relay.conf").replace("listen on pcn0 ", "listen on lo ");
    surroundings(dir, &configuration);
    let authority = Authority::new();
    fs::create_dir("/etc/mail/certs").expect("a directory");
    let (_, _, key) =
        authority.write_all(Path::new("/etc/mail/certs"), "lo", &["hermes.my.domain"]);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("its mode");
    let hash = Command::new(program("smtpctl")).args(["encrypt", PASSWORD]).output();
    let hash = String::from_utf8(hash.expect("smtpctl runs").stdout).expect("a hash");
    let shadow = dir.join("shadow");
    fs::write(&shadow, format!("unixexperience:{}:20000:0:99999:7:::\n", hash.trim_end()))
        .expect("written");
    mount(&shadow, "/etc/shadow");
    fs::write("/etc/mail/secrets", "label IDGOOGLE@gmail.com:PASSWD\n").expect("written");
    let status = Command::new(program("smtpctl")).arg0("makemap").arg("/etc/mail/secrets").status();
    assert!(status.is_ok_and(|status| status.success()), "makemap");

    let submission = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let log = serve(dir, submission, || {
        let config = authority.client(None);
        let mut client = Client::new(TcpStream::connect(submission).expect("it accepts"));
        assert_eq!(client.reply(), "220 Hermes ESMTP OpenSMTPD");
        let hello = client.expect("EHLO localhost", "250");
        assert!(!hello.contains("AUTH"), "{hello}");
        client.expect("MAIL FROM:<root@hermes.my.domain>", "530");
        client.expect(RIGHT, "5");

        let client = Client::connect(submission).start_tls(&config, "hermes.my.domain");
        submit(client.expect("a handshake"));
        for address in [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let stream = TcpStream::connect((address, 465)).expect("it accepts");
            let mut client =
                Client::new(stream).secure(&config, "hermes.my.domain").expect("a handshake");
            assert_eq!(client.reply(), "220 Hermes ESMTP OpenSMTPD");
            submit(client);
        }
    });
    assert_eq!(
        log.matches(" smtp authentication user=unixexperience result=ok").count(),
        3,
        "{log}"
    );
    assert!(!log.contains(PASSWORD), "{log}");
}

/// Authenticates, and hands in what the provider would get.
fn submit(mut client: Client<Secured>) {
    let hello = client.expect("EHLO localhost", "250");
    assert!(hello.contains("AUTH PLAIN LOGIN"), "{hello}");
    client.expect("MAIL FROM:<root@hermes.my.domain>", "530");
    client.expect(WRONG, "535");
    client.expect(RIGHT, "235");
    let content = b"Subject: TEST MAIL\r\n\r\nCeci est un message de test\r\n";
    let accepted = client.message("root@hermes.my.domain", "someone@example.org", content);
    assert!(accepted.ends_with(" Message accepted for delivery"), "{accepted}");
    client.expect("QUIT", "221");
}

fn dialogue(address: SocketAddr, home: &Path) {
    let stream = TcpStream::connect(address).expect("the server accepts");
    let mut client = Client::new(stream);
    assert_eq!(client.reply(), "220 hermes.my.domain ESMTP OpenSMTPD");
    let hello = client.expect("EHLO localhost", "250");
    let first = "250-hermes.my.domain Hello localhost [127.0.0.1], pleased to meet you";
    assert!(hello.starts_with(first), "{hello}");
    for line in ["250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250-SIZE 36700160", "250 HELP"] {
        assert!(hello.lines().any(|one| one == line), "{hello}");
    }
    client.expect("MAIL FROM: <root@hermes.my.domain>", "250");
    client.expect("RCPT TO: <root@localhost>", "250");
    client.expect("DATA", "354 Enter mail, end with \".\" on a line by itself");
    client.send(b"Subject: TEST MAIL\r\n\r\nCeci est un message de test\r\n").expect("taken");
    assert!(client.command(".").ends_with(" Message accepted for delivery"));
    client.expect("QUIT", "221");

    let end = Instant::now() + PATIENCE;
    let maildir = home.join("Maildir");
    while messages(&maildir).is_empty() {
        assert!(Instant::now() < end, "no mail in {}", maildir.display());
        thread::sleep(Duration::from_millis(10));
    }
    let stored = fs::read_to_string(&messages(&maildir)[0]).expect("the message");
    assert!(stored.ends_with("\n\nCeci est un message de test\n"), "{stored}");

    // Others may write to the domain, and only relay what is from here.
    client = Client::connect(address);
    client.expect("EHLO localhost", "250");
    client.expect("MAIL FROM:<a@example.org>", "250");
    client.expect("RCPT TO:<root@dev.unix-experience.fr>", "250");
    client.expect("RCPT TO:<nobody-here@dev.unix-experience.fr>", "550");
    client.expect("RCPT TO:<elsewhere@example.net>", "250");
}
