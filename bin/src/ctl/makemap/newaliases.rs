//! newaliases(8): the map of the aliases that the configuration names.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use smtpd_config::cdb::Writer;
use smtpd_config::table::Backend;
use smtpd_config::{Config, Files, ReadAt, load};

use super::build::{Kind, Source};
use super::with_db;
use crate::daemon::machine::Machine;
use crate::options::DEFAULT_FILE;

const USAGE: &str = "usage: newaliases [-f file]";

/// The aliases of a configuration without a table of that name.
const ALIASES: &str = "/etc/mail/aliases";

/// Runs newaliases with the arguments behind its name; the exit status.
pub fn newaliases(arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let source = options(arguments).and_then(|file| source(&file));
    match source {
        Ok((source, note)) => {
            let status = of(&source, out, err);
            if let (0, Some(note)) = (status, note) {
                let _ = writeln!(err, "newaliases: {note}");
            }
            status
        }
        Err(complaint) => {
            let _ = writeln!(err, "{complaint}");
            1
        }
    }
}

/// Makes the map of these aliases; the exit status.
pub fn of(source: &Path, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let built = Source::read(source).map_err(|line| vec![line]);
    match built.and_then(|opened| opened.build(Kind::Aliases, &with_db(source))) {
        Ok(entries) => {
            let _ = writeln!(out, "{}: {entries} aliases", source.display());
            0
        }
        Err(lines) => super::told(Err(lines), err),
    }
}

fn options(arguments: &[OsString]) -> Result<PathBuf, String> {
    let mut known = getopts::Options::new();
    known.optopt("f", "", "", "");
    let given = known.parse(arguments).map_err(|error| format!("newaliases: {error}\n{USAGE}"))?;
    match given.free.as_slice() {
        [] => Ok(given.opt_str("f").unwrap_or_else(|| DEFAULT_FILE.to_owned()).into()),
        _ => Err(USAGE.to_owned()),
    }
}

/// The text that the table `aliases` is made from, and what to say of it.
fn source(file: &Path) -> Result<(PathBuf, Option<String>), String> {
    let config = configuration(file)?;
    let Some(id) = config.tables.find("aliases") else {
        return Ok((ALIASES.into(), None));
    };
    match &config.tables.get(id).backend {
        Backend::Db(map) => {
            let name = map.as_os_str().as_encoded_bytes();
            match name.strip_suffix(b".db") {
                Some(_) => Ok((map.with_extension(""), None)),
                None => Err(format!(
                    "newaliases: the map {} does not end in .db: run makemap -t aliases -o {} SOURCE",
                    map.display(),
                    map.display()
                )),
            }
        }
        Backend::File(text) => {
            let note = format!("{} itself is read, when smtpd starts", text.display());
            Ok((text.clone(), Some(note)))
        }
        _ => Err("newaliases: the table aliases is not made from a file".to_owned()),
    }
}

fn configuration(file: &Path) -> Result<Config, String> {
    let machine = Machine::new().map_err(|error| format!("newaliases: interfaces: {error}"))?;
    let host = machine.host();
    let loaded = load(&file.to_string_lossy(), &[], host, &WithoutMaps(machine));
    loaded.map(|(config, _)| config).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// The files of a machine without its maps: these are only to be made, or are not good.
struct WithoutMaps(Machine);

impl Files for WithoutMaps {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        self.0.open(path)
    }

    fn open_map(&self, _: &Path) -> io::Result<Box<dyn ReadAt>> {
        let empty = Writer::new(io::Cursor::new(Vec::new()))?.finish()?;
        Ok(Box::new(empty.into_inner()))
    }
}
