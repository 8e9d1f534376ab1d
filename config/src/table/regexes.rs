//! Keys that are regular expressions (`regex` in rules), POSIX extended ones in the syntax of the
//! regex crate, which takes linear time for any pattern and any text.
//!
//! Keys are lower-cased like all keys, and so is the text: matching is without regard to case, and
//! a class such as `\S` is `\s`. That is upstream's, and configurations rely on it.

use std::sync::OnceLock;

use regex::{Regex, RegexSet};

/// The patterns of a table, compiled once.
#[derive(Debug, Clone, Default)]
pub(super) struct Regexes(OnceLock<Vec<RegexSet>>);

/// What is compiled says nothing that the keys do not.
impl PartialEq for Regexes {
    fn eq(&self, _: &Regexes) -> bool {
        true
    }
}

impl Eq for Regexes {}

impl Regexes {
    /// Whether one of the keys matches; the first question compiles them. Those that are no
    /// regular expressions match nothing.
    pub fn is_match<'k>(&self, text: &str, keys: impl Iterator<Item = &'k str>) -> bool {
        let sets = self.0.get_or_init(|| {
            let good: Vec<&str> = keys.filter(|key| mistake(key).is_none()).collect();
            let mut sets = Vec::new();
            gather(&good, &mut sets);
            sets
        });
        sets.iter().any(|set| set.is_match(text))
    }
}

/// What keeps a key from being a regular expression.
pub(crate) fn mistake(key: &str) -> Option<String> {
    let error = Regex::new(key).err()?;
    // The pattern and a caret come before.
    let text = error.to_string();
    Some(text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

/// All in one automaton, or, where that would be too large, in several.
fn gather(keys: &[&str], sets: &mut Vec<RegexSet>) {
    match RegexSet::new(keys) {
        Ok(set) => sets.push(set),
        Err(_) if keys.len() > 1 => {
            let (some, others) = keys.split_at(keys.len() / 2);
            gather(some, sets);
            gather(others, sets);
        }
        // Each of them by itself is good.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_posix() {
        let is =
            |pattern: &str, text: &str| Regexes::default().is_match(text, std::iter::once(pattern));
        assert!(is("^mail[0-9]{1,2}\\.", "mail12.example.org") && !is("^mail[0-9]$", "mail12"));
        assert!(is("(foo|bar)@", "bar@example.org") && is("[[:digit:]]+", "a1") && is("[]x]", "]"));
        assert!(is("(?i)ABC", "abc") && is("x", "axb") && !is("^x", "axb"));
        assert!(is("^192\\.0\\.2\\.", "192.0.2.7") && !is("(", "("));
        assert_eq!(mistake("a+"), None);
        assert_eq!(mistake("(a").as_deref(), Some("unclosed group"));
    }

    /// Together they would be too large for one automaton.
    #[test]
    fn many_patterns_are_as_good_as_one() {
        let keys: Vec<String> =
            (0..500).map(|n| format!("^user{n}(\\.[a-z]{{1,40}}){{9}}@")).collect();
        let regexes = Regexes::default();
        let is = |text: &str| regexes.is_match(text, keys.iter().map(String::as_str));
        assert!(is("user499.a.b.c.d.e.f.g.h.i@x") && is("user0.a.b.c.d.e.f.g.h.i@x"));
        assert!(!is("user500.a.b.c.d.e.f.g.h.i@x"));
        assert!(regexes.0.get().is_some_and(|sets| sets.len() > 1));
    }
}
