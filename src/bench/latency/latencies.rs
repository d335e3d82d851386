//! Latencies of many records, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::findings::Percentiles;

/// The longest latency that is told from a longer one.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// The percentiles of a curve.
const CURVE: [f64; 16] = [
    0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99,
    100.0,
];

/// Latencies, in microseconds and to a thousandth of themselves.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub(super) fn new() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, max, 3).expect("the bounds are constant"))
    }

    /// Takes one more.
    pub(super) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What so many of them are at most.
    pub(super) fn percentiles(&self) -> Percentiles {
        let at = |percentile: f64| self.0.value_at_percentile(percentile) as f64 / 1e6;
        Percentiles {
            p50: at(50.0),
            p99: at(99.0),
            p999: at(99.9),
            max: self.0.max() as f64 / 1e6,
            curve: CURVE.map(|percentile| (percentile, at(percentile))).to_vec(),
        }
    }
}
