//! `smtpctl convert`: a configuration of before 2018 in today's grammar.

use std::io::{self, Read, Write};
use std::path::Path;

use smtpd_config::convert::{Conversion, NotConverted, convert};
use smtpd_config::{Files, ReadAt, Stamp, limits};

use super::Failure;
use crate::daemon::machine::Machine;

/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Prints the file in today's grammar, and tells what somebody should decide. Nothing is printed of
/// a file with mistakes, so that nothing but a whole configuration ever replaces one.
pub(super) fn file(
    file: &Path,
    macros: &[(String, String)],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let machine = Machine::new().map_err(|error| Failure::Queue(format!("interfaces: {error}")))?;
    let name = file.to_string_lossy();
    let input = match &*name {
        STANDARD_INPUT => Some(standard_input()?),
        _ => None,
    };
    let files = Input { octets: input, machine: &machine };
    let Conversion { text, notes } =
        convert(&name, macros, machine.host(), &files).map_err(|why| match why {
            NotConverted::Mistakes(mistakes) => {
                let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                Failure::Configuration(lines.join("\n"))
            }
            NotConverted::IsModern => {
                let text = format!("{name} is in the grammar of today: nothing to convert");
                Failure::Queue(text)
            }
            NotConverted::WouldDiffer(what) => {
                let text = "cannot convert it: the result would mean something else";
                Failure::Queue(format!("{name}: {text} ({what})"))
            }
        })?;
    for note in notes {
        let _ = writeln!(err, "{note}");
    }
    Ok(out.write_all(&text)?)
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    let input = io::stdin().lock().take(limits::CONFIG_FILE + 1).read_to_end(&mut octets);
    input.map_err(|error| Failure::Queue(format!("standard input: {error}")))?;
    Ok(octets)
}

/// The machine, with standard input as a file.
struct Input<'m> {
    octets: Option<Vec<u8>>,
    machine: &'m Machine,
}

impl Files for Input<'_> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match &self.octets {
            Some(octets) if path == Path::new(STANDARD_INPUT) => Ok(Box::new(octets.as_slice())),
            _ => self.machine.open(path),
        }
    }

    fn open_map(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        self.machine.open_map(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        self.machine.stamp(path)
    }
}
