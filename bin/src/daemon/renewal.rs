//! Certificates that are replaced while the daemon runs: when an administrator says so, by
//! `smtpctl update pki` or SIGHUP, and when their files change.
//!
//! A thread of its own looks at the files and reads them, since a disk may be slow. What cannot be
//! read, or does not fit together, changes nothing: those in use stay, and the log says why. So a
//! certificate that is replaced before its key is taken with it, when the key has changed, too.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use smtpd_config::Config;

use super::relay;
use super::relay::trust::Trust;
use super::threads;
use super::tls::{Certificates, Current};
use super::watched::Watched;
use crate::control::Certificate;

/// How often the thread looks whether the files have changed.
const INTERVAL: Duration = Duration::from_secs(10);

/// The thread's way in; it ends with the last of them.
#[derive(Clone)]
pub struct Renewal {
    orders: mpsc::Sender<Order>,
}

enum Order {
    /// Reads all of them again, and tells whoever wants to know what came of it.
    Renew(Option<mpsc::Sender<Result<(), String>>>),
    /// Tells which are in use.
    Show(mpsc::Sender<Vec<Certificate>>),
}

impl Renewal {
    /// Starts the thread. `files` are those of the certificates, looked at before they were read;
    /// `renew` reads them, has them used, and says which they are.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn start(
        files: Vec<Watched>,
        in_use: Vec<Certificate>,
        renew: impl FnMut() -> Result<Vec<Certificate>, String> + Send + 'static,
    ) -> io::Result<Renewal> {
        let (orders, inbox) = mpsc::channel();
        let mut thread = Thread { files, in_use, failure: None, renew };
        threads::start("certificates", move || {
            let mut next = Instant::now() + INTERVAL;
            loop {
                match inbox.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(Order::Renew(asker)) => {
                        let result = thread.renew();
                        // Whoever asked may have given up waiting.
                        let _ = asker.map(|asker| asker.send(result));
                    }
                    Ok(Order::Show(asker)) => drop(asker.send(thread.in_use.clone())),
                    Err(RecvTimeoutError::Timeout) => {
                        thread.look();
                        next = Instant::now() + INTERVAL;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        })?;
        Ok(Renewal { orders })
    }

    /// Has them read again, and waits for nothing.
    pub fn renew(&self) {
        let _ = self.orders.send(Order::Renew(None));
    }

    /// Has them read again; the answer comes when it is done.
    pub fn renewed(&self) -> mpsc::Receiver<Result<(), String>> {
        let (asker, answer) = mpsc::channel();
        let _ = self.orders.send(Order::Renew(Some(asker)));
        answer
    }

    /// Which are in use.
    pub fn in_use(&self) -> mpsc::Receiver<Vec<Certificate>> {
        let (asker, answer) = mpsc::channel();
        let _ = self.orders.send(Order::Show(asker));
        answer
    }
}

/// Reads the files of a configuration and has everybody use what they say: listeners and the relay,
/// or none of them.
pub fn renew(
    config: Arc<Config>,
    listeners: Current,
    relay: smtpd_reactor::calls::Sender<relay::Message>,
) -> impl FnMut() -> Result<Vec<Certificate>, String> + Send + 'static {
    move || {
        let certificates = Certificates::read(&config)?;
        let trust = Trust::new(&config, &certificates)?;
        listeners.replace(&config, &certificates)?;
        relay.send(relay::Message::Trust(trust));
        Ok(certificates.in_use())
    }
}

struct Thread<F> {
    files: Vec<Watched>,
    in_use: Vec<Certificate>,
    /// Why the last reading came to nothing, if it did.
    failure: Option<String>,
    renew: F,
}

impl<F: FnMut() -> Result<Vec<Certificate>, String>> Thread<F> {
    fn look(&mut self) {
        // What could not be read once may be readable now, and nothing tells of that.
        if self.failure.is_some() || self.files.iter().any(Watched::has_changed) {
            // What comes of it is in the log.
            let _ = self.renew();
        }
    }

    fn renew(&mut self) -> Result<(), String> {
        self.files.iter_mut().for_each(Watched::look);
        match (self.renew)() {
            Ok(certificates) => {
                log::info!("info: pki: certificates were read again");
                (self.in_use, self.failure) = (certificates, None);
                Ok(())
            }
            Err(why) => {
                if self.failure.as_ref() != Some(&why) {
                    log::warn!("warn: pki: {why}; the certificates in use stay");
                    self.failure = Some(why.clone());
                }
                Err(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn certificate(end: u64) -> Vec<Certificate> {
        vec![Certificate { name: "mx.example.org".to_owned(), end }]
    }

    #[test]
    fn a_change_is_read_once_and_a_bad_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("hermes-renewal-{}", std::process::id()));
        let mut files = vec![Watched::new(path.clone())];
        files[0].look();
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| error.to_string());
        let mut reads = 0;
        let renew = || {
            reads += 1;
            let end = read(&path)?.trim().parse::<u64>().map_err(|error| error.to_string())?;
            Ok(certificate(end))
        };
        let mut thread = Thread { files, in_use: certificate(1), failure: None, renew };
        thread.look();
        assert_eq!(thread.in_use, certificate(1), "it has not changed");
        fs::write(&path, "2").unwrap();
        thread.look();
        assert_eq!(thread.in_use, certificate(2));
        fs::write(&path, "half of it").unwrap();
        thread.look();
        thread.look();
        assert_eq!(thread.in_use, certificate(2), "what was in use stays");
        fs::write(&path, "34").unwrap();
        assert_eq!(thread.renew(), Ok(()));
        thread.look();
        assert_eq!(thread.in_use, certificate(34));
        fs::remove_file(&path).unwrap();
        thread.look();
        assert_eq!(thread.in_use, certificate(34));
        assert!(thread.failure.is_some());
        assert_eq!(reads, 5, "a failure is tried again, a success is not");
    }
}
