//! Against our own receiving side, in memory: what it takes is octet for octet what was given.

use super::*;
use crate::dsn::{Notify, Orcpt, Ret};
use crate::reply;
use crate::server;

/// Marsaglia's xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % sides
    }
}

/// A message as its sender has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    from: ReversePath,
    to: Vec<Recipient>,
    ret: Option<Ret>,
    envid: Option<String>,
    content: Vec<u8>,
}

/// One that `roll` makes up: dots, empty lines and long ones, now and then no end to the last.
fn message(dice: &mut Dice) -> Message {
    const PIECES: [&[u8]; 8] =
        [b".", b"..", b"\r\n", b"\r\n", b"\r\n.\r\n", b"text", b"\xc3\xbc\xff", b" \t\x01\x7f"];
    let mut content = Vec::new();
    for _ in 0..dice.roll(60) {
        content.extend_from_slice(PIECES[dice.roll(PIECES.len())]);
        if dice.roll(200) == 0 {
            content.extend(std::iter::repeat_n(b'x', dice.roll(60_000)));
            content.extend_from_slice(b"\r\n");
        }
    }
    if dice.roll(30) == 0 {
        content.extend_from_slice(b"\r\n");
        content.extend(b".line of some length\r\n".repeat(dice.roll(20_000)));
    }
    let (plain, odd) = (["r", "s", "t", "no"], ["\"a b\"", "j\u{fc}rgen"]);
    let recipient = |dice: &mut Dice| {
        let local = if dice.roll(20) == 0 { odd[dice.roll(2)] } else { plain[dice.roll(4)] };
        Recipient {
            to: Mailbox::parse(&format!("{local}@example.org")).unwrap(),
            notify: [None, Some(Notify::NEVER), Notify::parse("SUCCESS,DELAY").ok()][dice.roll(3)],
            orcpt: [None, Some("rfc822;x+2By@example.org".to_owned())][dice.roll(2)].clone(),
        }
    };
    Message {
        from: if dice.roll(4) == 0 { ReversePath::Null } else { sender() },
        to: (0..1 + dice.roll(4)).map(|_| recipient(dice)).collect(),
        ret: [None, Some(Ret::Full), Some(Ret::Headers)][dice.roll(3)],
        envid: [None, Some("Q+2BQ".to_owned())][dice.roll(2)].clone(),
        content,
    }
}

/// Client, server, and what is on the wire between them, which moves in pieces of any size.
struct World {
    client: Session,
    server: server::Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// What the server took.
    taken: Vec<Message>,
    arriving: Option<Message>,
    /// Refused for good.
    bounced: usize,
    delivered: usize,
}

