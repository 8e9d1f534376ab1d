//! The command language of smtpctl: words, which may be shortened as long as they are
//! unambiguous, and typed parameters.
//!
//! The grammar is one table, [`COMMANDS`], in which every command is a path; what may follow the
//! words so far is read off it, so `possibilities are:` cannot forget one.

use std::path::PathBuf;

use smtpd_queue::id::{EnvelopeId, MessageId};

use crate::control::order::{Action, Selection};
use crate::control::{System, View, limits};

/// A complete command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `convert FILE`
    Convert(PathBuf),
    /// `discover evpid|msgid`
    Discover(Subject),
    /// `encrypt [--scram] [text]`
    Encrypt {
        /// For SCRAM, and not bcrypt.
        scram: bool,
        /// The password; else standard input has some.
        text: Option<String>,
    },
    /// `explain ...`, with the words behind it.
    Explain(Vec<String>),
    /// `log brief|verbose`
    Log {
        /// Debug lines are wanted.
        verbose: bool,
    },
    /// `pause mda|mta|smtp`
    Pause(System),
    /// `pause envelope`, `resume envelope`, `schedule`, `remove`, `hold`, `release`
    Order(Action, Selection),
    /// `queue export DIR`
    Export(PathBuf),
    /// `queue import DIR`
    Import(PathBuf),
    /// `queue import --opensmtpd [--key FILE] DIR`
    MoveIn {
        /// The spool directory of OpenSMTPD.
        from: PathBuf,
        /// The file with the key of its queue; `-` asks for it.
        key: Option<PathBuf>,
    },
    /// `queue rebuild`
    Rebuild,
    /// `queue verify`
    Verify,
    /// `resume mda|mta|smtp`
    Resume(System),
    /// `resume route routeid`
    ResumeRoute(u64),
    /// `show envelope evpid`
    ShowEnvelope(EnvelopeId),
    /// `show message evpid|msgid`
    ShowMessage(MessageId),
    /// `show queue [msgid]`
    ShowQueue(Option<MessageId>),
    /// `show hosts`, `show hoststats`, `show relays`, `show routes`
    ShowRelay(View),
    /// `show stats`
    ShowStatistics,
    /// `show status`
    ShowStatus,
    /// `update pki`
    UpdatePki,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One envelope.
    Envelope(EnvelopeId),
    /// All envelopes of a message.
    Message(MessageId),
}

