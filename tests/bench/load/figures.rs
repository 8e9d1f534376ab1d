//! Figures: percentiles of one run, medians of several, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

/// The figures of one run, in the order in which they are printed.
pub type Figures = Vec<(String, f64)>;

/// How long something took, many times.
#[derive(Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The smallest time that at least `part` of all are not above (nearest rank), in
    /// microseconds. `None` when there are none.
    fn percentile(&self, part: f64) -> Option<f64> {
        // The vector is sorted by `figures`; a rank is at least 1.
        let rank = (part * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0.get(rank - 1).map(|nanos| *nanos as f64 / 1000.0)
    }

    /// Appends p50, p99 and p99.9 under `name`; nothing when there are no times.
    pub fn figures(mut self, name: &str, figures: &mut Figures) {
        self.0.sort_unstable();
        for (label, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            if let Some(micros) = self.percentile(part) {
                figures.push((format!("{name} {label} us"), micros));
            }
        }
    }
}

/// The runs of one point.
pub struct Summary {
    point: String,
    runs: Vec<Figures>,
}

impl Summary {
    /// No runs yet.
    pub fn new(point: String) -> Summary {
        Summary { point, runs: Vec::new() }
    }

    /// Adds a run.
    pub fn add(&mut self, figures: Figures) {
        self.runs.push(figures);
    }

    /// Every figure with its median, least and greatest value over the runs that have it.
    fn lines(&self) -> Vec<(&str, f64, f64, f64)> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.runs.iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let values = |name: &str| {
            let all = self.runs.iter().flatten();
            let mut values: Vec<f64> = all.filter(|(n, _)| n == name).map(|(_, v)| *v).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        names
            .into_iter()
            .filter_map(|name| {
                let values = values(name);
                let middle = values.len() / 2;
                let median = if values.len() % 2 == 1 {
                    values[middle]
                } else {
                    f64::midpoint(values[middle - 1], values[middle])
                };
                Some((name, median, *values.first()?, *values.last()?))
            })
            .collect()
    }
}

/// All points of a call.
pub struct Report(Vec<Summary>);

impl Report {
    /// The report of these points.
    pub fn of(points: Vec<Summary>) -> Report {
        Report(points)
    }

    /// For people: one block for each point, one line for each figure.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for summary in &self.0 {
            let runs = summary.runs.len();
            let what = if runs == 1 { String::new() } else { format!(", median of {runs} runs") };
            text += &format!("{}{what}\n", summary.point);
            for (name, median, least, most) in summary.lines() {
                let range = if runs == 1 {
                    String::new()
                } else {
                    format!("   ({} to {})", shown(least), shown(most))
                };
                text += &format!("  {name:<26}{:>12}{range}\n", shown(median));
            }
        }
        text
    }

    /// For programs: one line for each point.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for summary in &self.0 {
            let _ = write!(text, "{{\"point\":{:?},\"runs\":{}", summary.point, summary.runs.len());
            let lines = summary.lines();
            for (label, pick) in [("median", 0), ("least", 1), ("most", 2)] {
                let mut fields = lines.iter().map(|(name, median, least, most)| {
                    format!("{:?}:{:.3}", name.replace(' ', "_"), [*median, *least, *most][pick])
                });
                let first = fields.next().unwrap_or_default();
                let object = fields.fold(first, |all, field| all + "," + &field);
                let _ = write!(text, ",\"{label}\":{{{object}}}");
            }
            text += "}\n";
        }
        text
    }
}

/// As many digits as say something.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut times = Times::default();
        for micros in (1..=200).rev() {
            times.add(Duration::from_micros(micros));
        }
        let mut figures = Figures::new();
        times.figures("dot", &mut figures);
        let values: Vec<f64> = figures.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [100.0, 198.0, 200.0]);
        assert_eq!(figures[0].0, "dot p50 us");
    }

    #[test]
    fn no_times_give_no_figures() {
        let mut figures = Figures::new();
        Times::default().figures("dot", &mut figures);
        assert!(figures.is_empty());
    }

    #[test]
    fn medians_stand_between_the_least_and_the_most() {
        let mut summary = Summary::new("a point".into());
        for value in [3.0, 1.0, 8.0, 2.0] {
            summary.add(vec![("rate".into(), value)]);
        }
        assert_eq!(summary.lines(), [("rate", 2.5, 1.0, 8.0)]);
        let report = Report::of(vec![summary]);
        assert!(report.table().contains("2.500   (1.000 to 8.000)"));
        let json = "{\"point\":\"a point\",\"runs\":4,\"median\":{\"rate\":2.500},\
                    \"least\":{\"rate\":1.000},\"most\":{\"rate\":8.000}}\n";
        assert_eq!(report.json(), json);
    }
}
