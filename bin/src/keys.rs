//! The keys of the queue: from the configuration, from standard input, or from the terminal.
//!
//! They are needed by the daemon at its start, and by smtpctl when the daemon is down. Nothing
//! here shows a key or any part of one.

use std::io;
use std::path::Path;

use smtpd_config::{Config, QueueKey};
use smtpd_queue::codec::{self, Codec, Key, Keys};
use smtpd_queue::disk::Disk;
use zeroize::Zeroizing;

use crate::daemon::sockets::system_text;
use crate::terminal;

/// How often smtpctl asks for one key.
const ATTEMPTS: usize = 3;

/// How the queue is to be written and read by this configuration. Keys that do not stand in it
/// are asked for (`queue key: `) or read from standard input, in the order of its lines; so call
/// it before the process leaves the terminal.
///
/// # Errors
/// In words for an administrator.
pub fn codec(config: &Config) -> Result<Codec, String> {
    let queue = &config.queue;
    let read_line = || terminal::read_line(io::stdin());
    let keys = keys(&queue.encryption, terminal::ask, read_line)?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| format!("random numbers: {error}"))?;
    let encrypt = queue.encryption.first() != Some(&QueueKey::None);
    Ok(Codec::new(codec::Options { compress: queue.compression, encrypt, keys }, &seed))
}

/// The keys to read a queue that no daemon has open. Those that stand in the configuration, if
/// it could be read, are taken; the administrator is asked for others (`key> `) only when the
/// queue needs them.
///
/// # Errors
/// In words for an administrator.
pub fn offline(config: Option<&Config>, disk: &dyn Disk, queue: &Path) -> Result<Keys, String> {
    let written = config.map_or(&[][..], |config| &config.queue.encryption);
    let keys = written.iter().filter_map(|key| match key {
        QueueKey::Key(text) => Key::parse(text),
        QueueKey::None | QueueKey::Prompt | QueueKey::Stdin => None,
    });
    let needed = codec::key_ids(disk, queue).map_err(|error| format!("queue: {error}"))?;
    missing(keys.collect(), needed, terminal::ask)
}

/// Adds what is needed and not there.
fn missing(
    mut keys: Vec<Key>,
    needed: impl IntoIterator<Item = u32>,
    mut ask: impl FnMut(&str) -> io::Result<Zeroizing<String>>,
) -> Result<Keys, String> {
    let mut missing: Vec<u32> = needed.into_iter().collect();
    missing.retain(|id| *id != 0 && keys.iter().all(|key| key.id() != *id));
    let mut attempts = 0;
    while !missing.is_empty() {
        let text = ask("key> ").map_err(|error| no_key("on the terminal", &error))?;
        attempts += 1;
        match Key::parse(&text).filter(|key| missing.contains(&key.id())) {
            Some(key) => {
                missing.retain(|id| *id != key.id());
                keys.push(key);
                attempts = 0;
            }
            None if attempts == ATTEMPTS => return Err("crypto-setup: invalid key".to_owned()),
            None => {}
        }
    }
    Ok(Keys::new(keys))
}

fn keys(
    configured: &[QueueKey],
    mut ask: impl FnMut(&str) -> io::Result<Zeroizing<String>>,
    mut read_line: impl FnMut() -> io::Result<Zeroizing<String>>,
) -> Result<Vec<Key>, String> {
    let mut keys = Vec::with_capacity(configured.len());
    for key in configured {
        let (text, from) = match key {
            QueueKey::None => continue,
            QueueKey::Key(text) => (Zeroizing::new(text.clone()), "in the configuration"),
            QueueKey::Stdin => {
                let from = "on standard input";
                (read_line().map_err(|error| no_key(from, &error))?, from)
            }
            QueueKey::Prompt => {
                let from = "on the terminal";
                let prompt = if keys.is_empty() { "queue key: " } else { "former queue key: " };
                (ask(prompt).map_err(|error| no_key(from, &error))?, from)
            }
        };
        keys.push(Key::parse(&text).ok_or_else(|| wrong(&text, from))?);
    }
    Ok(keys)
}