impl Subject {
    /// The message it is, or belongs to.
    #[must_use]
    pub fn message(self) -> MessageId {
        match self {
            Subject::Envelope(id) => id.message(),
            Subject::Message(id) => id,
        }
    }
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
    /// An envelope id: 16 hexadecimal digits.
    Envelope,
    /// A message id: 8 hexadecimal digits, not all zero.
    Message,
    /// The number of a route, from 1 on.
    Route,
    /// A domain: anything that is no longer than one may be.
    Domain,
    /// The name of a directory or file: anything but nothing.
    Path(&'static str),
    /// Any text but nothing.
    Text,
}

use Token::{Domain, Envelope, Message, Path, Route, Text, Word};

/// The parameters along a path.
#[derive(Default)]
struct Given {
    subject: Option<Subject>,
    domain: Option<String>,
    route: Option<u64>,
    paths: Vec<PathBuf>,
    text: Option<String>,
    /// The words behind a command that reads them by itself.
    rest: Vec<String>,
}

/// What a path means; `None` never comes of a path that was followed to its end.
type Meaning = fn(Given) -> Option<Command>;

/// Every command, in the order in which possibilities are shown.
const COMMANDS: &[(&[Token], Meaning)] = &[
    (&[Word("convert"), FILE], |given| given.path().map(Command::Convert)),
    (&[Word("discover"), Envelope], |given| given.subject.map(Command::Discover)),
    (&[Word("discover"), Message], |given| given.subject.map(Command::Discover)),
    (&[Word("encrypt")], |given| given.encrypt(false)),
    (&[Word("encrypt"), Word("--scram")], |given| given.encrypt(true)),
    (&[Word("encrypt"), Word("--scram"), Text], |given| given.encrypt(true)),
    (&[Word("encrypt"), Text], |given| given.encrypt(false)),
    (EXPLAIN, |given| Some(Command::Explain(given.rest))),
    (&[Word("hold"), Word("domain"), Domain], |given| given.order(Action::Hold)),
    (&[Word("log"), Word("brief")], |_| Some(Command::Log { verbose: false })),
    (&[Word("log"), Word("verbose")], |_| Some(Command::Log { verbose: true })),
    (&[Word("pause"), Word("envelope"), Envelope], |given| given.order(Action::Hold)),
    (&[Word("pause"), Word("envelope"), Message], |given| given.order(Action::Hold)),
    (&[Word("pause"), Word("envelope"), Word("all")], |given| given.order(Action::Hold)),
    (&[Word("pause"), Word("envelope"), Word("domain"), Domain], |given| given.order(Action::Hold)),
    (&[Word("pause"), Word("mda")], |_| Some(Command::Pause(System::Mda))),
    (&[Word("pause"), Word("mta")], |_| Some(Command::Pause(System::Mta))),
    (&[Word("pause"), Word("smtp")], |_| Some(Command::Pause(System::Smtp))),
    (&[Word("queue"), Word("export"), DIR], |given| given.path().map(Command::Export)),
    (
        &[Word("queue"), Word("import"), Word("--opensmtpd"), Word("--key"), FILE, DIR],
        |mut given| {
            let from = given.paths.pop()?;
            Some(Command::MoveIn { from, key: Some(given.path()?) })
        },
    ),
    (&[Word("queue"), Word("import"), Word("--opensmtpd"), DIR], |given| {
        Some(Command::MoveIn { from: given.path()?, key: None })
    }),
    (&[Word("queue"), Word("import"), DIR], |given| given.path().map(Command::Import)),
    (&[Word("queue"), Word("rebuild")], |_| Some(Command::Rebuild)),
    (&[Word("queue"), Word("verify")], |_| Some(Command::Verify)),
    (&[Word("release"), Word("domain"), Domain], |given| given.order(Action::Resume)),
    (&[Word("remove"), Envelope], |given| given.order(Action::Remove)),
    (&[Word("remove"), Message], |given| given.order(Action::Remove)),
    (&[Word("remove"), Word("all")], |given| given.order(Action::Remove)),
    (&[Word("remove"), Word("domain"), Domain], |given| given.order(Action::Remove)),
    (&[Word("resume"), Word("envelope"), Envelope], |given| given.order(Action::Resume)),
    (&[Word("resume"), Word("envelope"), Message], |given| given.order(Action::Resume)),
    (&[Word("resume"), Word("envelope"), Word("all")], |given| given.order(Action::Resume)),
    (&[Word("resume"), Word("envelope"), Word("domain"), Domain], |given| {
        given.order(Action::Resume)
    }),
    (&[Word("resume"), Word("mda")], |_| Some(Command::Resume(System::Mda))),
    (&[Word("resume"), Word("mta")], |_| Some(Command::Resume(System::Mta))),
    (&[Word("resume"), Word("route"), Route], |given| given.route.map(Command::ResumeRoute)),
    (&[Word("resume"), Word("smtp")], |_| Some(Command::Resume(System::Smtp))),
    (&[Word("schedule"), Envelope], |given| given.order(Action::Schedule)),
    (&[Word("schedule"), Message], |given| given.order(Action::Schedule)),
    (&[Word("schedule"), Word("all")], |given| given.order(Action::Schedule)),
    (&[Word("schedule"), Word("domain"), Domain], |given| given.order(Action::Schedule)),
    (&[Word("show"), Word("envelope"), Envelope], |given| match given.subject? {
        Subject::Envelope(id) => Some(Command::ShowEnvelope(id)),
        Subject::Message(_) => None,
    }),
    (&[Word("show"), Word("hosts")], |_| Some(Command::ShowRelay(View::Hosts))),
    (&[Word("show"), Word("hoststats")], |_| Some(Command::ShowRelay(View::HostStats))),
    (&[Word("show"), Word("message"), Envelope], Given::show_message),
    (&[Word("show"), Word("message"), Message], Given::show_message),
    (&[Word("show"), Word("queue")], |_| Some(Command::ShowQueue(None))),
    (&[Word("show"), Word("queue"), Message], |given| {
        given.subject.map(|subject| Command::ShowQueue(Some(subject.message())))
    }),
    (&[Word("show"), Word("relays")], |_| Some(Command::ShowRelay(View::Relays))),
    (&[Word("show"), Word("routes")], |_| Some(Command::ShowRelay(View::Routes))),
    (&[Word("show"), Word("stats")], |_| Some(Command::ShowStatistics)),
    (&[Word("show"), Word("status")], |_| Some(Command::ShowStatus)),
    (&[Word("update"), Word("pki")], |_| Some(Command::UpdatePki)),
];

/// Its options are its own.
const EXPLAIN: &[Token] = &[Word("explain")];

const DIR: Token = Path("<directory>");
const FILE: Token = Path("<file>");

impl Given {
    fn path(mut self) -> Option<PathBuf> {
        self.paths.pop()
    }

