//! The configuration in today's words (`smtpd -n -v`), also of a file of before 2018.
//!
//! What is printed means what was read. Defaults are left out; tables that were written where
//! they are used stay there. Words of ours (`queue directory`, ...) are printed as such.

use std::fmt::Write;
use std::time::Duration;

use crate::action::{Aliases, Delivery, Local, Method, Relay, RelayTls, Route, Userbase};
use crate::config::{Config, Family, MtaLimits, QueueKey};
use crate::filter::{Filter, FilterAction, FilterCondition, FilterKind};
use crate::limits;
use crate::listen::{Auth, Listen, StrayNewline, Tls};
use crate::rules::{For, From, Match, Test, Verdict};
use crate::table::{Backend, Operand, Shape, TableId};
use crate::value::{delay_text, size_text};

/// In quotes, so that the lexer gives the same text back.
fn quote(text: &str) -> String {
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
    Printer { config, out: String::new() }.all()
}

/// An action's method and options: what a legacy action is named by.
pub(crate) fn method(config: &Config, method: &Method, ttl: Option<Duration>) -> String {
    let printer = Printer { config, out: String::new() };
    let mut text = match method {
        Method::Local(local) => printer.local(local),
        Method::Relay(relay) => printer.relay(relay),
    };
    if let Some(ttl) = ttl {
        text += &format!(" ttl {}", delay_text(ttl));
    }
    text
}

struct Printer<'c> {
    config: &'c Config,
    out: String,
}

