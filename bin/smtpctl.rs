//! smtpctl(8).

fn main() {}
