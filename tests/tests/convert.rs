//! A configuration of before 2018 and what `smtpctl convert` makes of it decide alike.
//!
//! Every legacy file of `fixtures/config` has its converted form beside it (`NAME.converted`, and
//! in front of that the notes); `HERMES_UPDATE=1` writes these anew.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtpd_config::convert::{Conversion, NotConverted, convert};
use smtpd_config::surroundings::Forward;
use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{
    Action, Client, Config, Decision, Diagnostic, Dialect, Expansion, Facts, Files, Host, Lookup,
    Outside, User, Users, load, print,
};
use smtpd_engine::address::Mailbox;
use smtpd_tests::configuration::legacy;
use smtpd_tests::noise::with_seeds;
use smtpd_tests::rng::Rng;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config")
}

/// Texts by their names, and the files of the fixtures.
struct Disk(HashMap<String, Vec<u8>>);

impl Disk {
    fn with(text: &[u8]) -> Disk {
        let aliases = b"joe: ann\nann: joe@example.org\n@: joe\n".to_vec();
        Disk(HashMap::from([
            ("smtpd.conf".to_owned(), text.to_vec()),
            ("/aliases".to_owned(), aliases),
        ]))
    }
}

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if let Some(octets) = path.to_str().and_then(|path| self.0.get(path)) {
            return Ok(Box::new(octets.as_slice()));
        }
        let file = folder().join("root").join(path.strip_prefix("/").unwrap_or(path));
        Ok(Box::new(fs::File::open(file)?))
    }
}

fn host() -> Host {
    Host {
        name: "mx.example.org".to_owned(),
        addresses: ["127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec(),
    }
}

fn read(disk: &Disk) -> Result<Config, Vec<Diagnostic>> {
    load("smtpd.conf", &[], host(), disk).map(|(config, _)| config)
}

fn converted(disk: &Disk) -> Result<Conversion, NotConverted> {
    convert("smtpd.conf", &[], host(), disk)
}

/// Users of a small machine; other tables are not asked.
struct People;

impl Users for People {
    fn user(&self, name: &str) -> Lookup {
        match ["joe", "ann", "root", "bob"].iter().position(|known| *known == name) {
            None => Lookup::None,
            Some(at) => Lookup::Found(Arc::new(User {
                name: name.into(),
                uid: 1000 + at as u32,
                gid: 100,
                home: format!("/home/{name}").into(),
            })),
        }
    }
}

impl Outside for People {
    fn contains(&self, _: &Table, query: &Query<'_>) -> Result<bool, LookupError> {
        Ok(query.key.len().is_multiple_of(2))
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Failed)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Failed)
    }

    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}

/// A message at the door.
struct Envelope {
    client: Client,
    helo: &'static str,
    tag: Option<String>,
    auth: Option<&'static str>,
    tls: bool,
    sender: Option<Mailbox>,
    rcpt: Mailbox,
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).expect("well written")
}

fn envelope(rng: &mut Rng, config: &Config) -> Envelope {
    let clients =
        ["127.0.0.1", "192.0.2.1", "192.0.2.77", "10.1.2.3", "203.0.113.9", "2001:db8::5"];
    let client = match rng.below(clients.len() + 1) {
        0 => Client::Socket,
        at => Client::Ip(clients[at - 1].parse().expect("an address")),
    };
    let tags: Vec<Option<String>> =
        config.listeners.iter().map(|listen| listen.tag.clone()).chain([None]).collect();
    let helos = ["mx.example.org", "mx0", "client.example.net"];
    let senders = ["joe@example.org", "x@b.example", "ann+x@y.c.example", "eve@spam.example"];
    let rcpts = [
        "joe@example.org",
        "ann@localhost",
        "nobody@mx.example.org",
        "Bob+tag@b.example",
        "x@y.c.example",
        "root@[192.0.2.1]",
        "joe@elsewhere.example",
        "a@dev.unix-experience.fr",
        "u@old.example",
    ];
    Envelope {
        client,
        helo: helos[rng.below(helos.len())],
        tag: rng.pick(&tags).clone(),
        auth: *rng.pick(&[None, None, Some("joe"), Some("a")]),
        tls: rng.one_in(2),
        sender: (!rng.one_in(5)).then(|| mailbox(senders[rng.below(senders.len())])),
        rcpt: mailbox(rcpts[rng.below(rcpts.len())]),
    }
}

