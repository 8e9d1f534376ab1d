//! What is printed: one line for each figure, with its bound where it has one.

use std::fmt;
use std::time::Duration;

/// The figures of one point.
pub struct Table {
    point: &'static str,
    lines: Vec<(String, String, String)>,
}

impl Table {
    pub fn new(point: &'static str) -> Table {
        Table { point, lines: Vec::new() }
    }

    /// Adds a figure; `bound` may be empty.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>, bound: &str) {
        self.lines.push((name.into(), value.into(), bound.to_owned()));
    }

    /// Adds the median, the 99th percentile and the greatest of some times (nearest rank).
    pub fn times(&mut self, name: &str, mut times: Vec<Duration>, bound: &str) {
        times.sort_unstable();
        let rank = |part: f64| ((times.len() as f64 * part).ceil() as usize).max(1) - 1;
        for (label, at) in [("p50", rank(0.5)), ("p99", rank(0.99)), ("max", rank(1.0))] {
            let value = times.get(at).map_or_else(|| "none".to_owned(), |time| millis(*time));
            self.add(format!("{name}, {label} of {}", times.len()), value, bound);
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.point)?;
        for (name, value, bound) in &self.lines {
            let bound = if bound.is_empty() { String::new() } else { format!("   ({bound})") };
            writeln!(f, "  {name:<52} {value:>14}{bound}")?;
        }
        Ok(())
    }
}

pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

pub fn mib(octets: u64) -> String {
    format!("{:.1} MiB", octets as f64 / f64::from(1 << 20))
}

/// With commas, as people read them.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut table = Table::new("p");
        table.times("t", (1..=200).map(Duration::from_millis).collect(), "");
        let values: Vec<&str> = table.lines.iter().map(|(_, value, _)| value.as_str()).collect();
        assert_eq!(values, ["100.0 ms", "198.0 ms", "200.0 ms"]);
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1_000_000].map(count), ["0", "999", "1,000", "1,000,000"]);
    }
}
