//! Sessions that authenticate: what they may do then, and what their messages say.

use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtpd_config::{Files, Host};
use smtpd_engine::server::{Step, TlsInfo};
use smtpd_engine::time::Time;
use smtpd_queue::commit::{Commit, Options};
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::Message;

use super::*;
use crate::daemon::auth::system::Here;
use crate::daemon::auth::{Desk, client_answer};
use crate::daemon::outside::Lookups;
use crate::daemon::users::Remembered;
use crate::password::scram::Stored;

const NOW: Time = Time::from_micros(1_000_000);
const PASSWORD: &str = "correct horse";
const BINDING: [u8; 32] = [7; 32];

struct Disk(String);

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match path.to_str() {
            Some("smtpd.conf") => Ok(Box::new(self.0.as_bytes())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// What is behind the intake: those who check passwords, and a place for the message.
struct Behind {
    desk: Option<Desk<()>>,
    questions: Vec<Question<()>>,
    message: Option<(Arc<Message>, Vec<u8>)>,
}

impl Backstage for Behind {
    type Conn = ();

    fn commit(&mut self, accept: Accept<Waiting<()>>) {
        let Body::Memory(content) = accept.content.body else { panic!("the content is small") };
        self.message = Some((accept.message, content.to_vec()));
    }

    fn write(&mut self, _: MessageId, _: Vec<u8>, _: &Backlog, (): ()) {
        panic!("the content is small");
    }

    fn finish(&mut self, _: Box<Accept<Waiting<()>>>) {
        panic!("the content is small");
    }

    fn remove(&mut self, _: MessageId) {}

    fn name(&mut self, question: client::Question<()>) {
        question.slot.put(None);
    }

    fn look_up(&mut self, question: Question<()>) {
        self.questions.push(question);
    }

    fn log_in(&mut self, question: auth::Question<()>) -> Result<(), auth::Question<()>> {
        match &self.desk {
            Some(desk) => desk.ask(question),
            None => Err(question),
        }
    }

    fn wall(&mut self) -> u64 {
        0
    }

    fn zone(&mut self, _: i64) -> Zone {
        Zone::default()
    }
}

struct Talk {
    intake: Intake<Behind, Remembered>,
    engine: Engine,
    own: Session,
    answers: Receiver<(Ticket, Reply<'static>)>,
}

impl Talk {
    /// A session under TLS, greeted, with a listener of these options.
    fn new(options: &str, is_busy: bool) -> Talk {
        let stored = Stored::new(PASSWORD.as_bytes(), b"salt", 4096).to_text();
        let text = format!(
            "pki a cert \"/c\" key \"/k\"\n\
             table users {{ joe = \"{stored}\", ann = \"{stored}\" }}\n\
             table mayuse {{ joe = \"joe@a.example, @joe.example\", ann = \"@\" }}\n\
             table gone \"proc-exec:/bin/false\"\n\
             listen on lo port 1 tls pki a hostname mx.example.org {options}\n\
             action out relay\n\
             match auth joe from any for any action out\n\
             match from any reject\n"
        );
        let host = Host { name: "mx.example.org".to_owned(), addresses: Vec::new() };
        let (config, _) = smtpd_config::load("smtpd.conf", &[], host, &Disk(text)).unwrap();
        let config = Arc::new(config);
        let (sender, answers) = channel();
        let answer = move |(), ticket, reply| {
            let _ = sender.send((ticket, reply));
        };
        let outside = Lookups::new(Remembered::default());
        let desk = (!is_busy).then(|| Desk::start(outside, Arc::new(Here), answer).unwrap());
        let gates = vec![Gate::new(&config, &config.listeners[0], Report::Nothing)];
        let behind = Behind { desk, questions: Vec::new(), message: None };
        let own = (ids(), Budget::new(1 << 20));
        let mut intake = Intake::new(config, gates, own, Remembered::default(), 1, behind);
        let peer = Peer::Ip([192, 0, 2, 1].into());
        let (params, own) = intake.open(0, peer, ());
        let engine = Engine::new(params, own.id, peer, NOW);
        let mut talk = Talk { intake, engine, own, answers };
        talk.say("");
        talk.say("EHLO client.example");
        talk.say("STARTTLS");
        let tls = TlsInfo { binding: Some(BINDING), ..TlsInfo::usual() };
        talk.engine.tls_started(tls, NOW);
        talk.say("EHLO client.example");
        talk
    }

    /// The last line of the reply; nothing is sent for nothing.
    fn say(&mut self, line: &str) -> String {
        let text = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
        self.send(text.as_bytes())
    }

    fn send(&mut self, mut input: &[u8]) -> String {
        let mut out = Vec::new();
        loop {
            let event = match self.engine.step(&mut input, &mut out, NOW) {
                Step::Event(Event::StartTls) => break,
                Step::Event(event) => event,
                Step::Wait(_) | Step::Close => break,
            };
            let ticket = event.ticket();
            let answer = self.intake.event(&mut self.own, &self.engine, (), event);
            let Some(ticket) = ticket else { continue };
            match answer {
                Some(answer) => self.engine.answer(ticket, answer, &mut out, NOW).unwrap(),
                None if self.intake.backstage.message.is_some() => {
                    self.engine.answer(ticket, reply::OK.into(), &mut out, NOW).unwrap();
                }
                None => {
                    let reply = match self.intake.backstage.questions.pop() {
                        Some(question) => {
                            let outside = Lookups::new(Remembered::default());
                            question.judge(&outside).expect("it may wait")
                        }
                        None => self.answers.recv().unwrap().1,
                    };
                    self.engine.answer(ticket, reply.into(), &mut out, NOW).unwrap();
                    self.intake.answered(&mut self.own, ticket, true);
                }
            }
        }
        let out = String::from_utf8(out).unwrap();
        out.trim_end().lines().last().unwrap_or("").to_owned()
    }

    fn plain(&mut self, user: &str, password: &str) -> String {
        let response = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("AUTH PLAIN {response}"))
    }

    /// The message, sent as that author.
    fn message(&mut self, from: &str) -> (Arc<Message>, String) {
        assert!(self.say("RCPT TO:<you@b.example>").starts_with("250 "));
        assert!(self.say("DATA").starts_with("354 "));
        let text = format!("From: {from}\r\nSubject: x\r\n\r\ntext\r\n.\r\n");
        assert!(self.send(text.as_bytes()).starts_with("250 "));
        let (message, content) = self.intake.backstage.message.take().unwrap();
        (message, String::from_utf8(content).unwrap())
    }
}

/// Of a queue on paper.
fn ids() -> Ids {
    let directory = Path::new("/var/spool");
    let disk = Arc::new(FaultDisk::new(directory));
    Commit::open(disk, directory, &Options::new(1)).unwrap().ids
}

#[test]
fn who_has_logged_in_may_relay_and_is_named() {
    let mut talk = Talk::new("auth <users> received-auth", false);
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("530 5.5.1 "));
    assert!(talk.plain("joe", "wrong").starts_with("535 5.7.8 "));
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("530 5.5.1 "));
    assert!(talk.plain("joe", PASSWORD).starts_with("235 "));
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("250 "));
    let (message, content) = talk.message("joe");
    assert_eq!(message.username.as_deref(), Some("joe"));
    assert!(content.contains(" with ESMTPSA id "), "{content}");
    assert!(content.contains(" auth=yes user=joe (group X25519)\r\n\tfor "), "{content}");
    // A rule for joe is none for ann.
    let mut talk = Talk::new("auth-optional <users> received-auth", false);
    assert!(talk.say("MAIL FROM:<x@a.example>").starts_with("250 "));
    assert!(talk.say("RCPT TO:<you@b.example>").starts_with("550 "));
    talk.say("RSET");
    assert!(talk.plain("ann", PASSWORD).starts_with("235 "));
    talk.say("MAIL FROM:<x@a.example>");
    assert!(talk.say("RCPT TO:<you@b.example>").starts_with("550 "));
}

