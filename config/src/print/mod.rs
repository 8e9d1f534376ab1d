//! The configuration in today's words (`smtpd -n -v`), also of a file of before 2018.
//!
//! What is printed means what was read. Defaults are left out; tables that were written where
//! they are used stay there. Words of ours (`queue directory`, ...) are printed as such.
//!
//! Secrets are not printed, since people show this to others: keys, and the values of tables in
//! the configuration unless all their uses are known to be harmless. In their place stands a `?`,
//! which no value is, so that what is printed has to be completed before it is used.

mod filter;
mod listen;
mod rule;
mod secrets;

use std::collections::HashSet;
use std::time::Duration;

use crate::action::{Action, Method};
use crate::config::{Config, Family, MtaLimits, QueueKey};
use crate::limits;
use crate::listen::Listen;
use crate::rules::{Condition, Match};
use crate::table::{Backend, Operand, Shape, TableId};
use crate::value::{delay_text, size_text};

/// Stands for a secret; the lexer has no value like it.
const SECRET: &str = "?";

/// Elements of a list that are shown to people.
const BRIEF: usize = 4;

/// In quotes, so that the lexer gives the same text back.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        // A backslash takes itself away before a blank, a tab or the quote.
        if character == '"' || (matches!(character, ' ' | '\t') && quoted.ends_with('\\')) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    if text.ends_with('\\') {
        // It would take the quote's meaning away; a joined line end parts them.
        quoted.push_str("\\\n");
    }
    quoted.push('"');
    quoted
}

fn not(not: bool) -> &'static str {
    if not { "!" } else { "" }
}

/// The whole configuration, a line for each statement.
pub fn config(config: &Config) -> String {
    Printer { values: Values::Of(secrets::harmless(config)), ..Printer::whole(config) }.all()
}

/// A rule in one line for people: long lists are cut short, and values of maps left out, among
/// which there may be passwords.
pub fn rule(config: &Config, rule: &Match) -> String {
    Printer::brief(config).rule(rule)
}

/// A condition of a rule in the same manner; empty when the rule does not have it.
pub fn condition(config: &Config, rule: &Match, condition: Condition) -> String {
    Printer::brief(config).condition(rule, condition).unwrap_or_default()
}

/// What an action does in the same manner, without its name.
pub fn action(config: &Config, action: &Action) -> String {
    Printer::brief(config).method(&action.method, action.ttl)
}

/// A listener in the same manner.
pub fn listen(config: &Config, listen: &Listen) -> String {
    let mut printer = Printer::brief(config);
    printer.listen(listen);
    printer.out.trim_end().to_owned()
}

/// A table in the same manner: its name, or what is written in its place.
pub fn table(config: &Config, table: TableId) -> String {
    Printer::brief(config).operand(table)
}

/// An action's method and options: what a legacy action is named by.
pub(crate) fn method(config: &Config, method: &Method, ttl: Option<Duration>) -> String {
    Printer::whole(config).method(method, ttl)
}

struct Printer<'c> {
    config: &'c Config,
    out: String,
    values: Values,
}

/// Which values of maps are printed.
enum Values {
    /// All, for those who print nothing to anybody.
    All,
    /// Those of these tables.
    Of(HashSet<TableId>),
    /// None, and not all keys: for people, and not to be read again.
    Brief,
}

