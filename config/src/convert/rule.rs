//! `accept` and `reject`: an action where it is new, and one or two matches.

use crate::action::{Method, Relay, RelayTls, Route};
use crate::config::ActionId;
use crate::lex::{Kind, Statement};
use crate::print::quote;
use crate::rules::Verdict;
use crate::url::LegacyUrl;

use super::source::{Piece, Source, join};
use super::{Converter, Lines};

/// Words that may follow `deliver to maildir` and are not reserved.
const BEHIND_MAILDIR: [&str; 3] = ["recipient", "authenticated", "forward-only"];
/// Likewise `relay backup`.
const BEHIND_BACKUP: [&str; 7] =
    ["recipient", "authenticated", "forward-only", "helo", "hostnames", "pki", "ca"];

/// Conditions and what is done, as they are read off a rule.
#[derive(Default)]
struct Draft {
    conditions: Vec<Piece>,
    /// Where among them `from local` is, or would be; `!` before it.
    from_local: Option<(usize, bool)>,
    has_from: bool,
    /// Where `for` is.
    to: Option<usize>,
    /// `auth` or `!auth`, and which of them.
    auth: Option<bool>,
    /// The virtual table, in the tokens.
    virtual_table: Option<(usize, usize)>,
    method: Vec<Piece>,
    options: Vec<Piece>,
    ttl: Option<Piece>,
    forward_only: bool,
}

/// Whether a statement has words that came to an end before 5.4.1.
pub(super) fn is_oldest(statement: &Statement) -> bool {
    let tokens = &statement.tokens;
    let Some(first) = tokens.first() else { return false };
    let has = |word: &str| tokens.iter().any(|token| token.is(word));
    match &*first.text {
        "listen" => has("certificate") || has("ssl"),
        "accept" | "reject" => {
            let old_from = tokens.windows(2).any(|two| {
                two[0].is("from")
                    && !["any", "local", "source"].iter().any(|word| two[1].is(word))
                    && two[1].kind != Kind::Mark('!')
            });
            let virtual_relay = has("virtual") && has("relay");
            old_from || virtual_relay || has("certificate")
        }
        _ => false,
    }
}