#[test]
fn scram_leads_to_the_same_with_and_without_a_binding() {
    for (mechanism, gs2, binding) in [
        ("SCRAM-SHA-256", "n,,", &[][..]),
        ("SCRAM-SHA-256-PLUS", "p=tls-exporter,,", &BINDING[..]),
    ] {
        let mut talk = Talk::new("auth <users>", false);
        let first = format!("{gs2}n=joe,r=abc");
        let challenge = talk.say(&format!("AUTH {mechanism} {}", STANDARD.encode(&first)));
        let challenge = challenge.strip_prefix("334 ").unwrap();
        let challenge = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let answer = client_answer(&challenge, &first, gs2, binding, PASSWORD);
        let last = talk.say(&STANDARD.encode(&answer));
        let last = STANDARD.decode(last.strip_prefix("334 ").unwrap()).unwrap();
        assert!(last.starts_with(b"v="));
        // Not before the client has seen that it is us.
        assert_eq!(talk.own.login.user(), None);
        assert_eq!(talk.send(b"\r\n"), "235 2.0.0 Authentication succeeded");
        talk.say("MAIL FROM:<joe@a.example>");
        assert_eq!(talk.message("joe").0.username.as_deref(), Some("joe"));
        // What was proven once is not proven again by a response that belongs to nothing.
        assert!(talk.say(&STANDARD.encode(&answer)).starts_with("500 "));
    }
}

