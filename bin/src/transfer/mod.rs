//! Messages on their way out of a queue and into one: what smtpctl and the daemon have in common
//! for `show envelope`, `queue export` and `queue import`.
//!
//! A [`document::Document`] is a message without its content: what the journal knows of it, as
//! JSON for people and other programs. It goes over the control socket in the same form, so there
//! is one description of a message, and the manual has it.
//!
//! What is imported becomes a message of the queue here, whether smtpctl writes it itself or the
//! daemon does: [`draft`] the envelopes, [`arriving`] the content, [`imported`] that it is done
//! once.

pub mod arriving;
pub mod document;
pub mod draft;
mod fields;
pub mod imported;
mod lines;
