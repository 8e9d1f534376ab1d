//! Statements that both grammars have, or have under another name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::{Family, LimitSet, MtaLimits, QueueKey};
use crate::diagnostic::Diagnostic;
use crate::limits;

use super::Reader;
use super::cursor::{Cursor, Parse};
use super::listen::port;
use crate::lex::{Fault, Kind};

/// Which limits a line sets.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    Mda,
    Scheduler,
}

impl Reader<'_> {
    /// `control socket PATH`, a line of our own: upstream fixes the path at build time.
    pub(super) fn control(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        cursor.needed_word(&["socket"])?;
        self.note_place("control socket", cursor.place());
        self.config.control_socket = path(cursor, "the socket's path")?;
        cursor.finish()
    }

    /// `daemon user NAME`, a line of our own.
    pub(super) fn daemon(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        cursor.needed_word(&["user"])?;
        self.note_place("daemon user", cursor.place());
        self.config.daemon_user = cursor.string("a user name")?.text.to_string();
        cursor.finish()
    }

    /// `resolver ADDRESS [port PORT]`, a line of our own for each nameserver.
    pub(super) fn resolver(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let token = cursor.string("a nameserver's address")?;
        let ip = token.text.parse().ok();
        let Some(ip) = ip.filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast()) else {
            let message = format!("{} is not the address of a nameserver", token.shown());
            let help = "write one, as in 192.0.2.53 or 2001:db8::53";
            return Err(Fault::new(token.place, Diagnostic::error(message).help(help)));
        };
        let port = match cursor.eat("port") {
            true => port(cursor)?,
            false => limits::RESOLVER_PORT,
        };
        cursor.finish()?;
        let resolver = SocketAddr::new(ip, port);
        let resolvers = &mut self.config.resolvers;
        let message = if resolvers.contains(&resolver) {
            "this nameserver stands above already".to_owned()
        } else if resolvers.len() == limits::RESOLVERS {
            format!("only the first {} nameservers are asked", limits::RESOLVERS)
        } else {
            resolvers.push(resolver);
            return Ok(());
        };
        self.report(token.place, Diagnostic::warning(message).help("leave this line out"));
        Ok(())
    }

    /// `queue directory PATH`, a line of our own.
    pub(super) fn queue_directory(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        self.note_place("queue directory", cursor.place());
        self.config.queue.directory = path(cursor, "the queue's directory")?;
        cursor.finish()
    }

    /// `queue compression`.
    pub(super) fn queue_compression(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        self.config.queue.compression = true;
        cursor.finish()
    }

    /// `queue encryption [[key] KEY]`, a line for each key. No diagnostic shows a key.
    pub(super) fn queue_encryption(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let at = cursor.place();
        let secret = |place, message: String, help: &str| {
            Err(Fault::new(place, Diagnostic::error(message).help(help).secret()))
        };
        // The grammar of before 2018 has the word, and nobody has a key of three letters.
        let named = cursor.eat("key");
        let (key, place) = if cursor.at_end() && !named {
            (QueueKey::Prompt, at)
        } else {
            let token = cursor.string("the key")?;
            let key = match &*token.text {
                "stdin" | "-" => QueueKey::Stdin,
                "none" => QueueKey::None,
                key if key.len() == limits::QUEUE_KEY && key.is_ascii() => {
                    QueueKey::Key(key.to_owned())
                }
                _ => {
                    let message =
                        format!("the key of the queue has {} characters", limits::QUEUE_KEY);
                    let help = "write 32 ASCII characters, stdin to read them at start, or none";
                    return secret(token.place, message, help);
                }
            };
            (key, token.place)
        };
        if !cursor.at_end() {
            let message = "there is one key in a line".to_owned();
            let help = "a key with blanks stands in quotes, a further key in a line of its own";
            return secret(cursor.place(), message, help);
        }
        self.note_place("queue encryption", at);
        let keys = &mut self.config.queue.encryption;
        if matches!(key, QueueKey::Key(_) | QueueKey::None) && keys.contains(&key) {
            let message = "this stands above already".to_owned();
            return secret(place, message, "the first key encrypts, all of them decrypt");
        }
        if key == QueueKey::None && !keys.is_empty() {
            let message = "none stands in front of all keys".to_owned();
            return secret(place, message, "move this line up");
        }
        if keys.len() == limits::QUEUE_KEYS {
            let message = format!("only {} keys are kept", limits::QUEUE_KEYS);
            return secret(place, message, "take away those that no mail is encrypted with");
        }
        keys.push(key);
        Ok(())
    }

    /// The ages of `bounce warn-interval` and `bounce-warn`.
    pub(super) fn warn_intervals(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let mut delays = Vec::new();
        loop {
            let place = cursor.place();
            let delay = cursor.delay("warn-interval delay")?;
            // Upstream takes both of these without a word.
            if delays.last().is_some_and(|last| *last >= delay) {
                let warning = Diagnostic::warning("the ages do not ascend");
                self.report(place, warning.help("write the earliest first, as in 1h, 6h, 2d"));
            }
            if delays.len() < limits::WARN_INTERVALS {
                delays.push(delay);
            } else {
                let message = format!("only the first {} ages count", limits::WARN_INTERVALS);
                self.report(place, Diagnostic::warning(message).help("leave this one out"));
            }
            if !cursor.eat_mark(',') {
                break;
            }
        }
        cursor.finish()?;
        delays.sort_unstable();
        delays.dedup();
        self.config.bounce_warn = delays;
        Ok(())
    }

    /// The delimiter of `smtp sub-addr-delim` and `subaddressing-delimiter`.
    pub(super) fn delimiter(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if let Some(mark) = cursor.peek().filter(|token| matches!(token.kind, Kind::Mark(_))) {
            let mut fault = cursor.missing("the delimiter");
            fault.diagnostic =
                fault.diagnostic.help(format!("write it in quotes: {}", mark.shown()));
            return Err(fault);
        }
        let token = cursor.string("the delimiter")?;
        let fault = |message| Err(Fault::error(token.place, message));
        if token.text.is_empty() {
            return fault("subaddressing-delimiter must be one character or several");
        }
        if !token.text.chars().all(|c| c.is_ascii_graphic() && c != '@') {
            return fault("sub-addr-delim uses invalid character");
        }
        self.config.smtp.sub_addr_delim = token.text.to_string();
        cursor.finish()
    }

    /// `max-rcpt N max-mails N max-conn-per-src N`.
    pub(super) fn session_limits(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        const WORDS: &[&str] = &["max-rcpt", "max-mails", "max-conn-per-src"];
        cursor.unless_empty(WORDS)?;
        while let Some((word, _)) = cursor.word(WORDS)? {
            let number = cursor.number(word, 1)?;
            match word {
                "max-rcpt" => self.config.smtp.max_rcpt = number,
                "max-mails" => self.config.smtp.max_mails = number,
                _ => self.config.smtp.max_conn_per_src = number,
            }
        }
        Ok(())
    }

    /// `KEY N ...` of `mda limit` and `scheduler limit`.
    pub(super) fn limit_set(&mut self, cursor: &mut Cursor<'_>, scope: Scope) -> Parse<()> {
        let set = match scope {
            Scope::Mda => &mut self.config.mda,
            Scope::Scheduler => &mut self.config.scheduler,
        };
        set_limits(cursor, set, &mut None)
    }

    /// `[for domain D] { inet4 | inet6 | KEY N }` of `mta limit`.
    pub(super) fn mta_limits(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if !cursor.eat("for") {
            let MtaLimits { family, limits } = &mut self.config.mta.limits;
            return set_limits(cursor, limits, family);
        }
        cursor.needed_word(&["domain"])?;
        let domain = cursor.string("a domain")?.text.to_ascii_lowercase();
        let defaults = self.config.mta.limits.clone();
        let MtaLimits { family, limits } =
            self.config.mta.domains.entry(domain).or_insert(defaults);
        set_limits(cursor, limits, family)
    }
}

