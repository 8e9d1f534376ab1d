//! The statements of the grammar from 5.3 to 6.0.
//!
//! All three generations are read at once: where a later one has more, a file of an earlier one
//! does not use it. Rules are in [`super::legacy_rule`].

use std::collections::{HashMap, HashSet};

use crate::config::Dialect;
use crate::diagnostic::Diagnostic;
use crate::listen::Tls;
use crate::rules::{From, Test};
use crate::words;

use super::Reader;
use super::cursor::{Cursor, Parse};
use super::shared::Scope;
use crate::lex::{Fault, Place};

/// What can only be finished when the whole file is read.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Rules whose `from local` takes authenticated sessions in: their indices.
    pub from_local: Vec<usize>,
    /// Certificates whose listeners have trust anchors of the same name.
    pub pki_ca: HashSet<String>,
    /// What is written in the file for each certificate of 5.3 that has been named.
    pub certificates: HashMap<String, String>,
    /// Where each listener stands.
    pub listeners: Vec<Place>,
}

impl Reader<'_> {
    /// Reads one statement.
    pub(super) fn legacy(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let Some((word, at)) = cursor.word(words::LEGACY_STATEMENTS)? else {
            return Ok(());
        };
        match word {
            "accept" => self.accept(cursor, at),
            "reject" => self.reject(cursor, at),
            "listen" => self.listen(cursor),
            "table" => self.table(cursor),
            "control" => self.control(cursor),
            "daemon" => self.daemon(cursor),
            "resolver" => self.resolver(cursor),
            "bounce-warn" => {
                if cursor.at_end() {
                    return Ok(());
                }
                self.warn_intervals(cursor)
            }
            "expire" => {
                self.config.queue.ttl = cursor.delay("expire delay")?;
                cursor.finish()
            }
            "max-message-size" => {
                self.config.smtp.max_message_size = cursor.size("a size")?;
                cursor.finish()
            }
            "max-mta-deferred" => {
                self.config.mta.max_deferred = cursor.number("max-mta-deferred", 0)?;
                cursor.finish()
            }
            "subaddressing-delimiter" => self.delimiter(cursor),
            "ciphers" => {
                self.config.smtp.ciphers = Some(self.ciphers(cursor)?);
                cursor.finish()
            }
            "curve" => {
                cursor.string("a curve")?;
                let note = Diagnostic::note("curve has no effect any more");
                self.report(at, note.help("the key exchange chooses by itself"));
                cursor.finish()
            }
            "limit" => match cursor.needed_word(&["session", "mda", "scheduler", "mta"])?.0 {
                "session" => self.session_limits(cursor),
                "mda" => self.limit_set(cursor, Scope::Mda),
                "scheduler" => self.limit_set(cursor, Scope::Scheduler),
                _ => self.mta_limits(cursor),
            },
            "queue" => self.legacy_queue(cursor),
            "pki" => self.pki(cursor),
            "ca" => self.ca(cursor),
            "filter" | "enqueuer" => {
                let diagnostic =
                    Diagnostic::error("filters of that time speak a protocol of that time")
                        .help("use the grammar of today: filter \"name\" proc-exec \"command\"");
                Err(Fault::new(at, diagnostic))
            }
            _ => Err(cursor.unknown(words::LEGACY_STATEMENTS)),
        }
    }

    fn legacy_queue(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        match cursor.needed_word(&["compression", "encryption", "directory"])?.0 {
            "directory" => self.queue_directory(cursor),
            "compression" => self.queue_compression(cursor),
            _ => self.queue_encryption(cursor),
        }
    }

    /// A listener whose certificate is not named has the one of its host name, else the one
    /// called `*`; files of 5.3 have no `pki` lines and name it after the interface.
    fn find_certificates(&mut self) {
        let named = &self.legacy.certificates;
        let old = self.config.pki.keys().all(|name| named.contains_key(name));
        for index in 0..self.config.listeners.len() {
            let listen = &self.config.listeners[index];
            if listen.tls == Tls::Never || !listen.pki.is_empty() {
                continue;
            }
            let place = self.legacy.listeners[index];
            let name = listen.name(&self.config).to_ascii_lowercase();
            let found = [&*name, "*"].into_iter().find(|n| self.config.pki.contains_key(*n));
            let found = match found {
                Some(found) => found.to_owned(),
                None if old => {
                    let on = listen.on.clone();
                    self.legacy_certificate(&on, place)
                }
                None => {
                    let diagnostic = Diagnostic::error(format!("no certificate for {name}"))
                        .help("add pki NAME to the listener");
                    self.report(place, diagnostic);
                    continue;
                }
            };
            self.config.listeners[index].pki.push(found);
        }
    }

    /// In these files authenticated sessions count as local. Where some listener authenticates,
    /// each rule `from local` gets a second one that says so; `from ! local` says it in itself.
    pub(super) fn finish_legacy(&mut self) {
        if self.dialect == Dialect::Legacy {
            self.find_certificates();
            for listen in &mut self.config.listeners {
                let anchors = listen.pki.iter().find(|name| self.legacy.pki_ca.contains(*name));
                if listen.ca.is_none() {
                    listen.ca = anchors.cloned();
                }
            }
        }
        if !self.config.has_auth() {
            return;
        }
        for index in std::mem::take(&mut self.legacy.from_local).into_iter().rev() {
            let rule = &mut self.config.matches[index];
            let anybody = |not| Test { not, what: None };
            if rule.from.not {
                // An `authenticated` in the rule contradicts it or says the same.
                if rule.auth.is_none() {
                    rule.auth = Some(anybody(true));
                }
                continue;
            }
            if rule.auth.is_some_and(|auth| auth.not) {
                continue;
            }
            let mut second = rule.clone();
            second.from = Test { not: false, what: From::Any };
            second.auth = Some(anybody(false));
            self.config.matches.insert(index + 1, second);
        }
    }
}