impl World {
    /// The server's owner accepts all but those named `no`.
    fn serve(&mut self, received: &mut Vec<u8>) {
        let mut input = &received[..];
        loop {
            match self.server.step(&mut input, &mut self.to_client, NOW) {
                server::Step::Wait(_) | server::Step::Close => break,
                server::Step::Event(event) => {
                    let answer = match &event {
                        server::Event::Connected { .. } => reply::banner("mx"),
                        server::Event::Mail { from, params, .. } => {
                            self.arriving = Some(Message {
                                from: ReversePath::from_event(*from, "x"),
                                to: Vec::new(),
                                ret: params.ret,
                                envid: params.envid.map(str::to_owned),
                                content: Vec::new(),
                            });
                            reply::OK
                        }
                        server::Event::Rcpt { to, .. } if to.local == "no" => {
                            reply::INVALID_RECIPIENT
                        }
                        server::Event::Rcpt { to, params, .. } => {
                            let arriving = self.arriving.as_mut().expect("behind MAIL");
                            arriving.to.push(Recipient {
                                to: to.to_mailbox("x"),
                                notify: params.notify,
                                orcpt: params.orcpt.map(|o: Orcpt<'_>| o.as_str().to_owned()),
                            });
                            reply::RCPT_OK
                        }
                        server::Event::Data { .. } => reply::SEND_DATA,
                        server::Event::Body(run) => {
                            let arriving = self.arriving.as_mut().expect("behind MAIL");
                            arriving.content.extend_from_slice(run);
                            continue;
                        }
                        server::Event::EndOfData { .. } => {
                            self.taken.extend(self.arriving.take());
                            reply::OK
                        }
                        server::Event::StrayOctet { octet, .. } => panic!("octet {octet}"),
                        server::Event::StartTls => {
                            self.server.tls_started(TlsInfo::usual(), NOW);
                            continue;
                        }
                        _ => reply::OK,
                    };
                    if let Some(ticket) = event.ticket() {
                        let out = &mut self.to_client;
                        self.server.answer(ticket, answer.into(), out, NOW).unwrap();
                    }
                }
            }
        }
        let taken = received.len() - input.len();
        received.drain(..taken);
    }

    /// The client's caller sends `messages` one after the other.
    fn call(
        &mut self,
        dice: &mut Dice,
        received: &mut Vec<u8>,
        messages: &[Message],
        next: &mut usize,
        offset: &mut usize,
    ) -> bool {
        let mut input = &received[..];
        let mut over = false;
        loop {
            let out = &mut self.to_server;
            match self.client.step(&mut input, out, NOW) {
                Step::Event(Event::StartTls) => {
                    self.client.tls_started(TlsInfo::usual(), out, NOW);
                }
                Step::Event(Event::Delivered { .. }) => self.delivered += 1,
                Step::Event(Event::Failed { failure, .. }) => {
                    let text = failure.to_string();
                    assert!(failure.is_permanent() && text.contains("Invalid recipient"), "{text}");
                    self.bounced += 1;
                }
                Step::Wait(Wait::Caller) if *next == messages.len() => {
                    self.client.quit(out, NOW).unwrap();
                }
                Step::Wait(Wait::Caller) => {
                    let message = &messages[*next];
                    *next += 1;
                    *offset = 0;
                    let mail = Mail {
                        from: &message.from,
                        size: Some(message.content.len() as u64),
                        eight_bit: !message.content.is_ascii(),
                        utf8_header: false,
                        ret: message.ret,
                        envid: message.envid.as_deref(),
                        recipients: &message.to,
                    };
                    self.client.mail(&mail, out, NOW).unwrap();
                }
                Step::Wait(Wait::Content) => {
                    let content = &messages[*next - 1].content;
                    // A run of any length is at hand.
                    let run = 1 + dice.roll((content.len() - *offset).max(1));
                    let end = content.len().min(*offset + run);
                    let mut rest = &content[*offset..end];
                    self.client.body(&mut rest, out, NOW).unwrap();
                    *offset = end - rest.len();
                    if *offset == content.len() {
                        self.client.end_of_data(out, NOW).unwrap();
                    } else {
                        break;
                    }
                }
                Step::Wait(_) => break,
                Step::Close => {
                    over = true;
                    break;
                }
            }
        }
        let taken = received.len() - input.len();
        received.drain(..taken);
        !over
    }
}

/// Some of what is on the wire arrives.
fn arrive(dice: &mut Dice, wire: &mut Vec<u8>, received: &mut Vec<u8>) {
    let octets = wire.len().min(1 + dice.roll(wire.len().max(1)));
    received.extend(wire.drain(..octets));
}

#[test]
fn what_was_given_is_what_is_taken() {
    let mut chunks = 0;
    for seed in 1..400u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let messages: Vec<Message> = (0..1 + dice.roll(4)).map(|_| message(&mut dice)).collect();
        let chunking = dice.roll(2) == 0;
        let starttls = [server::Demand::Never, server::Demand::Offered][dice.roll(2)];
        let there = server::Params { starttls, ..server::Params::default() };
        let peer = server::Peer::Ip([192, 0, 2, 1].into());
        let here = Params { chunking, ..params() };
        let mut world = World {
            client: Session::new(Arc::new(here), None, NOW),
            server: server::Session::new(Arc::new(there), 1, peer, NOW),
            to_server: Vec::new(),
            to_client: Vec::new(),
            taken: Vec::new(),
            arriving: None,
            bounced: 0,
            delivered: 0,
        };
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        let (mut next, mut offset) = (0, 0);
        let mut turns = 0;
        loop {
            arrive(&mut dice, &mut world.to_server, &mut at_server);
            world.serve(&mut at_server);
            arrive(&mut dice, &mut world.to_client, &mut at_client);
            if !world.call(&mut dice, &mut at_client, &messages, &mut next, &mut offset) {
                break;
            }
            turns += 1;
            assert!(turns < 100_000, "seed {seed}: nothing moves");
        }
        assert_eq!(world.client.tls().is_some(), starttls == server::Demand::Offered);

        let refused = |r: &Recipient| r.to.local_part() == "no";
        let bounced = messages.iter().flat_map(|m| &m.to).filter(|r| refused(r)).count();
        assert_eq!(world.bounced, bounced, "seed {seed}");
        let mut expected = messages.clone();
        expected.iter_mut().for_each(|m| m.to.retain(|r| !refused(r)));
        expected.retain(|m| !m.to.is_empty());
        assert_eq!(world.delivered, expected.len(), "seed {seed}");
        chunks += if chunking { expected.len() } else { 0 };
        // Our receiving side ends the last line, if nobody else did.
        for message in &mut expected {
            if !message.content.is_empty() && !message.content.ends_with(b"\r\n") {
                message.content.extend_from_slice(b"\r\n");
            }
        }
        assert_eq!(world.taken.len(), expected.len(), "seed {seed}");
        for (taken, expected) in world.taken.iter().zip(&expected) {
            assert_eq!((&taken.from, &taken.to), (&expected.from, &expected.to), "seed {seed}");
            assert_eq!((taken.ret, &taken.envid), (expected.ret, &expected.envid), "seed {seed}");
            let (taken, expected) = (&taken.content, &expected.content);
            let at = taken.iter().zip(expected).position(|(a, b)| a != b);
            let at = at.unwrap_or(taken.len().min(expected.len()));
            let behind = |m: &[u8]| m[at..m.len().min(at + 50)].escape_ascii().to_string();
            assert_eq!(behind(taken), behind(expected), "seed {seed}: octet {at}");
        }
    }
    assert!(chunks > 100, "few went in chunks");
}
