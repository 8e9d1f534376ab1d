//! What an administrator's commands do: the control socket's side of the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use smtpd_queue::delivery::Kind;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::lease;
use smtpd_queue::verify::Verified;
use smtpd_reactor::{self as reactor, Stats};

use super::importing::Importing;
use super::messages::{Errand, Message, Shown};
use super::orders;
use super::reading::Reading;
use super::relay::Message as Relaying;
use super::renewal::Renewal;
use super::tls::Counts;
use crate::control::entry::QueueEntry;
use crate::control::import::{Piece, Progress};
use crate::control::order::{Action, Selection, Step};
use crate::control::{Operator, Status, System, View, listing};
use crate::log;
use crate::log::life;

/// How long the scheduler's answer is waited for: it does nothing that takes long, so one that
/// does not come says that the machine is in trouble.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the thread that reads certificates does not answer.
const UNREAD: &str = "the certificates are still being read";

/// The relay's way in.
pub type Relay = smtpd_reactor::calls::Sender<Relaying>;

/// Carries out commands.
pub struct Commands {
    /// The scheduler's way in.
    pub scheduler: Sender<Message>,
    /// The store's.
    pub store: Sender<Errand>,
    /// The reactor's.
    pub reactor: reactor::Sender,
    /// Whether accepting is paused.
    pub smtp_paused: Arc<AtomicBool>,
    /// What the reactor counts.
    pub stats: Arc<Stats>,
    /// What its sessions agree on under TLS.
    pub tls: Counts,
    /// The relay's.
    pub relay: Relay,
    /// Reads the queue.
    pub reading: Reading,
    /// Writes into it.
    pub importing: Importing,
    /// Replaces certificates.
    pub renewal: Renewal,
    /// When the daemon started.
    pub start: Instant,
}

impl Commands {
    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Message) -> Result<T, String> {
        let (sender, answer) = mpsc::channel();
        let sent = self.scheduler.send(question(sender));
        sent.map_err(|_| "the daemon is ending".to_owned())?;
        answer.recv_timeout(ANSWER).map_err(|_| "the scheduler does not answer".to_owned())
    }

    fn ask_relay<T>(&self, question: impl FnOnce(Sender<T>) -> Relaying) -> Result<T, String> {
        let (sender, answer) = mpsc::channel();
        self.relay.send(question(sender));
        answer.recv_timeout(ANSWER).map_err(|_| "the relay does not answer".to_owned())
    }

    /// Waits until the queue has been read, which takes seconds after the start.
    fn wait_for_queue(&self) -> Result<(), String> {
        let end = Instant::now() + ANSWER;
        while !self.reading.reader.is_complete() {
            if Instant::now() > end {
                return Err("the queue is still being read".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn ask_store(&self, request: lease::Request) -> Result<(), String> {
        self.wait_for_queue()?;
        let sent = self.store.send(Errand::Request(request));
        sent.map_err(|_| "the daemon is ending".to_owned())
    }

    fn shown(&self) -> Result<Shown, String> {
        self.ask(Message::Show)
    }

    /// Stops a system or lets it go on.
    fn switch(&mut self, system: System, pause: bool) -> Result<(), String> {
        let changed = match system {
            System::Smtp => {
                self.reactor.pause(pause);
                self.smtp_paused.swap(pause, Ordering::Relaxed) != pause
            }
            System::Mda => self.ask(|answer| Message::Pause(Kind::Mda, pause, answer))?,
            System::Mta => self.ask(|answer| Message::Pause(Kind::Mta, pause, answer))?,
        };
        match (changed, pause) {
            (true, true) => life::paused(system),
            (true, false) => life::resumed(system),
            (false, true) => return Err(format!("{system} is paused already")),
            (false, false) => return Err(format!("{system} is not paused")),
        }
        Ok(())
    }
}

impl Operator for Commands {
    fn status(&mut self) -> Result<Status, String> {
        let paused = self.shown()?.paused;
        Ok(Status {
            mda_paused: paused.contains(&Kind::Mda),
            mta_paused: paused.contains(&Kind::Mta),
            smtp_paused: self.smtp_paused.load(Ordering::Relaxed),
            dns: self.ask_relay(Relaying::Silence)?.map(|trouble| trouble.to_string()),
            certificates: self.renewal.in_use().recv_timeout(ANSWER).map_err(|_| UNREAD)?,
        })
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, String> {
        let shown = self.shown()?;
        let statistics = [
            ("scheduler.envelope.inflight", shown.in_flight.len() as u64),
            ("queue.message", self.reading.reader.messages() as u64),
            ("smtp.session", self.stats.sessions()),
            ("smtp.session.accepted", self.stats.accepted()),
            ("smtp.session.refused.full", self.stats.refused_full()),
            ("smtp.session.refused.source", self.stats.refused_source()),
            ("uptime", self.start.elapsed().as_secs()),
        ];
        let statistics = statistics.into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(statistics.chain(self.tls.shown()).collect())
    }

    fn pause(&mut self, system: System) -> Result<(), String> {
        self.switch(system, true)
    }

    fn resume(&mut self, system: System) -> Result<(), String> {
        self.switch(system, false)
    }

    fn relay(
        &mut self,
        view: View,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, String)>, String> {
        self.ask_relay(|answer| Relaying::Show(view, after, limit, answer))
    }

    fn resume_route(&mut self, number: u64) -> Result<(), String> {
        match self.ask_relay(|answer| Relaying::ResumeWay(number, answer))? {
            true => Ok(()),
            false => Err(format!("there is no route {number}")),
        }
    }

    fn update_pki(&mut self) -> Result<(), String> {
        self.renewal.renewed().recv_timeout(ANSWER).map_err(|_| UNREAD)?
    }

    fn set_verbose(&mut self, verbose: bool) -> Result<(), String> {
        log::set_verbose(verbose);
        Ok(())
    }

    fn queue_page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, String> {
        self.wait_for_queue()?;
        let in_flight = self.shown()?.in_flight;
        listing::page(&*self.reading.reader, &in_flight, after, message, limit)
    }

    fn order(
        &mut self,
        action: Action,
        selection: &Selection,
        after: Option<EnvelopeId>,
    ) -> Result<Step, String> {
        self.wait_for_queue()?;
        orders::step(&*self.reading.reader, &self.scheduler, (action, selection), after)
    }

    fn message(
        &mut self,
        id: MessageId,
        after: Option<EnvelopeId>,
    ) -> Result<(Vec<u8>, bool), String> {
        self.wait_for_queue()?;
        self.reading.message(id, after)
    }

    fn content(&mut self, id: MessageId, offset: u64) -> Result<Vec<u8>, String> {
        self.reading.content(id, offset)
    }

    fn verify(&mut self, after: u32) -> Result<(u32, Option<Verified>), String> {
        self.wait_for_queue()?;
        let reader = &self.reading.reader;
        Ok((reader.last_segment().unwrap_or_default(), reader.verify(after)))
    }

    fn in_files(
        &mut self,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>, String> {
        self.wait_for_queue()?;
        Ok(self.reading.reader.in_files(after, limit))
    }

    fn rebuild(&mut self) -> Result<(), String> {
        self.ask_store(lease::Request::Rebuild)
    }

    fn discover(&mut self, id: MessageId) -> Result<(), String> {
        self.ask_store(lease::Request::Discover(vec![id]))
    }

    fn import(&mut self, from: u64, piece: Piece) -> Result<Progress, String> {
        self.wait_for_queue()?;
        self.importing.import(from, piece)
    }

    fn left(&mut self, from: u64) {
        self.importing.left(from);
    }
}
