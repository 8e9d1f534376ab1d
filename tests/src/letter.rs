//! Messages that can be told apart and checked wherever they turn up: the subject is a name that no
//! other message has, and everything else follows from it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::program::{Client, messages};

/// What the Subject field begins with.
const SUBJECT: &str = "Subject: ";

/// The content of the message of this name, with LF line ends and at least `octets` long. It has
/// the fields that a server would add to one from loopback (RFC 6409 section 8).
#[must_use]
pub fn content(name: &str, octets: usize) -> String {
    let mut content = format!(
        "Date: Tue, 24 Nov 2026 10:00:00 +0100\nMessage-ID: <{name}@example.org>\n\
         {SUBJECT}{name} {octets}\n\n"
    );
    for line in 0.. {
        if content.len() >= octets {
            break;
        }
        content += &format!("line {line} of {name}, which is longer than it need be\n");
    }
    content
}

/// What a server said to a whole message: the reply to its end, or the first one before that is
/// not positive; empty when it has closed.
#[must_use]
pub fn send(client: &mut Client, to: &str, name: &str, octets: usize) -> String {
    let rcpt = format!("RCPT TO:<{to}>");
    for (line, code) in [("MAIL FROM:<>", "250 "), (&rcpt, "250 "), ("DATA", "354 ")] {
        let reply = client.command(line);
        if !reply.starts_with(code) {
            return reply;
        }
    }
    // No line begins with a dot.
    let wire = content(name, octets).replace('\n', "\r\n");
    match client.send(wire.as_bytes()) {
        Ok(()) => client.command("."),
        // What the server has said before it closed may still be there.
        Err(_) => client.reply(),
    }
}

/// The names of the messages in a Maildir and how often each is there.
///
/// # Panics
/// When one of them is not what was sent.
#[must_use]
pub fn found(maildir: &Path) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    for path in messages(maildir) {
        let stored = fs::read(&path).expect("the message");
        let stored = String::from_utf8_lossy(&stored);
        let name = name(&stored).unwrap_or_else(|| panic!("{} is damaged", path.display()));
        *found.entry(name.to_owned()).or_default() += 1;
    }
    found
}

/// The name of a stored message, if all of it is there, behind the fields the server added.
fn name(stored: &str) -> Option<&str> {
    let subject = stored.lines().find_map(|line| line.strip_prefix(SUBJECT))?;
    let (name, octets) = subject.split_once(' ')?;
    stored.ends_with(&content(name, octets.parse().ok()?)).then_some(name)
}
