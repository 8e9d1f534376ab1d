//! What is explained is what the server does: the same sessions, from a seed, with the daemon's
//! intake and with `explain`. Every reply to MAIL and RCPT must be the same, and the envelopes of
//! the message must be the deliveries that were explained.
//!
//! `HERMES_SEED=N` runs one seed alone, `HERMES_LONG=1` fifty times as many.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use smtpd::daemon::intake::{Backstage, Gate, Intake, client};
use smtpd::daemon::lookup::Question;
use smtpd::daemon::messages::{Backlog, Waiting};
use smtpd::sys::Zone;
use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{Config, Forward, Lookup, Outside, Tls, User, Users};
use smtpd_engine::server::{Event, Peer, Report, Session as Engine, Step, TlsInfo};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{Commit, Options};
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::{Agent, Message};
use smtpd_queue::id::{Ids, MessageId};
use smtpd_queue::request::Accept;
use smtpd_tests::effort;
use smtpd_tests::rng::Rng;

use crate::{People, ask, fixtures, read};

const NOW: Time = Time::from_micros(1_000_000);

/// What is behind the intake: a place for the message, and for questions that may wait.
#[derive(Default)]
struct Behind {
    message: Option<Arc<Message>>,
    questions: Vec<Question<()>>,
    name: Option<client::Question<()>>,
}

impl Backstage for Behind {
    type Conn = ();

    fn commit(&mut self, accept: Accept<Waiting<()>>) {
        self.message = Some(accept.message);
    }

    fn write(&mut self, _: MessageId, _: Vec<u8>, _: &Backlog, (): ()) {
        panic!("the content is small");
    }

    fn finish(&mut self, _: Box<Accept<Waiting<()>>>) {
        panic!("the content is small");
    }

    fn remove(&mut self, _: MessageId) {}

    fn name(&mut self, question: client::Question<()>) {
        self.name = Some(question);
    }

    fn look_up(&mut self, question: Question<()>) {
        self.questions.push(question);
    }

    fn wall(&mut self) -> u64 {
        0
    }

    fn zone(&mut self, _: i64) -> Zone {
        Zone::default()
    }
}

/// What a reactor knows: those who have an `n` in their name it has to have looked up.
struct Hasty;

impl Users for Hasty {
    fn user(&self, name: &str) -> Lookup {
        if name.contains('n') { Lookup::Later } else { People.user(name) }
    }
}

impl Outside for Hasty {
    fn contains(&self, table: &Table, query: &Query<'_>) -> Result<bool, LookupError> {
        People.contains(table, query)
    }

    fn value(
        &self,
        table: &Table,
        service: Service,
        key: &str,
    ) -> Result<Option<Box<str>>, LookupError> {
        People.value(table, service, key)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Later)
    }

    fn forward(&self, user: &User) -> Forward {
        People.forward(user)
    }
}

/// One session, as it is asked about and as it is led.
struct Talk {
    ip: IpAddr,
    rdns: Option<&'static str>,
    gate: usize,
    tls: bool,
    helo: &'static str,
    sender: &'static str,
    recipients: Vec<&'static str>,
}

/// The refusal of MAIL, or the replies to each RCPT; and who gets the message: address, action
/// and user.
type Outcome = (Vec<String>, Vec<(String, String, Option<String>)>);

const CLIENTS: [&str; 6] =
    ["203.0.113.9", "10.0.0.7", "192.0.2.1", "127.0.0.1", "2001:db8::9", "::1"];
const NAMES: [Option<&str>; 3] = [None, Some("mail.x.example"), Some("far.example.org")];
const HELOS: [&str; 3] = ["mail.x.example", "localhost", "[203.0.113.9]"];
const SENDERS: [&str; 6] =
    ["", "a@x.example", "joe+t@spam.example", "ann@example.org", "nodomain", "a b"];
