//! The statements of the grammar since 6.4 (reference: smtpd.conf(5)).

use crate::config::{Srs, Wrapper};
use crate::diagnostic::Diagnostic;
use crate::value;
use crate::words;

use super::Reader;
use super::cursor::{Cursor, Parse};
use super::shared::Scope;
use crate::lex::Fault;

impl Reader<'_> {
    /// Reads one statement.
    pub(super) fn modern(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let Some((word, at)) = cursor.word(words::MODERN_STATEMENTS)? else {
            return Ok(());
        };
        match word {
            "action" => self.action(cursor),
            "match" => self.matching(cursor, at),
            "listen" => self.listen(cursor),
            "table" => self.table(cursor),
            "filter" => self.filter(cursor),
            "proc" => self.processor(cursor),
            "control" => self.control(cursor),
            "daemon" => self.daemon(cursor),
            "admd" => self.admd(cursor),
            "bounce" => {
                cursor.needed_word(&["warn-interval"])?;
                self.warn_intervals(cursor)
            }
            "ca" => self.ca(cursor),
            "mda" => match cursor.needed_word(&["limit", "wrapper"])?.0 {
                "limit" => self.limit_set(cursor, Scope::Mda),
                _ => self.wrapper(cursor),
            },
            "mta" => match cursor.needed_word(&["max-deferred", "limit", "preconnect"])?.0 {
                "limit" => self.mta_limits(cursor),
                "preconnect" => {
                    self.config.mta.preconnect = true;
                    cursor.finish()
                }
                _ => {
                    self.config.mta.max_deferred = cursor.number("max-deferred", 0)?;
                    cursor.finish()
                }
            },
            "pki" => self.pki(cursor),
            "queue" => self.queue(cursor),
            "resolver" => self.resolver(cursor),
            "scheduler" => {
                cursor.needed_word(&["limit"])?;
                self.limit_set(cursor, Scope::Scheduler)
            }
            "smtp" => self.smtp(cursor),
            "srs" => self.srs(cursor),
            _ => Err(cursor.unknown(words::MODERN_STATEMENTS)),
        }
    }

    fn admd(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let token = cursor.string("a domain")?;
        if token.text.is_empty() || !token.text.bytes().all(|o| (b' '..0x7f).contains(&o)) {
            let message = format!("not a valid admd: {}", token.shown());
            return Err(Fault::error(token.place, message));
        }
        self.config.admd = Some(token.text.to_string());
        cursor.finish()
    }

    fn wrapper(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let name = cursor.string("a name for the wrapper")?;
        if self.config.wrappers.contains_key(&*name.text) {
            let message = format!("mda wrapper already declared with that name: {}", name.text);
            return Err(Fault::error(name.place, message));
        }
        let command = cursor.string("a command")?;
        if let Err(error) = crate::format::Template::parse(&command.text) {
            return Err(Fault::error(command.place, error.to_string()));
        }
        if !command.text.contains("%{mda}") {
            let warning = Diagnostic::warning("a wrapper without %{mda} never runs the command");
            self.report(command.place, warning);
        }
        let position = self.position(name.place);
        let wrapper = Wrapper { position, command: command.text.to_string() };
        self.config.wrappers.insert(name.text.to_string(), wrapper);
        cursor.finish()
    }

    fn queue(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let known = ["compression", "encryption", "ttl", "directory"];
        match cursor.needed_word(&known)?.0 {
            "directory" => self.queue_directory(cursor),
            "ttl" => {
                self.config.queue.ttl = cursor.delay("ttl delay")?;
                cursor.finish()
            }
            "compression" => self.queue_compression(cursor),
            _ => self.queue_encryption(cursor),
        }
    }

    fn smtp(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let known = ["limit", "ciphers", "max-message-size", "sub-addr-delim"];
        match cursor.needed_word(&known)?.0 {
            "limit" => self.session_limits(cursor),
            "sub-addr-delim" => self.delimiter(cursor),
            "max-message-size" => {
                self.config.smtp.max_message_size = cursor.size("a size")?;
                cursor.finish()
            }
            _ => {
                self.config.smtp.ciphers = Some(self.ciphers(cursor)?);
                cursor.finish()
            }
        }
    }

    fn srs(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let (word, at) = cursor.needed_word(&["key", "ttl"])?;
        let mut srs =
            self.config.srs.take().unwrap_or(Srs { key: String::new(), backup: None, days: 4 });
        match word {
            "ttl" => {
                let place = cursor.place();
                let delay = cursor.delay("ttl delay")?;
                if delay.as_secs() < 86_400 {
                    let message =
                        format!("ttl delay \"{}\" is too short", value::delay_text(delay));
                    let diagnostic = Diagnostic::error(message).help("it is at least 1d");
                    return Err(Fault::new(place, diagnostic));
                }
                srs.days = (delay.as_secs() / 86_400) as u32;
            }
            _ if cursor.eat("backup") => {
                srs.backup = Some(cursor.string("a key")?.text.to_string());
            }
            _ => srs.key = cursor.string("a key")?.text.to_string(),
        }
        self.config.srs = Some(srs);
        self.note_place(if word == "key" { "srs key" } else { "srs ttl" }, at);
        cursor.finish()
    }
}
