//! Recorded or written conversations, played against the engine.
//!
//! `parse` reads the format that `fixtures/README.md` describes, `driver` turns one session's
//! events and octets into a log, `player` compares that log with what the transcript expects,
//! `compare` says when two reply lines are the same. `client` has the same for the sending side.

use std::path::{Path, PathBuf};
use std::time::Duration;

pub mod client;
pub mod compare;
pub mod driver;
mod escape;
mod owner;
pub mod parse;
pub mod player;
mod setting;
pub mod words;

/// The transcripts of the receiving side, in the order of their names.
///
/// # Panics
/// When the folder of fixtures cannot be read.
#[must_use]
pub fn server_transcripts() -> Vec<PathBuf> {
    in_folder("server")
}

/// The transcripts in a folder of `fixtures/smtp`.
fn in_folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/smtp").join(name);
    let folder = folder.canonicalize().expect("the fixtures are there");
    let entries = std::fs::read_dir(folder).expect("the fixtures are there");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .collect();
    files.sort();
    files
}

/// One file of `fixtures/smtp/server`.
#[derive(Debug)]
pub struct Transcript {
    /// Where it stands; failures name it.
    pub file: PathBuf,
    /// The sentence that would be the bug report.
    pub about: String,
    /// The facts of listener and peer, and how to compare.
    pub header: Header,
    /// What happens, in order; the first is `What::Open`.
    pub acts: Vec<Act>,
}

/// The header lines of a transcript.
#[derive(Debug, Default)]
pub struct Header {
    /// Words of `listener:`, each with its value and line.
    pub listener: Vec<ListenerOption>,
    /// `peer:`; an IPv4 address of RFC 5737 when not said.
    pub peer: Option<PeerSpec>,
    /// `compare:`
    pub compare: Compare,
    /// `cuts:`
    pub cuts: Cuts,
}

/// One word of the `listener:` line.
#[derive(Debug)]
pub struct ListenerOption {
    /// Line of the file.
    pub line: usize,
    /// The option's name as in smtpd.conf(5), where it has one.
    pub name: String,
    /// What stands behind `=`.
    pub value: Option<String>,
}

/// Who talks to the server.
#[derive(Debug, Clone, Copy)]
pub enum PeerSpec {
    /// The local socket.
    Local,
    /// A TCP client.
    Ip(std::net::IpAddr),
}

/// When a reply is the one that was expected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Octet for octet, except where the transcript gives only codes.
    #[default]
    Exact,
    /// Codes and the text without enhanced code and its description: for transcripts of other
    /// servers and older versions.
    Codes,
}

/// Where the player may cut what the peer sends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    /// Between any two octets.
    #[default]
    Anywhere,
    /// Never right behind a line end inside a run: what follows a command is already waiting
    /// when the command is executed, as in a transcript about synchronisation it must.
    InsideLines,
}

/// One thing done to the session, and what must come of it before the next.
#[derive(Debug)]
pub struct Act {
    /// Line of the file.
    pub line: usize,
    /// What is done.
    pub what: What,
    /// What must be seen, in this order.
    pub expected: Vec<Expected>,
}

/// What is done to a session.
#[derive(Debug)]
pub enum What {
    /// The session begins.
    Open,
    /// The peer sends a run of octets, in one write or cut anywhere.
    Send(Vec<Piece>),
    /// The clock moves; deadlines on the way fire at their time.
    Pass(Duration),
    /// The open question is answered at last.
    Answer(Scripted),
    /// Something happens to the server.
    Outside(Outside),
}

/// Part of a run.
#[derive(Debug)]
pub enum Piece {
    /// `C:` - text in which captures are filled in; CR LF is added.
    Line(String),
    /// `C|` and `C<` - exactly these.
    Octets(Vec<u8>),
}

/// Things outside the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The server is told to end.
    ShutDown,
    /// Most connection slots are taken.
    Pressed,
    /// They are no longer.
    Relaxed,
    /// The server goes on with a session that it had held back itself.
    Resumed,
}

/// An `S:`, `Q:`, `E:` or `B` line.
#[derive(Debug)]
pub struct Expected {
    /// Line of the file.
    pub line: usize,
    /// What is expected.
    pub what: Wanted,
}

/// What an expectation is about.
#[derive(Debug)]
pub enum Wanted {
    /// The lines of a reply; one line of only its codes stands for a whole reply.
    Reply(Vec<String>),
    /// A question: its name and words that it must have.
    Question {
        /// As written.
        text: String,
        /// `A:` below it.
        answer: Option<Scripted>,
    },
    /// The beginning of a notice.
    Notice(String),
    /// The content of the message that ends here.
    Content(Vec<u8>),
}

/// A scripted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scripted {
    /// Not now; a later `A:` or the answer clock settles it.
    Later,
    /// This reply.
    Now {
        /// As in `550 5.1.1 No such user`.
        reply: String,
        /// `[close]`: hang up behind it.
        close: bool,
    },
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A reply, its lines without their CR LF.
    Reply(Vec<String>),
    /// A question, written out.
    Question(Vec<String>),
    /// A notice, written out.
    Notice(String),
    /// The content of a message, whole: just before the question that ends it.
    Content(Vec<u8>),
}

/// What is wrong with a transcript, or with the server.
#[derive(Debug)]
pub struct Failure {
    /// The transcript.
    pub file: PathBuf,
    /// Its line.
    pub line: usize,
    /// What is wrong there.
    pub text: String,
    /// What was said until then; empty when the file could not be read.
    pub so_far: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)?;
        if !self.so_far.is_empty() {
            write!(f, "\n  so far:\n{}", self.so_far)?;
        }
        Ok(())
    }
}
