//! Making a map out of a text file: all of it or nothing.
//!
//! The map is written beside the place it goes to, synced and renamed, so whoever reads the old
//! one sees it whole until the new one is, also when the power goes. A source with a mistake
//! changes nothing.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use smtpd_config::alias;
use smtpd_config::cdb::Writer;
use smtpd_config::limits;
use smtpd_config::table::{Shape, scan};

/// What the entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keys and values of any text.
    Text,
    /// Keys and lists of who gets the mail (aliases(5)).
    Aliases,
    /// Keys only.
    Set,
}

/// The value of the keys of a set, as upstream has it.
const SET: &str = "<set>";

/// A source that has been opened, and locked if it is a file.
pub struct Source {
    /// As it is named in messages.
    name: String,
    octets: Vec<u8>,
    metadata: Option<Metadata>,
    /// Locked as long as it is open.
    _file: Option<File>,
}

impl Source {
    /// Reads a source; `-` is standard input.
    ///
    /// # Errors
    /// In words for an administrator.
    pub fn read(path: &Path) -> Result<Source, String> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            let octets = whole(io::stdin().lock()).map_err(|error| format!("stdin: {error}"))?;
            return Ok(Source { name: "<stdin>".to_owned(), octets, metadata: None, _file: None });
        }
        let failed = |error: io::Error| format!("{name}: {error}");
        let mut file = File::open(path).map_err(failed)?;
        // Two at once would each remove what the other has made of it.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(format!("{name} is locked"));
        }
        let octets = whole(&mut file).map_err(failed)?;
        let metadata = Some(file.metadata().map_err(failed)?);
        Ok(Source { name, octets, metadata, _file: Some(file) })
    }

    /// Writes the map of this source; how many entries it has.
    ///
    /// # Errors
    /// Lines for an administrator: what is wrong with which line of the source, or what the system
    /// says. The map is as it was then.
    pub fn build(&self, kind: Kind, map: &Path) -> Result<usize, Vec<String>> {
        let system = |error: io::Error| vec![format!("{}: {error}", map.display())];
        let (temporary, file) = beside(map).map_err(system)?;
        let built = self.fill(kind, file).and_then(|(entries, file)| {
            self.settle(&file, map)?;
            file.sync_all().map_err(system)?;
            fs::rename(&temporary, map).map_err(system)?;
            // The name, too, is to be there when the power comes back.
            File::open(directory(map))
                .and_then(|directory| directory.sync_all())
                .map_err(system)?;
            Ok(entries)
        });
        if built.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        built
    }

    fn fill(&self, kind: Kind, file: File) -> Result<(usize, File), Vec<String>> {
        let writing = |error: io::Error| vec![format!("map of {}: {error}", self.name)];
        let mut writer = Writer::new(BufWriter::new(file)).map_err(writing)?;
        let mut keys = HashSet::new();
        let mut failure = None;
        let shape = if kind == Kind::Set { Shape::List } else { Shape::Map };
        let twins = if kind == Kind::Text { self.twins() } else { HashSet::new() };
        let (_, bad) = scan(&self.octets, shape, |key, value, _| {
            let lower = key.to_ascii_lowercase();
            let key = if twins.contains(&lower) { key.to_owned() } else { lower };
            check(kind, &key, value)?;
            if keys.contains(&key) {
                return Err(format!("duplicate entry for {key}").into());
            }
            let value = if kind == Kind::Set { SET } else { value };
            if let Err(error) = writer.add(key.as_bytes(), value.as_bytes()) {
                failure.get_or_insert(error);
            }
            keys.insert(key);
            Ok(())
        });
        if !bad.is_empty() {
            let lines = bad.iter();
            return Err(lines
                .map(|bad| format!("{}:{}: {}", self.name, bad.line, bad.message))
                .collect());
        }
        if let Some(error) = failure {
            return Err(writing(error));
        }
        let file = writer.finish().map_err(writing)?;
        let file = file.into_inner().map_err(|error| writing(error.into_error()))?;
        Ok((keys.len(), file))
    }

    /// Lower-case forms of keys that are there in several spellings: logins may differ by case.
    fn twins(&self) -> HashSet<String> {
        let mut spellings = HashMap::new();
        let mut twins = HashSet::new();
        let _ = scan(&self.octets, Shape::Map, |key, _, _| {
            let lower = key.to_ascii_lowercase();
            match spellings.get(&lower) {
                Some(known) if *known != key => _ = twins.insert(lower),
                Some(_) => {}
                None => _ = spellings.insert(lower, key.to_owned()),
            }
            Ok(())
        });
        twins
    }

    /// Whoever may read the source may read the map, and nobody else: it may hold secrets. What
    /// came in by standard input keeps the map's ownership and mode.
    fn settle(&self, file: &File, map: &Path) -> Result<(), Vec<String>> {
        let carried = || {
            let (mode, uid, gid) = match (&self.metadata, fs::metadata(map)) {
                (Some(metadata), _) => (metadata.mode(), metadata.uid(), metadata.gid()),
                (None, Ok(metadata)) => (metadata.mode(), metadata.uid(), metadata.gid()),
                (None, Err(_)) => return Ok(()),
            };
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (uid, gid) {
                fchown(file, Some(uid), Some(gid))?;
            }
            file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
        };
        carried().map_err(|error: io::Error| {
            vec![format!("couldn't carry ownership and perms to {}: {error}", map.display())]
        })
    }
}

/// What is wrong with an entry that the format lets pass.
fn check(kind: Kind, key: &str, value: &str) -> Result<(), Cow<'static, str>> {
    if key.len() > limits::TABLE_KEY {
        return Err("invalid entry: the key is too long".into());
    }
    if kind == Kind::Aliases {
        let targets = alias::parse_strict(value);
        targets.map_err(|bad| format!("invalid entry: alias {key}: {bad}"))?;
    }
    Ok(())
}

fn whole(file: impl Read) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    file.take(limits::TABLE_FILE + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limits::TABLE_FILE {
        let message = format!("larger than {} octets", limits::TABLE_FILE);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(octets)
}

/// A new file beside the map, which nobody else can read.
fn beside(map: &Path) -> io::Result<(PathBuf, File)> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(io::Error::other)?;
    let mut name: OsString = map.into();
    name.push(format!(".{:016x}", u64::from_ne_bytes(octets)));
    let path = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

fn directory(map: &Path) -> &Path {
    match map.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `key<TAB>value` lines of a map.
///
/// # Errors
/// In words for an administrator.
pub fn dump(map: &Path, out: &mut dyn Write) -> Result<(), String> {
    let name = map.display();
    let file = File::open(map).map_err(|error| format!("{name}: {error}"))?;
    let reader = smtpd_config::cdb::Reader::open(file).map_err(|error| {
        format!("{name}: {error} (maps of Berkeley DB are read by OpenSMTPD's own makemap)")
    })?;
    enum Failure {
        Map(smtpd_config::cdb::Error),
        Output(io::Error),
    }
    impl From<smtpd_config::cdb::Error> for Failure {
        fn from(error: smtpd_config::cdb::Error) -> Failure {
            Failure::Map(error)
        }
    }
    let written = reader.walk(|key, value| {
        let line = [key, b"\t", value, b"\n"].concat();
        out.write_all(&line).map_err(Failure::Output)
    });
    match written {
        Ok(()) => Ok(()),
        Err(Failure::Map(error)) => Err(format!("{name}: {error}")),
        // Whoever reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Output(error)) => Err(format!("standard output: {error}")),
    }
}
