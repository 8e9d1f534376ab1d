//! SMTP as a pure state machine (RFC 5321).

#![forbid(unsafe_code)]
