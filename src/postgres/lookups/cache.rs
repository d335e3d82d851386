//! Rows that were looked up a moment ago, for lookups whose rows may be of some age. Only rows are
//! kept: a key without one is asked for each time, so that a row is found once it is there.
//!
//! All rows that are kept are of one [`Generation`], which is dropped as a whole when the oldest of
//! them may be too old, and begun anew. So no row has a time of its own, and none is ever changed
//! or moved while a batch looks at it.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::found::Lookup;
use super::freshness::{Freshness, LookupRules};
use super::generation::Generation;
use super::keys::{WantedKeys, distinct};

/// The rows of one lookup, if they are kept.
pub struct Cache<K, V>(Option<Kept<K, V>>);

struct Kept<K, V> {
    max_age: Duration,
    rows_max: usize,
    newest: Mutex<Option<Newest<K, V>>>,
}

/// The generation that rows are taken into.
struct Newest<K, V> {
    rows: Arc<Generation<K, V>>,
    /// When the first of its rows was asked for, or before that.
    since: Instant,
}

/// What is left to be read for a batch.
pub struct Missing<K, V> {
    /// The keys to ask for, distinct and in order.
    pub keys: Vec<K>,
    kept: Option<Arc<Generation<K, V>>>,
}

impl<K: Hash + Ord + Clone, V> Cache<K, V> {
    /// For the lookup `name` under `rules`.
    pub fn new(rules: &LookupRules, name: &str) -> Self {
        let Freshness::MaxAge(max_age) = rules.of(name) else { return Self(None) };
        let rows_max = rules.cached_rows;
        Self(Some(Kept { max_age, rows_max, newest: Mutex::default() }))
    }

    /// Says which of `wanted` have to be read.
    pub fn missing(&self, wanted: &WantedKeys<K>) -> Missing<K, V> {
        let Some(kept) = &self.0 else { return Missing { keys: wanted.sorted(), kept: None } };
        let kept = kept.generation();
        let keys = wanted.iter().filter(|key| !kept.has(key)).cloned().collect();
        Missing { keys: distinct(keys), kept: Some(kept) }
    }

    /// Joins the rows that were read with those that were there.
    pub fn found(&self, missing: Missing<K, V>, rows: Vec<(K, V)>) -> Lookup<K, V> {
        match missing.kept {
            Some(kept) => {
                let rows = kept.take_in(rows);
                Lookup::joined(kept, rows)
            }
            None => rows.into_iter().collect(),
        }
    }
}

impl<K: Hash + Eq, V> Kept<K, V> {
    /// The rows that are young enough now.
    fn generation(&self) -> Arc<Generation<K, V>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let len = match &*newest {
            Some(newest) if now - newest.since <= self.max_age => return newest.rows.clone(),
            Some(newest) => newest.rows.len(),
            None => 0,
        };
        // It will be about as large as the last one.
        let rows = Arc::new(Generation::with_capacity(len, self.rows_max));
        *newest = Some(Newest { rows: rows.clone(), since: now });
        rows
    }
}