impl Printer<'_> {
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
            let text = method(config, &action.method, action.ttl);
            self.line(format!("action {} {text}", quote(&action.name)));
        }
        for rule in &config.matches {
            self.rule(rule);
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
        match &queue.encryption {
            None => {}
            Some(QueueKey::Prompt) => self.line("queue encryption"),
            Some(QueueKey::Stdin) => self.line("queue encryption stdin"),
            Some(QueueKey::Key(key)) => self.line(format!("queue encryption {}", quote(key))),
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
            self.line(format!("srs key {}", quote(&srs.key)));
            if let Some(backup) = &srs.backup {
                self.line(format!("srs key backup {}", quote(backup)));
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
        if smtp.sub_addr_delim != '+' {
            self.line(format!("smtp sub-addr-delim {}", quote(&smtp.sub_addr_delim.to_string())));
        }
        if let Some(ciphers) = &smtp.ciphers {
            self.line(format!("smtp ciphers {}", quote(ciphers)));
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
        self.mta_limits("", &config.mta.limits);
        let mut domains: Vec<_> = config.mta.domains.iter().collect();
        domains.sort_by_key(|(domain, _)| *domain);
        for (domain, limits) in domains {
            self.mta_limits(&format!(" for domain {}", quote(domain)), limits);
        }
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
        for (name, file) in names {
            self.line(format!("ca {} cert {}", quote(name), quote(&file.to_string_lossy())));
        }
        let mut names: Vec<_> = config.wrappers.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, command) in names {
            self.line(format!("mda wrapper {} {}", quote(name), quote(command)));
        }
    }

    fn tables(&mut self) {
        for table in self.config.tables.iter() {
            // Those in angle brackets are written where they are used, or always there.
            if table.name.starts_with('<') || table.position.is_none() {
                continue;
            }
            let name = quote(&table.name);
            let source = match &table.backend {
                Backend::Inline => self.inline(&table.entries, table.shape),
                Backend::File(path) => quote(&format!("file:{}", path.display())),
                Backend::Db(path) => quote(&format!("db:{}", path.display())),
                Backend::Process { name, parameter: Some(text) } => {
                    quote(&format!("{name}:{text}"))
                }
                Backend::Process { name, parameter: None } => quote(name),
                Backend::System => continue,
            };
            self.line(format!("table {name} {source}"));
        }
    }

    fn inline(&self, entries: &crate::table::Entries, shape: Shape) -> String {
        let elements: Vec<String> = entries
            .sorted()
            .into_iter()
            .map(|(key, entry)| match shape {
                Shape::Map => format!("{} = {}", quote(key), quote(&entry.value)),
                _ => quote(key),
            })
            .collect();
        format!("{{ {} }}", elements.join(", "))
    }

    fn operand(&self, id: TableId) -> String {
        let table = self.config.tables.get(id);
        match table.backend {
            Backend::Inline if table.name.starts_with("<dynamic:") => {
                match table.entries.sorted().as_slice() {
                    [(key, entry)] if table.shape != Shape::Map && entry.value.is_empty() => {
                        quote(key)
                    }
                    _ => self.inline(&table.entries, table.shape),
                }
            }
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

    fn filters(&mut self) {
        let config = self.config;
        let mut names: Vec<_> = config.processors.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, processor) in names {
            let mut text = format!("proc {} {}", quote(name), quote(&processor.command));
            for (word, value) in [
                ("user", &processor.user),
                ("group", &processor.group),
                ("chroot", &processor.chroot),
            ] {
                if let Some(value) = value {
                    text += &format!(" {word} {}", quote(value));
                }
            }
            self.line(text);
        }
        let mut filters: Vec<_> = config.filters.iter().collect();
        // A chain comes after what it is made of.
        filters.sort_by_key(|(name, f)| (matches!(f.kind, FilterKind::Chain(_)), *name));
        for (name, filter) in filters {
            if !name.starts_with('<') {
                let text = self.filter(filter);
                self.line(format!("filter {} {text}", quote(name)));
            }
        }
    }

    fn filter(&self, filter: &Filter) -> String {
        match &filter.kind {
            FilterKind::Processor(name) => format!("proc {}", quote(name)),
            FilterKind::Chain(names) => format!("chain {}", chain(names)),
            FilterKind::Builtin { phase, not: negated, condition, action } => {
                let condition = match condition {
                    FilterCondition::Fcrdns => "fcrdns".to_owned(),
                    FilterCondition::Rdns(None) => "rdns".to_owned(),
                    FilterCondition::Rdns(Some(t)) => format!("rdns {}", self.pattern(*t)),
                    FilterCondition::Src(t) => format!("src {}", self.pattern(*t)),
                    FilterCondition::Helo(t) => format!("helo {}", self.pattern(*t)),
                    FilterCondition::Auth(None) => "auth".to_owned(),
                    FilterCondition::Auth(Some(t)) => format!("auth {}", self.pattern(*t)),
                    FilterCondition::MailFrom(t) => format!("mail-from {}", self.pattern(*t)),
                    FilterCondition::RcptTo(t) => format!("rcpt-to {}", self.pattern(*t)),
                };
                let action = match action {
                    FilterAction::Reject(text) => format!("reject {}", quote(text)),
                    FilterAction::Disconnect(text) => format!("disconnect {}", quote(text)),
                    FilterAction::Rewrite(text) => format!("rewrite {}", quote(text)),
                    FilterAction::Report(text) => format!("report {}", quote(text)),
                    FilterAction::Junk => "junk".to_owned(),
                    FilterAction::Bypass => "bypass".to_owned(),
                };
                format!("phase {phase} match {}{condition} {action}", not(*negated))
            }
        }
    }

    fn filter_name(&self, name: &str) -> String {
        match self.config.filters.get(name).map(|filter| &filter.kind) {
            Some(FilterKind::Chain(names)) if name.starts_with('<') => chain(names),
            _ => quote(name),
        }
    }

    fn socket(&mut self) {
        let socket = &self.config.socket;
        if socket.position.is_none() {
            return;
        }
        let mut text = "listen on socket".to_owned();
        if let Some(filter) = &socket.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        if let Some(tag) = &socket.tag {
            text += &format!(" tag {}", quote(tag));
        }
        text += if socket.mask_src { " mask-src" } else { "" };
        text += if socket.no_dsn { " no-dsn" } else { "" };
        self.line(text);
    }

    fn listen(&mut self, listen: &Listen) {
        let mut text = format!("listen on {}", quote(&listen.on));
        match listen.family {
            None => {}
            Some(Family::Inet4) => text += " inet4",
            Some(Family::Inet6) => text += " inet6",
        }
        text += &format!(" port {}", listen.port);
        text += match listen.tls {
            Tls::Never => "",
            Tls::Offer => " tls",
            Tls::Require { verify: false } => " tls-require",
            Tls::Require { verify: true } => " tls-require verify",
            Tls::Smtps { verify: false } => " smtps",
            Tls::Smtps { verify: true } => " smtps verify",
        };
        for name in &listen.pki {
            text += &format!(" pki {}", quote(name));
        }
        match listen.auth {
            Auth::Never => {}
            Auth::Optional(None) => text += " auth-optional",
            Auth::Require(None) => text += " auth",
            Auth::Optional(Some(table)) => {
                text += &format!(" auth-optional {}", self.operand(table));
            }
            Auth::Require(Some(table)) => text += &format!(" auth {}", self.operand(table)),
        }
        for (word, value) in [
            ("ca", &listen.ca),
            ("ciphers", &listen.ciphers),
            ("protocols", &listen.protocols),
            ("hostname", &listen.hostname),
            ("tag", &listen.tag),
        ] {
            if let Some(value) = value {
                text += &format!(" {word} {}", quote(value));
            }
        }
        if let Some(filter) = &listen.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        if let Some(table) = listen.hostnames {
            text += &format!(" hostnames {}", self.operand(table));
        }
        if let Some(senders) = listen.senders {
            text += &format!(" senders {}", self.operand(senders.table));
            text += if senders.masquerade { " masquerade" } else { "" };
        }
        for (word, set) in [
            ("mask-src", listen.mask_src),
            ("received-auth", listen.received_auth),
            ("no-dsn", listen.no_dsn),
            ("proxy-v2", listen.proxy_v2),
            ("stray-newline normalize", listen.stray_newline == StrayNewline::Normalize),
        ] {
            if set {
                text += &format!(" {word}");
            }
        }
        self.line(text);
    }

    fn local(&self, local: &Local) -> String {
        let mut text = match &local.delivery {
            Delivery::Mbox => "mbox".to_owned(),
            Delivery::Maildir { path, junk } => {
                let path = path.as_ref().map(|path| format!(" {}", quote(path.as_str())));
                format!("maildir{}{}", path.unwrap_or_default(), if *junk { " junk" } else { "" })
            }
            Delivery::Lmtp { destination, rcpt_to } => {
                let rcpt_to = if *rcpt_to { " rcpt-to" } else { "" };
                format!("lmtp {}{rcpt_to}", quote(destination.as_str()))
            }
            Delivery::Mda(command) => format!("mda {}", quote(command.as_str())),
            Delivery::ForwardOnly => "forward-only".to_owned(),
            Delivery::ExpandOnly => "expand-only".to_owned(),
        };
        if let Some(user) = &local.user {
            text += &format!(" user {}", quote(user));
        }
        match local.aliases {
            Aliases::None => {}
            Aliases::Alias(table) => text += &format!(" alias {}", self.operand(table)),
            Aliases::Virtual(table) => text += &format!(" virtual {}", self.operand(table)),
        }
        match local.userbase {
            Userbase::System => {}
            Userbase::Table(table) => text += &format!(" userbase {}", self.operand(table)),
            Userbase::Any => text += " userbase any",
        }
        if let Some(wrapper) = &local.wrapper {
            text += &format!(" wrapper {}", quote(wrapper));
        }
        text
    }

    fn relay(&self, relay: &Relay) -> String {
        let mut text = "relay".to_owned();
        text += &match &relay.route {
            Route::Mx => String::new(),
            Route::Backup(None) => " backup".to_owned(),
            Route::Backup(Some(mx)) => format!(" backup mx {}", quote(mx)),
            Route::Hosts(table) => format!(" host {}", self.operand(*table)),
            Route::Domains(table) => format!(" domain {}", self.operand(*table)),
        };
        text += match relay.tls {
            RelayTls::Opportunistic => "",
            RelayTls::Require => " tls",
            RelayTls::RequireUnverified => " tls no-verify",
        };
        for (word, table) in
            [("auth", relay.auth), ("helo-src", relay.helo_src), ("src", relay.src)]
        {
            if let Some(table) = table {
                text += &format!(" {word} {}", self.operand(table));
            }
        }
        for (word, value) in [
            ("helo", &relay.helo),
            ("mail-from", &relay.mail_from),
            ("pki", &relay.pki),
            ("ca", &relay.ca),
            ("ciphers", &relay.ciphers),
            ("protocols", &relay.protocols),
        ] {
            if let Some(value) = value {
                text += &format!(" {word} {}", quote(value));
            }
        }
        if let Some(filter) = &relay.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        text += if relay.srs { " srs" } else { "" };
        text
    }

    fn rule(&mut self, rule: &Match) {
        let mut text = "match".to_owned();
        let with = |test: Test<Operand>, word: &str| {
            format!(" {}{word} {}", not(test.not), self.pattern(test.what))
        };
        if let Some(tag) = rule.tag {
            text += &with(tag, "tag");
        }
        let from = match rule.from.what {
            From::Local => "local".to_owned(),
            From::Socket => "socket".to_owned(),
            From::Any => "any".to_owned(),
            From::Src(operand) => format!("src {}", self.pattern(operand)),
            From::Rdns(None) => "rdns".to_owned(),
            From::Rdns(Some(operand)) => format!("rdns {}", self.pattern(operand)),
        };
        let to = match rule.to.what {
            For::Local => "local".to_owned(),
            For::Any => "any".to_owned(),
            For::Domain(operand) => format!("domain {}", self.pattern(operand)),
        };
        let (not_from, not_for) = (not(rule.from.not), not(rule.to.not));
        write!(text, " {not_from}from {from} {not_for}for {to}").ok();
        if let Some(helo) = rule.helo {
            text += &with(helo, "helo");
        }
        if let Some(auth) = rule.auth {
            let table = auth.what.map(|operand| format!(" {}", self.pattern(operand)));
            text += &format!(" {}auth{}", not(auth.not), table.unwrap_or_default());
        }
        if let Some(tls) = rule.tls {
            text += &format!(" {}tls", not(tls.not));
        }
        if let Some(from) = rule.mail_from {
            text += &with(from, "mail-from");
        }
        if let Some(to) = rule.rcpt_to {
            text += &with(to, "rcpt-to");
        }
        text += &match rule.verdict {
            Verdict::Reject => " reject".to_owned(),
            Verdict::Action(id) => {
                format!(" action {}", quote(&self.config.action_at(id).name))
            }
        };
        self.line(text);
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
