//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

/// What `--help` prints.
pub const HELP: &str = "\
usage: queue-fill DIR N [options]

Adds N messages to the queue in the directory DIR, which is made if it is missing.

  --size N           octets of a message's content       (default 1024)
  --envelopes N      recipients of a message             (default 1)
  --destinations N   how many destinations they have     (default 1000)
  --due WHEN         held; far: in six to 23 hours; near: within ten minutes;
                     now: never tried                    (default far)
  --kind KIND        relay or local                      (default relay)
  --random           content that no compression makes smaller
  --open             leave the queue as a crash would, instead of closing it
  --help             print this
";

/// When the envelopes are to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Not before an administrator says so.
    Held,
    /// Long after the run.
    Far,
    /// During the run.
    Near,
    /// At once, as after the 250.
    Now,
}

/// The command line, with its defaults filled in.
#[derive(Debug)]
pub struct Options {
    pub dir: PathBuf,
    pub messages: usize,
    pub size: usize,
    pub envelopes: u32,
    pub destinations: u64,
    pub due: When,
    pub local: bool,
    pub random: bool,
    pub close: bool,
}

impl Options {
    /// Reads the arguments; `None` when help is wanted.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options {
            dir: PathBuf::new(),
            messages: 0,
            size: 1024,
            envelopes: 1,
            destinations: 1000,
            due: When::Far,
            local: false,
            random: false,
            close: true,
        };
        let mut arguments = arguments.peekable();
        let mut plain = Vec::new();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--size" => options.size = number(&name, &value()?)?,
                "--envelopes" => options.envelopes = number(&name, &value()?)?,
                "--destinations" => options.destinations = number(&name, &value()?)?,
                "--due" => options.due = when(&value()?)?,
                "--kind" => options.local = local(&value()?)?,
                "--random" => options.random = true,
                "--open" => options.close = false,
                other if other.starts_with('-') => return Err(format!("unknown option {name}")),
                _ => plain.push(name),
            }
        }
        let [dir, messages] = &plain[..] else {
            return Err("a directory and a number of messages are needed".into());
        };
        options.dir = dir.into();
        options.messages = number("N", messages)?;
        if options.envelopes == 0 || options.destinations == 0 {
            return Err("--envelopes and --destinations must be at least 1".into());
        }
        Ok(Some(options))
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} wants a number, not {text:?}"))
}

fn when(text: &str) -> Result<When, String> {
    match text {
        "held" => Ok(When::Held),
        "far" => Ok(When::Far),
        "near" => Ok(When::Near),
        "now" => Ok(When::Now),
        _ => Err(format!("--due wants held, far, near or now, not {text:?}")),
    }
}

fn local(text: &str) -> Result<bool, String> {
    match text {
        "relay" => Ok(false),
        "local" => Ok(true),
        _ => Err(format!("--kind wants relay or local, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_line_says_what_and_the_rest_has_defaults() {
        let options = parse("--due near spool --open 70 --kind local").unwrap().unwrap();
        assert_eq!((options.dir, options.messages), ("spool".into(), 70));
        assert_eq!((options.due, options.local, options.close), (When::Near, true, false));
        assert_eq!(options.size, 1024);
        assert!(parse("spool --help").unwrap().is_none());
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_option() {
        for (line, part) in [
            ("spool", "number"),
            ("spool many", "many"),
            ("spool 1 --due soon", "--due"),
            ("spool 1 --kind odd", "--kind"),
            ("spool 1 --size", "needs a value"),
            ("spool 1 --envelopes 0", "--envelopes"),
            ("spool 1 --nonsense", "--nonsense"),
        ] {
            assert!(parse(line).unwrap_err().contains(part), "{line}");
        }
    }
}
