//! Conversations with a session: what it says and what it tells, whole and cut anywhere.

mod auth_tls;
mod bdat;
mod commands;
mod cuts;
mod data;
mod time;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::reply;

/// A session, a peer, and an owner that answers at once.
struct Play {
    session: Session,
    now: Time,
    input: Vec<u8>,
    out: Vec<u8>,
    /// What was told, one line each; runs of content joined.
    told: Vec<String>,
    body: Vec<u8>,
    /// What the last step came to.
    rest: Rest,
    /// Answers by hand: questions stay open.
    by_hand: Option<Ticket>,
    hold: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Wait(Wait),
    Closed,
}

fn params() -> Params {
    Params { report: Report::All, ..Params::default() }
}

fn peer() -> Peer {
    Peer::Ip([192, 0, 2, 1].into())
}

impl Play {
    /// A session without banner.
    fn new(params: Params, peer: Peer, tls: Option<TlsInfo>) -> Self {
        let now = Time::from_micros(7);
        let mut session = Session::new(Arc::new(params), 1, peer, now);
        if let Some(tls) = tls {
            session.tls_started(tls, now);
        }
        Self {
            session,
            now,
            input: Vec::new(),
            out: Vec::new(),
            told: Vec::new(),
            body: Vec::new(),
            rest: Rest::Wait(Wait::Answer),
            by_hand: None,
            hold: false,
        }
    }

    /// A session that was greeted with EHLO.
    fn greeted(params: Params) -> Self {
        let mut play = Self::new(params, peer(), None);
        play.send("");
        play.send("EHLO client.example\r\n");
        play.out.clear();
        play.told.clear();
        play
    }

    /// The same with a transaction of one recipient.
    fn mail(params: Params) -> Self {
        let mut play = Self::greeted(params);
        play.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
        play.out.clear();
        play.told.clear();
        play
    }

    fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        self.input.extend_from_slice(octets.as_ref());
        self.run();
        self
    }

    /// Sends, and gives the replies, one line each, without those before.
    fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        let from = self.out.len();
        self.send(octets);
        String::from_utf8(self.out.split_off(from)).unwrap().replace("\r\n", "\n")
    }

    fn tell(&mut self, text: String) {
        if !self.body.is_empty() {
            let body = String::from_utf8_lossy(&std::mem::take(&mut self.body)).into_owned();
            self.told.push(format!("body {body:?}"));
        }
        self.told.push(text);
    }

    fn run(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        self.rest = loop {
            match self.session.step(&mut rest, &mut self.out, self.now) {
                Step::Wait(wait) => break Rest::Wait(wait),
                Step::Close => break Rest::Closed,
                Step::Event(Event::Body(run)) => self.body.extend_from_slice(run),
                Step::Event(Event::Replied { command, code, reply }) => {
                    let line = String::from_utf8_lossy(&self.out[reply]).into_owned();
                    assert!(line.starts_with(&code.to_string()) && line.ends_with("\r\n"));
                    let command = command.map(String::from_utf8_lossy);
                    let line = line.trim_end().replace("\r\n", "|");
                    self.tell(format!("{} => {line}", command.as_deref().unwrap_or("-")));
                }
                Step::Event(event) => {
                    let ticket = event.ticket();
                    let answer = answer(&event);
                    self.tell(describe(&event));
                    if let Some(ticket) = ticket {
                        if self.hold {
                            self.by_hand = Some(ticket);
                        } else {
                            self.session.answer(ticket, answer, &mut self.out, self.now).unwrap();
                        }
                    }
                }
            }
        };
        self.input = rest.to_vec();
    }

    /// Answers the question that is open.
    fn answer(&mut self, reply: Reply<'static>) -> &mut Self {
        let ticket = self.by_hand.take().expect("a question is open");
        self.session.answer(ticket, reply.into(), &mut self.out, self.now).unwrap();
        self.run();
        self
    }

    /// Lets time pass, and the deadline if it comes.
    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self.session.timeout(&mut self.out, self.now);
        self.run();
        self
    }

    fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap().replace("\r\n", "\n")
    }
}

fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Connected { .. } => "connected".into(),
        Event::Hello { name, esmtp, .. } => format!("hello {name} {esmtp}"),
        Event::Auth { credentials, .. } => match &**credentials {
            Credentials::Password { user, password } => {
                format!("auth {user} {}", String::from_utf8_lossy(password))
            }
            Credentials::Scram { plus, message } => {
                format!("scram {plus} {}", String::from_utf8_lossy(message))
            }
            Credentials::Response(octets) => format!("auth {}", String::from_utf8_lossy(octets)),
        },
        Event::Mail { from, params, .. } => {
            let from = crate::address::ReversePath::from_event(*from, "mx.example");
            format!("mail <{from}> {:?} {}", params.size, params.smtputf8)
        }
        Event::Rcpt { to, params, .. } => {
            format!("rcpt <{}> {:?}", to.to_mailbox("mx.example"), params.notify)
        }
        Event::Data { .. } => "data".into(),
        Event::EndOfData { octets, .. } => format!("end {octets}"),
        Event::Command { command, .. } => format!("command {command:?}"),
        Event::StartTls => "starttls".into(),
        Event::Body(_) | Event::Replied { .. } => unreachable!(),
        Event::StrayOctet { octet, offset } => format!("stray {octet} at {offset}"),
        Event::Reset => "reset".into(),
    }
}

/// The owner: refuses users whose name begins with `no`, and the password `bad`.
fn answer(event: &Event<'_>) -> Answer {
    match event {
        Event::Connected { .. } => reply::banner("mx.example"),
        Event::Hello { name, .. } => reply::hello("mx.example", name, &peer()),
        Event::Auth { credentials, .. } => match &**credentials {
            Credentials::Password { password, .. } if password == b"bad" => reply::AUTH_FAILED,
            Credentials::Password { user, .. } if user == "ask" => Reply::fixed(334, None, "YQ=="),
            _ => reply::AUTHENTICATED,
        },
        Event::Mail { from: Some(from), .. } if from.local == "no" => reply::SENDER_REJECTED,
        Event::Rcpt { to, .. } if to.local.starts_with("no") => reply::INVALID_RECIPIENT,
        Event::Rcpt { .. } => reply::RCPT_OK,
        Event::Data { .. } => reply::SEND_DATA,
        Event::EndOfData { .. } => {
            Reply::fixed(250, Some((0, 0)), "00000001 Message accepted for delivery")
        }
        _ => reply::OK,
    }
    .into()
}
