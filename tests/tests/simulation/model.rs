//! What was sent and heard, and what must therefore be in the Maildirs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::disk::{Disk, read_exact_at};
use smtpd_queue::id::{EnvelopeId, MessageId};

/// Those who have a Maildir.
pub const USERS: [&str; 4] = ["ann", "bob", "carol", "dave"];
/// What they are reached by, and what is refused; see [`reaches`].
pub const RECIPIENTS: [&str; 8] = [
    "ann@example.org",
    "bob@example.org",
    "carol@example.org",
    "dave@example.org",
    "team@example.org",
    "all@example.org",
    "nobody@example.org",
    "ann@elsewhere.example",
];

/// The users behind a recipient.
fn reaches(recipient: &str) -> &'static [&'static str] {
    match recipient {
        "ann@example.org" => &USERS[..1],
        "bob@example.org" => &USERS[1..2],
        "carol@example.org" => &USERS[2..3],
        "dave@example.org" => &USERS[3..],
        "team@example.org" => &USERS[..2],
        "all@example.org" => &USERS,
        _ => &[],
    }
}

/// Where a user's mail is.
pub fn maildir(user: &str) -> PathBuf {
    Path::new("/home").join(user).join("Maildir")
}

/// A message that a peer sends, or begins to send.
pub struct Mail {
    /// The reverse-path.
    pub sender: &'static str,
    /// What is to be delivered, with CR LF.
    pub content: Vec<u8>,
    /// No server may take it.
    pub bad: bool,
    /// Who is to get it, and whether that was accepted, once that was heard.
    pub recipients: Vec<(&'static str, Option<bool>)>,
    /// Its last octet has been sent.
    pub whole: bool,
    /// What was said to its end: taken, or refused for good. Nothing when nothing was heard, or
    /// 421, which leaves it open.
    pub taken: Option<bool>,
}

/// See the module.
#[derive(Default)]
pub struct Model {
    pub mails: Vec<Mail>,
    /// The ids of accepted messages.
    ids: HashSet<MessageId>,
    /// Envelopes whose delivery is on record.
    settled: HashSet<EnvelopeId>,
    pub tally: Tally,
}

impl Model {
    /// The server says that it has taken a message.
    pub fn accepted(&mut self, id: MessageId) {
        assert!(self.ids.insert(id), "the message id {id} comes twice");
    }

    /// A delivery is on disk as such.
    pub fn settled(&mut self, id: EnvelopeId) {
        self.settled.insert(id);
    }

    /// An envelope is about to be tried.
    pub fn tried(&mut self, id: EnvelopeId) {
        assert!(!self.settled.contains(&id), "{id} is tried although its delivery is on record");
    }

    /// A peer has heard how its message ended.
    pub fn answered(&mut self, mail: usize, code: u16) {
        let mail = &mut self.mails[mail];
        assert!(mail.taken.is_none(), "two answers to one message");
        match code {
            250 => {
                assert!(!mail.bad, "a message was taken that is no message");
                assert!(mail.whole, "250 came before the end of the message");
                mail.taken = Some(true);
                self.tally.accepted += 1;
                self.tally.large += u64::from(mail.content.len() > 256 << 10);
            }
            421 => self.tally.left_open += 1,
            400..600 => {
                mail.taken = Some(false);
                self.tally.refused += 1;
            }
            _ => panic!("{code} is no answer to the end of a message"),
        }
    }

    /// Holds the Maildirs against what was heard. Everything that was accepted must have been
    /// delivered by now.
    pub fn check(&mut self, disk: &FaultDisk) {
        let mut found: BTreeMap<(usize, &str, &str), usize> = BTreeMap::new();
        for user in USERS {
            for (name, text) in delivered(disk, user) {
                let nth = number(&text).filter(|nth| *nth < self.mails.len());
                let nth = nth.unwrap_or_else(|| panic!("{user} has {name}, which nobody sent"));
                let to = self.mails[nth].compare(&text, &name);
                *found.entry((nth, to, user)).or_default() += 1;
            }
        }
        for (nth, mail) in self.mails.iter().enumerate() {
            for to in RECIPIENTS {
                for user in reaches(to) {
                    let copies = found.remove(&(nth, to, user)).unwrap_or_default();
                    let (least, most) = mail.copies(to);
                    assert!(
                        (least..=most).contains(&copies),
                        "message {nth} to {to} is {copies} times in the Maildir of {user}, not \
                         {least} to {most} times: whole: {}, taken: {:?}, recipients: {:?}",
                        mail.whole,
                        mail.taken,
                        mail.recipients
                    );
                    self.tally.delivered += copies as u64;
                }
            }
        }
        assert!(found.is_empty(), "delivered to who is not behind the recipient: {found:?}");
    }
}

impl Mail {
    /// How often the message must at least, and may at most, be in the Maildir of each who is
    /// behind the recipient `to`. A client may name one twice, and then means it.
    fn copies(&self, to: &str) -> (usize, usize) {
        let heard = |yes: fn(&Option<bool>) -> bool| {
            self.recipients.iter().filter(|(rcpt, said)| *rcpt == to && yes(said)).count()
        };
        match (self.whole, self.taken) {
            (false, _) | (_, Some(false)) => (0, 0),
            (true, Some(true)) => {
                let accepted = heard(|said| *said == Some(true));
                (accepted, accepted)
            }
            (true, None) => (0, heard(|said| *said != Some(false))),
        }
    }

