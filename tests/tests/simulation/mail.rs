//! A message from the seed: what is sent, and what must come of it.

use smtpd_tests::rng::Rng;

use crate::people::{Gate, MAX_SIZE};

/// How a peer is treated.
#[derive(Clone, Copy)]
pub struct Manner {
    /// Where it comes in.
    pub gate: Gate,
    /// It is a process of this machine.
    pub loopback: bool,
}

impl Manner {
    /// Whether headers are completed.
    fn submits(self) -> bool {
        self.loopback || self.gate == Gate::Submission
    }
}

/// Content as it is sent and as it is delivered.
pub struct Content {
    /// With CR LF and whatever does not belong there, dots not doubled.
    pub sent: Vec<u8>,
    /// With LF.
    pub delivered: Vec<u8>,
    /// No server may take it.
    pub bad: bool,
    /// Octets behind which other servers have seen the end of DATA; chunks do not have them.
    pub trick: bool,
}

/// Octets that do not belong into content, and what they are taken for by a listener that
/// normalizes, if that takes them. Behind a dot goes on what would be a command, had it ended the
/// data.
const STRAY: [(&[u8], Option<&[u8]>); 5] = [
    (b"a\nb", Some(b"a\nb")),
    (b"a\rb", Some(b"a\nb")),
    (b"a\0b", None),
    (b"a\n.\r\nNOOP", Some(b"a\n\nNOOP")),
    (b"a\r.\r\nNOOP", Some(b"a\n\nNOOP")),
];

/// Content of the message with that number. Mostly small. It may end within a line, as only
/// chunks can.
pub fn content(rng: &mut Rng, nth: usize, manner: Manner) -> Content {
    let mut content = Content { sent: Vec::new(), delivered: Vec::new(), bad: false, trick: false };
    content.line(format!("Subject: {nth}").as_bytes());
    content.line(b"Date: Tue, 1 Jul 2003 10:52:37 +0200");
    if rng.one_in(6) {
        let secret = b"Bcc: secret@example.org\r\n\tand@example.org\r\n";
        content.sent.extend(secret);
        if !manner.submits() {
            content.delivered.extend(secret.iter().filter(|octet| **octet != b'\r'));
        }
    }
    content.line(format!("Message-ID: <{nth}@peer>").as_bytes());
    if rng.one_in(50) {
        // A loop (RFC 5321 section 6.3).
        (0..100).for_each(|_| content.line(b"Received: by nobody; yesterday"));
        content.bad = true;
    }
    content.line(b"");
    for _ in 0..rng.below(8) {
        let mut line =
            rng.pick(&["", ".", "..", ".x", "Received: by nobody", "text"]).as_bytes().to_vec();
        if rng.one_in(6) {
            line.resize(line.len() + rng.below(3000), b'a' + (nth % 26) as u8);
        }
        content.line(&line);
    }
    let size = match rng.below(80) {
        0 => MAX_SIZE + 1 + rng.below(4000),
        1..3 => MAX_SIZE - rng.below(100_000),
        3..8 => (256 << 10) - 400 + rng.below(40_000),
        _ => 0,
    };
    content.bad |= size > MAX_SIZE;
    let mut number = 0;
    while content.sent.len() < size {
        let mut line = format!("{number} ").into_bytes();
        line.resize(1000, b'x');
        content.line(&line);
        number += 1;
    }
    if rng.one_in(10) {
        content.stray(rng, manner.gate);
    }
    if rng.one_in(3) {
        content.line(b"no line end");
        content.sent.truncate(content.sent.len() - 2);
    }
    content
}

impl Content {
    fn line(&mut self, text: &[u8]) {
        self.sent.extend(text);
        self.sent.extend(b"\r\n");
        self.delivered.extend(text);
        self.delivered.extend(b"\n");
    }

    /// Adds octets that do not belong there.
    fn stray(&mut self, rng: &mut Rng, gate: Gate) {
        let (octets, normalized) = *rng.pick(&STRAY);
        self.sent.extend(octets);
        self.sent.extend(b"\r\n");
        self.delivered.extend(normalized.unwrap_or_default());
        self.delivered.extend(b"\n");
        self.trick = octets.contains(&b'.');
        self.bad |= gate != Gate::Normalizing || normalized.is_none();
    }

    /// What is sent behind DATA: whole lines, dots doubled, and one at the end (RFC 5321 section
    /// 4.5.2).
    pub fn stuffed(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.sent.len() + 16);
        for line in self.sent.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") && (octets.is_empty() || octets.ends_with(b"\r\n")) {
                octets.push(b'.');
            }
            octets.extend(line);
        }
        if !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        octets.extend(b".\r\n");
        octets
    }
}
