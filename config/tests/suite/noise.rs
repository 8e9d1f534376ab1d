//! Whatever the octets, reading a configuration, its tables and its aliases ends with an answer.

use crate::machine::{Memory, People, facts, mailbox};
use smtpd_config::{Expansion, Host, alias, load, print, url};

/// The pieces that noise is made of: words of both grammars, marks, and what breaks things.
const PIECES: &[&str] = &[
    "listen",
    " on ",
    "all",
    "socket",
    " port ",
    "25",
    " tls",
    " pki ",
    " tag ",
    "table ",
    " t ",
    "{",
    "}",
    "<",
    ">",
    "<t>",
    "<users>",
    "!",
    "=",
    "=>",
    ",",
    "\n",
    "\n",
    "\n",
    "\\\n",
    "\\",
    "\"",
    "'",
    "#",
    "$",
    "$x",
    "x = ",
    "$x\n",
    "action ",
    "\"a\"",
    "maildir ",
    "mbox",
    "relay ",
    "host ",
    "backup",
    "match ",
    "from ",
    "any ",
    "local ",
    "src ",
    "for ",
    "domain ",
    "reject",
    "regex ",
    "auth ",
    "accept ",
    "deliver to ",
    "sender ",
    "tagged ",
    "via ",
    "smtp://h:25 ",
    "tls+auth://l@h",
    "%{dest",
    "%{dest.user}",
    "[0:",
    "]",
    "}",
    ":raw}",
    "%",
    "~/",
    "/",
    ".",
    "*",
    "@",
    "10/8",
    "::1",
    "[",
    "\0",
    "\r\n",
    "\u{fffd}",
    "ä",
    "include ",
    "\"f\"",
    "smtp limit max-mails 1\n",
    "queue ttl 1d\n",
    "expire 4d\n",
    "bounce ",
    "warn-interval ",
    "99999999999999999999",
    "-1",
    "35M",
    "userbase ",
    "alias ",
    "virtual ",
    "filter ",
    "chain ",
    "phase connect match ",
    "junk",
    "proc ",
];

/// Xorshift: the same seed gives the same noise on every machine.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn text(&mut self, pieces: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        for _ in 0..self.below(pieces) {
            match self.below(12) {
                0 => octets.push(self.below(256) as u8),
                _ => octets.extend_from_slice(PIECES[self.below(PIECES.len())].as_bytes()),
            }
        }
        octets
    }
}

fn read(files: &Memory) -> Result<smtpd_config::Config, Vec<smtpd_config::Diagnostic>> {
    let host = Host { name: "mx.example.org".to_owned(), addresses: Vec::new() };
    load("smtpd.conf", &[], host, files).map(|(config, _)| config)
}

#[test]
fn no_octets_make_a_configuration_panic() {
    for seed in 1..=3_000u64 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut files = Memory::default();
        let head = "table t file:/t\naction \"a\" maildir alias <t>\nmatch for any action \"a\"\n";
        let mut text = if rng.below(2) == 0 { head.as_bytes().to_vec() } else { Vec::new() };
        text.extend(rng.text(40));
        files.0.insert("smtpd.conf".into(), text);
        files.0.insert("f".into(), rng.text(20));
        files.0.insert("/t".into(), b"a: b\nb: c@d.example\n".to_vec());
        match read(&files) {
            Ok(config) => {
                let printed = print::config(&config);
                files.0.insert("smtpd.conf".into(), printed.clone().into_bytes());
                let again = read(&files).unwrap_or_else(|d| panic!("seed {seed}: {printed}{d:?}"));
                assert_eq!(print::config(&again), printed, "seed {seed}");
                let facts = facts("127.0.0.1");
                let Expansion::Deliver(to) =
                    config.expand(&facts, &mailbox("a@localhost"), &People(&["c"]))
                else {
                    continue;
                };
                assert!(!to.is_empty());
            }
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    let text = diagnostic.to_string();
                    let control = |c: char| c.is_control() && c != '\n' && c != '\t';
                    assert!(!text.contains(control), "seed {seed}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn no_octets_make_a_table_an_alias_or_a_url_panic() {
    let text = b"table t file:/t\naction \"a\" maildir alias <t>\nmatch for any action \"a\"\n";
    for seed in 1..=3_000u64 {
        let mut rng = Rng(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut files = Memory::default();
        files.0.insert("smtpd.conf".into(), text.to_vec());
        files.0.insert("/t".into(), rng.text(30));
        if let Ok(config) = read(&files) {
            config.expand(&facts("127.0.0.1"), &mailbox("a@localhost"), &People(&["b"]));
        }
        let noise = rng.text(10);
        let noise = String::from_utf8_lossy(&noise);
        if let Ok(targets) = alias::parse(&noise) {
            assert!(targets.len() <= noise.len());
        }
        if let Ok(url) = url::RelayUrl::parse(&noise) {
            assert_eq!(url::RelayUrl::parse(&url.to_string()), Ok(url));
        }
    }
}

/// Deep, wide and endless input ends soon, with a mistake or without.
#[test]
fn huge_input_is_bounded() {
    let rule = "action \"a\" maildir\nmatch for any action \"a\"\n";
    for text in [
        "{".repeat(1 << 20),
        "table t {".repeat(1 << 17),
        "table t {\n".repeat(1 << 17),
        "\"\n".repeat(1 << 18),
        "'".repeat(1 << 20),
        "a".repeat(1 << 20),
        "x = \"\"\n".to_owned() + &"$x".repeat(1 << 19),
        "%{".repeat(1 << 19),
        "\\\n".repeat(1 << 19),
        "!".repeat(1 << 20),
        "#".repeat(1 << 20),
        "include \"smtpd.conf\"\n".repeat(100),
        format!("match for domain {{ {} }} action \"a\"\n", "a ".repeat(1 << 19)),
    ] {
        let mut files = Memory::default();
        files.0.insert("smtpd.conf".into(), (text + "\n" + rule).into_bytes());
        if let Err(diagnostics) = read(&files) {
            assert!(diagnostics.len() <= 202);
        }
    }
    let mut files = Memory::default();
    files.0.insert("smtpd.conf".into(), vec![b'\n'; 9 << 20]);
    assert!(read(&files).unwrap_err()[0].message.contains("larger"));
}
