//! `action NAME ...`: local delivery and relaying.

use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::address::{is_host_name, literal};

use crate::action::{Action, Aliases, Delivery, Local, Method, Relay, RelayTls, Route, Userbase};
use crate::config::ActionId;
use crate::diagnostic::Diagnostic;
use crate::format::Template;
use crate::lex::{Fault, Place, Token};
use crate::table::TableId;
use crate::url::{RelayUrl, Scheme};

use super::cursor::{Cursor, Parse, Seen};
use super::table::Takes;
use super::{Name, Reader};

const METHODS: [&str; 7] =
    ["mbox", "maildir", "lmtp", "mda", "forward-only", "expand-only", "relay"];
const LOCAL: [&str; 6] = ["user", "alias", "virtual", "userbase", "wrapper", "ttl"];
const RELAY: [&str; 18] = [
    "helo",
    "helo-src",
    "pki",
    "ca",
    "ciphers",
    "protocols",
    "groups",
    "src",
    "mail-from",
    "backup",
    "host",
    "domain",
    "balance",
    "tls",
    "auth",
    "filter",
    "srs",
    "chunking",
];

impl Reader<'_> {
    /// What follows `action`.
    pub(super) fn action(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let name = cursor.string("a name for the action")?;
        if let Some(known) = self.config.action(&name.text) {
            let message = format!("action already declared with that name: {}", name.text);
            let first = format!("it is declared at {}", known.position);
            return Err(Fault::new(name.place, Diagnostic::error(message).help(first)));
        }
        let (word, at) = cursor.needed_word(&METHODS)?;
        let mut seen = Seen::default();
        seen.note(word, at);
        let (method, ttl) = match word {
            "relay" => self.relay(cursor, &mut seen)?,
            _ => self.local(cursor, word, at, &mut seen)?,
        };
        cursor.finish()?;
        self.declare(Action {
            name: name.text.to_string().into(),
            position: self.position(name.place),
            places: self.places(&seen),
            method,
            ttl: ttl.map(|ttl| ttl.delay),
            ttl_at_submission: ttl.is_some_and(|ttl| ttl.fixed),
        });
        Ok(())
    }

    pub(super) fn declare(&mut self, action: Action) -> ActionId {
        let id = ActionId(self.config.actions.len() as u32);
        self.config.action_names.insert(Arc::clone(&action.name), id);
        self.config.actions.push(Arc::new(action));
        id
    }

    fn local(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: &'static str,
        at: Place,
        seen: &mut Seen,
    ) -> Parse<(Method, Option<TimeToLive>)> {
        let delivery = match word {
            "mbox" => Delivery::Mbox,
            "maildir" => {
                let path = cursor.string_follows().then(|| cursor.string("a path")).transpose()?;
                let path = path.map(|token| template(token, "the Maildir's path")).transpose()?;
                Delivery::Maildir { path, junk: cursor.eat("junk") }
            }
            "lmtp" => {
                let destination = template(cursor.string("host:port or a path")?, "destination")?;
                Delivery::Lmtp { destination, rcpt_to: cursor.eat("rcpt-to") }
            }
            "mda" => Delivery::Mda(template(cursor.string("a command")?, "the command")?),
            "forward-only" => Delivery::ForwardOnly,
            _ => Delivery::ExpandOnly,
        };
        let mut local = Local {
            delivery,
            user: None,
            aliases: Aliases::None,
            userbase: Userbase::System,
            wrapper: None,
        };
        let mut ttl = None;
        while let Some((word, at)) = cursor.word(&LOCAL)? {
            seen.once(word, at, "action")?;
            if seen.has("ttl") && word != "ttl" {
                return Err(Fault::error(at, "ttl must be the last option of an action"));
            }
            match word {
                "user" => local.user = Some(cursor.string("a user name")?.text.to_string()),
                "alias" => {
                    local.aliases = Aliases::Alias(self.alias_operand(cursor, "alias")?);
                }
                "virtual" => {
                    local.aliases = Aliases::Virtual(self.alias_operand(cursor, "virtual")?);
                }
                "userbase" => local.userbase = self.userbase(cursor)?,
                "wrapper" => {
                    let name = cursor.string("a wrapper's name")?;
                    self.known_wrapper(name)?;
                    local.wrapper = Some(name.text.to_string());
                    self.inactive(at, "wrappers do not work yet");
                }
                _ => ttl = Some(time_to_live(cursor)?),
            }
        }
        self.check_local(&local, seen, at)?;
        Ok((Method::Local(Box::new(local)), ttl))
    }

    /// What options cannot be together, and what does not work yet.
    pub(super) fn check_local(&mut self, local: &Local, seen: &Seen, at: Place) -> Parse<()> {
        let place = |word| seen.place(word).unwrap_or(at);
        let fail = |place, message: &str| Err(Fault::error(place, message));
        if seen.has("alias") && seen.has("virtual") {
            return fail(place("virtual"), "alias and virtual are mutually exclusive");
        }
        let named = match &local.delivery {
            Delivery::Mbox => Some("mbox"),
            Delivery::ForwardOnly => Some("forward-only"),
            Delivery::ExpandOnly => Some("expand-only"),
            _ => None,
        };
        if let (Some(named), true) = (named, local.user.is_some()) {
            return fail(place("user"), &format!("user may not be specified for {named}"));
        }
        if local.delivery == Delivery::Mbox && local.wrapper.is_some() {
            return fail(
                place("wrapper"),
                "wrapper may not be specified for mbox: it has no command",
            );
        }
        if local.userbase == Userbase::Any {
            let Delivery::Maildir { path, .. } = &local.delivery else {
                return fail(place("userbase"), "userbase any is for maildir only");
            };
            if local.user.is_some() {
                return fail(place("user"), "userbase any delivers in the daemon's own name");
            }
            if path.as_ref().is_none_or(Template::needs_home) {
                let diagnostic = Diagnostic::error("with userbase any there is no home directory")
                    .help("write a path after maildir, as in /var/mail/%{dest.user:lowercase}");
                return Err(Fault::new(at, diagnostic));
            }
        }
        let what = match &local.delivery {
            Delivery::Maildir { junk: false, .. } => return Ok(()),
            Delivery::Maildir { junk: true, .. } => "junk does not work yet",
            Delivery::Mbox => "mbox does not work yet; write maildir",
            Delivery::Lmtp { .. } => "lmtp does not work yet; write maildir",
            Delivery::Mda(_) => "mda does not work yet; write maildir",
            Delivery::ForwardOnly | Delivery::ExpandOnly => {
                "forward-only and expand-only do not work yet: .forward files are not read"
            }
        };
        self.inactive(at, what);
        Ok(())
    }

    /// A table of aliases, with every value looked at.
    pub(super) fn alias_operand(&mut self, cursor: &mut Cursor<'_>, what: &str) -> Parse<TableId> {
        let id = self.operand(cursor, what, Takes::Map)?;
        self.check_alias_values(id);
        Ok(id)
    }

    /// `any`, `<getpwnam>` or a table.
    pub(super) fn userbase(&mut self, cursor: &mut Cursor<'_>) -> Parse<Userbase> {
        if cursor.eat("any") {
            return Ok(Userbase::Any);
        }
        let id = self.operand(cursor, "userbase", Takes::Map)?;
        if self.config.tables.get(id).backend == crate::table::Backend::System {
            return Ok(Userbase::System);
        }
        self.check_user_values(id);
        Ok(Userbase::Table(id))
    }

    fn known_wrapper(&self, name: &Token) -> Parse<()> {
        if self.config.wrappers.contains_key(&*name.text)
            || self.is_broken(Name::Wrapper, &name.text)
        {
            return Ok(());
        }
        let known = self.config.wrappers.keys().map(String::as_str);
        let message = format!("no mda wrapper with that name: {}", name.text);
        Err(self.undeclared(Name::Wrapper, &name.text, name.place, message, known))
    }

    fn relay(
        &mut self,
        cursor: &mut Cursor<'_>,
        seen: &mut Seen,
    ) -> Parse<(Method, Option<TimeToLive>)> {
        let mut relay = Relay::default();
        let mut ttl = None;
        let known: Vec<&'static str> = RELAY.iter().copied().chain(["ttl"]).collect();
        while let Some((word, at)) = cursor.word(&known)? {
            seen.once(word, at, "action")?;
            if seen.has("ttl") && word != "ttl" {
                return Err(Fault::error(at, "ttl must be the last option of an action"));
            }
            match word {
                "ttl" => ttl = Some(time_to_live(cursor)?),
                "backup" | "host" | "domain" => {
                    for other in ["backup", "host", "domain"] {
                        if other != word && seen.has(other) {
                            let message = format!("{other} and {word} are mutually exclusive");
                            return Err(Fault::error(at, message));
                        }
                    }
                    relay.route = self.route(cursor, word)?;
                }
                "balance" => {
                    if !seen.has("host") {
                        let diagnostic = Diagnostic::error(
                            "balance may not be specified without host on a relay",
                        )
                        .help("write host <TABLE> before balance: servers share the mail");
                        return Err(Fault::new(at, diagnostic));
                    }
                    relay.balance = true;
                }
                "auth" => {
                    if !seen.has("host") && !seen.has("domain") {
                        let diagnostic =
                            Diagnostic::error("auth may not be specified without host on a relay")
                                .help("write host smtp+tls://LABEL@HOST before auth <TABLE>");
                        return Err(Fault::new(at, diagnostic));
                    }
                    relay.auth = Some(self.operand(cursor, "auth", Takes::Map)?);
                }
                "srs" => {
                    if self.config.srs.is_none() {
                        let diagnostic = Diagnostic::error(
                            "an srs key is required for srs to be specified in an action",
                        )
                        .help("write srs key \"SECRET\" above");
                        return Err(Fault::new(at, diagnostic));
                    }
                    relay.srs = true;
                }
                "chunking" => relay.chunking = true,
                _ => self.relay_option(cursor, word, &mut relay)?,
            }
        }
        self.check_relay(&relay, seen);
        Ok((Method::Relay(Box::new(relay)), ttl))
    }

    fn route(&mut self, cursor: &mut Cursor<'_>, word: &str) -> Parse<Route> {
        Ok(match word {
            "backup" => {
                let mx = cursor.eat("mx");
                if !mx && cursor.name_follows(&RELAY) {
                    let mut fault = cursor.unknown(&["mx"]);
                    fault.diagnostic =
                        fault.diagnostic.help("the name stands behind mx: backup mx NAME");
                    return Err(fault);
                }
                Route::Backup(
                    mx.then(|| cursor.string("a host name"))
                        .transpose()?
                        .map(|t| t.text.to_string()),
                )
            }
            "host" => {
                let place = cursor.place();
                let table = self.operand(cursor, "host", Takes::List)?;
                for (url, _) in self.keys(table) {
                    if let Err(help) = RelayUrl::parse(&url) {
                        let joined = cursor.joined(&url, |url| RelayUrl::parse(url).is_ok());
                        return Err(bad_url("invalid relay URL", &url, help, joined, place));
                    }
                }
                Route::Hosts(table)
            }
            _ => Route::Domains(self.operand(cursor, "domain", Takes::Map)?),
        })
    }

    fn relay_option(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: &str,
        relay: &mut Relay,
    ) -> Parse<()> {
        match word {
            "helo" => relay.helo = Some(helo(cursor)?),
            "helo-src" => relay.helo_src = Some(self.operand(cursor, "helo-src", Takes::Map)?),
            "pki" => relay.pki = Some(self.known_pki(cursor)?),
            "ca" => relay.ca = Some(self.known_ca(cursor)?),
            "ciphers" => relay.ciphers = Some(self.ciphers(cursor)?),
            "protocols" => relay.protocols = Some(self.protocols(cursor)?),
            "groups" => relay.groups = Some(self.groups(cursor)?),
            "src" => relay.src = Some(self.operand(cursor, "src", Takes::Keys)?),
            "mail-from" => relay.mail_from = Some(sender(cursor)?),
            "tls" => {
                relay.tls = if cursor.eat("no-verify") {
                    RelayTls::RequireUnverified
                } else if cursor.eat("never") {
                    RelayTls::Never
                } else {
                    let words = ["no-verify", "never"].iter().chain(&RELAY).chain(&["ttl"]);
                    let known: Vec<&'static str> = words.copied().collect();
                    if cursor.peek().is_some_and(|token| !known.iter().any(|word| token.is(word))) {
                        return Err(cursor.unknown(&known));
                    }
                    RelayTls::Require
                };
            }
            _ => relay.filter = Some(self.filter_reference(cursor)?),
        }
        Ok(())
    }

    /// What would fail at every delivery.
    fn check_relay(&mut self, relay: &Relay, seen: &Seen) {
        let (Route::Hosts(table), Some(place)) = (&relay.route, seen.place("host")) else {
            return;
        };
        let urls: Vec<RelayUrl> =
            self.keys(*table).iter().filter_map(|(url, _)| RelayUrl::parse(url).ok()).collect();
        let mut complain = |message: &str, help: &str| {
            let diagnostic = Diagnostic::error(message).help(help);
            self.report(place, diagnostic);
        };
        if relay.auth.is_none() && urls.iter().any(|url| url.label.is_some()) {
            complain("No auth table for relaying", "the URL has a label: add auth <TABLE>");
        }
        if relay.tls == RelayTls::Never
            && urls.iter().any(|url| matches!(url.scheme, Scheme::SmtpTls | Scheme::Smtps))
        {
            complain("tls never, and a URL that needs TLS", "write smtp+notls://, or leave it out");
        }
        if matches!(relay.tls, RelayTls::Require | RelayTls::RequireUnverified)
            && urls.iter().any(|url| matches!(url.scheme, Scheme::SmtpNoTls | Scheme::Lmtp))
        {
            complain("TLS required for relaying", "the URL never uses TLS: leave tls out");
        }
    }
}

