//! The backend in memory: for tests and simulations, and for whoever wants to run a server of
//! which nothing stays.
//!
//! A [`Memory`] is what a shared store would be: it outlives those who open it. Whoever opens it
//! takes over what his predecessor left, whose leases are void from then on, also when he goes on
//! talking. Every request looks through all that is kept, so it is for thousands of envelopes, not
//! for millions; it is written to be seen to be right.
//!
//! | file | holds |
//! |---|---|
//! | `state` | what is kept, and who has the lease of what |
//! | `leases` | the lease side |

mod leases;
mod state;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smtpd_engine::time::Time;

use super::{Backend, Commits, Contents, Reads, Sides, Writing};
use crate::destination::Destinations;
use crate::id::{Ids, MessageId};
use crate::lease::{Epoch, fence};
use crate::reader::{ContentReader, Found};
use crate::request::{Accept, Body, Done, Refusal, Request, Stored};
use crate::spool::{Finished, Form};
use crate::verify::Verified;
use leases::LeaseSide;
use state::{Kept, State};

/// Nothing is ever tidied.
const IDLE: Duration = Duration::from_secs(3600);

/// What is kept, by whoever has it open. Copies are the same.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    destinations: Destinations,
    ids: Ids,
}

impl Memory {
    /// Keeps nothing yet. Lanes and ids are made from this number.
    pub fn new(random: u128) -> Self {
        let first = (random >> 96) as u64;
        Self {
            state: Arc::default(),
            destinations: Destinations::new(random as u64),
            ids: Ids::new(first, u64::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Backend<T> for Memory {
    fn open(&self) -> io::Result<Sides<T>> {
        let epoch = self.lock().take_over();
        let leases = LeaseSide::new(self.clone(), epoch);
        Ok(Sides {
            commit: Box::new(CommitSide { memory: self.clone(), epoch }),
            leases: Box::new(move || Ok(Box::new(leases))),
            reader: Arc::new(self.clone()),
            contents: Arc::new(self.clone()),
            ids: self.ids.clone(),
            epoch,
            helper: None,
        })
    }
}

/// The commit side of one who has it open.
struct CommitSide {
    memory: Memory,
    epoch: Epoch,
}

impl<T> Commits<T> for CommitSide {
    fn turn(&mut self, _now: Time, requests: &mut Vec<Request<T>>, done: &mut Vec<Done<T>>) {
        let mut state = self.memory.lock();
        fence(state.epoch(), requests, done);
        for request in requests.drain(..) {
            match request {
                Request::Outcome(outcome) => state.record(outcome, done),
                // One whose time is over may take no more mail: nobody would know of it.
                Request::Accept(accept) if self.epoch != state.epoch() => {
                    accept.refuse(Refusal::Failed, done)
                }
                Request::Accept(accept) if state.has(accept.message.id) => {
                    accept.refuse(Refusal::Failed, done);
                }
                Request::Accept(Accept { token, message, content, causes }) => {
                    let dot_lines = content.dot_lines;
                    let octets = match &content.body {
                        Body::Memory(octets) => Some(Arc::from(&octets[..])),
                        Body::File(_) => None,
                    };
                    let content = content.stored(message.id);
                    state.keep(Kept::new(&message, octets, content.octets, dot_lines));
                    done.push(Done::Accepted { token, message, content });
                    causes.into_iter().for_each(|cause| state.record(cause, done));
                }
            }
        }
    }

    fn tidy(&mut self, _now: Time, _done: &mut Vec<Done<T>>) -> Duration {
        IDLE
    }

    fn wants_help(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) -> io::Result<u64> {
        Ok(0)
    }
}

impl Reads for Memory {
    fn is_complete(&self) -> bool {
        true
    }

    fn messages(&self) -> usize {
        self.lock().messages()
    }

    fn behind(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        self.lock().behind(after).map(|(id, _)| id).take(limit).collect()
    }

    fn in_files(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        let state = self.lock();
        let in_files = state.behind(after).filter(|(_, kept)| kept.in_file());
        in_files.map(|(id, _)| id).take(limit).collect()
    }

    fn destinations(&self) -> Destinations {
        self.destinations
    }

    fn message(&self, id: MessageId) -> io::Result<Option<Found>> {
        Ok(self.lock().get(id).map(Kept::found))
    }

    fn all(&self, ids: &[MessageId]) -> Vec<(MessageId, io::Result<Option<Found>>)> {
        ids.iter().map(|id| (*id, self.message(*id))).collect()
    }

    fn open(&self, stored: &Stored) -> io::Result<ContentReader> {
        if let Some(memory) = &stored.memory {
            return Ok(ContentReader::of_buffer(memory.clone()));
        }
        let octets = self.lock().content(stored.message);
        octets.map(ContentReader::of_octets).ok_or_else(|| {
            let text = format!("message {} is not in the queue", stored.message);
            io::Error::new(ErrorKind::NotFound, text)
        })
    }

    /// There is no disk that could have changed anything.
    fn last_segment(&self) -> Option<u32> {
        None
    }

    fn verify(&self, _after: u32) -> Option<Verified> {
        None
    }
}

impl Contents for Memory {
    fn begin(&self, id: MessageId) -> io::Result<Box<dyn Writing>> {
        if !self.lock().begin_content(id) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(Box::new(Unfinished { memory: self.clone(), id, octets: Vec::new() }))
    }

    fn remove(&self, id: MessageId) -> io::Result<()> {
        self.lock().remove_content(id);
        Ok(())
    }
}

/// Content that is being written.
struct Unfinished {
    memory: Memory,
    id: MessageId,
    octets: Vec<u8>,
}

impl Writing for Unfinished {
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Finished> {
        let Self { memory, id, octets } = *self;
        let checksum = crc32c::crc32c(&octets);
        let finished = Finished { id, octets: octets.len() as u64, checksum, form: Form::Plain };
        memory.lock().finish_content(id, octets.into());
        Ok(finished)
    }
}