/// An action in words. Behind a URL that needs TLS, `tls` alone says nothing more.
fn action(config: &Config, action: &Action) -> String {
    let text = print::action(config, action);
    let needs_tls = ["smtp+tls://", "smtps://"].iter().any(|url| text.contains(url));
    if needs_tls && !text.contains("tls no-verify") {
        return text.replace(" tls", "");
    }
    text
}

/// All that a configuration makes of an envelope, in words that have no name of an action.
fn verdict(config: &Config, envelope: &Envelope) -> String {
    let facts = Facts {
        client: envelope.client,
        rdns: None,
        rdns_confirmed: false,
        helo: envelope.helo,
        tag: envelope.tag.as_deref(),
        auth: envelope.auth,
        tls: envelope.tls,
        sender: envelope.sender.as_ref(),
        day: 20_781,
    };
    let decision = match config.decide(&facts, &envelope.rcpt, &People) {
        Decision::Action { rule, action: taken } => {
            let life = config.ttl(taken);
            format!("rule {rule}: {} {life:?}", action(config, taken))
        }
        Decision::Reject { rule } => format!("refused by {rule:?}"),
        Decision::Failed { rule, error } => format!("rule {rule} failed: {error}"),
    };
    let expansion = match config.expand(&facts, &envelope.rcpt, &People) {
        Expansion::Deliver(recipients) => recipients
            .iter()
            .map(|recipient| {
                format!("{:?} by {}", recipient.agent, action(config, &recipient.action))
            })
            .collect::<Vec<_>>()
            .join("; "),
        other => format!("{other:?}"),
    };
    format!("{decision}\n{expansion}")
}

