//! smtpd(8).

fn main() {}
