//! Those who send mail: a script of commands from the seed, sent in pieces, and what is heard.

use std::collections::VecDeque;
use std::mem;

use smtpd_tests::rng::Rng;

use crate::mail::{Manner, content};
use crate::model::{Mail, Model};
use crate::people::{Gate, RECIPIENTS, TOLD};

const RSET: &[u8] = b"RSET\r\n";

/// What a reply is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum About {
    /// The connection.
    Banner,
    /// A command of which nothing follows.
    Other,
    /// Nothing may be sent before its reply.
    Hello,
    Rcpt(usize, usize),
    Data,
    /// What follows a DATA that was accepted, or the last chunk.
    End(usize),
}

struct Item {
    about: About,
    octets: Vec<u8>,
    /// How many replies it has.
    replies: usize,
    /// It is content of DATA, which waits for 354.
    waits: bool,
}

/// See the module.
pub struct Peer {
    /// How it is treated.
    pub manner: Manner,
    script: VecDeque<Item>,
    /// What is left of the item that is being sent.
    sending: Vec<u8>,
    sends: About,
    awaited: VecDeque<About>,
    heard: Vec<u8>,
    /// Sends all that it may without waiting for replies.
    pipelines: bool,
    /// Sends content without waiting for 354.
    rude: bool,
    /// Knows how to ask for notices.
    asks: bool,
    /// Hangs up when so many octets are sent.
    patience: Option<usize>,
}

impl Peer {
    /// A peer with some mail to send.
    pub fn new(rng: &mut Rng, model: &mut Model) -> Self {
        let mut peer = Self {
            manner: Manner { gate: *rng.pick(&Gate::ALL), loopback: rng.one_in(4) },
            script: VecDeque::new(),
            sending: Vec::new(),
            sends: About::Other,
            awaited: VecDeque::from([About::Banner]),
            heard: Vec::new(),
            pipelines: rng.one_in(2),
            rude: rng.one_in(8),
            asks: false,
            patience: rng.one_in(4).then(|| rng.below(3000)),
        };
        let hello = if rng.one_in(5) { "HELO" } else { "EHLO" };
        peer.asks = hello == "EHLO";
        peer.say(About::Hello, format!("{hello} peer.example.net\r\n"));
        for nth in 0..=rng.below(3) {
            if nth > 0 {
                // Without it, the recipients would belong to a transaction that got no data.
                peer.say(About::Other, RSET);
            }
            if rng.one_in(20) {
                // More replies than the server keeps for one that does not listen.
                let replies = 400;
                let octets = b"NOOP\r\n".repeat(replies);
                let item = Item { about: About::Other, octets, replies, waits: false };
                peer.script.push_back(item);
            }
            peer.transaction(rng, model);
        }
        peer.say(About::Other, "QUIT\r\n");
        peer
    }

    fn say(&mut self, about: About, octets: impl Into<Vec<u8>>) {
        let octets = octets.into();
        self.script.push_back(Item { about, octets, replies: 1, waits: false });
    }

    fn transaction(&mut self, rng: &mut Rng, model: &mut Model) {
        let nth = model.mails.len();
        let sender = *rng.pick(&["", "sender@example.net", TOLD, "dave@example.org"]);
        self.say(About::Other, format!("MAIL FROM:<{sender}>\r\n"));
        let mut recipients = Vec::new();
        for place in 0..=rng.below(4) {
            let to = *rng.pick(&RECIPIENTS);
            let asks = self.asks && (nth + place).is_multiple_of(3);
            let notify = if asks { " NOTIFY=SUCCESS,FAILURE,DELAY" } else { "" };
            self.say(About::Rcpt(nth, place), format!("RCPT TO:<{to}>{notify}\r\n"));
            recipients.push((to, None));
        }
        let content = content(rng, nth, self.manner);
        let gives_up = rng.one_in(8);
        if gives_up && rng.one_in(2) {
            // Before any content.
        } else if rng.one_in(3) && !content.trick {
            self.chunks(rng, nth, &content.sent, gives_up);
        } else {
            self.say(About::Data, "DATA\r\n");
            let (about, octets) = (About::End(nth), content.stuffed());
            self.script.push_back(Item { about, octets, replies: 1, waits: true });
        }
        if gives_up {
            match rng.one_in(2) {
                true => self.say(About::Hello, "EHLO peer.example.net\r\n"),
                false => self.say(About::Other, RSET),
            }
        }
        let (content, bad) = (content.delivered, content.bad);
        model.mails.push(Mail { sender, content, bad, recipients, whole: false, taken: None });
    }

