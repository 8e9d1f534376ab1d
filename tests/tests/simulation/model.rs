//! What was sent and heard, and what must therefore be in the Maildirs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use smtpd_queue::bounce::Kind as Report;
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::disk::{Disk, read_exact_at};
use smtpd_queue::envelope::Message;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::request::Accept;

use crate::people::{RECIPIENTS, TOLD, USERS, maildir, reaches};
use crate::server::asks;
use crate::tally::Tally;
use crate::trace::note;

/// A message that a peer sends, or begins to send.
pub struct Mail {
    /// The reverse-path.
    pub sender: &'static str,
    /// What is to be delivered, with LF.
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
    /// The ids of messages that were refused for good.
    refused: HashSet<MessageId>,
    /// Envelopes of accepted messages, and of reports: each is in the queue, in a Maildir, or given
    /// up.
    promised: BTreeSet<EnvelopeId>,
    /// Envelopes that were to be given up, which may have come to the disk or not: what would
    /// have been delivered.
    gone: BTreeMap<EnvelopeId, Copy>,
    /// Envelopes that are given up, on record.
    given_up: HashSet<EnvelopeId>,
    /// What reports tell, and of whom.
    reports: BTreeMap<MessageId, (Report, Vec<EnvelopeId>)>,
    /// What is on record as told of late envelopes.
    warned: HashSet<(EnvelopeId, Report)>,
    /// Envelopes whose delivery is on record.
    settled: HashSet<EnvelopeId>,
    /// Envelopes whose sender is to be told of that, and is there.
    asked: HashSet<EnvelopeId>,
    /// Envelopes of which a report could not be made at some time.
    unsent: HashSet<EnvelopeId>,
    /// Envelopes that an administrator wanted out of the queue.
    by_hand: HashSet<EnvelopeId>,
    /// Envelopes that are paused, on record.
    suspended: HashSet<EnvelopeId>,
    /// Envelopes that somebody lets go on, which may have come to the disk or not.
    going_on: BTreeSet<EnvelopeId>,
    /// Names that a reader has taken out of `new`, for good.
    read: HashSet<String>,
    pub tally: Tally,
}

/// An envelope that is somewhere, with its text as it is delivered.
pub struct Copy {
    pub envelope: EnvelopeId,
    pub user: &'static str,
    pub text: Vec<u8>,
}

/// How often a message is there, by its number, for a recipient, for a user behind that.
type Copies = BTreeMap<(usize, &'static str, &'static str), usize>;

impl Model {
    /// The server says that it has taken a message.
    pub fn accepted(&mut self, message: &Message) {
        assert!(self.ids.insert(message.id), "the message id {} comes twice", message.id);
        let ids = message.envelopes.iter().map(|envelope| envelope.id);
        self.promised.extend(ids.clone());
        // Reports find others only as long as they are there.
        if message.sender.mailbox().is_some_and(|sender| sender.as_str() == TOLD) {
            self.asked.extend(ids.filter(|id| asks(message, *id)));
        }
    }

    /// The server says that it has not taken a message, and that this is on disk.
    pub fn refused(&mut self, id: MessageId) {
        self.refused.insert(id);
    }

    /// A delivery is on disk as such.
    pub fn settled(&mut self, id: EnvelopeId) {
        assert!(!self.given_up.contains(&id), "{id} was given up and is delivered");
        self.settled.insert(id);
    }

    /// An envelope is to be given up.
    pub fn gives_up(&mut self, copy: Copy) {
        assert!(!self.settled.contains(&copy.envelope), "{} was delivered", copy.envelope);
        self.gone.insert(copy.envelope, copy);
    }

    /// That an envelope is given up is on disk.
    pub fn given_up(&mut self, id: EnvelopeId) {
        assert!(self.gone.contains_key(&id), "{id} is given up, and nobody wanted that");
        assert!(!self.settled.contains(&id), "{id} was delivered and is given up");
        self.given_up.insert(id);
    }

