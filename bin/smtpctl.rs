//! smtpctl(8): the administrator's hand on the daemon. Everything is in `smtpd::ctl`.

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let status = smtpd::ctl::run(&arguments, &mut out, &mut io::stderr());
    match out.flush() {
        // Whoever reads has seen enough: `smtpctl show queue | head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("smtpctl: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(status),
    }
}
