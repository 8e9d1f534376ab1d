//! The manual pages against the program: what they show works, what they say does not work yet
//! does not, and no command or option is missing.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use smtpd_config::{Diagnostic, Files, Host, load};
use smtpd_queue::id::EnvelopeId;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text from a section's heading to the next one.
fn section(page: &str, heading: &str) -> String {
    let start = page.find(&format!("\n.Sh {heading}\n")).unwrap();
    let rest = &page[start + 1..];
    let end = rest[1..].find("\n.Sh ").map_or(rest.len(), |end| end + 1);
    rest[..end].to_owned()
}

/// The literal displays of a section.
fn displays(section: &str) -> Vec<String> {
    let after = section.split(".Bd -literal -offset indent\n").skip(1);
    after.map(|text| text.split(".Ed").next().unwrap().replace("\\e", "\\")).collect()
}

/// A disk with one file.
struct Disk<'a>(&'a str);

impl Files for Disk<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if path == Path::new("smtpd.conf") {
            Ok(Box::new(self.0.as_bytes()))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// What is not active in a configuration that has no mistake.
fn inactive(text: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
    let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap()];
    let host = Host { name: "mx.example.org".to_owned(), addresses };
    let (config, _) = load("smtpd.conf", &[], host, &Disk(text))?;
    Ok(config.inactive().iter().map(|found| found.what.clone()).collect())
}

#[test]
fn every_configuration_that_is_shown_works() {
    let examples = displays(&section(&page("smtpd.conf.5"), "EXAMPLES"));
    assert_eq!(examples.len(), 5);
    for example in examples {
        assert_eq!(inactive(&example), Ok(Vec::new()), "{example}");
    }
}

/// Statements that keep the daemon from starting, each with the word that the manual has for it.
const NOT_YET: [(&str, &str); 10] = [
    ("listen on lo hostnames { 127.0.0.1 = a.org }", "hostnames"),
    ("listen on lo proxy-v2", "proxy-v2"),
    ("filter \"f\" phase connect match fcrdns junk", "filter"),
    ("proc \"p\" /bin/false", "proc"),
    ("action \"m\" mbox", "maildir"),
    ("action \"m\" mda /bin/false", "maildir"),
    ("action \"m\" lmtp /sock", "maildir"),
    ("action \"m\" expand-only", "maildir"),
    ("action \"m\" maildir junk", "junk"),
    ("mda wrapper \"w\" \"%{mda}\"\naction \"m\" maildir wrapper \"w\"", "wrapper"),
];

#[test]
fn what_the_manual_calls_missing_is_missing() {
    let text = section(&page("smtpd.conf.5"), "WHAT DOES NOT WORK YET");
    let words = text.replace("\n", " ");
    for (statement, word) in NOT_YET {
        let config = format!("{statement}\nmatch for any reject\n");
        let found = inactive(&config).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        assert!(!found.is_empty(), "this works now, and the manual says it does not: {statement}");
        assert!(words.contains(word), "the manual does not tell that it is missing: {statement}");
    }
}

#[test]
fn every_option_has_its_place() {
    let text = page("smtpd.8");
    let usage = smtpd::options::parse(&["-h".into()]).unwrap_err();
    let options: Vec<char> = usage
        .lines()
        .last()
        .unwrap()
        .split('-')
        .skip(1)
        .flat_map(|word| word.chars().take_while(char::is_ascii_alphabetic))
        .collect();
    assert_eq!(options.iter().collect::<String>(), "dFhjnvWDfPT");
    for option in options {
        assert!(text.contains(&format!("\n.It Fl {option}")), "-{option}");
    }
}

/// The options of explain, those of its usage, and every field of its JSON.
#[test]
fn explanations_are_told_of() {
    let text = section(&page("smtpctl.8"), "EXPLANATIONS");
    let usage = smtpd::ctl::explain::parse(&[]).unwrap_err();
    let usage = usage.lines().nth(1).unwrap();
    let options = usage.split(['[', ']', ' ', '|']).filter(|word| word.starts_with('-'));
    let mut seen = 0;
    for option in options {
        let option = option.strip_prefix('-').unwrap();
        let place = match option.strip_prefix('-') {
            Some(long) => text.contains(&format!("Fl -{long}")),
            None => text.contains(&format!(".It Fl {option}")),
        };
        assert!(place, "-{option}");
        seen += 1;
    }
    assert!(seen >= 12, "{seen}");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/explain");
    // The example is the answer that tests/explain has found, behind the line with the question.
    let answer = fs::read_to_string(fixtures.join("manual.txt")).unwrap();
    let answer = answer.split_once('\n').unwrap().1.split("exit").next().unwrap();
    let example = displays(&text).remove(0);
    assert!(example.ends_with(answer), "the manual should have\n{answer}");
    let golden = fs::read_to_string(fixtures.join("aliases.json")).unwrap();
    let keys = golden.lines().filter_map(|line| line.trim_start().split_once("\": "));
    let keys: std::collections::BTreeSet<&str> =
        keys.map(|(key, _)| key.trim_start_matches('"')).collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let words = [format!(".Li {key}"), format!(" {key} "), format!(" {key}\n")];
        let names = text.split("The JSON is one object").nth(1).unwrap();
        assert!(words.iter().any(|word| names.contains(word)), "{key}");
    }
}

#[test]
fn every_command_has_its_place() {
    let text = page("smtpctl.8");
    let mut commands = vec![String::new()];
    let mut complete = 0;
    let envelope = EnvelopeId::new("0123abcd".parse().unwrap(), 0).to_string();
    // From "" to "show" to "show queue": what smtpctl itself offers.
    while let Some(words) = commands.pop() {
        let mut arguments = ["-s", "/nonexistent/socket", "-q", "/nonexistent"].to_vec();
        arguments.extend(words.split_whitespace().map(|word| match word {
            "<evpid>" => envelope.as_str(),
            "<msgid>" => "0123abcd",
            "<str>" => "example.org",
            "<routeid>" => "1",
            "<directory>" | "<file>" => "/nonexistent/directory",
            word => word,
        }));
        let arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if smtpd::ctl::run(&arguments, &mut out, &mut err) == 255 {
            let offered = String::from_utf8(err).unwrap();
            commands.extend(offered.lines().skip(1).map(str::to_owned));
        } else {
            complete += 1;
            // What stands for one envelope, or for many, is one parameter in the manual.
            let words = words.split(" <").next().unwrap();
            let words = words.trim_end_matches(" all").trim_end_matches(" domain");
            let places = [format!(".It Ic {words}"), format!("| {words}"), format!("| Ic {words}")];
            assert!(places.iter().any(|place| text.contains(place)), "{words}");
        }
    }
    assert!(complete >= 11, "{complete}");
}
