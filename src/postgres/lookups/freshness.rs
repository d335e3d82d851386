//! How old what is looked up may be, by the configuration: per pipeline, or per lookup.

use std::collections::BTreeMap;
use std::time::Duration;

/// How old a looked-up row may be when a batch is looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// It is read for the batch.
    #[default]
    PerBatch,
    /// It was read this long ago at most.
    MaxAge(Duration),
}

/// How the lookups of one pipeline are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupRules {
    /// Of all lookups that are not named.
    pub freshness: Freshness,
    /// Of those that are.
    pub by_name: BTreeMap<String, Freshness>,
    /// Rows of each lookup that are kept at most.
    pub cached_rows: usize,
}

impl Default for LookupRules {
    fn default() -> Self {
        Self {
            freshness: Freshness::PerBatch,
            by_name: BTreeMap::new(),
            cached_rows: Self::CACHED_ROWS,
        }
    }
}

impl LookupRules {
    /// Rows that are kept if the configuration does not say how many: 20 MiB of rows of 200 bytes.
    pub const CACHED_ROWS: usize = 100_000;

    /// How old the rows of the lookup `name` may be.
    pub fn of(&self, name: &str) -> Freshness {
        self.by_name.get(name).copied().unwrap_or(self.freshness)
    }
}
