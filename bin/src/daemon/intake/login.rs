//! Who a session is authenticated as, and the exchange that leads there.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use smtpd_config::table::TableId;
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{Credentials, Peer, Session as Engine, Ticket};

use crate::daemon::auth::{Challenged, Claim, Outcome, Proof, Slot};
use crate::log::session::{self as line, LoginResult};

/// What a session knows of who is at the other end.
#[derive(Default)]
pub struct Login {
    user: Option<Box<str>>,
    /// The question that is open, and where its outcome comes.
    awaited: Option<(Ticket, Arc<Slot>)>,
    /// What the next response is about.
    next: Option<Next>,
}

/// What a response of SCRAM answers.
enum Next {
    Challenge(Box<Challenged>),
    /// The last word of ours, with nothing: the peer has been shown to be this user.
    Nothing(Box<str>),
}

impl Login {
    /// The user that the peer has been shown to be.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What a peer gave to AUTH: a claim to be judged, or the reply. `table` is where the
    /// listener's users are, `has_scram` whether SCRAM is offered.
    pub fn claim(
        &mut self,
        engine: &Engine,
        (table, has_scram): (Option<TableId>, bool),
        credentials: Box<Credentials>,
    ) -> Result<Claim, Reply<'static>> {
        let proof = match (self.next.take(), &*credentials) {
            (Some(Next::Nothing(user)), Credentials::Response(octets)) if octets.is_empty() => {
                line::authentication(engine.id(), &user, LoginResult::Ok);
                self.user = Some(user);
                return Err(reply::AUTHENTICATED);
            }
            (Some(Next::Challenge(challenged)), Credentials::Response(_)) => {
                Proof::Answer(challenged, credentials)
            }
            (_, Credentials::Response(_)) => return Err(reply::BAD_AUTH),
            (_, Credentials::Password { .. } | Credentials::Scram { .. }) => {
                let binding = engine.tls().and_then(|tls| tls.binding);
                Proof::Credentials(credentials, binding.filter(|_| has_scram))
            }
        };
        let client = match engine.peer() {
            Peer::Ip(ip) => ip,
            Peer::Local => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        Ok(Claim { table, client, proof })
    }

    /// Remembers that a claim is being judged.
    pub fn await_outcome(&mut self, ticket: Ticket) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.awaited = Some((ticket, slot.clone()));
        slot
    }

    /// Whether that is the question about the claim.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.awaited.as_ref().is_some_and(|awaited| awaited.0 == ticket)
    }

    /// The claim is not judged: there is no room.
    pub fn refused(&mut self, session: u64, claim: &Claim) {
        self.awaited = None;
        if let Some(user) = claim.user() {
            line::authentication(session, user, LoginResult::TempFail);
        }
    }

    /// A question has its answer: if it is the one about the claim, what came of it is told, and
    /// counts if it came before the engine answered by itself.
    pub fn settle(&mut self, session: u64, ticket: Ticket, in_time: bool) {
        let about_it = |awaited: &mut (Ticket, Arc<Slot>)| awaited.0 == ticket;
        let Some((_, slot)) = self.awaited.take_if(about_it) else { return };
        // There is none of a judge that failed.
        let Some(outcome) = slot.take() else { return };
        let tell = |user: &str, result| line::authentication(session, user, result);
        match outcome {
            Outcome::Challenge(_, challenged) if in_time => {
                self.next = Some(Next::Challenge(challenged));
            }
            Outcome::Proven(user, _) if in_time => self.next = Some(Next::Nothing(user)),
            Outcome::Right(user) if in_time => {
                tell(&user, LoginResult::Ok);
                self.user = Some(user);
            }
            Outcome::Wrong(user, _) => tell(&user, LoginResult::PermFail),
            Outcome::Right(user) | Outcome::Proven(user, _) | Outcome::Unavailable(user, _) => {
                tell(&user, LoginResult::TempFail);
            }
            Outcome::Limited(user, _) => tell(&user, LoginResult::Limited),
            Outcome::Challenge(..) | Outcome::Malformed => {}
        }
    }
}
