//! A directory as `queue export` writes it: MSGID.json and MSGID.eml, or such files of any name
//! that somebody has written by hand.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::files;
use crate::transfer::document::{self, Document};

/// The names of the messages in a directory, in their order.
///
/// # Errors
/// The directory's, with its path.
pub fn names(directory: &Path) -> Result<Vec<String>, String> {
    let at = |error| format!("{}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(at)? {
        let path = PathBuf::from(entry.map_err(at)?.file_name());
        let name = path.file_stem().and_then(|name| name.to_str());
        match (path.extension().and_then(|kind| kind.to_str()), name) {
            (Some("json"), Some(name)) => names.push(name.to_owned()),
            (Some("json"), None) => {
                return Err(format!("{}: its name is not UTF-8", path.display()));
            }
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads one message: its document, and its content, open.
///
/// # Errors
/// What is wrong, with the file and the field.
pub fn message(directory: &Path, name: &str) -> Result<(Document, File), String> {
    let path = |kind: &str| directory.join(format!("{name}.{kind}"));
    let (facts, content) = (path("json"), path("eml"));
    let text = files::read(&facts, document::LONGEST as u64);
    let text = text.map_err(|error| format!("{}: {error}", facts.display()))?;
    let document =
        Document::parse(&text).map_err(|wrong| format!("{}: {wrong}", facts.display()))?;
    let content_file = files::open(&content, files::CONTENT);
    let file = content_file.map_err(|error| format!("{}: {error}", content.display()))?;
    let octets = file.metadata().map_err(|error| format!("{}: {error}", content.display()))?.len();
    match document.octets {
        Some(expected) if expected != octets => Err(format!(
            "{}: octets: is {expected}, and {} has {octets}",
            facts.display(),
            content.display()
        )),
        _ => Ok((document, file)),
    }
}
