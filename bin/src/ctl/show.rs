//! What the `show` commands print, line by line as scripts of ten years read it.

use std::io::{self, Write};

use crate::control::entry::{Agent, Origin, QueueEntry, Situation};
use crate::control::order::Action;
use crate::control::{Certificate, Status, System};
use crate::log::span::Span;
use crate::log::vis::vis;

/// `show queue`: one envelope.
///
/// ```text
/// EVPID|SRC|AGENT|FLAGS|SENDER|RCPT|DEST|CTIME|EXPIRE|LASTTRY|RETRY|STATE|N|ERROR
/// ```
///
/// `now` is Unix seconds; `None` when no daemon schedules the envelope. A held envelope has the flag `hold` and, as upstream, counts as pending
/// since then: its N is negative. One that was paused by hand has the flag `suspend`.
///
/// # Errors
/// Of the output.
pub fn queue_entry(out: &mut dyn Write, entry: &QueueEntry, now: Option<u64>) -> io::Result<()> {
    let source = match entry.origin {
        Origin::Local => "local",
        Origin::Inet4 => "inet4",
        Origin::Inet6 => "inet6",
    };
    let agent = match entry.agent {
        Agent::Mda => "mda",
        Agent::Mta => "mta",
    };
    let flags = [
        (entry.authenticated, "auth"),
        (entry.suspended, "suspend"),
        (matches!(entry.situation, Situation::Held(_)), "hold"),
    ];
    let flags: Vec<_> = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
    let flags = flags.join(",");
    let (state, seconds) = match (entry.situation, now) {
        (_, None) => ("offline", String::new()),
        (Situation::Pending(at) | Situation::Held(at), Some(now)) => {
            ("pending", difference(at, now))
        }
        (Situation::Inflight(since), Some(now)) => ("inflight", difference(now, since)),
    };
    let sender = if entry.sender.is_empty() { "@" } else { &entry.sender };
    writeln!(
        out,
        "{}|{source}|{agent}|{flags}|{}|{}|{}|{}|{}|{}|{}|{state}|{seconds}|{}",
        entry.id,
        vis(sender.as_bytes()),
        vis(entry.rcpt.as_bytes()),
        vis(entry.dest.as_bytes()),
        entry.created,
        entry.expires,
        entry.last_try,
        entry.retries,
        vis(entry.error.as_bytes())
    )
}

/// `show status`, `now` in seconds of Unix time.
///
/// # Errors
/// Of the output.
pub fn status(out: &mut dyn Write, status: &Status, version: &str, now: u64) -> io::Result<()> {
    for system in System::ALL {
        let state = if status.paused(system) { "paused" } else { "running" };
        writeln!(out, "{} {state}", system.word().to_uppercase())?;
    }
    match &status.dns {
        None => writeln!(out, "DNS running")?,
        Some(why) => writeln!(out, "DNS failing ({})", vis(why.as_bytes()))?,
    }
    for Certificate { name, end } in &status.certificates {
        let name = vis(name.as_bytes());
        match end.checked_sub(now) {
            Some(left) => writeln!(out, "PKI {name} expires in {}", Span(left))?,
            None => writeln!(out, "PKI {name} has expired {} ago", Span(now - end))?,
        }
    }
    writeln!(out, "{}", vis(version.as_bytes()))
}

/// What an order has done: `N envelope(s) removed`, with a plural above one.
///
/// # Errors
/// Of the output.
pub fn ordered(out: &mut dyn Write, action: Action, changed: u64) -> io::Result<()> {
    let plural = if changed > 1 { "s" } else { "" };
    let done = match action {
        Action::Schedule => "scheduled",
        Action::Hold => "paused",
        Action::Resume => "resumed",
        Action::Remove => "removed",
    };
    writeln!(out, "{changed} envelope{plural} {done}")
}

/// `show stats`: `key=value`, the keys in order; the uptime also for people.
///
/// # Errors
/// Of the output.
pub fn statistics(out: &mut dyn Write, mut values: Vec<(String, u64)>) -> io::Result<()> {
    values.sort();
    for (name, value) in values {
        writeln!(out, "{}={value}", vis(name.as_bytes()))?;
        if name == "uptime" {
            writeln!(out, "uptime.human={}", Span(value))?;
        }
    }
    Ok(())
}

/// How much later `to` is, in seconds; negative when it is earlier.
fn difference(to: u64, from: u64) -> String {
    (i128::from(to) - i128::from(from)).to_string()
}

/// Takes lines that end in CR LF and writes them with LF, as upstream keeps messages.
pub struct WithLf<'a> {
    out: &'a mut dyn Write,
    /// The last octet was a CR, and has not been written.
    held: bool,
}