const RECIPIENTS: [&str; 20] = [
    "joe@example.org",
    "Ann+tag@example.org",
    "bob@example.org",
    "list@example.org",
    "broken@example.org",
    "nobody@example.org",
    "circle@example.org",
    "pipe@example.org",
    "gone@example.org",
    "staff@example.org",
    "bobs@example.org",
    "far@b.sub.example",
    "info@a.example",
    "x@sub.example",
    "x@a.b.sub.example",
    "x@elsewhere.example",
    "joe@localhost",
    "joe@[192.0.2.1]",
    "postmaster",
    "bad@@x",
];

impl Talk {
    fn new(config: &Config, rng: &mut Rng) -> Talk {
        let gate = rng.below(config.listeners.len());
        Talk {
            ip: CLIENTS[rng.below(CLIENTS.len())].parse().expect("an address"),
            rdns: NAMES[rng.below(NAMES.len())],
            gate,
            tls: config.listeners[gate].tls != Tls::Never && !rng.one_in(4),
            helo: HELOS[rng.below(HELOS.len())],
            sender: SENDERS[rng.below(SENDERS.len())],
            recipients: (0..=rng.below(4)).map(|_| RECIPIENTS[rng.below(20)]).collect(),
        }
    }

    fn words(&self, config: &Config) -> Vec<String> {
        let port = config.listeners[self.gate].port.to_string();
        let ip = self.ip.to_string();
        let mut words = vec!["-j", "--from-ip", &ip, "--port", &port, "--helo", self.helo];
        words.extend(self.rdns.into_iter().flat_map(|name| ["--from-rdns", name]));
        words.extend(["--mail-from", self.sender]);
        words.extend(self.recipients.iter().flat_map(|rcpt| ["--rcpt-to", rcpt]));
        words.extend(self.tls.then_some("--tls"));
        words.into_iter().map(str::to_owned).collect()
    }

    /// What `explain` says.
    fn explained(&self, config: &Config) -> Outcome {
        let document = ask(config, &self.words(config)).0;
        let document: Value = serde_json::from_str(&document).expect("JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(reply) = text(&document["refused"]["reply"]) {
            return (vec![reply], Vec::new());
        }
        let (mut replies, mut deliveries) = (Vec::new(), Vec::new());
        for recipient in document["recipients"].as_array().expect("a list") {
            replies.extend(text(&recipient["reply"]));
            if recipient["verdict"] != "accepted" {
                continue;
            }
            for node in recipient["nodes"].as_array().expect("a list") {
                let delivery = &node["delivery"];
                if !delivery.is_null() && delivery["repeated"] == false {
                    let dest = text(&delivery["dest"]).expect("an address");
                    let action = text(&delivery["action"]).expect("a name");
                    deliveries.push((dest, action, text(&node["account"]["name"])));
                }
            }
        }
        (replies, deliveries)
    }

