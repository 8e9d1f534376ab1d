//! What a session says and tells, where a transcript cannot show it; and the session against
//! our own receiving side. The conversations stand in `fixtures/smtp/client`.

mod server;

use std::time::Duration;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::limits;

const NOW: Time = Time::from_micros(7);

fn params() -> Params {
    Params::new(Name::parse("client.example").unwrap())
}

fn sender() -> ReversePath {
    ReversePath::Mailbox(Mailbox::parse("a@example.com").unwrap())
}

fn recipients(n: usize) -> Vec<Recipient> {
    let to = |nth| Mailbox::parse(&format!("r{nth}@example.org")).unwrap();
    (0..n).map(|nth| Recipient { to: to(nth), notify: None, orcpt: None }).collect()
}

fn mail<'m>(from: &'m ReversePath, recipients: &'m [Recipient]) -> Mail<'m> {
    Mail {
        from,
        size: Some(3),
        eight_bit: false,
        utf8_header: false,
        ret: None,
        envid: None,
        recipients,
    }
}

/// A session and its caller, who does nothing by himself.
struct Play {
    session: Session,
    now: Time,
    out: Vec<u8>,
}

impl Play {
    fn new(params: Params) -> Self {
        Self { session: Session::new(Arc::new(params), None, NOW), now: NOW, out: Vec::new() }
    }

    /// Greeted by a next hop that offers these.
    fn greeted(params: Params, offered: &str) -> Self {
        let mut play = Self::new(params);
        assert_eq!(play.hear("220 mx\r\n"), "Input");
        let mut ehlo = String::from("250-mx\r\n");
        offered.split_whitespace().for_each(|word| ehlo += &format!("250-{word}\r\n"));
        assert_eq!(play.hear(&(ehlo + "250 HELP\r\n")), "Caller");
        assert_eq!(play.said(), "EHLO client.example\n");
        play
    }

    /// The next hop says something; what the session tells, and what it then waits for.
    fn hear(&mut self, octets: &str) -> String {
        let mut input = octets.as_bytes();
        let mut told = String::new();
        loop {
            match self.session.step(&mut input, &mut self.out, self.now) {
                Step::Event(Event::StartTls) => told += "tls ",
                Step::Event(Event::Delivered { whom, reply }) => {
                    told += &format!("{whom:?} delivered {reply} / ");
                }
                Step::Event(Event::Failed { whom, failure }) => {
                    told += &format!("{whom:?} failed {failure} / ");
                }
                Step::Wait(wait) => return format!("{told}{wait:?}"),
                Step::Close => return told + "close",
            }
        }
    }

    /// What the session said since it was asked last.
    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).unwrap().replace("\r\n", "\n")
    }

    fn mail(&mut self, recipients: &[Recipient]) {
        self.session.mail(&mail(&sender(), recipients), &mut self.out, self.now).unwrap();
    }
}

#[test]
fn calls_at_another_time_change_nothing() {
    let mut play = Play::new(params());
    let sender = sender();
    let to = recipients(1);
    let mail = mail(&sender, &to);
    let mut content = &b"a\r\n"[..];
    let Play { session, out, .. } = &mut play;
    assert_eq!(session.mail(&mail, out, NOW), Err(NotNow));
    assert_eq!(session.body(&mut content, out, NOW), Err(NotNow));
    assert_eq!(session.end_of_data(out, NOW), Err(NotNow));
    assert_eq!(session.quit(out, NOW), Err(NotNow));
    session.tls_started(TlsInfo::usual(), out, NOW);
    assert_eq!((content.len(), out.len(), session.tls()), (3, 0, None));
    assert_eq!(play.hear(""), "Input");

    let mut play = Play::greeted(params(), "PIPELINING");
    play.mail(&to);
    let Play { session, out, .. } = &mut play;
    assert_eq!(session.mail(&mail, out, NOW), Err(NotNow));
    assert_eq!(session.quit(out, NOW), Err(NotNow));
    assert_eq!(session.end_of_data(out, NOW), Err(NotNow));
    assert_eq!(play.hear("250 a\r\n250 b\r\n354 c\r\n"), "Content");
    play.session.end_of_data(&mut play.out, NOW).unwrap();
    assert_eq!(play.session.end_of_data(&mut play.out, NOW), Err(NotNow));
    assert_eq!(play.session.body(&mut content, &mut play.out, NOW), Err(NotNow));
}

