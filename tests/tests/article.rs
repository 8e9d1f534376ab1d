//! The configuration of the article that asked for this project, as printed: default port, default
//! directories, default user, in a network and a mount namespace of its own.
//!
//! What stands for the article's surroundings: /etc/passwd with its users (all with the id of the
//! test, as delivery in another's name comes later), empty /var/spool and /var/run, and /etc/mail
//! with aliases and the map that newaliases makes of them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::namespace::{self, mount, mount_directory};
use smtpd_tests::program::{Client, PATIENCE, messages, program, repository};

#[test]
fn the_article_configuration_works_as_printed() {
    if let Some(dir) = namespace::inside("the_article_configuration_works_as_printed") {
        inside(&dir);
    }
}

fn inside(dir: &Path) {
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
    fs::copy(repository().join("fixtures/config/article-2013.conf"), "/etc/mail/smtpd.conf")
        .expect("the fixture");
    let status = Command::new(program("smtpctl")).arg0("newaliases").status();
    assert!(status.is_ok_and(|status| status.success()), "newaliases");

    let log = dir.join("log");
    let mut server = Command::new(program("smtpd"))
        .arg("-dv")
        .stderr(fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("smtpd starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let ended = server.try_wait().expect("our child");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", log());
        thread::sleep(Duration::from_millis(10));
    }
    let result = std::panic::catch_unwind(|| dialogue(address, &home));
    let _ = Command::new("kill").arg(server.id().to_string()).status();
    let status = server.wait().expect("our child");
    let log = fs::read_to_string(&log).expect("the log");
    assert!(result.is_ok() && status.success(), "{status}\n{log}");

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
