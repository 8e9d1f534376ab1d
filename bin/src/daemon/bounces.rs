//! Reports to the senders of mail that failed, is late, or went well and was to be told of:
//! whether somebody is to be told, where the report goes, and the report.
//!
//! [`Bouncer`] is a value that may wait: for the disk, which has the message, and for a look-up of
//! the sender. A report takes the way of any message from this machine: today's rules, aliases and
//! users decide who gets it. It is committed in one record with the outcomes that it tells of, so a
//! crash leaves both or neither; until then the envelopes are in the queue as they were.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use smtpd_config::{self as config, Client, Config, Expansion, Facts, Outside};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_queue::backend::Reads;
use smtpd_queue::bounce::{self, About, Notice, Original, RECIPIENTS, Recipient, Report};
use smtpd_queue::budget::Budget;
use smtpd_queue::envelope::{Envelope, Message, Outcome, Source};
use smtpd_queue::id::{EnvelopeId, Ids};
use smtpd_queue::request::{Accept, Body, Content};
use smtpd_queue::scheduler::Input;

use super::clock::{day, wall};
use super::lookup;
use super::messages::{self, Asker, Order, Request};
use super::threads;
use crate::log::bounce as line;
use crate::log::topic::{self, Topic};
use crate::log::vis::vis_shown;
use crate::sys::{self, Zone};

/// Octets that reports take in memory until they have been tried. It is beside the budget of
/// sessions, which may be used up just when mail fails.
pub const MEMORY: usize = 8 << 20;

/// What comes of a notice; several of these when it takes several reports.
#[derive(Debug)]
pub enum Made {
    /// A report, to be committed; its token is the envelopes it is about.
    Report(Accept<Vec<EnvelopeId>>),
    /// Nobody is told; these are to be recorded by themselves.
    Nobody(Vec<Outcome>),
    /// It cannot be said now: these stay in the queue.
    Later(Vec<EnvelopeId>),
}

/// Makes reports.
pub struct Bouncer<U> {
    config: Arc<Config>,
    users: U,
    reader: Arc<dyn Reads>,
    ids: Ids,
    budget: Budget,
}

impl<U: Outside> Bouncer<U> {
    /// Makes reports about messages that `reader` reads, with ids from `ids` and content counted
    /// in `budget`. `users` may be waited for.
    pub fn new(
        config: Arc<Config>,
        users: U,
        (reader, ids, budget): (Arc<dyn Reads>, Ids, Budget),
    ) -> Bouncer<U> {
        Bouncer { config, users, reader, ids, budget }
    }

    /// What comes of a notice at this time of the wall clock, in microseconds since 1970.
    ///
    /// A defect of ours that some message brings to light must not end the process with every
    /// start: its envelopes stay in the queue.
    pub fn make(&self, notice: &Notice, now: u64, zone: fn(i64) -> Zone) -> Vec<Made> {
        let made = catch_unwind(AssertUnwindSafe(|| self.judge(notice, now, zone)));
        made.unwrap_or_else(|_| vec![Made::Later(notice.ids().collect())])
    }

    fn judge(&self, notice: &Notice, now: u64, zone: fn(i64) -> Zone) -> Vec<Made> {
        let message = &*notice.message;
        let mut made = Vec::new();
        let to = match bounce::address(message) {
            Ok(to) => to,
            Err(nobody) => {
                notice.ids().for_each(|id| line::nobody(nobody, envelope(message, id)));
                return vec![Made::Nobody(outcomes(&notice.about))];
            }
        };
        let wants = |about: &About| bounce::wants(envelope(message, id(about)), notice.kind);
        let (about, unwanted): (Vec<_>, Vec<_>) = notice.about.iter().cloned().partition(wants);
        if !unwanted.is_empty() {
            let unwanted_by = |one| line::unwanted(notice.kind, envelope(message, id(one)));
            unwanted.iter().for_each(unwanted_by);
            made.push(Made::Nobody(outcomes(&unwanted)));
        }
        if about.is_empty() {
            return made;
        }
        let many = about.len();
        let later = || Made::Later(about.iter().map(id).collect());
        let recipients = match self.route(message, to) {
            Ok(recipients) => recipients,
            Err(reply) => {
                let again = reply.class() == 4;
                line::no_way(again, message, to, many, reply.text());
                made.push(if again { later() } else { Made::Nobody(outcomes(&about)) });
                return made;
            }
        };
        let original = match self.original(notice) {
            Ok(original) => original,
            Err(error) => {
                line::no_way(true, message, to, many, error);
                made.push(later());
                return made;
            }
        };
        for about in about.chunks(RECIPIENTS) {
            let report = self.report(notice, about, (to, &recipients), &original, (now, zone));
            made.push(report.map_or_else(
                || {
                    line::no_way(true, message, to, about.len(), "no space");
                    Made::Later(about.iter().map(id).collect())
                },
                Made::Report,
            ));
        }
        made
    }

