//! `action` and `match` lines.

use super::{Printer, Values, not, quote};
use crate::action::{Aliases, Delivery, Local, Relay, RelayTls, Route, Userbase};
use crate::config::Dialect;
use crate::rules::{Condition, For, From, Match, Test, Verdict};
use crate::table::Operand;

impl Printer<'_> {
    pub(super) fn local(&self, local: &Local) -> String {
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

    pub(super) fn relay(&self, relay: &Relay) -> String {
        let mut text = "relay".to_owned();
        text += &match &relay.route {
            Route::Mx => String::new(),
            Route::Backup(None) => " backup".to_owned(),
            Route::Backup(Some(mx)) => format!(" backup mx {}", quote(mx)),
            Route::Hosts(table) => format!(" host {}", self.operand(*table)),
            Route::Domains(table) => format!(" domain {}", self.operand(*table)),
        };
        text += if relay.balance { " balance" } else { "" };
        text += match relay.tls {
            RelayTls::Opportunistic => "",
            RelayTls::Require => " tls",
            RelayTls::RequireUnverified => " tls no-verify",
            RelayTls::Never => " tls never",
        };
        for (word, table) in
            [("auth", relay.auth), ("helo-src", relay.helo_src), ("src", relay.src)]
        {
            if let Some(table) = table {
                text += &format!(" {word} {}", self.operand(table));
            }
        }
        let ciphers = relay.ciphers.as_ref().map(|list| list.text.to_string());
        let protocols = relay.protocols.as_ref().map(|list| list.text.to_string());
        let groups = relay.groups.as_ref().map(|list| list.text.to_string());
        for (word, value) in [
            ("helo", &relay.helo),
            ("mail-from", &relay.mail_from),
            ("pki", &relay.pki),
            ("ca", &relay.ca),
            ("ciphers", &ciphers),
            ("protocols", &protocols),
            ("groups", &groups),
        ] {
            if let Some(value) = value {
                text += &format!(" {word} {}", quote(value));
            }
        }
        if let Some(filter) = &relay.filter {
            text += &format!(" filter {}", self.filter_name(filter));
        }
        text += if relay.srs { " srs" } else { "" };
        text += if relay.chunking { " chunking" } else { "" };
        text
    }

    pub(super) fn rule(&self, rule: &Match) -> String {
        let mut text = "match".to_owned();
        for condition in Condition::ALL {
            if let Some(words) = self.condition(rule, condition) {
                text += " ";
                text += &words;
            }
        }
        text + &match rule.verdict {
            Verdict::Reject => " reject".to_owned(),
            Verdict::Action(id) => {
                let action = self.config.action_at(id);
                // The name of a legacy action is a number that nobody has written.
                match matches!(self.values, Values::Brief) && self.config.dialect == Dialect::Legacy
                {
                    true => format!(" {}", self.method(&action.method, action.ttl)),
                    false => format!(" action {}", quote(&action.name)),
                }
            }
        }
    }

    /// The words of one condition of a rule, if it has that one.
    pub(super) fn condition(&self, rule: &Match, condition: Condition) -> Option<String> {
        let with = |test: Test<Operand>, word: &str| {
            format!("{}{word} {}", not(test.not), self.pattern(test.what))
        };
        Some(match condition {
            Condition::Tag => with(rule.tag?, "tag"),
            Condition::From => {
                let from = match rule.from.what {
                    From::Local => "local".to_owned(),
                    From::Socket => "socket".to_owned(),
                    From::Any => "any".to_owned(),
                    From::Src(operand) => format!("src {}", self.pattern(operand)),
                    From::Rdns(None) => "rdns".to_owned(),
                    From::Rdns(Some(operand)) => format!("rdns {}", self.pattern(operand)),
                };
                format!("{}from {from}", not(rule.from.not))
            }
            Condition::For => {
                let to = match rule.to.what {
                    For::Local => "local".to_owned(),
                    For::Any => "any".to_owned(),
                    For::Domain(operand) => format!("domain {}", self.pattern(operand)),
                };
                format!("{}for {to}", not(rule.to.not))
            }
            Condition::Helo => with(rule.helo?, "helo"),
            Condition::Auth => {
                let auth = rule.auth?;
                let table = auth.what.map(|operand| format!(" {}", self.pattern(operand)));
                format!("{}auth{}", not(auth.not), table.unwrap_or_default())
            }
            Condition::Tls => format!("{}tls", not(rule.tls?.not)),
            Condition::MailFrom => with(rule.mail_from?, "mail-from"),
            Condition::RcptTo => with(rule.rcpt_to?, "rcpt-to"),
        })
    }
}
