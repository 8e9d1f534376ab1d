//! What batches become.

use std::path::Path;

use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{Files, Forward, Host, Lookup, User, Users};
use smtpd_queue::backend::memory::Memory;
use smtpd_queue::delivery::Kind;
use smtpd_queue::envelope::Envelope;
use smtpd_queue::sample;

use super::*;

struct OneFile(String);

impl Files for OneFile {
    fn open(&self, _: &Path) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0.as_bytes()))
    }
}

/// Nobody to be asked.
struct Nobody;

impl Users for Nobody {
    fn user(&self, _: &str) -> Lookup {
        Lookup::None
    }
}

impl Outside for Nobody {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Later)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Later)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Later)
    }

    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

fn preparer(actions: &str) -> Preparer<Nobody> {
    let host = Host { name: "mail.example.net".into(), addresses: Vec::new() };
    let text = format!("listen on 127.0.0.1\n{actions}match from any for any action \"out\"\n");
    let (config, _) = smtpd_config::load("smtpd.conf", &[], host, &OneFile(text)).unwrap();
    let reader = Arc::new(Memory::new(7));
    Preparer::new(Arc::new(config), Nobody, reader, Budget::new(1 << 20))
}

/// Jobs of one message, for these recipients by these actions.
fn jobs(number: u32, content: &[u8], to: &[(&str, &str)]) -> Vec<Job> {
    let id = MessageId::from_u32(number).unwrap();
    let envelope = |(to, action): &(&str, &str)| Envelope {
        action: (*action).to_owned(),
        ..sample::relayed(to)
    };
    let message = Arc::new(sample::message(id, to.iter().map(envelope)));
    let mut buffer = Budget::new(1 << 20).buffer();
    assert!(buffer.extend(content));
    let memory = Some(Arc::new(buffer));
    let octets = content.len() as u64;
    let stored = Stored { message: id, octets, dot_lines: false, memory };
    let job = |envelope: &Envelope| Job {
        message: Arc::clone(&message),
        id: envelope.id,
        content: stored.clone(),
        again: false,
    };
    message.envelopes.iter().map(job).collect()
}

fn batch(jobs: Vec<Job>) -> Batch {
    Batch { id: 5, kind: Kind::Mta, jobs }
}

const ASCII: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

#[test]
fn recipients_that_share_a_hop_share_a_transaction() {
    let preparer = preparer("action \"out\" relay\naction \"smart\" relay host 192.0.2.1\n");
    let to = [
        ("a@one.example", "out"),
        ("b@two.example", "out"),
        ("c@ONE.example", "out"),
        ("d@one.example", "smart"),
        ("e@two.example", "smart"),
    ];
    let prepared = preparer.prepare(&batch(jobs(1, ASCII, &to)), 0);
    assert!(prepared.report.attempts.is_empty() && prepared.local.is_empty());
    let shown: Vec<_> = prepared
        .tasks
        .iter()
        .map(|task| (&*task.hop.key.place, task.recipients.len(), task.hop.pace.careful))
        .collect();
    assert_eq!(
        shown,
        [("one.example", 2, true), ("two.example", 1, true), ("smtp://192.0.2.1", 2, false)]
    );
    let many: Vec<_> = (0..250).map(|n| format!("u{n}@one.example")).collect();
    let many: Vec<_> = many.iter().map(|to| (to.as_str(), "out")).collect();
    let prepared = preparer.prepare(&batch(jobs(1, ASCII, &many)), 0);
    let sizes: Vec<_> = prepared.tasks.iter().map(|task| task.recipients.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn only_what_takes_no_waiting_is_prepared_at_once() {
    let preparer = preparer(
        "table routes proc:/nowhere\n\
         action \"out\" relay\n\
         action \"table\" relay domain <routes>\n\
         action \"in\" maildir \"/nowhere\" userbase any\n",
    );
    let at_once = |jobs| preparer.at_once(&batch(jobs), 0).map(|tasks: Vec<Task>| tasks.len());
    let (one, two) = (("a@one.example", "out"), ("b@two.example", "out"));
    assert_eq!(at_once(jobs(1, ASCII, &[one, two])), Some(2));
    for other in ["table", "in", "none"] {
        assert_eq!(at_once(jobs(1, ASCII, &[one, ("c@one.example", other)])), None, "{other}");
    }
    assert_eq!(at_once(jobs(1, &[b'x'; SMALL as usize + 1], &[one])), None);
    assert_eq!(at_once(jobs(1, ASCII, &[one; FEW + 1])), None);
    let mut on_disk = jobs(1, ASCII, &[one]);
    on_disk[0].content.memory = None;
    assert_eq!(at_once(on_disk), None);
}

#[test]
fn what_has_no_way_says_why() {
    let preparer = preparer(
        "table routes { known.example = \"smtp://192.0.2.1\" }\n\
         action \"out\" relay domain <routes>\n\
         action \"in\" maildir \"/nowhere\" userbase any\n",
    );
    let to = [
        ("a@known.example", "out"),
        ("a@other.example", "out"),
        ("a@known.example", "gone"),
        ("a@known.example", "in"),
    ];
    let prepared = preparer.prepare(&batch(jobs(1, ASCII, &to)), 0);
    assert_eq!(prepared.tasks.len(), 1);
    let told: Vec<_> = prepared.report.attempts.into_iter().map(|(_, attempt)| attempt).collect();
    let no_server = Failure::new((4, 4, 4), "Cannot retrieve smarthost");
    assert_eq!(
        told,
        [
            Attempt::Later(no_server),
            Attempt::Held("no action named \"gone\"".into()),
            Attempt::Held("action \"in\" no longer relays".into()),
        ]
    );
}

#[test]
fn content_and_reverse_path_are_what_the_action_makes_of_them() {
    let preparer = preparer("action \"out\" relay mail-from \"@example.com\" helo hello.example\n");
    let cases: [(&[u8], bool, bool); 3] = [
        (ASCII, false, false),
        (b"Subject: x\r\n\r\nb\xc3\xb6dy\r\n", true, false),
        (b"Subject: \xc3\xb6\r\n\r\nbody\r\n", true, true),
    ];
    for (octets, eight_bit, utf8_header) in cases {
        let prepared = preparer.prepare(&batch(jobs(1, octets, &[("a@b.example", "out")])), 0);
        let task = &prepared.tasks[0];
        assert_eq!((task.content.eight_bit, task.content.utf8_header), (eight_bit, utf8_header));
        assert_eq!(task.from.to_string(), "alice@example.com");
        assert_eq!(task.hop.helo, "hello.example");
    }
    // A message that left the queue, or is not in memory and cannot be read.
    let mut gone = jobs(9, ASCII, &[("a@b.example", "out")]);
    gone[0].content.memory = None;
    let prepared = preparer.prepare(&batch(gone), 0);
    let text = later("the message has left the queue");
    assert_eq!(prepared.report.attempts[0].1, Attempt::Later(text));
}