fn shown(mistakes: &[Diagnostic]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

/// Without what is an error in any file of before 2018, and left out of the converted one.
fn without_filters(text: &str) -> String {
    let words = text.replace(" filter f", "").replace("\tfilter f", "");
    let lines =
        words.lines().filter(|line| !line.starts_with("filter ") && !line.starts_with("enqueuer"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn alike(rng: &mut Rng, before: &Config, after: &Config, times: usize, text: &str) {
    for _ in 0..times {
        let envelope = envelope(rng, before);
        assert_eq!(verdict(before, &envelope), verdict(after, &envelope), "{text}");
    }
}

#[test]
fn every_legacy_fixture_is_converted_as_written_down() {
    let update = std::env::var_os("HERMES_UPDATE").is_some();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for entry in fs::read_dir(folder()).expect("fixtures/config") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "conf") {
            continue;
        }
        let text = fs::read(&path).expect("a fixture");
        let name = path.display().to_string();
        let Ok(before) = read(&Disk::with(&text)) else { continue };
        let conversion = converted(&Disk::with(&text));
        if before.dialect == Dialect::Modern {
            assert!(matches!(conversion, Err(NotConverted::IsModern)), "{name}");
            continue;
        }
        let Conversion { text, notes } = conversion.unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let after = read(&Disk::with(&text)).unwrap_or_else(|m| panic!("{name}: {}", shown(&m)));
        assert_eq!(after.dialect, Dialect::Modern, "{name}");
        alike(&mut Rng::new(1), &before, &after, 300, &name);
        checked += 1;

        let found = String::from_utf8(text).expect("the fixtures are UTF-8");
        let found = format!("{}{found}", shown(&notes));
        let golden = path.with_extension("converted");
        if update {
            fs::write(golden, found).expect("written");
        } else if fs::read_to_string(golden).ok().as_deref() != Some(&found) {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked >= 10, "{checked}");
}

#[test]
fn generated_files_decide_alike_before_and_after() {
    let (tried, compared) = (Cell::new(0), Cell::new(0));
    with_seeds(1_000, |rng| {
        tried.set(tried.get() + 1);
        let text = legacy::configuration(rng);
        let conversion = converted(&Disk::with(text.as_bytes()));
        let Conversion { text: after, .. } = conversion.unwrap_or_else(|why| match why {
            NotConverted::Mistakes(mistakes) => {
                let mistakes: Vec<_> = mistakes.into_iter().filter(Diagnostic::is_error).collect();
                panic!("{text}\n{}", shown(&mistakes))
            }
            why => panic!("{text}\n{why:?}"),
        });
        let before = read(&Disk::with(without_filters(&text).as_bytes()));
        // Filters that a macro or a line end divides are more than the helper above can take.
        let Ok(before) = before else { return };
        compared.set(compared.get() + 1);
        let shown = String::from_utf8_lossy(&after).into_owned();
        let after = read(&Disk::with(&after)).unwrap_or_else(|m| panic!("{shown}\n{m:?}"));
        alike(rng, &before, &after, 20, &format!("{text}\n----\n{shown}"));
    });
    assert!(compared.get() * 4 >= tried.get() * 3, "{} of {}", compared.get(), tried.get());
}

/// What is told and printed of a text, with an included file beside it.
fn conversion(text: &str, included: &str) -> (String, Vec<String>) {
    let mut disk = Disk::with(text.as_bytes());
    disk.0.insert("/more.conf".to_owned(), included.as_bytes().to_vec());
    let Conversion { text, notes } = converted(&disk).unwrap_or_else(|why| panic!("{why:?}"));
    let text = String::from_utf8(text).expect("UTF-8");
    (text, notes.into_iter().map(|note| note.message).collect())
}

#[test]
fn comments_macros_and_lines_that_go_on_stay_where_they_are() {
    let text = "\
# Top.\r\n\
dom = \"example.org\" # ours\r\n\
\r\n\
\x20 accept from any \\\r\n      for domain $dom \\\r\n      deliver to mbox # last\r\n\
table host { mx, # one\r\n\t\"b\" }\r\n\
reject sender { a@b.example, # spam\r\n  c.example } for any\r\n";
    let expected = "\
# Top.\r\n\
dom = \"example.org\" # ours\r\n\
\r\n\
\x20 action \"act1\" \\\r\n      mbox\r\n\
\x20 match from any \\\r\n      for domain $dom action \"act1\" # last\r\n\
table \"host\" { \"mx\", # one\r\n\t\"b\" }\r\n\
match from local mail-from { a@b.example, # spam\r\n  c.example } for any reject\r\n";
    assert_eq!(conversion(text, ""), (expected.to_owned(), Vec::new()));
}

#[test]
fn an_included_file_stays_one_unless_it_must_change() {
    let (text, notes) =
        conversion("include \"/more.conf\"\naccept for local deliver to mbox\n", "m = \"x\"\n");
    assert!(text.starts_with("include \"/more.conf\"\naction \"act1\" mbox\n"), "{text}");
    assert!(notes.is_empty());

    let (text, _) =
        conversion("include \"/more.conf\" # here\nreject\n", "expire 1d\n\nreject\n\n");
    assert_eq!(
        text,
        "# convert: what follows was included from \"/more.conf\"\n\
         # convert: a change of it now also counts for mail that waits already; \
         for mail to keep what it came with, write ttl DELAY fixed in actions\n\
         queue ttl 1d\n\nmatch from local for local reject # here\n\
         match from local for local reject\n"
    );
}

#[test]
fn what_is_left_out_stands_in_a_comment() {
    let (text, notes) = conversion(
        "curve \\\n  auto\nfilter f chain { a,\n b }\nlisten on lo0 filter f dsn-ret headers\nreject\n",
        "",
    );
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# convert:")).collect();
    let expected = [
        "# curve \\ ",
        "#   auto",
        "# filter f chain { a,",
        "#  b }",
        "listen on lo0",
        "match from local for local reject",
    ];
    assert_eq!(lines, expected);
    assert_eq!(notes.len(), 4, "{notes:?}");
}
