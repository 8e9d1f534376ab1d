//! From a batch of the scheduler to tasks: what today's configuration makes of each envelope,
//! which of them share a next hop and a message, and what has to be known of the content.
//!
//! A [`Preparer`] is a value that may wait, for tables and for the disk; the daemon gives each a
//! thread.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smtpd_config::route::{self, NextHop, NoRoute};
use smtpd_config::{Config, Method, Outside, Relay as Action};
use smtpd_engine::address::ReversePath;
use smtpd_queue::backend::Reads;
use smtpd_queue::budget::Budget;
use smtpd_queue::delivery::{Attempt, Batch, Failure, Job, Report};
use smtpd_queue::envelope::Agent;
use smtpd_queue::id::MessageId;
use smtpd_queue::request::Stored;
use smtpd_queue::spool::INLINE;

use super::later;
use super::pace::Pace;
use super::task::{BetterThan, Content, Hop, Key, Recipient, Server, Task, Way};
use super::title;
use crate::daemon::clock::day;
use crate::decide;
use crate::log::relay as line;

/// Recipients of one transaction: what every server must take (RFC 5321 section 4.5.3.1.8).
const RECIPIENTS: usize = 100;

/// Jobs of a batch that whoever must not wait may prepare, at most...
const FEW: usize = 8;

/// ... and octets of the content of each: looking at all of them takes less time than waking
/// another thread.
const SMALL: u64 = 16 << 10;

/// Octets of the header that are looked at when the content is not in memory as a whole.
const HEAD: usize = 64 << 10;

/// What comes of a batch.
#[derive(Debug)]
pub struct Prepared {
    /// To be relayed.
    pub tasks: Vec<Task>,
    /// Those that cannot be tried now.
    pub report: Report,
    /// Those that are delivered here by today's rules.
    pub local: Vec<Job>,
}

/// A recipient was taken whose message will go by an action to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soon {
    /// The name of the action.
    pub action: Arc<str>,
    /// The domain in lower case.
    pub domain: String,
}

/// See the module.
pub struct Preparer<U> {
    config: Arc<Config>,
    outside: U,
    reader: Arc<dyn Reads>,
    budget: Budget,
}

/// What a batch has been sorted into.
#[derive(Default)]
struct Sorted {
    tasks: Vec<Task>,
    failed: Vec<(Job, Attempt)>,
    local: Vec<Job>,
}

/// Where a job goes.
enum Found {
    /// To this hop, with this reverse-path.
    Relay(Job, Arc<Hop>, ReversePath),
    /// To a user of this machine.
    Local(Job),
}

type Hops = HashMap<(String, String), Result<Arc<Hop>, Attempt>>;

impl<U: Outside> Preparer<U> {
    /// A preparer that reads small messages whole, within `budget`.
    pub fn new(
        config: Arc<Config>,
        outside: U,
        reader: Arc<dyn Reads>,
        budget: Budget,
    ) -> Preparer<U> {
        Preparer { config, outside, reader, budget }
    }

    /// Makes tasks of a batch. `now` is the wall clock, in microseconds since 1970.
    ///
    /// A defect of ours that some message brings to light must not end the process with every
    /// start: it is a failure for now of the batch.
    pub fn prepare(&self, batch: &Batch, now: u64) -> Prepared {
        let report = |attempts| Report { batch: batch.id, attempts };
        let sorted = catch_unwind(AssertUnwindSafe(|| self.sort(batch, now)));
        let Ok(Sorted { tasks, failed, local }) = sorted else {
            let defect = || Attempt::Later(later("a defect of ours: see the log"));
            let attempts = batch.jobs.iter().map(|job| (job.id, defect())).collect();
            return Prepared { tasks: Vec::new(), report: report(attempts), local: Vec::new() };
        };
        failed.iter().for_each(|(job, attempt)| tell(job, attempt, now));
        let attempts = failed.into_iter().map(|(job, attempt)| (job.id, attempt)).collect();
        Prepared { tasks, report: report(attempts), local }
    }

