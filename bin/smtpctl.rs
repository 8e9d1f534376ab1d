//! smtpctl(8): the administrator's hand on the daemon. Everything is in `smtpd::ctl`.

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let status = smtpd::ctl::run_as(&name, &arguments, &mut out, &mut io::stderr());
    match out.flush() {
        // Whoever reads has seen enough: `smtpctl show queue | head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("smtpctl: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::from(status),
    }
}
