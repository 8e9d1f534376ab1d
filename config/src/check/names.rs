//! Small things that several families say in the same words.

use crate::config::Config;
use crate::rules::Match;

/// Seconds in the largest unit that a reader needs: `3 days`, `5 hours`.
pub(super) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Whether another rule stands at the same place: of a legacy rule that became two, the first
/// speaks for both.
pub(super) fn is_second_half(config: &Config, index: usize) -> bool {
    let position = |rule: &Match| rule.position.clone();
    index > 0 && position(&config.matches[index - 1]) == position(&config.matches[index])
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_have_a_unit_that_fits() {
        let shown = [0, 60, 3_600, 90_000, 172_800, 400 * 86_400].map(span);
        assert_eq!(shown, ["0 minutes", "1 minute", "1 hour", "25 hours", "2 days", "400 days"]);
    }
}
