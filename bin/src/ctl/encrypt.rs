//! `smtpctl encrypt`: what a table of credentials stores of a password.
//!
//! The password is an argument, which others on the machine can see, or comes from standard input,
//! a line for each; a terminal does not show it.

use std::io::{self, IsTerminal, Write};

use zeroize::Zeroizing;

use super::Failure;
use crate::password::scram::{ITERATIONS, Stored};
use crate::password::{self, BCRYPT_OCTETS};
use crate::terminal;

/// Octets of the salt of a new SCRAM entry.
const SALT: usize = 16;

/// Prints the hash of `text`, or of each line of standard input.
pub fn encrypt(text: Option<&str>, scram: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(text) = text {
        return Ok(writeln!(out, "{}", hash(text, scram)?)?);
    }
    let is_terminal = io::stdin().is_terminal();
    loop {
        let line = if is_terminal {
            terminal::ask("password: ")
        } else {
            terminal::read_line(io::stdin())
        };
        match line {
            Ok(line) => writeln!(out, "{}", hash(&line, scram)?)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(Failure::Password(unread(&error))),
        }
        if is_terminal {
            return Ok(());
        }
    }
}

fn hash(text: &str, scram: bool) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::Password("an empty password lets nobody in".to_owned()));
    }
    let too_long = || {
        let octets = text.len();
        Failure::Password(format!(
            "the password has {octets} octets, and bcrypt looks at the first {BCRYPT_OCTETS} only; \
             --scram takes longer ones"
        ))
    };
    if !scram {
        return password::hash(text.as_bytes()).ok_or_else(too_long);
    }
    let mut salt = Zeroizing::new([0; SALT]);
    getrandom::fill(&mut *salt)
        .map_err(|error| Failure::Password(format!("random numbers: {error}")))?;
    Ok(Stored::new(text.as_bytes(), &*salt, ITERATIONS).to_text())
}

fn unread(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Interrupted => "no password was given".to_owned(),
        io::ErrorKind::InvalidData => "standard input: no line of text".to_owned(),
        _ => format!("standard input: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str, scram: bool) -> Result<String, Failure> {
        let mut out = Vec::new();
        encrypt(Some(text), scram, &mut out)?;
        Ok(String::from_utf8(out).unwrap().trim_end().to_owned())
    }

    #[test]
    fn what_it_prints_is_what_a_table_stores() {
        for scram in [false, true] {
            let hash = printed("pass word", scram).ok().unwrap();
            assert_eq!(hash.starts_with("SCRAM-SHA-256$"), scram);
            assert_eq!(password::check(b"pass word", &hash), Ok(true));
            assert_eq!(password::check(b"password", &hash), Ok(false));
            assert_ne!(printed("pass word", scram).ok().unwrap(), hash, "salts differ");
        }
    }

    #[test]
    fn passwords_that_would_not_count_as_a_whole_are_refused() {
        let long = "x".repeat(73);
        assert!(printed(&long, false).is_err() && printed(&long, true).is_ok());
        assert!(printed("", false).is_err() && printed("", true).is_err());
    }
}
