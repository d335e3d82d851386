//! How busy the sessions are, and how many records a transaction may have.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;

/// What is further back than this counts for little.
const MEMORY: Duration = Duration::from_millis(200);

/// The busy share of the sessions, smoothed over [`MEMORY`].
#[derive(Debug)]
pub(super) struct Load {
    share: f64,
    busy: isize,
    at: Instant,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self { share: 0.0, busy: 0, at: now }
    }

    /// `more` sessions are busy from here on.
    pub(super) fn add(&mut self, now: Instant, sessions: usize, more: isize) {
        self.share(now, sessions);
        self.busy += more;
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self, now: Instant, sessions: usize) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64() / MEMORY.as_secs_f64();
        let (kept, busy) = ((-past).exp(), self.busy.max(0) as f64 / sessions as f64);
        self.share = self.share * kept + busy.min(1.0) * (1.0 - kept);
        self.at = now;
        self.share
    }
}

/// How many records one transaction may have.
#[derive(Debug)]
pub(super) struct Size {
    records: usize,
    bounds: Bounds<usize>,
    target: Duration,
}

impl Size {
    pub(super) fn new(bounds: Bounds<usize>, target: Duration) -> Self {
        Self { records: bounds.max, bounds, target }
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Takes in that `records` took `took`.
    pub(super) fn saved(&mut self, records: usize, took: Duration) {
        // Of nothing nothing is learned.
        if records == 0 {
            return;
        }
        let took = took.as_secs_f64().max(f64::EPSILON);
        let fits = (records as f64 * self.target.as_secs_f64() / took) as usize;
        let wanted = if took > self.target.as_secs_f64() {
            self.records.min(fits)
        } else if records >= self.records / 2 {
            fits.clamp(self.records, self.records.saturating_mul(2))
        } else {
            // The limit was in nobody's way.
            self.records
        };
        self.records = wanted.clamp(self.bounds.min, self.bounds.max);
    }

    /// Takes in that the store ended a transaction of `records`, which took too long for it.
    pub(super) fn too_slow(&mut self, records: usize) {
        let half = self.records.min(records) / 2;
        self.records = half.clamp(self.bounds.min, self.bounds.max);
    }
}