    fn encrypt(self, scram: bool) -> Option<Command> {
        Some(Command::Encrypt { scram, text: self.text })
    }

    fn show_message(self) -> Option<Command> {
        self.subject.map(|subject| Command::ShowMessage(subject.message()))
    }

    /// All, when nothing less was named.
    fn order(self, action: Action) -> Option<Command> {
        let selection = match (self.subject, self.domain) {
            (Some(Subject::Envelope(id)), _) => Selection::Envelope(id),
            (Some(Subject::Message(id)), _) => Selection::Message(id),
            (None, Some(domain)) => Selection::Domain(domain),
            (None, None) => Selection::All,
        };
        Some(Command::Order(action, selection))
    }

    /// Notes the word that stood for a token.
    fn note(&mut self, token: Token, word: &str) {
        match token {
            Word(_) => {}
            Envelope => self.subject = word.parse().ok().map(Subject::Envelope),
            Message => self.subject = word.parse().ok().map(Subject::Message),
            Route => self.route = word.parse().ok(),
            Domain => self.domain = Some(word.to_owned()),
            Path(_) => self.paths.push(word.into()),
            Text => self.text = Some(word.to_owned()),
        }
    }
}

impl Token {
    /// How it is written in possibilities.
    fn shown(self) -> &'static str {
        match self {
            Word(word) | Path(word) => word,
            Route => "<routeid>",
            Domain | Text => "<str>",
            Envelope => "<evpid>",
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
    let mut given = Given::default();
    let mut words = words.iter().map(AsRef::as_ref);
    while let Some(word) = words.next() {
        let next = following(&path);
        if next.is_empty() {
            return Err(Misunderstood::Excess);
        }
        let Some(token) = choose(&next, word) else { return Err(possibilities(&path, &next)) };
        given.note(token, word);
        path.push(token);
        if path == EXPLAIN {
            given.rest = words.by_ref().map(str::to_owned).collect();
        }
    }
    let complete = COMMANDS.iter().find(|(command, _)| *command == path);
    let command = complete.and_then(|(_, meaning)| meaning(given));
    command.ok_or_else(|| possibilities(&path, &following(&path)))
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
    if word.is_empty() {
        return None;
    }
    let begins = |token: &&Token| matches!(token, Word(full) if full.starts_with(word));
    let exact = next.iter().find(|token| matches!(token, Word(full) if *full == word));
    let mut candidates = next.iter().filter(begins);
    let parameter = next.iter().find(|token| match token {
        Word(_) => false,
        Envelope => word.parse::<EnvelopeId>().is_ok(),
        Message => word.parse::<MessageId>().is_ok(),
        Route => word.parse::<u64>().is_ok_and(|number| number > 0),
        Domain => word.len() <= usize::from(limits::DOMAIN),
        Path(_) | Text => true,
    });
    match (exact, candidates.next(), candidates.next()) {
        (Some(token), ..) | (None, Some(token), None) => Some(*token),
        (None, None, _) => parameter.copied(),
        (None, Some(_), Some(_)) => None,
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
        let message: MessageId = "0123abcd".parse().unwrap();
        let envelope = EnvelopeId::new(message, 0);
        let show_envelope = format!("sh e {envelope}");
        let show_message = format!("sh m {envelope}");
        let remove = format!("rem {envelope}");
        let paused = Selection::Domain("example.org".to_owned());
        let cases = [
            (remove.as_str(), Command::Order(Action::Remove, Selection::Envelope(envelope))),
            ("sch 0123abcd", Command::Order(Action::Schedule, Selection::Message(message))),
            ("pause env all", Command::Order(Action::Hold, Selection::All)),
            ("p e d example.org", Command::Order(Action::Hold, paused.clone())),
            ("hold domain example.org", Command::Order(Action::Hold, paused.clone())),
            ("rel d example.org", Command::Order(Action::Resume, paused)),
            ("res e 0123abcd", Command::Order(Action::Resume, Selection::Message(message))),
            (show_envelope.as_str(), Command::ShowEnvelope(envelope)),
            (show_message.as_str(), Command::ShowMessage(message)),
            ("show message 0123abcd", Command::ShowMessage(message)),
            ("queue verify", Command::Verify),
            ("discover 00000001", Command::Discover(Subject::Message("00000001".parse().unwrap()))),
            ("queue rebuild", Command::Rebuild),
            ("queue import dir", Command::Import("dir".into())),
            (
                "queue import --opensmtpd /var/spool/smtpd",
                Command::MoveIn { from: "/var/spool/smtpd".into(), key: None },
            ),
            (
                "q imp --o --key - spool",
                Command::MoveIn { from: "spool".into(), key: Some("-".into()) },
            ),
            ("queue export /a/b", Command::Export("/a/b".into())),
            ("exp -j --tls", Command::Explain(vec!["-j".to_owned(), "--tls".to_owned()])),
            ("encrypt", Command::Encrypt { scram: false, text: None }),
            ("enc secret", Command::Encrypt { scram: false, text: Some("secret".to_owned()) }),
            ("encrypt --scram", Command::Encrypt { scram: true, text: None }),
            ("enc --s --x", Command::Encrypt { scram: true, text: Some("--x".to_owned()) }),
            ("log brief", Command::Log { verbose: false }),
            ("l v", Command::Log { verbose: true }),
            ("pause mda", Command::Pause(System::Mda)),
            ("p mt", Command::Pause(System::Mta)),
            ("res smtp", Command::Resume(System::Smtp)),
            ("resume route 12", Command::ResumeRoute(12)),
            ("show hosts", Command::ShowRelay(View::Hosts)),
            ("sh hostst", Command::ShowRelay(View::HostStats)),
            ("sh rel", Command::ShowRelay(View::Relays)),
            ("sh ro", Command::ShowRelay(View::Routes)),
            ("show queue", Command::ShowQueue(None)),
            ("sh q 0123abcd", Command::ShowQueue(Some(message))),
            ("sho queue 0123ABCD", Command::ShowQueue(Some(message))),
            ("show stats", Command::ShowStatistics),
            ("show statu", Command::ShowStatus),
            ("u p", Command::UpdatePki),
        ];
        for (line, command) in cases {
            assert_eq!(read(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn otherwise_the_possibilities_are_shown() {
        let show = "possibilities are:\nshow envelope\nshow hosts\nshow hoststats\nshow message\n\
                    show queue\nshow relays\nshow routes\nshow stats\nshow status";
        let top = "possibilities are:\nconvert\ndiscover\nencrypt\nexplain\nhold\nlog\npause\nqueue\nrelease\nremove\nresume\n\
                   schedule\nshow\nupdate";
        let remove = "possibilities are:\nremove <evpid>\nremove <msgid>\nremove all\n\
                      remove domain";
        let cases = [
            ("", top),
            ("stop", top),
            ("showqueue", top),
            ("Show status", top),
            ("show", show),
            ("sh stat", show),
            ("sh host", show),
            ("resume route 0", "possibilities are:\nresume route <routeid>"),
            ("show nothing", show),
            ("re all", top),
            ("s queue", top),
            ("remove", remove),
            ("remove 0123", remove),
            ("remove all now", "invalid command"),
            ("remove domain", "possibilities are:\nremove domain <str>"),
            ("pause m", "possibilities are:\npause envelope\npause mda\npause mta\npause smtp"),
            ("show envelope 0123abcd", "possibilities are:\nshow envelope <evpid>"),
            (
                "queue import",
                "possibilities are:\nqueue import --opensmtpd\nqueue import <directory>",
            ),
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
