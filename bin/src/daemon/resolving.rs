//! Whom the resolver asks: the `resolver` lines of the configuration, or `resolv.conf`; and the hosts
//! of `/etc/hosts`.
//!
//! Both files are read at the start, and again when they have changed: a machine gets other
//! nameservers with every network it joins. A thread of its own looks at them, since a disk may be
//! slow, and hands what they say to the resolver's reactor.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use smtpd_config::Config;
use smtpd_reactor::dns::Settings;

use super::sockets::system_text;
use super::threads;
use super::watched::Watched;

/// Where the system says which nameservers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where the system says which hosts it knows itself.
const HOSTS: &str = "/etc/hosts";

/// How often the thread looks whether the files have changed. As long as a network change goes
/// unnoticed, mail waits.
const INTERVAL: Duration = Duration::from_secs(5);

/// Octets of either file: lists of hosts to be shunned have some millions.
const FILE: u64 = 16 << 20;

/// The files, and what they looked like when they were read.
pub struct Source {
    /// Those of the configuration.
    nameservers: Vec<SocketAddr>,
    resolv_conf: Watched,
    hosts: Watched,
}

impl Source {
    /// The system's files, and the nameservers of this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Source {
        Source::of(config.resolvers.clone(), RESOLV_CONF.into(), HOSTS.into())
    }

    fn of(nameservers: Vec<SocketAddr>, resolv_conf: PathBuf, hosts: PathBuf) -> Source {
        let (resolv_conf, hosts) = (Watched::new(resolv_conf), Watched::new(hosts));
        Source { nameservers, resolv_conf, hosts }
    }

    /// Reads the files. Of one that is not there nothing is known; `resolv.conf` is not read when
    /// the configuration names nameservers.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub fn read(&mut self) -> Result<Settings, String> {
        let resolv_conf = match self.nameservers.is_empty() {
            true => read(&mut self.resolv_conf)?,
            false => Vec::new(),
        };
        let hosts = read(&mut self.hosts).inspect_err(|_| self.resolv_conf.forget())?;
        Ok(Settings::read(&resolv_conf, &hosts).asking(&self.nameservers))
    }

    fn has_changed(&self) -> bool {
        (self.nameservers.is_empty() && self.resolv_conf.has_changed()) || self.hosts.has_changed()
    }
}

/// What a file says; nothing when it is not there.
fn read(file: &mut Watched) -> Result<Vec<u8>, String> {
    file.look();
    let mut octets = Vec::new();
    let read = File::open(file.path()).and_then(|open| open.take(FILE).read_to_end(&mut octets));
    match read {
        Ok(_) => Ok(octets),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => {
            file.forget();
            Err(format!("{}: {}", file.path().display(), system_text(&error)))
        }
    }
}

/// The thread that looks at the files; it ends with this value.
pub struct Watch {
    _until: mpsc::Sender<()>,
}

/// Starts it. `changed` is told what the files say whenever they have changed.
///
/// # Errors
/// When the system starts no more threads.
pub fn watch(mut source: Source, changed: impl Fn(Settings) + Send + 'static) -> io::Result<Watch> {
    let (until, end) = mpsc::channel();
    threads::start("resolving", move || {
        let mut told = None;
        while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if !source.has_changed() {
                continue;
            }
            match source.read() {
                Ok(settings) => {
                    told = None;
                    log::info!("info: dns: nameservers or hosts have changed");
                    changed(settings);
                }
                // What was known before goes on being believed, and it is tried again.
                Err(why) if told.as_ref() == Some(&why) => {}
                Err(why) => {
                    log::warn!("warn: dns: {why}");
                    told = Some(why);
                }
            }
        }
    })?;
    Ok(Watch { _until: until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that goes when the value does.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("hermes-resolving-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Dir(path)
        }

        fn source(&self, nameservers: &[&str]) -> Source {
            let nameservers = nameservers.iter().map(|text| text.parse().unwrap()).collect();
            Source::of(nameservers, self.0.join("resolv.conf"), self.0.join("hosts"))
        }

        fn write(&self, name: &str, text: &str) {
            // As programs do it that are afraid of halves: another file under the same name.
            let new = self.0.join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.0.join(name)).unwrap();
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn settings(resolv_conf: &str, hosts: &str) -> Settings {
        Settings::read(resolv_conf.as_bytes(), hosts.as_bytes())
    }

    #[test]
    fn what_changes_is_read_again() {
        let dir = Dir::new("again");
        let mut source = dir.source(&[]);
        assert_eq!(source.read(), Ok(settings("", "")), "there need not be any file");
        assert!(!source.has_changed());
        for text in ["nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n"] {
            dir.write("resolv.conf", text);
            assert!(source.has_changed());
            assert_eq!(source.read(), Ok(settings(text, "")));
            assert!(!source.has_changed());
        }
        let hosts = "192.0.2.9 mx.example.org\n";
        dir.write("hosts", hosts);
        assert!(source.has_changed());
        assert_eq!(source.read(), Ok(settings("nameserver 192.0.2.2\n", hosts)));
        fs::remove_file(dir.0.join("resolv.conf")).unwrap();
        assert!(source.has_changed());
        assert_eq!(source.read(), Ok(settings("", hosts)));
    }

    #[test]
    fn nameservers_of_the_configuration_stand_for_resolv_conf() {
        let dir = Dir::new("configured");
        dir.write("resolv.conf", "nameserver 192.0.2.1\noptions timeout:9\n");
        let mut source = dir.source(&["192.0.2.53:5353"]);
        let asked = ["192.0.2.53:5353".parse().unwrap()];
        assert_eq!(source.read(), Ok(settings("", "").asking(&asked)));
        dir.write("resolv.conf", "nameserver 192.0.2.2\n");
        assert!(!source.has_changed());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = Dir::new("unreadable");
        fs::create_dir(dir.0.join("hosts")).unwrap();
        let mut source = dir.source(&[]);
        let why = source.read().unwrap_err();
        assert!(why.contains("/hosts: "), "{why}");
        assert!(source.has_changed(), "it is tried again");
        // And so is what was read before it, and is not known to anybody.
        assert!(source.resolv_conf.has_changed());
    }

    #[test]
    fn the_thread_ends_with_its_value() {
        let dir = Dir::new("thread");
        let (told, heard) = mpsc::channel();
        let watch = watch(dir.source(&[]), move |settings| drop(told.send(settings))).unwrap();
        drop(watch);
        assert!(heard.recv().is_err());
    }
}
