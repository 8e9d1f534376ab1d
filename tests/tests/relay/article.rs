//! The article's relay through a provider, as printed: its rule, its host and port, its secrets made
//! into a map by its command, verified by the system's roots. What stands for the surroundings: a
//! namespace where smtp.gmail.com is a server of the test, and roots that trust it. The article's
//! listeners are left out, as TLS and AUTH do not work there yet.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use smtpd_tests::authority::Authority;
use smtpd_tests::namespace::{self, mount, mount_directory};
use smtpd_tests::program::{Client, PATIENCE, program, repository};

use crate::server::{Told, good, serve_on};

const PROVIDER: &str = "smtp.gmail.com";

fn provider(line: &str) -> Option<String> {
    match line.split([' ', ':']).next().unwrap_or("") {
        "EHLO" => Some("250-smtp.gmail.com\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN".to_owned()),
        "STARTTLS" => Some("220 2.0.0 Ready to start TLS".to_owned()),
        // NUL IDGOOGLE@gmail.com NUL PASSWD
        "AUTH" if line == "AUTH PLAIN AElER09PR0xFQGdtYWlsLmNvbQBQQVNTV0Q=" => {
            Some("235 2.7.0 Accepted".to_owned())
        }
        "AUTH" => Some("535 5.7.8 Username and Password not accepted".to_owned()),
        _ => good(line),
    }
}

#[test]
fn the_article_relay_works_as_printed() {
    let Some(dir) = namespace::inside("article::the_article_relay_works_as_printed") else {
        return;
    };
    mount_directory(&dir, "ssl", "/etc/ssl");
    let own = |name: &str, text: &str| {
        fs::write(dir.join(name), text).expect("written");
        mount(&dir.join(name), &format!("/etc/{name}"));
    };
    own("passwd", "root:x:0:0::/root:/bin/sh\n_smtpd:x:0:0::/var/empty:/bin/false\n");
    own("hosts", &format!("127.0.0.1 localhost {PROVIDER}\n"));
    let authority = Authority::new();
    fs::write("/etc/ssl/cert.pem", &authority.root).expect("written");
    let (_, told) = serve_on(587, provider, Some(authority.server(PROVIDER, false)));
    // As printed, and what `smtpctl convert` makes of it.
    for name in ["article-2013-relay.conf", "article-2013-relay.converted"] {
        let text = fs::read_to_string(repository().join("fixtures/config").join(name));
        let text = text.expect("the fixture");
        let is_left_out = |line: &&str| line.starts_with("listen ") || line.starts_with("pki ");
        // Before the file, the converter's warnings.
        let lines = text.lines().skip_while(|line| !line.starts_with('#'));
        let rest: Vec<_> = lines.filter(|line| !is_left_out(line)).collect();
        relays(&dir.join(name), &format!("listen on lo\n{}\n", rest.join("\n")), &told);
    }
}

fn relays(dir: &Path, config: &str, told: &Receiver<Told>) {
    for (name, path) in [("spool", "/var/spool"), ("run", "/var/run"), ("mail", "/etc/mail")] {
        mount_directory(dir, name, path);
    }
    fs::write("/etc/mail/mailname", "hermes.my.domain\n").expect("written");
    fs::write("/etc/mail/smtpd.conf", config).expect("written");
    fs::write("/etc/mail/aliases", "root: unixexperience\n").expect("written");
    tool("newaliases", &[]);
    fs::write("/etc/mail/secrets", "label IDGOOGLE@gmail.com:PASSWD\n").expect("written");
    tool("makemap", &["/etc/mail/secrets"]);
    for file in ["/etc/mail/secrets", "/etc/mail/secrets.db"] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).expect("our own file");
    }

    let log = dir.join("log");
    let mut server = Command::new(program("smtpd"))
        .arg("-dv")
        .stderr(fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("smtpd starts");
    let result = std::panic::catch_unwind(|| {
        let mut client = Client::connect(wait_for_listener());
        client.expect("EHLO localhost", "250");
        let reply =
            client.message("root@hermes.my.domain", "friend@example.net", b"x: y\r\n\r\nz\r\n");
        assert!(reply.starts_with("250"), "{reply}");
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while !said.iter().any(|line| line == ".") {
            assert!(Instant::now() < end, "{said:?}");
            said.extend(told.try_iter().map(|(_, line)| line));
            thread::sleep(Duration::from_millis(10));
        }
        let place = |what: &str| said.iter().position(|line| line.starts_with(what));
        assert!(place("STARTTLS") < place("AUTH") && place("AUTH") < place("MAIL"), "{said:?}");
        for line in ["RCPT TO:<friend@example.net>", "DATA x: y", "DATA z"] {
            assert!(said.iter().any(|one| one == line), "{line}: {said:?}");
        }
    });
    end(&mut server);
    let log = fs::read_to_string(&log).expect("the log");
    assert!(result.is_ok(), "{log}");
    for fact in [
        " mta connecting address=smtp+tls://127.0.0.1:587 host=smtp.gmail.com",
        " mta cert-check result=\"valid\" fingerprint=\"SHA256:",
        " result=\"Ok\" stat=\"250 2.0.0 taken as 4711\"",
    ] {
        assert!(log.contains(fact), "no {fact:?} in\n{log}");
    }
    assert!(!log.contains("PASSWD") && !log.contains("AElER09P"), "{log}");
}

/// Runs smtpctl under the name by which the system calls it.
fn tool(name: &str, arguments: &[&str]) {
    let status = Command::new(program("smtpctl")).arg0(name).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "{name}");
}

fn wait_for_listener() -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens");
        thread::sleep(Duration::from_millis(10));
    }
    address
}

fn end(server: &mut Child) {
    let _ = Command::new("kill").arg(server.id().to_string()).status();
    let _ = server.wait();
}
