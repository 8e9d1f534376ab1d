//! Messages on their way out of a queue and into one: what smtpctl and the daemon have in common
//! for `show envelope`, `queue export` and `queue import`.
//!
//! A [`document::Document`] is a message without its content: what the journal knows of it, as
//! JSON for people and other programs. The daemon sends it over the control socket in the same
//! form, so there is one description of a message, and the manual has it.

pub mod document;
mod fields;
