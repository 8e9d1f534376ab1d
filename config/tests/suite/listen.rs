//! The addresses that a listener stands for.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::machine::config;
use smtpd_config::Interfaces;

/// One interface with two addresses, and a resolver that knows one name.
struct Network;

impl Interfaces for Network {
    fn interface(&self, name: &str) -> Vec<SocketAddr> {
        let all = ["192.0.2.1:0", "[2001:db8::1]:0"].map(|address| address.parse().expect("one"));
        if name == "em0" { all.to_vec() } else { Vec::new() }
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "mx.example.org" => Ok(["192.0.2.7", "192.0.2.7", "2001:db8::7"]
                .map(|address| address.parse().expect("one"))
                .to_vec()),
            _ => Err(io::Error::other("no such host")),
        }
    }
}

/// The addresses, or the first line of the diagnostic.
fn addresses(listen: &str) -> String {
    let rest = "action \"a\" maildir\nmatch for any action \"a\"\n";
    let config = config(&format!("listen on {listen}\n{rest}"));
    match config.listeners[0].addresses(&config, &Network) {
        Ok(all) => all.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "),
        Err(diagnostic) => diagnostic.to_string().lines().next().unwrap_or("").to_owned(),
    }
}

#[test]
fn a_listener_stands_for_all_addresses_of_a_name() {
    assert_eq!(addresses("em0"), "192.0.2.1:25 [2001:db8::1]:25");
    assert_eq!(addresses("em0 inet6 port 2525"), "[2001:db8::1]:2525");
    assert_eq!(addresses("192.0.2.9 port submission"), "192.0.2.9:587");
    assert_eq!(addresses("\"[::1]\""), "[::1]:25");
    assert_eq!(addresses("all"), "0.0.0.0:25 [::]:25");
    assert_eq!(addresses("all inet4"), "0.0.0.0:25");
    assert_eq!(addresses("localhost"), "127.0.0.1:25 [::1]:25");
    assert_eq!(addresses("mx.example.org"), "192.0.2.7:25 [2001:db8::7]:25");
}

#[test]
fn what_has_no_address_is_told_with_its_line() {
    let message = "smtpd.conf:1: invalid virtual ip or interface: ";
    assert_eq!(addresses("em1"), format!("{message}em1"));
    assert_eq!(addresses("192.0.2.9 inet6"), format!("{message}192.0.2.9"));
}
