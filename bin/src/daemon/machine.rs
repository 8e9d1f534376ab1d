//! The machine as the configuration sees it: files, interfaces, the server's name.
//!
//! But for [`Opener`] nothing here runs after the start, when a look-up may take its time; and
//! nothing here asks the DNS for the server's own name, as a machine that boots without a network must start.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use smtpd_config::{Files, Host, Interfaces, ReadAt, Stamp};
use smtpd_engine::address::is_host_name;

use crate::sys;

/// Files where the server names itself, in the order they are asked (upstream's and Debian's).
const MAILNAME: [&str; 2] = ["/etc/mail/mailname", "/etc/mailname"];

/// A configuration for trying the program out, where the machine has none.
const QUICKSTART: &str = include_str!("../../../etc/quickstart.conf");

/// What it is called in messages.
pub const QUICKSTART_NAME: &str = "(built-in)/quickstart.conf";

/// This machine.
pub struct Machine {
    interfaces: Vec<(String, IpAddr)>,
}

impl Machine {
    /// Looks at the interfaces as they are now.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Machine> {
        Ok(Machine { interfaces: sys::interface_addresses()? })
    }

    /// What this host is called and reached by.
    #[must_use]
    pub fn host(&self) -> Host {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (_, address) in &self.interfaces {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        Host { name: server_name(), addresses }
    }
}

/// The file system. Whoever keeps it opens files while the daemon runs.
pub struct Opener;

impl Files for Opener {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(path)?))
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Ok(Stamp::from(&fs::metadata(path)?))
    }
}

impl Files for Machine {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if path == Path::new(QUICKSTART_NAME) {
            return Ok(Box::new(QUICKSTART.as_bytes()));
        }
        Opener.open(path)
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Opener.open_map(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Opener.stamp(path)
    }
}

impl Interfaces for Machine {
    fn interface(&self, name: &str) -> Vec<SocketAddr> {
        let named = self.interfaces.iter().filter(|(interface, _)| interface == name);
        // A link-local address needs a scope that nobody wrote down.
        let usable = named
            .filter(|(_, ip)| !matches!(ip, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80));
        usable.map(|(_, ip)| SocketAddr::new(*ip, 0)).collect()
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// The first line of a mailname file if it is a host name, else the system's host name, with its
/// domain from /etc/hosts when it has none of its own.
fn server_name() -> String {
    let written = MAILNAME.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let name = text.lines().next()?.trim().to_owned();
        is_host_name(&name).then_some(name)
    });
    written.unwrap_or_else(|| {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let name = canonical(&name, &hosts).unwrap_or(name);
        if is_host_name(&name) { name } else { "localhost".to_owned() }
    })
}

/// The full name that a hosts(5) file has for a name without a domain.
fn canonical(name: &str, hosts: &str) -> Option<String> {
    if name.contains('.') {
        return None;
    }
    hosts.lines().find_map(|line| {
        let entry = line.split('#').next()?;
        let mut names = entry.split_whitespace().skip(1);
        let first = names.next()?;
        let known = first == name || names.any(|alias| alias == name);
        (known && first.contains('.')).then(|| first.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_gets_its_domain_from_hosts() {
        let hosts =
            "127.0.0.1 localhost\n# 1.2.3.4 no.example mx\n192.0.2.1 mx.example.org mx m # us\n";
        assert_eq!(canonical("mx", hosts).as_deref(), Some("mx.example.org"));
        assert_eq!(canonical("m", hosts).as_deref(), Some("mx.example.org"));
        assert_eq!(canonical("localhost", hosts), None);
        assert_eq!(canonical("mx.example.org", hosts), None);
    }

    #[test]
    fn the_server_has_a_name_and_loopback_an_address() {
        let machine = Machine::new().unwrap();
        let host = machine.host();
        assert!(is_host_name(&host.name), "{host:?}");
        assert!(host.addresses.iter().any(IpAddr::is_loopback));
        assert!(machine.interface("no-such-interface").is_empty());
    }
}
