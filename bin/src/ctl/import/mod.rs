//! `queue import`: takes messages into a queue, from an export or from the queue of OpenSMTPD. What
//! they are taken from stays as it is.

mod decide;
mod directory;
mod files;
mod imported;
mod lines;
mod opensmtpd;
mod writer;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use smtpd_config::Config;

use super::Failure;
use super::place::Place;
use crate::daemon::outside::Lookups;
use crate::daemon::users::Remembered;
use crate::sys;
use writer::{Taken, Writer};

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
    writing(place, |writer, _| {
        for name in &names {
            let taken = directory::message(from, name).and_then(|(document, file)| {
                let mut content = file.take(files::CONTENT);
                let taken = writer.take(name, &document, &mut content);
                let taken = taken.map_err(|error| format!("{name}: {error}"))?;
                Ok((taken, document.envelopes.len()))
            });
            count.note(taken, err);
        }
    })?;
    count.tell(out)
}

/// Imports the queue of OpenSMTPD. What cannot be read is named and left out.
pub fn opensmtpd(
    from: &Path,
    key: Option<&Path>,
    place: &Place,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let key = key.map(opensmtpd::key).transpose().map_err(Failure::Queue)?;
    let messages = opensmtpd::messages(from).map_err(Failure::Queue)?;
    let mut count = Count::default();
    writing(place, |writer, config| {
        for path in &messages {
            let (found, wrong) = opensmtpd::read(path, key.as_ref(), config);
            for text in wrong {
                count.failed += 1;
                let _ = writeln!(err, "smtpctl: {text}");
            }
            for (nth, document) in found.iter().enumerate() {
                let taken = opensmtpd::content(path, key.as_ref()).and_then(|mut content| {
                    let name = opensmtpd::name(path, nth);
                    let taken = writer.take(&name, document, &mut content);
                    let taken = taken.map_err(|error| format!("{}: {error}", path.display()))?;
                    Ok((taken, document.envelopes.len()))
                });
                count.note(taken, err);
            }
        }
    })?;
    count.tell(out)
}

/// Opens the queue of the configuration, lets `work` write, and closes it.
fn writing(place: &Place, work: impl FnOnce(&mut Writer<'_>, &Config)) -> Result<(), Failure> {
    let Some(config) = place.config()? else {
        let text = "a configuration is needed, as its rules decide: name it with -f";
        return Err(Failure::Queue(text.to_owned()));
    };
    let directory: PathBuf = place.directory()?;
    let users = Lookups::new(Remembered::default());
    let user = writes_as(&config).map_err(Failure::Queue)?;
    let mut writer = Writer::open(&directory, &config, &users, user).map_err(Failure::Queue)?;
    work(&mut writer, &config);
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
    fn note(&mut self, taken: Result<(Taken, usize), String>, err: &mut dyn Write) {
        match taken {
            Ok((Taken::New(_), envelopes)) => {
                self.messages += 1;
                self.envelopes += envelopes;
            }
            Ok((Taken::Known, _)) => self.known += 1,
            Err(text) => {
                self.failed += 1;
                let _ = writeln!(err, "smtpctl: {text}");
            }
        }
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
