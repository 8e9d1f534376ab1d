//! The exchange of AUTH (RFC 4954): PLAIN and LOGIN, the first message of SCRAM, and challenges
//! that the owner has.
//!
//! The lines leave the input at once and are told masked, as are those that follow a refused AUTH
//! and are no commands.

use crate::auth::{Credentials, decode};
use crate::command::{self, Mechanism};
use crate::reply::{self, Reply};
use crate::time::Time;

use super::{Event, Question, Session, State, Step};

/// Which response is next.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    User,
    Password { user: Vec<u8> },
    Scram { plus: bool },
    Challenge,
}

impl Exchange {
    /// What stands for the response in logs.
    fn mask(&self) -> &'static [u8] {
        match self {
            Self::Plain => b"AUTH PLAIN (...)",
            Self::User => b"AUTH LOGIN (username)",
            Self::Password { .. } => b"AUTH LOGIN (password)",
            Self::Scram { plus: false } => b"AUTH SCRAM-SHA-256 (...)",
            Self::Scram { plus: true } => b"AUTH SCRAM-SHA-256-PLUS (...)",
            Self::Challenge => b"AUTH (...)",
        }
    }

    /// The challenge, in base64 (RFC 4616, and what clients of LOGIN expect).
    fn challenge(&self) -> Reply<'static> {
        match self {
            Self::User => Reply::fixed(334, None, "VXNlcm5hbWU6"),
            Self::Password { .. } => Reply::fixed(334, None, "UGFzc3dvcmQ6"),
            Self::Plain | Self::Scram { .. } | Self::Challenge => Reply::fixed(334, None, ""),
        }
    }
}

impl Session {
    /// AUTH; `ready` when it may come now.
    pub(super) fn auth<'i>(
        &mut self,
        ready: bool,
        argument: &'i [u8],
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.alone = true;
        let (mechanism, initial) = command::auth(argument);
        let exchange = match mechanism {
            Mechanism::Plain => Exchange::Plain,
            Mechanism::Login => Exchange::User,
            Mechanism::Scram { plus } => Exchange::Scram { plus },
            Mechanism::Other(_) => Exchange::Challenge,
        };
        self.take_line(input, exchange.mask());
        let reply = match mechanism {
            _ if !ready => reply::NOT_NOW,
            _ if self.authenticated => reply::ALREADY_AUTHENTICATED,
            _ if !self.offers_auth() => reply::NOT_OFFERED,
            _ if argument.is_empty() => reply::NO_MECHANISM,
            Mechanism::Scram { plus } if !self.offers_scram(plus) => not_supported(match plus {
                false => "SCRAM-SHA-256",
                true => "SCRAM-SHA-256-PLUS",
            }),
            Mechanism::Other(Some(name)) => not_supported(name),
            Mechanism::Other(None) => reply::NO_SUCH_MECHANISM,
            Mechanism::Plain | Mechanism::Login | Mechanism::Scram { .. } => {
                return match initial {
                    Some(response) => self.respond(exchange, response, out, now),
                    None => {
                        self.challenge(exchange, out, now);
                        None
                    }
                };
            }
        };
        self.auth_refused = true;
        self.say(&reply, out, now);
        None
    }

    /// A line that answers a challenge.
    pub(super) fn auth_response<'i>(
        &mut self,
        line: &'i [u8],
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        let State::Auth(exchange) = std::mem::replace(&mut self.state, State::Ready) else {
            unreachable!("only an exchange has responses");
        };
        let more = input.len() > self.held as usize;
        self.take_line(input, exchange.mask());
        if more {
            self.close(&reply::NOT_SYNCHRONISED, out, now);
            return None;
        }
        self.alone = true;
        self.respond(exchange, line.trim_ascii(), out, now)
    }

    fn respond<'i>(
        &mut self,
        exchange: Exchange,
        response: &[u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        let credentials = match exchange {
            Exchange::Plain => Credentials::plain(response),
            Exchange::User => match decode(response) {
                Some(user) => {
                    self.challenge(Exchange::Password { user }, out, now);
                    return None;
                }
                None => None,
            },
            Exchange::Password { user } => Credentials::login(&user, response),
            Exchange::Scram { plus } => Credentials::scram(plus, response),
            Exchange::Challenge => Credentials::response(response),
        };
        match credentials {
            Some(credentials) => {
                let ticket = self.ask(Question::Auth, now);
                let credentials = Box::new(credentials);
                Some(Step::Event(Event::Auth { ticket, credentials }))
            }
            // `*` cancels (RFC 4954 section 4), and is no base64 either.
            None => {
                self.auth_refused = true;
                self.say(&reply::BAD_AUTH, out, now);
                None
            }
        }
    }

    fn challenge(&mut self, exchange: Exchange, out: &mut Vec<u8>, now: Time) {
        self.say(&exchange.challenge(), out, now);
        self.state = State::Auth(exchange);
    }
}

fn not_supported(mechanism: &str) -> Reply<'static> {
    let text = "Security features not supported: AUTH method";
    Reply::new(504, Some((7, 4)), format!("{text} \"{mechanism}\" not supported"))
}
