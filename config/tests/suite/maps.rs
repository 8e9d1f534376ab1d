//! Tables in maps: the same answers as from a file, small and large, and when the map changes.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::machine::{Memory, Patient, People, facts, mailbox};
use smtpd_config::cdb::Writer;
use smtpd_config::table::Service;
use smtpd_config::{
    Client, Config, Decision, Diagnostic, Expansion, Facts, Files, Host, Maps, ReadAt, Stamp, load,
};

const RULES: &str = "table t db:/t.db\n\
     table d db:/d.db\n\
     table n db:/n.db\n\
     table s db:/s.db\n\
     action \"a\" maildir alias <t>\n\
     action \"b\" maildir\n\
     match from src <n> for domain <d> action \"a\"\n\
     match from any for domain vip.example mail-from <s> action \"b\"\n";

fn map(records: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    for (key, value) in records {
        writer.add(key.as_bytes(), value.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Perhaps with values that nobody asks for and that make a map too large for memory.
fn ballasted(large: bool, records: &[(&str, &str)]) -> Vec<u8> {
    let ballast = "x".repeat(1 << 20);
    let names: Vec<String> = (0..17).map(|n| format!("ballast{n}.example")).collect();
    let mut all = records.to_vec();
    if large {
        all.extend(names.iter().map(|name| (name.as_str(), ballast.as_str())));
    }
    map(&all)
}

/// A directory that is removed at the end, as the root of a file system.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("smtpd-maps-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Root(path)
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn write(&self, path: &str, octets: &[u8]) {
        fs::write(self.below(Path::new(path)), octets).unwrap();
    }

    /// As makemap does.
    fn replace(&self, path: &str, octets: &[u8]) {
        self.write("/new", octets);
        fs::rename(self.below(Path::new("/new")), self.below(Path::new(path))).unwrap();
    }

    fn load(&self) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
        let host = Host { name: "mx.example.org".to_owned(), addresses: Vec::new() };
        load("/smtpd.conf", &[], host, self)
    }

    fn patient(&self) -> Patient {
        let files = Box::new(Root(self.0.clone()));
        Patient { people: People(&["joe", "ann"]), maps: Maps::new(files, |_, _| {}) }
    }
}

impl Files for Root {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(fs::File::open(self.below(path))?))
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(fs::File::open(self.below(path))?))
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        Ok(Stamp::from(&fs::metadata(self.below(path))?))
    }
}

struct Clean(Root);

impl Drop for Clean {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0.0).ok();
    }
}

fn to(config: &Config, patient: &Patient, rcpt: &str) -> String {
    match config.expand(&facts("192.0.2.7"), &mailbox(rcpt), patient) {
        Expansion::Deliver(recipients) => {
            recipients.iter().map(|recipient| format!("{:?} ", recipient.agent)).collect()
        }
        Expansion::Refuse(reply) => reply.to_string(),
        Expansion::Later => "later".to_owned(),
    }
}

/// Every way of asking, of a map in memory and of one that stays on disk.
#[test]
fn small_and_large_maps_answer_alike() {
    for large in [false, true] {
        let root = Clean(Root::new(if large { "large" } else { "small" }));
        let with_ballast = |records: &[(&str, &str)]| ballasted(large, records);
        root.0.write("/smtpd.conf", RULES.as_bytes());
        root.0.write("/t.db", &with_ballast(&[("root", "joe, ann"), ("bad", "a b")]));
        root.0.write("/n.db", &with_ballast(&[("192.0.2.0/24", ""), ("local", "")]));
        let domains = [("example.org", ""), ("*.example.net", "")];
        root.0.write("/d.db", &with_ballast(&domains));
        root.0.write("/s.db", &with_ballast(&[("@*.example.com", ""), ("ann", "")]));
        let loaded = root.0.load();
        if !large {
            // A wrong value of a map that can be looked at is told at once.
            let mistakes = loaded.unwrap_err();
            assert!(mistakes[0].message.starts_with("alias bad:"), "{}", mistakes[0]);
            root.0.write("/t.db", &map(&[("root", "joe, ann")]));
        }
        let (config, warnings) = root.0.load().unwrap();
        assert_eq!(warnings.len(), 0, "{warnings:?}");
        assert!(config.inactive().is_empty());
        let patient = root.0.patient();
        assert_eq!(to(&config, &patient, "Root@Example.org").matches("Local").count(), 2);
        assert_eq!(to(&config, &patient, "joe+x@a.b.example.net").matches("Local").count(), 1);
        assert!(to(&config, &patient, "joe@else.example").starts_with("550"));
        if large {
            assert!(to(&config, &patient, "bad@example.org").starts_with("424"));
        }
        assert!(matches!(
            config.expand(&facts("192.0.2.7"), &mailbox("joe@example.org"), &People(&["joe"])),
            Expansion::Later
        ));
        let decides = |client: Client, sender: &str, rcpt: &str| {
            let sender = mailbox(sender);
            let facts = Facts { client, sender: Some(&sender), ..facts("::1") };
            match config.decide(&facts, &mailbox(rcpt), &patient) {
                Decision::Action { action, .. } => action.name.to_string(),
                _ => "no".to_owned(),
            }
        };
        let ip = |text: &str| Client::Ip(text.parse().unwrap());
        assert_eq!(decides(Client::Socket, "x@x.example", "a@example.org"), "a");
        assert_eq!(decides(ip("::ffff:192.0.2.9"), "x@x.example", "a@example.org"), "a");
        assert_eq!(decides(ip("192.0.3.9"), "x@x.example", "a@example.org"), "no");
        assert_eq!(decides(ip("192.0.3.9"), "x@a.example.com", "a@vip.example"), "b");
        assert_eq!(decides(ip("192.0.3.9"), "Ann+x@b.example.com", "a@vip.example"), "b");
        assert_eq!(decides(ip("192.0.3.9"), "x@a.b.example.com", "a@vip.example"), "no");
    }
}