    /// Content as chunks (RFC 3030); without the last one when it is given up.
    fn chunks(&mut self, rng: &mut Rng, nth: usize, content: &[u8], gives_up: bool) {
        let mut rest = content;
        loop {
            let size = if rng.one_in(2) { rest.len() } else { rng.below(rest.len() + 1) };
            let (chunk, after) = rest.split_at(size);
            rest = after;
            let last = rest.is_empty() && rng.one_in(2);
            if last && gives_up {
                return;
            }
            let mark = if last { " LAST" } else { "" };
            let mut octets = format!("BDAT {size}{mark}\r\n").into_bytes();
            octets.extend(chunk);
            self.say(if last { About::End(nth) } else { About::Other }, octets);
            if last {
                return;
            }
        }
    }

    /// What is sent next: nothing when a reply must come first, or when all was said.
    pub fn send(&mut self, rng: &mut Rng, model: &mut Model) -> Option<Vec<u8>> {
        if self.sending.is_empty() {
            let Item { waits, .. } = self.script.front()?;
            let ahead = *waits && self.rude;
            let barred = |about: &About| match about {
                About::Banner | About::Hello => true,
                About::Data => !ahead,
                _ => false,
            };
            let polite = self.pipelines || ahead || self.awaited.is_empty();
            if !polite || self.awaited.iter().any(barred) {
                return None;
            }
            let Item { about, octets, replies, .. } = self.script.pop_front()?;
            (self.sends, self.sending) = (about, octets);
            self.awaited.extend((0..replies).map(|_| about));
        }
        let whole = rng.one_in(2);
        let mut octets = if whole { self.sending.len() } else { 1 + rng.below(self.sending.len()) };
        if let Some(patience) = &mut self.patience {
            octets = octets.min(*patience);
            *patience -= octets;
        }
        let left = self.sending.split_off(octets);
        let sent = mem::replace(&mut self.sending, left);
        if self.sending.is_empty()
            && let About::End(mail) = self.sends
        {
            model.mails[mail].whole = true;
        }
        Some(sent)
    }

    /// Hears some octets of the server's.
    pub fn hear(&mut self, octets: &[u8], model: &mut Model) {
        self.heard.extend_from_slice(octets);
        while let Some(end) = self.heard.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = self.heard.drain(..end + 2).collect();
            let line = String::from_utf8(line).expect("replies are UTF-8");
            let code: u16 = line[..3].parse().expect("a reply begins with a code");
            if line[3..].starts_with('-') {
                continue;
            }
            self.replied(code, &line, model);
        }
    }

    fn replied(&mut self, code: u16, line: &str, model: &mut Model) {
        let Some(about) = self.awaited.pop_front() else {
            // Time is over, or the server goes down.
            assert!(code == 421, "nobody asked for {line}");
            return;
        };
        match about {
            About::Banner | About::Other | About::Hello => {}
            About::Rcpt(mail, place) => {
                model.mails[mail].recipients[place].1 = Some(code == 250);
            }
            About::Data if code == 354 => {}
            About::Data => {
                self.skip_if(|next| next.waits);
            }
            About::End(mail) => {
                model.answered(mail, code);
                if code == 250 && !self.pipelines {
                    self.skip_if(|next| next.octets == RSET);
                }
            }
        }
    }

    fn skip_if(&mut self, needless: impl Fn(&Item) -> bool) {
        if self.script.front().is_some_and(needless) {
            self.script.pop_front();
        }
    }

    /// Whether it hangs up now: it has had enough, or everything it wanted.
    pub fn is_done(&self) -> bool {
        self.is_fed_up()
            || (self.script.is_empty() && self.sending.is_empty() && self.awaited.is_empty())
    }

    /// Whether it hangs up in the middle.
    pub fn is_fed_up(&self) -> bool {
        self.patience == Some(0)
    }
}
