//! The control socket: how smtpctl speaks to the daemon.
//!
//! A Unix stream socket that every local user may connect to (mode 0666) and only root and the
//! daemon's own user may command, by the credentials that the system reports. Both sides are of
//! one release: the protocol ([`frame`], [`message`]) has a version and no history.
//!
//! [`server`] runs on a thread of its own against an [`Operator`], which the daemon implements;
//! [`client`] is smtpctl's side. Nothing that a local user sends or leaves out ends the daemon or
//! holds up anybody but other users of this socket.

pub mod client;
mod connection;
pub mod entry;
pub mod frame;
pub mod import;
pub mod limits;
pub mod listing;
pub mod message;
pub mod order;
pub mod server;
mod verified;
mod wire;

use std::fmt::{self, Display, Formatter};

use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::verify::Verified;

use entry::QueueEntry;
use import::{Piece, Progress};
use order::{Action, Selection, Step};

/// Where the socket is unless the configuration says `control socket PATH`.
pub const DEFAULT_SOCKET: &str = "/var/run/smtpd.sock";

/// A part of the work that can be stopped and continued by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Local delivery.
    Mda,
    /// Relaying.
    Mta,
    /// Accepting mail.
    Smtp,
}

impl System {
    /// All of them, in the order in which they are shown.
    pub const ALL: [System; 3] = [System::Mda, System::Mta, System::Smtp];

    /// The word for it on command lines and in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            System::Mda => "mda",
            System::Mta => "mta",
            System::Smtp => "smtp",
        }
    }

    /// The system with that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<System> {
        System::ALL.into_iter().find(|system| system.word() == word)
    }
}

impl Display for System {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A list of what the relay knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `show relays`
    Relays,
    /// `show hosts`
    Hosts,
    /// `show routes`
    Routes,
    /// `show hoststats`
    HostStats,
}

impl View {
    /// All of them.
    pub const ALL: [View; 4] = [View::Relays, View::Hosts, View::Routes, View::HostStats];
}

/// What works, and what is paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Local delivery is stopped.
    pub mda_paused: bool,
    /// Relaying is stopped.
    pub mta_paused: bool,
    /// Accepting mail is stopped.
    pub smtp_paused: bool,
    /// Why no nameserver answers, if none does.
    pub dns: Option<String>,
    /// The certificates in use.
    pub certificates: Vec<Certificate>,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its name in the configuration.
    pub name: String,
    /// When it ends, in seconds of Unix time.
    pub end: u64,
}

impl Status {
    /// Whether that system is paused.
    #[must_use]
    pub fn paused(&self, system: System) -> bool {
        match system {
            System::Mda => self.mda_paused,
            System::Mta => self.mta_paused,
            System::Smtp => self.smtp_paused,
        }
    }
}

/// The daemon as the control socket sees it.
///
/// The calls come from the control thread, one at a time, and only on behalf of root or of the
/// daemon's own user. They may wait for other threads: only users of the control socket wait with
/// them. A call must return within [`limits::OPERATOR`], if need be with an error. Errors are the
/// text that smtpctl prints behind `command failed: `.
pub trait Operator: Send {
    /// What works, and what is paused.
    fn status(&mut self) -> Result<Status, String>;

    /// Every statistic that has been set, by its name (`smtp.session`), in any order, with
    /// `uptime` in seconds among them.
    fn statistics(&mut self) -> Result<Vec<(String, u64)>, String>;

    /// Stops a system; an error when it is paused already.
    fn pause(&mut self, system: System) -> Result<(), String>;

    /// Lets a system go on; an error when it is not paused.
    fn resume(&mut self, system: System) -> Result<(), String>;

    /// At most `limit` items of a list, each with its number, in the order of the numbers and from
    /// behind one on. An empty answer is the end.
    fn relay(&mut self, view: View, after: u64, limit: usize)
    -> Result<Vec<(u64, String)>, String>;

    /// Has the route with that number, which is left alone, tried again.
    fn resume_route(&mut self, number: u64) -> Result<(), String>;

    /// Reads the certificates and keys of the configuration again. An error when those in use stay.
    fn update_pki(&mut self) -> Result<(), String>;

    /// Switches debug lines in the log on or off.
    fn set_verbose(&mut self, verbose: bool) -> Result<(), String>;

    /// At most `limit` envelopes in the order of their ids, beginning behind `after`, and only
    /// those of one message if one is named. An empty answer is the end. The pages of one listing
    /// are asked for one after the other and need not show one moment.
    fn queue_page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, String>;

    /// Does something with envelopes: as many of the selection, behind `after` and in the order of
    /// their ids, as can be done within a second or so. What has been changed is on disk.
    fn order(
        &mut self,
        action: Action,
        selection: &Selection,
        after: Option<EnvelopeId>,
    ) -> Result<Step, String>;

    /// What the queue knows of a message, as JSON: at most [`limits::RESPONSE`] octets with the
    /// envelopes behind `after` that fit, and whether there are more. Nothing at all when the
    /// message is not in the queue.
    fn message(
        &mut self,
        id: MessageId,
        after: Option<EnvelopeId>,
    ) -> Result<(Vec<u8>, bool), String>;

    /// At most [`limits::CONTENT`] octets of a message's content, beginning at `offset`; none at
    /// its end.
    fn content(&mut self, id: MessageId, offset: u64) -> Result<Vec<u8>, String>;

    /// Checks the oldest segment of the journal behind that number: the number of the newest, and
    /// what was found, or `None` when there is none left.
    fn verify(&mut self, after: u32) -> Result<(u32, Option<Verified>), String>;

    /// At most `limit` of the messages whose content is in a file of its own, in the order of
    /// their ids, behind `after`.
    fn in_files(
        &mut self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>, String>;

    /// Begins to make the index anew; the log tells when it is complete.
    fn rebuild(&mut self) -> Result<(), String>;

    /// Has what is left of a message scheduled, should nobody know of it.
    fn discover(&mut self, id: MessageId) -> Result<(), String>;

    /// Takes a piece of a message into the queue. `from` is the number of the connection that it
    /// comes over; behind an error its message is given up.
    fn import(&mut self, from: u64, piece: Piece) -> Result<Progress, String>;

    /// A connection that a piece has come over is closed.
    fn left(&mut self, from: u64);
}