    /// Those who get a report by today's rules: it comes from this machine, and from nobody.
    fn route(
        &self,
        message: &Message,
        to: &Mailbox,
    ) -> Result<Vec<config::Recipient>, smtpd_engine::reply::Reply<'static>> {
        let name = bounce::name(message);
        let facts = Facts {
            client: Client::Socket,
            rdns: Some(name),
            rdns_confirmed: true,
            helo: name,
            tag: self.config.socket.tag.as_deref(),
            auth: None,
            tls: false,
            sender: None,
            day: day(wall()),
        };
        match self.config.expand(&facts, to, &self.users).without_programs(to) {
            Expansion::Deliver(recipients) => Ok(recipients),
            Expansion::Refuse(reply) => Err(reply),
            // Users who may be waited for do not put anybody off.
            Expansion::Later => Err(smtpd_engine::reply::TEMPORARY_FAILURE),
        }
    }

    /// What is returned of the message; an error is one of the moment.
    fn original(&self, notice: &Notice) -> io::Result<Original> {
        let Notice { message, content, kind, .. } = notice;
        let read = self
            .reader
            .open(content)
            .and_then(|mut octets| Original::read(message, *kind, &mut octets, content.octets));
        match read {
            // Its sender has to know all the more.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound) => {
                Ok(Original::Nothing)
            }
            read => read,
        }
    }

    /// A report about some of the envelopes; none when there is no id or no memory for it.
    fn report(
        &self,
        notice: &Notice,
        about: &[About],
        (to, recipients): (&Mailbox, &[config::Recipient]),
        original: &Original,
        (now, zone): (u64, fn(i64) -> Zone),
    ) -> Option<Accept<Vec<EnvelopeId>>> {
        let id = self.ids.take()?;
        let zone = zone(i64::try_from(now / 1_000_000).unwrap_or(i64::MAX));
        let told = about.iter().map(|one| {
            let envelope = envelope(&notice.message, self::id(one));
            let (status, remote, at) = (one.status, one.remote.as_deref(), one.outcome.at);
            Recipient { envelope, status, remote, at }
        });
        let told: Vec<_> = told.collect();
        let report = Report {
            kind: notice.kind,
            to,
            message: &notice.message,
            recipients: &told,
            original,
            id,
            now,
            zone: (zone.offset, &zone.name),
        };
        let octets = report.octets();
        let mut buffer = self.budget.buffer();
        if !buffer.extend(&octets) {
            return None;
        }
        let dot_lines = memchr::memmem::find(&octets, b"\n.").is_some();
        Some(Accept {
            token: about.iter().map(self::id).collect(),
            message: Arc::new(self.message(&report, recipients)),
            content: Content { dot_lines, body: Body::Memory(buffer) },
            causes: outcomes(about),
        })
    }

    /// The report as a message: from nobody, made by the queue itself.
    fn message(&self, report: &Report<'_>, recipients: &[config::Recipient]) -> Message {
        let name = bounce::name(report.message);
        let envelope = |(nth, recipient): (u32, &config::Recipient)| Envelope {
            id: EnvelopeId::new(report.id, nth),
            rcpt: report.to.clone(),
            dest: recipient.dest.clone(),
            internal: true,
            action: recipient.action.name.to_string(),
            agent: lookup::agent(recipient.agent.clone()),
            ttl: u32::try_from(self.config.ttl(&recipient.action).as_secs()).unwrap_or(u32::MAX),
            notify: None,
            orcpt: None,
        };
        Message {
            id: report.id,
            ctime: report.now,
            sender: ReversePath::Null,
            source: Source::Local,
            helo: name.to_owned(),
            hostname: name.to_owned(),
            smtpname: name.to_owned(),
            tag: self.config.socket.tag.clone().unwrap_or_default(),
            username: None,
            tls: false,
            smtputf8: report.smtputf8(),
            ret: None,
            envid: None,
            envelopes: (0..).zip(recipients).map(envelope).collect(),
        }
    }
}

/// Tells what comes of a notice, for `-T bounce`.
fn trace(notice: &Notice, made: &Made) {
    if !topic::on(Topic::Bounce) {
        return;
    }
    let of = format!("bounce: {}: {}", notice.message.id, notice.kind.action());
    match made {
        Made::Report(Accept { token, message: report, .. }) => {
            for to in &report.envelopes {
                let (about, report, to) = (token.len(), report.id, vis_shown(&to.dest));
                let text = format_args!("{of}: report {report} to <{to}> about {about}");
                topic::trace(Topic::Bounce, text);
            }
        }
        Made::Nobody(outcomes) => {
            let about = outcomes.len();
            topic::trace(Topic::Bounce, format_args!("{of}: nobody is told about {about}"));
        }
        Made::Later(ids) => {
            let about = ids.len();
            topic::trace(Topic::Bounce, format_args!("{of}: no report for now about {about}"));
        }
    }
}

fn id(about: &About) -> EnvelopeId {
    about.outcome.envelope
}

fn outcomes(about: &[About]) -> Vec<Outcome> {
    about.iter().map(|about| about.outcome.clone()).collect()
}

fn envelope(message: &Message, id: EnvelopeId) -> &Envelope {
    let found = message.envelopes.iter().find(|envelope| envelope.id == id);
    found.expect("a notice has the message of its envelopes")
}

/// Starts the thread that makes reports. It ends when nobody can send it notices any more.
///
/// # Errors
/// When the system starts no more threads.
pub fn start<U: Outside + Send + 'static>(
    bouncer: Bouncer<U>,
    notices: Receiver<Notice>,
    commit: Sender<Order>,
    scheduler: Sender<messages::Message>,
) -> io::Result<JoinHandle<()>> {
    threads::start("bounces", move || {
        for notice in notices {
            let mut requests = Vec::new();
            for made in bouncer.make(&notice, wall(), sys::zone_at) {
                trace(&notice, &made);
                match made {
                    Made::Report(accept) => {
                        requests.push(Request::Accept(accept.map(Asker::Report)));
                    }
                    Made::Nobody(outcomes) => {
                        requests.extend(outcomes.into_iter().map(Request::Outcome));
                    }
                    Made::Later(ids) => {
                        let unsent = vec![Input::Unsent(ids)];
                        let _ = scheduler.send(messages::Message::Inputs(unsent));
                    }
                }
            }
            // At the end there may be nobody left to take them; then the envelopes are still in
            // the queue.
            let _ = commit.send(Order::Requests(requests));
        }
    })
}
