//! What the machine says about names: `resolv.conf` and `/etc/hosts`.
//!
//! Of `resolv.conf` count `nameserver ADDRESS` (or `[ADDRESS]:PORT`) and `options` with
//! `timeout:SECONDS` and `attempts:N`; domains to search in do not, because the names of mail are
//! complete. A line that is not understood is passed over, as every resolver does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::limits;
use super::name::Name;

/// The port of nameservers.
const PORT: u16 = 53;

/// Whom to ask, how, and what needs no asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(super) nameservers: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    /// Of each nameserver; at least 1.
    pub(super) attempts: u8,
    hosts: BTreeMap<Name, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, Name>,
}

impl Settings {
    /// Reads both files. Without a nameserver it is the one of this machine, as resolv.conf(5)
    /// has it.
    #[must_use]
    pub fn read(resolv_conf: &[u8], hosts: &[u8]) -> Settings {
        let mut settings = Settings {
            nameservers: Vec::new(),
            timeout: limits::TIMEOUT,
            attempts: limits::ATTEMPTS,
            hosts: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for line in lines(resolv_conf, &['#', ';']) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => settings.nameserver(words.next()),
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        if settings.nameservers.is_empty() {
            settings.nameservers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        for line in lines(hosts, &['#']) {
            settings.host(&line);
        }
        settings
    }

    /// The same, but these nameservers are asked, in this order, if there are any.
    #[must_use]
    pub fn asking(mut self, nameservers: &[SocketAddr]) -> Settings {
        if !nameservers.is_empty() {
            self.nameservers = nameservers.to_vec();
            self.nameservers.truncate(limits::NAMESERVERS);
        }
        self
    }

    fn nameserver(&mut self, word: Option<&str>) {
        let address = word.and_then(|word| match word.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, PORT)),
            Err(_) => bracketed(word),
        });
        self.nameservers.extend(address);
        self.nameservers.truncate(limits::NAMESERVERS);
    }

    fn option(&mut self, word: &str) {
        match word.split_once(':') {
            Some(("timeout", seconds)) => {
                if let Ok(seconds) = seconds.parse::<u64>() {
                    self.timeout = Duration::from_secs(seconds.clamp(1, limits::TIMEOUT_MOST));
                }
            }
            Some(("attempts", times)) => {
                if let Ok(times) = times.parse::<u8>() {
                    self.attempts = times.clamp(1, limits::ATTEMPTS_MOST);
                }
            }
            _ => {}
        }
    }

    fn host(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            return;
        };
        for (nth, name) in words.filter_map(Name::new).filter(Name::is_host).enumerate() {
            if nth == 0 {
                self.names.entry(ip).or_insert_with(|| name.clone());
            }
            let addresses = self.hosts.entry(name).or_default();
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
    }

    /// The addresses of a host of `/etc/hosts`.
    pub(super) fn addresses(&self, host: &Name) -> Option<&[IpAddr]> {
        self.hosts.get(host).map(Vec::as_slice)
    }

    /// The name of an address of `/etc/hosts`.
    pub(super) fn name(&self, ip: IpAddr) -> Option<&Name> {
        self.names.get(&ip)
    }
}

/// `[ADDRESS]` or `[ADDRESS]:PORT`, of either family.
fn bracketed(word: &str) -> Option<SocketAddr> {
    let (ip, port) = word.strip_prefix('[')?.split_once(']')?;
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => PORT,
        None => return None,
    };
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

/// The lines of a file, without comments. Octets that are not UTF-8 make their words useless, and
/// no others.
fn lines<'a>(octets: &'a [u8], comment: &'a [char]) -> impl Iterator<Item = String> + 'a {
    octets.split(|octet| *octet == b'\n').map(move |line| {
        let line = String::from_utf8_lossy(line);
        line.split(comment).next().unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_says_whom_to_ask() {
        let text = b"# by hand\nlookup file bind\nsearch example.org\nnameserver 192.0.2.53 # the \
                     first\nnameserver\t2001:db8::53\nnameserver [192.0.2.54]:5353\nnameserver \
                     nonsense\nnameserver [::1]\noptions edns0 timeout:1 attempts:9\n;nameserver 192.0.2.1\n";
        let settings = Settings::read(text, b"");
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:5353", "[::1]:53"];
        assert_eq!(settings.nameservers, expected.map(|text| text.parse().unwrap()));
        assert_eq!(settings.timeout, Duration::from_secs(1));
        assert_eq!(settings.attempts, limits::ATTEMPTS_MOST);
    }

    #[test]
    fn without_a_nameserver_it_is_this_machine() {
        let settings = Settings::read(b"options timeout:0 attempts:x\n\xff\n", b"\xff \xff\n");
        assert_eq!(settings.nameservers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(settings.timeout, Duration::from_secs(1));
        assert_eq!(settings.attempts, limits::ATTEMPTS);
        let others = ["192.0.2.1:53".parse().unwrap()];
        assert_eq!(settings.clone().asking(&others).nameservers, others);
        assert_eq!(settings.clone().asking(&[]), settings);
        let many = "nameserver 192.0.2.1\n".repeat(9);
        assert_eq!(Settings::read(many.as_bytes(), b"").nameservers.len(), limits::NAMESERVERS);
    }

    #[test]
    fn hosts_go_both_ways() {
        let text = b"127.0.0.1 localhost\n192.0.2.1\tMX.example.org mx # ours\n192.0.2.2 mx\n";
        let settings = Settings::read(b"", text);
        let addresses = |name: &str| {
            let name = Name::new(name).unwrap();
            settings.addresses(&name).unwrap_or_default().iter().map(ToString::to_string).collect()
        };
        let both: Vec<String> = addresses("mx");
        assert_eq!(both, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(addresses("mx.example.org"), ["192.0.2.1"]);
        let none: Vec<String> = addresses("ours");
        assert!(none.is_empty());
        let name = |ip: &str| settings.name(ip.parse().unwrap()).map(Name::as_str);
        assert_eq!(name("192.0.2.1"), Some("mx.example.org"));
        assert_eq!(name("192.0.2.3"), None);
    }
}