    /// An administrator wants an envelope out of the queue. It may be delivered before; it is
    /// not told of.
    pub fn ordered_away(&mut self, copy: Copy) {
        self.by_hand.insert(copy.envelope);
        self.gives_up(copy);
    }

    /// An administrator lets an envelope go on; whether that comes to the disk is not known.
    pub fn ordered_on(&mut self, id: EnvelopeId) {
        self.going_on.insert(id);
    }

    /// Whether an envelope is paused is on disk.
    pub fn stands(&mut self, id: EnvelopeId, suspended: bool) {
        self.going_on.remove(&id);
        if suspended {
            self.tally.suspended += u64::from(self.suspended.insert(id));
        } else {
            self.suspended.remove(&id);
        }
    }

    /// An envelope was taken out by hand.
    pub fn taken_out(&mut self, id: EnvelopeId) {
        let ordered = self.by_hand.contains(&id) && self.given_up.contains(&id);
        assert!(ordered, "{id} is said to be taken out");
        self.tally.taken_out += 1;
    }

    /// Another process of the server begins: what was on its way to the disk may be there.
    pub fn starts(&mut self) {
        for id in std::mem::take(&mut self.going_on) {
            self.suspended.remove(&id);
        }
    }

    /// A report was made, and may come to the disk or not.
    pub fn report_made(&mut self, accept: &Accept<Vec<EnvelopeId>>, kind: Report) {
        let Accept { token, message, causes, .. } = accept;
        let of_them = causes.iter().map(|cause| cause.envelope).eq(token.iter().copied());
        assert!(of_them && !token.is_empty(), "a report comes with what it tells");
        self.reports.insert(message.id, (kind, token.clone()));
    }

    /// A report could not be made.
    pub fn unsent(&mut self, about: &[EnvelopeId]) {
        self.tally.unsent += about.len() as u64;
        self.unsent.extend(about);
    }

    /// A report is on disk, and so is what it tells.
    pub fn report_accepted(&mut self, id: MessageId) {
        let (kind, about) = &self.reports[&id];
        for one in about {
            assert!(!self.settled.contains(one), "{one} was delivered, and a report is made");
            match kind {
                Report::Delivered => self.tally.confirmed += 1,
                Report::Relayed => panic!("{one}: nobody relays"),
                Report::Failed => {
                    assert!(!self.given_up.contains(one), "{one} is told twice");
                    self.tally.bounced += 1;
                }
                Report::Delayed(_) => {
                    let first = self.warned.insert((*one, *kind));
                    assert!(first, "{one} is told twice: {kind:?}");
                    self.tally.warned += 1;
                }
            }
        }
    }

    /// An envelope is about to be tried.
    pub fn tried(&mut self, id: EnvelopeId) {
        assert!(!self.settled.contains(&id), "{id} is tried although its delivery is on record");
        assert!(!self.given_up.contains(&id), "{id} is tried although it was given up");
        assert!(!self.refused.contains(&id.message()), "{id} is tried, of a message refused");
        assert!(!self.suspended.contains(&id), "{id} is tried although it is paused");
    }

    /// A reader has moved a message from `new` to `cur`, which is on disk.
    pub fn read(&mut self, name: String) {
        self.read.insert(name);
        self.tally.read += 1;
    }

