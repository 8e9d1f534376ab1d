//! One mail transaction: reverse-path, recipients and what they became, content; and the message
//! that is made of them (RFC 5321 section 3.3).

use std::sync::Arc;

use smtpd_config::{Agent, Config, Recipient};
use smtpd_engine::address::{Mailbox, PathRef, ReversePath};
use smtpd_engine::dsn;
use smtpd_engine::server::{MailParams, Peer, RcptParams, Session as Engine, Ticket};
use smtpd_queue::envelope::{Envelope, Message, Notify, Ret, Source};
use smtpd_queue::id::{EnvelopeId, MessageId};

use super::Gate;
use super::client::Client;
use super::content::Content;
use crate::daemon::lookup::{self, Slot};
use crate::daemon::relay::prepare::Soon;

/// A transaction that MAIL began.
pub struct Transaction {
    /// The reverse-path.
    pub sender: ReversePath,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    ret: Option<Ret>,
    envid: Option<Box<str>>,
    accepted: Vec<Accepted>,
    awaited: Option<Awaited>,
    /// The message, from DATA on.
    pub data: Option<Data>,
}

/// What there is of a message from DATA on.
pub struct Data {
    /// Its id.
    pub id: MessageId,
    /// When DATA came, in microseconds since 1970.
    pub ctime: u64,
    /// Its content.
    pub content: Content,
}

/// A recipient that was accepted or is being judged, and what it became.
#[derive(Debug)]
pub struct Accepted {
    /// As it was given.
    pub rcpt: Mailbox,
    notify: Option<Notify>,
    orcpt: Option<Box<str>>,
    became: Vec<Recipient>,
}

/// A recipient that is being judged elsewhere.
struct Awaited {
    ticket: Ticket,
    accepted: Accepted,
    slot: Arc<Slot>,
}

/// Who sends the message.
pub struct Sender<'a> {
    /// The listener.
    pub gate: &'a Gate,
    /// The argument of HELO or EHLO.
    pub helo: &'a str,
    /// What is known of the client.
    pub client: &'a Client,
    /// Who it has authenticated as.
    pub user: Option<&'a str>,
    /// What the engine knows.
    pub engine: &'a Engine,
}

impl Transaction {
    /// The transaction that a MAIL command begins; `name` is the domain of an address without
    /// one.
    pub fn new(from: Option<PathRef<'_>>, params: &MailParams<'_>, name: &str) -> Transaction {
        Transaction {
            sender: ReversePath::from_event(from, name),
            smtputf8: params.smtputf8,
            ret: params.ret.map(|ret| match ret {
                dsn::Ret::Full => Ret::Full,
                dsn::Ret::Headers => Ret::Headers,
            }),
            envid: params.envid.map(Into::into),
            accepted: Vec::new(),
            awaited: None,
            data: None,
        }
    }

    /// Takes a recipient, which became these.
    pub fn accept(&mut self, accepted: Accepted, became: Vec<Recipient>) {
        self.accepted.push(Accepted { became, ..accepted });
    }

    /// Remembers a recipient that is being judged elsewhere.
    pub fn await_verdict(&mut self, ticket: Ticket, accepted: Accepted) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.awaited = Some(Awaited { ticket, accepted, slot: slot.clone() });
        slot
    }

    /// A question has its answer. If it is the one about the awaited recipient, the recipient is
    /// taken if that was a yes which came before the engine answered by itself; whether it was.
    pub fn settle(&mut self, ticket: Ticket, in_time: bool) -> bool {
        // A late answer about an earlier recipient says nothing about this one.
        let about_it = |awaited: &mut Awaited| awaited.ticket == ticket;
        if let Some(Awaited { mut accepted, slot, .. }) = self.awaited.take_if(about_it)
            && in_time
            && let Some(became) = slot.take()
        {
            accepted.became = became;
            self.accepted.push(accepted);
            return true;
        }
        false
    }

    /// The ways that the recipient taken last will be relayed by, without those of the one before.
    pub fn last_ways(&self, mut tell: impl FnMut(Soon)) {
        let mut last = self.accepted.iter().rev().map(|accepted| ways(&accepted.became));
        let (Some(ways), before) = (last.next(), last.next()) else { return };
        let before = before.unwrap_or_default();
        ways.into_iter().filter(|way| !before.contains(way)).for_each(&mut tell);
    }

    /// The only recipient, if there is no other.
    pub fn only_recipient(&self) -> Option<&Mailbox> {
        match self.accepted.as_slice() {
            [only] => Some(&only.rcpt),
            _ => None,
        }
    }

    /// Whether the session has to wait for the writer of its content.
    pub fn is_held(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.content.is_held())
    }

    /// The message that the transaction came to.
    pub fn message(self, config: &Config, id: MessageId, ctime: u64, by: &Sender<'_>) -> Message {
        let peer = by.engine.peer();
        let mut envelopes = Vec::with_capacity(self.accepted.len());
        for accepted in self.accepted {
            for recipient in accepted.became {
                let nth = u32::try_from(envelopes.len()).expect("recipients are bounded");
                envelopes.push(Envelope {
                    id: EnvelopeId::new(id, nth),
                    rcpt: accepted.rcpt.clone(),
                    ttl: u32::try_from(config.ttl(&recipient.action).as_secs()).unwrap_or(u32::MAX),
                    action: recipient.action.name.to_string(),
                    agent: lookup::agent(recipient.agent),
                    dest: recipient.dest,
                    internal: false,
                    notify: accepted.notify,
                    orcpt: accepted.orcpt.as_deref().map(str::to_owned),
                });
            }
        }
        Message {
            id,
            ctime,
            sender: self.sender,
            source: match peer {
                Peer::Local => Source::Local,
                Peer::Ip(ip) => Source::Ip(ip),
            },
            helo: by.helo.to_owned(),
            hostname: by.client.shown(&by.gate.name).to_owned(),
            smtpname: by.gate.name.to_string(),
            tag: by.gate.tag.as_deref().unwrap_or_default().to_owned(),
            username: by.user.map(str::to_owned),
            tls: by.engine.tls().is_some(),
            smtputf8: self.smtputf8,
            ret: self.ret,
            envid: self.envid.map(String::from),
            envelopes,
        }
    }
}

/// The ways that recipients will be relayed by, each once.
fn ways(recipients: &[Recipient]) -> Vec<Soon> {
    let mut ways = Vec::new();
    for recipient in recipients.iter().filter(|one| matches!(one.agent, Agent::Relay)) {
        let domain = recipient.dest.domain().to_ascii_lowercase();
        let way = Soon { action: Arc::clone(&recipient.action.name), domain };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

impl Accepted {
    /// The recipient of a RCPT command.
    pub fn new(rcpt: Mailbox, params: &RcptParams<'_>) -> Accepted {
        let notify = params.notify.map(|notify| Notify {
            success: notify.contains(dsn::Notify::SUCCESS),
            failure: notify.contains(dsn::Notify::FAILURE),
            delay: notify.contains(dsn::Notify::DELAY),
        });
        let orcpt = params.orcpt.map(|orcpt| orcpt.as_str().into());
        Accepted { rcpt, notify, orcpt, became: Vec::new() }
    }
}
