//! What `smtpd -n -v` prints of a configuration is a configuration that means the same.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use smtpd_config::meaning::difference;
use smtpd_config::{Config, Diagnostic, Files, Host, load, print};
use smtpd_tests::configuration::modern;
use smtpd_tests::noise::with_seeds;
use smtpd_tests::with_secrets;

/// A text in the place of the configuration; the files that it names.
struct Disk<'t> {
    text: &'t str,
    root: PathBuf,
    more: HashMap<&'static str, &'static str>,
}

impl Files for Disk<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        if path == Path::new("smtpd.conf") {
            return Ok(Box::new(self.text.as_bytes()));
        }
        if let Some(text) = path.to_str().and_then(|path| self.more.get(path)) {
            return Ok(Box::new(text.as_bytes()));
        }
        let file = self.root.join(path.strip_prefix("/").unwrap_or(path));
        Ok(Box::new(fs::File::open(file)?))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config")
}

fn read(text: &str) -> Result<Config, Vec<Diagnostic>> {
    let host = Host {
        name: "mx.example.org".to_owned(),
        addresses: ["127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().expect("an address")).to_vec(),
    };
    let more = HashMap::from([("/aliases", "joe: ann\nann: joe@example.org\n")]);
    let disk = Disk { text, root: folder().join("root"), more };
    load("smtpd.conf", &[], host, &disk).map(|(config, _)| config)
}

fn shown(mistakes: &[Diagnostic]) -> String {
    let mistakes = mistakes.iter().filter(|mistake| mistake.is_error());
    mistakes.map(|mistake| format!("{mistake}\n")).collect()
}

/// Prints a configuration and reads it again. What is printed has no secrets, so they are
/// compared as what was put in their place.
fn check(config: &Config, name: &str) {
    let printed = print::config(config);
    let again = |printed: &str| {
        let text = with_secrets(printed);
        read(&text).unwrap_or_else(|mistakes| panic!("{name}: {text}{}", shown(&mistakes)))
    };
    let mut first = again(&printed);
    assert_eq!(print::config(&first), printed, "{name}");
    if with_secrets(&printed) != printed {
        let second = again(&printed);
        assert_eq!(difference(&first, &second), None, "{name}: {printed}");
        first = second;
    } else {
        assert_eq!(difference(config, &first), None, "{name}: {printed}");
    }
    let names = |config: &Config| -> Vec<String> {
        config.actions().map(|action| action.name.to_string()).collect()
    };
    // Envelopes find their action by its name.
    assert_eq!(names(config), names(&first), "{name}: {printed}");
}

#[test]
fn every_fixture_is_printed_as_what_it_means() {
    let mut checked = 0;
    for entry in fs::read_dir(folder()).expect("fixtures/config") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "conf") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8");
        if let Ok(config) = read(&text) {
            check(&config, &path.display().to_string());
            checked += 1;
        }
    }
    assert!(checked >= 30, "{checked}");
}

#[test]
fn generated_configurations_are_printed_as_what_they_mean() {
    with_seeds(1_000, |rng| {
        let text = modern::configuration(rng);
        let config = read(&text).unwrap_or_else(|mistakes| panic!("{text}{}", shown(&mistakes)));
        check(&config, &text);
    });
}
