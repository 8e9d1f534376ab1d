//! The queue of OpenSMTPD: `queue/XX/MSGID/` with the content in `message` and one file for each
//! envelope, plain, gzipped, or encrypted (AES-256-GCM) after that.
//!
//! It is only read. What cannot be is told by file and field, and the rest goes on.

mod cipher;
mod envelope;
mod fields;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use smtpd_config::Config;
use zeroize::Zeroizing;

use super::files;
use crate::terminal;
use crate::transfer::document::Document;
pub use cipher::Key;

/// Octets of an envelope file, on disk and unpacked.
const ENVELOPE: u64 = 64 << 10;

/// Octets of an encrypted content: it can only be opened as a whole.
const ENCRYPTED: u64 = 256 << 20;

/// The name of the file with the content.
const CONTENT: &str = "message";

/// The key in a file: its first line, 32 octets. `-` asks for it on the terminal.
///
/// # Errors
/// What is wrong with it; its octets are not told.
pub fn key(path: &Path) -> Result<Key, String> {
    let text = Zeroizing::new(match path.to_str() {
        Some("-") => {
            let typed = terminal::ask("key> ").map_err(|error| format!("key: {error}"))?;
            typed.as_bytes().to_vec()
        }
        _ => files::read(path, ENVELOPE).map_err(|error| format!("{}: {error}", path.display()))?,
    });
    let line = text.split(|octet| matches!(octet, b'\n' | b'\r')).next().unwrap_or_default();
    Key::new(line).ok_or_else(|| format!("{}: a key has 32 octets", path.display()))
}

/// The directories of all messages below a spool directory or its `queue`, in their order.
///
/// # Errors
/// When there is no such queue or it cannot be read.
pub fn messages(spool: &Path) -> Result<Vec<PathBuf>, String> {
    let below = spool.join("queue");
    let queue = if below.is_dir() { below } else { spool.to_owned() };
    let mut found = Vec::new();
    for bucket in directories(&queue, 2)? {
        found.append(&mut directories(&bucket, 8)?);
    }
    found.sort_unstable();
    Ok(found)
}

/// The directories, no links among them, whose names are so many hexadecimal digits.
fn directories(path: &Path, digits: usize) -> Result<Vec<PathBuf>, String> {
    let entries = entries(path)?;
    Ok(entries
        .into_iter()
        .filter(|path| is_hex(path, digits))
        .filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir()))
        .collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, String> {
    let at = |error| format!("{}: {error}", path.display());
    let entries = fs::read_dir(path).map_err(at)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry.map_err(at)?.path())).collect::<Result<_, String>>()?;
    paths.sort_unstable();
    Ok(paths)
}

fn is_hex(path: &Path, digits: usize) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == digits && name.bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// What a message is remembered by. Envelopes that tell of different sessions make several.
#[must_use]
pub fn name(path: &Path, nth: usize) -> String {
    let message = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    format!("opensmtpd/{message}/{nth}")
}

/// The envelopes in the directory of a message, put together where they tell of one session, and
/// what is wrong with those that are left out.
#[must_use]
pub fn read(path: &Path, key: Option<&Key>, config: &Config) -> (Vec<Document>, Vec<String>) {
    let (mut found, mut wrong): (Vec<Document>, _) = (Vec::new(), Vec::new());
    let files = match entries(path) {
        Ok(files) => files,
        Err(text) => return (found, vec![text]),
    };
    let message = path.file_name().and_then(|name| name.to_str());
    let message = message.and_then(|name| name.parse().ok());
    for file in files {
        if file.file_name().is_some_and(|name| name == CONTENT) {
            continue;
        }
        let read = match is_hex(&file, 16) {
            true => one(&file, key, config),
            false => Err("is no envelope".to_owned()),
        };
        match read {
            Ok(mut document) => {
                document.message = message;
                let part = document.envelopes.pop();
                let known = found.iter_mut().find(|known| {
                    Document { envelopes: Vec::new(), ..(**known).clone() } == document
                });
                match known {
                    Some(known) => known.envelopes.extend(part),
                    None => {
                        document.envelopes.extend(part);
                        found.push(document);
                    }
                }
            }
            Err(text) => wrong.push(format!("{}: {text}", file.display())),
        }
    }
    // Only one of them can keep the id.
    found.iter_mut().skip(1).for_each(|document| document.message = None);
    if found.is_empty() && wrong.is_empty() {
        wrong.push(format!("{}: has no envelope", path.display()));
    }
    (found, wrong)
}

fn one(path: &Path, key: Option<&Key>, config: &Config) -> Result<Document, String> {
    let octets = files::read(path, ENVELOPE).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let opened = cipher::open(octets, key)?;
    opened.take(ENVELOPE + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > ENVELOPE {
        return Err("is too large".to_owned());
    }
    let text = String::from_utf8(text).map_err(|_| "is not text".to_owned())?;
    envelope::document(&fields::Fields::parse(&text)?, config)
}

/// The content of a message, unpacked as it is read.
///
/// # Errors
/// Why it cannot be read, with the file.
pub fn content(path: &Path, key: Option<&Key>) -> Result<impl Read + use<>, String> {
    let path = path.join(CONTENT);
    let at = |error: String| format!("{}: {error}", path.display());
    let file = files::open(&path, files::CONTENT).map_err(|error| at(error.to_string()))?;
    let opened = cipher::open_file(file, ENCRYPTED, key).map_err(at)?;
    // What a small file unpacks to may have no end.
    Ok(Bounded { from: opened, left: files::CONTENT })
}

/// Fails rather than end when there is more than allowed.
struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let octets = self.from.read(into)?;
        self.left = self
            .left
            .checked_sub(octets as u64)
            .ok_or_else(|| std::io::Error::other("is too large"))?;
        Ok(octets)
    }
}
