//! Where the words of a statement stand, kept beside what they say: for those who speak of the
//! configuration after it was read (`smtpd -n`, `smtpctl explain`).

use crate::diagnostic::Position;

/// The option words of one statement, each with its position, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places(Vec<(&'static str, Position)>);

impl Places {
    /// Where that word stands; the first place when there are several.
    #[must_use]
    pub fn of(&self, word: &str) -> Option<&Position> {
        self.0.iter().find(|(known, _)| *known == word).map(|(_, position)| position)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Position)> {
        self.0.iter().map(|(word, position)| (*word, position))
    }

    pub(crate) fn add(&mut self, word: &'static str, position: Position) {
        self.0.push((word, position));
    }
}
