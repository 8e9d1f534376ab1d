//! Messages to one domain in any minute and in any hour (`max-mails-per-minute`,
//! `max-mails-per-hour`).
//!
//! A period is counted in tenths. What counts is the present tenth and the ten before it, so that
//! no period, wherever it begins, has more than its number; the price is that a message is
//! remembered for up to a tenth longer than needed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::pace::RATES;

/// Parts of a period.
const PARTS: u64 = 10;

/// Domains remembered. Those that have sent nothing of late are forgotten first; then those whose
/// last message is the oldest.
const MANY: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rates {
    domains: HashMap<Arc<str>, [Window; 2]>,
}

/// The messages of a period are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Full {
    /// Until then.
    pub(super) until: Time,
    /// How long the period is.
    pub(super) period: Duration,
    /// How many messages it may have.
    pub(super) most: u32,
    /// The word that says so.
    pub(super) word: &'static str,
}

#[derive(Debug, Default)]
struct Window {
    /// Tenths in which messages were begun, and how many.
    parts: VecDeque<(u64, u64)>,
    /// Messages in them.
    sum: u64,
}

impl Rates {
    /// A message is begun.
    pub(super) fn count(&mut self, domain: &Arc<str>, rates: [Option<u32>; 2], now: Time) {
        if rates == [None, None] {
            return;
        }
        if self.domains.len() >= MANY && !self.domains.contains_key(domain) {
            self.make_room(now);
        }
        let windows = self.domains.entry(Arc::clone(domain)).or_default();
        for (window, (_, period)) in windows.iter_mut().zip(RATES) {
            window.count(part(now, period));
        }
    }

    /// Why no message may be begun now, if that is so.
    pub(super) fn full(
        &mut self,
        domain: &Arc<str>,
        rates: [Option<u32>; 2],
        now: Time,
    ) -> Option<Full> {
        if rates == [None, None] {
            return None;
        }
        let windows = self.domains.get_mut(domain)?;
        let full = windows.iter_mut().zip(RATES).zip(rates).filter_map(|((window, rate), most)| {
            let ((word, period), most) = (rate, most?);
            window.forget(part(now, period));
            let (first, _) = window.parts.front()?;
            let until = Time::from_micros((first + PARTS + 1) * length(period));
            (window.sum >= u64::from(most)).then_some(Full { until, period, most, word })
        });
        full.max()
    }

    fn make_room(&mut self, now: Time) {
        self.domains.retain(|_, windows| {
            windows.iter_mut().zip(RATES).any(|(window, (_, period))| {
                window.forget(part(now, period));
                window.sum > 0
            })
        });
        if self.domains.len() >= MANY {
            let last = |windows: &[Window; 2]| windows[0].parts.back().map(|(part, _)| *part);
            let oldest = self.domains.iter().min_by_key(|(_, windows)| last(windows));
            let oldest = oldest.map(|(domain, _)| Arc::clone(domain));
            oldest.map(|domain| self.domains.remove(&domain));
        }
    }
}

impl Window {
    fn count(&mut self, now: u64) {
        self.forget(now);
        self.sum += 1;
        match self.parts.back_mut() {
            Some((part, many)) if *part == now => *many += 1,
            _ => self.parts.push_back((now, 1)),
        }
    }

    fn forget(&mut self, now: u64) {
        while let Some((part, many)) = self.parts.front()
            && part + PARTS < now
        {
            self.sum -= many;
            self.parts.pop_front();
        }
    }
}

/// Microseconds of a part.
fn length(period: Duration) -> u64 {
    period.as_micros() as u64 / PARTS
}

fn part(now: Time, period: Duration) -> u64 {
    now.as_micros() / length(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_period_has_more_than_its_number_and_none_waits_longer_than_it_must() {
        let domain: Arc<str> = "example.org".into();
        let limits = [Some(7), Some(40)];
        let mut rates = Rates::default();
        let mut sent: Vec<u64> = Vec::new();
        let mut now = 1_234_567;
        while sent.len() < 200 {
            match rates.full(&domain, limits, Time::from_micros(now)) {
                None => {
                    rates.count(&domain, limits, Time::from_micros(now));
                    sent.push(now);
                    now += 100_000 + now % 700_000;
                }
                Some(Full { until, .. }) => {
                    let at = until.as_micros();
                    assert!(at > now, "time goes on");
                    let before = rates.full(&domain, limits, Time::from_micros(at - 1));
                    assert!(before.is_some());
                    now = at;
                }
            }
        }
        for (most, period) in [(7, 60_000_000), (40, 3_600_000_000)] {
            for (nth, first) in sent.iter().enumerate() {
                let many = sent[nth..].iter().take_while(|at| **at < first + period).count();
                assert!(many <= most, "{many} in {period}");
            }
        }
        // 40 in 66 minutes at the slowest.
        assert!(sent[199] - sent[0] < 5 * 66 * 60_000_000);
        // Another domain is another matter, and so is none that is bounded.
        assert_eq!(rates.full(&"x".into(), limits, Time::from_micros(now)), None);
        assert_eq!(rates.full(&domain, [None, None], Time::from_micros(now)), None);
    }

    #[test]
    fn no_more_domains_are_remembered_than_there_is_room_for() {
        let limits = [Some(1), None];
        let mut rates = Rates::default();
        for nth in 0..MANY as u64 + 10 {
            let now = Time::from_micros(nth * 1_000_000 / 500);
            rates.count(&format!("d{nth}.example").into(), limits, now);
        }
        assert_eq!(rates.domains.len(), MANY);
    }
}
