//! How the partitions of one consumer are read.

use longshore_actors::format::Format;
use longshore_actors::pace::PaceNow;

use super::thread::BatchLimits;

/// What holds for each partition of one consumer.
#[derive(Clone, Copy)]
pub(super) struct ReadRules {
    pub(super) limits: BatchLimits,
    pub(super) batches_ahead: usize,
    pub(super) format: Format,
    /// Whether every batch goes now, since another partition's has waited for long enough: those
    /// that come together are looked up and saved together, for less.
    pub(super) together: bool,
}

/// What one visit to a partition came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Visit {
    /// More is waiting: come back at once.
    pub(super) more: bool,
    /// A batch waits for its linger, or records wait for a ticket: come back soon.
    pub(super) pending: bool,
}

impl ReadRules {
    /// The same with batches no larger and no later than the house wants them just now.
    pub(super) fn at(mut self, pace: PaceNow) -> Self {
        self.limits.records = self.limits.records.min(pace.records).max(1);
        self.limits.linger = self.limits.linger.min(pace.linger);
        self
    }
}