impl<'a> WithLf<'a> {
    /// Begins at the beginning of a line.
    pub fn new(out: &'a mut dyn Write) -> WithLf<'a> {
        WithLf { out, held: false }
    }
}

impl Write for WithLf<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut rest = octets;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.held) && *first != b'\n' {
                self.out.write_all(b"\r")?;
            }
            let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
            self.out.write_all(&rest[..end])?;
            self.held = end < rest.len();
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(show: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        show(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn entry() -> QueueEntry {
        let message = "e636d771".parse().unwrap();
        QueueEntry {
            id: smtpd_queue::id::EnvelopeId::new(message, 0),
            origin: Origin::Inet4,
            agent: Agent::Mda,
            authenticated: false,
            sender: "a@example.org".to_owned(),
            rcpt: "b@example.net".to_owned(),
            dest: "user@example.net".to_owned(),
            created: 1_000,
            expires: 346_600,
            last_try: 0,
            retries: 0,
            situation: Situation::Pending(1_400),
            suspended: false,
            error: String::new(),
        }
    }

    #[test]
    fn an_envelope_is_one_line_of_fourteen_fields() {
        let id = entry().id;
        let line = shown(|out| queue_entry(out, &entry(), Some(1_000)));
        let expected = format!(
            "{id}|inet4|mda||a@example.org|b@example.net|user@example.net|\
             1000|346600|0|0|pending|400|\n"
        );
        assert_eq!(line, expected);

        let held = QueueEntry {
            origin: Origin::Local,
            agent: Agent::Mta,
            authenticated: true,
            sender: String::new(),
            last_try: 1_500,
            retries: 3,
            situation: Situation::Held(1_500),
            suspended: true,
            error: "451 try\nlater".to_owned(),
            ..entry()
        };
        let line = shown(|out| queue_entry(out, &held, Some(1_600)));
        let expected = format!(
            "{id}|local|mta|auth,suspend,hold|@|b@example.net|user@example.net|\
             1000|346600|1500|3|pending|-100|451 try\\nlater\n"
        );
        assert_eq!(line, expected);

        let inflight =
            QueueEntry { origin: Origin::Inet6, situation: Situation::Inflight(900), ..entry() };
        let line = shown(|out| queue_entry(out, &inflight, Some(905)));
        assert!(line.starts_with(&format!("{id}|inet6|mda||")), "{line}");
        assert!(line.ends_with("|inflight|5|\n"), "{line}");
        let line = shown(|out| queue_entry(out, &inflight, None));
        assert!(line.ends_with("|offline||\n"), "{line}");
    }

    #[test]
    fn lines_are_shown_with_lf_and_nothing_else_is_changed() {
        let octets = b"a\r\n\r\nb\rc\r\r\nd\n";
        for cut in 0..octets.len() {
            let text = shown(|out| {
                let mut lines = WithLf::new(out);
                lines.write_all(&octets[..cut])?;
                lines.write_all(&octets[cut..])
            });
            assert_eq!(text, "a\n\nb\rc\r\nd\n", "{cut}");
        }
    }

    #[test]
    fn status_says_what_runs_and_who_says_so() {
        let paused = Status { mta_paused: true, ..Status::default() };
        let text = shown(|out| status(out, &paused, "Hermes 1.2.3", 0));
        assert_eq!(text, "MDA running\nMTA paused\nSMTP running\nDNS running\nHermes 1.2.3\n");
        let failing = Status { dns: Some("no nameserver answers".to_owned()), ..paused };
        let text = shown(|out| status(out, &failing, "Hermes 1.2.3", 0));
        assert!(text.contains("\nDNS failing (no nameserver answers)\n"), "{text}");
        let certificate = |name: &str, end| Certificate { name: name.to_owned(), end };
        let certificates = vec![certificate("a.example", 90_061), certificate("b.example", 59)];
        let secured = Status { certificates, ..failing };
        let text = shown(|out| status(out, &secured, "Hermes", 60));
        let expected =
            "PKI a.example expires in 1d1h1s\nPKI b.example has expired 1s ago\nHermes\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn an_order_tells_how_many_it_has_changed() {
        let text = shown(|out| {
            ordered(out, Action::Hold, 0)?;
            ordered(out, Action::Resume, 1)?;
            ordered(out, Action::Schedule, 2)?;
            ordered(out, Action::Remove, 1_000_000)
        });
        let expected = "0 envelope paused\n1 envelope resumed\n2 envelopes scheduled\n\
                        1000000 envelopes removed\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn statistics_come_in_the_order_of_their_keys() {
        let values = [("uptime", 3_661), ("smtp.session", 2), ("control.session", 1)];
        let values: Vec<_> = values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let text = shown(|out| statistics(out, values.clone()));
        let expected = "control.session=1\nsmtp.session=2\nuptime=3661\nuptime.human=1h1m1s\n";
        assert_eq!(text, expected);
    }
}
