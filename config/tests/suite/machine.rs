//! A machine for tests: files and users in memory.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtpd_config::table::{Backend, LookupError, Query, Service, Table};
use smtpd_config::{
    Client, Config, Facts, Files, Forward, Host, Lookup, Maps, Outside, User, Users, load,
};
use smtpd_engine::address::Mailbox;

/// Files by name.
#[derive(Default)]
pub struct Memory(pub HashMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(path) {
            Some(octets) => Ok(Box::new(octets.as_slice())),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The configuration and what it says of itself, whether it can be used or not.
pub fn load_octets(octets: &[u8], more: &[(&str, &[u8])]) -> Result<Config, String> {
    let mut files = Memory::default();
    files.0.insert("smtpd.conf".into(), octets.to_vec());
    for (path, octets) in more {
        files.0.insert(path.into(), octets.to_vec());
    }
    let host = Host {
        name: "mx.example.org".to_owned(),
        addresses: ["127.0.0.1", "::1", "192.0.2.1"]
            .map(|ip| ip.parse().expect("well written"))
            .to_vec(),
    };
    match load("smtpd.conf", &[], host, &files) {
        Ok((config, _)) => Ok(config),
        Err(diagnostics) => {
            Err(diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect())
        }
    }
}

/// A configuration without mistakes.
pub fn config(text: &str) -> Config {
    load_octets(text.as_bytes(), &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).expect("well written")
}

/// A client somewhere in the network.
pub fn facts<'a>(ip: &str) -> Facts<'a> {
    Facts {
        client: Client::Ip(ip.parse().expect("well written")),
        rdns: None,
        rdns_confirmed: false,
        helo: "client.example.net",
        tag: None,
        auth: None,
        tls: false,
        sender: None,
        day: 20_781,
    }
}

/// Users with the number of their place; `later` is not in the cache and `broken` fails.
pub struct People(pub &'static [&'static str]);

impl Users for People {
    fn user(&self, name: &str) -> Lookup {
        match (name, self.0.iter().position(|known| *known == name)) {
            ("later", _) => Lookup::Later,
            ("broken", _) => Lookup::Error,
            (_, None) => Lookup::None,
            (_, Some(at)) => Lookup::Found(Arc::new(User {
                name: name.into(),
                uid: if name == "root" { 0 } else { 1000 + at as u32 },
                gid: 100,
                home: format!("/home/{name}").into(),
            })),
        }
    }
}

/// Tables outside of the configuration are not asked here.
impl Outside for People {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Later)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Later)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Later)
    }

    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

/// One who may wait for maps.
pub struct Patient {
    pub people: People,
    pub maps: Maps,
}

impl Users for Patient {
    fn user(&self, name: &str) -> Lookup {
        self.people.user(name)
    }
}

impl Outside for Patient {
    fn contains(&self, table: &Table, query: &Query<'_>) -> Result<bool, LookupError> {
        let Backend::Db(path) = &table.backend else { return Err(LookupError::Failed) };
        self.maps.contains(path, query)
    }

    fn value(
        &self,
        table: &Table,
        service: Service,
        key: &str,
    ) -> Result<Option<Box<str>>, LookupError> {
        let (Backend::Db(path), Service::Alias | Service::UserInfo) = (&table.backend, service)
        else {
            return Err(LookupError::Failed);
        };
        self.maps.value(path, service, key)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Failed)
    }

    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

/// Users with their `.forward`, and lists that aliases include.
pub struct Lists {
    pub people: People,
    pub included: &'static [(&'static str, &'static str)],
    pub forwards: &'static [(&'static str, Option<&'static str>)],
}

impl Users for Lists {
    fn user(&self, name: &str) -> Lookup {
        self.people.user(name)
    }
}

impl Outside for Lists {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Failed)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Failed)
    }

    fn include(&self, path: &str) -> Result<Vec<u8>, LookupError> {
        let found = self.included.iter().find(|(known, _)| *known == path);
        Ok(found.map(|(_, text)| text.as_bytes().to_vec()).unwrap_or_default())
    }

    fn forward(&self, user: &User) -> Forward {
        match self.forwards.iter().find(|(known, _)| *known == &*user.name) {
            None => Forward::None,
            Some((_, Some(text))) => Forward::Text(text.as_bytes().to_vec()),
            Some((_, None)) => Forward::Refused,
        }
    }
}
