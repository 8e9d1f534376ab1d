//! `smtpd -n`: reads the configuration and says all that can be found out without touching
//! anything. For people on standard error; with `-j` for programs as one JSON value on standard
//! output. With `-v` the whole configuration is printed in today's words. smtpd(8) describes all
//! of them.

pub(crate) mod certificate;
mod report;
mod world;

use std::io::Write;
use std::process::ExitCode;

use smtpd_config::{Diagnostic, Severity, print};

use crate::daemon::machine::Machine;
use crate::options::Options;
use world::Checked;

/// Checks the configuration `path`, as the options say.
pub fn run(options: &Options, path: &str, machine: Machine) -> ExitCode {
    let host = machine.host();
    let world = Checked::new(machine);
    let (config, diagnostics) = smtpd_config::check(path, &options.macros, host, &world);
    let good = passes(&diagnostics, options.warnings_fail);
    if options.json {
        println!("{}", report::json(path, good, &diagnostics));
    } else {
        for diagnostic in &diagnostics {
            eprintln!("{diagnostic}");
        }
        if let Some(config) = config.filter(|_| options.verbose) {
            // Whoever reads may have seen enough: `smtpd -nv | head`.
            let _ = std::io::stdout().write_all(print::config(&config).as_bytes());
        }
        eprintln!("{}", verdict(&diagnostics, good));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passes(diagnostics: &[Diagnostic], warnings_fail: bool) -> bool {
    diagnostics.iter().all(|diagnostic| match diagnostic.severity {
        Severity::Error => false,
        Severity::Warning => !warnings_fail,
        Severity::Note => true,
    })
}

/// The last line. That of success is upstream's, whatever else was said before it.
fn verdict(diagnostics: &[Diagnostic], good: bool) -> String {
    if good {
        return "configuration OK".to_owned();
    }
    let count = |severity, what: &str| {
        let found = diagnostics.iter().filter(|found| found.severity == severity).count();
        format!("{found} {what}{}", if found == 1 { "" } else { "s" })
    };
    let mistakes = count(Severity::Error, "mistake");
    format!("configuration not OK: {mistakes}, {}", count(Severity::Warning, "warning"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_fail_only_when_that_is_asked_for() {
        let all = [Diagnostic::note("n"), Diagnostic::warning("w"), Diagnostic::error("e")];
        assert!(passes(&all[..2], false) && !passes(&all[..2], true) && passes(&all[..1], true));
        assert!(!passes(&all, false));
        assert_eq!(verdict(&all, false), "configuration not OK: 1 mistake, 1 warning");
        assert_eq!(verdict(&all[..2], true), "configuration OK");
    }
}