/// The name that a relay gives with EHLO: anything else no server would be told, and all mail by
/// that action would wait.
pub(super) fn helo(cursor: &mut Cursor<'_>) -> Parse<String> {
    let token = cursor.string("a host name")?;
    if !is_host_name(&token.text) && literal(&token.text).is_none() {
        let diagnostic = Diagnostic::error(format!("not a valid host name: {}", token.shown()))
            .help("EHLO takes a name such as mail.example.org, or an address in brackets");
        return Err(Fault::new(token.place, diagnostic));
    }
    Ok(token.text.to_string())
}

/// The mistake that a relay URL is none, perhaps because a blank stands in it.
pub(super) fn bad_url(
    message: &str,
    url: &str,
    help: String,
    joined: Option<String>,
    place: Place,
) -> Box<Fault> {
    let diagnostic = match joined {
        Some(joined) => Diagnostic::error("a URL that is broken in two by a blank")
            .help(format!("write {joined}")),
        None => Diagnostic::error(format!("{message}: {url}")).help(help),
    };
    Fault::new(place, diagnostic)
}

/// `ttl D [fixed]`.
#[derive(Clone, Copy)]
struct TimeToLive {
    delay: Duration,
    /// What it is when a message comes in it is for good.
    fixed: bool,
}

fn time_to_live(cursor: &mut Cursor<'_>) -> Parse<TimeToLive> {
    let delay = cursor.delay("ttl delay")?;
    Ok(TimeToLive { delay, fixed: cursor.eat("fixed") })
}

