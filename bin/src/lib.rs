//! What joins the crates into the programs smtpd and smtpctl.

pub mod check;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod decide;
pub mod keys;
pub mod log;
pub mod options;
pub mod password;
pub mod sys;
pub mod terminal;
pub mod transfer;

/// Name and version, as `-h`, the log's first line and `show status` say them.
pub const VERSION: &str = concat!("Hermes ", env!("CARGO_PKG_VERSION"));
