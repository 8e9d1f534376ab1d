//! `queue export DIR`: the messages of a queue as one `.eml` and one `.json` file each, so that
//! mail can always be taken out by hand.
//!
//! Nothing is overwritten and nothing is taken from the queue. A JSON file is written behind its
//! content, so one that is there belongs to a content that is whole; at the end all is synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use smtpd_queue::id::MessageId;

use super::Failure;
use super::queue::Queue;
use crate::transfer::document::Document;

/// What has become of the messages.
#[derive(Default)]
struct Count {
    messages: usize,
    envelopes: usize,
    failed: usize,
}

/// Exports every message; what cannot be is named and left out.
pub fn export(
    queue: &mut dyn Queue,
    directory: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let at =
        |path: &Path, error: &io::Error| Failure::Queue(format!("{}: {error}", path.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| at(directory, &error))?;
    let (mut count, mut written) = (Count::default(), Vec::new());
    let mut after = None;
    loop {
        let entries = queue.page(after, None)?;
        let Some(last) = entries.last() else { break };
        let before = after.replace(last.id);
        let mut messages: Vec<_> = entries.iter().map(|entry| entry.id.message()).collect();
        messages.dedup();
        // One that began on the page before is there already.
        messages.retain(|message| before.is_none_or(|before| before.message() != *message));
        for message in messages {
            match one(queue, message, directory, &mut written) {
                Ok(None) => {} // it has left the queue meanwhile
                Ok(Some(envelopes)) => {
                    count.messages += 1;
                    count.envelopes += envelopes;
                }
                Err(Failure::Queue(text) | Failure::Command(text)) => {
                    let _ = writeln!(err, "smtpctl: {text}");
                    count.failed += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    // The first syncs write out what all share; those behind find little left to do.
    for path in written.iter().map(PathBuf::as_path).chain([directory]) {
        File::open(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error))?;
    }
    let Count { messages, envelopes, failed } = count;
    writeln!(out, "messages={messages}\nenvelopes={envelopes}\nfailed={failed}")?;
    if failed > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Exports one message; how many envelopes it has, or `None` when it is not in the queue.
fn one(
    queue: &mut dyn Queue,
    id: MessageId,
    directory: &Path,
    written: &mut Vec<PathBuf>,
) -> Result<Option<usize>, Failure> {
    let Some(document) = queue.document(id)? else { return Ok(None) };
    let path = |kind: &str| directory.join(format!("{id}.{kind}"));
    let (content, facts) = (path("eml"), path("json"));
    if facts.symlink_metadata().is_ok() {
        return Err(exists(&facts));
    }
    let file = create(&content)?;
    let copied = copy(queue, id, &document, file, &content);
    if let Err(failure) = copied {
        // Ours, as it was just made; half a message must not be taken for one.
        let _ = fs::remove_file(&content);
        return Err(failure);
    }
    written.push(content);
    let mut text = serde_json::to_vec_pretty(&document.to_json())
        .map_err(|error| Failure::Queue(format!("message {id}: {error}")))?;
    text.push(b'\n');
    create(&facts)?.write_all(&text).map_err(|error| told(&facts, &error))?;
    written.push(facts);
    Ok(Some(document.envelopes.len()))
}

fn copy(
    queue: &mut dyn Queue,
    id: MessageId,
    document: &Document,
    file: File,
    path: &Path,
) -> Result<(), Failure> {
    let mut file = BufWriter::with_capacity(128 << 10, file);
    let written = queue.content(id, &mut file).and_then(|()| Ok(file.flush()?));
    written.map_err(|failure| match failure {
        Failure::Output(error) => told(path, &error),
        failure => failure,
    })?;
    let octets = file.get_ref().metadata().map_err(|error| told(path, &error))?.len();
    if document.octets.is_some_and(|expected| expected != octets) {
        return Err(Failure::Queue(format!("message {id}: its content is not whole")));
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => told(path, &error),
    })
}

fn exists(path: &Path) -> Failure {
    Failure::Queue(format!("{}: is there already and is left as it is", path.display()))
}

fn told(path: &Path, error: &io::Error) -> Failure {
    Failure::Queue(format!("{}: {error}", path.display()))
}
