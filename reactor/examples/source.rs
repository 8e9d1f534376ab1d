//! A client that sends messages of 1 KiB as fast as they are taken: what reactor and engine can do
//! alone on the sending side. Measure it against the example `sink`.
//!
//! ```text
//! cargo run --release -p smtpd-reactor --example source -- 127.0.0.1:2525 10 20000
//! ```
//!
//! Prints messages a second, of so many connections and messages.

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::client::{Event, Mail, Name, Params, Recipient, Tls};
use smtpd_engine::time::Time;
use smtpd_reactor::ConnId;
use smtpd_reactor::calls::{
    Caller, Calling, Calls, Hangup, Inbox, Limits, Next, Piece, Reactor, Sender, Target,
};
use smtpd_reactor::dns::{Answer, QueryId, Settings, Sockets};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io};

struct Source {
    address: SocketAddr,
    params: Arc<Params>,
    sender: Sender<()>,
    content: Vec<u8>,
    recipients: Vec<Recipient>,
    connections: usize,
    to_begin: u64,
    delivered: u64,
}

impl Caller for Source {
    type Session = ();
    type Message = ();

    fn message(&mut self, (): (), _: &mut Calls<'_, Source>) {}

    fn ready<'c>(&'c mut self, (): &'c mut (), _: &Calling<'_>) -> Next<'c> {
        if self.to_begin == 0 {
            return Next::Quit;
        }
        self.to_begin -= 1;
        Next::Mail(Mail {
            from: &ReversePath::Null,
            size: Some(self.content.len() as u64),
            eight_bit: false,
            utf8_header: false,
            ret: None,
            envid: None,
            recipients: &self.recipients,
        })
    }

    fn content<'c>(&'c mut self, (): &'c mut (), from: u64) -> Piece<'c> {
        match &self.content[from as usize..] {
            [] => Piece::End,
            octets => Piece::Octets(octets),
        }
    }

    fn event(&mut self, (): &mut (), _: &Calling<'_>, event: Event<'_>) {
        match event {
            Event::Delivered { .. } => self.delivered += 1,
            event => eprintln!("{event:?}"),
        }
    }

    fn resolved(&mut self, _: QueryId, _: &Answer, _: &mut Calls<'_, Source>) {}

    fn closed(&mut self, (): (), _: ConnId, why: Hangup, _: Time) {
        if !matches!(why, Hangup::Quit) {
            eprintln!("{why:?}");
        }
        self.connections -= 1;
        if self.connections == 0 {
            self.sender.stop();
        }
    }

    fn turn_over(&mut self, calls: &mut Calls<'_, Source>) {
        // The first turn is the one that a message of `main` brings.
        if self.connections == 0 && self.to_begin > 0 {
            self.connections = env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(10);
            for id in 0..self.connections as u64 {
                let target = Target {
                    id,
                    address: self.address,
                    source: None,
                    params: Arc::clone(&self.params),
                    tls: None,
                    immediate: false,
                    connect_time: Duration::from_secs(30),
                };
                calls.connect(target, ());
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".into());
    let messages = env::args().nth(3).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let wrong = |words: &str| io::Error::new(io::ErrorKind::InvalidInput, words);
    let name = Name::parse("source.example").ok_or_else(|| wrong("a name"))?;
    let to = Mailbox::parse("b@example.org").map_err(|_| wrong("a mailbox"))?;
    let inbox = Inbox::new()?;
    let sender = inbox.sender();
    let source = Source {
        address: address.parse().map_err(|_| wrong("not ADDRESS:PORT"))?,
        params: Arc::new(Params { tls: Tls::Never, ..Params::new(name) }),
        sender: sender.clone(),
        content: b"0123456789abcdef0123456789abcd\r\n".repeat(32),
        recipients: vec![Recipient { to, notify: None, orcpt: None }],
        connections: 0,
        to_begin: messages,
        delivered: 0,
    };
    sender.send(());
    let begin = Instant::now();
    let names = Sockets::new(Settings::read(b"", b""), Box::new(|| 0));
    let source = Reactor::new(inbox, Limits::default(), names, source).run()?;
    println!("{:.0} messages/s", source.delivered as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}
