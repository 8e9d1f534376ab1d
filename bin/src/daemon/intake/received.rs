//! What this server adds to a message that it takes: the trace field, and for submitted mail the
//! fields that its author's program left out (RFC 5321 section 4.4, RFC 6409 section 8).

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::date::Date;
use smtpd_engine::header::{Rewriter, Submission};
use smtpd_engine::server::{Peer, Session as Engine};
use smtpd_engine::trace::{self, Auth, Received, With};
use smtpd_queue::id::MessageId;

use super::Gate;
use super::client::Client;
use crate::sys::Zone;

/// What stands for the name of a peer that has none in the DNS, or none that was found in time.
pub const NO_NAME: &str = "<unknown>";

/// The facts that the added fields are made of.
pub struct Header<'a> {
    /// The listener.
    pub gate: &'a Gate,
    /// The argument of HELO or EHLO.
    pub helo: &'a str,
    /// What is known of the client.
    pub client: &'a Client,
    /// What the engine knows.
    pub engine: &'a Engine,
    /// Who the client has authenticated as.
    pub user: Option<&'a str>,
    /// The message.
    pub id: MessageId,
    /// When its content began, in seconds since 1970.
    pub seconds: i64,
    /// The local time zone then.
    pub zone: &'a Zone,
}

impl Header<'_> {
    /// Adds the Received field to `out`; `recipient` only when there is no other.
    pub fn write(&self, recipient: Option<&Mailbox>, smtputf8: bool, out: &mut Vec<u8>) {
        let peer = self.engine.peer();
        let from = trace::From {
            helo: self.helo,
            rdns: self.client.vouched(&self.gate.name),
            peer: &peer,
        };
        let with = With {
            esmtp: self.engine.esmtp(),
            smtputf8,
            tls: self.engine.tls().is_some(),
            auth: self.engine.authenticated(),
        };
        let received = Received {
            from: (!self.gate.mask_src).then_some(from),
            by: &self.gate.name,
            with,
            id: &self.id.to_string(),
            tls: self.engine.tls(),
            auth: self.gate.received_auth.then(|| self.user.map_or(Auth::No, Auth::Yes)),
            recipient,
            date: self.date(),
        };
        trace::received(&received, out);
    }

    /// What becomes of the message's own header. Only what a user submits is completed: any other
    /// change would break the signatures of whoever passed the message on to us.
    pub fn rewriter(&self, sender: &ReversePath) -> Rewriter {
        let local = match self.engine.peer() {
            Peer::Local => true,
            Peer::Ip(ip) => ip.is_loopback(),
        };
        if !local && !self.gate.submission && !self.engine.authenticated() {
            return Rewriter::pass();
        }
        // Unique for as long as message ids are, and beyond by the time.
        let unique = u64::from(self.id.as_u32()) << 32 | u64::from(self.seconds as u32);
        Rewriter::submission(Submission {
            domain: self.gate.name.to_string(),
            date: self.date().to_string(),
            masquerade: self.masquerade(sender),
            message_id: format!("<{unique:016x}@{}>", self.gate.name),
        })
    }

    /// The address that the author of the message is to have.
    fn masquerade(&self, sender: &ReversePath) -> Option<String> {
        let masquerades = self.gate.senders.is_some_and(|senders| senders.masquerade);
        let sender = sender.mailbox().filter(|_| masquerades && self.user.is_some())?;
        Some(sender.as_str().to_owned())
    }

    fn date(&self) -> Date<'_> {
        Date::from_unix(self.seconds, self.zone.offset, &self.zone.name)
    }
}