    /// A peer has heard how its message ended.
    pub fn answered(&mut self, nth: usize, code: u16) {
        note(|| format!("message {nth}: {code}"));
        let mail = &mut self.mails[nth];
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

    /// Holds the Maildirs against what was said so far: everything in them is whole and allowed,
    /// and what is not there is in the queue.
    pub fn check_meanwhile(&self, disk: &FaultDisk, in_queue: impl Fn(EnvelopeId) -> bool) {
        let copies = self.in_maildirs(disk);
        let there: HashSet<EnvelopeId> = copies.iter().map(|copy| copy.envelope).collect();
        let is_somewhere = |id: &EnvelopeId| there.contains(id) || in_queue(*id);
        for id in &self.promised {
            let gone = || self.is_told(*id, |report| is_somewhere(report));
            assert!(is_somewhere(id) || gone(), "{id} was acknowledged and is lost");
        }
        self.count(&copies);
    }

    /// Whether an envelope was given up, as far as one can see: its sender was told, if there is
    /// a way to him. Of a report, only that somebody wanted to give it up is known.
    fn is_told(&self, id: EnvelopeId, is_somewhere: impl Fn(&EnvelopeId) -> bool) -> bool {
        let Some(copy) = self.gone.get(&id) else { return false };
        if self.by_hand.contains(&id) {
            return true;
        }
        let told = format!("Return-Path: <{TOLD}>\n");
        if !copy.text.starts_with(told.as_bytes()) {
            return true;
        }
        let mut reports = self
            .reports
            .iter()
            .filter(|(_, (kind, about))| *kind == Report::Failed && about.contains(&id));
        reports.any(|(report, _)| {
            let report = EnvelopeId::new(*report, 0);
            is_somewhere(&report) || self.gone.contains_key(&report)
        })
    }

    /// Holds the Maildirs against what was heard. Everything that was accepted must have been
    /// delivered by now or given up, and not both if nothing was `disturbed`.
    pub fn check(&mut self, disk: &FaultDisk, undisturbed: bool) {
        let copies = self.in_maildirs(disk);
        let mut ids = BTreeSet::new();
        for Copy { envelope, .. } in &copies {
            assert!(ids.insert(*envelope), "{envelope} is there twice");
        }
        for id in self.promised.difference(&ids) {
            assert!(self.is_told(*id, |report| ids.contains(report)), "{id} is lost");
        }
        let told = self.reports.values().filter(|(kind, _)| *kind == Report::Delivered);
        let told: HashSet<_> = told.flat_map(|(_, about)| about).collect();
        for id in self.asked.intersection(&self.settled) {
            let is_told = told.contains(id) || self.unsent.contains(id);
            assert!(is_told, "{id} is delivered, and its sender was to be told");
        }
        let both = ids.iter().find(|id| self.given_up.contains(id));
        assert!(both.is_none() || !undisturbed, "{both:?} is delivered and given up");
        let is_report = |copy: &&Copy| self.reports.contains_key(&copy.envelope.message());
        let reports = copies.iter().filter(is_report).count() as u64;
        self.tally.delivered += copies.len() as u64 - reports;
        self.tally.reports += reports;
        // The last attempt may have failed when the message could already be seen.
        let gone = self.gone.values().filter(|copy| ids.insert(copy.envelope));
        let found = self.count(copies.iter().chain(gone));
        for (nth, mail) in self.mails.iter().enumerate() {
            let copies = |to, user| found.get(&(nth, to, user)).copied().unwrap_or_default();
            let is_there = found.keys().any(|(one, ..)| *one == nth);
            for to in RECIPIENTS {
                for user in reaches(to) {
                    let (copies, least) = (copies(to, user), mail.least(to, is_there));
                    assert!(copies >= least, "{} {to} {user} {copies} < {least}", mail.told(nth));
                }
            }
        }
    }

    /// Counts what is there; nothing may be there too often.
    fn count<'c>(&self, copies: impl IntoIterator<Item = &'c Copy>) -> Copies {
        let mut found = Copies::new();
        for Copy { envelope, user, text } in copies {
            if self.reports.contains_key(&envelope.message()) {
                let begin = format!("Return-Path: <>\nDelivered-To: {user}@example.org\n");
                assert!(text.starts_with(begin.as_bytes()), "{user} has the report {envelope}");
                continue;
            }
            let nth = number(text).filter(|nth| *nth < self.mails.len());
            let nth = nth.unwrap_or_else(|| panic!("{user} has {envelope}, which nobody sent"));
            let to = self.mails[nth].compare(text, *envelope);
            *found.entry((nth, to, user)).or_default() += 1;
        }
        for ((nth, to, user), copies) in &found {
            assert!(reaches(to).contains(user), "message {nth} to {to} is delivered to {user}");
            let mail = &self.mails[*nth];
            let most = mail.most(to);
            assert!(*copies <= most, "{} {to} {user} {copies} > {most}", mail.told(*nth));
        }
        found
    }