    /// Makes tasks of a small batch whose content is in memory, if all of it is to be relayed; none
    /// if that is for [`prepare`](Preparer::prepare) to say. A preparer whose `outside` never waits
    /// does not wait here.
    pub fn at_once(&self, batch: &Batch, now: u64) -> Option<Vec<Task>> {
        let is_small = |job: &Job| job.content.memory.is_some() && job.content.octets <= SMALL;
        if batch.jobs.len() > FEW || !batch.jobs.iter().all(is_small) {
            return None;
        }
        let sorted = catch_unwind(AssertUnwindSafe(|| self.sort(batch, now))).ok()?;
        (sorted.failed.is_empty() && sorted.local.is_empty()).then_some(sorted.tasks)
    }

    fn sort(&self, batch: &Batch, now: u64) -> Sorted {
        let mut sorted = Sorted::default();
        let mut hops = Hops::new();
        let mut contents = HashMap::new();
        // Where the open task of a message for a hop is.
        let mut open: HashMap<(Key, MessageId, ReversePath), usize> = HashMap::new();
        for job in &batch.jobs {
            let (job, hop, from) = match self.hop(job, now, &mut hops) {
                Ok(Found::Relay(job, hop, from)) => (job, hop, from),
                Ok(Found::Local(job)) => {
                    sorted.local.push(job);
                    continue;
                }
                Err(attempt) => {
                    sorted.failed.push((job.clone(), attempt));
                    continue;
                }
            };
            let content = contents.entry(job.message.id);
            let content = content.or_insert_with(|| self.content(&job.content));
            let content = match content {
                Ok(content) => content,
                Err(failure) => {
                    let attempt = Attempt::Later(failure.clone());
                    sorted.failed.push((job, attempt));
                    continue;
                }
            };
            let to = job.envelope().dest.clone();
            let recipient = Recipient { batch: batch.id, id: job.id, to };
            let place = (hop.key.clone(), job.message.id, from.clone());
            let task = open.get(&place).and_then(|nth| sorted.tasks.get_mut(*nth));
            if let Some(task) = task.filter(|task| task.recipients.len() < RECIPIENTS) {
                task.recipients.push(recipient);
                continue;
            }
            open.insert(place, sorted.tasks.len());
            let (message, content) = (Arc::clone(&job.message), content.clone());
            sorted.tasks.push(Task { hop, message, from, recipients: vec![recipient], content });
        }
        sorted
    }

    /// The hop of a message that is about to come for a domain, by an action; none if that is not
    /// known, which the message will tell.
    pub fn soon(&self, soon: &Soon) -> Option<Arc<Hop>> {
        let Method::Relay(relay) = &self.config.action(&soon.action)?.method else { return None };
        let found = AssertUnwindSafe(|| self.find(&soon.action, relay, soon.domain.clone()));
        catch_unwind(found).ok()?.ok()
    }

    /// Where a job goes by today's configuration.
    fn hop(&self, job: &Job, now: u64, hops: &mut Hops) -> Result<Found, Attempt> {
        let job = match self.config.action(&job.envelope().action) {
            Some(_) => job.clone(),
            None => decide::again(&self.config, &self.outside, job)?,
        };
        let envelope = job.envelope();
        let name = &envelope.action;
        let Some(action) = self.config.action(name) else {
            return Err(Attempt::Held(format!("no action named \"{name}\"")));
        };
        let relay = match (&action.method, &envelope.agent) {
            (Method::Relay(relay), _) => relay,
            (Method::Local(_), Agent::Mda { .. }) => return Ok(Found::Local(job)),
            (Method::Local(_), Agent::Mta) => {
                return Err(Attempt::Held(format!("action \"{name}\" no longer relays")));
            }
        };
        let domain = envelope.dest.domain().to_ascii_lowercase();
        let hop = hops
            .entry((name.clone(), domain.clone()))
            .or_insert_with(|| self.find(name, relay, domain))
            .clone()?;
        let (sender, envelope) = (&job.message.sender, job.envelope());
        let recipient = (&envelope.rcpt, &envelope.dest);
        let from = self.config.reverse_path(relay, sender, recipient, day(now));
        Ok(Found::Relay(job, hop, from))
    }

