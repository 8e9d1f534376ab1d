//! The messages that are sent: all of one size, each with a Message-ID of its own.

use std::fmt::Write as _;

use crate::options::Options;

/// What all messages share; only the number differs.
pub struct Message {
    /// MAIL, one RCPT for each recipient, and DATA, each with its CR LF.
    pub commands: Vec<String>,
    /// Header fields before the number.
    head: String,
    /// From the end of the number to the final dot.
    pub tail: Vec<u8>,
}

/// Digits of a message's number: every message has the same size.
const DIGITS: usize = 10;
/// Octets of a line of the text with its CR LF.
const LINE: usize = 78;

impl Message {
    /// The messages that `options` describe. A size below that of the header gives the header
    /// with an empty text.
    pub fn new(options: &Options) -> Message {
        let mut commands = vec![format!("MAIL FROM:<{}>\r\n", options.from)];
        commands.extend(options.rcpts.iter().map(|rcpt| format!("RCPT TO:<{rcpt}>\r\n")));
        commands.push("DATA\r\n".into());
        let to = options.rcpts.first().map_or("", String::as_str);
        let mut head = String::new();
        let _ = write!(head, "From: <{}>\r\nTo: <{to}>\r\nSubject: load\r\n", options.from);
        head += "Date: Tue, 01 Jan 2030 00:00:00 +0000\r\nMessage-ID: <";
        let mut tail = b"@client.test>\r\n\r\n".to_vec();
        let mut text = options.text.iter().copied().cycle();
        let mut left = options.size.saturating_sub(head.len() + DIGITS + tail.len());
        while left > 0 {
            // The last line takes what is left, and never leaves less than a CR LF behind it.
            let line = if left < LINE + 3 { left } else { LINE };
            for nth in 0..line.saturating_sub(2) {
                // A dot in front would end the message or have to be doubled.
                let octet = text.next().filter(|octet| nth > 0 || *octet != b'.');
                tail.push(octet.unwrap_or(b'x'));
            }
            tail.extend_from_slice(b"\r\n");
            left -= line;
        }
        tail.extend_from_slice(b".\r\n");
        Message { commands, head, tail }
    }

    /// The octets of message `number` that come before `tail`.
    pub fn head(&self, number: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        out.extend_from_slice(format!("{number:0DIGITS$}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_asked_for_and_ends_once() {
        for size in [300, 301, 377, 378, 379, 380, 381, 1024, 65_536] {
            let options = Options {
                size,
                rcpts: vec!["a@bench.test".into(), "b@bench.test".into()],
                ..Options::default()
            };
            let message = Message::new(&options);
            let mut octets = Vec::new();
            message.head(7, &mut octets);
            octets.extend_from_slice(&message.tail);
            assert_eq!(octets.len(), size + b".\r\n".len());
            let text = String::from_utf8(octets).unwrap();
            assert_eq!(text.find("\r\n.\r\n"), Some(size - 2), "the final dot stands at the end");
            assert!(text.lines().all(|line| line.len() <= 998));
            assert_eq!(message.commands.len(), 4);
        }
    }
}
