//! What a feed will give, found out by drawing all of it once: the same seed gives it again.

use hashbrown::HashMap;

use super::modes::Mode;
use super::plan::Case;
use crate::feed::{Feed, FeedRecord, Totals};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// What must become of the records.
    pub(super) expected: Totals,
    /// The mean size of a value, in bytes.
    pub(super) value_bytes: f64,
    /// Records of the most frequent key, where the spread is uneven.
    pub(super) hottest_key: Option<u64>,
}

impl Survey {
    /// Draws all records of `case`.
    pub(super) fn of(mode: &dyn Mode, case: &Case) -> Self {
        let mut feed = mode.feed(&case.shape, case.partitions);
        let (mut record, mut expected, mut bytes) = (FeedRecord::default(), Totals::default(), 0);
        let mut keys = HashMap::<Vec<u8>, u64>::new();
        for _ in 0..case.records {
            feed.fill(&mut record);
            expected.count(record.expected);
            bytes += record.value().map_or(0, <[u8]>::len);
            if case.shape.zipf {
                *keys.entry_ref(record.key.as_slice()).or_default() += 1;
            }
        }
        let value_bytes = bytes as f64 / case.records.max(1) as f64;
        Self { expected, value_bytes, hottest_key: keys.into_values().max() }
    }
}
