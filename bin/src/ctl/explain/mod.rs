//! `smtpctl explain`: a dry run of one message.
//!
//! It reads the configuration and what that names, and needs no daemon. The dialogue is that of
//! the engine, the decisions are those of `smtpd_config`, watched while they are made; here they
//! are only led and shown.

mod dialogue;
mod json;
mod options;
mod text;
mod verdict;
mod way;

use std::io::{self, Write};

use smtpd_config::{Config, Outside};

use super::Failure;
use super::place::Place;
use crate::daemon::outside::Lookups;
use crate::daemon::users::Remembered;

pub use options::{Asked, parse};
pub use verdict::Verdict;

/// Carries out the words behind `explain`.
///
/// # Errors
/// When the words or the configuration cannot be used, and [`Failure::Verdict`] when the message is
/// not accepted.
pub(super) fn explain(words: &[String], place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let asked = parse(words).map_err(Failure::Queue)?;
    let file = asked.file.clone().or_else(|| place.file.clone());
    let macros = place.macros.iter().chain(&asked.macros).cloned().collect();
    let config = Place { file, macros, ..Place::default() }.needed_config()?;
    match answer(&config, &asked, &Lookups::new(Remembered::default()), out)? {
        Verdict::Accepted => Ok(()),
        Verdict::Refused => Err(Failure::Verdict(REFUSED)),
        Verdict::Deferred => Err(Failure::Verdict(DEFERRED)),
    }
}

/// Leads the dry run and prints how it went. `outside` may be waited for.
///
/// # Errors
/// When no listener is as it was named, and those of the output.
pub fn answer(
    config: &Config,
    asked: &Asked,
    outside: &dyn Outside,
    out: &mut dyn Write,
) -> Result<Verdict, Unanswered> {
    let dialogue = dialogue::lead(config, asked, outside).map_err(Unanswered::Listener)?;
    if asked.json {
        let document = json::document(config, asked, &dialogue);
        serde_json::to_writer_pretty(&mut *out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        text::print(out, config, asked, &dialogue)?;
    }
    Ok(dialogue.verdict())
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// No listener is as it was named.
    Listener(String),
    /// It could not be printed.
    Output(io::Error),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Unanswered {
        Unanswered::Output(error)
    }
}

impl From<Unanswered> for Failure {
    fn from(why: Unanswered) -> Failure {
        match why {
            Unanswered::Listener(what) => Failure::Queue(format!("explain: {what}")),
            Unanswered::Output(error) => Failure::Output(error),
        }
    }
}

/// Exit status: a recipient is refused for good.
const REFUSED: u8 = 2;

/// Exit status: a recipient is refused for now.
const DEFERRED: u8 = 3;
