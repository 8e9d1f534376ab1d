//! What an administrator's commands do: the control socket's side of the daemon.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use smtpd_queue::delivery::Kind;
use smtpd_queue::envelope::{self, Due, Envelope, Source, State};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::{Found, Reader};
use smtpd_queue::schedule;
use smtpd_queue::scheduler::InFlight;
use smtpd_reactor::{self as reactor, Stats};

use super::messages::{Message, Shown};
use crate::control::entry::{Agent, Origin, QueueEntry, Situation};
use crate::control::{Operator, Status, System};
use crate::log;
use crate::log::life;

/// How long the scheduler's answer is waited for: it does nothing that takes long, so one that
/// does not come says that the machine is in trouble.
const ANSWER: Duration = Duration::from_secs(5);

/// Carries out commands.
pub struct Commands {
    /// The scheduler's way in.
    pub scheduler: Sender<Message>,
    /// The reactor's.
    pub reactor: reactor::Sender,
    /// Whether accepting is paused.
    pub smtp_paused: Arc<AtomicBool>,
    /// What the reactor counts.
    pub stats: Arc<Stats>,
    /// Reads the queue.
    pub reader: Reader,
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
        })
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, String> {
        let shown = self.shown()?;
        let statistics = [
            ("scheduler.envelope.inflight", shown.in_flight.len() as u64),
            ("queue.message", self.reader.messages() as u64),
            ("smtp.session", self.stats.sessions()),
            ("smtp.session.accepted", self.stats.accepted()),
            ("smtp.session.refused.full", self.stats.refused_full()),
            ("smtp.session.refused.source", self.stats.refused_source()),
            ("uptime", self.start.elapsed().as_secs()),
        ];
        Ok(statistics.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn pause(&mut self, system: System) -> Result<(), String> {
        self.switch(system, true)
    }

    fn resume(&mut self, system: System) -> Result<(), String> {
        self.switch(system, false)
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
        let in_flight = self.shown()?.in_flight;
        let messages = match (message, after) {
            (Some(message), _) => vec![message],
            (None, None) => self.reader.behind(None, limit),
            (None, Some(after)) => {
                let mut messages = vec![after.message()];
                messages.extend(self.reader.behind(Some(after.message()), limit));
                messages
            }
        };
        let mut page = Vec::new();
        for message in messages {
            match self.reader.message(message) {
                Ok(Some(found)) => {
                    let mut envelopes = entries(&found, &in_flight);
                    envelopes.retain(|entry| after.is_none_or(|after| entry.id > after));
                    envelopes.sort_by_key(|entry| entry.id);
                    page.append(&mut envelopes);
                }
                Ok(None) => {}
                Err(error) => return Err(format!("message {message}: {error}")),
            }
            if page.len() >= limit {
                break;
            }
        }
        page.truncate(limit);
        Ok(page)
    }
}

/// The envelopes of a message as they are shown; times of the queue are microseconds.
fn entries(found: &Found, in_flight: &InFlight) -> Vec<QueueEntry> {
    let envelopes = found.message.envelopes.iter().zip(&found.states);
    envelopes.map(|(envelope, state)| entry(&found.message, envelope, state, in_flight)).collect()
}

fn entry(
    message: &envelope::Message,
    envelope: &Envelope,
    state: &State,
    in_flight: &InFlight,
) -> QueueEntry {
    let seconds = |micros: u64| micros / 1_000_000;
    let situation = match (in_flight.get(&envelope.id), state.due) {
        (Some(since), _) => Situation::Inflight(seconds(*since)),
        (None, Due::At(due)) => Situation::Pending(seconds(due)),
        (None, Due::Held) => Situation::Held(seconds(state.last_try)),
    };
    QueueEntry {
        id: envelope.id,
        origin: match message.source {
            Source::Local => Origin::Local,
            Source::Ip(IpAddr::V4(_)) => Origin::Inet4,
            Source::Ip(IpAddr::V6(_)) => Origin::Inet6,
        },
        agent: match envelope.agent {
            envelope::Agent::Mda { .. } => Agent::Mda,
            envelope::Agent::Mta => Agent::Mta,
        },
        authenticated: message.username.is_some(),
        sender: message.sender.to_string(),
        rcpt: envelope.rcpt.to_string(),
        dest: envelope.dest.to_string(),
        created: seconds(message.ctime),
        expires: seconds(schedule::expiry(message.ctime, envelope.ttl)),
        last_try: seconds(state.last_try),
        retries: state.tries,
        situation,
        suspended: state.suspended,
        error: state.error.clone(),
    }
}
