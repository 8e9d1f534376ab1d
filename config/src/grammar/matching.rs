//! `match ...`: which messages an action takes.

use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Kind, Place};
use crate::places::Places;
use crate::rules::{For, From, Match, Test, Verdict};
use crate::table::Operand;

use super::cursor::{Cursor, Parse, Seen};
use super::table::{Takes, can_be_domain};
use super::{Name, Reader};

const WORDS: [&str; 10] =
    ["from", "for", "tag", "helo", "auth", "tls", "mail-from", "rcpt-to", "reject", "action"];
const CONDITIONS: [&str; 8] = ["from", "for", "tag", "helo", "auth", "tls", "mail-from", "rcpt-to"];
const FROM: [&str; 7] = ["local", "any", "socket", "src", "rdns", "auth", "mail-from"];
const FOR: [&str; 4] = ["local", "any", "domain", "rcpt-to"];

/// What is understood of a rule so far.
pub(super) struct Draft {
    pub tag: Option<Test<Operand>>,
    pub from: Option<Test<From>>,
    pub to: Option<Test<For>>,
    pub helo: Option<Test<Operand>>,
    pub auth: Option<Test<Option<Operand>>>,
    pub tls: Option<Test<()>>,
    pub mail_from: Option<Test<Operand>>,
    pub rcpt_to: Option<Test<Operand>>,
}

impl Draft {
    pub fn new() -> Draft {
        Draft {
            tag: None,
            from: None,
            to: None,
            helo: None,
            auth: None,
            tls: None,
            mail_from: None,
            rcpt_to: None,
        }
    }

    /// The rule, with the defaults for what is not written.
    pub fn rule(self, position: crate::Position, places: Places, verdict: Verdict) -> Match {
        Match {
            position,
            places,
            tag: self.tag,
            from: self.from.unwrap_or(Test { not: false, what: From::Local }),
            to: self.to.unwrap_or(Test { not: false, what: For::Local }),
            helo: self.helo,
            auth: self.auth,
            tls: self.tls,
            mail_from: self.mail_from,
            rcpt_to: self.rcpt_to,
            verdict,
        }
    }
}

