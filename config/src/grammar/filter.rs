//! `proc`, `filter` and references to filters. Everything is checked; nothing works yet.

use crate::diagnostic::Diagnostic;
use crate::filter::{Filter, FilterAction, FilterCondition, FilterKind, Processor};
use crate::lex::{Fault, Kind, Place};

use super::cursor::{Cursor, Parse, Seen};
use super::table::{Takes, not_in_brackets};
use super::{Name, Reader};

const INACTIVE: &str = "filters do not work yet";
const PHASES: [&str; 8] =
    ["connect", "helo", "ehlo", "auth", "mail-from", "rcpt-to", "data", "commit"];
const ACTIONS: [&str; 6] = ["reject", "disconnect", "rewrite", "report", "junk", "bypass"];

impl Reader<'_> {
    /// What follows `proc`.
    pub(super) fn processor(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let name = cursor.string("a name for the process")?;
        if self.config.processors.contains_key(&*name.text) {
            let message = format!("processor already exists with that name: {}", name.text);
            return Err(Fault::error(name.place, message));
        }
        let processor = self.command(cursor, name.place)?;
        self.inactive(name.place, INACTIVE);
        self.config.processors.insert(name.text.to_string(), processor);
        Ok(())
    }

    fn command(&mut self, cursor: &mut Cursor<'_>, place: Place) -> Parse<Processor> {
        let command = cursor.string("a command")?.text.to_string();
        let position = self.position(place);
        let mut processor = Processor { position, command, user: None, group: None, chroot: None };
        let mut seen = Seen::default();
        while let Some((word, at)) = cursor.word(&["user", "group", "chroot"])? {
            seen.once(word, at, "processor")?;
            let value = Some(cursor.string("a name")?.text.to_string());
            match word {
                "user" => processor.user = value,
                "group" => processor.group = value,
                _ => processor.chroot = value,
            }
        }
        Ok(processor)
    }

    /// What follows `filter`.
    pub(super) fn filter(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let name = cursor.string("a name for the filter")?;
        not_in_brackets(name)?;
        if self.config.filters.contains_key(&*name.text) {
            let message = format!("filter already exists with that name: {}", name.text);
            return Err(Fault::error(name.place, message));
        }
        let (word, _) = cursor.needed_word(&["proc", "proc-exec", "chain", "phase"])?;
        let kind = match word {
            "proc" => {
                let processor = cursor.string("a process's name")?;
                if !self.config.processors.contains_key(&*processor.text)
                    && !self.is_broken(Name::Proc, &processor.text)
                {
                    let known = self.config.processors.keys().map(String::as_str);
                    let message = format!("no processor exist with that name: {}", processor.text);
                    let (text, place) = (&processor.text, processor.place);
                    return Err(self.undeclared(Name::Proc, text, place, message, known));
                }
                FilterKind::Processor(processor.text.to_string())
            }
            "proc-exec" => {
                let processor = self.command(cursor, name.place)?;
                self.config.processors.insert(name.text.to_string(), processor);
                FilterKind::Processor(name.text.to_string())
            }
            "chain" => FilterKind::Chain(self.filter_names(cursor)?),
            _ => self.builtin(cursor)?,
        };
        cursor.finish()?;
        self.inactive(name.place, INACTIVE);
        let filter = Filter { position: self.position(name.place), kind };
        self.config.filters.insert(name.text.to_string(), filter);
        Ok(())
    }

    /// `NAME` or `{ a, b }`; the latter is an anonymous chain.
    pub(super) fn filter_reference(&mut self, cursor: &mut Cursor<'_>) -> Parse<String> {
        let place = cursor.place();
        if cursor.peek().is_none_or(|token| token.kind != Kind::Mark('{')) {
            let name = cursor.string("a filter's name")?;
            self.known_filter(&name.text, name.place)?;
            return Ok(name.text.to_string());
        }
        let chain = self.filter_names(cursor)?;
        let name = format!("<dynchain:{:08x}>", self.config.filters.len());
        let filter = Filter { position: self.position(place), kind: FilterKind::Chain(chain) };
        self.config.filters.insert(name.clone(), filter);
        Ok(name)
    }

    fn filter_names(&mut self, cursor: &mut Cursor<'_>) -> Parse<Vec<String>> {
        if !cursor.eat_mark('{') {
            return Err(cursor.missing("\"{\""));
        }
        let mut names: Vec<String> = Vec::new();
        let mut processors: Vec<String> = Vec::new();
        cursor.skip_newlines();
        while !cursor.eat_mark('}') {
            let token = cursor.string("a filter's name")?;
            self.known_filter(&token.text, token.place)?;
            let name = token.text.to_string();
            let twice = |what| {
                Err(Fault::error(token.place, format!("no {what} within a filter chain: {name}")))
            };
            if names.contains(&name) {
                return twice("filter allowed twice");
            }
            match self.config.filters.get(&name).map(|filter| &filter.kind) {
                Some(FilterKind::Chain(_)) => return twice("filter chain allowed"),
                Some(FilterKind::Processor(processor)) => {
                    if processors.contains(processor) {
                        return twice("proc allowed twice");
                    }
                    processors.push(processor.clone());
                }
                _ => {}
            }
            names.push(name);
            cursor.skip_newlines();
            if cursor.eat_mark(',') {
                cursor.skip_newlines();
            }
        }
        Ok(names)
    }

    fn builtin(&mut self, cursor: &mut Cursor<'_>) -> Parse<FilterKind> {
        let (phase, _) = cursor.needed_word(&PHASES)?;
        cursor.needed_word(&["match"])?;
        let not = cursor.eat_mark('!');
        let known: &[&'static str] = match phase {
            "connect" => &["fcrdns", "rdns", "src"],
            "helo" | "ehlo" => &["fcrdns", "rdns", "src", "helo"],
            "auth" => &["fcrdns", "rdns", "src", "helo", "auth"],
            "rcpt-to" => &["fcrdns", "rdns", "src", "helo", "auth", "mail-from", "rcpt-to"],
            _ => &["fcrdns", "rdns", "src", "helo", "auth", "mail-from"],
        };
        let (word, _) = cursor.needed_word(known)?;
        let condition = match word {
            "fcrdns" => FilterCondition::Fcrdns,
            "rdns" => FilterCondition::Rdns(self.optional_pattern(cursor, "rdns", Takes::List)?),
            "src" => FilterCondition::Src(self.client_operand(cursor)?),
            "helo" => FilterCondition::Helo(self.pattern(cursor, "helo", Takes::List)?),
            "auth" => FilterCondition::Auth(self.optional_pattern(cursor, "auth", Takes::Keys)?),
            "mail-from" => {
                FilterCondition::MailFrom(self.pattern(cursor, "mail-from", Takes::Keys)?)
            }
            _ => FilterCondition::RcptTo(self.pattern(cursor, "rcpt-to", Takes::Keys)?),
        };
        let action = self.filter_action(cursor, phase)?;
        Ok(FilterKind::Builtin { phase: phase.to_owned(), not, condition, action })
    }

    fn filter_action(&mut self, cursor: &mut Cursor<'_>, phase: &str) -> Parse<FilterAction> {
        let known = if phase == "commit" { &ACTIONS[..4] } else { &ACTIONS };
        let (word, _) = cursor.needed_word(known)?;
        Ok(match word {
            "junk" => FilterAction::Junk,
            "bypass" => FilterAction::Bypass,
            "reject" => FilterAction::Reject(reply(cursor)?),
            "disconnect" => FilterAction::Disconnect(reply(cursor)?),
            "rewrite" => FilterAction::Rewrite(cursor.string("an argument")?.text.to_string()),
            _ => FilterAction::Report(cursor.string("a text")?.text.to_string()),
        })
    }
}

/// The reply of a filter that refuses: `4xx text` or `5xx text`.
fn reply(cursor: &mut Cursor<'_>) -> Parse<String> {
    let token = cursor.string("a reply")?;
    let octets = token.text.as_bytes();
    let good = octets.len() >= 5
        && matches!(octets[0], b'4' | b'5')
        && octets[1..3].iter().all(u8::is_ascii_digit)
        && octets[3] == b' ';
    if good {
        return Ok(token.text.to_string());
    }
    let diagnostic = Diagnostic::error(format!("not a reply that refuses: {}", token.text))
        .help("write a code 4xx or 5xx and a text, as in \"550 Go away\"");
    Err(Fault::new(token.place, diagnostic))
}