impl Converter<'_> {
    pub(super) fn rule(&mut self, source: Source<'_>, statement: &Statement) -> Lines {
        let mut lines = Lines::default();
        let start = source.token(0).map(|token| self.lexed.sources.position(token.place));
        let rules = &self.config.matches;
        let Some(rule) = rules.iter().find(|rule| Some(&rule.position) == start.as_ref()) else {
            return lines;
        };
        let action = match rule.verdict {
            Verdict::Action(id) => Some(id),
            Verdict::Reject => None,
        };
        let mut draft = Draft::default();
        let mut at = 1;
        while at < source.tokens.len() {
            let next = self.part(source, statement, action, at, &mut draft, &mut lines);
            at = next.max(at + 1);
        }
        let verdict = match action {
            None => "reject".to_owned(),
            Some(id) => {
                let name = self.action(id, &draft, &mut lines);
                format!("action {}", quote(&name))
            }
        };
        if let Some((from, to)) = draft.virtual_table
            && action.is_some_and(|id| self.relay_of(id).is_some())
        {
            let table = source.verbatim(from, to);
            draft.conditions.push(Piece::new([b"rcpt-to ".to_vec(), table].concat()));
            let message = "who is not in the table is asked of the rules below";
            self.note(&mut lines, statement, message, "5.3 refused him at once");
        }
        for conditions in self.matches(draft) {
            let mut all = conditions;
            all.push(Piece::new(verdict.as_str()));
            lines.statements.push(join("match", &all));
        }
        lines
    }

    /// One condition or option of a rule; where the next one begins.
    fn part(
        &mut self,
        source: Source<'_>,
        statement: &Statement,
        action: Option<ActionId>,
        at: usize,
        draft: &mut Draft,
        lines: &mut Lines,
    ) -> usize {
        let next = at + 1;
        if source.is_mark(at, '!') {
            draft.auth = Some(false);
            draft.conditions.push(source.piece(at, "!auth"));
            return next + 1;
        }
        let word = source.token(at).map_or("", |token| &*token.text);
        match word {
            "tagged" => condition(source, at, "tag", draft),
            "sender" => condition(source, at, "mail-from", draft),
            "recipient" => condition(source, at, "rcpt-to", draft),
            "authenticated" => {
                draft.auth = Some(true);
                draft.conditions.push(source.piece(at, "auth"));
                next
            }
            "from" => {
                draft.has_from = true;
                let not = source.is_mark(next, '!');
                let of = next + usize::from(not);
                if source.is(of, "local") {
                    draft.from_local = Some((draft.conditions.len(), not));
                }
                whence(source, at, of, "from", "src", draft)
            }
            "for" => {
                draft.to = Some(draft.conditions.len());
                let of = next + usize::from(source.is_mark(next, '!'));
                whence(source, at, of, "for", "domain", draft)
            }
            "alias" | "virtual" | "userbase" => {
                let end = match source.is(next, "any") {
                    true => next + 1,
                    false => source.operand_end(next),
                };
                let text = match source.is(next, "any") {
                    true => source.piece(at, source.unchanged(at, end)),
                    false => source.renamed(at, word, next, end),
                };
                if word == "virtual" {
                    draft.virtual_table = Some((next, end));
                }
                draft.options.push(text);
                end
            }
            "expire" => {
                let delay = source.renamed(at, "ttl", next, next + 1);
                draft.ttl = Some(delay.with([delay.text(), b" fixed"].concat()));
                next + 1
            }
            "forward-only" => {
                draft.forward_only = true;
                next
            }
            "deliver" => deliver(source, next + 1, draft),
            "relay" => {
                draft.method.push(Piece::new("relay"));
                match action.and_then(|id| self.relay_of(id)) {
                    Some(relay) => self.relay(source, statement, relay, next, draft, lines),
                    None => next,
                }
            }
            _ => next,
        }
    }

    fn relay_of(&self, id: ActionId) -> Option<Relay> {
        match &self.config.action_at(id).method {
            Method::Relay(relay) => Some((**relay).clone()),
            Method::Local(_) => None,
        }
    }

    /// The options behind `relay`; where the first word that is none of them stands.
    fn relay(
        &mut self,
        source: Source<'_>,
        statement: &Statement,
        relay: Relay,
        at: usize,
        draft: &mut Draft,
        lines: &mut Lines,
    ) -> usize {
        let mut at = at;
        let via = source.is(at, "via");
        if via {
            self.via(source, statement, &relay, at, draft, lines);
            at += 2;
        } else if self.is_oldest && relay.tls == RelayTls::Opportunistic {
            let message = "TLS is used here where it is offered";
            let help = "until 5.4.0 it never was; write relay tls never for that";
            self.note(lines, statement, message, help);
        }
        loop {
            let next = at + 1;
            let word = source.token(at).map_or("", |token| &*token.text);
            let is_word = source.token(at).is_some_and(|token| token.kind == Kind::Word);
            let (piece, end) = match word {
                _ if !is_word => break,
                "as" => {
                    let has_domain = source.token(next).is_some_and(|t| t.text.contains('@'));
                    match relay.mail_from.as_ref().filter(|_| !has_domain) {
                        Some(address) => {
                            let message = "the server's name is the domain of this address";
                            let help = "it was added as it is called today";
                            self.note(lines, statement, message, help);
                            (source.piece(at, format!("mail-from {}", quote(address))), next + 1)
                        }
                        None => (source.renamed(at, "mail-from", next, next + 1), next + 1),
                    }
                }
                "source" | "helo" | "hostnames" => {
                    let end = source.operand_end(next);
                    let keyword = if word == "source" { "src" } else { "helo-src" };
                    (source.renamed(at, keyword, next, end), end)
                }
                "hostname" => (source.renamed(at, "helo", next, next + 1), next + 1),
                "pki" | "ca" => (source.renamed(at, word, next, next + 1), next + 1),
                "certificate" => {
                    let name = relay.pki.as_deref().unwrap_or("");
                    self.declare_pki(lines, name);
                    (source.piece(at, format!("pki {}", quote(name))), next + 1)
                }
                "auth" if via => {
                    let end = source.operand_end(next);
                    if relay.auth.is_none() {
                        at = end;
                        continue;
                    }
                    (source.renamed(at, "auth", next, end), end)
                }
                "verify" if via => {
                    at = next;
                    continue;
                }
                "backup" if !via => match source.is_name(next, &BEHIND_BACKUP) {
                    true => (source.renamed(at, "backup mx", next, next + 1), next + 1),
                    false => (source.piece(at, "backup"), next),
                },
                "tls" if !via => match source.is(next, "verify") {
                    true => (source.piece(at, "tls"), next + 1),
                    false => (source.piece(at, "tls no-verify"), next),
                },
                _ => break,
            };
            draft.method.push(piece);
            at = end;
        }
        at
    }

    /// The URL behind `via`, and what it says of TLS.
    fn via(
        &mut self,
        source: Source<'_>,
        statement: &Statement,
        relay: &Relay,
        at: usize,
        draft: &mut Draft,
        lines: &mut Lines,
    ) {
        let Some(token) = source.token(at + 1) else { return };
        // What is asked of TLS is in the action.
        match LegacyUrl::parse(&token.text, false) {
            Ok(LegacyUrl::Host { url, note, .. }) => {
                if let Some(note) = note {
                    self.note(lines, statement, note, "");
                }
                let today = url.to_string();
                let plain = |c: char| c.is_ascii_alphanumeric() || "+:/@.-_[]".contains(c);
                let piece = if *token.text == *today {
                    source.renamed(at, "host", at + 1, at + 2)
                } else if token.kind == Kind::Word && today.chars().all(plain) {
                    source.piece(at, format!("host {today}"))
                } else {
                    source.piece(at, format!("host {}", quote(&today)))
                };
                draft.method.push(piece);
                match relay.tls {
                    RelayTls::RequireUnverified => {
                        let message = "the relay's certificate is not verified, as before";
                        self.note(lines, statement, message, "take no-verify away if it can be");
                    }
                    RelayTls::Require if url.label.is_some() => {
                        let message = "the relay's certificate is verified now";
                        let help = "the password would otherwise go to anybody who answers";
                        self.note(lines, statement, message, help);
                    }
                    _ => {}
                }
                if relay.tls == RelayTls::RequireUnverified {
                    draft.options.push(Piece::new("tls no-verify"));
                }
            }
            Ok(LegacyUrl::Backup { .. }) => {
                if let Route::Backup(Some(mx)) = &relay.route {
                    draft.method.push(source.piece(at, format!("backup mx {}", quote(mx))));
                }
                match relay.tls {
                    RelayTls::RequireUnverified => draft.options.push(Piece::new("tls no-verify")),
                    RelayTls::Require => draft.options.push(Piece::new("tls")),
                    RelayTls::Opportunistic | RelayTls::Never => {}
                }
            }
            Err(_) => {}
        }
    }

    /// The action's name; its declaration where it is the first one.
    fn action(&mut self, id: ActionId, draft: &Draft, lines: &mut Lines) -> String {
        if let Some(name) = self.actions.get(&id) {
            return name.clone();
        }
        let name = format!("act{}", self.actions.len() + 1);
        self.actions.insert(id, name.clone());
        let mut pieces = draft.method.clone();
        if pieces.is_empty() {
            pieces.push(Piece::new(if draft.forward_only {
                "forward-only"
            } else {
                "expand-only"
            }));
        }
        let relays = self.relay_of(id).is_some();
        // With a relay, `virtual` is a condition.
        let options = draft.options.iter();
        pieces.extend(options.filter(|o| !relays || !o.text().starts_with(b"virtual")).cloned());
        pieces.extend(draft.ttl.clone());
        lines.statements.push(join(format!("action {}", quote(&name)), &pieces));
        name
    }

    /// The conditions of the one or two rules.
    fn matches(&self, draft: Draft) -> Vec<Vec<Piece>> {
        let Draft { mut conditions, mut from_local, has_from, mut to, auth, .. } = draft;
        if !has_from {
            conditions.insert(0, Piece::new("from local"));
            from_local = Some((0, false));
            to = to.map(|to| to + 1);
        }
        if to.is_none() {
            let behind = from_local.map_or(conditions.len(), |(at, _)| at + 1);
            conditions.insert(behind, Piece::new("for local"));
        }
        let Some((at, not)) = from_local.filter(|_| self.has_auth) else {
            return vec![conditions];
        };
        if not {
            // Who is authenticated is not elsewhere, whatever his address.
            if auth.is_none() {
                conditions.insert(at + 1, Piece::new("!auth"));
            }
            return vec![conditions];
        }
        if auth == Some(false) {
            return vec![conditions];
        }
        let mut second = conditions.clone();
        let anybody = if auth.is_some() { "from any" } else { "from any auth" };
        second[at] = second[at].with(anybody);
        vec![conditions, second]
    }
}

