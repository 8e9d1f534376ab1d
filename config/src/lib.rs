//! smtpd.conf and what it decides.
//!
//! [`load`] reads a configuration in either grammar - that of today, and that of accept and
//! reject rules up to 2018 - into one typed [`Config`], or gives every mistake as a
//! [`Diagnostic`]. The configuration then answers two questions for each recipient:
//! [`Config::decide`], which rule takes it, and [`Config::expand`], who gets the message.
//!
//! This crate opens no path, asks no resolver and looks up no user by itself: the program gives
//! [`Files`], [`Host`], [`Interfaces`], [`Users`] and [`Outside`]. No octets in any file make it panic.
//!
//! | module | holds |
//! |---|---|
//! | [`diagnostic`] | mistakes and warnings as they are shown |
//! | [`surroundings`] | what is asked of the machine |
//! | `lex`, `grammar`, `words` | from octets to the types |
//! | [`config`], [`listen`], [`action`], [`rules`], [`filter`] | the types, and what rules decide |
//! | [`places`] | where the words of these types are written |
//! | [`table`], [`cdb`] | tables and how keys match; the format of maps |
//! | [`alias`], [`account`], [`expand`] | from a recipient to those who get the message |
//! | [`login`] | what is stored of passwords, who may be which sender |
//! | [`observe`] | what is told of a decision while it is made |
//! | [`route`] | where a relay action leads, without asking the network |
//! | [`explain`] | the same kept and put into words |
//! | [`mod@format`], [`url`], [`tls`] | specifiers in paths, relay URLs, cipher and protocol lists |
//! | [`mod@check`] | what no grammar can see: files, users, certificates, rules that nobody wants |
//! | [`mod@print`] | the effective configuration in today's words |
//! | [`mod@convert`] | a file of before 2018 in today's words |
//! | [`meaning`] | whether two configurations say the same |
//! | [`limits`] | every bound and default, with its reason |

#![forbid(unsafe_code)]

pub mod account;
pub mod action;
pub mod alias;
pub mod cdb;
pub mod check;
pub mod config;
pub mod convert;
pub mod diagnostic;
pub mod expand;
pub mod explain;
pub mod filter;
pub mod format;
mod grammar;
mod lex;
pub mod limits;
pub mod listen;
pub mod login;
pub mod meaning;
pub mod observe;
pub mod places;
pub mod print;
pub mod route;
pub mod rules;
pub mod srs;
pub mod surroundings;
pub mod table;
pub mod tls;
pub mod url;
mod value;
mod words;

pub use account::Account;
pub use action::{Action, Delivery, Local, Method, Relay};
pub use config::{Config, Dialect, Family, Inactive, LimitSet, QueueKey};
pub use diagnostic::{Diagnostic, Position, Severity};
pub use expand::{Agent, Expansion, Recipient};
pub use format::{FormatError, Values};
pub use listen::{Auth, Listen, Senders, SocketListen, StrayNewline, Tls};
pub use observe::Observer;
pub use places::Places;
pub use rules::{Client, Decision, Facts, Match};
pub use surroundings::{
    Files, Forward, Host, Interfaces, Lookup, Outside, ReadAt, Stamp, User, Users,
};
pub use table::Maps;

/// Reads the configuration file `path` with the macros of the command line, in the order they
/// were given. Besides the configuration there may be warnings.
///
/// What is configured and does not work yet is a warning here and is listed by
/// [`Config::inactive`]: `smtpd -n` shows it, and `smtpd` must not start with it.
///
/// # Errors
/// Every mistake and warning that was found, in the order of the file.
pub fn load(
    path: &str,
    macros: &[(String, String)],
    host: Host,
    files: &dyn Files,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let lexed = lex::statements(path, macros, files);
    let (config, diagnostics) = grammar::read(lexed, host, files).finish();
    if diagnostics.iter().any(Diagnostic::is_error) {
        Err(diagnostics)
    } else {
        Ok((config, diagnostics))
    }
}

/// Reads a configuration as [`load`] does, and looks at it and at the machine as `smtpd -n` does.
/// There is a configuration when no diagnostic is an error.
pub fn check(
    path: &str,
    macros: &[(String, String)],
    host: Host,
    world: &dyn check::World,
) -> (Option<Config>, Vec<Diagnostic>) {
    let lexed = lex::statements(path, macros, world);
    let mut read = grammar::read(lexed, host, world);
    let found = check::of_statements(&read.config, world);
    if !read.diagnostics.has_errors() {
        let whole = check::of_the_whole(&read.config, world);
        read.add(whole);
    }
    read.add(found);
    let (config, diagnostics) = read.finish();
    let good = !diagnostics.iter().any(Diagnostic::is_error);
    (good.then_some(config), diagnostics)
}
