//! Configurations and what becomes of them: every `fixtures/config/NAME.conf` is checked as by
//! `smtpd -n`, and the outcome is compared with `NAME.ok` (its warnings and what is printed of it)
//! or `NAME.err` (its diagnostics). `HERMES_UPDATE=1` writes these files anew: look at the
//! difference before you commit it. The machine is the one of `smtpd_tests::paper`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use smtpd_config::{Config, Diagnostic, check, load, print};
use smtpd_tests::paper::Paper;
use smtpd_tests::with_secrets;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

type Outcome = Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>>;

fn macros(macros: &[(&str, &str)]) -> Vec<(String, String)> {
    macros.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(text: &str, given: &[(&str, &str)]) -> Outcome {
    load("smtpd.conf", &macros(given), Paper::host(), &Paper::new(text))
}

/// What `smtpd -n` finds.
fn checked(text: &str) -> Outcome {
    match check("smtpd.conf", &[], Paper::host(), &Paper::new(text)) {
        (Some(config), diagnostics) => Ok((config, diagnostics)),
        (None, diagnostics) => Err(diagnostics),
    }
}

fn shown(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

/// What the golden file should hold, and how it ends.
fn golden(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Ok((config, warnings)) => ("ok", format!("{}{}", shown(warnings), print::config(config))),
        Err(diagnostics) => ("err", shown(diagnostics)),
    }
}

fn fixtures() -> BTreeMap<String, PathBuf> {
    let folder = repository().join("fixtures/config");
    let entries = fs::read_dir(folder).expect("fixtures/config");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect()
}

#[test]
fn every_fixture_has_the_outcome_that_is_written_down() {
    let update = std::env::var_os("HERMES_UPDATE").is_some();
    let mut wrong = Vec::new();
    for (name, path) in fixtures() {
        let octets = fs::read(&path).expect("a fixture");
        let text = String::from_utf8(octets).expect("UTF-8");
        let (end, found) = golden(&checked(&text));
        if update {
            fs::write(path.with_extension(end), found).expect("written");
            let other = if end == "ok" { "err" } else { "ok" };
            fs::remove_file(path.with_extension(other)).ok();
            continue;
        }
        match fs::read_to_string(path.with_extension(end)) {
            Ok(expected) if expected == found => {}
            Ok(expected) => {
                wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
            }
            Err(_) => wrong.push(format!("{name}: there is no {name}.{end} for\n{found}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is printed is read again and means the same.
#[test]
fn the_printed_configuration_is_one() {
    for (name, path) in fixtures() {
        let text = fs::read_to_string(path).expect("a fixture");
        let Ok((config, _)) = read(&text, &[]) else { continue };
        let printed = print::config(&config);
        match read(&with_secrets(&printed), &[]) {
            Ok((again, _)) => assert_eq!(print::config(&again), printed, "{name}"),
            Err(diagnostics) => panic!("{name} is printed as\n{printed}{}", shown(&diagnostics)),
        }
    }
}

#[test]
fn there_are_enough_fixtures_of_both_kinds() {
    let ends =
        |end: &str| fixtures().values().filter(|path| path.with_extension(end).exists()).count();
    assert!(ends("err") >= 150, "{} wrong files", ends("err"));
    assert!(ends("ok") >= 120, "{} good files", ends("ok"));
    for recipes in ["modern-", "before-"] {
        let there = fixtures().into_keys().filter(|name| name.starts_with(recipes)).count();
        assert!(there >= 40, "{there} recipes {recipes}");
    }
}

#[test]
fn the_hundred_and_first_mistake_is_not_read() {
    let Err(diagnostics) = read(&"nonsense\n".repeat(150), &[]) else { panic!("no mistake?") };
    assert_eq!(diagnostics.len(), 101);
    assert!(diagnostics[100].message.contains("too many"));
}

/// Every first line is what old tools read, and every diagnostic of a file has its place.
#[test]
fn diagnostics_begin_with_file_and_line() {
    for (name, path) in fixtures() {
        let text = fs::read_to_string(path).expect("a fixture");
        let Err(diagnostics) = checked(&text) else { continue };
        assert!(diagnostics.iter().any(Diagnostic::is_error), "{name}");
        for diagnostic in diagnostics {
            let text = diagnostic.to_string();
            let Some(position) = diagnostic.position else { continue };
            assert!(text.starts_with(&format!("{}:{}: ", position.file, position.line)), "{name}");
        }
    }
}

fn etc(name: &str) -> String {
    fs::read_to_string(repository().join("etc").join(name)).expect("a sample")
}

#[test]
fn the_quickstart_works_as_it_is() {
    let (config, warnings) = read(&etc("quickstart.conf"), &[]).expect("no mistakes");
    assert_eq!((warnings.len(), config.inactive().len()), (0, 0));
    assert_eq!(config.queue.directory, Path::new("./spool"));
    let macros = [("port", "2599"), ("dir", "/some/where")];
    let (config, _) = read(&etc("quickstart.conf"), &macros).expect("no mistakes");
    assert_eq!(config.queue.directory, Path::new("/some/where/spool"));
    assert_eq!(config.control_socket, Path::new("/some/where/smtpd.sock"));
    assert_eq!(config.listeners[0].port, 2599);
}

#[test]
fn the_sample_works_as_it_is() {
    let (config, warnings) = read(&etc("smtpd.conf"), &[]).expect("no mistakes");
    assert!(config.inactive().is_empty());
    assert!(warnings.is_empty(), "{warnings:?}");
}