    /// What the server does.
    fn led(&self, config: &Arc<Config>, ids: Ids) -> Outcome {
        let gates = config.listeners.iter();
        let gates = gates.map(|listen| Gate::new(config, listen, Report::Nothing)).collect();
        let own = (ids, Budget::new(1 << 20));
        let mut intake = Intake::new(config.clone(), gates, own, Hasty, 1, Behind::default());
        let peer = Peer::Ip(self.ip);
        let (params, mut own) = intake.open(self.gate, peer, ());
        let mut engine = Engine::new(params, own.id, peer, NOW);
        if matches!(config.listeners[self.gate].tls, Tls::Smtps { .. }) {
            engine.tls_started(TlsInfo::usual(), NOW);
        }
        // The last line of the reply, and the message, if it came to one.
        let mut say = |line: &str| {
            let mut input = line.as_bytes();
            let mut out = Vec::new();
            while let Step::Event(event) = engine.step(&mut input, &mut out, NOW) {
                if event == Event::StartTls {
                    engine.tls_started(TlsInfo::usual(), NOW);
                    continue;
                }
                let ticket = event.ticket();
                let mut answer = intake.event(&mut own, &engine, (), event);
                let mut question = intake.backstage.questions.pop();
                let Some(ticket) = ticket else { continue };
                // The name is found when something cannot do without.
                if answer.is_none()
                    && question.is_none()
                    && let Some(asked) = intake.backstage.name.take()
                {
                    let name = |name: &str| client::Name { name: name.into(), confirmed: true };
                    asked.slot.put(self.rdns.map(name));
                    let resumed = intake.resumed(&mut own, &engine, ());
                    answer = resumed.map(|(resumed, answer)| {
                        assert_eq!(resumed, ticket);
                        answer
                    });
                    question = intake.backstage.questions.pop();
                }
                let looked_up = || {
                    question.as_ref().and_then(|question| question.judge(&People)).map(Into::into)
                };
                if let Some(answer) = answer.or_else(looked_up) {
                    engine.answer(ticket, answer, &mut out, NOW).expect("it was asked");
                    own.answered(ticket, true);
                }
            }
            let out = String::from_utf8(out).expect("UTF-8");
            let last = out.trim_end().lines().last().unwrap_or("").to_owned();
            (last, intake.backstage.message.take())
        };
        say("");
        say(&format!("EHLO {}\r\n", self.helo));
        if self.tls && !matches!(config.listeners[self.gate].tls, Tls::Smtps { .. }) {
            say("STARTTLS\r\n");
            say(&format!("EHLO {}\r\n", self.helo));
        }
        let mail = say(&format!("MAIL FROM:<{}>\r\n", self.sender)).0;
        if !mail.starts_with('2') {
            return (vec![mail], Vec::new());
        }
        let recipients = self.recipients.iter();
        let replies = recipients.map(|rcpt| say(&format!("RCPT TO:<{rcpt}>\r\n")).0).collect();
        say("DATA\r\n");
        let message = say("Subject: x\r\n\r\ntext\r\n.\r\n").1;
        let envelopes = message.iter().flat_map(|message| &message.envelopes);
        let deliveries = envelopes.map(|envelope| {
            let user = match &envelope.agent {
                Agent::Mda { user } => Some(user.clone()),
                Agent::Mta => None,
            };
            (envelope.dest.to_string(), envelope.action.clone(), user)
        });
        (replies, deliveries.collect())
    }
}

const BEFORE_RULES: &str = r#"
table aliases file:/aliases
table nets { 10.0.0.0/8, "2001:db8::/32", 192.0.2.1 }
table writers { "@spam.example", ann, "@" }
table domains { example.org, a.example, "*.sub.example" }
table v { "info@a.example" = joe, "@example.org" = "list, ann", list = "joe, bob", joe = joe }
table users { joe = "7:8:/srv/joe", ann = "8:8:/srv/ann" }
pki mx.example.org cert "/c" key "/k"
listen on localhost port 2531 tls pki mx.example.org
listen on localhost port 2532 tls-require pki mx.example.org tag in
listen on localhost port 2533 smtps pki mx.example.org
action "plain" maildir
action "alias" maildir alias <aliases>
action "table" maildir alias <aliases> userbase <users>
action "virtual" maildir virtual <v> user vmail
action "any" maildir "/srv/%{dest.user}" userbase any
action "expand" expand-only alias <aliases>
action "forward" forward-only alias <aliases>
action "out" relay
"#;
const ACTIONS: [&str; 9] =
    ["plain", "alias", "alias", "table", "virtual", "any", "expand", "forward", "out"];
const FROM: [&str; 7] = [
    "from any",
    "from local",
    "from src <nets>",
    "from socket",
    "from rdns",
    "from rdns \"*.x.example\"",
    "",
];
const FOR: [&str; 5] =
    ["for any", "for local", "for domain <domains>", "for domain \"*.example\"", ""];
const OTHERS: [&str; 6] = [
    "tag in",
    "helo \"*.x.example\"",
    "auth",
    "tls",
    "mail-from <writers>",
    "rcpt-to { joe, \"@sub.example\", \"ann@example.org\" }",
];

