//! `smtpctl explain`: what it says of each `fixtures/explain/NAME.conf`, and (`intake`) that what it
//! says is what the server does.
//!
//! The questions stand in the configuration, in lines that begin with `#?`; the answers are
//! compared with `NAME.txt`, the first one also as JSON with `NAME.json`. `HERMES_UPDATE=1` writes
//! these anew: look at the difference before you commit it. Files that configurations name stand below
//! `fixtures/explain/root`.

mod intake;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtpd::ctl::explain::{self, Unanswered, Verdict};
use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{Config, Files, Forward, Host, Lookup, Outside, User, Users, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/explain")
}

/// The folder as the root of a file system, and one text in the place of a file.
struct Root<'t>(&'t str);

impl Files for Root<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if path == Path::new("smtpd.conf") {
            return Ok(Box::new(self.0.as_bytes()));
        }
        let root = folder().join("root");
        Ok(Box::new(File::open(root.join(path.strip_prefix("/").unwrap_or(path)))?))
    }
}

fn read(text: &str) -> Config {
    let host = Host {
        name: "mx.example.org".to_owned(),
        addresses: ["127.0.0.1", "::1", "192.0.2.1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec(),
    };
    match load("smtpd.conf", &[], host, &Root(text)) {
        Ok((config, _)) => config,
        Err(mistakes) => {
            let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            panic!("{}", all.join("\n"));
        }
    }
}

/// The users of the machine; the database has no answer for `broken`.
struct People;

impl Users for People {
    fn user(&self, name: &str) -> Lookup {
        let known = ["joe", "ann", "bob", "vmail"];
        match known.iter().position(|user| *user == name) {
            Some(at) => Lookup::Found(Arc::new(User {
                name: name.into(),
                uid: 1000 + at as u32,
                gid: 100,
                home: format!("/home/{name}").into(),
            })),
            None if name == "broken" => Lookup::Error,
            None => Lookup::None,
        }
    }
}

/// No table is outside of the configuration here. Bob has a `.forward`, and there is one list.
impl Outside for People {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Failed)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Failed)
    }

    fn include(&self, path: &str) -> Result<Vec<u8>, LookupError> {
        Ok(if path == "/list" { b"joe\nann@example.org, |/bin/cat\n".to_vec() } else { Vec::new() })
    }

    fn forward(&self, user: &User) -> Forward {
        match &*user.name {
            "bob" => Forward::Text(b"bob, bob@elsewhere.example\n".to_vec()),
            _ => Forward::None,
        }
    }
}

/// The words of a line as a shell has them; quotes stand around whole words only.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut quoted = false;
    for (nth, part) in line.split('"').enumerate() {
        quoted = nth % 2 == 1;
        match quoted {
            true => words.push(part.to_owned()),
            false => words.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    assert!(!quoted, "a quote is missing: {line}");
    words
}

/// What is printed and how it ends, as a shell shows it.
fn ask(config: &Config, words: &[String]) -> (String, String) {
    let asked = explain::parse(words).expect("a question");
    let mut out = Vec::new();
    let end = match explain::answer(config, &asked, &People, &mut out) {
        Ok(Verdict::Accepted) => "0".to_owned(),
        Ok(Verdict::Refused) => "2".to_owned(),
        Ok(Verdict::Deferred) => "3".to_owned(),
        Err(Unanswered::Listener(what)) => format!("1: {what}"),
        Err(Unanswered::Output(error)) => panic!("{error}"),
    };
    (String::from_utf8(out).expect("UTF-8"), end)
}

/// Each fixture with its questions.
fn fixtures() -> BTreeMap<PathBuf, (String, Vec<String>)> {
    let entries = fs::read_dir(folder()).expect("fixtures/explain");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let configurations = paths.filter(|path| path.extension().is_some_and(|end| end == "conf"));
    configurations
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a fixture");
            let questions = text.lines().filter_map(|line| line.strip_prefix("#? "));
            let questions = questions.map(str::to_owned).collect();
            (path, (text, questions))
        })
        .collect()
}

/// Compares with a golden file, or writes it.
fn compare(path: &Path, found: &str, wrong: &mut String) {
    if std::env::var_os("HERMES_UPDATE").is_some() {
        fs::write(path, found).expect("written");
    } else if fs::read_to_string(path).ok().as_deref() != Some(found) {
        writeln!(wrong, "{}: found\n{found}", path.display()).expect("a string");
    }
}

#[test]
fn every_fixture_is_explained_as_written_down() {
    let mut wrong = String::new();
    for (path, (text, questions)) in fixtures() {
        assert!(!questions.is_empty(), "{} asks nothing", path.display());
        let config = read(&text);
        let first = [&words(&questions[0])[..], &["-j".to_owned()]].concat();
        compare(&path.with_extension("json"), &ask(&config, &first).0, &mut wrong);
        let mut shown = String::new();
        for question in questions {
            let (text, end) = ask(&config, &words(&question));
            writeln!(shown, "$ smtpctl explain {question}\n{text}exit {end}\n").expect("a string");
        }
        compare(&path.with_extension("txt"), &shown, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_password_is_ever_shown() {
    for (path, (text, questions)) in fixtures() {
        let config = read(&text);
        for question in questions {
            for more in [&[][..], &["-j".to_owned()]] {
                let words = [&words(&question)[..], more].concat();
                let shown = ask(&config, &words).0;
                assert!(!shown.contains("hunter2") && !shown.contains("= secret"), "{path:?}");
            }
        }
    }
}
