//! How busy the sessions are, and how many records a transaction may have.

use std::time::Duration;

use tokio::time::Instant;

use super::Bounds;

/// What is further back than this counts for little.
const MEMORY: Duration = Duration::from_millis(200);

/// The part that the limit of a transaction grows by when it is in nobody's way.
const UNASKED: usize = 16;

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
    target: f64,
    line: Line,
}

impl Size {
    pub(super) fn new(bounds: Bounds<usize>, target: Duration) -> Self {
        Self { records: bounds.max, bounds, target: target.as_secs_f64(), line: Line::default() }
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
        let took = took.as_secs_f64();
        let fixed = self.line.take_in(records as f64, took);
        let target = self.target.max(fixed * 2.0);
        let by_record = ((took - fixed) / records as f64).max(f64::EPSILON);
        let fits = ((target - fixed) / by_record) as usize;
        let wanted = if took > target {
            self.records.min(fits)
        } else if records >= self.records / 2 {
            fits.clamp(self.records, self.records.saturating_mul(2))
        } else if took < target / 2.0 {
            // The limit was in nobody's way, and need not be in the next one's.
            self.records + self.records / UNASKED + 1
        } else {
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

/// What a transaction costs however small it is, in seconds: where the line through the last
/// transactions' records and times begins.
#[derive(Debug, Default)]
struct Line {
    /// Weight, then sums of records, of times, of records squared, of records by time.
    sums: [f64; 5],
    fixed: f64,
}

impl Line {
    /// What a transaction before the last one still counts, in relation to the one after it.
    const KEPT: f64 = 0.85;
    /// How far, in relation to their mean, records have to lie apart for a line through them.
    const APART: f64 = 0.2;

    /// What is left of the belief after a transaction that tells nothing about it.
    const BELIEVED: f64 = 0.95;

    fn take_in(&mut self, records: f64, took: f64) -> f64 {
        let new = [1.0, records, took, records * records, records * took];
        for (sum, new) in self.sums.iter_mut().zip(new) {
            *sum = *sum * Self::KEPT + new;
        }
        let [weight, n, t, nn, nt] = self.sums;
        let apart = nn / weight - (n / weight).powi(2);
        if apart > (Self::APART * n / weight).powi(2) {
            let by_record = (nt / weight - n / weight * t / weight) / apart;
            self.fixed = (t - by_record.max(0.0) * n) / weight;
        } else {
            // Of one size nothing is learned: what is believed fades, until sizes differ again.
            self.fixed *= Self::BELIEVED;
        }
        // Faster than what it costs at least: then that was less.
        self.fixed = self.fixed.clamp(0.0, took);
        self.fixed
    }
}
