//! Seeded noise into the configuration: no octets in any file end in a panic, a mistake has a
//! place, and what is printed of a configuration means what was read.
//!
//! The queue's decoders and the control socket have such tests of their own, beside them.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use smtpd_config::convert::{NotConverted, convert};
use smtpd_config::{Files, Host, alias, check, format::Template, load, print, url};
use smtpd_tests::noise::{mutate, with_seeds};
use smtpd_tests::paper::Paper;
use smtpd_tests::rng::Rng;
use smtpd_tests::with_secrets;

/// Words of both grammars, and what stands between them.
const PIECES: [&str; 97] = [
    "listen on ",
    "all",
    "localhost",
    "socket",
    "lo",
    " port 25",
    " port smtp",
    " tls",
    " tls-require",
    " auth",
    " auth-optional",
    " hostname mx",
    " tag T",
    " pki p",
    " mask-src",
    " no-dsn",
    " stray-newline normalize",
    "table ",
    "t ",
    "{ a, b }",
    "{ a = b, \"c\" = d }",
    "file:/aliases",
    "db:/aliases.db",
    "<t>",
    "<aliases>",
    "action ",
    "\"a\" ",
    "maildir",
    " \"~/Maildir\"",
    "/mail/%{user.username}",
    "%{dest.user:lowercase}",
    "%{rcpt",
    " mbox",
    " lmtp \"/s\"",
    " mda \"cat\"",
    " relay",
    " host smtp://h:25",
    " alias <t>",
    " virtual <t>",
    " userbase any",
    " userbase <t>",
    " ttl 4d",
    " user root",
    "match ",
    "from any",
    "from local",
    "from src 192.0.2.0/24",
    "from src { ::1 }",
    " for local",
    " for domain ",
    "\"example.org\"",
    " for any",
    " for rcpt-to ",
    " mail-from ",
    " auth",
    " !",
    " helo ",
    " tls",
    "action \"a\"",
    "reject",
    "accept ",
    "accept from any for domain \"x\" alias <t> deliver to maildir",
    "for any relay via tls+auth://l@h:587 auth <s>",
    "deliver to mbox",
    "expire 2d",
    "pki p cert \"/c\"",
    "ca x cert /c",
    "queue directory /q",
    "queue ttl 1h",
    "queue compression",
    "control socket /s",
    "daemon user u",
    "resolver ::1 port 53",
    "smtp limit max-mails 10",
    "smtp limit max-conn-per-src 0",
    "mta limit ",
    "max-message-size 35M",
    "filter f chain { a }",
    "filter f phase connect match !fcrdns disconnect \"550 x\"",
    "admd x",
    "bounce warn-interval 1h, 2d",
    "srs key x",
    "include \"/included\"",
    "m = \"x\"",
    "$m",
    "\"",
    "\\\n",
    "#",
    "# comment\n",
    "\n",
    "\n",
    "\n",
    ",",
    "=",
    "{",
    "}",
    "9999999999999999999999",
];

/// Statements that are right each for itself, today's and those of before 2018.
const STATEMENTS: [&[&str]; 2] = [
    &[
        "listen on localhost port 2525",
        "listen on all tag IN hostname mx.example.org",
        "listen on 192.0.2.1 no-dsn mask-src",
        "table t { a, b, \"c d\" }",
        "table v { \"a@x\" = b, c = \"d, e\" }",
        "table f file:/aliases",
        "action \"a\" maildir \"/mail/%{dest.user:lowercase}\" userbase any",
        "action b maildir alias <v>",
        "action c mbox",
        "action d maildir virtual <v> ttl 2d",
        "match from any for local action \"a\"",
        "match from src { 192.0.2.0/24, ::1 } for domain { \"*.example.org\", y } action b",
        "match !from local mail-from <t> for any reject",
        "match helo \"x\" for rcpt-to <t> action c",
        "match tag IN for any action d",
        "smtp limit max-mails 10",
        "smtp max-message-size 10M",
        "queue ttl 2d",
        "queue directory /spool",
        "control socket \"/run/it\"",
    ],
    &[
        "listen on localhost",
        "listen on all port 2525 hostname mx",
        "table t { a, b }",
        "table v { a = b }",
        "table f file:/aliases",
        "accept from any for domain \"example.org\" alias <v> deliver to maildir",
        "accept for local alias <v> deliver to mbox",
        "accept from source <t> for domain <t> deliver to maildir \"/m/%{user.username}\"",
        "accept sender \"a@b\" for any deliver to maildir",
        "reject from any for domain \"x\"",
        "expire 4d",
        "max-message-size 10M",
    ],
];

/// What aliases, specifiers and relay URLs are made of.
const VALUES: [&str; 19] = [
    "a", "@", ":", "/", "|", "\"", "\\", "%{", "user", "}", "[1:2]", ",", "://", "smtp", "+", " ",
    "<t>", "é", "\0",
];

