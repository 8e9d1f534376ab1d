//! The resolver asks a nameserver that others have written. Without `unbound` it is skipped.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sockets::Loop;
use crate::world::{addresses, client, mx};

/// Ended and forgotten with its directory.
struct Unbound(Child, std::path::PathBuf);

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

const ZONE: &str = r#"
local-zone: "example.org." static
local-data: "example.org. 300 SOA ns.example.org. root.example.org. 1 2 3 4 60"
local-data: "example.org. 300 MX 20 b.example.org."
local-data: "example.org. 300 MX 10 mx.example.org."
local-data: "mx.example.org. 300 A 192.0.2.1"
local-data: "mx.example.org. 300 AAAA 2001:db8::1"
local-data: "null.example.org. 300 MX 0 ."
local-data: "www.example.org. 300 CNAME mx.example.org."
local-data-ptr: "192.0.2.1 mx.example.org"
local-data-ptr: "192.0.2.2 mx.example.org"
local-zone: "refused.example." refuse
"#;

#[test]
fn unbound_is_understood() {
    let Some(program) = ["/usr/sbin/unbound", "/usr/local/sbin/unbound"]
        .into_iter()
        .find(|program| Path::new(program).exists())
    else {
        eprintln!("SKIPPED: there is no unbound here");
        return;
    };
    let directory = std::env::temp_dir().join(format!("hermes-unbound-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let port = free_port();
    let mut conf = format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n do-daemonize: no\n username: \"\"\n \
         chroot: \"\"\n directory: \"{0}\"\n pidfile: \"{0}/pid\"\n use-syslog: no\n \
         module-config: \"iterator\"\n{ZONE}",
        directory.display()
    );
    // Over 512 octets: the answer comes by TCP.
    for nth in 0..30 {
        conf +=
            &format!("local-data: \"big.example.org. MX {nth} a-mail-host-{nth}.example.org.\"\n");
    }
    let file = directory.join("unbound.conf");
    fs::write(&file, conf).unwrap();
    let child =
        Command::new(program).args(["-d", "-c"]).arg(&file).stderr(Stdio::null()).spawn().unwrap();
    let _unbound = Unbound(child, directory);
    let conf = format!("nameserver [127.0.0.1]:{port}\noptions timeout:5\n");
    let start = Instant::now();
    let mut resolver = loop {
        let mut resolver = Loop::new(&conf);
        match resolver.answer(mx("example.org")).as_str() {
            "not now: no nameserver can be reached" => {
                assert!(start.elapsed() < Duration::from_secs(20), "it does not start");
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => {
                assert_eq!(answer, "10 mx.example.org, 20 b.example.org");
                break resolver;
            }
        }
    };
    for (question, expected) in [
        (addresses("mx.example.org"), "192.0.2.1, 2001:db8::1"),
        (addresses("www.example.org"), "192.0.2.1, 2001:db8::1"),
        (mx("null.example.org"), "takes no mail"),
        (mx("mx.example.org"), "nothing"),
        (mx("gone.example.org"), "no such domain"),
        (mx("refused.example"), "not now: nameserver says REFUSED"),
        (client("192.0.2.1"), "mx.example.org Confirmed"),
        (client("192.0.2.2"), "mx.example.org Refuted"),
    ] {
        assert_eq!(resolver.answer(question.clone()), expected, "{question:?}");
    }
    let big = resolver.answer(mx("big.example.org"));
    assert!(big.ends_with(", 29 a-mail-host-29.example.org"), "{big}");
}

/// Free for both a moment ago.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = udp.local_addr().expect("it is bound");
        if TcpListener::bind(address).is_ok() {
            return address.port();
        }
    }
}
