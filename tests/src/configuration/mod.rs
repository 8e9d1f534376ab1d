//! Configurations that are right and that nobody wrote: every statement and option of both
//! grammars, with odd strings, macros, comments and lines that go on.
//!
//! The same numbers make the same configuration, so a seed is enough to have it again.

pub mod legacy;
pub mod modern;

use std::fmt::Write;

use crate::rng::Rng;

/// Texts of which some need quotes, or are words of one of the grammars.
const TEXTS: &[&str] = &[
    "a",
    "b.c",
    "Some-Name",
    "mx",
    "host",
    "action",
    "accept",
    "local",
    "socket",
    "tls",
    "src",
    "to",
    "source",
    "smtp",
    "one two",
    "tab\there",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "back\\\"quote",
    "blank\\ after",
    "ends with \\",
    "# no comment",
    "$nothing",
    "{ }",
    "a=b",
    "a, b",
    "é ж 字",
    "25",
    "-",
    "*",
    "@",
    "%",
    "!",
];

const DOMAINS: &[&str] = &[
    "example.org",
    "b.example",
    "*.c.example",
    "münchen.example",
    "localhost",
    "*",
    "[192.0.2.7]",
];
const NETWORKS: &[&str] = &["192.0.2.0/24", "10.1.2.3", "[::1]", "2001:db8::/32", "local"];
const ADDRESSES: &[&str] = &["joe@example.org", "@b.example", "joe", "Ann+x@*.c.example", "@"];
const HOSTS: &[&str] = &["mx.example.org", "mx0", "192.0.2.9", "a_b.example"];
const PATHS: &[&str] = &["/etc/ssl/a", "/some where/b\"c", "./x"];
const DELAYS: &[&str] = &["4h", "1d", "90s", "10m", "3d", "25d"];

/// A configuration while it is written.
pub(crate) struct Writing<'r> {
    pub rng: &'r mut Rng,
    pub text: String,
    macros: usize,
    names: usize,
    /// Whether the words of one line are replaced by macros or spread over several.
    plain: bool,
}

impl<'r> Writing<'r> {
    fn new(rng: &'r mut Rng) -> Writing<'r> {
        let plain = rng.one_in(3);
        Writing { rng, text: String::new(), macros: 0, names: 0, plain }
    }

    /// Puts a text in quotes of either kind.
    fn quoted(&mut self, text: &str) -> String {
        let quote = if self.rng.one_in(3) { '\'' } else { '"' };
        let mut quoted = String::from(quote);
        for character in text.chars() {
            let blank = matches!(character, ' ' | '\t') && quoted.ends_with('\\');
            if character == quote || blank {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        if text.ends_with('\\') {
            quoted += "\\\n";
        }
        quoted.push(quote);
        quoted
    }

    /// A text as it may stand in the file: sometimes without quotes, where that is possible in
    /// both grammars.
    pub fn string(&mut self, text: &str) -> String {
        const PLAIN: &[&str] =
            &["a", "b.c", "Some-Name", "192.0.2.0/24", "10.1.2.3", "example.org", "b.example"];
        let bare = PLAIN.contains(&text) || HOSTS.contains(&text) && text.contains('.');
        if bare && !self.rng.one_in(3) { text.to_owned() } else { self.quoted(text) }
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        self.rng.pick(all).clone()
    }

    pub fn any(&mut self, all: &[&str]) -> String {
        let text = *self.rng.pick(all);
        self.string(text)
    }

    /// A name that stands nowhere else.
    pub fn name(&mut self) -> String {
        self.names += 1;
        let text = format!("{}{}", self.rng.pick(TEXTS), self.names);
        if text.bytes().all(|o| o.is_ascii_alphabetic()) && !self.rng.one_in(3) {
            text
        } else {
            self.quoted(&text)
        }
    }

    /// `one`, or `{ one, two }` with line ends and comments.
    pub fn list(&mut self, of: &[&str]) -> String {
        if self.rng.one_in(2) {
            return self.any(of);
        }
        let elements: Vec<String> = (0..1 + self.rng.below(3)).map(|_| self.any(of)).collect();
        self.braces(&elements)
    }

    pub fn map(&mut self, keys: &[&str], values: &[&str]) -> String {
        let equals = *self.rng.pick(&["=", " = ", " => "]);
        let elements: Vec<String> = (0..1 + self.rng.below(3))
            .map(|_| format!("{}{equals}{}", self.any(keys), self.any(values)))
            .collect();
        self.braces(&elements)
    }

    fn braces(&mut self, elements: &[String]) -> String {
        match self.rng.below(4) {
            0 => format!("{{\n\t{}\n}}", elements.join("\n\t")),
            1 => format!("{{ {} }}", elements.join(", # a comment, with \"a quote\n  ")),
            _ => format!("{{ {} }}", elements.join(", ")),
        }
    }

    /// Writes a statement of these words.
    pub fn line(&mut self, words: &[String]) {
        if !self.plain && self.rng.one_in(6) {
            let comment = *self.rng.pick(&["# a comment\n", "\n", "   # \"\n", "#\n\n"]);
            self.text += comment;
        }
        let mut line = String::new();
        let mut definitions = String::new();
        for word in words {
            if !line.is_empty() {
                let joint = if self.plain { 9 } else { self.rng.below(9) };
                line += match joint {
                    0 => " \\\n    ",
                    1 => "\t",
                    2 => "   ",
                    _ => " ",
                };
            }
            let whole = !word.contains('\n') && !word.is_empty();
            if !self.plain && whole && self.rng.one_in(12) {
                self.macros += 1;
                let value = self.quoted(word);
                let _ = writeln!(definitions, "m{} = {value}", self.macros);
                let _ = write!(line, "$m{}", self.macros);
            } else {
                line += word;
            }
        }
        let end = *self.rng.pick(&["", "", "", " ", "  # behind it"]);
        let indent = if self.plain { "" } else { *self.rng.pick(&["", "", "  ", "\t"]) };
        let _ = writeln!(self.text, "{definitions}{indent}{line}{end}");
    }

    /// True once in `n` times.
    pub fn sometimes(&mut self, n: usize) -> bool {
        self.rng.one_in(n)
    }
}

/// Words from text; a shorthand for those that are always the same.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