/// A configuration from the seed.
fn generated(rng: &mut Rng) -> String {
    let mut text = BEFORE_RULES.to_owned();
    for _ in 0..=rng.below(7) {
        text += "match";
        for condition in [FROM[rng.below(FROM.len())], FOR[rng.below(FOR.len())]] {
            let not = if condition.is_empty() || !rng.one_in(4) { "" } else { "!" };
            text += &format!(" {not}{condition}");
        }
        for condition in OTHERS {
            if rng.one_in(5) {
                text += &format!(" {}{condition}", if rng.one_in(3) { "!" } else { "" });
            }
        }
        match rng.one_in(6) {
            true => text += " reject\n",
            false => text += &format!(" action \"{}\"\n", ACTIONS[rng.below(ACTIONS.len())]),
        }
    }
    text
}

#[test]
fn what_is_explained_is_what_the_server_does() {
    let disk = Arc::new(FaultDisk::new(Path::new("/var/spool")));
    let opened = Commit::open(disk, Path::new("/var/spool"), &Options::new(1)).expect("a queue");
    let configurations: Vec<String> = fixtures().into_values().map(|(text, _)| text).collect();
    let one = std::env::var("HERMES_SEED").ok();
    let seeds = match &one {
        Some(seed) => {
            let seed: u64 = seed.parse().expect("HERMES_SEED is a number");
            seed..seed + 1
        }
        None => 0..500 * effort() as u64,
    };
    let (mut accepted, mut refused) = (0, 0);
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let mut text = match rng.one_in(4) {
            true => rng.pick(&configurations).clone(),
            false => generated(&mut rng),
        };
        text += "listen on localhost port 2599\nlisten on localhost port 2598 tag outside\n";
        let config = Arc::new(read(&text));
        for _ in 0..4 {
            let talk = Talk::new(&config, &mut rng);
            let explained = talk.explained(&config);
            let led = talk.led(&config, opened.ids.clone());
            let words = talk.words(&config).join(" ");
            assert_eq!(explained, led, "seed {seed}: explain {words}\n{text}");
            accepted += led.1.len();
            refused += led.0.iter().filter(|reply| !reply.starts_with('2')).count();
        }
    }
    let enough = accepted > 500 && refused > 500;
    assert!(one.is_some() || enough, "{accepted} deliveries, {refused} refusals");
}

/// What nobody can explain, as it depends on what came before: wrong hashes of rewritten senders.
#[test]
fn who_guesses_at_rewritten_senders_is_told_no_more() {
    let disk = Arc::new(FaultDisk::new(Path::new("/var/spool")));
    let opened = Commit::open(disk, Path::new("/var/spool"), &Options::new(1)).expect("a queue");
    let config = Arc::new(read(
        "srs key \"sesame\"\n\
         listen on localhost port 2599\n\
         action \"any\" maildir \"/srv/%{dest.user}\" userbase any\n\
         match from any for any action \"any\"\n",
    ));
    let mut recipients = vec!["SRS0=abcd=AA=a.example=bob@example.org"; 55];
    recipients.push("joe@example.org");
    for (ip, sender, told) in
        [("203.0.113.9", "", 51), ("203.0.113.9", "a@x.example", 56), ("::1", "", 56)]
    {
        let talk = Talk {
            ip: ip.parse().expect("an address"),
            rdns: None,
            gate: 0,
            tls: false,
            helo: "localhost",
            sender,
            recipients: recipients.clone(),
        };
        let replies = talk.led(&config, opened.ids.clone()).0;
        let (good, bad): (Vec<_>, Vec<_>) = replies.iter().partition(|one| one.starts_with("250"));
        assert_eq!(good.len(), told, "{ip} {sender}");
        assert!(bad.iter().all(|reply| reply.starts_with("450 4.7.1 ")), "{bad:?}");
        assert!(replies.last().is_some_and(|reply| reply.starts_with("250")));
    }
}
