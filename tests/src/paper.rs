//! A machine that exists on paper only, to check configurations for: `mx.example.org`, with a few
//! interfaces, with the files below `fixtures/config/root`, and otherwise with whatever is named.
//!
//! What is wrong with a thing is in its name, so that a configuration shows what it is about:
//!
//! | name | is |
//! |---|---|
//! | a path with `missing` in it | not there |
//! | a path with `open` in it | readable by all |
//! | a path with `loose` in it | writable by all |
//! | a path with `plain` in it | not executable |
//! | a path with `folder` in it | a directory, as are those below `/var`, `/run`, `/tmp`, `/spool`, `/bench` |
//! | a path with `.sock` in it | a socket |
//! | a path with `joes` in it | joe's, not root's |
//! | `expired.crt`, `expires.crt`, `early.crt`, `bad.crt`, `bad.key` | what they say |
//! | `mismatch.key` | the key of another certificate |
//! | a user whose name begins with `no` | not known |
//! | a host whose name begins with `nowhere` | not known |

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use smtpd_config::check::{CertificateFault, Kind, Status, World};
use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{Files, Forward, Host, Interfaces, Lookup, Outside, User, Users};

use crate::program::repository;

/// The machine, with `smtpd.conf` on it.
pub struct Paper<'t> {
    /// What stands on it in the place of `fixtures/config/root`.
    files: HashMap<&'t str, &'t [u8]>,
}

impl<'t> Paper<'t> {
    /// The machine with that configuration.
    #[must_use]
    pub fn new(text: &'t str) -> Paper<'t> {
        Paper::with([("smtpd.conf", text.as_bytes())])
    }

    /// The machine with these files, each by the name that a configuration has for it.
    #[must_use]
    pub fn with(files: impl IntoIterator<Item = (&'t str, &'t [u8])>) -> Paper<'t> {
        Paper { files: files.into_iter().collect() }
    }

    /// What it is called and reached by.
    #[must_use]
    pub fn host() -> Host {
        let addresses = ["127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"];
        Host { name: "mx.example.org".to_owned(), addresses: addresses.map(ip).to_vec() }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Files for Paper<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if let Some(octets) = path.to_str().and_then(|path| self.files.get(path)) {
            return Ok(Box::new(*octets));
        }
        let root = repository().join("fixtures/config/root");
        match File::open(root.join(path.strip_prefix("/").unwrap_or(path))) {
            // What a certificate or a key holds is its name.
            Err(_) if path.extension().is_some_and(|end| end == "crt" || end == "key") => {
                Ok(Box::new(io::Cursor::new(path.to_string_lossy().into_owned().into_bytes())))
            }
            file => Ok(Box::new(file?)),
        }
    }
}

impl Interfaces for Paper<'_> {
    fn interface(&self, name: &str) -> Vec<SocketAddr> {
        let ips: &[&str] = match name {
            "lo" | "lo0" => &["127.0.0.1", "::1"],
            "egress" | "em0" | "eth0" | "pcn0" | "vio0" => &["192.0.2.1", "2001:db8::1"],
            _ => &[],
        };
        ips.iter().map(|text| SocketAddr::new(ip(text), 0)).collect()
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name.starts_with("nowhere") || !name.contains('.') {
            return Err(io::Error::other("Name or service not known"));
        }
        Ok(vec![ip("192.0.2.1")])
    }
}

impl Users for Paper<'_> {
    fn user(&self, name: &str) -> Lookup {
        if name.starts_with("no") {
            return Lookup::None;
        }
        let home = Path::new("/home").join(name);
        Lookup::Found(Arc::new(User { name: name.into(), uid: 1000, gid: 1000, home }))
    }
}

impl Outside for Paper<'_> {
    fn contains(&self, _table: &Table, _query: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::NoBackend)
    }

    fn value(
        &self,
        _table: &Table,
        _service: Service,
        _key: &str,
    ) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::NoBackend)
    }

    fn include(&self, _path: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::NoBackend)
    }

    fn forward(&self, _user: &User) -> Forward {
        Forward::None
    }
}

impl World for Paper<'_> {
    fn outside(&self) -> &dyn Outside {
        self
    }

    fn status(&self, path: &Path) -> io::Result<Status> {
        let text = path.to_string_lossy();
        let has = |word: &str| text.contains(word);
        if has("missing") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below =
            ["/var", "/run", "/tmp", "/spool", "/bench"].iter().any(|root| path.starts_with(root));
        let kind = match () {
            () if has("folder") => Kind::Directory,
            () if has(".sock") => Kind::Other,
            () if below && !has("file") => Kind::Directory,
            () => Kind::File,
        };
        let program = ["/bin/", "/lib/", "/libexec/"].into_iter().any(has);
        let mode = match () {
            () if has("open") => 0o644,
            () if has("loose") => 0o666,
            () if program && !has("plain") => 0o755,
            () => 0o600,
        };
        Ok(Status { kind, mode, owner: if has("joes") { 1000 } else { 0 } })
    }

    fn certificate(&self, chain: &[u8], key: &[u8], names: &[String]) -> Vec<CertificateFault> {
        let is = |octets: &[u8], name: &str| octets.ends_with(name.as_bytes());
        let mut found = Vec::new();
        if is(chain, "bad.crt") {
            found.push(CertificateFault::Certificate("it holds nothing".to_owned()));
        }
        if is(key, "bad.key") {
            found.push(CertificateFault::Key("it holds nothing".to_owned()));
        }
        if is(key, "mismatch.key") {
            found.push(CertificateFault::Mismatch);
        }
        if is(chain, "expired.crt") {
            found.push(CertificateFault::Expired(3 * 86_400));
        }
        if is(chain, "expires.crt") {
            found.push(CertificateFault::Expires(5 * 86_400));
        }
        if is(chain, "early.crt") {
            found.push(CertificateFault::NotYet(7_200));
        }
        let wrong = names.iter().filter(|name| name.starts_with("wrong"));
        found.extend(wrong.cloned().map(CertificateFault::Name));
        found
    }
}