impl Reader<'_> {
    /// What follows `match`.
    pub(super) fn matching(&mut self, cursor: &mut Cursor<'_>, start: Place) -> Parse<()> {
        let mut draft = Draft::new();
        let mut seen = Seen::default();
        let verdict = loop {
            let not = cursor.eat_mark('!');
            let (word, at) = cursor.needed_word(if not { &CONDITIONS } else { &WORDS })?;
            match word {
                "reject" => break Some(Verdict::Reject),
                "action" => break self.known_action(cursor)?,
                "from" => {
                    seen.once("from", at, "rule")?;
                    self.from(cursor, not, &mut draft, &mut seen)?;
                }
                "for" => {
                    seen.once("for", at, "rule")?;
                    self.for_(cursor, not, &mut draft, &mut seen)?;
                }
                "auth" => self.auth(cursor, not, at, &mut draft, &mut seen)?,
                "tls" => {
                    seen.once("tls", at, "rule")?;
                    draft.tls = Some(Test { not, what: () });
                }
                "tag" => {
                    seen.once("tag", at, "rule")?;
                    let what = self.pattern(cursor, "tag", Takes::List)?;
                    draft.tag = Some(Test { not, what });
                }
                "helo" => {
                    seen.once("helo", at, "rule")?;
                    let what = self.pattern(cursor, "helo", Takes::List)?;
                    draft.helo = Some(Test { not, what });
                }
                "mail-from" => {
                    seen.once("mail-from", at, "rule")?;
                    let what = self.pattern(cursor, "mail-from", Takes::Keys)?;
                    draft.mail_from = Some(Test { not, what });
                }
                _ => {
                    seen.once("rcpt-to", at, "rule")?;
                    let what = self.pattern(cursor, "rcpt-to", Takes::Keys)?;
                    draft.rcpt_to = Some(Test { not, what });
                }
            }
        };
        cursor.finish()?;
        if let Some(verdict) = verdict {
            let (position, places) = (self.position(start), self.places(&seen));
            self.config.matches.push(draft.rule(position, places, verdict));
        }
        Ok(())
    }

    fn from(
        &mut self,
        cursor: &mut Cursor<'_>,
        not: bool,
        draft: &mut Draft,
        seen: &mut Seen,
    ) -> Parse<()> {
        let help = |text: &str| format!("write from src {text}, or from mail-from for a sender");
        let (word, at) = cursor.needed_word(&FROM).map_err(|fault| meant(cursor, fault, help))?;
        let what = match word {
            "local" => From::Local,
            "any" => From::Any,
            "socket" => From::Socket,
            "src" => From::Src(self.client_operand(cursor)?),
            "rdns" => From::Rdns(self.optional_pattern(cursor, "rdns", Takes::List)?),
            // These are `from any` and a condition on something else, which `!` goes with.
            "auth" => {
                draft.from = Some(Test { not: false, what: From::Any });
                return self.auth(cursor, not, at, draft, seen);
            }
            _ => {
                draft.from = Some(Test { not: false, what: From::Any });
                seen.once("mail-from", at, "rule")?;
                let what = self.pattern(cursor, "mail-from", Takes::Keys)?;
                draft.mail_from = Some(Test { not, what });
                return Ok(());
            }
        };
        if not && what == From::Any {
            self.never_matches(at, "!from any");
        }
        draft.from = Some(Test { not, what });
        Ok(())
    }

    fn for_(
        &mut self,
        cursor: &mut Cursor<'_>,
        not: bool,
        draft: &mut Draft,
        seen: &mut Seen,
    ) -> Parse<()> {
        let help = |text: &str| match text.contains('@') {
            true => format!("write for rcpt-to {text}"),
            false => format!("write for domain {text}"),
        };
        let (word, at) = cursor.needed_word(&FOR).map_err(|fault| meant(cursor, fault, help))?;
        let what = match word {
            "local" => For::Local,
            "any" => For::Any,
            "domain" => For::Domain(self.domain_operand(cursor)?),
            _ => {
                draft.to = Some(Test { not: false, what: For::Any });
                seen.once("rcpt-to", at, "rule")?;
                let what = self.pattern(cursor, "rcpt-to", Takes::Keys)?;
                draft.rcpt_to = Some(Test { not, what });
                return Ok(());
            }
        };
        if not && what == For::Any {
            self.never_matches(at, "!for any");
        }
        draft.to = Some(Test { not, what });
        Ok(())
    }

    fn auth(
        &mut self,
        cursor: &mut Cursor<'_>,
        not: bool,
        at: Place,
        draft: &mut Draft,
        seen: &mut Seen,
    ) -> Parse<()> {
        seen.once("auth", at, "rule")?;
        let what = self.optional_pattern(cursor, "auth", Takes::Keys)?;
        draft.auth = Some(Test { not, what });
        Ok(())
    }

    pub(super) fn optional_pattern(
        &mut self,
        cursor: &mut Cursor<'_>,
        what: &str,
        takes: Takes,
    ) -> Parse<Option<Operand>> {
        let follows = cursor.string_follows()
            || cursor
                .peek()
                .is_some_and(|t| t.is("regex") || matches!(t.kind, Kind::Mark('<' | '{')));
        if follows { self.pattern(cursor, what, takes).map(Some) } else { Ok(None) }
    }

    /// The domains of `for domain`.
    pub(super) fn domain_operand(&mut self, cursor: &mut Cursor<'_>) -> Parse<Operand> {
        let place = cursor.place();
        let operand = self.pattern(cursor, "domain", Takes::List)?;
        if !operand.regex {
            self.check_keys(
                operand.table,
                place,
                can_be_domain,
                "write a domain, as in example.org",
            );
        }
        Ok(operand)
    }

    /// The networks of `from src`.
    pub(super) fn client_operand(&mut self, cursor: &mut Cursor<'_>) -> Parse<Operand> {
        let place = cursor.place();
        let operand = self.pattern(cursor, "src", Takes::List)?;
        if !operand.regex {
            let good = |key: &str| key == "local" || crate::table::is_network(key);
            self.check_keys(
                operand.table,
                place,
                good,
                "write an address or a network, as in 192.0.2.0/24",
            );
        }
        Ok(operand)
    }

    /// The action after `action`; `None` when its declaration has been complained about.
    fn known_action(&mut self, cursor: &mut Cursor<'_>) -> Parse<Option<Verdict>> {
        let name = cursor.string("an action's name")?;
        if let Some(id) = self.config.action_names.get(&*name.text) {
            return Ok(Some(Verdict::Action(*id)));
        }
        if self.is_broken(Name::Action, &name.text) {
            return Ok(None);
        }
        let known: Vec<String> =
            self.config.actions().map(|action| action.name.to_string()).collect();
        let known = known.iter().map(String::as_str);
        let message = format!("no action named \"{}\"", name.text);
        Err(self.undeclared(Name::Action, &name.text, name.place, message, known))
    }

    /// Warns of a condition that no message can meet.
    pub(super) fn never_matches(&mut self, place: Place, what: &str) {
        self.report(place, Diagnostic::warning(format!("\"{what}\" never matches")));
    }
}

/// Adds what to write where a value stands without the word before it.
fn meant(cursor: &Cursor<'_>, fault: Box<Fault>, help: impl Fn(&str) -> String) -> Box<Fault> {
    let value = cursor.peek().filter(|token| token.text.contains(['.', '@', ':']));
    match value {
        Some(token) if fault.diagnostic.help.is_none() => {
            let Fault { place, diagnostic } = *fault;
            Fault::new(place, diagnostic.help(help(&token.text)))
        }
        _ => fault,
    }
}