    fn find(&self, action: &str, relay: &Action, domain: String) -> Result<Arc<Hop>, Attempt> {
        let config = &*self.config;
        let no_route = |why: NoRoute| {
            let status = match why {
                NoRoute::NoServer => (4, 4, 4),
                _ => (4, 3, 5),
            };
            Attempt::Later(Failure::new(status, why.to_string()))
        };
        let hop = config.next_hop(relay, &domain, &self.outside, &mut ()).map_err(no_route)?;
        let sources = config.sources(relay, &self.outside).map_err(no_route)?;
        let title = title::title(config, relay, &hop, &domain);
        let limits = |domain: &str| config.mta.domains.get(domain);
        let (place, way, pace, family) = match hop {
            NextHop::Mx { better_than, tls } => {
                let better_than = match better_than {
                    Some(name) => BetterThan::Primary(name),
                    None => BetterThan::Own(config.host.name.clone()),
                };
                let limits = limits(&domain).unwrap_or(&config.mta.limits);
                let pace = Pace::found(&limits.limits, !sources.is_empty());
                (domain.clone(), Way::Mx { domain, better_than, tls }, pace, limits.family)
            }
            NextHop::Servers(servers) => {
                let urls: Vec<_> = servers.iter().map(|server| server.url.to_string()).collect();
                // As upstream, by the server's name: the hop is the same for every domain.
                let of = |server: &route::Server| limits(&server.url.host.to_ascii_lowercase());
                let limits = servers.iter().find_map(of).unwrap_or(&config.mta.limits);
                let pace = Pace::named(&limits.limits);
                let servers = servers.into_iter().map(Server::from).collect();
                (urls.join(" "), Way::Servers(servers), pace, limits.family)
            }
        };
        let key = Key { action: action.into(), place: place.into() };
        let (helo, balance, chunking) =
            (config.helo(relay).to_owned(), relay.balance, relay.chunking);
        Ok(Arc::new(Hop { key, title, way, balance, helo, sources, family, chunking, pace }))
    }

    /// What has to be known of the content.
    fn content(&self, stored: &Stored) -> Result<Content, Failure> {
        let mut stored = stored.clone();
        if stored.memory.is_none() {
            return match self.read(&mut stored) {
                Ok(content) => Ok(content),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(later("the message has left the queue"))
                }
                Err(error) => Err(later(&format!("the message cannot be read: {error}"))),
            };
        }
        let octets = stored.memory.as_ref().map_or(&[][..], |memory| memory);
        let (eight_bit, utf8_header) = (!octets.is_ascii(), !header(octets).is_ascii());
        Ok(Content { stored, eight_bit, utf8_header })
    }

    /// Reads what is not in memory: all of a small message, else as much as the header may be.
    fn read(&self, stored: &mut Stored) -> io::Result<Content> {
        let mut octets = self.reader.open(stored)?;
        let is_small = stored.octets <= INLINE as u64;
        let most = if is_small { INLINE } else { HEAD };
        let mut head = Vec::new();
        octets.by_ref().take(most as u64).read_to_end(&mut head)?;
        let utf8_header = !header(&head).is_ascii();
        // Of a large one nobody knows before it is sent.
        let eight_bit = !is_small || !head.is_ascii();
        let mut buffer = self.budget.buffer();
        if is_small && buffer.extend(&head) {
            stored.memory = Some(Arc::new(buffer));
        }
        Ok(Content { stored: stored.clone(), eight_bit, utf8_header })
    }
}

fn tell(job: &Job, attempt: &Attempt, now: u64) {
    let stat = match attempt {
        Attempt::Later(failure) | Attempt::Failed(failure) => &failure.text,
        Attempt::Held(text) => text,
        Attempt::Delivered | Attempt::Relayed(_) => "",
    };
    line::delivery(&line::Delivery::without_session(job, attempt, stat), now);
}

/// The octets before the empty line.
fn header(octets: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(octets, b"\r\n\r\n").unwrap_or(octets.len());
    &octets[..end]
}

impl From<route::Server> for Server {
    fn from(server: route::Server) -> Server {
        let route::Server { url, port, tls, login } = server;
        let lmtp = url.scheme == smtpd_config::url::Scheme::Lmtp;
        Server { host: url.host, port, tls, lmtp, login }
    }
}
