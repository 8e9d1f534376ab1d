//! The command language of smtpctl: words, which may be shortened as long as they are
//! unambiguous, and typed parameters.
//!
//! The grammar is one table, [`COMMANDS`], in which every command is a path; what may follow the
//! words so far is read off it, so `possibilities are:` cannot forget one.

use smtpd_queue::id::MessageId;

use crate::control::System;

/// A complete command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `log brief|verbose`
    Log {
        /// Debug lines are wanted.
        verbose: bool,
    },
    /// `pause mda|mta|smtp`
    Pause(System),
    /// `resume mda|mta|smtp`
    Resume(System),
    /// `show queue [msgid]`
    ShowQueue(Option<MessageId>),
    /// `show stats`
    ShowStatistics,
    /// `show status`
    ShowStatus,
}

/// Why the words are no command; shows what to print on standard error. Exit status 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misunderstood {
    /// What could stand there, each with the words before it.
    Possibilities(Vec<String>),
    /// There are words behind a complete command.
    Excess,
}

impl std::fmt::Display for Misunderstood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misunderstood::Possibilities(lines) => {
                f.write_str("possibilities are:")?;
                lines.iter().try_for_each(|line| write!(f, "\n{line}"))
            }
            Misunderstood::Excess => f.write_str("invalid command"),
        }
    }
}

/// One place in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Word(&'static str),
    /// A message id: 8 hexadecimal digits, not all zero.
    Message,
}

use Token::{Message, Word};

/// What a path means, given the parameters along it.
type Meaning = fn(Option<MessageId>) -> Command;

/// Every command, in the order in which possibilities are shown.
const COMMANDS: &[(&[Token], Meaning)] = &[
    (&[Word("log"), Word("brief")], |_| Command::Log { verbose: false }),
    (&[Word("log"), Word("verbose")], |_| Command::Log { verbose: true }),
    (&[Word("pause"), Word("mda")], |_| Command::Pause(System::Mda)),
    (&[Word("pause"), Word("mta")], |_| Command::Pause(System::Mta)),
    (&[Word("pause"), Word("smtp")], |_| Command::Pause(System::Smtp)),
    (&[Word("resume"), Word("mda")], |_| Command::Resume(System::Mda)),
    (&[Word("resume"), Word("mta")], |_| Command::Resume(System::Mta)),
    (&[Word("resume"), Word("smtp")], |_| Command::Resume(System::Smtp)),
    (&[Word("show"), Word("queue")], Command::ShowQueue),
    (&[Word("show"), Word("queue"), Message], Command::ShowQueue),
    (&[Word("show"), Word("stats")], |_| Command::ShowStatistics),
    (&[Word("show"), Word("status")], |_| Command::ShowStatus),
];

impl Token {
    /// How it is written in possibilities.
    fn shown(self) -> &'static str {
        match self {
            Word(word) => word,
            Message => "<msgid>",
        }
    }
}

/// Reads a command.
///
/// # Errors
/// [`Misunderstood`].
pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Command, Misunderstood> {
    let mut path: Vec<Token> = Vec::new();
    let mut message = None;
    for word in words {
        let word = word.as_ref();
        let next = following(&path);
        if next.is_empty() {
            return Err(Misunderstood::Excess);
        }
        let Some(token) = choose(&next, word) else { return Err(possibilities(&path, &next)) };
        if token == Message {
            message = word.parse().ok();
        }
        path.push(token);
    }
    match COMMANDS.iter().find(|(command, _)| *command == path) {
        Some((_, meaning)) => Ok(meaning(message)),
        None => Err(possibilities(&path, &following(&path))),
    }
}

/// The tokens that may follow a path, each once.
fn following(path: &[Token]) -> Vec<Token> {
    let mut next: Vec<Token> = Vec::new();
    for (command, _) in COMMANDS {
        if let Some(&[token, ..]) = command.strip_prefix(path)
            && !next.contains(&token)
        {
            next.push(token);
        }
    }
    next
}

/// The token that a word stands for: the one that is spelt so, the only one that begins so, or a
/// parameter of that form.
fn choose(next: &[Token], word: &str) -> Option<Token> {
    if next.contains(&Message) && word.parse::<MessageId>().is_ok() {
        return Some(Message);
    }
    let begins = |token: &&Token| matches!(token, Word(full) if full.starts_with(word));
    let exact = next.iter().find(|token| matches!(token, Word(full) if *full == word));
    let mut candidates = next.iter().filter(begins);
    match (exact, candidates.next(), candidates.next()) {
        (Some(token), ..) | (None, Some(token), None) if !word.is_empty() => Some(*token),
        _ => None,
    }
}

fn possibilities(path: &[Token], next: &[Token]) -> Misunderstood {
    let line = |token: &Token| {
        let words: Vec<_> = path.iter().chain([token]).map(|token| token.shown()).collect();
        words.join(" ")
    };
    Misunderstood::Possibilities(next.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Misunderstood> {
        parse(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())
    }

    #[test]
    fn words_may_be_shortened_while_they_are_clear() {
        let message = "0123abcd".parse().ok();
        let cases = [
            ("log brief", Command::Log { verbose: false }),
            ("l v", Command::Log { verbose: true }),
            ("pause mda", Command::Pause(System::Mda)),
            ("p mt", Command::Pause(System::Mta)),
            ("res smtp", Command::Resume(System::Smtp)),
            ("show queue", Command::ShowQueue(None)),
            ("sh q 0123abcd", Command::ShowQueue(message)),
            ("s queue 0123ABCD", Command::ShowQueue(message)),
            ("show stats", Command::ShowStatistics),
            ("show statu", Command::ShowStatus),
        ];
        for (line, command) in cases {
            assert_eq!(read(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn otherwise_the_possibilities_are_shown() {
        let show = "possibilities are:\nshow queue\nshow stats\nshow status";
        let top = "possibilities are:\nlog\npause\nresume\nshow";
        let cases = [
            ("", top),
            ("stop", top),
            ("showqueue", top),
            ("Show status", top),
            ("show", show),
            ("sh stat", show),
            ("show nothing", show),
            ("pause m", "possibilities are:\npause mda\npause mta\npause smtp"),
            ("log brief now", "invalid command"),
            ("show queue 0123abcd x", "invalid command"),
            ("show queue 0123abc", "possibilities are:\nshow queue <msgid>"),
            ("show queue 00000000", "possibilities are:\nshow queue <msgid>"),
        ];
        for (line, shown) in cases {
            assert_eq!(read(line).map_err(|e| e.to_string()), Err(shown.to_owned()), "{line}");
        }
        // An empty word is a prefix of everything and means nothing.
        assert!(parse(&["log", ""]).is_err());
    }
}
