//! The name of a client: asked for when it connects, waited for only by what cannot do without.
//!
//! The resolver's thread leaves the name in a [`Slot`] and has the reactor look at the session. A
//! session whose question needs the name before that is answered then; the resolver answers within
//! seconds, be it that there is no name.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use smtpd_engine::server::{Peer, Ticket};
use smtpd_engine::tls::TlsInfo;

use super::received::NO_NAME;
use super::transaction::Accepted;

/// The name of a client as the DNS has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// A host name.
    pub name: Box<str>,
    /// That name has the client's address. Else it is only what the owner of the address claims.
    pub confirmed: bool,
}

/// Where the answer is left, once: the name, or that there is none or it was not found in time.
#[derive(Debug, Default)]
pub struct Slot(OnceLock<Option<Name>>);

impl Slot {
    /// Leaves the answer.
    pub fn put(&self, name: Option<Name>) {
        // The first answer stays.
        let _ = self.0.set(name);
    }
}

/// A client whose name is asked for.
#[derive(Debug)]
pub struct Question<C> {
    /// The connection, to be resumed when the answer is there.
    pub conn: C,
    /// The client's address.
    pub ip: IpAddr,
    /// Where the answer goes.
    pub slot: Arc<Slot>,
}

/// Who is at the other end, and what is known of it.
#[derive(Debug)]
pub struct Client {
    /// The peer.
    pub peer: Peer,
    /// None for a peer that has no name in the DNS.
    slot: Option<Arc<Slot>>,
    /// What waits for the name.
    pub waiting: Option<(Ticket, Waiting)>,
    /// What the log does not know yet.
    pub untold: Untold,
}

/// What is told of a client when it is known what it is called, or before anything else is told.
#[derive(Debug, Default)]
pub struct Untold {
    /// Not that it is there: that was told.
    pub connected: bool,
    /// That it sent something before the banner.
    pub early: bool,
    /// That TLS has begun.
    pub tls: Option<Box<TlsInfo>>,
}

impl Untold {
    /// Nothing that the log does not know.
    pub fn told() -> Untold {
        Untold { connected: true, ..Untold::default() }
    }
}

/// A question of a session that waits for the name.
#[derive(Debug)]
pub enum Waiting {
    /// RCPT.
    Recipient(Box<Accepted>),
    /// DATA, or the first BDAT.
    Data,
}

impl Client {
    /// The client of a new connection, and the question for its name.
    pub fn new<C>(peer: Peer, conn: C) -> (Client, Option<Question<C>>) {
        let slot = match peer {
            Peer::Local => None,
            Peer::Ip(ip) => Some((ip, Arc::new(Slot::default()))),
        };
        let client = Client {
            peer,
            slot: slot.as_ref().map(|(_, slot)| slot.clone()),
            waiting: None,
            untold: Untold::default(),
        };
        (client, slot.map(|(ip, slot)| Question { conn, ip, slot }))
    }

    /// Whether it is known what the client is called, if anything.
    pub fn is_known(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| slot.0.get().is_some())
    }

    fn found(&self) -> Option<&Name> {
        self.slot.as_ref()?.0.get()?.as_ref()
    }

    /// The name that its address has in the DNS, as far as it is known: what rules and log lines
    /// see, as in OpenSMTPD.
    pub fn rdns(&self) -> Option<&str> {
        self.found().map(|name| &*name.name)
    }

    /// Whether that name leads back to its address.
    pub fn is_confirmed(&self) -> bool {
        self.found().is_some_and(|name| name.confirmed)
    }

    /// The name in words: that of this `server` for its own processes.
    pub fn shown<'a>(&'a self, server: &'a str) -> &'a str {
        match self.peer {
            Peer::Local => server,
            Peer::Ip(_) => self.rdns().unwrap_or(NO_NAME),
        }
    }

    /// The name to be written into the message, where others trust in what they read: only one
    /// that leads back to the client.
    pub fn vouched<'a>(&'a self, server: &'a str) -> &'a str {
        match self.found() {
            Some(name) if !name.confirmed => NO_NAME,
            _ => self.shown(server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(answer: Option<(&str, bool)>) -> Client {
        let (client, question) = Client::new(Peer::Ip([192, 0, 2, 1].into()), ());
        assert!(!client.is_known());
        assert_eq!((client.rdns(), client.shown("us")), (None, NO_NAME));
        let name = answer.map(|(name, confirmed)| Name { name: name.into(), confirmed });
        question.unwrap().slot.put(name);
        assert!(client.is_known());
        client
    }

    #[test]
    fn what_is_only_claimed_does_not_go_into_messages() {
        let confirmed = client(Some(("mail.example", true)));
        assert_eq!(
            (confirmed.shown("us"), confirmed.vouched("us")),
            ("mail.example", "mail.example")
        );
        let claimed = client(Some(("mail.example", false)));
        assert_eq!((claimed.shown("us"), claimed.vouched("us")), ("mail.example", NO_NAME));
        assert_eq!((claimed.rdns(), claimed.is_confirmed()), (Some("mail.example"), false));
        assert!(confirmed.is_confirmed());
        let nameless = client(None);
        assert_eq!((nameless.shown("us"), nameless.vouched("us")), (NO_NAME, NO_NAME));
    }

    #[test]
    fn programs_of_this_machine_have_its_name() {
        let (client, question) = Client::new(Peer::Local, ());
        assert!(question.is_none() && client.is_known());
        assert_eq!((client.rdns(), client.shown("us"), client.vouched("us")), (None, "us", "us"));
    }
}
