//! `tls-load`: TLS handshakes for a server to compute, as many as it can take.
//!
//! ```text
//! cargo run --release -p smtpd-tests --bin tls-load -- full --to 127.0.0.1:2525
//! cargo run --release -p smtpd-tests --bin tls-load -- memory --cert cert.pem --key key.pem
//! ```
//!
//! A session is: connect, EHLO, STARTTLS, the handshake, EHLO, QUIT. `full` computes everything
//! each time, `resumed` shows a ticket, and `plain` says NOOP
//! instead of STARTTLS and of the second EHLO: what is left when the handshake is taken away. No certificate and no
//! signature is verified, so that the server has more to do than this client. `memory` is a server
//! of rustls with the same keys and neither sockets nor threads: what the computation alone costs.
//! The figures are printed as one JSON object; `../peers/bench.py` sets them beside the processor
//! time of the server.

#![forbid(unsafe_code)]

mod client;
mod memory;
mod options;
mod session;
mod tickets;

use std::process::ExitCode;

// What computes, the same as in the reactor.
#[cfg(target_os = "linux")]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(not(target_os = "linux"))]
use rustls::crypto::ring as crypto;

use options::{Mode, Options};

/// What went wrong, in words.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("tls-load: {message} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    let measured = match options.mode {
        Mode::Memory => memory::run(&options),
        Mode::Full | Mode::Resumed | Mode::Plain => session::run(&options),
    };
    match measured {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tls-load: {error}");
            ExitCode::FAILURE
        }
    }
}