/// What a flight may be made of: everything in one, or a command at a time.
#[test]
fn a_message_costs_two_round_trips() {
    let mut play = Play::greeted(params(), "PIPELINING SIZE");
    play.mail(&recipients(2));
    let envelope = "MAIL FROM:<a@example.com> SIZE=3\nRCPT TO:<r0@example.org>\nRCPT TO:<r1@example.org>\nDATA\n";
    assert_eq!(play.said(), envelope);
    assert_eq!(play.hear("250 a\r\n250 b\r\n250 c\r\n354 d\r\n"), "Content");
    let mut content = &b"a\r\n"[..];
    play.session.body(&mut content, &mut play.out, NOW).unwrap();
    play.session.end_of_data(&mut play.out, NOW).unwrap();
    assert_eq!(play.said(), "a\n.\n");
    assert_eq!(play.hear("250 taken\r\n"), "Rest delivered 250 taken / Caller");
    assert_eq!(play.said(), "");
}

#[test]
fn content_is_taken_up_to_the_mark() {
    for (line, chunked) in [("text\r\n", false), ("text\r\n", true), (".\n.\r", false)] {
        let offered = "PIPELINING CHUNKING";
        let mut play = Play::greeted(Params { chunking: chunked, ..params() }, offered);
        play.mail(&recipients(1));
        play.hear("250 a\r\n250 b\r\n");
        if !chunked {
            play.hear("354 c\r\n");
        }
        play.out.clear();
        let all = line.repeat(50_000);
        let mut content = all.as_bytes();
        play.session.body(&mut content, &mut play.out, NOW).unwrap();
        assert_eq!(all.len() - content.len(), limits::BODY_OUTPUT);
        assert!(play.out.len() >= limits::BODY_OUTPUT && play.out.len() <= 2 * limits::BODY_OUTPUT);
        // Until something was sent there is no room.
        let (left, written) = (content.len(), play.out.len());
        play.session.body(&mut content, &mut play.out, NOW).unwrap();
        assert_eq!((content.len(), play.out.len()), (left, written));
    }
}

/// Each phase ends by itself, at its time, when the next hop says nothing, one octet of a
/// reply a second, or everything but the last.
#[test]
fn every_phase_has_an_end() {
    let second = Duration::from_secs(1);
    let seconds = |time: Duration| time.as_secs();
    let chat = |heard: &[&str]| {
        let mut play = Play::new(params());
        for part in heard {
            if play.hear(part).ends_with("Caller") {
                play.mail(&recipients(1));
            }
        }
        if play.hear("").ends_with("Content") && heard.last() == Some(&"250 c\r\n354 d\r\n") {
            play.session.end_of_data(&mut play.out, NOW).unwrap();
        }
        play
    };
    let [banner, ehlo, mail, rcpt] =
        ["220 a\r\n", "250-a\r\n250 PIPELINING\r\n", "250 b\r\n", "250 c\r\n"];
    for (heard, time) in [
        (&[][..], limits::HOP_TIME),
        (&[banner][..], limits::HOP_TIME),
        (&[banner, ehlo], limits::HOP_TIME),
        (&[banner, ehlo, mail], limits::HOP_TIME),
        (&[banner, ehlo, mail, rcpt], limits::HOP_DATA_TIME),
        (&[banner, ehlo, mail, "250 c\r\n354 d\r\n"], limits::HOP_END_TIME),
    ] {
        let mut play = chat(heard);
        let mut said = String::new();
        for _ in 1..seconds(time) {
            play.now = play.now + second;
            play.session.timeout(play.now);
            said.push_str(&"250-x"[..5.min(said.len() + 1)][said.len().min(4)..]);
            let before = play.hear(&said);
            assert!(before == "Input", "{heard:?} {before}");
        }
        play.now = play.now + second;
        assert_eq!(play.session.deadline(), play.now, "{heard:?}");
        play.session.timeout(play.now);
        assert_eq!(play.hear(&said), "Rest failed Connection timeout / close", "{heard:?}");
        assert_eq!(play.session.deadline(), Time::NEVER);
    }
}

#[test]
fn content_must_move_and_quit_is_not_waited_for_long() {
    let mut play = Play::greeted(params(), "PIPELINING");
    assert_eq!(play.session.deadline(), Time::NEVER);
    play.mail(&recipients(1));
    play.hear("250 a\r\n250 b\r\n354 c\r\n");
    for _ in 0..3 {
        play.now = play.session.deadline();
        play.session.body(&mut &b"x"[..], &mut play.out, play.now).unwrap();
    }
    assert_eq!(play.now, NOW + 3 * limits::HOP_BLOCK_TIME);
    play.session.timeout(play.now);
    assert_eq!(play.hear(""), "Content");
    play.now = play.session.deadline();
    play.session.timeout(play.now);
    assert_eq!(play.hear(""), "Rest failed Connection timeout / close");

    let mut play = Play::greeted(params(), "PIPELINING");
    play.session.quit(&mut play.out, NOW).unwrap();
    assert_eq!(play.hear(""), "Input");
    play.now = NOW + limits::HOP_QUIT_TIME;
    play.session.timeout(play.now);
    assert_eq!(play.hear(""), "close");
}
