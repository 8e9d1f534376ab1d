//! smtpd(8). Everything is in `smtpd::daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match smtpd::options::parse(&arguments) {
        Ok(options) => smtpd::daemon::run(&options),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
