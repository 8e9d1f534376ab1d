//! The names of clients of the receiving sessions, asked for here since the resolver is here.
//!
//! Each client is asked for once, when it connects. What is not known after [`PATIENCE`] counts as
//! nothing: a message that waits for it must not wait for a stranger's nameserver.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use smtpd_engine::time::Time;
use smtpd_reactor::calls::{Caller, Calls};
use smtpd_reactor::dns::{Answer, Forward, QueryId, Question};
use smtpd_reactor::{ConnId, Sender};

use crate::daemon::intake::client::{self, Name};

/// How long a name is looked for. A peer waits two minutes for its 354 (RFC 5321 section
/// 4.5.3.2.4), but an edge relay's should not notice.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Those whose names are being looked up.
pub struct Clients {
    /// Who is told.
    sessions: Sender,
    waiting: HashMap<QueryId, client::Question<ConnId>>,
    /// When each stops waiting, the earliest first; also of those that do not wait any more.
    ends: VecDeque<(Time, QueryId)>,
    /// Whose answer is there, and who do not know it yet.
    answered: Vec<ConnId>,
}

impl Clients {
    /// Nobody is waiting. `sessions` will be told.
    #[must_use]
    pub fn new(sessions: Sender) -> Clients {
        let (waiting, ends, answered) = Default::default();
        Clients { sessions, waiting, ends, answered }
    }

    /// Begins to look for the names of these.
    pub fn ask<C: Caller>(
        &mut self,
        clients: Vec<client::Question<ConnId>>,
        calls: &mut Calls<'_, C>,
    ) {
        for client in clients {
            let query = calls.ask(Question::Name(client.ip));
            self.waiting.insert(query, client);
            self.ends.push_back((calls.now() + PATIENCE, query));
        }
    }

    /// A question has its answer. If it is about a client, that is noted.
    pub fn resolved(&mut self, query: QueryId, answer: &Answer) {
        if let Some(client) = self.waiting.remove(&query) {
            client.slot.put(match answer {
                Answer::Name { name, forward } => Some(Name {
                    name: name.as_str().into(),
                    confirmed: *forward == Forward::Confirmed,
                }),
                _ => None,
            });
            self.answered.push(client.conn);
        }
    }

    /// Gives up those whose time is over, and tells the sessions what is known.
    pub fn turn_over<C: Caller>(&mut self, calls: &mut Calls<'_, C>) {
        while let Some((end, query)) = self.ends.front().copied() {
            if let Some(client) = self.waiting.get(&query) {
                if calls.now() < end {
                    calls.wake_at(end);
                    break;
                }
                client.slot.put(None);
                self.answered.push(client.conn);
                self.waiting.remove(&query);
                calls.forget(query);
            }
            self.ends.pop_front();
        }
        if !self.answered.is_empty() {
            self.sessions.resume_all(self.answered.drain(..));
        }
    }
}
