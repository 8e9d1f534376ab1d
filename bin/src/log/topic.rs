//! Traces: long talk about one subject, switched on by `smtpd -T TOPIC`.
//!
//! A trace is written whether or not debug lines are wanted. Asking [`on`] costs one relaxed load,
//! so it may stand on the way of every command.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicU32, Ordering};

use log::{Level, Record};

/// `log` target of traces; they are shown without `debug: ` in front.
pub(super) const TARGET: &str = "smtpd::trace";

static TRACED: AtomicU32 = AtomicU32::new(0);

/// Subjects that can be traced, by the words of `-T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The dialogue of SMTP sessions: every command and reply.
    Smtp,
    /// Decisions of the scheduler.
    Scheduler,
    /// Look-ups of users in the system.
    Lookup,
    /// Which rule takes a recipient.
    Rules,
    /// Aliases and forwards.
    Expand,
    /// Reports to senders.
    Bounce,
    /// Everything above.
    All,
}

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u32);

impl Topic {
    /// Every topic with its word.
    pub const WORDS: [(&'static str, Topic); 7] = [
        ("smtp", Topic::Smtp),
        ("scheduler", Topic::Scheduler),
        ("lookup", Topic::Lookup),
        ("rules", Topic::Rules),
        ("expand", Topic::Expand),
        ("bounce", Topic::Bounce),
        ("all", Topic::All),
    ];

    /// The topic with that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Topic> {
        Topic::WORDS.iter().find(|(w, _)| *w == word).map(|(_, topic)| *topic)
    }

    fn bits(self) -> u32 {
        match self {
            Topic::All => u32::MAX,
            one => 1 << one as u32,
        }
    }
}

impl Topics {
    /// Adds a topic.
    pub fn insert(&mut self, topic: Topic) {
        self.0 |= topic.bits();
    }

    /// Whether that topic is in the set.
    #[must_use]
    pub fn contains(self, topic: Topic) -> bool {
        self.0 & topic.bits() != 0
    }
}

pub(super) fn set(topics: Topics) {
    TRACED.store(topics.0, Ordering::Relaxed);
}

/// Whether a topic is traced.
#[must_use]
pub fn on(topic: Topic) -> bool {
    Topics(TRACED.load(Ordering::Relaxed)).contains(topic)
}

/// Writes a trace if its topic is traced: `topic::trace(Topic::Rules, format_args!(...))`. What
/// peers sent must have gone through [`vis`](super::vis::vis).
pub fn trace(topic: Topic, text: Arguments<'_>) {
    if on(topic) {
        // Not by the macros: their level check would hide it unless `-v` is given as well.
        log::logger().log(&Record::builder().level(Level::Debug).target(TARGET).args(text).build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_topics_and_all_names_each() {
        let mut topics = Topics::default();
        topics.insert(Topic::from_word("rules").unwrap());
        assert!(topics.contains(Topic::Rules) && !topics.contains(Topic::Smtp));
        topics.insert(Topic::from_word("all").unwrap());
        for (word, topic) in Topic::WORDS {
            assert_eq!(Topic::from_word(word), Some(topic));
            assert!(topics.contains(topic), "{word}");
        }
        assert_eq!(Topic::from_word("Rules"), None);
    }
}
