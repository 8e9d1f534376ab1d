//! Mail from several threads while something happens to the server, and the books of it: what was
//! promised about each message, held against what is found in Maildirs in the end.
//!
//! * Acknowledged (250) is never lost.
//! * Refused (4yz, 5yz, or never handed over) is never delivered. A 421 refuses nothing, nor does
//!   a connection that breaks behind the final dot: such a message may turn up or not.
//! * Nothing turns up twice, or changed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::program::Client;

/// Messages in one session; `smtp limit max-mails` is 100 unless configured.
const IN_SESSION: usize = 90;

/// The first header field of a letter. Behind it stands nothing that the server has added, for a
/// message that comes over loopback without it would get one (RFC 6409 section 8).
const DATE: &str = "Date: Tue, 24 Nov 2026 10:00:00 +0100\n";

/// A message that can be told from every other, each line of it from every other line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// One word.
    pub name: String,
    /// Lines of the body, 64 octets or a little more each.
    pub lines: usize,
}

impl Letter {
    /// Header and body, with LF line ends.
    fn content(&self) -> String {
        let Letter { name, lines } = self;
        let mut text =
            format!("{DATE}Message-ID: <{name}@load.example>\nSubject: {name} {lines}\n");
        for line in 0..*lines {
            let _ = write!(text, "\n{name} {line:07} {:.<46}", "");
        }
        text.push('\n');
        text
    }

    /// The letter that is stored in a file, if it is there whole and unchanged.
    fn read(path: &Path) -> Result<Letter, String> {
        let stored = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let (_, sent) = stored.split_once(DATE).ok_or("it is none of ours")?;
        let subject = sent.lines().find_map(|line| line.strip_prefix("Subject: "));
        let (name, lines) = subject.and_then(|text| text.split_once(' ')).ok_or("no subject")?;
        let lines = lines.parse().map_err(|_| "the subject was changed")?;
        let letter = Letter { name: name.to_owned(), lines };
        match letter.content().strip_prefix(DATE) {
            Some(content) if content == sent => Ok(letter),
            _ => Err("the content was changed".to_owned()),
        }
    }
}

/// What a client knows of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered with 250.
    Accepted,
    /// It was answered with this reply; an empty one when the connection broke before the content
    /// was asked for.
    Refused(String),
    /// The answer was 421, or none.
    Unknown,
}

/// Sends letters, in sessions of some number, until `told` ends it or nobody listens any more.
/// `told` hears of each letter before the next one is made.
pub fn send(
    server: SocketAddr,
    to: &str,
    mut next: impl FnMut() -> Letter,
    mut told: impl FnMut(Letter, Fate) -> ControlFlow<()>,
) {
    while let Ok(stream) = TcpStream::connect(server) {
        let mut client = Client::new(stream);
        if !client.reply().starts_with("220") || !client.command("EHLO load").starts_with("250") {
            // A server that is about to end greets nobody; do not press it.
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        for _ in 0..IN_SESSION {
            let letter = next();
            let fate = exchange(&mut client, to, &letter);
            let over = match &fate {
                Fate::Accepted => false,
                Fate::Refused(reply) => reply.is_empty() || reply.starts_with("421"),
                Fate::Unknown => true,
            };
            if told(letter, fate).is_break() {
                return;
            }
            if over {
                break;
            }
        }
    }
}

fn exchange(client: &mut Client, to: &str, letter: &Letter) -> Fate {
    let commands = format!("MAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
    if client.send(commands.as_bytes()).is_err() {
        return Fate::Refused(String::new());
    }
    // All of them, or what is left would be taken for answers to other commands.
    let replies = [client.reply(), client.reply(), client.reply()];
    for (reply, code) in replies.into_iter().zip(["250", "250", "354"]) {
        if !reply.starts_with(code) {
            // The transaction may still be there. What comes of this is seen with the next one.
            let _ = client.command("RSET");
            return Fate::Refused(reply);
        }
    }
    let wire = letter.content().replace('\n', "\r\n") + ".\r\n";
    let reply = match client.send(wire.as_bytes()) {
        Ok(()) => client.reply(),
        // Cut short, so never handed over.
        Err(_) => return Fate::Refused(String::new()),
    };
    match reply.get(..3) {
        Some("250") => Fate::Accepted,
        None | Some("421") => Fate::Unknown,
        Some(_) => Fate::Refused(reply),
    }
}

/// What was told about each letter, and where it was found.
#[derive(Default)]
pub struct Books(Mutex<HashMap<String, Entry>>);

struct Entry {
    fate: Fate,
    /// The name of the file, without what a reader adds to it.
    found: Option<String>,
    /// A reader has removed it, and that is on disk.
    taken: bool,
}

/// How many letters there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Answered with 250.
    pub accepted: usize,
    /// Of those, the ones that were found.
    pub delivered: usize,
    /// Refused, which includes those that were never handed over.
    pub refused: usize,
    /// Neither.
    pub unknown: usize,
    /// Of those, the ones that were found.
    pub turned_up: usize,
}

impl Books {
    /// Notes what a client was told.
    pub fn note(&self, letter: Letter, fate: Fate) {
        let before = self.lock().insert(letter.name, Entry { fate, found: None, taken: false });
        assert!(before.is_none(), "letters have names of their own");
    }

    /// Notes a letter that is in a Maildir, and gives its name.
    ///
    /// # Errors
    /// It is not whole, was refused, or is there under another name too.
    pub fn find(&self, path: &Path) -> Result<String, String> {
        let wrong = |text: String| format!("{}: {text}", path.display());
        let letter = Letter::read(path).map_err(wrong)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split(':').next().unwrap_or_default();
        let mut books = self.lock();
        let Some(entry) = books.get_mut(&letter.name) else {
            return Err(wrong("nobody has sent this".to_owned()));
        };
        if let Fate::Refused(reply) = &entry.fate {
            return Err(wrong(format!("it was refused: {reply:?}")));
        }
        let first = entry.found.get_or_insert_with(|| name.to_owned());
        if first != name {
            return Err(wrong(format!("it is there as {first} too")));
        }
        Ok(letter.name)
    }

    /// Notes that a letter which was found has been taken away for good.
    pub fn take(&self, name: &str) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.taken = true;
        }
    }

    /// Whether it had been taken away when it was found now: it has come twice. From now on it
    /// counts as being there.
    #[must_use]
    pub fn take_back(&self, name: &str) -> bool {
        let mut books = self.lock();
        books.get_mut(name).is_some_and(|entry| std::mem::take(&mut entry.taken))
    }

    /// Those that were answered with 250 and have not been found.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let books = self.lock();
        let missing = books.iter().filter(|(_, e)| e.fate == Fate::Accepted && e.found.is_none());
        missing.map(|(name, _)| name.clone()).collect()
    }

    /// The replies that refused letters, each once.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let books = self.lock();
        let mut replies: Vec<String> = books
            .values()
            .filter_map(|entry| match &entry.fate {
                Fate::Refused(reply) => Some(reply.clone()),
                _ => None,
            })
            .collect();
        replies.sort_unstable();
        replies.dedup();
        replies
    }

    /// How many there are.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for Entry { fate, found, .. } in self.lock().values() {
            let found = usize::from(found.is_some());
            match fate {
                Fate::Accepted => {
                    (sums.accepted, sums.delivered) = (sums.accepted + 1, sums.delivered + found)
                }
                Fate::Refused(_) => sums.refused += 1,
                Fate::Unknown => {
                    (sums.unknown, sums.turned_up) = (sums.unknown + 1, sums.turned_up + found)
                }
            }
        }
        sums
    }

    /// Each change under the lock is a single one.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