    /// Panics unless `text` is this message as it is delivered; gives the recipient that it is
    /// delivered for.
    fn compare(&self, text: &[u8], name: &str) -> &'static str {
        let front = format!("Return-Path: <{}>\nDelivered-To: ", self.sender);
        let rest = text.strip_prefix(front.as_bytes()).unwrap_or_else(|| {
            let begins = String::from_utf8_lossy(&text[..text.len().min(100)]);
            panic!("{name} begins with {begins:?}, not {front:?}")
        });
        let to = RECIPIENTS.into_iter().find(|to| rest.starts_with(to.as_bytes()));
        let to = to.unwrap_or_else(|| panic!("{name} is delivered to nobody"));
        let rest = rest[to.len()..].strip_prefix(b"\nReceived: ");
        let rest = rest.unwrap_or_else(|| panic!("{name} has no trace field"));
        // It ends before the first line that does not continue it.
        let end = rest.windows(2).position(|two| two[0] == b'\n' && two[1] != b'\t');
        let content = &rest[end.expect("a message has more than a trace field") + 1..];
        let mut expected = self.content.clone();
        expected.retain(|octet| *octet != b'\r');
        assert!(content == expected, "{name} has other content than was sent");
        to
    }
}

/// The number of the message with this text.
fn number(text: &[u8]) -> Option<usize> {
    let mark = b"\nSubject: ";
    let at = text.windows(mark.len()).position(|octets| octets == mark)? + mark.len();
    let digits = text[at..].split(|octet| !octet.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The mail of a user. A name that is in `new` and, with flags, in `cur` is one message: whoever
/// moves it may have been interrupted.
fn delivered(disk: &FaultDisk, user: &str) -> Vec<(String, Vec<u8>)> {
    let mut names = BTreeSet::new();
    let mut mail = Vec::new();
    for folder in ["new", "cur"] {
        let folder = maildir(user).join(folder);
        for entry in disk.list(&folder).unwrap_or_default() {
            let file = disk.open(&folder.join(&entry.name)).expect("it is there");
            let mut octets = vec![0; file.size().expect("the power is on") as usize];
            read_exact_at(&*file, &mut octets, 0).expect("the power is on");
            let name = entry.name.into_string().expect("names are ASCII");
            let name = name.split(':').next().unwrap_or_default().to_owned();
            if names.insert(name.clone()) {
                mail.push((name, octets));
            }
        }
    }
    mail
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened, so that a simulation in which it no longer does is noticed.
        #[derive(Debug, Default, PartialEq, Eq)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* }

        impl Tally {
            /// Adds another run.
            pub fn add(&mut self, other: &Tally) {
                $(self.$name += other.$name;)*
            }

            /// Panics unless everything happened.
            pub fn assert_all(&self) {
                $(assert!(self.$name > 0, "there was no {}: {self:#?}", stringify!($name));)*
            }
        }
    };
}

tally! {
    /// Messages answered with 250.
    accepted,
    /// Messages answered with 4yz or 5yz.
    refused,
    /// Messages answered with 421.
    left_open,
    /// Messages that went through a content file, and were accepted.
    large,
    /// Copies in Maildirs.
    delivered,
    /// Recipients that were judged after the engine had given up waiting.
    late,
    /// Peers that hung up in the middle.
    hung_up,
    /// Content files removed.
    removed,
    /// Attempts that failed for now.
    retried,
    /// Messages refused by a disk that failed.
    failed,
    /// Messages refused by a disk that was full.
    full,
    /// Power cuts.
    crashed,
    /// Processes killed.
    killed,
    /// Starts that a power cut ended.
    stopped_starting,
    /// Messages that a reader moved to `cur`.
    read,
}
