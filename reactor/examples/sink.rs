//! A server that takes every message and keeps none: what reactor and engine can do alone, with
//! no disk and no rules. Measure it with any SMTP load generator beside a sink that does less.
//!
//! ```text
//! cargo run --release -p smtpd-reactor --example sink -- 127.0.0.1:2525
//! ```

use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{Answer, Event, Params};
use smtpd_engine::time::Time;
use smtpd_reactor::tls::Handshake;
use smtpd_reactor::{
    About, Accept, Closed, ConnId, Handler, Inbox, Limits, Link, Listener, Reactor,
};
use std::net::TcpListener;
use std::sync::Arc;
use std::{env, io};

/// A real server would put the message's id there.
const ACCEPTED: Reply<'static> =
    Reply::fixed(250, Some((0, 0)), "00000000 Message accepted for delivery");

struct Sink {
    params: Arc<Params>,
    sessions: u64,
}

impl Handler for Sink {
    type Session = ();

    fn accept(&mut self, _: &Link<'_>, _: ConnId, _: Time) -> Accept<()> {
        self.sessions += 1;
        Accept::Session { params: Arc::clone(&self.params), id: self.sessions, own: (), tls: None }
    }

    fn event(&mut self, _: &mut (), about: &About<'_>, event: Event<'_>) -> Option<Answer> {
        let reply = match event {
            Event::Connected { .. } => reply::banner("sink.example"),
            Event::Hello { name, .. } => reply::hello("sink.example", &name, &about.session.peer()),
            Event::Mail { .. } => reply::OK,
            Event::Rcpt { .. } => reply::RCPT_OK,
            Event::Data { .. } => reply::SEND_DATA,
            Event::EndOfData { .. } => ACCEPTED,
            _ => return None,
        };
        Some(reply.into())
    }

    fn handshake(&mut self, _: Handshake) {
        unreachable!("no listener has TLS");
    }

    fn closed(&mut self, _: (), _: ConnId, _: Closed, _: Time) {}
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".into());
    let listener = Listener::tcp(TcpListener::bind(&address)?)?;
    let params = Params { max_mails: u32::MAX, ..Params::default() };
    let sink = Sink { params: Arc::new(params), sessions: 0 };
    let limits = Limits { sessions: 20_000, ..Limits::default() };
    Reactor::new(Inbox::new()?, vec![listener], limits, sink)?.run()?;
    Ok(())
}
