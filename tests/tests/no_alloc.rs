//! The engine allocates nothing per command and per line of mail data when its output buffer is
//! warm, so that ten thousand sessions at work cost the allocator nothing.
//!
//! Counted by a global allocator, for this thread alone. What the owner of a session allocates for
//! its answers is the owner's: the answers here are constants.

use std::sync::Arc;

use allocation_counter::measure;
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::client;
use smtpd_engine::limits;
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{Event, Params, Peer, Session, Step, StrayNewline, Wait};
use smtpd_engine::time::Time;

const NOW: Time = Time::from_micros(1_000_000);

/// A session with a warm output buffer, which greeted and carried out one transaction.
struct Warm {
    session: Session,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Replies were seen, so that what is measured did happen.
    octets_out: usize,
    body: usize,
}

impl Warm {
    fn new(params: Params) -> Self {
        let peer = Peer::Ip("192.0.2.1".parse().expect("an address"));
        let mut warm = Self {
            session: Session::new(Arc::new(params), 1, peer, NOW),
            input: Vec::with_capacity(limits::INPUT_BUFFER),
            out: Vec::with_capacity(4 * limits::OUTPUT),
            octets_out: 0,
            body: 0,
        };
        warm.say(b"");
        warm.say(b"EHLO client.example.com\r\n");
        warm.say(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\ntext\r\n.\r\n");
        warm
    }

    /// Shows the session `octets` and answers its questions, without allocating.
    fn say(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        let mut input = &self.input[..];
        loop {
            match self.session.step(&mut input, &mut self.out, NOW) {
                Step::Event(event) => {
                    let answer = match &event {
                        Event::Connected { .. } => Reply::fixed(220, None, "mx"),
                        Event::Hello { .. } => Reply::fixed(250, None, "mx Hello"),
                        Event::Data { .. } => reply::SEND_DATA,
                        Event::Body(run) => {
                            self.body += run.len();
                            continue;
                        }
                        _ => reply::OK,
                    };
                    if let Some(ticket) = event.ticket() {
                        self.session
                            .answer(ticket, answer.into(), &mut self.out, NOW)
                            .expect("the question is open");
                    }
                }
                Step::Wait(Wait::Answer) => panic!("every question was answered"),
                Step::Wait(wait) => {
                    self.octets_out += self.out.len();
                    self.out.clear();
                    if wait == Wait::Input {
                        break;
                    }
                }
                Step::Close => panic!("closed: {}", String::from_utf8_lossy(&self.out)),
            }
        }
        let taken = self.input.len() - input.len();
        self.input.drain(..taken);
    }

    /// Says `octets` some times and shows that nothing was allocated.
    fn allocates_nothing_for(&mut self, what: &str, octets: &[u8]) {
        let before = self.octets_out;
        let info = measure(|| {
            for _ in 0..4 {
                self.say(octets);
            }
        });
        assert_eq!(info.count_total, 0, "{what}: {info:?}");
        assert!(self.octets_out > before, "{what}: nothing was said");
        assert!(self.input.is_empty(), "{what}: {} octets are left", self.input.len());
    }
}

#[test]
fn the_counter_counts() {
    let info = measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(info.count_total, 1);
}

#[test]
fn commands_allocate_nothing() {
    let many = Params { max_mails: u32::MAX, ..Params::default() };
    let mut warm = Warm::new(many);
    for command in [
        "NOOP\r\n",
        "NOOP with an argument\r\n",
        "RSET\r\n",
        "HELP\r\n",
        "VRFY somebody\r\n",
        "EHLO client.example.com\r\n",
        "HELO client.example.com\r\n",
    ] {
        warm.allocates_nothing_for(command, command.as_bytes());
    }
    let transaction = "MAIL FROM:<\"a b\"@example.com> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x\r\n\
        RCPT TO:<b@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.org\r\n\
        RCPT TO:<@route.example:c@[192.0.2.1]>\r\n\
        NOOP\r\n\
        DATA\r\ntext\r\n.\r\n";
    warm.allocates_nothing_for("a transaction", transaction.as_bytes());
    let chunks = "MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n\
        BDAT 6\r\ntext\r\nBDAT 6 LAST\r\ntext\r\n";
    warm.allocates_nothing_for("a transaction by BDAT", chunks.as_bytes());
    let aborted = "MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n";
    warm.allocates_nothing_for("an aborted transaction", aborted.as_bytes());
}

#[test]
fn refusals_allocate_nothing() {
    let mut warm = Warm::new(Params::default());
    for command in ["FOO\r\n", "RCPT TO:<b@example.org>\r\n"] {
        warm.allocates_nothing_for(command, command.as_bytes());
        warm.say(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n");
    }
    for command in ["MAIL FROM:<a@@>\r\n", "MAIL FROM:<a@example.com> SIZE=x\r\n"] {
        warm.allocates_nothing_for(command, command.as_bytes());
        warm.say(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n");
    }
}

#[test]
fn mail_data_allocates_nothing() {
    for stray_newline in [StrayNewline::Reject, StrayNewline::Normalize] {
        let mut warm = Warm::new(Params { stray_newline, ..Params::default() });
        warm.say(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
        let line = b"A line of some length, and\r\n..another one that begins with a dot\r\n\r\n";
        let lines = line.repeat(200);
        let before = warm.body;
        let info = measure(|| {
            for _ in 0..20 {
                warm.say(&lines);
            }
            for octet in line.iter() {
                warm.say(std::slice::from_ref(octet));
            }
        });
        assert_eq!(info.count_total, 0, "{stray_newline:?}: {info:?}");
        assert_eq!(warm.body - before, (line.len() - 1) * (20 * 200 + 1), "octets of content");
        warm.say(b".\r\n");
    }
}

/// A session with a next hop that is greeted and sent one message: its buffers are warm.
struct WarmHop {
    session: client::Session,
    out: Vec<u8>,
    from: ReversePath,
    to: Vec<client::Recipient>,
    told: usize,
}

impl WarmHop {
    fn new(offered: &str, chunking: bool) -> Self {
        let name = client::Name::parse("client.example.com").expect("a name");
        let params = client::Params { chunking, ..client::Params::new(name) };
        let mailbox = |text: &str| Mailbox::parse(text).expect("an address");
        let to = ["a@example.org", "\"b b\"@example.org"].map(|to| client::Recipient {
            to: mailbox(to),
            notify: None,
            orcpt: Some("rfc822;x@example.org".into()),
        });
        let mut warm = Self {
            session: client::Session::new(Arc::new(params), None, NOW),
            out: Vec::with_capacity(4 * limits::BODY_OUTPUT),
            from: ReversePath::Mailbox(mailbox("a@example.com")),
            to: to.into(),
            told: 0,
        };
        warm.hear(b"220-mx\r\n220 ESMTP\r\n", client::Wait::Input);
        warm.hear(format!("250-mx\r\n{offered}250 DSN\r\n").as_bytes(), client::Wait::Caller);
        warm
    }

    /// The next hop says something, and the session then waits for this.
    fn hear(&mut self, octets: &[u8], then: client::Wait) {
        let mut input = octets;
        loop {
            match self.session.step(&mut input, &mut self.out, NOW) {
                client::Step::Event(_) => self.told += 1,
                client::Step::Wait(wait) => {
                    assert_eq!(wait, then);
                    break;
                }
                client::Step::Close => panic!("closed"),
            }
        }
        assert!(input.is_empty(), "everything was taken");
    }

    /// A reply to each command of a transaction, together where they may be.
    fn begin(&mut self, replies: &[u8], pipelined: bool) {
        let mail = client::Mail {
            from: &self.from,
            size: Some(1000),
            eight_bit: true,
            utf8_header: false,
            ret: None,
            envid: Some("x"),
            recipients: &self.to,
        };
        self.session.mail(&mail, &mut self.out, NOW).expect("it is idle");
        if pipelined {
            self.hear(replies, client::Wait::Content);
            return;
        }
        let mut replies = replies.split_inclusive(|c| *c == b'\n').peekable();
        while let Some(reply) = replies.next() {
            let last = replies.peek().is_none();
            self.hear(reply, if last { client::Wait::Content } else { client::Wait::Input });
        }
    }

    fn content(&mut self, content: &[u8]) {
        let mut rest = content;
        while !rest.is_empty() {
            self.session.body(&mut rest, &mut self.out, NOW).expect("content is due");
            self.out.clear();
        }
    }

    fn end(&mut self, replies: &[u8]) {
        self.session.end_of_data(&mut self.out, NOW).expect("content is due");
        self.hear(replies, client::Wait::Caller);
        self.out.clear();
    }
}

/// A next hop costs the allocator nothing for a reply, a refusal, a line of content or a message.
#[test]
fn sending_allocates_nothing() {
    let line = b"A line of some length, and\r\n.another one that begins with a dot\r\n\r\n";
    let lines = line.repeat(2000);
    let all = "250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-CHUNKING\r\n";
    for (offered, chunking) in [(all, false), ("250-SIZE\r\n", false), (all, true)] {
        let mut warm = WarmHop::new(offered, chunking);
        let pipelined = offered == all;
        let replies: &[u8] = match (chunking, pipelined) {
            (true, _) => b"250 a\r\n550-5.1.1 no\r\n550 5.1.1 no\r\n250 c\r\n",
            (_, true) => b"250 a\r\n550-5.1.1 no\r\n550 5.1.1 no\r\n250 c\r\n354 d\r\n",
            (_, false) => b"250 a\r\n550 5.1.1 no\r\n250 c\r\n354 d\r\n",
        };
        let round = |warm: &mut WarmHop| {
            warm.begin(replies, pipelined);
            warm.content(&lines);
            let chunks = if chunking { lines.len().div_ceil(limits::BODY_OUTPUT) } else { 0 };
            for _ in 0..chunks {
                warm.hear(b"250 chunk\r\n", client::Wait::Content);
            }
            warm.end(b"250-taken\r\n250 taken\r\n");
        };
        round(&mut warm);
        let before = warm.told;
        let info = measure(|| {
            for _ in 0..4 {
                round(&mut warm);
            }
        });
        assert_eq!(info.count_total, 0, "{offered:?} {chunking}: {info:?}");
        assert_eq!(warm.told - before, 2 * 4, "a refusal and an outcome for each");
    }
}