/// Files in memory.
struct Memory(HashMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(path) {
            Some(octets) => Ok(Box::new(&octets[..])),
            // Tables that the samples name.
            None if path.starts_with("/etc/mail") => Ok(Box::new(&b"a: b, c"[..])),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Configurations that are good before they are changed.
fn samples() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut samples = Vec::new();
    for folder in ["etc", "fixtures/config"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("the folder is there");
        let mut files: Vec<_> = entries.map(|e| e.expect("a readable folder").path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        files.sort();
        samples.extend(files.iter().map(|file| std::fs::read(file).expect("a readable file")));
    }
    assert!(samples.len() > 2, "the samples are not where they were");
    samples
}

fn text(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    match rng.below(6) {
        0 => {
            let len = rng.below(200);
            octets.extend(rng.octets(len));
        }
        1 => {
            octets.clone_from(&samples[rng.below(samples.len())]);
            if !rng.one_in(4) {
                mutate(rng, &mut octets);
            }
        }
        2..4 => {
            let statements = rng.pick(&STATEMENTS);
            let often = 1 + rng.below(4);
            for statement in *statements {
                if rng.one_in(often) {
                    octets.extend(statement.bytes().chain(*b"\n"));
                }
            }
            if rng.one_in(4) {
                mutate(rng, &mut octets);
            }
        }
        _ => {
            for _ in 0..rng.below(40) {
                octets.extend(PIECES[rng.below(PIECES.len())].bytes());
                if rng.one_in(3) {
                    octets.push(*rng.pick(b" \n"));
                }
            }
        }
    }
    octets
}

/// What `smtpd -n` says of anything: diagnostics that can be shown, and a configuration exactly
/// when none of them is a mistake.
#[test]
fn checks() {
    let samples = samples();
    with_seeds(5_000, |rng| {
        let (config, included, aliases) =
            (text(rng, &samples), text(rng, &samples), text(rng, &samples));
        let machine = Paper::with([
            ("/smtpd.conf", &config[..]),
            ("/included", &included),
            ("/aliases", &aliases),
        ]);
        let macros = [("port".to_owned(), "2525".to_owned())];
        let (config, diagnostics) = check("/smtpd.conf", &macros, Paper::host(), &machine);
        assert_eq!(config.is_none(), diagnostics.iter().any(|d| d.is_error()));
        for diagnostic in &diagnostics {
            let shown = diagnostic.to_string();
            let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            assert!(!shown.chars().any(bad), "{shown:?}");
            let width = diagnostic.line.as_ref().map_or(0, |line| line.chars().count());
            assert!(diagnostic.line.is_none() || diagnostic.width as usize <= width.max(1));
        }
    });
}

fn host() -> Host {
    Host { name: "mx.example.org".into(), addresses: Vec::new() }
}

#[test]
fn configurations() {
    let samples = samples();
    let (tried, read) = (Cell::new(0), Cell::new(0));
    with_seeds(20_000, |rng| {
        tried.set(tried.get() + 1);
        let mut files = HashMap::new();
        files.insert("/smtpd.conf".into(), text(rng, &samples));
        files.insert("/included".into(), text(rng, &samples));
        files.insert("/aliases".into(), text(rng, &samples));
        let files = Memory(files);
        let macros = [("port".to_owned(), "2525".to_owned())];
        let converted = convert("/smtpd.conf", &macros, host(), &files);
        if let Err(NotConverted::WouldDiffer(what)) = converted {
            let text = &files.0[Path::new("/smtpd.conf")];
            panic!("{what} of\n{}", String::from_utf8_lossy(text));
        }
        match load("/smtpd.conf", &macros, host(), &files) {
            Err(diagnostics) => {
                assert!(diagnostics.iter().any(|d| d.is_error()), "refused without an error");
                for diagnostic in &diagnostics {
                    let shown = diagnostic.to_string();
                    assert!(
                        !shown.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')),
                        "{shown:?}"
                    );
                }
            }
            Ok((config, _)) => {
                read.set(read.get() + 1);
                let printed = print::config(&config);
                let mut files = files;
                files.0.insert("/smtpd.conf".into(), with_secrets(&printed).into_bytes());
                let again = load("/smtpd.conf", &[], host(), &files);
                let (again, _) = again.unwrap_or_else(|diagnostics| {
                    panic!("what was printed is not understood: {diagnostics:?} in\n{printed}")
                });
                assert_eq!(print::config(&again), printed);
            }
        }
    });
    let enough = tried.get() < 1000 || read.get() > tried.get() / 50;
    assert!(enough, "only {} of {} configurations were read", read.get(), tried.get());
}

#[test]
fn values() {
    with_seeds(20_000, |rng| {
        let mut value = String::new();
        for _ in 0..rng.below(8) {
            value.push_str(VALUES[rng.below(VALUES.len())]);
        }
        let _ = alias::parse(&value);
        let _ = Template::parse(&value);
        let _ = url::RelayUrl::parse(&value);
    });
}
