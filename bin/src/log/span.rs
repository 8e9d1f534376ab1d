//! Durations as log lines and smtpctl show them: `1d2h3m4s`.

use std::fmt::{self, Display, Formatter};

/// A duration in whole seconds. Units that are zero are left out; nothing at all is `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let parts = [
            (self.0 / 86_400, 'd'),
            (self.0 / 3_600 % 24, 'h'),
            (self.0 / 60 % 60, 'm'),
            (self.0 % 60, 's'),
        ];
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_units_are_left_out() {
        let day = 86_400;
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_601, "1h1s"),
            (day + 2 * 3_600 + 3 * 60 + 4, "1d2h3m4s"),
            (400 * day, "400d"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(Span(seconds).to_string(), shown);
        }
    }
}