/// Logins keep their case, in memory and on disk; all others are given the key in lower case.
#[test]
fn logins_of_a_map_may_differ_by_case() {
    for large in [false, true] {
        let root = Clean(Root::new(if large { "logins-large" } else { "logins" }));
        let records = [("bob", "bob:1"), ("Bob", "bob:2"), ("ann", "ann:3")];
        root.0.write("/s.db", &ballasted(large, &records));
        let maps = root.0.patient().maps;
        let value = |service, key: &str| maps.value(Path::new("/s.db"), service, key).unwrap();
        for (service, key, expected) in [
            (Service::Credentials, "bob", Some("bob:1")),
            (Service::Credentials, "Bob", Some("bob:2")),
            (Service::Credentials, "Ann", Some("ann:3")),
            (Service::Credentials, "eve", None),
            (Service::Alias, "Bob", Some("bob:1")),
        ] {
            let found = value(service, key);
            assert_eq!(found.as_deref(), expected, "{service:?} {key}, large: {large}");
        }
    }
}

#[test]
fn a_map_that_is_replaced_is_noticed() {
    let root = Clean(Root::new("replaced"));
    let root = &root.0;
    root.write("/smtpd.conf", RULES.as_bytes());
    for (path, key) in [("/n.db", "192.0.2.7"), ("/d.db", "example.org"), ("/s.db", "ann")] {
        root.write(path, &map(&[(key, "")]));
    }
    root.write("/t.db", &map(&[("list", "joe")]));
    let (config, _) = root.load().unwrap();
    let patient = root.patient();
    let list = || to(&config, &patient, "list@example.org");
    assert_eq!(list().matches("Local").count(), 1);
    root.replace("/t.db", &map(&[("list", "joe, ann")]));
    assert_eq!(list().matches("Local").count(), 2);
    // Whatever takes its place that is no map: a failure for now, until there is one.
    let whole = map(&[("list", "ann")]);
    for broken in [&b""[..], &whole[..whole.len() - 8], &[0xff; 4_096]] {
        root.replace("/t.db", broken);
        assert!(list().starts_with("424"), "{}", list());
    }
    fs::remove_file(root.below(Path::new("/t.db"))).unwrap();
    assert!(list().starts_with("424"));
    root.replace("/t.db", &whole);
    assert_eq!(list().matches("Local").count(), 1);
}

#[test]
fn what_is_no_map_is_a_mistake_with_a_way_out() {
    let told = |files: &[(&str, &[u8])]| {
        let mut memory = Memory::default();
        let text =
            b"table t db:/m/t.db\naction \"a\" maildir alias <t>\nmatch for any action \"a\"\n";
        memory.0.insert("/smtpd.conf".into(), text.to_vec());
        memory.0.extend(files.iter().map(|(path, octets)| ((*path).into(), octets.to_vec())));
        let host = Host { name: "mx.example.org".to_owned(), addresses: Vec::new() };
        match load("/smtpd.conf", &[], host, &memory) {
            Ok((_, warnings)) => (true, warnings[0].to_string()),
            Err(mistakes) => {
                (false, mistakes.iter().map(|mistake| format!("{mistake}\n")).collect())
            }
        }
    };
    let is = |(good, told): (bool, String), expected: bool, words: &[&str]| {
        assert_eq!(good, expected, "{told}");
        words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
    };
    is(told(&[]), false, &["/smtpd.conf:1: invalid map /m/t.db", "makemap /m/t"]);
    is(told(&[("/m/t.db", b"root: joe\n")]), false, &["damaged map", "makemap /m/t"]);
    let hash = [&[0, 6, 0x15, 0x61][..], &[0; 60]].concat();
    is(told(&[("/m/t.db", &hash)]), false, &["Berkeley DB", "makemap -U /m/t.db > /m/t"]);
    let later = [&[0; 12][..], &[0x62, 0x31, 5, 0], &[0; 60]].concat();
    for file in [&hash, &later] {
        let files: [(&str, &[u8]); 2] = [("/m/t.db", file), ("/m/t", b"root: joe\n")];
        is(told(&files), true, &["Berkeley DB file: /m/t is read", "makemap /m/t"]);
        let files: [(&str, &[u8]); 2] = [("/m/t.db", file), ("/m/t", b"root: a b\n")];
        is(told(&files), false, &["/m/t:1: alias root"]);
    }
}
