//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

/// What `--help` prints.
pub const HELP: &str = "\
usage: queue-bench [options] POINT ...

  POINT            accept start show settle fair due index, or all
  --full           the sizes that the figures are for    (default: small ones)
  --dir DIR        the disk to measure: a folder of ours is made in it (default /var/tmp)
  --programs DIR   smtpd, smtpctl, queue-fill, smtp-load (default: beside this program)
  --held N         envelopes that wait meanwhile: for accept the larger queue, for start, show,
                   due and index the queue, for fair those of the busy destination, for settle those
                   that come between
  --messages N     for accept and settle: messages in a run; for index: envelopes lent in all
  --sessions N     for accept and settle                 (default 50)
  --size N         for settle: octets of a message       (default 1024)
  --runs N         for accept and show: runs of each     (default 3)
  --help           print this
";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Accept,
    Start,
    Show,
    Settle,
    Fair,
    Due,
    Index,
}

impl Point {
    const ALL: [Point; 7] = [
        Point::Accept,
        Point::Start,
        Point::Show,
        Point::Settle,
        Point::Fair,
        Point::Due,
        Point::Index,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Point::Accept => "accept",
            Point::Start => "start",
            Point::Show => "show",
            Point::Settle => "settle",
            Point::Fair => "fair",
            Point::Due => "due",
            Point::Index => "index",
        }
    }
}

/// The command line, with its defaults filled in.
#[derive(Debug)]
pub struct Options {
    pub points: Vec<Point>,
    pub full: bool,
    pub dir: PathBuf,
    pub programs: Option<PathBuf>,
    held: Option<usize>,
    messages: Option<usize>,
    pub sessions: usize,
    pub size: usize,
    pub runs: usize,
}

impl Options {
    /// Reads the arguments; `None` when help is wanted.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options {
            points: Vec::new(),
            full: false,
            dir: "/var/tmp".into(),
            programs: None,
            held: None,
            messages: None,
            sessions: 50,
            size: 1024,
            runs: 3,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--full" => options.full = true,
                "--dir" => options.dir = value()?.into(),
                "--programs" => options.programs = Some(value()?.into()),
                "--held" => options.held = Some(number(&name, &value()?)?),
                "--messages" => options.messages = Some(number(&name, &value()?)?),
                "--sessions" => options.sessions = number(&name, &value()?)?,
                "--size" => options.size = number(&name, &value()?)?,
                "--runs" => options.runs = number(&name, &value()?)?,
                "all" => options.points.extend(Point::ALL),
                word => {
                    let point = Point::ALL.into_iter().find(|point| point.name() == word);
                    options.points.push(point.ok_or_else(|| format!("no point {word}"))?);
                }
            }
        }
        if options.points.is_empty() {
            return Err("no point".into());
        }
        if options.runs == 0 || options.sessions == 0 {
            return Err("--runs and --sessions must be at least 1".into());
        }
        Ok(Some(options))
    }

    /// Envelopes that wait: as asked for, or the small or the full number.
    pub fn held(&self, small: usize, full: usize) -> usize {
        self.held.unwrap_or(if self.full { full } else { small })
    }

    /// Messages of a run, likewise.
    pub fn messages(&self, small: usize, full: usize) -> usize {
        self.messages.unwrap_or(if self.full { full } else { small })
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} wants a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn sizes_are_small_full_or_as_asked_for() {
        let held = |line: &str| parse(line).unwrap().unwrap().held(1, 2);
        assert_eq!([held("due"), held("--full due"), held("due --held 9")], [1, 2, 9]);
        assert_eq!(parse("all").unwrap().unwrap().points.len(), 7);
        assert!(parse("--help").unwrap().is_none());
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_word() {
        for (line, part) in [("", "no point"), ("x", "x"), ("show --held y", "--held")] {
            assert!(parse(line).unwrap_err().contains(part), "{line}");
        }
    }
}
