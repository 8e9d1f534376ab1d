//! What joins the crates into the programs smtpd and smtpctl.

pub mod sys;
