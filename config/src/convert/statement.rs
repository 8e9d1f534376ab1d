//! Statements that are no rules and no listeners: one for one, under another name.

use crate::lex::{Kind, Statement};
use crate::print::quote;

use super::source::{Piece, Source, join};
use super::{Converter, Lines, is_filter};

/// The words that a statement begins with, and those that it begins with today.
const RENAMED: &[(&[&str], &str)] = &[
    (&["bounce-warn"], "bounce warn-interval"),
    (&["expire"], "queue ttl"),
    (&["max-message-size"], "smtp max-message-size"),
    (&["max-mta-deferred"], "mta max-deferred"),
    (&["subaddressing-delimiter"], "smtp sub-addr-delim"),
    (&["ciphers"], "smtp ciphers"),
    (&["limit", "session"], "smtp limit"),
    (&["limit", "mda"], "mda limit"),
    (&["limit", "scheduler"], "scheduler limit"),
    (&["limit", "mta"], "mta limit"),
    (&["queue", "encryption", "key"], "queue encryption"),
    (&["queue", "directory"], "queue directory"),
    (&["control", "socket"], "control socket"),
    (&["daemon", "user"], "daemon user"),
    (&["resolver"], "resolver"),
    (&["table"], "table"),
];

impl Converter<'_> {
    /// A statement in today's words.
    pub(super) fn statement(&mut self, statement: &Statement, file: u16) -> Lines {
        let source = self.source(statement, file);
        let mut lines = Lines::default();
        if is_filter(statement) {
            let help = "filters of today are declared with filter NAME proc-exec COMMAND";
            self.note(&mut lines, statement, "filters of that time do not work any more", help);
            return lines;
        }
        match source.token(0).map_or("", |first| &*first.text) {
            "accept" | "reject" => self.rule(source, statement),
            "listen" => self.listen(source, statement),
            "pki" => self.pki(source, statement),
            "ca" => {
                let Some(name) = source.token(1) else { return lines };
                let name = name.text.to_ascii_lowercase();
                if self.moved_ca.contains(&name) {
                    return lines;
                }
                self.ca.insert(name);
                let name = source.piece(1, source.verbatim(1, 2));
                Lines::one(join("ca", &[name, source.renamed(2, "cert", 3, source.tokens.len())]))
            }
            "curve" => {
                let help = "the key exchange chooses by itself";
                self.note(&mut lines, statement, "curve has no effect any more", help);
                lines
            }
            "bounce-warn" if source.tokens.len() == 1 => {
                let message = "bounce-warn without an age has no effect";
                self.note(&mut lines, statement, message, "");
                lines
            }
            word => {
                if word == "expire" {
                    let message = "a change of it now also counts for mail that waits already";
                    let help =
                        "for mail to keep what it came with, write ttl DELAY fixed in actions";
                    self.note(&mut lines, statement, message, help);
                }
                lines.statements.push(renamed(source));
                lines
            }
        }
    }

    fn pki(&mut self, source: Source<'_>, statement: &Statement) -> Lines {
        let mut lines = Lines::default();
        let Some(name) = source.token(1).map(|name| name.text.to_ascii_lowercase()) else {
            return lines;
        };
        let first = [b"pki ".to_vec(), source.verbatim(1, 2)].concat();
        let mut pieces = Vec::new();
        let mut anchors = None;
        let mut at = 2;
        while let Some(word) = source.token(at) {
            match &*word.text {
                "certificate" => pieces.push(source.renamed(at, "cert", at + 1, at + 2)),
                "ca" => anchors = Some(source.verbatim(at + 1, at + 2)),
                "dhparams" => {
                    let message = "dhparams has no effect any more";
                    let help = "keys are exchanged on elliptic curves";
                    self.note(&mut lines, statement, message, help);
                }
                word => pieces.push(source.renamed(at, word, at + 1, at + 2)),
            }
            at += 2;
        }
        if !self.moved.contains(&name) && !pieces.is_empty() {
            lines.statements.push(join(first, &pieces));
            self.pki.insert(name.clone());
        }
        if let Some(anchors) = anchors
            && !self.moved_ca.contains(&name)
        {
            let first = [b"ca ".to_vec(), source.verbatim(1, 2)].concat();
            lines
                .statements
                .push(join(first, &[Piece::new([b"cert ".to_vec(), anchors].concat())]));
            self.ca.insert(name);
        }
        lines
    }

    /// Declares a certificate that is not declared yet, above the line that needs it.
    pub(super) fn declare_pki(&mut self, lines: &mut Lines, name: &str) {
        let Some(pki) = self.config.pki.get(name) else { return };
        if self.pki.insert(name.to_owned()) {
            self.moved.insert(name.to_owned());
            let name = quote(name);
            for (word, path) in [("cert", &pki.cert), ("key", &pki.key)] {
                if let Some(path) = path {
                    let path = quote(&path.to_string_lossy());
                    lines.statements.push(format!("pki {name} {word} {path}").into_bytes());
                }
            }
        }
        // Those of 5.3 came with the certificate.
        if self.config.ca.get(name).is_some_and(|ca| ca.position == pki.position) {
            self.declare_ca(lines, name);
        }
    }

    /// Likewise trust anchors.
    pub(super) fn declare_ca(&mut self, lines: &mut Lines, name: &str) {
        if self.ca.insert(name.to_owned())
            && let Some(ca) = self.config.ca.get(name)
        {
            self.moved_ca.insert(name.to_owned());
            let path = quote(&ca.file.to_string_lossy());
            lines.statements.push(format!("ca {} cert {path}", quote(name)).into_bytes());
        }
    }
}

/// A statement with other first words.
fn renamed(source: Source<'_>) -> Vec<u8> {
    let all = source.tokens.len();
    let begins = |words: &[&str]| words.iter().enumerate().all(|(at, word)| source.is(at, word));
    let Some((words, today)) = RENAMED.iter().find(|(words, _)| begins(words)) else {
        return source.unchanged(0, all);
    };
    let behind = words.len();
    // Words of limits are keywords, but for a domain.
    if matches!(words, ["limit", _]) {
        let domain = if source.is(behind, "for") { behind + 2 } else { behind };
        let mut pieces = Vec::new();
        if domain > behind {
            pieces.push(source.piece(behind, source.unchanged(behind, domain)));
            pieces.push(source.piece(domain, source.verbatim(domain, domain + 1)));
            pieces.push(source.piece(domain + 1, source.unchanged(domain + 1, all)));
        } else {
            pieces.push(source.piece(behind, source.unchanged(behind, all)));
        }
        return join(*today, &pieces);
    }
    let same = words.join(" ") == *today;
    let first = if same { source.unchanged(0, behind) } else { today.as_bytes().to_vec() };
    match source.token(behind).map(|token| token.kind) {
        None => first,
        Some(Kind::Newline) => first,
        Some(_) if same => {
            // With the very blanks that stand there, so that an unchanged line stays one.
            let start = source.tokens[behind - 1].span.end;
            let gap = source.octets.get(start..source.tokens[behind].span.start).unwrap_or(b" ");
            [first, gap.to_vec(), source.verbatim(behind, all)].concat()
        }
        Some(_) => join(first, &[source.piece(behind, source.verbatim(behind, all))]),
    }
}