#[test]
fn an_exchange_that_was_broken_off_leaves_nothing() {
    let mut talk = Talk::new("auth <users>", false);
    let first = "n,,n=joe,r=abc";
    for end in ["*", "!", "Yz1iaXdz"] {
        let challenge = talk.say(&format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(first)));
        assert!(challenge.starts_with("334 "));
        assert_eq!(talk.say(end), "501 5.5.2 Syntax error: Syntax error");
        assert!(talk.own.login.user().is_none());
    }
    let challenge = talk.say(&format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(first)));
    let challenge = STANDARD.decode(challenge.strip_prefix("334 ").unwrap()).unwrap();
    let challenge = String::from_utf8(challenge).unwrap();
    let answer = client_answer(&challenge, first, "n,,", b"", PASSWORD);
    assert!(talk.say(&STANDARD.encode(answer)).starts_with("334 "));
    // Whoever does not acknowledge is not logged in, be it that he says something else.
    assert_eq!(talk.say("eA=="), "501 5.5.2 Syntax error: Syntax error");
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("530 5.5.1 "));
    assert!(talk.plain("joe", PASSWORD).starts_with("235 "));
}

#[test]
fn users_have_their_senders() {
    let mut talk = Talk::new("auth <users> senders <mayuse>", false);
    assert!(talk.plain("joe", PASSWORD).starts_with("235 "));
    for (sender, code) in [
        ("joe@a.example", "250"),
        ("joe+tag@a.example", "250"),
        ("any@joe.example", "250"),
        ("ann@a.example", "530"),
        ("", "530"),
    ] {
        let reply = talk.say(&format!("MAIL FROM:<{sender}>"));
        assert!(reply.starts_with(code), "{sender}: {reply}");
        talk.say("RSET");
    }
    let mut talk = Talk::new("auth <users> senders <mayuse>", false);
    assert!(talk.plain("ann", PASSWORD).starts_with("235 "));
    for sender in ["joe@a.example", ""] {
        assert!(talk.say(&format!("MAIL FROM:<{sender}>")).starts_with("250 "), "{sender}");
        talk.say("RSET");
    }
    // Nobody is bound who has not logged in.
    let mut talk = Talk::new("auth-optional <users> senders <mayuse>", false);
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("250 "));
    // What has to be asked elsewhere and cannot be found out is for later.
    let mut talk = Talk::new("auth <users> senders <gone>", false);
    assert!(talk.plain("joe", PASSWORD).starts_with("235 "));
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("451 "));
    assert!(talk.say("RCPT TO:<you@b.example>").starts_with("503 "));
}

#[test]
fn masquerade_puts_the_sender_into_from() {
    let author = |options: &str, from: &str| {
        let mut talk = Talk::new(&format!("auth <users> {options}"), false);
        talk.plain("joe", PASSWORD);
        talk.say("MAIL FROM:<joe@a.example>");
        let content = talk.message(from).1;
        let from = content.lines().find(|line| line.starts_with("From: ")).unwrap();
        from.strip_prefix("From: ").unwrap().to_owned()
    };
    let boss = "The Boss <boss@a.example>";
    assert_eq!(author("senders <mayuse>", boss), boss);
    assert_eq!(author("senders <mayuse> masquerade", boss), "The Boss <joe@a.example>");
}

#[test]
fn who_cannot_be_judged_now_is_told_so() {
    let mut talk = Talk::new("auth <users>", true);
    assert_eq!(talk.plain("joe", PASSWORD), "454 4.7.0 Temporary authentication failure");
    assert!(talk.say("MAIL FROM:<joe@a.example>").starts_with("530 5.5.1 "));
}
