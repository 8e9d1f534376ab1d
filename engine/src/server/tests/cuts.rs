//! The same octets cut anywhere give the same events and replies, and noise gives no panic.

use super::*;

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

/// Plays the writes; each comes in pieces of which `cut` gives the length.
fn play(params: &Params, writes: &[&[u8]], mut cut: impl FnMut(usize) -> usize) -> Play {
    let mut play = Play::new(params.clone(), peer(), None);
    play.send("");
    for write in writes {
        let mut rest = *write;
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(cut(rest.len()).clamp(1, rest.len()));
            play.send(piece);
            if play.rest == Rest::Wait(Wait::Output) {
                play.tell("output".to_owned());
                play.out.clear();
                play.run();
            }
            rest = next;
        }
    }
    play.tell("over".to_owned());
    play
}

fn same(params: &Params, writes: &[&[u8]]) {
    let whole = play(params, writes, |all| all);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for round in 0..40 {
        let most = [1, 2, 3, 7, 50, 1000][round % 6];
        let other = play(params, writes, |_| 1 + dice.roll(most));
        assert_eq!(other.told, whole.told, "round {round}");
        assert_eq!(other.out, whole.out);
        assert_eq!(other.rest, whole.rest);
    }
}

#[test]
fn conversations_cut_anywhere() {
    let long = [&b"x".repeat(70_000)[..], b"\r\n.\r\n"].concat();
    let conversations: &[&[&[u8]]] = &[
        &[b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<no@d>\r\nDATA\r\nx\r\n..y\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n"],
        &[b"HELO x\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", b"a\nb\r\n.\r\r\n\0.\r\n\r\n.\r\n", b"HELP\r\n"],
        &[b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 5\r\nab\r\n\rBDAT 3\r\n\nQUBDAT 4 LAST\r\nIT\r\nBDAT 6\r\nQUIT\r\nQUIT\r\n"],
        &[b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\nBDAT 5\r\nabcdeRCPT TO:<c@d>\r\nBDAT 99 X\r\nMAIL FROM:<>\nNOOP\r\n"],
        &[b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", &long, b"NOOP\r\n"],
        &[b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"EHLO y\r\n", b"MAIL FROM:<a@b>\r\n", b"HELO z\r\n", b"FOO\r\nGET / HTTP/1.0\r\n"],
    ];
    for writes in conversations {
        same(&params(), writes);
        same(&Params { stray_newline: StrayNewline::Normalize, max_size: 9, ..params() }, writes);
        same(&Params { stray_newline: StrayNewline::Normalize, ..params() }, writes);
    }
}

const WORDS: &[&[u8]] = &[
    b"EHLO x",
    b"HELO y",
    b"MAIL FROM:<a@b>",
    b"RCPT TO:<c@d>",
    b"RCPT TO:<no@d>",
    b"DATA",
    b"BDAT 5",
    b"BDAT 12 LAST",
    b"BDAT 0 LAST",
    b"BDAT 18446744073709551615",
    b"RSET",
    b"NOOP",
    b"VRFY x",
    b"HELP",
    b"QUIT",
    b"STARTTLS",
    b"AUTH PLAIN",
    b"AUTH LOGIN dXNlcg==",
    b"cGFzcw==",
    b"*",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b"..",
    b" ",
    b"<",
    b">",
    b"\"",
    b"\xff",
    b"\xc3\xbc",
    b" SIZE=",
    b" NOTIFY=",
    b"xtext+2B",
    b"x",
];

/// Words and noise in any order, at any cut, under any clock, with any answer.
#[test]
fn noise() {
    for seed in 1..3000u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let normalize = dice.roll(2) == 0;
        let params = Params {
            max_size: [0, 10, 1000, u64::MAX][dice.roll(4)],
            starttls: [Demand::Never, Demand::Offered][dice.roll(2)],
            auth: [Demand::Never, Demand::Offered][dice.roll(2)],
            stray_newline: if normalize { StrayNewline::Normalize } else { StrayNewline::Reject },
            ask: Ask { starttls: false, rset: dice.roll(2) == 0, noop: false, quit: false },
            ..params()
        };
        let peer = if dice.roll(4) == 0 { Peer::Local } else { peer() };
        let secure = (dice.roll(2) == 0).then(TlsInfo::usual);
        let mut play = Play::new(params, peer, secure);
        for _ in 0..60 {
            let mut octets = Vec::new();
            for _ in 0..dice.roll(8) {
                if dice.roll(10) == 0 {
                    octets.extend((0..dice.roll(30)).map(|_| dice.roll(256) as u8));
                } else {
                    octets.extend_from_slice(WORDS[dice.roll(WORDS.len())]);
                    if dice.roll(2) == 0 {
                        octets.extend_from_slice(b"\r\n");
                    }
                }
            }
            play.hold = dice.roll(6) == 0;
            play.send(octets);
            match dice.roll(12) {
                0 => drop(play.wait(Duration::from_secs(dice.roll(400) as u64))),
                1 => play.session.set_pressed(true),
                2 => play.session.resumed(play.now),
                3 if play.told.last().is_some_and(|told| told == "starttls") => {
                    play.session.tls_started(TlsInfo::usual(), play.now);
                }
                4 if dice.roll(20) == 0 => {
                    play.session.shut_down(&mut play.out, play.now);
                    play.run();
                }
                _ => {}
            }
            play.out.clear();
            if let Some(ticket) = play.by_hand.take() {
                let reply =
                    [reply::OK, reply::SEND_DATA, reply::TEMPORARY_FAILURE][dice.roll(3)].clone();
                let _ = play.session.answer(ticket, reply.into(), &mut play.out, play.now);
            }
        }
    }
}
