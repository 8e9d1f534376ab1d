//! Listeners. One with both kinds of TLS becomes two; certificates that were found by a name are
//! named.

use crate::lex::Statement;
use crate::listen::{Listen, Tls};
use crate::print::quote;

use super::source::{Piece, Source, join};
use super::{Converter, Lines};

impl Converter<'_> {
    pub(super) fn listen(&mut self, source: Source<'_>, statement: &Statement) -> Lines {
        let mut lines = Lines::default();
        let on = source.token(2).map(|token| self.lexed.sources.position(token.place));
        let listeners = &self.config.listeners;
        let listen = listeners.iter().find(|listen| Some(&listen.position) == on.as_ref());
        if let Some(listen) = listen {
            for name in &listen.pki {
                self.declare_pki(&mut lines, name);
            }
            if let Some(name) = &listen.ca {
                self.declare_ca(&mut lines, name);
            }
        }
        let first = match listen {
            Some(_) => source.piece(2, source.verbatim(2, 3)),
            None => source.piece(2, source.unchanged(2, 3)),
        };
        let mut pieces = vec![first];
        let mut both = None;
        let mut at = 3;
        while let Some(word) = source.token(at) {
            let (piece, end) = self.listen_option(source, statement, listen, at, &mut lines);
            if matches!(&*word.text, "ssl" | "secure") {
                both = Some(pieces.len());
            }
            pieces.extend(piece);
            at = end;
        }
        if let Some(listen) = listen {
            let written = |word| (3..source.tokens.len()).any(|at| source.is(at, word));
            if listen.tls != Tls::Never && !written("pki") && !written("certificate") {
                let names = listen.pki.iter();
                pieces.extend(names.map(|name| Piece::new(format!("pki {}", quote(name)))));
            }
            if let Some(name) = listen.ca.as_ref().filter(|_| !written("ca")) {
                pieces.push(Piece::new(format!("ca {}", quote(name))));
            }
        }
        let start = source.unchanged(0, 2);
        lines.statements.push(join(start.clone(), &pieces));
        if let Some(both) = both {
            pieces[both] = pieces[both].with("smtps");
            lines.statements.push(join(start, &pieces));
        }
        lines
    }

    /// An option in today's words, and where the next one begins.
    fn listen_option(
        &mut self,
        source: Source<'_>,
        statement: &Statement,
        listen: Option<&Listen>,
        at: usize,
        lines: &mut Lines,
    ) -> (Option<Piece>, usize) {
        let word = source.token(at).map_or("", |token| &*token.text);
        let next = at + 1;
        let has_tls = listen.is_some_and(|listen| listen.tls != Tls::Never);
        let same = |end| (Some(source.piece(at, source.unchanged(at, end))), end);
        let string = |keyword: &str| (Some(source.renamed(at, keyword, next, next + 1)), next + 1);
        match word {
            "mask-source" => (Some(source.piece(at, "mask-src")), next),
            "ssl" | "secure" => (Some(source.piece(at, "tls")), next),
            "dsn-notify" => (Some(source.piece(at, "no-dsn")), next + 1),
            "dsn-ret" => {
                let message = "dsn-ret has no effect any more";
                let help = "reports quote the header unless the sender asks for more";
                self.note(lines, statement, message, help);
                (None, next + 1)
            }
            "filter" => {
                let help = "filters of today are declared with filter NAME proc-exec COMMAND";
                self.note(lines, statement, "filters of that time do not work any more", help);
                (None, next + 1)
            }
            "pki" | "certificate" if !has_tls => {
                let message = "a certificate is of no use without tls, tls-require or smtps";
                self.note(lines, statement, message, "it is left out");
                (None, next + 1)
            }
            "certificate" => {
                // There is one at most.
                let name = listen.and_then(|listen| listen.pki.last()).map_or("", |name| name);
                let is_name = source.token(next).is_some_and(|token| *token.text == *name);
                match is_name {
                    true => string("pki"),
                    false => (Some(source.piece(at, format!("pki {}", quote(name)))), next + 1),
                }
            }
            "tls-require" | "smtps" if source.is(next, "verify") => same(next + 1),
            // A number, or a name that may be a keyword.
            "port" | "stray-newline" => same(next + 1),
            "pki" | "ca" | "hostname" | "tag" => string(word),
            "auth" | "auth-optional" if source.is_mark(next, '<') || source.is_mark(next, '{') => {
                let end = source.operand_end(next);
                (Some(source.renamed(at, word, next, end)), end)
            }
            "hostnames" | "senders" => {
                let end = source.operand_end(next);
                let table = source.renamed(at, word, next, end);
                if word == "senders" && source.is(end, "masquerade") {
                    let both = join(table.text(), &[source.piece(end, "masquerade")]);
                    return (Some(table.with(both)), end + 1);
                }
                (Some(table), end)
            }
            _ => same(next),
        }
    }
}