/// A condition `WORD [!] TABLE`.
fn condition(source: Source<'_>, at: usize, keyword: &str, draft: &mut Draft) -> usize {
    let not = source.is_mark(at + 1, '!');
    let from = at + 1 + usize::from(not);
    let end = source.operand_end(from);
    let keyword = format!("{}{keyword}", if not { "!" } else { "" });
    draft.conditions.push(source.renamed(at, &keyword, from, end));
    end
}

/// `from` and `for`: `any`, `local`, or a table behind a word; `of` is behind the `!`.
fn whence(
    source: Source<'_>,
    at: usize,
    of: usize,
    keyword: &str,
    table: &str,
    draft: &mut Draft,
) -> usize {
    let not = if of > at + 1 { "!" } else { "" };
    let plain = source.is(of, "any") || source.is(of, "local");
    if plain && not.is_empty() {
        draft.conditions.push(source.piece(at, source.unchanged(at, of + 1)));
        return of + 1;
    }
    if plain {
        let text = [format!("!{keyword} ").into_bytes(), source.unchanged(of, of + 1)].concat();
        draft.conditions.push(source.piece(at, text));
        return of + 1;
    }
    // 5.3 has the table without a word before it.
    let from = of + usize::from(source.is(of, "source") || source.is(of, "domain"));
    let end = source.operand_end(from);
    draft.conditions.push(source.renamed(at, &format!("{not}{keyword} {table}"), from, end));
    end
}

/// What stands behind `deliver to`.
fn deliver(source: Source<'_>, at: usize, draft: &mut Draft) -> usize {
    let word = source.token(at).map_or("", |token| &*token.text);
    let mut end = at + 1;
    if matches!(word, "mda" | "lmtp") || source.is_name(end, &BEHIND_MAILDIR) && word == "maildir" {
        end += 1;
    }
    // The word stands behind others that are left out: its gap is that before `deliver`.
    let first = source.renamed(at, word, at + 1, end);
    draft.method.push(source.piece(at - 2, first.text().to_vec()));
    if word == "lmtp" && source.is(end, "rcpt-to") {
        draft.method.push(source.piece(end, "rcpt-to"));
        end += 1;
    }
    if matches!(word, "mda" | "lmtp") && source.is(end, "as") {
        draft.method.push(source.renamed(end, "user", end + 1, end + 2));
        end += 2;
    }
    end
}