    /// All that users have. A name that is in `new` and, with flags, in `cur` is one message: whoever
    /// moves it may have been interrupted.
    fn in_maildirs(&self, disk: &FaultDisk) -> Vec<Copy> {
        let mut names = BTreeSet::new();
        let mut copies = Vec::new();
        for user in USERS {
            for place in ["new", "cur"] {
                let folder = maildir(user).join(place);
                for entry in disk.list(&folder).unwrap_or_default() {
                    let file = disk.open(&folder.join(&entry.name)).expect("it is there");
                    let mut text = vec![0; file.size().expect("the power is on") as usize];
                    read_exact_at(&*file, &mut text, 0).expect("the power is on");
                    let name = entry.name.into_string().expect("names are ASCII");
                    let name = name.split(':').next().unwrap_or_default().to_owned();
                    let again = place == "new" && self.read.contains(&name);
                    assert!(!again, "{name} was read and is there as new again");
                    let envelope = name.split('.').nth(1).and_then(|id| id.parse().ok());
                    let envelope = envelope.unwrap_or_else(|| panic!("{name} names no envelope"));
                    if names.insert(name) {
                        copies.push(Copy { envelope, user, text });
                    }
                }
            }
        }
        copies
    }
}

impl Mail {
    fn heard(&self, to: &str, yes: impl Fn(Option<bool>) -> bool) -> usize {
        self.recipients.iter().filter(|(rcpt, said)| *rcpt == to && yes(*said)).count()
    }

    /// How often it may at most be in the Maildir of each who is behind the recipient `to`. A
    /// client may name one twice, and then means it.
    fn most(&self, to: &str) -> usize {
        match self.taken {
            _ if !self.whole => 0,
            Some(false) => 0,
            Some(true) => self.heard(to, |said| said == Some(true)),
            None => self.heard(to, |said| said != Some(false)),
        }
    }

    /// How often it must at least be there: for all recipients or for none.
    fn least(&self, to: &str, is_there: bool) -> usize {
        let must = self.taken == Some(true) || is_there;
        if must { self.heard(to, |said| said == Some(true)) } else { 0 }
    }

    fn told(&self, nth: usize) -> String {
        let Self { whole, taken, recipients, .. } = self;
        format!("message {nth} (whole: {whole}, taken: {taken:?}, recipients: {recipients:?})")
    }

    /// Panics unless `text` is this message as it is delivered; gives the recipient that it is
    /// delivered for.
    fn compare(&self, text: &[u8], id: EnvelopeId) -> &'static str {
        let front = format!("Return-Path: <{}>\nDelivered-To: ", self.sender);
        let rest = text.strip_prefix(front.as_bytes()).unwrap_or_else(|| {
            let begins = String::from_utf8_lossy(&text[..text.len().min(100)]);
            panic!("{id} begins with {begins:?}, not {front:?}")
        });
        let to = RECIPIENTS.into_iter().find(|to| rest.starts_with(to.as_bytes()));
        let to = to.unwrap_or_else(|| panic!("{id} is delivered to nobody"));
        let rest = rest[to.len()..].strip_prefix(b"\nReceived: ");
        let rest = rest.unwrap_or_else(|| panic!("{id} has no trace field"));
        // It ends before the first line that does not continue it.
        let end = rest.windows(2).position(|two| two[0] == b'\n' && two[1] != b'\t');
        let content = &rest[end.expect("a message has more than a trace field") + 1..];
        assert!(content == self.content, "{id} has other content than was sent");
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