impl Cursor<'_> {
    /// At least one of these words must follow.
    pub fn unless_empty(&self, known: &[&'static str]) -> Parse<()> {
        if self.at_end() { Err(self.unknown(known)) } else { Ok(()) }
    }
}

fn set_limits(
    cursor: &mut Cursor<'_>,
    set: &mut LimitSet,
    family: &mut Option<Family>,
) -> Parse<()> {
    let mut known: Vec<&'static str> = set.words().collect();
    let with_family = set.get("max-conn-per-host").is_some();
    if with_family {
        known.extend(["inet4", "inet6"]);
    }
    cursor.unless_empty(&known)?;
    while let Some((word, _)) = cursor.word(&known)? {
        match word {
            "inet4" => *family = Some(Family::Inet4),
            "inet6" => *family = Some(Family::Inet6),
            _ => {
                // Nothing moves where a maximum is 0; a delay of 0 is none.
                let least = u32::from(!word.contains("delay"));
                let number = cursor.number(word, least)?;
                set.set(word, number);
            }
        }
    }
    Ok(())
}

/// A path of this machine.
pub(super) fn path(cursor: &mut Cursor<'_>, what: &str) -> Parse<PathBuf> {
    let token = cursor.string(what)?;
    if token.text.is_empty() || token.text.contains('\0') {
        return Err(Fault::error(token.place, format!("{what} is empty")));
    }
    Ok(PathBuf::from(&*token.text))
}
