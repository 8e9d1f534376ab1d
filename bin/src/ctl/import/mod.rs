//! `queue import`: takes messages into a queue, from an export or from the queue of OpenSMTPD. What
//! they are taken from stays as it is.
//!
//! A daemon that runs is handed the messages; without one they are written into its files. Which
//! of the two it is changes nothing about what becomes of them.

mod directory;
mod files;
mod opensmtpd;
mod sender;
mod writer;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use smtpd_config::Config;

use super::Failure;
use super::online::Online;
use super::place::Place;
use crate::daemon::outside::Lookups;
use crate::daemon::users::Remembered;
use crate::sys;
use crate::transfer::document::Document;
use sender::Sender;
use writer::Writer;

/// What has come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is in the queue, on disk.
    New,
    /// It had been imported already.
    Known,
}

/// Where messages go.
trait Target {
    /// Takes a message in. `name` is what it is called where it comes from; `content` is read to
    /// its end, unless the message is known.
    fn take(
        &mut self,
        name: &str,
        document: &Document,
        content: &mut dyn Read,
    ) -> Result<Taken, Failure>;
}

/// What has become of the messages.
#[derive(Default)]
struct Count {
    messages: usize,
    envelopes: usize,
    known: usize,
    failed: usize,
}

/// Imports a directory that `queue export` has written. Everything is looked at first; when
/// anything is wrong nothing is imported.
pub fn directory(
    from: &Path,
    place: &Place,
    daemon: Option<Online>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let names = directory::names(from).map_err(Failure::Queue)?;
    let mut wrong = false;
    for name in &names {
        if let Err(text) = directory::message(from, name) {
            wrong = true;
            let _ = writeln!(err, "smtpctl: {text}");
        }
    }
    if wrong {
        return Err(Failure::Queue("nothing has been imported".to_owned()));
    }
    let mut count = Count::default();
    let mut all = |target: &mut dyn Target| {
        for name in &names {
            match directory::message(from, name) {
                Err(text) => count.fail(&text, err),
                Ok((document, file)) => {
                    let mut content = file.take(files::CONTENT);
                    let taken = target.take(name, &document, &mut content);
                    count.note(name, &document, taken, err)?;
                }
            }
        }
        Ok(())
    };
    match daemon {
        Some(daemon) => all(&mut Sender(daemon))?,
        None => writing(place, &needed(place)?, &mut all)?,
    }
    count.tell(out)
}

/// Imports the queue of OpenSMTPD. What cannot be read is named and left out.
pub fn opensmtpd(
    from: &Path,
    key: Option<&Path>,
    place: &Place,
    daemon: Option<Online>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let key = key.map(opensmtpd::key).transpose().map_err(Failure::Queue)?;
    let messages = opensmtpd::messages(from).map_err(Failure::Queue)?;
    let config = needed(place)?;
    let mut count = Count::default();
    let mut all = |target: &mut dyn Target| {
        for path in &messages {
            let (found, wrong) = opensmtpd::read(path, key.as_ref(), &config);
            for text in wrong {
                count.fail(&text, err);
            }
            for (nth, document) in found.iter().enumerate() {
                match opensmtpd::content(path, key.as_ref()) {
                    Err(text) => count.fail(&text, err),
                    Ok(mut content) => {
                        let name = opensmtpd::name(path, nth);
                        let taken = target.take(&name, document, &mut content);
                        count.note(path.display(), document, taken, err)?;
                    }
                }
            }
        }
        Ok(())
    };
    match daemon {
        Some(daemon) => all(&mut Sender(daemon))?,
        None => writing(place, &config, &mut all)?,
    }
    count.tell(out)
}

/// The configuration, which there must be.
fn needed(place: &Place) -> Result<Config, Failure> {
    place.config()?.ok_or_else(|| {
        let text = "a configuration is needed, as its rules decide: name it with -f";
        Failure::Queue(text.to_owned())
    })
}

/// Opens the queue of the configuration, lets `work` write, and closes it.
fn writing(
    place: &Place,
    config: &Config,
    work: &mut dyn FnMut(&mut dyn Target) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let directory: PathBuf = place.directory()?;
    let users = Lookups::new(Remembered::default());
    let user = writes_as(config).map_err(Failure::Queue)?;
    let mut writer = Writer::open(&directory, config, &users, user).map_err(Failure::Queue)?;
    work(&mut writer)?;
    writer.close().map_err(Failure::Queue)
}

/// Whose files root makes: those of the daemon's user.
fn writes_as(config: &Config) -> Result<Option<sys::User>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let name = &config.daemon_user;
    match sys::user_by_name(name) {
        Ok(Some(user)) if user.uid == 0 => Ok(None),
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(format!("unknown user {name} (\"daemon user\" in the configuration)")),
        Err(error) => Err(format!("user {name}: {error}")),
    }
}

impl Count {
    /// Counts what has come of a message; what ends all of it is an error.
    fn note(
        &mut self,
        name: impl std::fmt::Display,
        document: &Document,
        taken: Result<Taken, Failure>,
        err: &mut dyn Write,
    ) -> Result<(), Failure> {
        match taken {
            Ok(Taken::New) => {
                self.messages += 1;
                self.envelopes += document.envelopes.len();
            }
            Ok(Taken::Known) => self.known += 1,
            Err(Failure::Queue(text) | Failure::Command(text)) => {
                self.fail(&format!("{name}: {text}"), err);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn fail(&mut self, text: &str, err: &mut dyn Write) {
        self.failed += 1;
        let _ = writeln!(err, "smtpctl: {text}");
    }

    fn tell(self, out: &mut dyn Write) -> Result<(), Failure> {
        let Count { messages, envelopes, known, failed } = self;
        writeln!(
            out,
            "messages={messages}\nenvelopes={envelopes}\nknown={known}\nfailed={failed}"
        )?;
        if failed > 0 { Err(Failure::Told) } else { Ok(()) }
    }
}