fn wrong(text: &str, from: &str) -> String {
    let wanted = Key::OCTETS;
    match text.chars().count() {
        length if text.is_ascii() => {
            format!("queue key: {wanted} characters are needed, {length} were given {from}")
        }
        _ => format!("queue key: {wanted} ASCII characters are needed, others were given {from}"),
    }
}

fn no_key(from: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("queue key: there is none {from}"),
        io::ErrorKind::Interrupted => "queue key: none was given".to_owned(),
        io::ErrorKind::InvalidData => format!("queue key: no line of text {from}"),
        _ => format!(
            "queue key: cannot be asked for {from}: {}; write it into the configuration, or \
             stdin in its place",
            system_text(error)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(letter: char) -> Zeroizing<String> {
        Zeroizing::new(letter.to_string().repeat(Key::OCTETS))
    }

    fn ids(keys: &[Key]) -> Vec<u32> {
        keys.iter().map(Key::id).collect()
    }

    fn id(letter: char) -> u32 {
        Key::parse(&text(letter)).unwrap().id()
    }

    fn nobody(_: &str) -> io::Result<Zeroizing<String>> {
        Err(io::Error::from_raw_os_error(6))
    }

    #[test]
    fn keys_come_in_the_order_of_the_file_wherever_they_are_from() {
        let configured = [
            QueueKey::Prompt,
            QueueKey::Key(text('a').to_string()),
            QueueKey::Stdin,
            QueueKey::Prompt,
        ];
        let mut prompts = Vec::new();
        let mut typed = ['x', 'y'].into_iter();
        let ask = |prompt: &str| {
            prompts.push(prompt.to_owned());
            Ok(text(typed.next().unwrap()))
        };
        let keys = keys(&configured, ask, || Ok(text('s'))).unwrap();
        assert_eq!(ids(&keys), ['x', 'a', 's', 'y'].map(id));
        assert_eq!(prompts, ["queue key: ", "former queue key: "]);
    }

    #[test]
    fn what_is_wrong_is_said_and_the_key_is_not() {
        let line = |text: &str| {
            let text = text.to_owned();
            keys(&[QueueKey::Stdin], nobody, || Ok(Zeroizing::new(text.clone()))).unwrap_err()
        };
        assert_eq!(
            line("secret"),
            "queue key: 32 characters are needed, 6 were given on standard input"
        );
        assert!(line("säcret").contains("32 ASCII characters"));
        let end = || Err(io::ErrorKind::UnexpectedEof.into());
        let error = keys(&[QueueKey::Stdin], nobody, end).unwrap_err();
        assert_eq!(error, "queue key: there is none on standard input");
        let error = keys(&[QueueKey::Prompt], nobody, end).unwrap_err();
        assert!(error.starts_with("queue key: cannot be asked for on the terminal: "), "{error}");
    }

    #[test]
    fn smtpctl_asks_only_for_what_the_queue_needs_and_three_times() {
        let known = || vec![Key::parse(&text('a')).unwrap()];
        assert!(missing(known(), [0, id('a')], nobody).is_ok(), "nobody was asked");
        let mut typed = ["short".to_owned(), text('c').to_string(), text('b').to_string()];
        let mut next = typed.iter_mut();
        let ask = |prompt: &str| {
            assert_eq!(prompt, "key> ");
            Ok(Zeroizing::new(next.next().unwrap().clone()))
        };
        let keys = missing(known(), [id('b'), id('a')], ask).unwrap();
        assert!(keys.has(id('a')) && keys.has(id('b')) && !keys.has(id('c')));
        let mut asked = 0;
        let ask = |_: &str| {
            asked += 1;
            Ok(text('c'))
        };
        let error = missing(known(), [id('b')], ask).unwrap_err();
        assert_eq!((error.as_str(), asked), ("crypto-setup: invalid key", 3));
    }
}