/// A template in a word or string.
pub(super) fn template(token: &Token, what: &str) -> Parse<Template> {
    let template = Template::parse(&token.text);
    match template {
        Ok(_) if token.text.is_empty() => {
            Err(Fault::error(token.place, format!("{what} is empty")))
        }
        Ok(template) if template.needs_command() => {
            let diagnostic = Diagnostic::error("%{mda} has a value in wrappers only");
            Err(Fault::new(token.place, diagnostic))
        }
        Ok(template) => Ok(template),
        Err(error) => {
            let diagnostic = Diagnostic::error(error.to_string()).help(
                "there are sender, rcpt and dest, each with .user and .domain, user.username, \
                 user.directory and mbox.from, and the modifiers lowercase, uppercase, strip, raw",
            );
            Err(Fault::new(token.place, diagnostic))
        }
    }
}

/// The sender that a relay writes: `user`, `@domain` or both.
pub(super) fn sender(cursor: &mut Cursor<'_>) -> Parse<String> {
    let token = cursor.string("an address")?;
    let (user, domain) = match token.text.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (&*token.text, None),
    };
    let address = format!("{}@{}", if user.is_empty() { "x" } else { user }, domain.unwrap_or("x"));
    if token.text.is_empty() || smtpd_engine::address::Mailbox::parse(&address).is_err() {
        let diagnostic = Diagnostic::error(format!("not a sender address: {}", token.text))
            .help("write \"user\", \"@domain\" or \"user@domain\"");
        return Err(Fault::new(token.place, diagnostic));
    }
    Ok(token.text.to_string())
}
