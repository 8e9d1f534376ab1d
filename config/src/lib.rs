//! smtpd.conf and what it decides.

#![forbid(unsafe_code)]
