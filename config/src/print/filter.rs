//! `proc` and `filter` lines.

use super::{Printer, chain, not, quote};
use crate::filter::{Filter, FilterAction, FilterCondition, FilterKind, is_anonymous};

impl Printer<'_> {
    pub(super) fn filters(&mut self) {
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
            if !is_anonymous(name) {
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

    pub(super) fn filter_name(&self, name: &str) -> String {
        match self.config.filters.get(name).map(|filter| &filter.kind) {
            Some(FilterKind::Chain(names)) if is_anonymous(name) => chain(names),
            _ => quote(name),
        }
    }
}