impl<'c> Printer<'c> {
    fn whole(config: &'c Config) -> Printer<'c> {
        Printer { config, out: String::new(), values: Values::All }
    }

    fn brief(config: &'c Config) -> Printer<'c> {
        Printer { values: Values::Brief, ..Printer::whole(config) }
    }
}

impl Printer<'_> {
    fn method(&self, method: &Method, ttl: Option<Duration>) -> String {
        let mut text = match method {
            Method::Local(local) => self.local(local),
            Method::Relay(relay) => self.relay(relay),
        };
        if let Some(ttl) = ttl {
            text += &format!(" ttl {}", delay_text(ttl));
        }
        text
    }

    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn all(mut self) -> String {
        self.globals();
        self.certificates();
        self.tables();
        self.filters();
        let config = self.config;
        for listen in &config.listeners {
            self.listen(listen);
        }
        self.socket();
        for action in config.actions() {
            let (ttl, fixed) = match action.ttl_at_submission {
                true => (Some(config.ttl(action)), " fixed"),
                false => (action.ttl, ""),
            };
            let text = self.method(&action.method, ttl);
            self.line(format!("action {} {text}{fixed}", quote(&action.name)));
        }
        for rule in &config.matches {
            let text = self.rule(rule);
            self.line(text);
        }
        self.out
    }

    fn globals(&mut self) {
        let config = self.config;
        if config.daemon_user != limits::DAEMON_USER {
            self.line(format!("daemon user {}", quote(&config.daemon_user)));
        }
        if config.control_socket.as_os_str() != limits::CONTROL_SOCKET {
            self.line(format!(
                "control socket {}",
                quote(&config.control_socket.to_string_lossy())
            ));
        }
        for resolver in &config.resolvers {
            let ip = quote(&resolver.ip().to_string());
            self.line(match resolver.port() {
                limits::RESOLVER_PORT => format!("resolver {ip}"),
                port => format!("resolver {ip} port {port}"),
            });
        }
        let queue = &config.queue;
        if queue.directory.as_os_str() != limits::QUEUE_DIRECTORY {
            self.line(format!("queue directory {}", quote(&queue.directory.to_string_lossy())));
        }
        if queue.ttl != limits::QUEUE_TTL {
            self.line(format!("queue ttl {}", delay_text(queue.ttl)));
        }
        if queue.compression {
            self.line("queue compression");
        }
        for key in &queue.encryption {
            self.line(match key {
                QueueKey::None => "queue encryption none".to_owned(),
                QueueKey::Prompt => "queue encryption".to_owned(),
                QueueKey::Stdin => "queue encryption stdin".to_owned(),
                QueueKey::Key(_) => format!("queue encryption {SECRET}"),
            });
        }
        if let Some(admd) = &config.admd {
            self.line(format!("admd {}", quote(admd)));
        }
        let ages: Vec<String> = config.bounce_warn.iter().map(|age| delay_text(*age)).collect();
        if ages != ["4h"] {
            self.line(format!("bounce warn-interval {}", ages.join(", ")));
        }
        self.smtp();
        self.limits();
        if let Some(srs) = &config.srs {
            self.line(format!("srs key {SECRET}"));
            if srs.backup.is_some() {
                self.line(format!("srs key backup {SECRET}"));
            }
            if srs.days != 4 {
                self.line(format!("srs ttl {}d", srs.days));
            }
        }
    }

    fn smtp(&mut self) {
        let smtp = &self.config.smtp;
        if smtp.max_message_size != limits::MESSAGE_SIZE {
            self.line(format!("smtp max-message-size {}", size_text(smtp.max_message_size)));
        }
        if smtp.max_rcpt != limits::MAX_RCPT {
            self.line(format!("smtp limit max-rcpt {}", smtp.max_rcpt));
        }
        if smtp.max_mails != limits::MAX_MAILS {
            self.line(format!("smtp limit max-mails {}", smtp.max_mails));
        }
        if smtp.max_conn_per_src != limits::MAX_CONN_PER_SRC {
            self.line(format!("smtp limit max-conn-per-src {}", smtp.max_conn_per_src));
        }
        if smtp.sub_addr_delim != "+" {
            self.line(format!("smtp sub-addr-delim {}", quote(&smtp.sub_addr_delim)));
        }
        if let Some(ciphers) = &smtp.ciphers {
            self.line(format!("smtp ciphers {}", quote(&ciphers.text)));
        }
    }

    fn limits(&mut self) {
        let config = self.config;
        for (word, value) in config.mda.configured() {
            self.line(format!("mda limit {word} {value}"));
        }
        for (word, value) in config.scheduler.configured() {
            self.line(format!("scheduler limit {word} {value}"));
        }
        if config.mta.max_deferred != 100 {
            self.line(format!("mta max-deferred {}", config.mta.max_deferred));
        }
        if config.mta.preconnect {
            self.line("mta preconnect");
        }
        // Before those for all, which the lines for a domain would begin with otherwise.
        let mut domains: Vec<_> = config.mta.domains.iter().collect();
        domains.sort_by_key(|(domain, _)| *domain);
        for (domain, limits) in domains {
            self.mta_limits(&format!(" for domain {}", quote(domain)), limits);
        }
        self.mta_limits("", &config.mta.limits);
    }

    fn mta_limits(&mut self, domain: &str, limits: &MtaLimits) {
        match limits.family {
            None => {}
            Some(Family::Inet4) => self.line(format!("mta limit{domain} inet4")),
            Some(Family::Inet6) => self.line(format!("mta limit{domain} inet6")),
        }
        for (word, value) in limits.limits.configured() {
            self.line(format!("mta limit{domain} {word} {value}"));
        }
    }

    fn certificates(&mut self) {
        let config = self.config;
        let mut names: Vec<_> = config.pki.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, pki) in names {
            let name = quote(name);
            if let Some(cert) = &pki.cert {
                self.line(format!("pki {name} cert {}", quote(&cert.to_string_lossy())));
            }
            if let Some(key) = &pki.key {
                self.line(format!("pki {name} key {}", quote(&key.to_string_lossy())));
            }
        }
        let mut names: Vec<_> = config.ca.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, ca) in names {
            self.line(format!("ca {} cert {}", quote(name), quote(&ca.file.to_string_lossy())));
        }
        let mut names: Vec<_> = config.wrappers.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, wrapper) in names {
            self.line(format!("mda wrapper {} {}", quote(name), quote(&wrapper.command)));
        }
    }

    fn tables(&mut self) {
        for (id, table) in self.config.tables.with_ids() {
            // Others are written where they are used, or always there.
            if table.is_anonymous() || table.position.is_none() {
                continue;
            }
            let name = quote(&table.name);
            let source = match &table.backend {
                Backend::Inline => self.inline(id),
                Backend::File(path) => quote(&format!("file:{}", path.display())),
                Backend::Db(path) => quote(&format!("db:{}", path.display())),
                Backend::Passwd(path) => quote(&format!("passwd:{}", path.display())),
                Backend::Process { name, parameter: Some(text) } => {
                    quote(&format!("{name}:{text}"))
                }
                Backend::Process { name, parameter: None } => quote(name),
                Backend::System => continue,
            };
            self.line(format!("table {name} {source}"));
        }
    }

    fn inline(&self, id: TableId) -> String {
        let table = self.config.tables.get(id);
        let all = table.entries.in_order();
        let shown = match self.values {
            Values::Brief => BRIEF.min(all.len()),
            Values::All | Values::Of(_) => all.len(),
        };
        let value = |value: &str| match &self.values {
            Values::Brief => "...".to_owned(),
            Values::Of(tables) if !tables.contains(&id) => SECRET.to_owned(),
            Values::All | Values::Of(_) => quote(value),
        };
        let mut elements: Vec<String> = all[..shown]
            .iter()
            .map(|(key, entry)| match table.shape {
                Shape::Map => format!("{} = {}", quote(key), value(&entry.value)),
                _ => quote(key),
            })
            .collect();
        if shown < all.len() {
            elements.push(format!("... {} more", all.len() - shown));
        }
        format!("{{ {} }}", elements.join(", "))
    }

    fn operand(&self, id: TableId) -> String {
        let table = self.config.tables.get(id);
        match table.backend {
            Backend::Inline if table.is_anonymous() => match table.entries.sorted().as_slice() {
                [(key, entry)] if table.shape != Shape::Map && entry.value.is_empty() => quote(key),
                _ => self.inline(id),
            },
            _ => format!(
                "<{}>",
                if needs_quotes(&table.name) { quote(&table.name) } else { table.name.to_string() }
            ),
        }
    }

    fn pattern(&self, operand: Operand) -> String {
        let regex = if operand.regex { "regex " } else { "" };
        format!("{regex}{}", self.operand(operand.table))
    }
}

/// `{ a, b }` of names.
fn chain(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    format!("{{ {} }}", names.join(", "))
}

/// Whether a name between angle brackets must be in quotes.
fn needs_quotes(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    !name.bytes().all(plain)
        || !name.starts_with(|c: char| c.is_ascii_alphabetic())
        || crate::words::is_reserved(crate::Dialect::Modern, name)
}
