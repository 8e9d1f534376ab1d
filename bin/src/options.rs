//! The command line of smtpd(8).

use std::ffi::OsString;
use std::path::PathBuf;

use getopts::ParsingStyle;

use crate::VERSION;
use crate::control::System;
use crate::log::topic::{Topic, Topics};

/// The configuration file unless `-f` names one.
pub const DEFAULT_FILE: &str = "/etc/mail/smtpd.conf";

const USAGE: &str = "usage: smtpd [-dFhjnvW] [-D macro=value] [-f file] [-P system] [-T trace]";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How the process runs.
    pub mode: Mode,
    /// Debug lines are wanted (`-v`).
    pub verbose: bool,
    /// Macros that stand over those of the file, in the order given (`-D`).
    pub macros: Vec<(String, String)>,
    /// What the check says is JSON on standard output (`-j`).
    pub json: bool,
    /// The check fails when there are warnings (`-W`).
    pub warnings_fail: bool,
    /// The configuration file, if `-f` names one.
    pub file: Option<PathBuf>,
    /// Systems that begin paused (`-P`).
    pub paused: Vec<System>,
    /// What is traced (`-T`).
    pub topics: Topics,
}

/// How the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the background, logging to syslog.
    Daemon,
    /// In the foreground, logging to syslog (`-F`).
    Foreground,
    /// In the foreground, logging to standard error (`-d`).
    Debug,
    /// Only reads the configuration and says what it thinks of it (`-n`).
    Check,
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What to print on standard error before ending with status 1: a complaint with the usage, or
/// name, version and usage for `-h`.
pub fn parse(arguments: &[OsString]) -> Result<Options, String> {
    let mut known = getopts::Options::new();
    known.parsing_style(ParsingStyle::StopAtFirstFree);
    for flag in ["d", "F", "h", "n", "v", "W"] {
        known.optflagmulti(flag, "", "");
    }
    known.optflagmulti("j", "json", "");
    for option in ["D", "f", "P", "T"] {
        known.optmulti(option, "", "", "");
    }
    let given = known.parse(arguments).map_err(|error| complaint(&error.to_string()))?;
    if given.opt_present("h") {
        return Err(format!("version: {VERSION}\n{USAGE}"));
    }
    if !given.free.is_empty() {
        return Err(USAGE.to_owned());
    }
    let modes = [("n", Mode::Check), ("d", Mode::Debug), ("F", Mode::Foreground)];
    let mode = modes.iter().find(|(flag, _)| given.opt_present(flag));
    for flag in ["j", "W"] {
        if given.opt_present(flag) && !given.opt_present("n") {
            return Err(complaint(&format!("-{flag} goes with -n")));
        }
    }
    let macros = given.opt_strs("D");
    let macros = macros.iter().map(|text| definition(text).map_err(|what| complaint(&what)));
    let macros = macros.collect::<Result<_, _>>();
    let paused = given.opt_strs("P").iter().map(|word| system(word)).collect::<Result<_, _>>();
    let mut topics = Topics::default();
    for word in given.opt_strs("T") {
        topics.insert(topic(&word)?);
    }
    Ok(Options {
        mode: mode.map_or(Mode::Daemon, |(_, mode)| *mode),
        verbose: given.opt_present("v"),
        json: given.opt_present("j"),
        warnings_fail: given.opt_present("W"),
        macros: macros?,
        file: given.opt_strs("f").pop().map(PathBuf::from),
        paused: paused?,
        topics,
    })
}

/// Splits at the last `=`, as upstream: a macro's name may hold one, its value may not.
///
/// # Errors
/// What is wrong with it, without the usage.
pub(crate) fn definition(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("-D {text}: expected macro=value")),
    }
}

fn system(word: &str) -> Result<System, String> {
    let words = System::ALL.map(System::word);
    System::from_word(word)
        .ok_or_else(|| complaint(&format!("-P {word}: expected one of {}", words.join(", "))))
}

fn topic(word: &str) -> Result<Topic, String> {
    let words = Topic::WORDS.map(|(word, _)| word);
    Topic::from_word(word)
        .ok_or_else(|| complaint(&format!("-T {word}: expected one of {}", words.join(", "))))
}

fn complaint(what: &str) -> String {
    format!("smtpd: {what}\n{USAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_it_is_a_daemon() {
        let options = read("").unwrap();
        assert_eq!(options.mode, Mode::Daemon);
        assert_eq!(options.file, None);
        assert_eq!((options.verbose, options.topics), (false, Topics::default()));
        assert!(options.macros.is_empty() && options.paused.is_empty());
    }

    #[test]
    fn options_may_stand_together_and_repeat() {
        let options = read("-dvv -f a -fb -P mta -Psmtp -T smtp -T rules").unwrap();
        assert_eq!((options.mode, options.verbose), (Mode::Debug, true));
        assert_eq!(options.file, Some(PathBuf::from("b")));
        assert_eq!(options.paused, [System::Mta, System::Smtp]);
        assert!(options.topics.contains(Topic::Smtp) && options.topics.contains(Topic::Rules));
        assert!(!options.topics.contains(Topic::Expand));
        assert_eq!(read("-Fd").unwrap().mode, Mode::Debug);
        assert_eq!(read("-F").unwrap().mode, Mode::Foreground);
        assert_eq!(read("-dn").unwrap().mode, Mode::Check);
        let check = read("-n --json -W").unwrap();
        assert!(check.json && check.warnings_fail && read("-nj").unwrap().json);
    }

    #[test]
    fn macros_are_split_at_the_last_equals_sign() {
        let options = read("-D port=2599 -Ddir=/some/where -D a=b=c -D empty=").unwrap();
        let macros: Vec<(&str, &str)> =
            options.macros.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let expected = [("port", "2599"), ("dir", "/some/where"), ("a=b", "c"), ("empty", "")];
        assert_eq!(macros, expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_usage() {
        let cases = [
            ("-x", "smtpd: Unrecognized option: 'x'"),
            ("-f", "smtpd: Argument to option 'f' missing"),
            ("-D port", "smtpd: -D port: expected macro=value"),
            ("-D =1", "smtpd: -D =1: expected macro=value"),
            ("-dj", "smtpd: -j goes with -n"),
            ("-W", "smtpd: -W goes with -n"),
            ("-P queue", "smtpd: -P queue: expected one of mda, mta, smtp"),
            (
                "-T imsg",
                "smtpd: -T imsg: expected one of smtp, scheduler, lookup, rules, expand, bounce, \
                 all",
            ),
        ];
        for (line, complaint) in cases {
            assert_eq!(read(line), Err(format!("{complaint}\n{USAGE}")), "{line}");
        }
        assert_eq!(read("-d operand"), Err(USAGE.to_owned()));
        assert_eq!(read("-n -- operand"), Err(USAGE.to_owned()));
        assert_eq!(read("-h"), Err(format!("version: {VERSION}\n{USAGE}")));
        assert!(VERSION.starts_with("Hermes "));
    }
}
