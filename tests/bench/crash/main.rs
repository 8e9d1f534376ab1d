//! `crash-test`: ends the real daemon in the middle of its work, again and again, and prints what
//! became of the mail.
//!
//! ```text
//! crash-test kill               a hundred times kill -9, queue and mail below --dir
//! crash-test xfs ext4           fifty power cuts each, on file systems of their own (root)
//! crash-test --rounds 10 --messages 100 kill
//! ```
//!
//! A hundred rounds with a thousand messages each, the default, take two or three minutes. It needs the
//! programs `smtpd` and `smtpctl` beside its own. What is checked in each round is in
//! `smtpd_tests::crash`: it ends with a panic at the first message that was acknowledged and is
//! lost, refused and delivered, changed, or delivered twice although its outcome was on disk.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use smtpd_tests::crash::{End, Tally, World};
use smtpd_tests::load::Sums;
use smtpd_tests::mount::Kind;
use smtpd_tests::program::TempDir;

const HELP: &str = "\
usage: crash-test [options] [kill] [xfs] [ext4]

  --rounds N         ends of the daemon in all           (default 100)
  --messages N       acknowledged before each, about     (default 1050)
  --every N          rounds between two checks           (default 4)
  --seed N           of the load and of the moments      (default: the process id)
  --dir DIR          where a folder of ours is made      (default /var/tmp)
  --programs DIR     smtpd and smtpctl                   (default: beside this program)
";

struct Options {
    ends: Vec<(&'static str, End)>,
    rounds: usize,
    messages: usize,
    every: usize,
    seed: u64,
    dir: PathBuf,
    programs: PathBuf,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let ours = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut options = Options {
            ends: Vec::new(),
            rounds: 100,
            messages: 1050,
            every: 4,
            seed: std::process::id().into(),
            dir: "/var/tmp".into(),
            programs: ours.parent().map(Path::to_owned).unwrap_or_default(),
        };
        while let Some(word) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{word}: no number"));
            match word.as_str() {
                "kill" => options.ends.push(("kill -9", End::Kill)),
                "xfs" => options.ends.push(("power cut, xfs", End::Power(Kind::Xfs))),
                "ext4" => options.ends.push(("power cut, ext4", End::Power(Kind::Ext4))),
                "--rounds" => options.rounds = number(value()?)?,
                "--messages" => options.messages = number(value()?)?,
                "--every" => options.every = number(value()?)?.max(1),
                "--seed" => options.seed = number(value()?)? as u64,
                "--dir" => options.dir = value()?.into(),
                "--programs" => options.programs = value()?.into(),
                _ => return Err(format!("unknown word {word}")),
            }
        }
        if options.ends.is_empty() {
            return Err("kill, xfs or ext4?".to_owned());
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("crash-test: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    for (name, end) in &options.ends {
        let begun = Instant::now();
        match run(&options, *end) {
            Ok((sums, tally)) => {
                println!("{name}: {:.0} s, seed {}", begun.elapsed().as_secs_f64(), options.seed);
                print(sums, tally);
            }
            Err(why) => {
                eprintln!("crash-test: {name}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The rounds of one kind.
fn run(options: &Options, end: End) -> Result<(Sums, Tally), String> {
    let parent = TempDir::below(&options.dir);
    let dir = parent.path().join("disk");
    let mut world = World::new(end, dir, Some(options.programs.clone()), options.seed)?;
    for round in 1..=options.rounds.div_ceil(options.ends.len()) {
        world.round(options.messages);
        if round.is_multiple_of(options.every) {
            world.check();
        }
    }
    world.check();
    Ok((world.sums(), world.tally()))
}

fn print(sums: Sums, tally: Tally) {
    let lines = [
        ("ends of the daemon", tally.rounds),
        ("messages answered with 250", sums.accepted),
        ("of which lost", sums.accepted - sums.delivered),
        ("refused, or never handed over", sums.refused),
        ("neither, the daemon having ended first", sums.unknown),
        ("of which delivered", sums.turned_up),
        ("envelopes in the queue at an end, in all", tally.queued),
        ("of which in a Maildir, outcome not on disk", tally.unsettled),
        ("the most at one end", tally.most.0),
        ("seen twice by a reader, each of these", tally.twice),
    ];
    for (name, count) in lines {
        println!("  {name:<44} {count:>9}");
    }
}
